"""``wan-animate export``: videos in other formats, and what is said of bad input."""

from typing import get_args, get_type_hints

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from wan_animate.errors import InputError
from wan_animate.export.codecs import CODECS, QUALITIES, RANGES
from wan_animate.export.command import app, export
from wan_animate.export.compare import COMPARISONS
from wan_animate.export.encoder import ENCODERS
from wan_animate.record.clip_record import TAG
from wan_animate.video.audio import read_audio
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..support.clips import numbers
from ..video.test_video_hdr import hdr_clip
from .test_save import clip, tone


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "clip.mp4", clip(20), tone(1), metadata={TAG: '{"form": 1}', "prompt": "{}"}, crf=1)
    return tmp_path / "clip.mp4"


def run(*arguments):
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@pytest.mark.parametrize("codec, ending", [("prores_422", ".mov"), ("ffv1", ".mkv"), ("h265", ".mp4")])
def test_frames_sound_and_record_go_over(video, tmp_path, codec, ending):
    out = tmp_path / f"new{ending}"
    result = run(video, "--out", out, "--codec", codec)
    assert result.exit_code == 0 and result.stdout.strip() == str(out) and "20 frames at 30 fps" in result.stderr
    assert numbers(VideoSource(out, fps=0).read(0, 20)) == list(range(20))
    with av.open(str(out)) as container:
        tags = {name.lower(): text for name, text in container.metadata.items()}
    assert tags[TAG] == '{"form": 1}' and tags["prompt"] == "{}"
    heard = read_audio(out)["waveform"]
    assert abs(heard.shape[-1] / 48000 - 20 / 30) < 0.03 and heard.std() > 0.2


def test_sound_replaced_trimmed_and_none(video, tmp_path):
    low = tmp_path / "low.mp4"
    write_video(low, clip(60), tone(2, hertz=220))
    run(video, "--out", tmp_path / "a.mkv", "--codec", "ffv1", "--audio", low, "--audio-seconds", "0.5")
    wave = read_audio(tmp_path / "a.mkv")["waveform"][0, 0].numpy()
    assert np.abs(np.fft.rfft(wave[4000:16000])).argmax() * 4 == 220 and not wave[24000:].any()
    run(video, "--out", tmp_path / "b.mp4", "--no-audio")
    assert read_audio(tmp_path / "b.mp4") is None


def test_beside_the_driver(video, tmp_path):
    run(video, "--out", tmp_path / "c.mp4", "--driver", video, "--compare", "side by side")
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert (container.streams.video[0].width, TAG in container.metadata) == (320, False)


def test_an_hdr_clip_is_said_to_become_sdr(video, tmp_path):
    hdr = hdr_clip(tmp_path / "phone.mp4", width=160, height=96, count=20)
    result = run(hdr, "--out", tmp_path / "new.mp4")
    assert "phone.mp4' is HDR (HLG, BT.2020): it is brought to SDR" in result.stderr
    beside = run(video, "--out", tmp_path / "c.mp4", "--driver", hdr, "--compare", "wipe")
    assert beside.stderr.count("is HDR (HLG") == 1
    assert "HDR" not in run(video, "--out", tmp_path / "d.mp4").stderr


def test_bad_input(video, tmp_path):
    for sentence, given in [
        ("name it new.mov", ["--out", tmp_path / "new.mp4", "--codec", "prores_422"]),
        ("would be written", ["--out", video]),
        ("a new folder", ["--out", tmp_path, "--codec", "png"]),
        ("there is no driver", ["--out", tmp_path / "x.mp4", "--compare", "wipe"]),
        ("read as limited", ["--out", tmp_path / "x.mov", "--codec", "prores_422", "--color-range", "full"]),
        (
            "was not found at",
            ["--out", tmp_path / "x.mp4", "--audio", tmp_path / "none"],
        ),
    ]:
        with pytest.raises(InputError, match=sentence):
            run(video, *given)
    assert run(video, "--out", tmp_path / "x.mp4", "--codec", "mpeg").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_choices_are_the_engines():
    hints = get_type_hints(export)
    engine = {"codec": CODECS, "quality": QUALITIES, "encoder": ENCODERS, "color_range": RANGES, "compare": COMPARISONS}
    assert {name: get_args(hints[name]) for name in engine} == {name: tuple(values) for name, values in engine.items()}
