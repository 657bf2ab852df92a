"""Drift taken out of segments by hand: what is corrected, what is left alone."""

import numpy as np
import pytest
import torch

from wan_animate.color.anchors import Scene
from wan_animate.color.cells import away_from, cells, flatness
from wan_animate.color.delta_e import mean_delta_e
from wan_animate.color.drift import DriftCorrection

from ..support.drift import ERRORS, World

LENGTH, KNOWN = 13, 5


def tensor(frames) -> torch.Tensor:
    return torch.from_numpy(np.clip(np.stack(frames), 0, 1).astype(np.float32))


def segment(world: World, index: int) -> torch.Tensor:
    start = index * (LENGTH - KNOWN)
    return tensor([world.frame(at) for at in range(start, start + LENGTH)])


def scene(world: World, drift: DriftCorrection, index: int) -> Scene:
    start = index * (LENGTH - KNOWN)
    numbers = drift.samples(LENGTH, KNOWN if index else 0)
    frames, masks = [world.frame(start + at) for at in numbers], [world.mask(start + at) for at in numbers]
    return Scene(cells([f * (m == 0)[..., None] for f, m in zip(frames, masks)], drift.cell), cells(masks, drift.cell))


def off(frames: torch.Tensor, true: torch.Tensor) -> float:
    return mean_delta_e(frames.numpy(), true.numpy())


def begun(mode: str, replace: bool, world: World) -> DriftCorrection:
    """After a first segment without error."""
    drift = DriftCorrection(mode, replace, world.width, world.height)
    first = segment(world, 0)
    before = first.clone()
    drift.correct(first, None, scene(world, drift, 0) if replace else None)
    assert torch.equal(first, before), "the first segment sets the colours"
    return drift


@pytest.mark.parametrize("mode, replace", [("previous", False), ("anchor", False), ("anchor", True)])
@pytest.mark.parametrize("name", ERRORS)
def test_each_error_alone_is_taken_out(mode, replace, name):
    world = World(60, moves=True)
    drift, true = begun(mode, replace, world), segment(world, 1)
    made = tensor(ERRORS[name](true.numpy(), 1.0))
    before = off(made, true)
    measured = drift.correct(made, true[:KNOWN], scene(world, drift, 1) if replace else None)
    assert before > 0.25 and off(made, true) < 0.05
    assert measured.previous[0] == pytest.approx(before, rel=0.5) and measured.previous[1] < 0.05
    assert (measured.anchor is None) == (mode == "previous") and not measured.note


@pytest.mark.parametrize("replace", [False, True])
def test_what_grows_in_a_segment_only_the_anchor_sees(replace):
    world = World(60)
    true = segment(world, 1)
    size = np.clip((np.arange(LENGTH) - KNOWN + 1) / (LENGTH - KNOWN), 0, 1)
    made = tensor([ERRORS["together"](frame, float(of)) for frame, of in zip(true.numpy(), size)])
    left = {}
    for mode in ("previous", "anchor"):
        frames, drift = made.clone(), begun(mode, replace, world)
        drift.correct(frames, true[:KNOWN], scene(world, drift, 1) if replace and mode == "anchor" else None)
        left[mode] = off(frames[-3:], true[-3:])
        assert off(frames[:KNOWN], true[:KNOWN]) < 0.1, "no step where the segments meet"
    assert left["previous"] == pytest.approx(off(made[-3:], true[-3:]), abs=0.05) and left["anchor"] < 0.15


def test_another_picture_is_no_drift():
    world = World(60)
    for mode in ("previous", "anchor"):
        drift, made = begun(mode, False, world), torch.rand(LENGTH, world.height, world.width, 3)
        before = made.clone()
        measured = drift.correct(made, segment(world, 1)[:KNOWN])
        assert torch.equal(made, before) and measured.note and measured.previous[0] == measured.previous[1]


