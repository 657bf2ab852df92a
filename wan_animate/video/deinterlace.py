"""Interlaced video: two half pictures in one frame, taken a fiftieth or a sixtieth of a second apart."""

from __future__ import annotations

import av
from av.filter import Graph

_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")


class Deinterlacer:
    """Makes whole pictures of the moments of frames' first fields, by FFmpeg's bwdif filter.

    One picture a frame, so that numbers and times stay. The filter looks one frame back and one ahead, and gets just
    these each time: the result is the same as when the whole clip goes through it, in whatever order frames are asked
    for. For one thread.
    """

    def __init__(self):
        self._kind = self._graph = None  # kept: PyAV lets go of a graph and the frames in it late

    def __call__(self, before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None):
        """``before`` and ``after`` are the frame's neighbours, None at the ends of the clip."""
        kind = _kind(frame)
        around = [one if one is not None and _kind(one) == kind else None for one in (before, after)]
        if None in around:  # at the ends the filter goes by the one picture alone: a graph of its own, to its end
            frames = [one for one in (around[0], frame, around[1]) if one is not None]
            result = _through(_bwdif(frame), [*frames, None])[0 if around[0] is None else 1]
        else:
            if kind != self._kind:
                self._graph, self._kind = _bwdif(frame), kind
                _through(self._graph, [frame])  # so that the one before is never the first
            result = _through(self._graph, [around[0], frame, around[1]])[-1]  # it is one behind
        for tag in _TAGS:
            if hasattr(frame, tag) and getattr(result, tag) != getattr(frame, tag):
                setattr(result, tag, getattr(frame, tag))
        return result


def _kind(frame: av.VideoFrame) -> tuple:
    return frame.width, frame.height, frame.format.name


def _through(graph: Graph, frames: list[av.VideoFrame | None]) -> list[av.VideoFrame]:
    results = []
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
