"""One picture's colours given to another: against the formulas, and where there is nothing to go by."""

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_lab
from scipy.linalg import sqrtm

from wan_animate.color import statistics, transfer
from wan_animate.color.transfer import METHODS, transfer_frame

RANDOM = np.random.default_rng(3)


def picture(mean, mixing, height=48, width=64) -> np.ndarray:
    """uint8 pixels of a Gaussian, within 0..255 almost everywhere."""
    normal = RANDOM.standard_normal((height, width, 3)) @ np.array(mixing, float).T
    return np.clip(normal + mean, 0, 255).round().astype(np.uint8)


SOURCE = picture([120, 100, 90], [[25, 0, 0], [18, 12, 0], [10, 5, 9]])
REFERENCE = picture([140, 130, 160], [[18, 0, 0], [4, 15, 0], [-5, 3, 20]], 30, 80)


def measured(frame: np.ndarray, method: str) -> np.ndarray:
    return METHODS[method].measure(torch.from_numpy(frame.reshape(-1, 3)))


def matched(frame: np.ndarray, reference: np.ndarray, method: str, strength: float = 1.0) -> np.ndarray:
    solve = METHODS[method].solve
    return transfer_frame(frame, solve(measured(frame, method), measured(reference, method)), strength)


def lab(frame: np.ndarray) -> np.ndarray:
    """float64 ``[N, 3]`` CIELAB of uint8 or float pixels."""
    values = torch.from_numpy(frame / (255.0 if frame.dtype == np.uint8 else 1.0)).double().reshape(-1, 3)
    return rgb_to_lab(values.T[:, :, None])[..., 0].T.numpy()


def test_optimal_transport_is_the_papers_formula():
    flat, there = (one.reshape(-1, 3) / 255 for one in (SOURCE, REFERENCE))
    here, wanted = np.cov(flat.T, bias=True), np.cov(there.T, bias=True)
    root, inverse = np.real(sqrtm(here)), np.linalg.inv(np.real(sqrtm(here)))
    expected = (flat - flat.mean(0)) @ (inverse @ np.real(sqrtm(root @ wanted @ root)) @ inverse) + there.mean(0)
    found = matched(SOURCE / np.float32(255), REFERENCE, "mkl").reshape(-1, 3)
    inside = (expected > 0).all(1) & (expected < 1).all(1)
    assert inside.mean() > 0.99
    assert np.abs(found - expected)[inside].max() * 255 < 0.15  # what counts as noise


def test_optimal_transport_gives_mean_and_covariance():
    found, there = (one.reshape(-1, 3).astype(float) for one in (matched(SOURCE, REFERENCE, "mkl"), REFERENCE))
    assert np.abs(found.mean(0) - there.mean(0)).max() < 0.2
    assert np.abs(np.cov(found.T) - np.cov(there.T)).max() < 0.02 * np.cov(there.T).max()
    found, there = lab(matched(SOURCE / np.float32(255), REFERENCE, "mkl_lab")), lab(REFERENCE)
    assert np.abs(found.mean(0) - there.mean(0)).max() < 0.1
    assert np.abs(np.cov(found.T) - np.cov(there.T)).max() < 0.02 * np.cov(there.T).max()


def test_reinhard_gives_mean_and_deviation_of_lab():
    found, there = lab(matched(SOURCE / np.float32(255), REFERENCE, "reinhard_lab")), lab(REFERENCE)
    assert np.abs(found.mean(0) - there.mean(0)).max() < 0.1
    assert np.abs(found.std(0) / there.std(0) - 1).max() < 0.02
    here = lab(SOURCE)
    assert (np.corrcoef(found.T, here.T)[[0, 1, 2], [3, 4, 5]] > 0.999).all()  # every axis on its own


def test_histograms_by_hand():
    """Half of the pixels 10, a quarter 20, a quarter 30: their middles have ranks 1/4, 5/8 and 7/8."""
    here = np.repeat(np.uint8([10, 10, 20, 30]), 3).reshape(2, 2, 3)
    there = np.repeat(np.uint8([100, 100, 150, 250]), 3).reshape(1, 4, 3)
    assert matched(here, there, "histogram")[..., 0].tolist() == [[100, 100], [150, 250]]
    there = np.repeat(np.uint8([100, 200]), 3).reshape(1, 2, 3)  # ranks 1/4 and 3/4
    assert matched(here, there, "histogram")[..., 1].tolist() == [[100, 100], [175, 200]]
    curves = METHODS["histogram"].solve(measured(here, "histogram"), measured(there, "histogram")).curves * 255
    assert curves[0, [5, 9, 10, 40]] == pytest.approx([95, 99, 100, 210])  # outside: as far away as before