def test_black_and_white_tell_nothing():
    for value in (0.0, 1.0):
        drift = DriftCorrection("anchor", False, 96, 64)
        frames = torch.full((LENGTH, 64, 96, 3), value)
        drift.correct(frames, None)
        measured = drift.correct(frames, frames[:KNOWN].clone())
        assert (frames == value).all() and measured.previous is None and measured.anchor is None


def test_nan_is_left_out():
    world = World(60)
    drift = begun("anchor", True, world)
    true = segment(world, 1)
    made, known, around = tensor(ERRORS["gain"](true.numpy(), 1.0)), true[:KNOWN].clone(), scene(world, drift, 1)
    known[0, :20] = float("nan")
    around.colors[0, :5] = float("nan")
    drift.correct(made, known, around)
    assert torch.isfinite(made).all() and off(made, true) < 0.1


@pytest.mark.parametrize("far, kept", [(0.01, False), (0.5, True)])
def test_still_parts_are_held_and_light_is_not(far, kept):
    """A slow change of 1 % is drift; a lamp that goes out is light, and what it leaves is the new truth."""
    dark = World(60, light=lambda at: 1 - far * float(np.clip((at - 12) / 8, 0, 1)))
    drift = begun("anchor", False, World(60))
    made = segment(dark, 1)
    before = made.clone()
    measured = drift.correct(made, made[:KNOWN].clone())
    if not kept:
        assert off(made[-3:], segment(World(60), 1)[-3:]) < 0.1 < off(before[-3:], segment(World(60), 1)[-3:])
        return
    assert off(made, before) < 0.05 and measured.note == "the light changes" and measured.anchor is None
    later = segment(dark, 2)
    made = tensor(ERRORS["together"](later.numpy(), 1.0))
    measured = drift.correct(made, later[:KNOWN])
    assert measured.anchor is not None and off(made, later) < 0.1


def test_a_clip_that_continues_another_has_no_anchor_yet_and_nothing_is_noted():
    """Its first segment has previous frames; only after it is known whether anything stands still."""
    still, moving = World(60), World(60, moves=True)
    drift = DriftCorrection("anchor", False, still.width, still.height)
    made = segment(still, 0)
    assert drift.correct(made, made[:KNOWN].clone()).note == ""
    assert drift.correct(segment(still, 1), segment(still, 1)[:KNOWN]).anchor is not None
    noise = np.random.default_rng(0).random((2, len(made), moving.height, moving.width, 3), np.float32)
    drift = DriftCorrection("anchor", False, moving.width, moving.height)
    assert drift.correct(tensor(noise[0]), tensor(noise[0][:KNOWN])).note == ""
    again = DriftCorrection("anchor", False, moving.width, moving.height, dict(drift.state))
    for one in (drift, again):
        assert one.correct(tensor(noise[1].copy()), tensor(noise[1][:KNOWN])).note == "nothing stands still"


def test_state_is_all_that_the_next_segment_needs():
    world = World(60, moves=True)
    for replace in (False, True):
        drift = begun("anchor", replace, world)
        made = tensor(ERRORS["warm"](segment(world, 1).numpy(), 1.0))
        again = DriftCorrection("anchor", replace, world.width, world.height, dict(drift.state))
        assert drift.state
        results = []
        for one in (drift, again):
            frames = made.clone()
            one.correct(frames, segment(world, 1)[:KNOWN], scene(world, one, 1) if replace else None)
            results.append(frames)
        assert torch.equal(*results)
        assert {k: v.tolist() for k, v in drift.state.items()} == {k: v.tolist() for k, v in again.state.items()}


def test_cells():
    frame = np.zeros((16, 24, 3), np.uint8)
    frame[:, 12:] = 255
    grid = cells([frame, frame], 4)
    assert grid.shape == (2, 4, 6, 3) and grid.dtype == np.float32 and grid.min() == 0 and grid.max() == 1
    flat = flatness(grid)
    assert (flat[:, :, [0, 1, 4, 5]] == 1).all() and (flat[:, :, 2:4] < 0.01).all()
    mask = np.zeros((1, 9, 9), np.float32)
    mask[0, 4, 4] = 0.1
    assert away_from(mask).sum() == 81 - 25
