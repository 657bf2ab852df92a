"""Errors of unreadable videos; audio of a range."""

import io

import av
import cv2
import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.video.audio import fit_audio, read_audio
from wan_animate.video.source import VideoSource

from ..support.clips import cut_file, numbers, write_clip


def every(source):
    return source.read(0, len(source))


# ---------------------------------------------------------------- what is said


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    options = {"preset": "veryfast", "g": "250", "bf": "2"}
    write_clip(folder / "end.mp4", 120, 30, options=options)
    write_clip(folder / "fast.mp4", 120, 30, options=options, faststart=True, tone=440)
    write_clip(folder / "a.mkv", 120, 30, options=options, tone=440)
    write_clip(folder / "a.webm", 120, 30, "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
    return folder


def refused(match, *args, **kwargs):
    with pytest.raises(InputError, match=match) as caught:
        VideoSource(*args, **kwargs)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_not_a_video(tmp_path):
    refused("was not found", tmp_path / "none.mp4")
    refused("is a folder", tmp_path)
    refused("no video file was named", "")
    (tmp_path / "empty.mp4").touch()
    refused("is empty", tmp_path / "empty.mp4")
    for name in ("text.mp4", "text.txt"):
        (tmp_path / name).write_text("to be, or not to be\n" * 200)
        refused("text|cannot be opened", tmp_path / name)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    refused("still picture", tmp_path / "a.png")
    refused("path or a file object", 5)
    refused("is empty", io.BytesIO())


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "s.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    refused("sound only", tmp_path / "s.wav")


def test_zero_frames(tmp_path):
    data = bytearray(write_clip(tmp_path / "a.mp4", 5, 30).read_bytes())
    for box in (b"stts", b"stsz", b"stsc", b"stco", b"stss", b"ctts"):  # every table of samples says: none
        at = data.find(box)
        if at > 0:
            count = at + 8 + (4 if box == b"stsz" else 0)
            data[count : count + 4] = bytes(4)
    (tmp_path / "z.mp4").write_bytes(data)
    refused("no frames|cannot be opened", tmp_path / "z.mp4")


def test_cut_off_before_its_index(whole, tmp_path):
    refused("cut off before its index", cut_file(whole / "end.mp4", tmp_path / "c.mp4", 0.5))


@pytest.mark.parametrize("name", ["fast.mp4", "a.mkv", "a.webm"])
def test_cut_off_in_the_middle(whole, tmp_path, name):
    assert len(VideoSource(whole / name)) == 120
    cut = cut_file(whole / name, tmp_path / name, 0.5)
    refused(r"cut off: \d+ of about 1[12]\d frames \(\d\.\d s\) can be read; .* set limit to \d+ or less", cut)
    part = VideoSource(cut, start=5, limit=20)
    assert numbers(every(part)) == list(range(5, 25)), "the part that is whole can be used"
    assert len(VideoSource(cut, fps=30, trim=(0, 0.5))) == 15


def test_a_missing_last_frame_is_forgiven(whole, tmp_path):
    source = VideoSource(cut_file(whole / "fast.mp4", tmp_path / "c.mp4", 0.9985))
    assert 118 <= len(source) <= 120
    assert len(every(source)) == len(source)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("plain") / "g.mp4", 300, 30)


def test_numbers_that_cannot_work(plain):
    refused("start is frame 300, but .* has 300 frames", plain, start=300)
    refused("start is -1", plain, start=-1)
    refused("limit is -1", plain, limit=-1)
    refused("fps is -3", plain, fps=-3)
    refused("fps is nan", plain, fps=float("nan"))
    refused("trim .* starts at 11 s", plain, trim=(11, 1))
    refused("neither may be negative", plain, trim=(-1, 1))
    refused("too small", plain, max_area=100)
    refused("choose one", plain, max_area=10000, size=(64, 64))
    with pytest.raises(IndexError):
        VideoSource(plain).read(290, 301)


def test_damage_names_the_frame_and_its_time(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 60, 30, options={"g": "60", "bf": "0", "preset": "veryfast"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    at, size = places[30]
    data[at + 4 : at + size] = b"\xff" * (size - 4)
    (tmp_path / "d.mkv").write_bytes(data)
    source = VideoSource(tmp_path / "d.mkv")
    with pytest.raises(InputError, match=r"frame \d+ \(at [01]\.\d+ s\) of 60 cannot be decoded"):
        every(source)
    assert numbers(source.read(0, 20)) == list(range(20)), "the frames before it can still be read"


def test_a_file_that_goes_away(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 20, 30)
    source = VideoSource(path)
    path.unlink()
    with pytest.raises(InputError, match="is gone"):
        source.read(0, 1)


# ---------------------------------------------------------------- sound


def test_sound_of_a_stretch(whole):
    sound = read_audio(whole / "fast.mp4", 1.25, 2.0)
    wave, rate = sound["waveform"], sound["sample_rate"]
    assert (wave.shape, rate, wave.dtype.is_floating_point) == ((1, 1, 96000), 48000, True)
    expected = 0.5 * np.sin(2 * np.pi * 440 * (np.arange(96000) / 48000 + 1.25))
    # AAC errs here and there; a shift of ten samples would err by 0.27 on average
    assert np.median(np.abs(wave[0, 0].numpy() - expected)) < 0.03, "the stretch is not where it should be"
    assert read_audio(whole / "a.webm") is None
    assert read_audio(whole / "fast.mp4", 60, 1) is None
    assert abs(read_audio(whole / "a.mkv")["waveform"].shape[-1] / 48000 - 4) < 0.05


def test_sound_is_fitted_to_the_length():
    sound = {"waveform": np.full((1, 6, 1000), 0.5, np.float32), "sample_rate": 1000}
    samples, rate = fit_audio(sound, 2.0)
    assert samples.shape == (2, 2000) and rate == 1000 and not samples[:, 1000:].any() and samples[:, :1000].min() > 0.4
    assert fit_audio({"waveform": np.zeros((1, 1, 1000)), "sample_rate": 1000}, 0.3)[0].shape == (1, 300)
    with pytest.raises(InputError, match="waveform"):
        fit_audio({"waveform": np.zeros(5), "sample_rate": 1000}, 1)
    with pytest.raises(InputError, match="AUDIO"):
        fit_audio({}, 1)
