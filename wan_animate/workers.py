"""A few threads for work on single frames: FFmpeg, OpenCV and NumPy let go of the interpreter while they do it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2

# More than this no card needs to be kept fed, and the stages themselves and FFmpeg want some cores too.
COUNT = max(1, min(6, (os.cpu_count() or 1) // 2))


@contextmanager
def opencv_in_one_thread() -> Iterator[None]:
    """OpenCV's own threads off while ours are at work on whole frames: they only wait for each other (on 16 cores
    detection was 4 to 16 % faster without them). Nothing changes on a machine of few cores."""
    threads = cv2.getNumThreads()
    if COUNT > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if COUNT > 1:
            cv2.setNumThreads(threads)


def lower_priority() -> None:
    """The calling thread, and those it starts, leave the cores to others that want them (on Linux; elsewhere a thread
    has no priority of its own that a program without rights could set).

    Measured on two cores: a thread that starts small kernels while a clip is encoded comes round 0.8 times as often as
    alone, and 0.5 times without this.
    """
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        except OSError:
            pass


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(COUNT, thread_name_prefix="frames")


def submit(function: Callable, *arguments: Any) -> Future:
    """``function(*arguments)`` in one of the threads; on a machine of few cores done at once, here."""
    if COUNT > 1:
        return _pool().submit(function, *arguments)
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def each(function: Callable, *arrays: Any) -> None:
    """``function`` of equal parts of the arrays, each in a thread; returns when all are done, raises the first error.

    Few parts, not many items: whenever a thread takes up Python again it waits for all others that are at it.
    """
    count = len(arrays[0])
    step = max(-(-count // COUNT), 1)
    starts = range(0, count, step)
    futures = [submit(function, *(array[start : start + step] for array in arrays)) for start in starts]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
