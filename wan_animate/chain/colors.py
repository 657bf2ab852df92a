"""Colour correction in the chain: what it reads, what it keeps beside the segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..color.anchors import Scene
from ..color.cells import cells
from ..color.drift import DriftCorrection
from .control_sources import BACKGROUND, MASK, Controls
from .segments import Segment, SegmentPlan

Take = Callable[[str], np.ndarray]


class SegmentColors:
    """Keeps the colours of a clip's segments; with mode ``"off"`` or one segment it does nothing.

    Args:
        mode: of :data:`..color.drift.MODES`.
        state: :attr:`state` after the segment before the first that is made, None if there is none.

    Attributes:
        record: what was measured in the last segment, for the store; None if nothing was.
    """

    def __init__(
        self, mode: str, controls: Controls, plan: SegmentPlan, state: dict[str, torch.Tensor] | None = None
    ) -> None:
        self.record: dict[str, Any] | None = None
        self._drift: DriftCorrection | None = None
        self._scene: dict[str, np.ndarray] = {}
        self._reads: tuple[str, ...] = ()
        if mode == "off" or len(plan) < 2:
            return
        replace = controls.background is not None and controls.character_mask is not None
        self._drift = DriftCorrection(mode, replace, *controls.size, state)
        self._reads = (BACKGROUND, MASK) if replace and mode == "anchor" else ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the controls that it looks at in every segment."""
        return self._reads

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """What the next segment needs to know of those before."""
        return {} if self._drift is None else self._drift.state

    def watching(self, segment: Segment, take: Take) -> Take:
        """``take`` (:meth:`.control_reader.ControlReader.take`), which also keeps cells of what comes by."""
        self._scene, self._take = {}, take

        def watched(name: str) -> np.ndarray:
            frames = take(name)
            if name in self._reads:
                self._keep(segment, name, frames)
            return frames

        return watched

    def correct(self, segment: Segment, frames: torch.Tensor, previous: torch.Tensor | None) -> None:
        """Correct decoded frames ``[needed, H, W, 3]`` in place, before they are shown and handed on.

        Args:
            previous: the previous frames as the segment was given them, or None.
        """
        self.record = None
        if self._drift is None:
            return
        for name in self._reads:
            if name not in self._scene:  # its latent was cached
                self._keep(segment, name, self._take(name))
        scene = Scene(self._scene[BACKGROUND], self._scene[MASK]) if self._reads else None
        measured = self._drift.correct(frames, previous, scene, segment.length)
        self._scene = {}
        if previous is not None:
            self.record = {"color": asdict(measured)}

    def _keep(self, segment: Segment, name: str, frames: np.ndarray) -> None:
        assert self._drift is not None
        numbers = self._drift.samples(segment.needed, segment.previous_frames)
        self._scene[name] = cells((frames[at] for at in numbers), self._drift.cell)
