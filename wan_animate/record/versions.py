"""Versions that a clip's frames may depend on."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("numpy", "opencv-python-headless", "av", "onnxruntime", "onnxruntime-gpu", "transformers", "diffusers")


def versions(**more: str | None) -> dict[str, str]:
    """Of this pack, Python, torch, CUDA and the packages that are installed; ``more`` by name."""
    found = {"wan_animate_kit": kit_version(), "python": platform.python_version(), "torch": str(torch.__version__)}
    more = {
        "cuda": torch.version.cuda,
        **{name.replace("-", "_"): installed_version(name) for name in PACKAGES},
        **more,
    }
    return found | {name: version for name, version in more.items() if version}


def kit_version() -> str:
    """This pack's: of its own folder's pyproject.toml, else as installed."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        text = project.read_text(encoding="utf-8", errors="replace")
        found = re.search(r'^name = "wan-animate-kit"\nversion = "([^"]+)"', text, re.M)
        if found:
            return found[1]
    return installed_version("wan-animate-kit") or "unknown"


def installed_version(package: str) -> str | None:
    """Of a Python package by its name on PyPI; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
