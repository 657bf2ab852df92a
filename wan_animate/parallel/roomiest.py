"""Which of several cards has room for work beside the transformer: detection, masks, text encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from ..log import get_logger
from .processes import in_group

log = get_logger(__name__)

MORE = 1 << 30
"""Bytes that another card must have free beyond the own: below that a move gains nothing."""
PROMPT = 1 << 30
"""Bytes that encoding a prompt takes beside the weights, amply: it is 512 tokens."""


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
    name_of: Callable[[torch.device], str],
    needed: int = 0,
) -> torch.device:
    """The one of ``cards`` that ``work`` runs on, by :func:`roomiest`; another than ``own`` is logged.

    Args:
        free_memory: free bytes of a card; one for which it raises RuntimeError is left out, as one that another process
            holds for itself.
        name_of: a card's model. Cards of another model round differently, by which a job would not be found again.
    """
    others = [card for card in dict.fromkeys(cards) if card != own and card.type == own.type]
    if not others:
        return own
    try:
        free = {own: free_memory(own)}
        mine = name_of(own)
    except (RuntimeError, AssertionError) as error:  # the latter of a device that torch does not know
        log.debug("the free memory of %s is not known: %s", own, error)
        return own
    for card in others:
        try:
            if name_of(card) == mine:
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
    """``device``, or for ``"cuda"`` without a number the card of its model with the most free memory.

    Where several processes make one clip, the cards are theirs: ``device``.
    """
    own = torch.device(device)
    if own.type != "cuda" or own.index is not None or in_group() or not torch.cuda.is_available():
        return own
    cards = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if len(cards) < 2:
        return own
    first = torch.device("cuda", torch.cuda.current_device())
    chosen = choose_card(cards, first, work, free_memory, torch.cuda.get_device_name, needed)
    return own if chosen == first else chosen


def free_memory(card: torch.device) -> int:
    """Bytes, those that PyTorch holds unused among them."""
    held = torch.cuda.memory_reserved(card) - torch.cuda.memory_allocated(card)
    return torch.cuda.mem_get_info(card)[0] + held