def test_histogram_of_the_result_is_the_references():
    found = matched(SOURCE, REFERENCE, "histogram")
    for channel in range(3):
        ranks = [np.quantile(one[..., channel], np.linspace(0.02, 0.98, 33)) for one in (found, REFERENCE)]
        assert np.abs(ranks[0] - ranks[1]).max() <= 2


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_own_colours_change_nothing(self, method):
        assert (matched(SOURCE, SOURCE, method) == SOURCE).all()
        turned = SOURCE[::-1, ::-1].copy()  # another picture with the same colours
        assert (matched(SOURCE, turned, method) == SOURCE).all()

    def test_strength_is_the_way_there(self, method):
        small = SOURCE / np.float32(255)
        whole, half = (matched(small, REFERENCE, method, strength) for strength in (1, 0.5))
        assert np.abs(half - (small + whole) / 2).max() < 1e-6
        assert (matched(small, REFERENCE, method, 0) == small).all()

    def test_bytes_and_floats_agree(self, method):
        bytes_, floats = (matched(one, REFERENCE, method) for one in (SOURCE, SOURCE / np.float32(255)))
        assert bytes_.dtype == np.uint8 and floats.dtype == np.float32
        assert np.abs(bytes_ - floats * 255.0).max() < 0.502

    def test_one_pixel_takes_the_mean(self, method):
        one = np.uint8([[[10, 200, 30]]])
        found = matched(one, REFERENCE, method).astype(float)[0, 0]
        middle = np.median if method == "histogram" else np.mean
        assert np.abs(found - middle(REFERENCE.reshape(-1, 3), axis=0)).max() < 3
        assert np.isfinite(matched(SOURCE / np.float32(255), one, method)).all()

    def test_one_colour_is_moved_with_its_surroundings(self, method):
        """Measured where nothing varies (a masked wall), the rest of the picture is shifted, not torn apart."""
        wall = np.full((4, 4, 3), (90, 100, 110), np.uint8)
        move = METHODS[method].solve(measured(wall, method), measured(REFERENCE, method))
        moved = transfer_frame(SOURCE, move).astype(float)
        assert 0.5 < moved.std() / SOURCE.std() < 1.5

    def test_grey_noise_gets_no_colour(self, method):
        grey = np.repeat(SOURCE[..., :1], 3, axis=2).astype(int)
        noisy = np.clip(grey + RANDOM.integers(0, 2, grey.shape), 0, 255).astype(np.uint8)
        found = matched(noisy, REFERENCE, method)
        assert np.isfinite(found).all()
        if method != "histogram":  # which knows no colour, only channels
            change = found - noisy.astype(float)
            speckles = np.abs(np.diff(change[..., 0] - change[..., 2], axis=1)).mean()
            assert speckles < 8  # 24 to 29 levels by the formulas alone
        exact = matched(grey.astype(np.uint8), grey[:, ::-1].astype(np.uint8).copy(), method)
        assert (exact == grey).all()

    def test_parts_of_a_large_picture(self, method, monkeypatch):
        whole = measured(SOURCE, method), matched(SOURCE, REFERENCE, method)
        for module in (statistics, transfer):
            monkeypatch.setattr(module, "PIXELS_AT_ONCE", 100)
        parts = measured(SOURCE, method), matched(SOURCE, REFERENCE, method)
        assert parts[0] == pytest.approx(whole[0], rel=1e-4, abs=1e-5)
        assert np.abs(parts[1].astype(int) - whole[1]).max() <= 1
        assert (parts[1] != whole[1]).mean() < 0.001


def test_moments_are_those_of_numpy():
    flat = SOURCE.reshape(-1, 3) / 255
    found = measured(SOURCE, "mkl")
    assert found[0] == pytest.approx(flat.mean(0), abs=1e-7)
    assert found[1:] == pytest.approx(np.cov(flat.T, bias=True), abs=1e-8)


def test_nothing_leaves_the_range():
    bright = np.clip(SOURCE.astype(int) * 2, 0, 255).astype(np.uint8)
    for method in METHODS:
        found = matched(np.float32([[[1.5, -0.2, 0.5]], [[0.1, 0.7, 0.9]]]), bright, method)
        assert found.min() >= 0 and found.max() <= 1
