"""Interlaced video: two half pictures in one frame, taken a fiftieth or a sixtieth of a second apart."""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.filter import Graph

_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")


def deinterlaced(frames: Sequence[av.VideoFrame], at: int) -> av.VideoFrame:
    """Frame ``at`` of a few consecutive ones as a whole picture of its first field's moment.

    FFmpeg's bwdif filter, one picture a frame, so that numbers and times stay. It looks one frame back and one ahead:
    given these, the result is the same as when the whole clip goes through it.
    """
    wanted = frames[at]
    alike = [(frame.width, frame.height, frame.format.name) for frame in frames]
    first = last = at
    while first > 0 and alike[first - 1] == alike[at]:
        first -= 1
    while last + 1 < len(frames) and alike[last + 1] == alike[at]:
        last += 1
    graph = Graph()
    base = wanted.time_base
    source = graph.add_buffer(width=wanted.width, height=wanted.height, format=wanted.format, time_base=base)
    filter_ = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    results = []
    for frame in [*frames[first : last + 1], None]:
        graph.push(frame)
        while True:
            try:
                results.append(graph.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                break
    result = results[at - first]
    for tag in _TAGS:
        if hasattr(wanted, tag) and getattr(result, tag) != getattr(wanted, tag):
            setattr(result, tag, getattr(wanted, tag))
    return result
