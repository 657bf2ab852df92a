"""Compiles Triton kernels in the background before their first launch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch

from ..log import get_logger

LOGGED = 1.0  # seconds; faster compilations are not logged

log = get_logger(__name__)
_lock = threading.Lock()
_started: dict[str, list[Future]] = {}


def start(what: str, device: torch.device, compilations: Iterable[Callable[[], object]]) -> None:
    """Starts compiling on CUDA devices, once per name ``what``.

    Args:
        compilations: each compiles one kernel, and returns it.
    """
    if device.type != "cuda" or torch.version.hip is not None:
        return
    with _lock:
        if what in _started:
            return
        _started[what] = []
    began, calls = time.perf_counter(), list(compilations)
    pool = ThreadPoolExecutor(max(1, min(8, (os.cpu_count() or 2) // 2)), thread_name_prefix="compile kernels")

    def compile_on_device(compilation: Callable[[], object]) -> None:
        with torch.cuda.device(device):
            # ``run`` has Triton build its launcher (a C compiler's work, 0.2 s each), as the first launch would
            getattr(compilation(), "run", None)

    futures = [pool.submit(compile_on_device, call) for call in calls]
    pool.shutdown(wait=False)
    _started[what] = futures

    def report() -> None:
        wait(futures)
        seconds = time.perf_counter() - began
        failed = [error for error in (future.exception() for future in futures) if error is not None]
        if failed:  # the launch compiles it, or raises
            log.debug("%d kernels of %s were not compiled ahead: %s", len(failed), what, failed[0])
        if seconds >= LOGGED:
            log.info(
                "%d kernels for %s compiled in %.1f s; they are kept on disk for the next start.",
                len(futures) - len(failed), what, seconds,
            )  # fmt: skip

    threading.Thread(target=report, name="compile kernels", daemon=True).start()


def finish(what: str) -> None:
    wait(_started.get(what, ()))
