"""VideoSource: frame choice, sizes, seeking, errors."""

import gc
import io
import threading
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest

from wan_animate.video.audio import read_audio
from wan_animate.video.resample import area_size, sample_frames
from wan_animate.video.source import VideoSource

from ..support.clips import frame_number, numbered_frame, numbers, write_clip


def every(source, chunk=16):
    return np.concatenate([source.read(i, min(i + chunk, len(source))) for i in range(0, len(source), chunk)])


# ---------------------------------------------------------------- which frames


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9"),
                    ("b.webm", "libvpx"), ("a.avi", "mpeg4"), ("b.avi", "libx264"), ("a.mov", "libx264")]
)  # fmt: skip
def test_every_frame_of_every_container_in_order(tmp_path, name, codec):
    options = {
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
        "libvpx": {"deadline": "realtime", "cpu-used": "8"},
        "mpeg4": {"bf": "2", "g": "30"},
    }.get(codec)
    path = write_clip(tmp_path / name, 60, 30, codec, options)
    source = VideoSource(path)
    assert (len(source), source.fps, source.width, source.height) == (60, 30, 160, 96)
    assert numbers(every(source)) == list(range(60))
    assert numbers(source.read(41, 44)) == [41, 42, 43]
    assert numbers(source.read(3, 5)) == [3, 4]


