"""What a server takes while it works: its RAM, the GPU's memory, and the share of time in which the GPU is busy."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

GB = 1e9
_QUERY = "--query-gpu=utilization.gpu,memory.used"


@dataclass
class Usage:
    """What was measured between :meth:`Meters.begin` and :meth:`Meters.end`.

    Attributes:
        seconds: duration.
        ram_gb: peak of resident memory (RSS, with mapped weight files).
        ram_anonymous_gb: peak of resident memory that no file backs.
        vram_gb: peak of the GPU's memory in use; None without a GPU.
        busy: (seconds since the start, share 0..1 of the sample in which a kernel ran), by the driver's count.
    """

    seconds: float = 0.0
    ram_gb: float = 0.0
    ram_anonymous_gb: float = 0.0
    vram_gb: float | None = None
    busy: list[tuple[float, float]] = field(default_factory=list)

    def busy_share(self, start: float = 0.0, stop: float | None = None) -> float | None:
        """Share of the time from ``start`` to ``stop`` (seconds) in which the GPU computed."""
        stop = self.seconds if stop is None else stop
        inside = [share for at, share in self.busy if start <= at <= stop]
        return sum(inside) / len(inside) if inside else None


class Meters:
    """Samples a process (with its children) and the first visible GPU, in two threads, inside ``with``.

    Args:
        pid: of the server.
        every: seconds between two samples of the memory.
    """

    def __init__(self, pid: int, every: float = 0.2) -> None:
        self.pid, self.every = pid, every
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._usage, self._began = Usage(), time.time()
        self._smi: subprocess.Popen | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Meters:
        try:
            self._smi = subprocess.Popen(
                ["nvidia-smi", _QUERY, "--format=csv,noheader,nounits", "-i", first_visible(), "-lms", "200"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            self._smi = None
        watchers = [self._watch_memory] + ([self._watch_card] if self._smi else [])
        self._threads = [threading.Thread(target=watch, daemon=True) for watch in watchers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        if self._smi is not None:
            self._smi.terminate()
        for thread in self._threads:
            thread.join(5)

    def begin(self) -> None:
        with self._lock:
            self._usage, self._began = Usage(), time.time()

    def end(self) -> Usage:
        with self._lock:
            self._usage.seconds = time.time() - self._began
            return self._usage

    def _watch_memory(self) -> None:
        import psutil

        while not self._stop.wait(self.every):
            try:
                server = psutil.Process(self.pid)
                family = [server, *server.children(recursive=True)]
                # not what is private to them (USS): walking the page tables of 40 GB holds the server up each time
                resident = sum(one.memory_info().rss for one in family) / GB
                anonymous = sum(anonymous_bytes(one.pid) for one in family) / GB
            except (psutil.Error, OSError):
                continue
            with self._lock:
                self._usage.ram_gb = max(self._usage.ram_gb, resident)
                self._usage.ram_anonymous_gb = max(self._usage.ram_anonymous_gb, anonymous)

    def _watch_card(self) -> None:
        assert self._smi is not None and self._smi.stdout is not None
        for line in self._smi.stdout:
            try:
                share, used = (float(part) for part in line.split(","))
            except ValueError:
                continue
            with self._lock:
                self._usage.busy.append((time.time() - self._began, share / 100))
                self._usage.vram_gb = max(self._usage.vram_gb or 0.0, used * 2**20 / GB)


def first_visible() -> str:
    """The GPU that CUDA calls 0, as ``nvidia-smi -i`` names it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"


def anonymous_bytes(pid: int) -> int:
    """Resident bytes of a process that no file backs; 0 where the system does not say (not Linux)."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return 1024 * sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in lines)
    except OSError:
        return 0
