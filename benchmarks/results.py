"""A claim's result file: our figure and a peer's from one run, and what it takes to run it again.

``results/<claim>.json`` holds ``claim``, ``ours``, ``peer``, ``peer_name``, ``ratio`` (ours / peer), ``unit``,
``better`` ("lower" or "higher"), ``hardware``, ``versions``, ``date``, ``command``, and what a benchmark adds.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
EXTRAS = ("triton", "comfy-kitchen", "flash-attn-4")  # named beside torch where they are installed


def record(
    claim: str,
    ours: float,
    peer: float,
    *,
    peer_name: str,
    unit: str = "seconds",
    better: str = "lower",
    versions: dict[str, str | None],
    hardware: str | None = None,
    digits: int = 4,
    write: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Print a claim in a line and write its file.

    Args:
        hardware: in words (default: the CPU).
        digits: decimals of both figures; the ratio, of the figures before rounding, has three.
        write: False for a trial run: nothing is written.
        more: further fields of the file.

    Returns:
        What the file holds.
    """
    values = {
        "claim": claim,
        "ours": round(ours, digits),
        "peer": round(peer, digits),
        "peer_name": peer_name,
        "ratio": round(ours / peer, 3),
        "unit": unit,
        "better": better,
        **more,
        "hardware": hardware or cpu(),
        "versions": versions,
        "date": today(),
        "command": command(),
    }
    if write:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{claim}.json").write_text(json.dumps(values, indent=2) + "\n")
    print(f"{claim}: {values['ours']} against {values['peer']} {unit}, ratio {values['ratio']}", flush=True)
    return values


def record_on_host(claim: str, ours: float, peer: float, comfyui: str | None, **given: Any) -> dict[str, Any]:
    """:func:`record` of a claim about a ComfyUI's MODEL or VAE (its version: ``comfyui``), on the device torch has."""
    return record(claim, ours, peer, versions=torch_versions(comfyui), hardware=gpu() or cpu(), **given)


def command(arguments: list[str] | None = None) -> str:
    """The command that this process was started with; of a path that only this machine has, the last part alone."""
    script, *given = sys.argv if arguments is None else arguments
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *map(_without_folder, given)])


def _without_folder(argument: str) -> str:
    """``/somewhere/Wan2.2`` and ``--peer=/somewhere/Wan2.2`` with ``path/to/Wan2.2``."""
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}path/to/{Path(value).name}" if Path(value).is_absolute() else argument


def today() -> str:
    return datetime.now(timezone.utc).date().isoformat()


def cpu(cores: int | None = None) -> str:
    """The CPU in words; ``cores`` where a benchmark keeps to some of them."""
    count = f"{os.cpu_count()} cores" if cores is None else f"{cores} of {os.cpu_count()} cores"
    return f"CPU, {count}, {platform.machine()}, {platform.system()}"


def gpu() -> str | None:
    """The first CUDA device's name, if this process has torch loaded and torch has a device."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


def versions(*modules: str) -> dict[str, str | None]:
    """Python's version and those of imported modules, by name."""
    names = {"cv2": "opencv"}
    found: dict[str, str | None] = {"python": platform.python_version()}
    return found | {names.get(name, name): importlib.import_module(name).__version__ for name in modules}


def torch_versions(comfyui: str | None) -> dict[str, str | None]:
    """Versions of what a step on the host's model depends on."""
    import torch

    packages = {name: version for name in EXTRAS if (version := version_of(name))}
    cudnn = torch.backends.cudnn.version()
    return versions("torch") | {"cuda": torch.version.cuda, "cudnn": cudnn, "comfyui": comfyui, **packages}


def attention_package() -> str:
    """``_fa4`` where flash-attn-4 can be imported, which the exact attention then takes: for a claim's name."""
    try:
        importlib.import_module("flash_attn.cute")
    except Exception:  # absent, or one of the packages that it needs is
        return ""
    return "_fa4"


def version_of(package: str) -> str | None:
    """A package's version, or None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
