"""Clips saved in every format, looked at by ffprobe where it is there, else by PyAV, and read back."""

import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from wan_animate.errors import Cancelled, InputError
from wan_animate.export.codecs import CODECS, QUALITIES
from wan_animate.export.movie import Movie
from wan_animate.export.save import ClipFormat, save_clip
from wan_animate.video.frames import FrameSource, TensorSource
from wan_animate.video.picture import read_picture
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, numbers

MOVIES = [name for name, codec in CODECS.items() if codec.container in ("mp4", "mov", "matroska")]
NAMES = {"h265": "hevc", "prores_422": "prores", "prores_4444": "prores"}  # FFmpeg's, where they are others
SOUND = {"mp4": "aac", "mov": "pcm_s24le", "matroska": "flac"}


def clip(count=20, width=160, height=96, fps=30):
    return TensorSource(np.stack([numbered_frame(i, width, height) for i in range(count)]), fps)


def tone(seconds, rate=48000, hertz=440, channels=2):
    wave = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


def chart():
    """48 colours in patches of 32 pixels, black, white and the primaries among them."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    colours[0, :5] = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return np.repeat(np.repeat(colours, 32, 0), 32, 1)


def probe(path):
    """{"video": ..., "audio": ...}: what ffprobe says of the streams; without it, what PyAV does."""
    if shutil.which("ffprobe"):
        line = ["ffprobe", "-v", "error", "-count_packets", "-show_streams", "-of", "json", str(path)]
        streams = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)["streams"]
        found = {one["codec_type"]: one for one in streams}
        video = found["video"]
        return {
            "codec": video["codec_name"],
            "tag": video["codec_tag_string"],
            "colours": [video.get(name, "unknown") for name in ("color_primaries", "color_transfer", "color_space")],
            "range": video.get("color_range", "unknown"),
            "rate": Fraction(video["r_frame_rate"]),
            "count": int(video["nb_read_packets"]),
            "sound": found["audio"]["codec_name"] if "audio" in found else None,
        }
    names = {1: "bt709", 13: "iec61966-2-1", 0: "gbr", 2: "unknown"}
    ranges = {0: "unknown", 1: "tv", 2: "pc"}
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], next(iter(container.streams.audio), None)
        context = video.codec_context
        colours = [names[int(one)] for one in (context.color_primaries, context.color_trc, context.colorspace)]
        return {
            "codec": {"libdav1d": "av1"}.get(context.codec.name, context.codec.name),
            "tag": context.codec_tag,
            "colours": colours,
            "range": ranges[int(context.color_range)],
            "rate": video.average_rate,
            "sound": sound.codec_context.name if sound else None,
            "count": sum(packet.size > 0 for packet in container.demux(video)),
        }


# ---------------------------------------------------------------- movies


@pytest.mark.parametrize("fps", [30, Fraction(24000, 1001), 60])
@pytest.mark.parametrize("name", MOVIES)
def test_codec_tags_rate_and_count_are_exact(tmp_path, name, fps):
    codec = CODECS[name]
    path = tmp_path / f"v{codec.ending}"
    done = []
    saved = save_clip(path, clip(20, fps=fps), ClipFormat(name), tone(1), progress=lambda *now: done.append(now))
    found = probe(path)
    assert (found["codec"], found["count"], found["rate"]) == (NAMES.get(name, name), 20, fps)
    wanted = ["bt709", "iec61966-2-1", "gbr"] if name == "ffv1" else ["bt709"] * 3
    assert found["colours"] == wanted
    # FFmpeg 7 and older read no range from ProRes, which is always limited
    assert found["range"] in {"ffv1": ("pc",), "prores_422": ("tv", "unknown"), "prores_4444": ("tv", "unknown")}.get(
        name, ("tv",)
    )
    assert found["sound"] == SOUND[codec.container] and done[-1] == (20, 20) and len(done) >= 3
    if name == "h265":
        assert found["tag"] == "hvc1"
    back = VideoSource(path, fps=0)
    assert back.fps == fps and numbers(back.read(0, 20)) == list(range(20))
    assert f"20 frames at {float(fps):.6g} fps" in saved.text() and "with sound" in saved.text()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has these")
def test_no_encoder_leaves_real_time_threads(tmp_path):
    """SVT-AV1 does where it runs as root: a server was starved by the browser it had started."""
    for name in MOVIES:
        path, codec = str(tmp_path / f"v{CODECS[name].ending}"), CODECS[name]
        with Movie(path, codec, codec.encoders[-1], "small", (64, 64), Fraction(30)) as movie:
            for _ in range(2):
                movie.write(np.zeros((2, 64, 64, 3), np.uint8))
                policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
                assert not policies & {os.SCHED_FIFO, os.SCHED_RR}, name
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("name", [name for name in MOVIES if CODECS[name].full])
def test_full_range_is_tagged_and_read_back(tmp_path, name):
    path = tmp_path / "v.mp4"
    frames = np.repeat(chart()[None], 3, 0)
    save_clip(path, TensorSource(frames), ClipFormat(name, "best", "software", "full"))
    found = probe(path)
    assert found["range"] == "pc" and found["colours"] == ["bt709"] * 3 and found["sound"] is None
    back = VideoSource(path).read(1, 2)[0].astype(int)
    assert np.abs(back - frames[1])[8::32, 8::32].max() <= (1 if name != "h264" else 3)


@pytest.mark.parametrize(
    "name, levels",
    [("h264", 2), ("h265", 1), ("av1", 1), ("prores_422", 1), ("prores_4444", 0), ("ffv1", 0), ("png", 0), ("webp", 0)],
)
def test_a_colour_chart_comes_back(tmp_path, name, levels):
    """Within a level where the format can: 8 bits of limited range cannot (H.264), 256 colours neither (GIF)."""
    codec = CODECS[name]
    frames = np.stack([chart(), 255 - chart(), chart()])
    path = tmp_path / f"v{codec.ending}"
    save_clip(path, TensorSource(frames), ClipFormat(name, "best", "software"))
    back = read_back(path)
    error = np.abs(back.astype(int) - frames)
    assert error[:, 8::32, 8::32].max() <= levels, "in the middle of a patch"
    if not CODECS[name].encoders[-1].pixels.startswith(("yuv420", "yuv422", "nv12")):
        assert error.max() <= levels, "and at its edges"
    assert abs((back.astype(float) - frames)[:, 8::32, 8::32].mean()) < 0.2


def read_back(path):
    if path.is_dir():
        return np.stack([np.asarray(Image.open(path / name)) for name in sorted(os.listdir(path)) if ".png" in name])
    if path.suffix in (".webp", ".gif"):
        with Image.open(path) as file:
            frames = []
            for number in range(file.n_frames):
                file.seek(number)
                frames.append(np.asarray(file.convert("RGB")))
            return np.stack(frames)
    source = VideoSource(path, fps=0)
    return source.read(0, len(source))


@pytest.mark.parametrize("name", ["h264", "h265", "av1", "prores_422"])
def test_a_lower_quality_is_smaller_and_further_off(tmp_path, name):
    rng = np.random.default_rng(0)
    noise = np.repeat(np.repeat(rng.integers(0, 256, (8, 24, 40, 3)), 4, 1), 4, 2).astype(np.uint8)
    sizes, errors = [], []
    for quality in QUALITIES:
        path = tmp_path / f"{quality}{CODECS[name].ending}"
        save_clip(path, TensorSource(noise), ClipFormat(name, quality, "software"))
        sizes.append(path.stat().st_size)
        errors.append(np.abs(VideoSource(path).read(0, 8).astype(int) - noise).mean())
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)
    assert sizes[-1] < 0.9 * sizes[0] and errors[-1] > errors[0]


# ---------------------------------------------------------------- pictures, GIF, WebP


def test_pictures_are_numbered_and_the_sound_lies_beside(tmp_path):
    path = tmp_path / "100% done"
    save_clip(path, clip(5, 161, 97), ClipFormat("png"), tone(3))
    assert sorted(os.listdir(path)) == [*(f"{number:06}.png" for number in range(5)), "sound.wav"]
    back = np.stack([read_picture(path / f"{number:06}.png").numpy() for number in range(5)])
    assert np.array_equal((back * 255).round().astype(np.uint8), clip(5, 161, 97).read(0, 5)), "odd sides too"
    assert read_audio_length(path / "sound.wav") == 8000
    assert os.listdir(tmp_path) == ["100% done"]
    with pytest.raises(InputError, match="is there already: name a new folder"):
        save_clip(path, clip(5), ClipFormat("png"))
    assert len(os.listdir(path)) == 6


def read_audio_length(path):
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(audio=0))


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name, fps", [("gif", 25), ("gif", 30), ("webp", 30), ("webp", 60)])
def test_animations_have_every_frame_and_last_as_long(tmp_path, name, fps, quality):
    path = tmp_path / f"v.{name}"
    source = clip(12, fps=fps)
    saved = save_clip(path, source, ClipFormat(name, quality), tone(1))
    assert "silent" in saved.text()
    with Image.open(path) as file:
        assert file.n_frames == 12 and file.info["loop"] == 0
        times = []
        for number in range(12):
            file.seek(number)
            file.load()
            times.append(file.info["duration"])
    assert abs(sum(times) - 12000 / fps) <= 10 and max(times) - min(times) <= 10
    assert numbers(read_back(path)) == list(range(12))


# ---------------------------------------------------------------- what is refused, Cancel, a full disk


class Failing(FrameSource):
    """Raises after some frames."""

    def __init__(self, error):
        self.width, self.height, self.error = 64, 48, error

    def __len__(self):
        return 100

    def _read(self, start, stop):
        if stop > 20:
            raise self.error
        return np.zeros((stop - start, 48, 64, 3), np.uint8)

    def fingerprint(self):
        return "failing"


@pytest.mark.parametrize("name", list(CODECS))
@pytest.mark.parametrize("error", [InputError("frame 20 is damaged."), Cancelled("stop"), KeyboardInterrupt("^C")])
def test_nothing_half_written_is_left(tmp_path, name, error):
    path = tmp_path / f"v{CODECS[name].ending}"
    with pytest.raises(type(error), match=re.escape(str(error))):
        save_clip(path, Failing(error), ClipFormat(name), tone(1), preview=tmp_path / "small.mp4")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["h265", "ffv1", "png", "gif"])
def test_the_disk_fills_up(tmp_path, name):
    """A file size limit fails like a full disk."""
    import signal

    resource = pytest.importorskip("resource", reason="no file size limits on this system: run on Linux or macOS")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (12, 96, 160, 3), dtype=np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match="the clip cannot be written to .*: free space there and save it again"):
            save_clip(tmp_path / f"v{CODECS[name].ending}", TensorSource(noise), ClipFormat(name, "best"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_saved(tmp_path):
    for sentence, form, source in [
        ("'mpeg'.* one of h264", ClipFormat("mpeg"), clip(2)),
        ("quality is 'good'", ClipFormat(quality="good"), clip(2)),
        ("ProRes 422 is read as limited", ClipFormat("prores_422", color_range="full"), clip(2)),
        ("60 frames a second, and a GIF shows at most 50", ClipFormat("gif"), clip(2, fps=60)),
        ("at least 16 pixels", ClipFormat(), clip(2, 8, 8)),
        ("neither may be negative", ClipFormat(audio_start=-1), clip(2)),
        ("there is no folder", ClipFormat(), None),
    ]:
        path = tmp_path / "v.mp4" if source is not None else tmp_path / "no" / "v.mp4"
        with pytest.raises(InputError, match=sentence):
            save_clip(path, source or clip(2), form)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["h264", "ffv1", "png"])
def test_masks_are_white_on_black(tmp_path, name):
    masks = torch.zeros(4, 48, 64)
    masks[:, 8:40, 16:48] = 1
    path = tmp_path / f"v{CODECS[name].ending}"
    save_clip(path, TensorSource(masks), ClipFormat(name, "best"), preview=tmp_path / "small.mp4")
    assert np.array_equal(read_back(path) > 127, np.repeat(masks.numpy()[..., None] > 0.5, 3, axis=-1))


def test_odd_sides_lose_a_row_where_the_format_has_none(tmp_path):
    for name, size in [("h264", (160, 96)), ("prores_422", (160, 97)), ("prores_4444", (161, 97)), ("ffv1", (161, 97))]:
        path = tmp_path / f"{name}{CODECS[name].ending}"
        saved = save_clip(path, clip(3, 161, 97), ClipFormat(name))
        back = VideoSource(path)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == size == saved.size
        assert len(back) == 3


# ---------------------------------------------------------------- tags, memory


@pytest.mark.parametrize("name", MOVIES)
def test_texts_go_into_the_file(tmp_path, name):
    texts = {"prompt": '{"a": "\\"b\\" ü"}', "wan_animate_kit": "x" * 20_000}
    path = tmp_path / f"v{CODECS[name].ending}"
    save_clip(path, clip(3), ClipFormat(name), tags=texts)
    with av.open(str(path)) as container:
        found = {key.lower(): text for key, text in container.metadata.items()}
    assert {key: found[key] for key in texts} == texts


def test_the_preview_is_small_and_of_the_same_reading(tmp_path):
    source = clip(9, 1600, 400)
    reads = []
    source.read = lambda start, stop: (reads.append((start, stop)), TensorSource.read(source, start, stop))[1]
    save_clip(tmp_path / "v.mkv", source, ClipFormat("ffv1"), tone(1), preview=tmp_path / "small.mp4")
    small = probe(tmp_path / "small.mp4")
    assert (small["codec"], small["count"], small["sound"]) == ("h264", 9, "aac")
    back = VideoSource(tmp_path / "small.mp4")
    assert (back.native_size or (back.width, back.height)) == (768, 192)
    assert sum(stop - start for start, stop in reads) == 9 and max(stop - start for start, stop in reads) <= 8


class Long(FrameSource):
    """Many frames, which are made when read."""

    def __init__(self, count):
        self.width, self.height, self.count, self.most = 320, 192, count, 0

    def __len__(self):
        return self.count

    def _read(self, start, stop):
        self.most = max(self.most, stop - start)
        grey = (np.arange(start, stop) % 256).astype(np.uint8)[:, None, None, None]
        return np.broadcast_to(grey, (stop - start, self.height, self.width, 3))

    def fingerprint(self):
        return f"long:{self.count}"


def test_memory_does_not_grow_with_the_clip(tmp_path):
    """Ten times the frames take no more, with sound and preview: 600 of them would be 110 MB."""
    psutil = pytest.importorskip("psutil")
    here = psutil.Process()

    def most(count):
        found = []
        source = Long(count)
        save_clip(
            tmp_path / f"{count}.mp4", source, ClipFormat("h264", "small", "software"), tone(1),
            progress=lambda *_: found.append(here.memory_info().rss), preview=tmp_path / "small.mp4",
        )  # fmt: skip
        assert source.most <= 8
        return max(found)

    short = max(most(60), most(60))
    assert most(600) - short < 30e6


def test_two_frames_of_h265_are_saved_every_time(tmp_path):
    """With B-frames x265 gave one clip in fifty decoding times that no mp4 takes."""
    two = TensorSource(np.full((2, 96, 160, 3), 90, np.uint8), Fraction(30))
    for number in range(80):
        save_clip(tmp_path / f"{number}.mp4", two, ClipFormat("h265", "high"))
