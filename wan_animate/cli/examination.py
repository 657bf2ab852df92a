"""What ``wan-animate doctor`` looks at."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ..detect.onnx_model import choose_provider
from ..errors import InputError
from ..plan import costs
from ..plan.cards import known_card
from ..plan.room import free_at
from ..record.versions import installed_version, kit_version
from ..text import size_text
from ..video.h264 import first_encoder
from .checks import check_device, default_device
from .job_commands import PIPED

FOUND_SOMETHING = 1
"""Exit code where something has to be mended."""
NEEDED = {
    "av": "videos",
    "numpy": "everything",
    "opencv-python-headless": "pictures",
    "safetensors": "weights",
    "transformers": "text, picture and SAM 2 encoders",
    "diffusers": 'the model (pip install ".[embedded]")',
}
OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
LEAST_DISK = 10**9


@dataclass(frozen=True)
class Finding:
    """A line: what, what was found, why it is so or what to do; ``wrong``: it has to be mended."""

    what: str
    found: str
    why: str = ""
    wrong: bool = False


def examine(models: str | None, out: str, device: str) -> list[Finding]:
    """Everything, the packages first. Raises InputError for a device that is not there."""
    chosen = device or default_device()
    check_device(chosen)
    why = "given" if device else "PyTorch sees a card" if chosen != "cpu" else _no_card()
    findings = [*_packages(), *_pose(), _encoder(), _card_encoders(), *_card(chosen, why), _memory(), _disk(out)]
    return [*findings, *(_model(models, chosen) if models else [])]


def show(findings: list[Finding], as_json: bool) -> int:
    """Prints them; returns the exit code."""
    wrong = any(finding.wrong for finding in findings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
        return FOUND_SOMETHING if wrong else 0
    table = Table.grid(padding=(0, 2))
    for one in findings:
        style = "bold red" if one.wrong else None
        table.add_row("!" if one.wrong else " ", one.what, one.found, one.why, style=style)
    Console(width=None if sys.stdout.isatty() else PIPED, highlight=False, markup=False).print(table)
    return FOUND_SOMETHING if wrong else 0


def _packages() -> list[Finding]:
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    found = [
        Finding("WanAnimateKit", kit_version()),
        Finding("Python", platform.python_version(), sys.executable),
        Finding("torch", str(torch.__version__), cuda),
    ]
    for name, use in NEEDED.items():
        version = next(filter(None, map(installed_version, OPENCV if name in OPENCV else (name,))), None)
        found.append(Finding(name, version or "missing", f"for {use}", version is None))
    return found


def _pose() -> list[Finding]:
    try:
        import onnxruntime
    except ImportError:
        return [Finding("onnxruntime", "missing", "for the pose: pip install onnxruntime; not needed with --track")]
    have = onnxruntime.get_available_providers()
    used = choose_provider("auto", have)
    why = "the first of CUDA, DirectML, CoreML and CPU that onnxruntime has"
    if used.startswith("CPU") and torch.cuda.is_available():
        why = "there is a card, but this onnxruntime does not use it: pip install onnxruntime-gpu in its place"
    return [
        Finding("onnxruntime", onnxruntime.__version__, f"has {', '.join(have)}"),
        Finding("pose on", used.removesuffix("ExecutionProvider"), why),
    ]


def _encoder() -> Finding:
    name = first_encoder()
    if name is None:
        return Finding("mp4 by", "nothing", "this PyAV cannot encode H.264: pip install av", True)
    return Finding("mp4 by", name, "PyAV's first H.264 encoder")


def _card_encoders() -> Finding:
    from fractions import Fraction

    from ..export.codecs import CODECS
    from ..export.encoder import works

    encoders = [one for codec in CODECS.values() for one in codec.encoders if one.hardware]
    found = [one.name for one in encoders if works(one, "high", (1280, 720), Fraction(30))]
    if not found:
        return Finding("export on", "CPU", "no hardware encoder encodes a frame of 1280x720 here")
    return Finding("export on", ", ".join(found), "each has encoded a frame of 1280x720; for what it has not, the CPU")


def _no_card() -> str:
    return "PyTorch sees no card" if torch.version.cuda else "this PyTorch is without CUDA"


def _card(device: str, why: str) -> list[Finding]:
    place = torch.device(device)
    if place.type != "cuda":
        return [Finding("device", device, f"{why}; too slow for the published model")]
    properties = torch.cuda.get_device_properties(place)
    free, total = torch.cuda.mem_get_info(place)
    known = known_card(properties.name)
    rate = f"{known.tflops:g} TFLOPS" if known else "its rates are not known here, so plan's times need a first run"
    bf16 = torch.cuda.is_bf16_supported()
    return [
        Finding("device", f"{device}: {properties.name}", f"{why}; {rate}"),
        Finding("card memory", f"{size_text(free)} of {size_text(total)} free"),
        Finding("numbers", "bfloat16", "as trained" if bf16 else "the card has no bfloat16: very slow", not bf16),
    ]


def _memory() -> Finding:
    total, free = memory()
    if not total:
        return Finding("memory", "not known here")
    return Finding("memory", f"{size_text(free)} of {size_text(total)} free")


def memory() -> tuple[int, int]:
    """(bytes of RAM, of these free or reclaimable); 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        return sizes["MemTotal"], sizes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0, 0


def _disk(out: str) -> Finding:
    free = free_at(out)
    if free is None:
        return Finding("disk", "not known here")
    little = free < LEAST_DISK
    why = "free space there" if little else "plan says what a clip takes"
    return Finding("disk", f"{size_text(free)} free", f"{Path(out).absolute().parent}; {why}", little)


def _model(folder: str, device: str) -> list[Finding]:
    from ..backends.diffusers import check_folder

    try:
        parts = check_folder(folder)
    except InputError as error:
        return [Finding("model", "not usable", str(error), True)]
    sizes = {part: sum(path.stat().st_size for path in Path(folder, part).glob("*.safetensors")) for part in parts}
    found = []
    for part, size in sizes.items():
        why = "" if size else f"download {folder}/{part} again"
        found.append(Finding(part, size_text(size) if size else "no weights", why, not size))
    if "text_encoder" not in parts:
        found.append(Finding("text_encoder", "not there", "give --prompt-file, a saved prompt"))
    if torch.device(device).type == "cuda" and sizes["transformer"]:
        total = torch.cuda.get_device_properties(torch.device(device)).total_memory
        working = costs.RESIDENT + costs.ACTIVATIONS * costs.tokens((832, 480), 20)
        needed = sizes["transformer"] + sizes["vae"] + working
        fits = needed <= total
        why = "estimated, for 77 frames at 832x480"
        if not fits:
            why += "; it does not fit: in ComfyUI, Offload Animate Blocks makes it"
        found.append(Finding("model on the card", f"about {size_text(needed)} of {size_text(total)}", why, not fits))
    return found
