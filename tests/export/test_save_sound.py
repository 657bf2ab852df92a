"""The sound of saved clips: length, step with the pictures, parts."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from wan_animate.export.codecs import CODECS
from wan_animate.export.save import ClipFormat, save_clip
from wan_animate.video.audio import read_audio
from wan_animate.video.derived import PartSource

from .test_save import clip, tone

SOUNDS = [(0.4, 48000, 2), (5.0, 44100, 1), (2.0, 16000, 2), (2.0, 48000, 6)]


@pytest.mark.parametrize("seconds, rate, channels", SOUNDS)
@pytest.mark.parametrize("name", ["h264", "prores_422", "ffv1"])
def test_sound_is_as_long_as_the_clip(tmp_path, name, seconds, rate, channels):
    path = tmp_path / f"v{CODECS[name].ending}"
    save_clip(path, clip(33), ClipFormat(name), tone(seconds, rate, channels=channels))
    with av.open(str(path)) as container:
        sound, picture = container.streams.audio[0], container.streams.video[0]
        if sound.duration is not None:  # Matroska has it for the whole file
            assert abs(sound.duration * sound.time_base - Fraction(33, 30)) < Fraction(1, 1000)
            assert abs(picture.duration * picture.time_base - Fraction(33, 30)) < Fraction(1, 10_000)
        assert abs(container.duration / av.time_base - 1.1) < 0.03
    heard = read_audio(path, 0, 1.1)
    assert heard["waveform"].shape[-1] == round(1.1 * heard["sample_rate"])
    wave = heard["waveform"][0, 0].numpy()
    last = round(min(seconds, 1.1) * heard["sample_rate"])
    assert wave[2000 : last - 2000].std() > 0.2
    if seconds < 1:
        assert np.abs(wave[last + 2000 :]).max() < 0.01, "padded with silence"


@pytest.mark.parametrize("name", ["h264", "h265", "prores_422", "ffv1"])
def test_sound_is_in_step_with_the_pictures(tmp_path, name):
    """A click at 0.3 s of the sound is heard at 0.3 s of the picture, within a millisecond."""
    path = tmp_path / f"v{CODECS[name].ending}"
    save_clip(path, clip(30, fps=24), ClipFormat(name), clicks(1.25))
    heard = read_audio(path, 0, 1.25)
    wave, rate = np.abs(heard["waveform"][0, 0].numpy()), heard["sample_rate"]
    for tenth in range(1, 12):
        around = wave[round((tenth / 10 - 0.05) * rate) : round((tenth / 10 + 0.05) * rate)]
        assert abs(np.flatnonzero(around > 0.4)[0] / rate - 0.05) < 0.001


def test_a_part_of_a_clip_has_its_own_part_of_the_sound(tmp_path):
    source = clip(60)
    source.part_of = (0, 60)
    sound = {"waveform": torch.arange(96000) / 96000, "sample_rate": 48000}
    sound["waveform"] = sound["waveform"].expand(1, 1, -1)
    save_clip(tmp_path / "v.mkv", PartSource(source, 15, 45), ClipFormat("ffv1"), sound)
    wave = read_audio(tmp_path / "v.mkv")["waveform"][0, 0]
    assert len(wave) == 48000 and abs(wave[0] - 0.25) < 1e-3 and abs(wave[-1] - 0.75) < 1e-3


@pytest.mark.parametrize("start, seconds", [(0.5, 0.0), (0.0, 0.25), (0.5, 0.25), (9.0, 0.0)])
def test_sound_is_trimmed(tmp_path, start, seconds):
    wave = torch.arange(1, 96001) / 96000
    sound = {"waveform": wave.expand(1, 1, -1), "sample_rate": 48000}
    form = ClipFormat("ffv1", audio_start=start, audio_seconds=seconds)
    save_clip(tmp_path / "v.mkv", clip(30), form, sound)
    heard = read_audio(tmp_path / "v.mkv")
    if start > 2:
        assert heard is None, "there is no sound from there on"
        return
    got = heard["waveform"][0, 0]
    last = round(seconds * 48000) or 48000
    assert len(got) == 48000 and abs(got[0] - start / 2) < 1e-3
    assert abs(got[last - 1] - (start + last / 48000) / 2) < 1e-3
    assert not got[last:].any(), "silent after what was taken"


def clicks(seconds, rate=48000):
    """Silence with a click at every whole tenth of a second."""
    wave = torch.zeros(round(seconds * rate))
    for at in range(0, len(wave), rate // 10):
        wave[at : at + 96] = 0.9
    return {"waveform": wave.expand(1, 1, -1), "sample_rate": rate}
