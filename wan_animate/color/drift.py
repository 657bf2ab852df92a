"""Colour drift from segment to segment, measured where the truth is known and taken out.

A segment shows twice what was seen before: its first frames are the last of the segment before, decoded again. In
replace the driver's scene around the character is known in every frame; in animate the scene stands still. Each gives
pairs of a true colour and the colour that was made of it, at equal places and times, so that light that changes is in
both. A smooth colour map is fitted to the pairs (:mod:`.color_map`) and turned around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .anchors import KnownScene, Scene, StillScene
from .cells import cell_size, cells, flatness, unclipped
from .color_map import FLOOR, ColorMap, Pairs, apply, fit
from .delta_e import mean_delta_e

MODES = ("off", "previous", "anchor")
PREVIOUS_FRAMES = 5  # of the previous frames, as many are compared at most
SAMPLES = 12  # frames of a segment that are compared with the anchor
KNOT_FRAMES = 20  # frames from one knot of a map to the next, about
MEASUREMENTS = 2000.0  # what all pairs of the previous frames count for; an anchor counts for 300 a knot
ANCHOR_MEASUREMENTS = 300.0
FEWEST = 24  # cells that must be left to measure with
AGREEING = 0.4  # part of the pairs that must follow the map
WIDEST = 0.04  # standard deviation around the map: more is another picture
SAME = 4.5  # medians of what the map leaves; farther is another thing than the one compared with
FARTHEST = 0.2  # a map that moves a colour farther is no drift


@dataclass(frozen=True)
class Measured:
    """CIEDE2000 of one segment before and after correction, None where nothing could be compared.

    Attributes:
        previous: between the previous frames as they were and as this segment made them.
        anchor: between the scene and its truth.
        note: why something was left as it was, or "".
    """

    previous: tuple[float, float] | None = None
    anchor: tuple[float, float] | None = None
    note: str = ""


class DriftCorrection:
    """Takes the drift out of segment after segment.

    Args:
        mode: ``"previous"`` or ``"anchor"``.
        replace: whether the scene is the driver's.
        width, height: of the frames.
        state: :attr:`state` after the segment before, None for the first.
    """

    def __init__(
        self, mode: str, replace: bool, width: int, height: int, state: dict[str, torch.Tensor] | None = None
    ) -> None:
        self.cell = cell_size(width, height)
        self.anchor: KnownScene | StillScene | None = None
        if mode == "anchor":
            self.anchor = KnownScene(state) if replace else StillScene(state)

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """What the next segment needs to know of those before."""
        return {} if self.anchor is None else self.anchor.state

    def samples(self, length: int, previous_frames: int) -> np.ndarray:
        """Numbers of the frames that are compared with the anchor, in a segment of ``length`` frames."""
        new = length - previous_frames
        return np.unique(np.linspace(previous_frames, length - 1, min(SAMPLES, new)).round().astype(int))

    def correct(
        self,
        frames: torch.Tensor,
        previous: torch.Tensor | None,
        scene: Scene | None = None,
        length: int | None = None,
    ) -> Measured:
        """Correct a segment in place.

        Args:
            frames: as decoded, float32 ``[L, H, W, 3]`` in 0..1 on the CPU, the previous frames first.
            previous: those frames as they were, ``[p, H, W, 3]``; None in the first segment, which sets the colours
                and stays as it is.
            scene: replace: the driver's scene in the frames of :meth:`samples`.
            length: of a whole segment, where the clip ends within this one; None: ``L``.
        """
        known = 0 if previous is None else len(previous)
        numbers = self.samples(len(frames), known)
        made = cells((frames[at].numpy() for at in numbers), self.cell) if self.anchor is not None else None
        if previous is None:
            if self.anchor is not None and made is not None:
                self.anchor.learn(made, scene)
            return Measured()
        before = self._previous_pairs(frames, previous)
        chain = found = _map([before])
        anchored: list[Pairs] = []
        note = ""
        if chain is None:
            note = "the previous frames cannot be compared"
        if self.anchor is not None and made is not None:
            steady = made if chain is None else _mapped(chain, made)
            targets, why = self.anchor.targets(steady, scene, numbers / (length or len(frames)))
            note = note or why
            if targets is not None:
                knots = _knots(known, len(frames))
                anchored = _normalized(
                    [
                        Pairs(*_listed(target, colors, weight), frame=float(at))
                        for target, colors, weight, at in zip(targets.colors, made, targets.weight, numbers)
                    ],
                    ANCHOR_MEASUREMENTS * len(knots),
                )
                both = _map([before, anchored] if chain is not None else [anchored], knots)
                if both is None:
                    anchored, note = [], note or "the anchor does not agree with itself"
                else:
                    found = both
        if found is not None:
            apply(found, frames)
        if self.anchor is not None and made is not None:
            after = made if found is None else _mapped(found, made, numbers)
            self.anchor.learn(after, scene)
        return Measured(_measured(found, before), _measured(found, anchored), note)

    def _previous_pairs(self, frames: torch.Tensor, previous: torch.Tensor) -> list[Pairs]:
        chosen = np.unique(np.linspace(0, len(previous) - 1, min(PREVIOUS_FRAMES, len(previous))).round().astype(int))
        were = cells((previous[at].float().numpy() for at in chosen), self.cell)
        are = cells((frames[at].numpy() for at in chosen), self.cell)
        weight = flatness(were) * unclipped(were) * unclipped(are)
        pairs = [Pairs(*_listed(*one)) for one in zip(were, are, weight)]
        return _normalized(pairs, MEASUREMENTS)


def _map(groups: list[list[Pairs]], knots: np.ndarray | None = None) -> ColorMap | None:
    """The map from made to true colours; None if the pairs of a group do not follow one."""
    if any(sum(len(p.weight) for p in group) < FEWEST for group in groups):
        return None
    found = fit(groups, knots)
    if min(found.agreement) < AGREEING or max(found.spread) > WIDEST:
        return None
    colors = np.concatenate([p.source for group in groups for p in group])
    colors = colors[:: max(len(colors) // 4000, 1)]
    back = found.map.inverse(colors)
    return back if back.farthest(colors) <= FARTHEST else None


def _listed(source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells of a frame that count."""
    counts = weight > 0.05
    return source[counts].astype(np.float64), target[counts].astype(np.float64), weight[counts].astype(np.float64)


