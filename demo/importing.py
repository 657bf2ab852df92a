"""Make this repository's packages importable without putting its root on ``sys.path``.

The root holds a folder ``nodes/``, and ComfyUI has a module ``nodes``: with the root on the path, the host's own
``import nodes`` could find ours. So exactly the packages named here are found by name, and nothing else of the root.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wan_animate", "demo", "benchmarks")


class OwnPackages:
    """A ``sys.meta_path`` finder for :data:`PACKAGES` in the repository's root."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and name in PACKAGES:
            return PathFinder.find_spec(name, [str(ROOT)], target)
        return None


def install() -> None:
    """Find our packages by name from now on, and take the repository's root off ``sys.path``. Safe to call twice."""
    if OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, OwnPackages)
    sys.path[:] = [entry for entry in sys.path if not _is_root(entry)]


def _is_root(entry: str) -> bool:
    try:
        return os.path.samefile(entry or os.getcwd(), ROOT)
    except OSError:
        return False
