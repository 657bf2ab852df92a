"""A few threads for work on single frames: FFmpeg, OpenCV and NumPy let go of the interpreter while they do it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2

# More cores than this a stage does not need to keep up with any card, and other stages and FFmpeg want some too.
COUNT = max(1, min(4, (os.cpu_count() or 1) // 4))


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


def each(function: Callable, *arguments: Iterable) -> None:
    """``function`` of every set of arguments, as ``map``; returns when all are done and raises the first error."""
    futures = [submit(function, *one) for one in zip(*arguments)]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