def test_hidden_packets_of_vp8_are_not_frames(tmp_path):
    """VP8 alternate reference frames are packets that are never shown."""
    plain = write_clip(tmp_path / "p.webm", 40, 30, "libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "10"})
    with av.open(str(plain)) as read, av.open(str(tmp_path / "h.webm"), "w") as write:
        stream = read.streams.video[0]
        out = write.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_keyframe and packet.pts > 0:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10  # show_frame
                hidden = av.Packet(bytes(data))
                hidden.stream, hidden.pts, hidden.dts, hidden.is_keyframe = out, packet.pts - 9, packet.pts - 9, True
                hidden.time_base = packet.time_base
                write.mux(hidden)
            packet.stream = out
            write.mux(packet)
    with av.open(str(tmp_path / "h.webm")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert len(packets) > 40, "there is nothing hidden in the clip"
    source = VideoSource(tmp_path / "h.webm")
    assert len(source) == 40
    assert numbers(every(source)) == list(range(40))
    assert numbers(source.read(15, 25)) == list(range(15, 25))


def test_raw_stream_without_any_timestamps(tmp_path):
    path = write_clip(tmp_path / "a.h264", 40, 30, format="h264")
    source = VideoSource(path, fps=0)
    assert source.fps == 30
    assert numbers(every(source)) == list(range(40))
    assert numbers(source.read(7, 9)) == [7, 8]


@pytest.mark.parametrize("rate", ["24", "25", "30", "50", "60", "30000/1001", "24000/1001", "12"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_constant_rates_follow_upstreams_rule(tmp_path, rate, container):
    rate = Fraction(rate)
    path = write_clip(tmp_path / f"a.{container}", 100, rate)
    source = VideoSource(path, fps=30)
    # get_frame_indices: round(k / train_fps * video_fps), clipped; the count without its float noise
    count = int(Fraction(100) / rate * 30)
    expected = np.clip(np.round(np.arange(count) / 30 * float(rate)).astype(int), 0, 99)
    assert len(source) == count
    assert source.native_fps == rate
    assert numbers(every(source)) == expected.tolist()


def test_no_frame_is_lost_to_rounding():
    """int(123 / 30 * 30) == 122"""
    for count in range(1, 1000):
        assert len(sample_frames(np.arange(count) / 30, Fraction(30), True, count / 30, Fraction(30))) == count


def test_fps_zero_keeps_the_clips_own_frames(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 50, Fraction(24000, 1001))
    source = VideoSource(path, fps=0)
    assert source.fps == Fraction(24000, 1001)
    assert numbers(every(source)) == list(range(50))


@pytest.mark.parametrize("container, base", [("mp4", Fraction(1, 90000)), ("mkv", Fraction(1, 1000))])
def test_variable_rate_shows_the_frame_nearest_in_time(tmp_path, container, base):
    gaps = np.random.default_rng(3).choice([0.011, 0.023, 0.035, 0.052, 0.12], 80)
    seconds = np.concatenate([[0], np.cumsum(gaps)])[:80]
    stamps = [round(float(s) / base) for s in seconds]
    path = write_clip(tmp_path / f"v.{container}", 80, 30, stamps=stamps, time_base=base)
    source = VideoSource(path, fps=30)
    shown = np.array(stamps) * float(base)
    assert abs(len(source) - int((shown[-1] + 0.03) * 30)) <= 2
    for k, number in enumerate(numbers(every(source))):
        distance = np.abs(shown - k / 30)
        assert distance[number] <= distance.min() + 1e-3, f"output frame {k}"


def test_a_freeze_is_held_until_shortly_before_the_next_picture(tmp_path):
    base = Fraction(1, 1000)
    stamps = [i * 33 for i in range(10)] + [5000 + i * 40 for i in range(10)]
    source = VideoSource(write_clip(tmp_path / "v.mkv", 20, 30, stamps=stamps, time_base=base))
    seen = numbers(every(source))
    assert seen[int(4.85 * 30)] == 9, "nearest in time would have switched at 2.6 s"
    assert seen[int(4.97 * 30) + 1] == 10


def test_edit_list_and_negative_start(tmp_path):
    """Frames before the edit list are not part of the clip."""
    whole = write_clip(tmp_path / "w.mp4", 60, 30, options={"g": "60", "bf": "2", "preset": "veryfast"})
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as read, av.open(str(cut), "w") as write:
        stream = read.streams.video[0]
        out = write.add_stream_from_template(stream)
        shift = 20 * 512
        for packet in read.demux(stream):
            if packet.dts is None:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, out
            write.mux(packet)
    source = VideoSource(cut)
    expected = []
    with av.open(str(cut)) as read:
        expected = [frame_number(frame.to_ndarray(format="rgb24")) for frame in read.decode(video=0)]
    assert numbers(every(source)) == expected
    assert expected[0] == 20, "the muxer wrote no edit list; the test would show nothing"


def test_start_limit_and_trim(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 120, 60)
    assert numbers(every(VideoSource(path, fps=30, start=10, limit=5))) == [20, 22, 24, 26, 28]
    assert len(VideoSource(path, fps=30, start=50, limit=99)) == 10
    trimmed = VideoSource(path, fps=30, trim=(0.5, 1.0))
    assert (len(trimmed), frame_number(trimmed.read(0, 1)[0]), trimmed.start_seconds) == (30, 30, 0.5)
    both = VideoSource(path, fps=30, trim=(0.5, 1.0), start=3)
    assert both.start_seconds == pytest.approx(0.6)
    assert numbers(both.read(0, 2)) == [36, 38]
    assert len(VideoSource(path, fps=0, trim=(1.5, 0))) == 30
    assert len(VideoSource(path, fps=0, trim=(0, 0))) == 120


# ---------------------------------------------------------------- how they look


@pytest.mark.parametrize("rotation", [90, 180, 270, None])
def test_rotation_metadata(tmp_path, rotation):
    path = write_clip(tmp_path / "r.mp4", 10, 30, rotation=rotation)
    source = VideoSource(path)
    turned = rotation in (90, 270)
    assert (source.width, source.height) == ((96, 160) if turned else (160, 96))
    upright = np.rot90(numbered_frame(5), (rotation or 0) // 90)
    assert np.abs(source.read(5, 6)[0].astype(int) - upright).mean() < 6
    assert VideoSource(path, max_area=320 * 192).width == (192 if turned else 320)


def test_rotation_is_the_players_own(tmp_path):
    """A phone's display matrix for clockwise rotation."""
    path = write_clip(tmp_path / "p.mp4", 5, 30)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    matrix = [0, 0x10000, 0, -0x10000, 0, 0, 96 << 16, 0, 0x40000000]  # Apple: portrait, home button at the bottom
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    clockwise = np.rot90(numbered_frame(3), -1)
    assert np.abs(VideoSource(path).read(3, 4)[0].astype(int) - clockwise).mean() < 6


def test_size_by_area_divides_by_16_and_never_exceeds():
    assert area_size(1920, 1080, 1280 * 720) == (1280, 720)
    assert area_size(1080, 1920, 1280 * 720) == (720, 1280)
    assert area_size(1920, 1080, 832 * 480) == (832, 464)  # upstream's resize_by_area gives the same
    rng = np.random.default_rng(0)
    for _ in range(500):
        width, height = (int(n) for n in rng.integers(100, 4000, 2))
        w, h = area_size(width, height, 500_000)
        assert w % 16 == 0 and h % 16 == 0 and w * h <= 500_000
        assert (w + 16) * (h + 16) > 500_000, "a whole block was given away"


def test_exact_size_is_letterboxed(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 5, 30)
    frames = VideoSource(path, size=(128, 128)).read(0, 5)
    assert frames.shape == (5, 128, 128, 3) and frames.dtype == np.uint8
    assert not frames[:, :25].any() and not frames[:, -25:].any()
    assert numbers(frames[:, 26:102]) == list(range(5))


def test_a_size_that_changes_within_the_clip_is_brought_to_the_first(tmp_path):
    parts = [
        write_clip(tmp_path / f"{width}.h264", 10, 30, format="h264", width=width, height=height).read_bytes()
        for width, height in ((160, 96), (320, 192), (96, 160))
    ]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(parts))
    frames = every(VideoSource(path))
    assert frames.shape[1:] == (96, 160, 3)
    assert numbers(frames[:20]) == 2 * list(range(10))
    assert not frames[25][:, :40].any() and frames[25][:, 60:100].any()


def test_shrinking_averages_areas(tmp_path):
    checker = lambda i, w, h: np.repeat(((np.indices((h, w)).sum(0) % 2) * 255).astype(np.uint8)[..., None], 3, 2)  # noqa: E731
    path = write_clip(tmp_path / "a.mkv", 2, 30, "ffv1", {}, 256, 256, frame=checker, pix_fmt="bgr0")
    assert np.ptp(VideoSource(path, size=(64, 64)).read(0, 1)) <= 1


# ---------------------------------------------------------------- how they are reached


@pytest.fixture(scope="module")
def long_gop(tmp_path_factory):
    options = {"g": "90", "bf": "3", "preset": "veryfast"}
    return write_clip(tmp_path_factory.mktemp("gop") / "g.mp4", 300, 30, options=options)


def test_random_access_equals_reading_through(long_gop):
    through = every(VideoSource(long_gop))
    assert numbers(through) == list(range(300))
    source = VideoSource(long_gop)
    rng = np.random.default_rng(1)
    for start in [299, 0, 90, 89, 91, 179, 180, 298, *rng.integers(0, 296, 25)]:
        stop = min(int(start) + 3, 300)
        assert np.array_equal(source.read(int(start), stop), through[start:stop]), f"frame {start}"


@pytest.mark.parametrize(
    "options", [{"g": "12", "bf": "3", "x264-params": "open-gop=1"}, {"g": "1"}, {"g": "2", "bf": "1"}]
)
def test_random_access_with_close_and_open_groups(tmp_path, options):
    path = write_clip(tmp_path / "o.mp4", 80, 30, options={"preset": "veryfast", **options})
    through = every(VideoSource(path))
    source = VideoSource(path)
    for start in np.random.default_rng(2).permutation(80):
        assert np.array_equal(source.read(int(start), int(start) + 1)[0], through[start]), f"frame {start}"


@pytest.mark.parametrize("overlap", [1, 5, 9])
def test_chained_segments_decode_each_frame_once(long_gop, overlap):
    source = VideoSource(long_gop)
    opening = source.decoded
    start = 0
    while start + 77 <= len(source):
        assert numbers(source.read(start, start + 77)) == list(range(start, start + 77))
        start += 77 - overlap
    last = start + overlap
    assert source.decoded - opening <= last + 1


def test_jumping_ahead_starts_at_the_nearest_keyframe(long_gop):
    source = VideoSource(long_gop)
    source.read(0, 2)
    before = source.decoded
    assert numbers(source.read(275, 277)) == [275, 276]
    assert source.decoded - before <= 12


def test_close_and_read_again(long_gop):
    source = VideoSource(long_gop)
    first = source.read(100, 103)
    source.close()
    source.close()
    assert np.array_equal(source.read(100, 103), first)


def test_two_threads_read_one_source(long_gop):
    source, wrong = VideoSource(long_gop), []

    def work(seed):
        for start in np.random.default_rng(seed).integers(0, 290, 8):
            if numbers(source.read(int(start), int(start) + 4)) != list(range(start, start + 4)):
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_file_objects(long_gop):
    held = io.BytesIO(long_gop.read_bytes())
    held.seek(17)
    one, two = VideoSource(held), VideoSource(held)
    assert held.tell() == 17
    assert numbers(one.read(5, 7)) == [5, 6]
    assert numbers(two.read(200, 202)) == [200, 201]
    assert numbers(one.read(7, 8)) == [7]
    assert one.fingerprint() == VideoSource(long_gop).fingerprint()
    with open(long_gop, "rb") as file:
        assert len(VideoSource(file)) == 300


def test_fingerprint_tells_what_frames_come_out(long_gop, tmp_path):
    base = VideoSource(long_gop).fingerprint()
    assert base == VideoSource(str(long_gop), fps=30.0).fingerprint()
    others = [dict(start=1), dict(limit=7), dict(fps=15), dict(size=(64, 64)), dict(max_area=4096), dict(trim=(1, 1))]
    assert len({base, *(VideoSource(long_gop, **other).fingerprint() for other in others)}) == len(others) + 1
    other = write_clip(tmp_path / "other.mp4", 300, 30, options={"g": "91", "preset": "veryfast"})
    assert VideoSource(other).fingerprint() != base


def decoded_frames():
    """How many are alive."""
    gc.collect()
    return sum(type(found) is av.VideoFrame for found in gc.get_objects())


def test_reading_twice_as_much_takes_no_more_memory(tmp_path):
    path = write_clip(tmp_path / "m.mp4", 600, 30, options={"preset": "ultrafast", "g": "120"}, width=640, height=352)
    held = decoded_frames()
    process, source = psutil.Process(), VideoSource(path)

    def peak(until):
        top = 0
        for start in range(0, until, 50):
            source.read(start, min(start + 50, until))
            top = max(top, process.memory_info().rss)
        gc.collect()
        return top

    peak(300)
    at_300, at_600 = peak(300), peak(600)
    assert at_600 - at_300 < 20 * 640 * 352 * 3, f"300 more frames took {(at_600 - at_300) / 1e6:.1f} MB more"
    assert 0 < decoded_frames() - held <= 24  # of 4:2:0, half of a frame's bytes each


# ---------------------------------------------------------------- the example clip


def test_example_clip(examples):
    source = VideoSource(examples / "video.mp4", max_area=832 * 480)
    assert (len(source), source.fps, source.native_size) == (106, 30, (1920, 1080))
    assert (source.width, source.height) == (832, 464)
    first, again = source.read(0, 106), source.read(5, 7)
    assert np.array_equal(first[5:7], again)
    assert first[:, 100:400, 300:600].std() > 30
    assert read_audio(examples / "video.mp4", 0, 106 / 30)["waveform"].shape[1:] == (2, 169600)
