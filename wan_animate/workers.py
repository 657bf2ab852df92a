"""A thread pool for per-frame work; FFmpeg, OpenCV and NumPy release the GIL."""

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

# Six keep any GPU busy; pipeline stages and FFmpeg need cores too.
COUNT = max(1, min(6, (os.cpu_count() or 1) // 2))
_NAME = "frames"


@contextmanager
def opencv_in_one_thread() -> Iterator[None]:
    """Disables OpenCV's threads while the pool is used: detection is 4 to 16 % faster on 16 cores."""
    threads = cv2.getNumThreads()
    if COUNT > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if COUNT > 1:
            cv2.setNumThreads(threads)


def lower_priority() -> None:
    """Lowers the priority of the calling thread and those it starts (Linux only), below its process's own; where it
    cannot, it leaves it.

    On two cores, encoding slows a thread that launches kernels to 0.8 instead of 0.5.
    """
    _start_pool()
    if sys.platform == "linux":
        try:
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + 10, 19))
        except OSError:
            pass


@contextmanager
def normal_scheduling() -> Iterator[None]:
    """Takes back real-time scheduling that a library sets inside, for this thread and those that it starts (Linux).

    For root, SVT-AV1 makes its caller and its own threads ``SCHED_FIFO`` 99, and what these start inherits it: a server
    in a container then keeps both of two cores from everything else.
    """
    if sys.platform != "linux":
        yield
        return
    before = set(os.listdir("/proc/self/task")) - {str(threading.get_native_id())}
    try:
        yield
    finally:
        for thread in set(os.listdir("/proc/self/task")) - before:
            try:
                if os.sched_getscheduler(int(thread)) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
            except OSError:  # it has ended, or is not ours to change
                pass


@lru_cache(maxsize=1)
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(COUNT, thread_name_prefix=_NAME)


def _start_pool() -> None:
    """Starts all threads of the pool: one that a lowered thread starts would be lowered for good."""
    if COUNT > 1:
        begun = threading.Event()
        try:
            for _ in range(COUNT):  # the pool starts a thread for each that finds none idle
                pool().submit(begun.wait)
        except RuntimeError:  # the machine gives no more threads
            pass
        finally:
            begun.set()  # a thread that waited for ever would keep the process from ending


def submit(function: Callable, *arguments: Any) -> Future:
    """Runs in the pool, or at once if there are too few cores, or in a thread of the pool: all of them might wait."""
    if COUNT > 1 and not threading.current_thread().name.startswith(_NAME):
        return pool().submit(function, *arguments)
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def each(function: Callable, *arrays: Any) -> None:
    """Runs ``function`` on equal parts of the arrays in the pool; raises the first error.

    One part per thread, as items would contend for the GIL.
    """
    count = len(arrays[0])
    step = max(-(-count // COUNT), 1)
    starts = range(0, count, step)
    futures = [submit(function, *(array[start : start + step] for array in arrays)) for start in starts]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
