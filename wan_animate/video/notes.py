"""Sentences on what a video is converted from when it is read."""

from __future__ import annotations

from fractions import Fraction

from .hdr import REFERENCE_WHITE, Mapping


def conversion_notes(
    name: str, tone: Mapping | None, interlaced: bool, stored: tuple[int, int], shown: tuple[int, int], shape: Fraction
) -> list[str]:
    """One for each conversion.

    Args:
        tone: of :func:`.hdr.mapping`.
        stored, shown: width and height in the file and as players show it; turned, they may be swapped.
        shape: the pixels' aspect ratio.
    """
    notes = []
    if tone is not None and tone.transfer != "SDR":
        notes.append(
            f"{name} is HDR ({tone}): it is brought to SDR in BT.709, diffuse white ({REFERENCE_WHITE:g} cd/m2) nearly "
            "to white and the highlights above it rolled off."
        )
    elif tone is not None:
        notes.append(f"{name} has {tone.primaries} colours: they are brought to BT.709.")
    if interlaced:
        notes.append(f"{name} is interlaced: each frame becomes one whole picture (FFmpeg's bwdif).")
    if shown not in (stored, stored[::-1]):
        notes.append(
            f"{name} is stored as {stored[0]}x{stored[1]} with pixels of {shape}: it is stretched to "
            f"{shown[0]}x{shown[1]}, as players show it."
        )
    return notes