def _normalized(pairs: list[Pairs], total: float) -> list[Pairs]:
    weight = sum(float(p.weight.sum()) for p in pairs)
    return [Pairs(p.source, p.target, p.weight * (total / weight), p.frame) for p in pairs if len(p.weight)]


def _knots(previous_frames: int, length: int) -> np.ndarray:
    new = length - previous_frames
    return np.linspace(previous_frames - 1, length - 1, max(round(new / KNOT_FRAMES), 1) + 1)


def _mapped(color_map: ColorMap, grid: np.ndarray, numbers: np.ndarray | None = None) -> np.ndarray:
    numbers = np.zeros(len(grid)) if numbers is None else numbers
    mapped = [color_map(one.reshape(-1, 3), float(at)).reshape(one.shape) for one, at in zip(grid, numbers)]
    return np.stack(mapped).astype(np.float32)


def _measured(color_map: ColorMap | None, pairs: list[Pairs]) -> tuple[float, float] | None:
    """Before and after, of the pairs that follow the map: the others show something else."""
    if not pairs:
        return None
    true, made = np.concatenate([p.source for p in pairs]), np.concatenate([p.target for p in pairs])
    step = max(len(true) // 4000, 1)
    after = made if color_map is None else np.concatenate([color_map(p.target, p.frame) for p in pairs])
    made, true, after = made[::step], true[::step], after[::step]
    left = np.linalg.norm(after - true, axis=1)
    same = left <= max(SAME * float(np.median(left)), SAME * FLOOR)
    return mean_delta_e(made, true, same), mean_delta_e(after, true, same)
