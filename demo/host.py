"""Find a ComfyUI on this machine and load it into this process (as a server: :mod:`demo.server`).

Standard library only: the set-up uses it before anything is installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from demo import importing
from demo.importing import ROOT

NOT_FOUND = (
    "no ComfyUI found: set COMFYUI_PATH or install it to ~/comfy/ComfyUI (comfy-cli: comfy install), "
    "then run the command again"
)
PACK_NAME = "ComfyUI-WanAnimateKit"
PACK_MODULE = "wan_animate_kit_pack"


class HostError(RuntimeError):
    """The host cannot be found, started or reached; the message has the end of its log."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI on disk.

    Attributes:
        path: the folder with ``main.py``.
        python: the interpreter the host is installed for.
        version: ``comfyui_version.__version__``.
    """

    path: Path
    python: Path
    version: str

    @property
    def models(self) -> Path:
        return self.path / "models"


def is_host(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "comfyui_version.py").is_file()


def find_host(environ: Mapping[str, str] | None = None) -> Host | None:
    """The ComfyUI of ``COMFYUI_PATH``, else the one whose ``custom_nodes`` holds this, else ``~/comfy/ComfyUI``.

    ``COMFYUI_PATH=none`` means none: the embedded backend.

    Raises:
        HostError: ``COMFYUI_PATH`` is set but holds no ComfyUI.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("COMFYUI_PATH", "").strip()
    if named.lower() == "none":
        return None
    if named:
        path = Path(named).expanduser().absolute()
        if not is_host(path):
            raise HostError(
                f"COMFYUI_PATH is {named}, but there is no main.py with comfyui_version.py next to it: "
                "point it at the folder that holds ComfyUI's main.py."
            )
        return _describe(path, environ)
    around = [Path(__file__).absolute().parents[1], ROOT]
    for root in around:
        if root.parent.name == "custom_nodes" and is_host(root.parents[1]):
            return _describe(root.parents[1], environ)
    home = Path("~/comfy/ComfyUI").expanduser()
    return _describe(home, environ) if is_host(home) else None


def require_host(path: Path | None = None) -> Host:
    """The ComfyUI in a folder, or the one that :func:`find_host` finds.

    Raises:
        HostError: there is none.
    """
    found = find_host({**os.environ, **({"COMFYUI_PATH": str(path)} if path else {})})
    if found is None:
        raise HostError(NOT_FOUND)
    return found


def _describe(path: Path, environ: Mapping[str, str]) -> Host:
    text = (path / "comfyui_version.py").read_text(encoding="utf-8")
    version = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return Host(path, _find_python(path, environ), version.group(1) if version else "unknown")


def _find_python(path: Path, environ: Mapping[str, str]) -> Path:
    named = environ.get("COMFYUI_PYTHON", "").strip()
    if named:
        python = Path(named).expanduser()
        if not python.is_file():
            raise HostError(f"COMFYUI_PYTHON is {named}, but there is no such file: name the Python that runs ComfyUI.")
        return python
    for folder in (".venv", "venv"):
        for inside in ("bin/python", "Scripts/python.exe"):
            if (path / folder / inside).exists():
                return path / folder / inside
    embedded = path.parent / "python_embeded" / "python.exe"
    if embedded.exists():
        return embedded
    # an activated virtual or conda environment, or the system's Python
    return Path(sys.executable)


def can_run_host(python: Path | str) -> bool:
    """Whether an interpreter has torch and aiohttp, without which no ComfyUI starts."""
    code = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in ('torch', 'aiohttp')))"
    return subprocess.run([str(python), "-c", code], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def server_python(host: Host) -> Path:
    """The interpreter to start the host with: the running one if it sees the host's packages (as our set-up makes it,
    which has this pack's requirements too), else the host's."""
    running = all(importlib.util.find_spec(name) for name in ("torch", "aiohttp", "comfy_aimdo"))
    return Path(sys.executable) if running else host.python


def has_accelerator(python: Path | str) -> bool:
    """Whether ``python``'s torch has a GPU; without one the host must be started with --cpu."""
    if sys.platform == "darwin":
        return True
    if sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*")):
        if not any(Path("/dev", name).exists() for name in ("kfd", "dri", "dxg")):
            return False  # saves the seconds that importing torch takes
    code = (
        "import sys, torch; xpu = getattr(torch, 'xpu', None); "
        "sys.exit(not (torch.cuda.is_available() or xpu and xpu.is_available()))"
    )
    return subprocess.run([str(python), "-c", code], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def load_in_process(host: Host, base_dir: Path | str | None = None) -> None:
    """Make the host's modules (``comfy``, ``nodes``, ``folder_paths``, ...) importable here, on the CPU.

    Its models, input, output and user folders are in ``base_dir`` (default: a new temporary folder), so nothing of the
    user's installation is read or written. One host per process; later calls do nothing.
    """
    if "comfy.cli_args" in sys.modules:
        return
    importing.install()
    sys.path.insert(0, str(host.path))
    base_dir = Path(base_dir or tempfile.mkdtemp(prefix="wan-animate-host-"))
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base_dir / name).mkdir(parents=True, exist_ok=True)
    import comfy.options

    comfy.options.enable_args_parsing(False)  # pytest's arguments are not the host's
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = str(base_dir)
    args.database_url = "sqlite:///:memory:"
    import comfy.model_management  # noqa: F401  before anything else asks for a device

    import nodes

    if Path(nodes.__file__).resolve().parent != host.path.resolve():
        raise HostError(f"`import nodes` found {nodes.__file__}, not the host's: keep other `nodes` off sys.path.")


def load_pack(name: str = PACK_MODULE) -> ModuleType:
    """This repository as ComfyUI loads a custom node: its root ``__init__.py`` as a package called ``name``.

    The engine inside is ``<name>.wan_animate``, another module object than the top-level ``wan_animate``.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def pack_nodes(pack: ModuleType) -> dict[str, type[Any]]:
    """The pack's node classes by node id, from its ``comfy_entrypoint``."""
    import asyncio

    async def collect() -> list[type[Any]]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(collect())}


if __name__ == "__main__":
    found = find_host()
    if found:
        print(found.path)
