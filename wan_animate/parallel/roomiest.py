"""Which of several cards has room for work beside the transformer: detection, masks, text encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from ..log import get_logger
from .processes import in_group

log = get_logger(__name__)

MORE = 1 << 30
"""Bytes that another card must have free beyond the own: below that a move gains nothing."""
NEWEST_NEEDED = 8  # compute capability: from there on cards compute in bf16


@dataclass(frozen=True)
class Kind:
    """Of a card, as far as the same work can be given to another.

    Attributes:
        name: the card's.
        capability: major compute capability; 0 where it has none (ROCm).
        built_for: whether this PyTorch has kernels for it.
    """

    name: str
    capability: int = 0
    built_for: bool = True

    def can_replace(self, own: Kind) -> bool:
        """Whether work that fits ``own`` runs here, in the same dtypes."""
        if self.name == own.name:
            return True
        return self.built_for and own.capability > 0 and self.capability >= min(own.capability, NEWEST_NEEDED)


def roomiest(free: Mapping[torch.device, int], own: torch.device, needed: int = 0) -> torch.device:
    """The device with the most free memory.

    Args:
        free: bytes of each; of equal ones the first is taken.
        own: taken unless another has :data:`MORE` more. It need not be in ``free``.
        needed: bytes that another must have.
    """
    others = {device: size for device, size in free.items() if device != own and size >= needed}
    best = max(others, key=lambda device: others[device], default=own)
    return best if best != own and others[best] >= free.get(own, 0) + MORE else own


def choose_card(
    cards: Iterable[torch.device],
    own: torch.device,
    work: str,
    free_memory: Callable[[torch.device], int],
    kind_of: Callable[[torch.device], Kind],
    needed: int = 0,
) -> torch.device:
    """The one of ``cards`` that ``work`` runs on, by :func:`roomiest`; another than ``own`` is logged.

    Args:
        free_memory: free bytes of a card; one for which it raises RuntimeError is left out, as one that another process
            holds for itself.
    """
    others = [card for card in dict.fromkeys(cards) if card != own and card.type == own.type]
    if not others:
        return own
    try:
        free = {own: free_memory(own)}
        mine = kind_of(own)
    except (RuntimeError, AssertionError) as error:  # the latter of a device that torch does not know
        log.debug("the free memory of %s is not known: %s", own, error)
        return own
    for card in others:
        try:
            if kind_of(card).can_replace(mine):
                free[card] = free_memory(card)
        except (RuntimeError, AssertionError) as error:
            log.debug("%s is left out: %s", card, error)
    chosen = roomiest(free, own, needed)
    if chosen != own:
        log.info(
            "%s runs on %s, which has %.1f GB free (%s: %.1f GB).",
            work,
            chosen,
            free[chosen] / 1e9,
            own,
            free[own] / 1e9,
        )
    return chosen


def card_with_room(device: torch.device | str, work: str, needed: int = 0) -> torch.device:
    """``device``, or for ``"cuda"`` without a number the card with the most free memory; not where several processes
    make one clip, whose cards are theirs."""
    own = torch.device(device)
    if own.type != "cuda" or own.index is not None or in_group() or not torch.cuda.is_available():
        return own
    cards = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if len(cards) < 2:
        return own
    first = torch.device("cuda", torch.cuda.current_device())
    chosen = choose_card(cards, first, work, free_memory, kind_of, needed)
    return own if chosen == first else chosen


def free_memory(card: torch.device) -> int:
    """Bytes, those that PyTorch holds unused among them."""
    held = torch.cuda.memory_reserved(card) - torch.cuda.memory_allocated(card)
    return torch.cuda.mem_get_info(card)[0] + held


def kind_of(card: torch.device) -> Kind:
    """Of a CUDA card."""
    name = torch.cuda.get_device_properties(card).name
    if torch.version.hip is not None:
        return Kind(name)
    major = torch.cuda.get_device_capability(card)[0]
    built = {int("".join(filter(str.isdigit, arch.split("_")[1]))) // 10 for arch in torch.cuda.get_arch_list()}
    return Kind(name, major, major in built)
