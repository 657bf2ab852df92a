"""Which files the weights in memory came from, as they were then.

ComfyUI keeps what its loaders loaded, also after a file is replaced under the same name, and most of them do not look
again. A job's key is of what is sampled with, so it asks here, not the disk. What was encoded (CONDITIONING and
CLIP_VISION_OUTPUT) counts as it is: :func:`.jobs.job_words`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from ...wan_animate.errors import InputError
from ...wan_animate.log import get_logger
from ...wan_animate.record.identity import content_identity
from ...wan_animate.weights.held import HeldFile, HeldFiles, overwritten

log = get_logger(__name__)

LOAD_AGAIN = "unload models and the execution cache (in ComfyUI's menu), and run again"
_KNOWN: WeakKeyDictionary[Any, Loaded] = WeakKeyDictionary()


class Loaded:
    """The files of one model in memory."""

    def __init__(self) -> None:
        self._files: dict[str, HeldFile] = {}
        self._told: set[tuple[str, str]] = set()

    def identity(self, path: str) -> str:
        """Of a file's content when it was loaded, or else when it was first asked for with this model.

        Raises:
            InputError: the file was overwritten in its place, so that what is in memory may be either.
        """
        try:
            now = HeldFile.of(path)
        except OSError:
            now = None
        known = self._files.get(path) if now is None else self._files.setdefault(path, now)
        if known is None:
            return file_identity(path)
        if now is None or known.identity == now.identity:
            return known.identity
        if known.overwritten_by(now):
            raise InputError(overwritten(path, LOAD_AGAIN))
        if (path, now.identity) not in self._told:
            self._told.add((path, now.identity))
            log.warning(
                "%s has changed since ComfyUI loaded it: this clip is made with what is loaded. For the new file, "
                "unload models and the execution cache (in ComfyUI's menu), and run again.",
                os.path.basename(path),
            )
        return known.identity


def loaded_from(model: Any) -> Loaded | None:
    """The files of a MODEL, VAE or CLIP, of all its clones alike; None for what is none."""
    for name in ("model", "first_stage_model", "cond_stage_model"):
        weights = getattr(model, name, None)
        if weights is not None:
            try:
                return _KNOWN.setdefault(weights, Loaded())
            except TypeError:  # another pack's, which cannot be referred to
                return None
    return None


def now_loading(paths: Iterable[str]) -> Loaded:
    """Call before files are read; for :func:`was_loaded`."""
    found = Loaded()
    for path in paths:
        found.identity(path)
    return found


def was_loaded(model: Any, files: Loaded) -> None:
    """Remembers what a MODEL was read from."""
    _KNOWN[model.model] = files


def hold_files(paths: Iterable[str]) -> HeldFiles:
    """Files that a job's weights were read from, to be checked with each of its segments."""
    return HeldFiles(paths, LOAD_AGAIN)


def file_identity(path: str) -> str:
    """Of the content, equal for a copy; the path if unreadable. For keys: it is private."""
    try:
        return content_identity(path)
    except OSError:
        return f"unreadable:{path}"
