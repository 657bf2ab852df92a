"""Writing mp4 and contact sheets, atomically."""

import os
import re
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from wan_animate.errors import Cancelled, InputError
from wan_animate.preview.sheet import contact_sheet
from wan_animate.video.audio import audio_digest, fit_audio, read_audio
from wan_animate.video.frames import FrameSource, TensorSource
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_parts, write_video

from ..support.clips import numbered_frame, numbers
from ..support.reads import RecordedSource


def clip(count=40, width=160, height=96, fps=30):
    return TensorSource(np.stack([numbered_frame(i, width, height) for i in range(count)]), fps)


def tone(seconds, rate=48000, hertz=440, channels=1):
    wave = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


class Failing(FrameSource):
    """Raises after some frames."""

    def __init__(self, after, error):
        self.width, self.height, self.after, self.error = 64, 48, after, error

    def __len__(self):
        return 100

    def _read(self, start, stop):
        if stop > self.after:
            raise self.error
        return np.zeros((stop - start, 48, 64, 3), np.uint8)

    def fingerprint(self):
        return "failing"


# ---------------------------------------------------------------- mp4


@pytest.mark.parametrize("fps", [30, Fraction(30000, 1001), 29.97, 25, 16, Fraction(24000, 1001)])
@pytest.mark.parametrize("count", [1, 77])
def test_count_rate_and_duration_are_exact(tmp_path, fps, count):
    path = tmp_path / "v.mp4"
    rate = Fraction(fps).limit_denominator(100_000)
    write_video(path, clip(count), tone(1.0), fps)
    with av.open(str(path)) as container:
        stream, sound = container.streams.video[0], container.streams.audio[0]
        assert stream.frames == count
        assert [packet.size > 0 for packet in container.demux(stream)].count(True) == count
        assert abs(stream.duration * stream.time_base - count / rate) < Fraction(1, 20_000)
        assert abs(sound.duration * sound.time_base - count / rate) < Fraction(1, 1000)
        if count > 1:
            assert stream.average_rate == rate
    back = VideoSource(path, fps=0)
    assert len(back) == count
    if count > 1:
        assert back.fps == rate
        assert numbers(back.read(0, count)) == list(range(count))
    assert os.listdir(tmp_path) == ["v.mp4"]


def test_parts_make_one_clip_and_each_begins_with_a_key_frame(tmp_path):
    path, lengths = tmp_path / "v.mp4", (20, 9, 1, 45)
    whole, starts = clip(sum(lengths)), np.cumsum((0, *lengths))

    def part(start, stop):
        for at in range(start, stop, 8):
            yield whole.read(at, min(at + 8, stop))

    parts = [part(start, stop) for start, stop in zip(starts, starts[1:])]
    write_parts(path, parts, (160, 96), len(whole), 30, tone(3.0))
    source = VideoSource(path)
    frames = source.read(0, len(source))
    assert numbers(frames) == list(range(len(whole)))
    errors = np.abs(frames.astype(np.int16) - whole.read(0, len(whole)).astype(np.int16)).mean(axis=(1, 2, 3))
    assert errors.max() < 2, "coding noise, also where a part begins"
    with av.open(str(path)) as container:
        found = [(frame.pts * frame.time_base, frame.key_frame) for frame in container.decode(video=0)]
    assert [time for time, _ in found] == [Fraction(at, 30) for at in range(len(whole))]
    assert {at for at, (_, key) in enumerate(found) if key} == {0, 20, 29}, "a part of one frame and the next are one"
    with av.open(str(path)) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
        assert sorted(set(times)) == times and len(times) == len(whole)
        sound = container.streams.audio[0]
        assert sound.duration * sound.time_base == pytest.approx(2.5, abs=0.03)


