"""Set up the virtual environment of the Makefile's targets.

With a ComfyUI on the machine it is made from the Python that runs it and sees its packages, torch included; what is
missing is installed here, never into the user's installation. Without one, torch is installed too. Standard library
only.

    python3 -m demo.environment [--venv .venv]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from demo.host import Host, HostError, can_run_host, find_host
from demo.importing import ROOT

TORCH = "torch==2.13.0"  # that the embedded backend was tested with
STAMP = "wan-animate-kit.json"
# onnxruntime-gpu shares its modules with onnxruntime: the last one written would be there. Ray is large, and only
# benchmarks/farm.py starts it.
NOT_HERE = ("gpu", "ray")


def wanted_state(host: Host | None) -> dict[str, object]:
    """What the environment depends on; when it changes, the environment is set up again."""
    files = b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "requirements.txt"))
    return {
        "files": hashlib.sha256(files + Path(__file__).read_bytes()).hexdigest(),
        "host": str(host.path) if host else None,
        "host_python": str(host.python) if host else None,
        "host_version": host.version if host else None,
        "python": list(sys.version_info[:2]) if host is None else None,
    }


def requirements() -> list[str]:
    """requirements.txt and the extras but NOT_HERE. (Read by pattern: Python 3.10 has no TOML reader.)"""
    names = [line.strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.search(r"^\[project\.optional-dependencies\]$(.*?)^\[", text, re.S | re.M)
    for extra, group in re.findall(r"^(\w+) = \[(.*?)\]$", extras.group(1) if extras else "", re.S | re.M):
        names += re.findall(r'"([^"]+)"', group) if extra not in NOT_HERE else []
    return [name for name in names if name and not name.startswith("#")]


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def set_up(venv: Path) -> None:
    host = find_host()
    if host and not can_run_host(host.python):
        raise HostError(
            f"{host.python} cannot import torch and aiohttp, so it is not the Python that runs the ComfyUI in "
            f"{host.path}: set COMFYUI_PYTHON to the one that does, or COMFYUI_PATH=none to go without."
        )
    wanted, stamp = wanted_state(host), venv / STAMP
    have = json.loads(stamp.read_text()) if stamp.is_file() else None
    if have == wanted and venv_python(venv).exists():
        return
    what = f"ComfyUI {host.version} in {host.path}" if host else "no ComfyUI found: the embedded backend"
    print(f"setting up {venv} ({what})", flush=True)
    if not _fits(venv, host):
        shutil.rmtree(venv, ignore_errors=True)
        _create(venv, host)
    stamp.unlink(missing_ok=True)
    _install(venv, host)
    temporary = stamp.with_suffix(".new")
    temporary.write_text(json.dumps(wanted))
    os.replace(temporary, stamp)


def _fits(venv: Path, host: Host | None) -> bool:
    """Whether an existing environment was made for this host (or for none), and can be completed."""
    if not venv_python(venv).exists():
        return False
    where = "import importlib.util as u; s = u.find_spec('torch'); print(s.origin if s else '')"
    base = "import sys; print(sys.version_info[:2], sys.base_prefix)"
    seen = [_ask(python, where) for python in (venv_python(venv), *([host.python] if host else []))]
    if host:
        return len(set(seen)) == 1 and _ask(venv_python(venv), base) == _ask(host.python, base)
    own = not seen[0] or Path(seen[0]).is_relative_to(venv)
    return own and _ask(venv_python(venv), base) == f"{sys.version_info[:2]} {sys.base_prefix}"


def _create(venv: Path, host: Host | None) -> None:
    python = host.python if host else Path(sys.executable)
    command = [str(python), "-m", "venv", str(venv)]
    if host and not _ask(python, "import sys; print(sys.prefix != sys.base_prefix)") == "True":
        command.append("--system-site-packages")
        _call(command)
        return
    _call(command)
    if host:
        # after our own packages on the path: a newer version that only we need comes first
        site = "import sysconfig as s; print(*sorted({s.get_path('purelib'), s.get_path('platlib')}), sep=chr(10))"
        theirs = _ask(python, site)
        ours = _ask(venv_python(venv), site).splitlines()[0]
        (Path(ours) / "zz_comfyui_host.pth").write_text(theirs + "\n", encoding="utf-8")


def _install(venv: Path, host: Host | None) -> None:
    wanted = requirements()
    if host is None and not _can_import(venv, "torch"):
        wanted.insert(0, TORCH)
    pip = [str(venv_python(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if host:
        # pip sees the host's packages as installed: keep the host's torch whatever a requirement says
        version = _ask(venv_python(venv), "import importlib.metadata as m; print(m.version('torch'))")
        held = venv / "host-constraints.txt"
        held.write_text(f"torch=={version}\n", encoding="utf-8")
        pip += ["--constraint", str(held)]
    # MediaPipe asks for NumPy 1 but works with 2; it is an extra, and not built for every Python
    alone = [name for name in wanted if name.startswith("mediapipe==")]
    _call([*pip, *(name for name in wanted if name not in alone)])
    for name in alone:
        if subprocess.run([*pip, "--no-deps", name], stdin=subprocess.DEVNULL).returncode != 0:
            print(f"{name} could not be installed: its tests will be skipped", flush=True)


def _can_import(venv: Path, module: str) -> bool:
    return subprocess.run([str(venv_python(venv)), "-c", f"import {module}"], capture_output=True).returncode == 0


def _ask(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _call(command: list[str]) -> None:
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
        raise HostError(f"the set-up stopped at: {' '.join(command)}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m demo.environment", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    try:
        set_up(parser.parse_args(argv).venv.absolute())
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036  this may well be run by an older one
        sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12 ...")
    sys.exit(main())
