"""Deinterlacing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
from av.filter import Graph

_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")


class Deinterlacer:
    """FFmpeg's bwdif filter, one picture per frame, at its first field's time.

    The filter is given exactly the one frame before and after that it reads, so frames may come in any order. Not
    thread-safe.
    """

    def __init__(self) -> None:
        # Reused, as PyAV frees graphs late.
        self._graph: Graph | None = None
        self._kind: tuple | None = None

    def __call__(
        self, before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None
    ) -> av.VideoFrame:
        """The neighbours are None at the ends of the clip."""
        kind = _kind(frame)
        around = [near if near is not None and _kind(near) == kind else None for near in (before, after)]
        if None in around:  # bwdif handles the ends of its input differently: a new graph, flushed
            frames = [near for near in (around[0], frame, around[1]) if near is not None]
            result = _through(_bwdif(frame), [*frames, None])[0 if around[0] is None else 1]
        else:
            if self._graph is None or kind != self._kind:
                self._graph, self._kind = _bwdif(frame), kind
                _through(self._graph, [frame])  # so that ``before`` is not the graph's first frame
            result = _through(self._graph, [around[0], frame, around[1]])[-1]  # delayed by one frame
        for tag in _TAGS:
            if hasattr(frame, tag) and getattr(result, tag) != getattr(frame, tag):
                setattr(result, tag, getattr(frame, tag))
        return result


def _kind(frame: av.VideoFrame) -> tuple:
    return frame.width, frame.height, frame.format.name


def _through(graph: Graph, frames: Sequence[av.VideoFrame | None]) -> list[av.VideoFrame]:
    results: list[Any] = []
    for frame in frames:
        graph.push(frame)
        while True:
            try:
                results.append(graph.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    return results


def _bwdif(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    filter_ = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    return graph
