"""The engine's progress callback as ComfyUI's progress bar."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.utils


def progress_bar(total: int | None = None) -> Callable[[int, int], None]:
    """A ``callback(done, total)`` that moves the node's bar.

    It raises ComfyUI's ``InterruptProcessingException`` (a BaseException) when Cancel was pressed.

    Args:
        total: if known before the first call.
    """
    bar = comfy.utils.ProgressBar(total or 1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
