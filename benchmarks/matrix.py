"""Every way that a graph can build a Wan Animate MODEL, in the modes that users have: does it run, and like the host?

One process is set up as ComfyUI's server without flags (dynamic VRAM on an NVIDIA card, comfy-aimdo started before
anything else), one as with ``--disable-dynamic-vram``. In each: bf16, fp16 and scaled fp8 files of random weights at
the 14B model's width with few blocks, read by Load Diffusion Model's and Load Animate Model's code, computed in the
dtype that the host chooses and in bfloat16, with and without Accelerate, Offload, the relighting LoRA and the host's
own patches. A cell is a few sampling steps, compared with the same steps by the host's nodes alone in the same
process: the same bits where only placement changes, else within rounding.

    python benchmarks/matrix.py                     # a card with 24 GB; about a quarter of an hour
    python benchmarks/matrix.py --only dynamic,bf16 # cells whose name has all of these
    python benchmarks/matrix.py --keep rows         # cells that were right are kept in this folder: a later run goes on
    python benchmarks/matrix.py --small             # on a CPU, small weights; writes nothing

Prints a table and writes ``results/matrix.json``. A cell that fails prints its exception's last line, the rest goes on,
and the exit status is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()
from benchmarks import results  # noqa: E402
from benchmarks.host_graph import SIZES, Graph, end_of_node, start_host  # noqa: E402  no torch before the host
from demo.host import require_host  # noqa: E402

MODES = ("dynamic", "static")
PATIENCE = 120  # seconds for a cell, its model's loading and the host's own result included
# only placement differs; another order of sums; an unmerged LoRA; fp8 matrix multiplications, over several steps
SAME, ROUNDING, BESIDE, FP8 = "same", "rounding", "beside", "fp8"
LIMITS = {SAME: 1e-3, ROUNDING: 0.02, BESIDE: 0.05, FP8: 0.2}

# By name: the nodes between loader and sampler, in order; which of them the host's side has; how close they come.
CHAINS = {
    "host": ((), (), SAME),
    "faces": (("faces",), (), ROUNDING),
    "accelerate": (("accelerate",), (), ROUNDING),
    "accelerate all": (("accelerate all",), (), ROUNDING),
    "accelerate fp8": (("accelerate fp8",), (), FP8),
    "accelerate compile": (("accelerate compile",), (), ROUNDING),
    "offload blocks": (("offload blocks",), (), SAME),
    "offload fit": (("offload fit",), (), SAME),
    "offload fit + accelerate": (("offload fit", "accelerate"), (), ROUNDING),
    "accelerate + offload fit": (("accelerate", "offload fit"), (), ROUNDING),
    "offload blocks + accelerate fp8": (("offload blocks", "accelerate fp8"), (), FP8),
    "lora": (("lora",), ("host lora",), SAME),
    "lora beside": (("lora beside",), ("host lora",), BESIDE),
    "lora + accelerate": (("lora", "accelerate"), ("host lora",), ROUNDING),
    "lora beside + accelerate": (("lora beside", "accelerate"), ("host lora",), BESIDE),
    "lora + accelerate fp8": (("lora", "accelerate fp8"), ("host lora",), FP8),
    "lora + offload fit + accelerate": (("lora", "offload fit", "accelerate"), ("host lora",), BESIDE),
    "lora beside + offload blocks": (("lora beside", "offload blocks"), ("host lora",), BESIDE),
    "EasyCache + accelerate": (("EasyCache", "accelerate"), ("EasyCache",), ROUNDING),
    "accelerate + EasyCache + offload fit": (("accelerate", "EasyCache", "offload fit"), ("EasyCache",), ROUNDING),
    "LazyCache + accelerate + offload fit": (("LazyCache", "accelerate", "offload fit"), ("LazyCache",), ROUNDING),
    "windows + accelerate": (("windows", "accelerate"), ("windows",), ROUNDING),
    "windows + offload fit": (("windows", "offload fit"), ("windows",), SAME),
    "NAG + accelerate + offload blocks": (("NAG", "accelerate", "offload blocks"), ("NAG",), ROUNDING),
    "shift + accelerate": (("shift", "accelerate"), ("shift",), ROUNDING),
    "offload fit + shift": (("offload fit", "shift"), ("shift",), SAME),
    "strength 1 + offload fit": (("strength 1", "offload fit"), (), SAME),
    "strength half": (("strength half",), ("host half",), SAME),
    "strength half + offload blocks": (("strength half", "offload blocks"), ("host half",), SAME),
    "offload fit + strength half": (("offload fit", "strength half"), ("host half",), SAME),
    "strength half + accelerate all": (("strength half", "accelerate all"), ("host half",), ROUNDING),
    "accelerate + strength half": (("accelerate", "strength half"), ("host half",), ROUNDING),
    "lora + strength half + accelerate": (
        ("lora", "strength half", "accelerate"),
        ("host lora", "host half"),
        ROUNDING,
    ),
    "windows + strength half": (("windows", "strength half"), ("windows", "host half"), SAME),
    "strength half + host compile": (("strength half", "host compile"), ("host half",), ROUNDING),
    "accelerate + host compile": (("accelerate", "host compile"), (), ROUNDING),
    "host compile + faces": (("host compile", "faces"), (), ROUNDING),
    "offload blocks + host compile": (("offload blocks", "host compile"), (), ROUNDING),
    "offload blocks + accelerate compile": (("offload blocks", "accelerate compile"), (), ROUNDING),
}
SLOW = [name for name in CHAINS if "compile" in name]
MAIN = [name for name in CHAINS if name not in SLOW]
FEW = [
    "host", "accelerate", "accelerate fp8", "offload fit", "offload blocks + accelerate fp8",
    "offload fit + accelerate", "lora", "lora beside + accelerate", "lora + offload fit + accelerate",
]  # fmt: skip
Source = tuple[str, str, str]
# (loader, file, compute type) -> chains. "animate" is Load Animate Model, "unet" Load Diffusion Model
SOURCES: dict[Source, list[str]] = {
    ("animate", "bf16", "default"): [*MAIN, *SLOW],
    ("unet", "bf16", "default"): [*MAIN, *SLOW],
    ("unet", "bf16", "bf16"): FEW,
    ("animate", "bf16", "bf16 kept"): FEW,
    ("animate", "bf16", "fp8 kept"): FEW,
    ("unet", "fp16", "default"): FEW,
    ("animate", "fp16", "bf16"): FEW,
    ("unet", "fp8", "default"): FEW,
    ("animate", "fp8", "default"): FEW,
    ("animate", "fp8", "bf16"): FEW,
}
SLOW_OF = {("unet", "bf16", "default"): ["host compile + faces"]}  # compiling takes tens of seconds each


def cells(mode: str, only: list[str], small: bool) -> list[tuple[str, Source, str]]:
    """(name, source, chain) of what is to run, by source."""
    found = []
    for source, chains in SOURCES.items():
        for chain in chains:
            if chain in SLOW and chain not in SLOW_OF.get(source, SLOW):
                continue
            name = " / ".join((mode, *source, chain))
            patched = any(node in ("host lora", "host half") for node in CHAINS[chain][1])
            if small and mode == "dynamic" and patched:
                continue  # without a card the host merges none: see demo/dynamic_vram.py
            if all(part in name for part in only):
                found.append((name, source, chain))
    return found


def write_files(folder: Path, small: bool, blocks: int) -> None:
    """bf16.safetensors, fp16.safetensors, fp8.safetensors (scaled, in the wrapper's layout) and lora.safetensors."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.step import random_weights
    from wan_animate.weights.transformer import is_linear, relighting_layers

    dim, ffn = SIZES[small][:2]
    weights = {name: one.cpu() for name, one in random_weights(blocks, dim, ffn).items()}
    save_file(weights, folder / "bf16.safetensors")
    save_file({name: one.half() for name, one in weights.items()}, folder / "fp16.safetensors")
    e4m3, scaled = torch.float8_e4m3fn, {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}
    for name, one in weights.items():
        if name.startswith("blocks.") and is_linear(name):
            scale = one.float().abs().max() / 448
            scaled[name] = (one.float() / scale).to(e4m3)
            scaled[name.removesuffix(".weight") + ".scale_weight"] = scale.reshape(1)
        else:
            scaled[name] = one
    save_file(scaled, folder / "fp8.safetensors")
    generator, lora = torch.Generator().manual_seed(2), {}
    for layer in relighting_layers(blocks):
        out, into = weights[f"{layer}.weight"].shape[0], math.prod(weights[f"{layer}.weight"].shape[1:])
        down = torch.randn(16, into, generator=generator) / math.sqrt(into)
        up = torch.randn(out, 16, generator=generator) * 0.3 / 4
        lora[f"diffusion_model.{layer}.lora_down.weight"], lora[f"diffusion_model.{layer}.lora_up.weight"] = down, up
    save_file({name: one.to(torch.bfloat16) for name, one in lora.items()}, folder / "lora.safetensors")


# -- one process


class Peak:
    """Peak of what torch has allocated on the GPU in the ``with``, in GB."""

    def __enter__(self) -> Peak:
        import torch

        self.torch_gb, self.cuda = 0.0, torch.cuda if torch.cuda.is_available() else None
        if self.cuda:
            self.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.cuda:
            self.torch_gb = self.cuda.max_memory_allocated() / 1e9


def limit_of(mode: str, source: Source, chain: str) -> float:
    ours, _, kind = CHAINS[chain]
    if mode == "dynamic" and source[2] == "fp8 kept" and any("offload" in node for node in ours):
        kind = FP8  # as without dynamic VRAM, where the host casts small layers (norms) to fp8 too
    if mode == "dynamic" and source[1:] == ("fp8", "bf16") and kind == SAME and "offload fit" in ours:
        # The host multiplies weights that it has dequantized for the other type. Without dynamic VRAM it knows so
        # (comfy_force_cast_weights) and so do we; with it, its inputs are rounded to fp8 all the same, and two runs of
        # its own are as far apart as ours is from them.
        kind = ROUNDING
    return LIMITS[kind]


def relative(result: Any, reference: Any) -> float:
    """The difference of two latents over the second one's norm."""
    return float((result - reference).norm() / reference.norm())


def run_cell(
    graph: Graph, model: Any, chain: str, limit: float, references: dict[tuple[str, ...], list[Any]]
) -> dict[str, Any]:
    """A cell's row: whether it ran, how far it is from the host's, what it took."""
    ours, theirs, _ = CHAINS[chain]
    if theirs not in references:
        made = model
        for node in theirs:
            made = graph.put(made, node)
        references[theirs] = [graph.sample(made) for _ in range(2)]
        del made
        end_of_node()
    start = time.perf_counter()
    made = model
    for node in ours:
        made = graph.put(made, node)
    row: dict[str, Any] = {"put_together_seconds": round(time.perf_counter() - start, 2)}
    with Peak() as peak:
        runs = [graph.sample(made) for _ in range(2)]
    # The host's own two runs may differ by where weights lie, and so by where it merges a LoRA: each of ours has to be
    # like one of them.
    made_by_host = [one[0] for one in references[theirs]]
    host_error = relative(*made_by_host)
    errors = [min(relative(one[0], reference) for reference in made_by_host) for one in runs]
    error = max(errors) if all(map(math.isfinite, errors)) else math.inf
    row |= {
        "ran": True, "right": error <= limit, "error": error, "limit": limit, "same_bits": error == 0,
        "host_error": host_error,
        "first_seconds": round(runs[0][1], 3), "seconds": round(runs[1][1], 3), "step_seconds": round(runs[1][2], 4),
        "host_seconds": round(references[theirs][1][1], 3), "host_step_seconds": round(references[theirs][1][2], 4),
        "torch_gb": round(peak.torch_gb, 2), "card_gb": round(max(one[3] for one in runs), 2),
    }  # fmt: skip
    asked = getattr(getattr(made, "offloader", None), "settings", None)
    if asked is not None and asked.how == "fit":
        row["asked_gb"] = asked.gigabytes
        if peak.torch_gb > asked.gigabytes * 1.03:
            row |= {"right": False, "why": f"{peak.torch_gb:.2f} GB where {asked.gigabytes:g} were asked for"}
    if error > limit:
        row["why"] = f"{error:.2e} from the host's own, {limit:g} allowed"
    return row


def last_line(error: BaseException) -> str:
    """An exception in one line, with its deepest line in this pack."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if str(ROOT) in one.filename]
    place = f" ({Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno})" if frames else ""
    text = traceback.format_exception_only(error)[-1].strip().splitlines()
    return (text[0] if text else repr(error)) + place


def work(mode: str, options: argparse.Namespace) -> None:
    """All cells of one mode, in this process."""
    import logging

    version = start_host(options.comfy, mode == "dynamic", options.small)
    import torch

    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR, format="%(message)s")
    graph = Graph(options.files, options.small, options.blocks)
    rows = kept_rows(options.rows)
    kept = {row["cell"] for row in rows}
    references: dict[tuple[str, ...], list[Any]] = {}
    loaded: Source | None = None
    model: Any = None
    for name, source, chain in cells(mode, options.only, options.small):
        if name in kept:
            continue
        row: dict[str, Any] = {"cell": name, "ran": False, "right": False}
        faulthandler.dump_traceback_later(PATIENCE, exit=True)  # a cell that hangs says where, and fails
        with torch.inference_mode():  # as the server's nodes run
            try:
                if loaded != source:
                    loaded, model, references = None, None, {}
                    end_of_node()
                    model, loaded = graph.load(*source), source
                row |= run_cell(graph, model, chain, limit_of(mode, source, chain), references)
            except Exception as error:
                row["why"] = last_line(error)
                if options.verbose:
                    traceback.print_exc()
            end_of_node()
        rows.append(row)
        print(line(row), flush=True)
        options.rows.write_text(json.dumps({"version": version, "rows": rows}))


def kept_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run that were right."""
    return [row for row in json.loads(file.read_text())["rows"] if row["right"]] if file.exists() else []


def line(row: dict[str, Any]) -> str:
    state = "ok  " if row["right"] else "FAIL"
    if not row["ran"]:
        return f"{state} {row['cell']:<62} {row['why']}"
    error = "same bits" if row["same_bits"] else f"{row['error']:.1e}"
    return (
        f"{state} {row['cell']:<62} {error:>9}  {row['seconds']:6.2f} s (host {row['host_seconds']:.2f}, first "
        f"{row['first_seconds']:.2f})  {row['torch_gb']:5.2f} GB torch {row['card_gb']:5.2f} GB card  "
        f"{row.get('why', '')}"
    )


# -- both


def main(options: argparse.Namespace) -> int:
    options.comfy = require_host(options.comfy).path
    if options.worker:
        work(options.worker, options)
        return 0
    start, version = time.perf_counter(), None
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="wan-animate-matrix-") as temporary:
        folder = Path(temporary)
        write_files(folder, options.small, options.blocks)
        print(f"files written in {time.perf_counter() - start:.0f} s", flush=True)
        for mode in options.modes.split(","):
            wanted = cells(mode, options.only, options.small)
            if not wanted:
                continue
            found = (options.keep or folder).absolute() / f"{mode}.json"
            found.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, __file__, "--worker", mode, "--files", str(folder), "--rows", str(found)]
            command += ["--comfy", str(options.comfy), "--blocks", str(options.blocks)]
            command += ["--only", ",".join(options.only)] * bool(options.only)
            command += ["--small"] * options.small + ["--verbose"] * options.verbose
            code = subprocess.run(command).returncode
            made = json.loads(found.read_text()) if found.exists() else {"version": None, "rows": []}
            names = [name for name, *_ in wanted]
            by_name = {row["cell"]: row for row in made["rows"]}
            version, rows = made["version"] or version, rows + [by_name[name] for name in names if name in by_name]
            missing, why = [name for name in names if name not in by_name], f"the process ended with {code}"
            rows += [{"cell": one, "ran": False, "right": False, "why": why} for one in missing]
            if missing:
                print(f"FAIL {mode}: {why}, {len(missing)} cells did not run", flush=True)
    counts = Counter(row["right"] for row in rows)
    print(f"{counts[True]} of {len(rows)} cells right, {time.perf_counter() - start:.0f} s", flush=True)
    for row in rows:
        if not row["right"]:
            print(line(row), flush=True)
    report(rows, counts[True], version, options)
    return int(counts[True] < len(rows) or not rows)


