"""Nodes that close the videos they read. The host keeps what they made, and with it the clips that it is made of."""

from __future__ import annotations

import functools
from typing import Any

from comfy_api.latest import io


def closing(node: type[io.ComfyNode]) -> None:
    """Has the node close the files of all clips when it ends, also by an error; who reads them next opens them anew."""
    run: Any = node.execute.__func__  # type: ignore[attr-defined]

    @functools.wraps(run)
    def execute(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> Any:
        try:
            return run(cls, *args, **kwargs)
        finally:
            from ...wan_animate.video.opened import close_opened

            close_opened()

    setattr(node, "execute", classmethod(execute))  # noqa: B010  a method, says mypy
