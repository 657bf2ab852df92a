"""Published rates of graphics cards, by which times measured on one are carried over to another."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Card:
    """A card's published rates.

    Attributes:
        tflops: dense bfloat16 on tensor cores with float32 sums (float16 where it has no bfloat16).
        bandwidth: of its memory, GB/s.
    """

    name: str
    tflops: float
    bandwidth: float


MEASURED = Card("H100 80GB HBM3", 989, 3350)
"""The card that this project's times were measured on."""

# From the makers' data sheets. The first whose words are all in a device's name is taken: longer names come first.
CARDS = (
    Card("GB200", 2500, 8000),
    Card("B200", 2250, 8000),
    Card("H200", 989, 4800),
    Card("H100 PCIe", 756, 2000),
    Card("H100 NVL", 835, 3900),
    Card("H100", MEASURED.tflops, MEASURED.bandwidth),
    Card("H20", 148, 4000),
    Card("A100 40GB", 312, 1555),
    Card("A100", 312, 2039),
    Card("A800", 312, 2039),
    Card("L40S", 362, 864),
    Card("L40", 181, 864),
    Card("L4", 121, 300),
    Card("A40", 150, 696),
    Card("A10G", 70, 600),
    Card("A10", 125, 600),
    Card("V100", 125, 900),
    Card("T4", 65, 320),
    Card("RTX PRO 6000", 504, 1792),
    Card("RTX 6000 Ada", 364, 960),
    Card("RTX A6000", 155, 768),
    Card("RTX A5000", 111, 768),
    Card("RTX 5090", 209.5, 1792),
    Card("RTX 5080", 112.6, 960),
    Card("RTX 5070 Ti", 87.9, 896),
    Card("RTX 5070", 61.7, 672),
    Card("RTX 4090", 165.2, 1008),
    Card("RTX 4080 SUPER", 104.4, 736),
    Card("RTX 4080", 97.5, 717),
    Card("RTX 4070 Ti", 80.2, 504),
    Card("RTX 4070", 58.3, 504),
    Card("RTX 4060 Ti", 44.1, 288),
    Card("RTX 3090 Ti", 80, 1008),
    Card("RTX 3090", 71, 936),
    Card("RTX 3080 Ti", 68.2, 912),
    Card("RTX 3080", 59.5, 760),
    Card("RTX 3060", 25.5, 360),
)


def known_card(name: str) -> Card | None:
    """The card of a device's name, ``"NVIDIA GeForce RTX 4090"``; None if its rates are not known here. A laptop's card
    is another than its namesake."""
    words = re.split(r"[\s\-_]+", name.lower())
    if "laptop" in words or "mobile" in words:
        return None
    return next((card for card in CARDS if set(card.name.lower().split()) <= set(words)), None)


@dataclass(frozen=True)
class Device:
    """Where the job will run.

    Attributes:
        name: the card's name, or ``"CPU"``.
        memory: of the card in bytes, 0 for a CPU.
    """

    name: str
    memory: int = 0


def device_here(name: str | torch.device = "cuda") -> Device:
    """The device that torch has under this name; a CPU where it has no such card."""
    device = torch.device(name)
    if device.type == "cuda" and torch.cuda.is_available():
        found = torch.cuda.get_device_properties(device)
        return Device(found.name, found.total_memory)
    return Device("CPU" if device.type == "cuda" else device.type.upper())
