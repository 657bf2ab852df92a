"""A part of each frame through the Wan VAE: a band of rows or columns.

An output pixel is made of input pixels within a few rows and columns: the convolutions are 3x3, the norms of one pixel.
So a band computed with that margin has the values that the whole has (the same sums; a library may add them in another
order). Only the attention in the middle of the network sees whole frames, at an eighth of their width and height. The
stage that holds it is computed whole: by every card when decoding, after the bands are joined when encoding. In time
nothing is cut: a band is of all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ....wan_animate.parallel.partition import even_ranges
from .layers import Down, Up
from .network import Stage, Still

LEAST = 4  # lines of a latent in a band; with less, a band is mostly margin
MARGIN = 7  # lines of a latent on each side that a stage computes beside its band, at most


def bands(size: int, most: int) -> tuple[range, ...]:
    """A latent's lines in up to ``most`` bands."""
    return even_ranges(size, max(1, min(most, size // LEAST)))


def sees_whole(stage: Stage) -> bool:
    """Whether it holds an attention."""
    return any(not isinstance(layer, (Down, Up)) and layer.reach is None for layer in stage.layers)


def scale(stage: Stage, line: int) -> int:
    """The output line that an input line becomes."""
    if isinstance(stage.layers[0], Up):
        return 2 * line
    return line // 2 if isinstance(stage.layers[-1], Down) else line


def needed(stage: Stage, wanted: range, size: int) -> range:
    """The input lines, of ``size``, that output lines are made of."""
    if sees_whole(stage):
        return range(size)
    start, stop = wanted.start, wanted.stop
    for layer in reversed(stage.layers):
        if isinstance(layer, Down):  # line y is made of lines 2y to 2y + 2
            start, stop = 2 * start, 2 * stop + 1
        elif isinstance(layer, Up):  # a 3x3 convolution of doubled lines
            start, stop = (start - 1) // 2, (stop + 2) // 2
        else:
            start, stop = start - layer.reach, stop + layer.reach
    if isinstance(stage.layers[-1], Down):
        start -= start % 2  # a band begins with the first line of a pair
    return range(max(start, 0), min(stop, size))


def plan(stages: Sequence[Stage], wanted: range, size: int) -> list[range]:
    """Lines of every stage's input, and last those of the output: ``wanted``.

    Args:
        size: lines of the first stage's input.
    """
    sizes = [size]
    for stage in stages[:-1]:
        sizes.append(scale(stage, sizes[-1]))
    lines = [wanted]
    for stage, count in zip(reversed(stages), reversed(sizes)):
        lines.insert(0, needed(stage, lines[0], count))
    return lines


def run_band(
    stages: Sequence[Stage], stream: Iterable, lines: Sequence[range], axis: int, budget: int, check: Callable
) -> Iterator:
    """As :func:`.network.run`, of some lines.

    Args:
        stream: of the first of ``lines`` alone.
        lines: as :func:`plan`.
        axis: 1 for bands of rows, 2 for columns.
    """
    for stage, given, kept in zip(stages, lines, lines[1:]):
        stream = _cut(stage.run(stream, budget, check), axis, kept.start - scale(stage, given.start), len(kept))
    return iter(stream)


def _cut(stream: Iterable, axis: int, start: int, count: int) -> Iterator:
    for part in stream:
        yield part if isinstance(part, Still) else part.narrow(axis, start, count).contiguous()
