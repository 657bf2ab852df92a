"""Import this repository's packages without its root on ``sys.path``.

The root has a folder ``nodes/``, and ComfyUI a module ``nodes``: with the root on the path, the host's ``import nodes``
could find ours. Only :data:`PACKAGES` are found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wan_animate", "demo", "benchmarks")


class OwnPackages:
    """A ``sys.meta_path`` finder for :data:`PACKAGES` in the repository's root."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is None and name in PACKAGES:
            return PathFinder.find_spec(name, [str(ROOT)], target)
        return None


def install() -> None:
    """Add the finder and take the root off ``sys.path``. Safe to call twice."""
    if OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, OwnPackages)
    sys.path[:] = [entry for entry in sys.path if not _is_root(entry)]


def _is_root(entry: str) -> bool:
    try:
        return os.path.samefile(entry or os.getcwd(), ROOT)
    except OSError:
        return False
