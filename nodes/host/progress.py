"""Progress callbacks on ComfyUI's bar."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.utils


def progress_bar(total: int | None = None) -> Callable[[int, int], None]:
    """A callback for the node's bar. It raises ``InterruptProcessingException`` (a BaseException) on Cancel."""
    bar = comfy.utils.ProgressBar(total or 1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
