"""Results that ComfyUI may still hand out of its cache, and the files that they are read from."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from pathlib import Path

from ...wan_animate.video.frames import FrameSource

_lock = threading.Lock()
_results: weakref.WeakKeyDictionary[FrameSource, list[Path]] = weakref.WeakKeyDictionary()
_made: set[Path] = set()
_lost = 0


def remember(frames: FrameSource, folder: Path, files: Iterable[Path]) -> None:
    """``frames`` are read from ``files`` in ``folder`` for as long as somebody holds them."""
    with _lock:
        _results[frames] = [file.absolute() for file in files]
        _made.add(folder.resolve())


def in_use(folder: Path) -> bool:
    """Whether a result is still read from it."""
    with _lock:
        return any(files[0].parent.resolve() == folder.resolve() for files in _results.values() if files)


def made_here(folder: Path) -> bool:
    """Whether this server made a result in it."""
    return folder.resolve() in _made


def results_lost() -> int:
    """Another number after files of a result are gone: for ``fingerprint_inputs``, so that it is not taken from the
    cache but found, or made, again."""
    global _lost
    with _lock:
        gone = [frames for frames, files in _results.items() if not all(file.exists() for file in files)]
        for frames in gone:
            del _results[frames]
        _lost += bool(gone)
        return _lost
