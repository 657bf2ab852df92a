"""Pictures of 256 colours and fewer, for GIF."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph


class Palette:
    """Each frame with a palette of its own, dithered (FFmpeg's palettegen and paletteuse).

    Args:
        size: (width, height).
        colors: 4 to 256.
        dither: of paletteuse.
    """

    def __init__(self, size: tuple[int, int], rate: Fraction, colors: str, dither: str) -> None:
        self._graph = Graph()
        whole = f"video_size={size[0]}x{size[1]}:pix_fmt=rgb24:time_base={1 / rate}:pixel_aspect=1/1"
        self._source = self._graph.add("buffer", whole)
        split = self._graph.add("split")
        find = self._graph.add("palettegen", f"stats_mode=single:max_colors={colors}:reserve_transparent=0")
        use = self._graph.add("paletteuse", f"new=1:dither={dither}")
        self._sink = self._graph.add("buffersink")
        self._source.link_to(split)
        split.link_to(find, 0, 0)
        split.link_to(use, 1, 0)
        find.link_to(use, 0, 1)
        use.link_to(self._sink)
        self._graph.configure()

    def apply(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What is ready after a frame; None after the last."""
        self._source.push(frame)
        while True:
            try:
                yield self._sink.pull()  # type: ignore[misc]  # no audio in this graph
            except (av.error.BlockingIOError, av.error.EOFError):
                return