def test_a_part_is_written_before_the_next_is_asked_for(tmp_path):
    """The next comes when its segment is made, minutes later: what was left until then is waited for at the end."""
    noise = np.random.default_rng(0).integers(0, 256, (80, 96, 160, 3), np.uint8)
    write_parts(tmp_path / "alone.mp4", [[noise[:60]]], (160, 96), 60, 30)
    alone, sizes = (tmp_path / "alone.mp4").stat().st_size, []

    def parts():
        yield [noise[:60]]
        sizes.append(max(file.stat().st_size for file in tmp_path.iterdir() if file.name != "alone.mp4"))
        yield [noise[60:]]

    write_parts(tmp_path / "both.mp4", parts(), (160, 96), 80, 30)
    assert sizes[0] > alone - 280_000 > alone / 2, "x264 looks 50 frames ahead, and FFmpeg writes 256 KB at once"


def test_the_fps_of_the_source_is_the_default(tmp_path):
    write_video(tmp_path / "v.mp4", clip(10, fps=Fraction(24000, 1001)))
    assert VideoSource(tmp_path / "v.mp4", fps=0).fps == Fraction(24000, 1001)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert not container.streams.audio


def test_tags_faststart_and_metadata(tmp_path):
    texts = {"prompt": '{"1": {"inputs": {"text": "a \\"b\\" ü"}}}', "workflow": "x" * 20_000}
    write_video(tmp_path / "v.mp4", clip(5), metadata=texts)
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come before the pictures"
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range) == (1, 1, 1, 1)
        assert {name: container.metadata[name] for name in texts} == texts


def test_colours_come_back(tmp_path):
    """RGB -> BT.709 4:2:0 -> RGB within rounding, without drift of the mean."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (60, 3))
    frames = np.broadcast_to(colours[:, None, None].astype(np.uint8), (60, 48, 64, 3))
    write_video(tmp_path / "v.mp4", TensorSource(np.ascontiguousarray(frames)), crf=1)
    back = VideoSource(tmp_path / "v.mp4").read(0, 60).astype(int)
    assert np.abs(back - frames).max() <= 3
    assert abs((back - frames).mean()) < 0.1


def test_floats_are_rounded(tmp_path):
    frames = torch.full((3, 48, 64, 3), 100.6 / 255)
    write_video(tmp_path / "v.mp4", TensorSource(frames), crf=1)
    assert abs(VideoSource(tmp_path / "v.mp4").read(0, 3).mean() - 101) < 0.5


@pytest.mark.parametrize(
    "rate, channels, seconds", [(48000, 1, 0.5), (44100, 2, 9.0), (16000, 1, 2.0), (192000, 2, 2.0), (48000, 6, 2.0)]
)
def test_sound_is_cut_or_padded_to_the_picture(tmp_path, rate, channels, seconds):
    write_video(tmp_path / "v.mp4", clip(60), tone(seconds, rate, channels=channels))
    sound = read_audio(tmp_path / "v.mp4", 0, 2.0)
    wave, got = sound["waveform"][0].numpy(), sound["sample_rate"]
    assert wave.shape == (min(channels, 2), 2 * got)
    heard = round(min(seconds, 2.0) * got)
    assert wave[0, 2000 : heard - 2000].std() > 0.2
    if seconds < 2:
        assert np.abs(wave[0, heard + 4000 :]).max() < 0.01
    peak = np.fft.rfft(wave[0, 4000 : 4000 + got // 4]).__abs__().argmax() * 4
    assert abs(peak - 440) <= 4


def test_cancel_leaves_nothing_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"the one from yesterday")

    def cancel(done, total):
        assert total == 40
        if done >= 16:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_video(path, clip(40), tone(1), progress=cancel)
    assert os.listdir(tmp_path) == ["v.mp4"] and path.read_bytes() == b"the one from yesterday"


@pytest.mark.parametrize(
    "error", [InputError("frame 20 is damaged."), RuntimeError("no memory"), KeyboardInterrupt("^C")]
)
def test_an_error_in_the_frames_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        write_video(tmp_path / "v.mp4", Failing(20, error))
    assert os.listdir(tmp_path) == []


def test_progress_reaches_the_end(tmp_path):
    seen = []
    write_video(tmp_path / "v.mp4", clip(21), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (21, 21) and [done for done, _ in seen] == sorted({done for done, _ in seen}) and len(seen) >= 3


def test_frames_are_read_in_small_chunks(tmp_path):
    source = RecordedSource(clip(40).read(0, 40))
    write_video(tmp_path / "v.mp4", source)
    sizes = [stop - start for start, stop in source.reads]
    assert max(sizes) <= 16 and sum(sizes) == 40


def test_what_cannot_be_written(tmp_path):
    for match, path, source in [
        ("there is no folder", tmp_path / "no" / "v.mp4", clip(2)),
        ("is a folder", tmp_path, clip(2)),
        ("even sides", tmp_path / "v.mp4", clip(2, 161, 96)),
        ("is a mask", tmp_path / "v.mp4", TensorSource(torch.zeros(2, 48, 64))),
    ]:
        with pytest.raises(InputError, match=match):
            write_video(path, source)
    assert os.listdir(tmp_path) == []


def test_output_folder_that_refuses_writing(tmp_path):
    """A folder that is not writable (for root: /proc)."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        folder = "/proc/self"
        if not os.path.isdir(folder):
            pytest.skip("running as an administrator without /proc: run the tests as an ordinary user to see this one")
    with pytest.raises(InputError, match="cannot be written to the folder"):
        write_video(os.path.join(folder, "v.mp4"), clip(2))


