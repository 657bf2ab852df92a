"""How strongly the pose or the face acts, and in which part of the sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import InputError

HIGHEST = 10.0


@dataclass(frozen=True)
class Strength:
    """A factor of what a control adds to the transformer's hidden states.

    Attributes:
        value: 0..:data:`HIGHEST`; 1 as trained, 0 off.
        start, end: where it acts, in fractions of the sampling; elsewhere it is off.
    """

    value: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def check(self, value_name: str, part_name: str) -> None:
        """Raises InputError unless 0 <= value <= HIGHEST and 0 <= start < end <= 1.

        Args:
            value_name: of the input with the value, for the error.
            part_name: of the inputs with start and end.
        """
        if not 0 <= self.value <= HIGHEST:
            raise InputError(
                f"{value_name} is {self.value}, but it must be 0 to {HIGHEST:g}: give 1 for as trained, or 0 for off."
            )
        if not 0 <= self.start < self.end <= 1:
            raise InputError(
                f"{part_name} is {self.start:g} to {self.end:g}, but it must be a part of 0 to 1 that begins before it "
                f"ends: give such a part, or set {value_name} to 0 to switch it off."
            )

    @property
    def scales(self) -> bool:
        """Whether what is added has to be multiplied where it acts."""
        return self.value not in (0, 1)

    def acts(self, sigma: torch.Tensor, sigma_at: Callable[[float], float]) -> bool:
        """Whether it acts in a step, by the rule of ComfyUI's ConditioningSetTimestepRange: both ends included.

        Args:
            sigma: the step's noise level, of one element.
            sigma_at: noise level at a fraction of the sampling.
        """
        if self.value == 0:
            return False
        late = self.start <= 0 or not bool(sigma > sigma_at(self.start))
        return late and (self.end >= 1 or not bool(sigma < sigma_at(self.end)))


AS_TRAINED = Strength()


def flow_sigma(fraction: float, shift: float) -> float:
    """Noise level of a shifted flow schedule at a fraction of the sampling, ComfyUI's ``percent_to_sigma``: 1 to 0."""
    left = 1.0 - fraction
    return shift * left / (1.0 + (shift - 1.0) * left)
