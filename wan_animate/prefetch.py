"""Work done ahead of its consumer, in a thread of its own: decoding while the networks run, stage behind stage.

FFmpeg, OpenCV, numpy and onnxruntime let go of the interpreter while they work, so threads are enough.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from .frames import FrameSource, read_uint8

Item = TypeVar("Item")


def ahead(source: Iterable[Item], depth: int = 1, name: str = "ahead") -> Iterator[Item]:
    """The items of ``source``, made in a background thread up to ``depth`` + 1 ahead of where they are used.

    ``source`` may itself be such an iterator; a chain of generators, each wrapped so, is a pipeline. The thread starts
    with the first item asked for. When the consumer stops early (an error, Cancel, ``close()``) it ends after the item
    it is at, closes ``source`` and is joined: nothing runs on. An error of ``source`` is raised here, after the items
    that came before it.

    Args:
        source: what to iterate over; used by the thread alone.
        depth: finished items that may wait, at least 1.
        name: of the thread.
    """
    waiting: queue.Queue = queue.Queue(max(depth, 1))
    stop = threading.Event()

    def work() -> None:
        ending: tuple = ("end", None)
        try:
            for item in source:
                waiting.put(("item", item))
                del item
                if stop.is_set():
                    break
        except BaseException as error:  # the host's Cancel is no Exception; whatever it is belongs to the consumer
            ending = ("error", error)
        finally:
            try:
                if hasattr(source, "close") and not isinstance(source, FrameSource):
                    source.close()
            except BaseException as error:
                ending = ("error", error)
            waiting.put(ending)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value
    finally:
        stop.set()
        while thread.is_alive():  # it may be waiting for room
            try:
                waiting.get(timeout=0.02)
            except queue.Empty:
                pass
        thread.join()


def read_ahead(
    frames: FrameSource, batch: int, depth: int = 2, ranges: Iterable[tuple[int, int]] | None = None
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Frames read in the background, in order.

    At most ``depth`` + 2 batches exist at a time (waiting, being read, being used). Close the iterator, or use it up,
    before the source is read by anybody else.

    Args:
        frames: what to read.
        batch: frames a time, at least 1; the last batch of a range may be shorter.
        depth: batches that may wait.
        ranges: ``(start, stop)`` parts to read in place of the whole clip.

    Yields:
        start, stop and the frames between, uint8 ``[n, H, W, 3]`` (``[n, H, W]`` for masks).
    """

    def read() -> Iterator[tuple[int, int, np.ndarray]]:
        for first, last in [(0, len(frames))] if ranges is None else ranges:
            for start in range(first, last, batch):
                stop = min(start + batch, last)
                yield start, stop, read_uint8(frames, start, stop)

    return ahead(read(), depth, "read ahead")