def test_the_disk_fills_up(tmp_path):
    """A file size limit fails like a full disk."""
    path = tmp_path / "v.mp4"
    resource = pytest.importorskip("resource", reason="no file size limits on this system: run on Linux or macOS")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 160, 3), dtype=np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(InputError, match="the video cannot be written to .*(File too large).*: free space there"):
            write_video(path, TensorSource(noise), crf=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- contact sheet


def test_contact_sheet(tmp_path):
    path = tmp_path / "sheet.png"
    white = TensorSource(torch.ones(9, 96, 160, 3))
    red = TensorSource(torch.tensor([1.0, 0, 0]).expand(30, 200, 100, 3))
    mask = torch.zeros(30, 64, 64)
    mask[:, 16:48, 16:48] = 1
    contact_sheet(path, [("short", white), ("red", red), ("mask", TensorSource(mask))], rows=4)
    sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    assert sheet.shape[0] == 40 + 4 * 188
    # moments 0, 10, 19, 29: the first clip has 9 frames, so it shows in the first row only
    white_rows = (sheet == 255).all(2)[:, 96:396].sum(1) > 200
    assert white_rows[40:220].all() and not white_rows[230:].any()
    assert (sheet == (255, 0, 0)).all(2).sum() == 4 * 180 * 90
    grey = sheet[40:220, -188:-8]
    assert np.ptp(grey, axis=2).max() == 0 and grey[90, 90, 0] > 180 and 0 < grey[10, 10, 0] < 40
    assert sheet[:36].max() > 200, "the labels"
    with pytest.raises(InputError, match="at least one clip"):
        contact_sheet(path, [])
    with pytest.raises(InputError, match="there is no folder"):
        contact_sheet(tmp_path / "no" / "s.png", [("a", white)])


def test_contact_sheet_of_one_frame(tmp_path):
    narrow = TensorSource(torch.ones(1, 200, 20, 3))
    contact_sheet(tmp_path / "one.png", [("a rather long label for a narrow clip", narrow)])
    assert cv2.imread(str(tmp_path / "one.png")).shape[0] == 40 + 188


def test_sounds_are_known_by_their_samples_and_rate():
    one = tone(0.1)
    louder = {**one, "waveform": one["waveform"] * 2}
    assert audio_digest(one) == audio_digest({**one, "waveform": one["waveform"].clone()}) != ""
    others = [louder, {**one, "sample_rate": 44100}, tone(0.1, channels=2), tone(0.2)]
    assert len({audio_digest(one), *map(audio_digest, others), audio_digest(None)}) == 6
    for bad in ({"waveform": one["waveform"]}, {"waveform": torch.zeros(3), "sample_rate": 8000}):
        for use in (audio_digest, lambda audio: fit_audio(audio, 1.0)):
            with pytest.raises(InputError, match="audio.* (must have a waveform and a sample_rate|has the shape)"):
                use(bad)
