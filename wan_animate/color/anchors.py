"""Where the colours of a scene are known beyond the previous frames: the driver's scene, or what stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .cells import away_from, flatness, unclipped
from .color_map import ColorMap, Pairs, fit
from .delta_e import ciede2000, rgb_to_lab

FEWEST = 24
SCENE_AGREEING = 0.4
STEADY = 0.012  # standard deviation over time of a cell that stands still
LEAST_STILL = 0.05  # part of the picture
# Light, not drift: CIEDE2000 away from the first segment, and within a quarter of a segment.
FAR_FROM_START, FAST = 3.0, 1.2


@dataclass(frozen=True, eq=False)
class Scene:
    """The driver's scene in cells (:func:`.cells.cells`) of some frames of a segment.

    Attributes:
        colors: float32 ``[n, h, w, 3]``.
        mask: float32 ``[n, h, w]``, above 0 where the character is made.
    """

    colors: np.ndarray
    mask: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """How much each cell tells, ``[n, h, w]``."""
        return flatness(self.colors) * unclipped(self.colors) * away_from(self.mask)


@dataclass(frozen=True, eq=False)
class Targets:
    """The colours that cells ought to have ``[n, h, w, 3]``, and how much each tells ``[n, h, w]``."""

    colors: np.ndarray
    weight: np.ndarray


class KnownScene:
    """Replace: the driver's scene as the first segment shows it, which may be off by a constant map."""

    def __init__(self, state: dict[str, torch.Tensor] | None = None) -> None:
        self.shown: ColorMap | None = None
        if state and "color_scene" in state:
            self.shown = ColorMap(state["color_scene"].numpy(), np.zeros(1))

    @property
    def state(self) -> dict[str, torch.Tensor]:
        return {} if self.shown is None else {"color_scene": torch.from_numpy(np.ascontiguousarray(self.shown.weights))}

    def targets(self, made: np.ndarray, scene: Scene | None, _times: np.ndarray) -> tuple[Targets | None, str]:
        """The colours that ``made`` ``[n, h, w, 3]`` ought to have; or None, and why."""
        if self.shown is None or scene is None:
            return None, "nothing of the scene can be compared"
        shape = scene.colors.shape
        colors = self.shown(scene.colors.reshape(-1, 3)).reshape(shape)
        weight = scene.weight * unclipped(made)
        if (weight > 0.05).sum() < FEWEST:
            return None, "nothing of the scene is in view"
        return Targets(colors, weight), ""

    def learn(self, made: np.ndarray, scene: Scene | None) -> None:
        """Take the colours of the first segment in which they can be measured."""
        if self.shown is not None or scene is None:
            return
        weight = scene.weight * unclipped(made)
        chosen = weight > 0.05
        if chosen.sum() < FEWEST:
            return
        weight = weight[chosen].astype(np.float64)
        pairs = [Pairs(scene.colors[chosen].astype(np.float64), made[chosen].astype(np.float64), weight)]
        pairs = [Pairs(p.source, p.target, p.weight * (2000.0 / p.weight.sum())) for p in pairs]
        found = fit([pairs])
        if found.agreement[0] >= SCENE_AGREEING:
            self.shown = found.map


class StillScene:
    """Animate: the parts of the scene that stand still, as the first segment shows them.

    Where the light changes (fast or far), the change is left alone, and the colours after it are the new truth.
    """

    def __init__(self, state: dict[str, torch.Tensor] | None = None) -> None:
        self.colors: np.ndarray | None = None  # [h, w, 3]
        self.weight: np.ndarray | None = None  # [h, w]
        self._changed = False
        if state and "color_still" in state:
            self.colors, self.weight = state["color_still"].numpy(), state["color_still_weight"].numpy()
        self._looked = bool(
            state and {"color_still", "color_nothing_still"} & state.keys()
        )  # whether a segment was looked at for what stands still

    @property
    def state(self) -> dict[str, torch.Tensor]:
        if self.colors is None or self.weight is None:
            return {"color_nothing_still": torch.ones(1)} if self._looked else {}
        kept = {"color_still": self.colors, "color_still_weight": self.weight}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in kept.items()}

    def targets(self, made: np.ndarray, _scene: Scene | None, times: np.ndarray) -> tuple[Targets | None, str]:
        """The colours that ``made`` ``[n, h, w, 3]``, without the drift that the previous frames show, ought to have at
        ``times`` ``[n]`` (0..1 of the segment); or None, and why."""
        if self.colors is None or self.weight is None:
            self._changed = True
            return None, "nothing stands still" if self._looked else ""
        self._changed = self._light_changes(made, times)
        if self._changed:
            return None, "the light changes"
        weight = self.weight[None] * unclipped(made)
        if (weight > 0.05).sum() < FEWEST:
            return None, "nothing that stands still is in view"
        return Targets(np.broadcast_to(self.colors, made.shape), weight), ""

    def learn(self, made: np.ndarray, _scene: Scene | None) -> None:
        """Take the colours of the first segment, and of one in which the light has changed."""
        self._looked = True
        if self.colors is not None and not self._changed:
            return
        recent = made if self.colors is None else made[-1:]  # what the light has come to
        self._changed = False
        # relative to the frame's own light
        drift = np.median((made - made[-1:]).reshape(len(made), -1, 3), axis=1)
        still = (made - drift[:, None, None]).std(axis=0).max(axis=-1) < STEADY
        weight = flatness(made).mean(axis=0) * still * unclipped(made).all(axis=0)
        if (weight > 0.05).sum() < max(FEWEST, LEAST_STILL * weight.size):
            self.colors = self.weight = None
            return
        self.colors, self.weight = recent.mean(axis=0).astype(np.float32), weight.astype(np.float32)

    def _light_changes(self, made: np.ndarray, times: np.ndarray) -> bool:
        assert self.colors is not None and self.weight is not None
        counts = self.weight > 0.05
        middle = np.median(self.colors[counts], axis=0)
        shift = np.median((made - self.colors)[:, counts], axis=1)  # [n, 3]
        lab = rgb_to_lab(middle + shift)
        far = ciede2000(lab, rgb_to_lab(middle)[None])
        apart = ciede2000(lab[:, None], lab[None])
        near = np.abs(times[:, None] - times[None]) <= 0.25
        return bool((far > FAR_FROM_START).any() or (apart * near > FAST).any())
