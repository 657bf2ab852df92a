"""Colour maps: measured on pairs, turned around, applied."""

import numpy as np
import pytest
import torch

from wan_animate.color.color_map import ColorMap, Pairs, apply, fit, hats

from ..support.drift import ERRORS, walk


def colors(count=4000, low=0.05, high=0.85, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, 3))


def measured(source, target, frame=0.0):
    return Pairs(source, target, np.full(len(source), 2000 / len(source)), frame)


@pytest.mark.parametrize("name", [*ERRORS, "walk"])
def test_each_error_is_measured_and_undone(name):
    error = walk(3) if name == "walk" else ERRORS[name]
    true = colors()
    made = np.clip(error(true, 1.0), 0, 1)
    found = fit([[measured(true, made)]])
    other = colors(500, seed=1)
    assert np.abs(error(other, 1.0) - other).max() > 0.003
    assert np.abs(found.map(other) - error(other, 1.0)).max() < 5e-4
    assert np.abs(found.map.inverse(true)(error(other, 1.0)) - other).max() < 5e-4
    assert found.agreement[0] > 0.8


def test_a_third_of_wrong_pairs_does_not_mislead():
    true = colors()
    made = ERRORS["together"](true, 1.0)
    made[::3] = colors(len(made[::3]), seed=2)
    found = fit([[measured(true, made)]])
    other = colors(500, seed=1)
    assert np.abs(found.map(other) - ERRORS["together"](other, 1.0)).max() < 2e-3
    assert 0.5 < found.agreement[0] < 0.7


def test_noise_does_not_flatten():
    """Sixty segments add up what one leaves."""
    true = colors(6000)
    slopes = []
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=true.shape) * 0.01
        mapped = fit([[measured(true, true + noise)]]).map
        slopes.append(np.diff(mapped(np.array([[0.2] * 3, [0.7] * 3])), axis=0).mean() / 0.5)
    assert abs(np.mean(slopes) - 1) < 5e-4


def test_without_evidence_nothing_is_changed():
    nothing = Pairs(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    for groups in ([], [[]], [[nothing]]):
        assert np.abs(fit(groups).map.weights).max(initial=0) == 0
    grey = np.full((500, 3), 0.4) + np.random.default_rng(0).normal(size=(500, 1)) * 1e-3
    far = np.array([[0.1, 0.5, 0.8]])
    assert np.abs(fit([[measured(grey, grey + 0.004)]]).map(far) - far).max() < 0.02


def test_a_map_that_changes_over_time():
    knots, true = np.array([0.0, 10.0, 20.0]), colors(1500)
    error = ERRORS["together"]
    pairs = [measured(true, error(true, at / 20), float(at)) for at in range(0, 21, 2)]
    found = fit([pairs], knots).map
    for at in (0, 5, 13, 20):
        assert np.abs(found(true, at) - error(true, at / 20)).max() < 1e-3
    # frames of a group without pairs take the nearest knot's
    one = fit([[measured(true, error(true, 1.0), 0.0)]], knots).map
    assert np.abs(one(true, 20) - error(true, 1.0)).max() < 1e-3
    assert hats(5.0, knots).tolist() == [0.5, 0.5, 0] and hats(99.0, knots).tolist() == [0, 0, 1]


def test_frames_are_mapped_as_colours_are():
    true = colors()
    mapped = fit([[measured(true, ERRORS["together"](true, 1.0))]]).map
    changing = ColorMap(np.stack([mapped.weights[0], 0.3 * mapped.weights[0]]), np.array([0.0, 2.0]))
    frames = torch.rand(3, 70, 20, 3, generator=torch.Generator().manual_seed(1))
    wanted = np.stack([changing(f.numpy().reshape(-1, 3), at).reshape(f.shape) for at, f in enumerate(frames)])
    strided = frames.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for given in (frames.clone(), strided.clone()):
        apply(changing, given)
        assert np.abs(given.numpy() - wanted).max() < 1e-6
    beyond = torch.tensor([-0.2, 0.5, 1.3]).expand(1, 4, 4, 3).clone()
    apply(changing, beyond)
    assert torch.isfinite(beyond).all() and beyond.min() >= 0 and beyond.max() <= 1
