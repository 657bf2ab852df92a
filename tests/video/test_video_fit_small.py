"""fill_size at small sizes, and notes on cropping."""

import logging
from fractions import Fraction

import numpy as np
import pytest
import torch

from wan_animate.cli.make import driving_video
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError
from wan_animate.video.resample import area_size, cut_note, cut_share, fill_size
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip
from .test_video_fit import PHONES, grey


def shapes(count: int):
    rng = np.random.default_rng(1)
    for _ in range(count):
        ratio, width = np.exp(rng.uniform(np.log(9 / 21), np.log(21 / 9))), int(rng.integers(400, 4000))
        yield width, int(width / ratio)


@pytest.mark.parametrize(
    "area, most, over",
    [(256 * 144, 0.045, 0.35), (320 * 192, 0.033, 0.15), (416 * 240, 0.025, 0.04), (512 * 288, 0.0211, 0.01),
     (480 * 480, 0.02, 0), (512 * 512, 0.02, 0), (624 * 352, 0.02, 0), (832 * 480, 0.02, 0), (1280 * 720, 0.02, 0)],
)  # fmt: skip
def test_how_much_any_shape_loses(area, most, over):
    """9:21 to 21:9; area_size crops up to 12 % at 256x144, 8 % at 416x240, 4 % at 512x512."""
    lost = []
    for width, height in shapes(1000):
        size = fill_size(width, height, area)
        assert size[0] % 16 == size[1] % 16 == 0 and 0.7 * area < size[0] * size[1] <= area
        lost.append(cut_share(width, height, *size))
    assert max(lost) <= most and np.mean(np.array(lost) > 0.02) <= over


@pytest.mark.parametrize("area", [320 * 192, 416 * 240, 512 * 288, 512 * 512, 624 * 352])
def test_no_phones_clip_loses_a_fiftieth_from_320x192_on(area):
    for size in PHONES:
        assert cut_share(*size, *fill_size(*size, area)) <= 0.02, size


@pytest.mark.parametrize("area", [192 * 112, 256 * 144, 416 * 240])
def test_no_other_size_would_do_better(area):
    """No size of at least three quarters of the area crops less, or as little with more pixels."""
    for width, height in shapes(40):
        size = fill_size(width, height, area)
        if size == area_size(width, height, area):
            continue
        lost = cut_share(width, height, *size)
        others = [(w, h) for w in range(16, area // 16 + 1, 16) for h in range(16, area // w + 1, 16)
                  if w * h >= 0.75 * area]  # fmt: skip
        assert lost <= 0.02 or lost <= min(cut_share(width, height, *other) for other in others)


def test_sizes_that_cut_little():
    assert fill_size(1920, 1080, 832 * 480) == (832, 464) and fill_size(1170, 2532, 832 * 480) == (416, 912)
    assert fill_size(1920, 1080, 256 * 144) == (256, 144) and fill_size(1920, 1080, 416 * 240) == (400, 224)


def test_what_is_cut_is_said_in_the_source_the_shell_and_the_node(tmp_path, capsys):
    path = write_clip(tmp_path / "wide.mp4", 2, width=512, height=216, frame=grey)
    source = VideoSource(path, max_area=256 * 144)
    lost = 100 * cut_share(512, 216, source.width, source.height)
    assert lost > 2
    says = f"512x216, of another shape than {source.width}x{source.height}: fit fill cuts {lost:.1f} % of its picture"
    assert len(source.notes) == 1 and says in source.notes[0]
    assert not VideoSource(path, max_area=256 * 144, fit="pad").notes and not VideoSource(path).notes
    assert not VideoSource(path, max_area=832 * 480).notes
    given = ["--image=x.png", f"--video={path}", "--out=o.mp4", "--models=m", f"--area={256 * 144}"]
    driving_video(parsed(given))
    assert says in capsys.readouterr().err
    assert not source.full_size().notes, "at its own size nothing is cut"
    driving_video(parsed([*given, "--plan"]))
    assert not capsys.readouterr().err, "the plan itself has it"


@pytest.mark.parametrize("picture, size, says", [
    ((512, 216), (256, 112), "cuts 3.6 % of its picture at left and right"),
    ((216, 512), (112, 256), "cuts 3.6 % of its picture at top and bottom"),
    ((1000, 100), (160, 32), "would cut 50.0 % of its picture, so all of it is shown between black bars."),
    ((1920, 1080), (832, 464), None),
])  # fmt: skip
def test_the_sentence(picture, size, says):
    note = cut_note("clip.mp4", picture, size, "fill")
    assert note is None if says is None else says in note and "\n" not in note
    assert cut_note("clip.mp4", picture, size, "pad") is None


def test_a_clip_in_memory_says_it_too(pack_nodes, caplog):
    from comfy_api.latest import InputImpl, Types

    clip = InputImpl.VideoFromComponents(Types.VideoComponents(torch.rand(2, 216, 512, 3), Fraction(30)))
    load = pack_nodes["WanAnimateKitLoadVideo"].execute
    with caplog.at_level(logging.INFO):
        source = load("", width=256, height=144, video=clip).args[0]
    assert any("WanAnimateKit: the video is 512x216, of another shape than" in text for text in caplog.messages)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load("", width=256, height=144, video=clip, fit="pad")
    assert not caplog.messages and (source.width, source.height) == fill_size(512, 216, 256 * 144)


def test_an_area_without_a_size_is_refused():
    with pytest.raises(InputError, match="too small"):
        fill_size(1000, 10, 256)
