"""What Stitch Character writes: a file for every sound, a part of a clip with its own, and how it was made."""

import importlib
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from wan_animate.video.source import VideoSource

WIDTH, HEIGHT, COUNT, RATE = 96, 64, 12, 8000


@pytest.fixture(scope="module")
def stitch(pack, pack_nodes):
    """Runs the node on a window of plain frames; (VIDEO, frames)."""

    def module(name: str):
        return importlib.import_module(f"{pack.__name__}.wan_animate.{name}")

    window = module("stitch.window").CropWindow(
        np.tile([16.0, 16, 48, 32], (COUNT, 1)), (WIDTH, HEIGHT), (48, 32), Fraction(24)
    )
    driver = torch.linspace(0, 1, COUNT)[:, None, None, None].expand(-1, HEIGHT, WIDTH, 3)

    def run(audio=None, generated=None, place=None, tags=None, **inputs):
        made = torch.full((COUNT, 32, 48, 3), 0.5) if generated is None else generated
        if place is not None or tags is not None:
            made = module("video.frames").TensorSource(made, 24)
            made.part_of, made.tags = place, tags
        node = pack_nodes["WanAnimateKitStitchCharacter"]
        given = dict(generated=made, frames=driver, window=window, feather=4.0, grow=0.0, audio=audio) | inputs
        return node.execute(**given).args

    return run


def tone(hertz: float, seconds: float = COUNT / 24, begin: float = 0.0):
    time = torch.arange(round(RATE * seconds)) / RATE
    wave = torch.where(time < begin, 0, 0.5 * torch.sin(2 * torch.pi * hertz * time))
    return {"waveform": wave[None, None], "sample_rate": RATE}


def heard(video) -> torch.Tensor:
    return video.get_components().audio["waveform"][0, 0]


def file(video) -> str:
    return str(video.get_stream_source())


def loudest(wave: torch.Tensor) -> float:
    """Hertz."""
    return float(torch.fft.rfft(wave).abs().argmax() * RATE / len(wave))


def test_equal_frames_with_another_sound_are_another_file(stitch):
    low, high, silent = (stitch(audio)[0] for audio in (tone(440), tone(1200), None))
    assert abs(loudest(heard(low)) - 440) < 20, "the second node did not write over the first one's clip"
    assert abs(loudest(heard(high)) - 1200) < 20 and silent.get_components().audio is None
    assert file(stitch(tone(440))[0]) == file(low)
    assert len({file(one) for one in (low, high, silent)}) == 3


def test_a_part_of_the_clip_just_works(stitch):
    """As Animate's frames are with Clip Options: they know where they begin, and sound there begins."""
    first = 7
    whole, all_frames = stitch(tone(440, begin=first / 24))
    video, frames = stitch(tone(440, begin=first / 24), torch.full((4, 32, 48, 3), 0.5), (first, COUNT))
    assert len(frames) == len(VideoSource(file(video), fps=0)) == 4 and frames.first == first
    assert (frames.read(0, 4) == all_frames.read(first, first + 4)).all()
    wave = heard(video)[: round(RATE * 4 / 24)]
    assert all(part.square().mean() > 0.05 for part in wave.split(200)[1:-1])
    assert heard(whole)[: round(RATE * first / 24) - 200].square().mean() < 0.01


def test_images_that_do_not_know_where_they_begin_are_refused(stitch):
    with pytest.raises(Exception, match="4 frames were generated and the window has 12: .*which know where they begin"):
        stitch(None, torch.full((4, 32, 48, 3), 0.5))


def test_the_record_of_the_generated_frames_is_kept(stitch):
    with av.open(file(stitch(tags={"wan_animate_kit": json.dumps({"form": 1})})[0])) as container:
        assert json.loads(container.metadata["wan_animate_kit"]) == {"form": 1}
    with av.open(file(stitch()[0])) as container:
        assert "wan_animate_kit" not in container.metadata


def test_what_is_no_sound_is_refused_before_it_is_written(stitch):
    before = sorted(Path(file(stitch()[0])).parent.iterdir())
    with pytest.raises(Exception, match="the audio must have a waveform and a sample_rate: connect an AUDIO output"):
        stitch({"waveform": torch.zeros(1, 1, 80)})
    assert sorted(Path(file(stitch()[0])).parent.iterdir()) == before