def report(rows: list[dict[str, Any]], right: int, version: str | None, options: argparse.Namespace) -> None:
    claim = "matrix" if options.modes == ",".join(MODES) else f"matrix_{options.modes.replace(',', '_')}"
    results.record_on_host(
        claim, right, max(len(rows), 1), version, write=not options.small and not options.only and bool(rows),
        peer_name="all cells; each is compared with ComfyUI's own result for the same file and types",
        unit="cells", better="higher",
        same_bits=sum(bool(row.get("same_bits")) for row in rows), blocks=options.blocks, rows=rows,
    )  # fmt: skip


PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
PARSER.add_argument("--modes", default=",".join(MODES))
PARSER.add_argument("--only", type=lambda text: [one.strip() for one in text.split(",") if one.strip()], default=[])
PARSER.add_argument("--keep", type=Path, help="a folder for what was right, with which a later run goes on")
PARSER.add_argument("--blocks", type=int, default=5, help="transformer blocks, a multiple of 5")
PARSER.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
PARSER.add_argument("--verbose", action="store_true", help="the log, and whole tracebacks")
for internal in ("--worker", "--files", "--rows"):
    PARSER.add_argument(internal, type=str if internal == "--worker" else Path, help=argparse.SUPPRESS)

if __name__ == "__main__":
    sys.exit(main(PARSER.parse_args()))
