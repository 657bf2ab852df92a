"""The engine's progress callback on the host: moves the node's bar and lets Cancel through."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.utils


def progress_bar(total: int | None = None) -> Callable[[int, int], None]:
    """A ``callback(done, total)`` for one node's run.

    Each call raises the host's ``InterruptProcessingException`` when Cancel has been pressed; it is no ``Exception``,
    so nothing on the way swallows it.

    Args:
        total: where the bar ends, if it is known before the first call.
    """
    bar = comfy.utils.ProgressBar(total or 1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
