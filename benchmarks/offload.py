"""All transformer blocks of the 14B Wan Animate in host memory against all of them on the card, in one run.

Weights are random, of the real file's size, loaded by the host's loader; both sides run Accelerate Animate Model's
fused steps on the same module (bf16: weights as loaded; fp8: scaled fp8 weights multiplied in fp8). Reported are the
medians of steps other than a segment's first, and the peak of memory that torch has allocated. Then "fit": for every
number of gigabytes three steps in a process limited to that much, or the node's refusal. The time of pinning host
memory, in the first run and in a second, is reported too.

    python benchmarks/offload.py                     # needs a card with 45 GB and 100 GB of host memory
    python benchmarks/offload.py --blocks 5          # an eighth of the blocks; writes nothing
    python benchmarks/offload.py --small             # seconds on a CPU, small weights; writes nothing

Writes ``results/offload_480p_bf16.json``, ``offload_720p_bf16.json``, ``offload_480p_fp8.json`` and
``offload_fit.json``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The allocator that ComfyUI starts torch with on NVIDIA cards; torch's own leaves gigabytes of gaps.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.step import FULL, SIZES, Steps, load_host, load_pack_part, random_weights  # noqa: E402

LOADING = 26  # seconds: the whole model to the card, and its first steps
WARM = {"480p": 2, "720p": 1, "small": 1}  # kernels are built in the first two of a process
TIMED = {"480p": 3, "720p": 2, "small": 2}


def log(*what: Any) -> None:
    print(f"[{time.perf_counter() - STARTED:6.1f} s]", *what, flush=True)


STARTED = time.perf_counter()


class Budget:
    """The seconds that this run may take: parts that would not end in time are left out."""

    end = float("inf")

    @classmethod
    def has(cls, seconds: float) -> bool:
        return time.perf_counter() - STARTED + seconds < cls.end


def scaled(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The blocks' linear layers in fp8 with a scale each, as in the host's scaled files."""
    config = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    made = {}
    for name in list(weights):
        weight = weights.pop(name)
        if not (name.startswith(("blocks.", "face_adapter.")) and name.endswith(".weight") and weight.ndim == 2):
            made[name] = weight
            continue
        scale = weight.abs().amax().float() / 448
        layer = name.removesuffix(".weight")
        made[name], made[f"{layer}.weight_scale"] = (weight / scale.to(weight.dtype)).to(torch.float8_e4m3fn), scale
        made[f"{layer}.comfy_quant"] = config
    return made


def load(blocks: int, shape: dict[str, int], fp8: bool) -> Any:
    """A MODEL in host memory."""
    import comfy.sd

    start = time.perf_counter()
    weights = random_weights(blocks, **shape)
    options = {} if fp8 else {"dtype": torch.bfloat16}
    model = comfy.sd.load_diffusion_model_state_dict(scaled(weights) if fp8 else weights, options, disable_dynamic=True)
    del weights
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    log(f"{blocks} blocks loaded in {time.perf_counter() - start:.0f} s, now on {model.model.device}")
    return model


class Runs:
    """Steps of clones of one MODEL, each loaded by the host before it runs."""

    def __init__(self, model: Any, frames: int) -> None:
        self.model, self.frames, self.typical = model, frames, 0.0
        self.steps: dict[str, Steps] = {}

    def begin(self, clone: Any, size: str, whole: bool = False) -> Steps:
        import comfy.model_management

        if size not in self.steps:
            self.steps = {size: Steps(self.model, *SIZES[size], self.frames)}  # of one size at a time
        comfy.model_management.load_models_gpu([clone], force_full_load=whole)
        return self.steps[size]

    def step(self, clone: Any, size: str, number: int) -> tuple[torch.Tensor, float, float, float]:
        """(the model's output, seconds, peak in GB, reserved in GB)"""
        steps = self.steps[size]
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(steps.noise_shape, generator=generator).to(steps.device)
        out, seconds, peak = steps.step(clone, noise, 0.9 - 0.1 * number)
        reserved = torch.cuda.max_memory_reserved() / 1e9 if steps.device.type == "cuda" else 0.0
        return out - noise, seconds, peak, reserved

    def measure(self, clone: Any, size: str, name: str, whole: bool = False, loaded: bool = False) -> dict[str, Any]:
        """{"first": s, "seconds": [...], "peak": GB, "out": of the last step}"""
        if not loaded:
            self.begin(clone, size, whole)
        first = self.step(clone, size, 0)
        found: dict[str, Any] = {"first": first[1], "seconds": [], "peak": 0.0, "reserved": 0.0}
        for number in range(1, WARM[size]):
            self.step(clone, size, number)
        for number in range(WARM[size], WARM[size] + TIMED[size]):
            out, seconds, peak, reserved = self.step(clone, size, number)
            found["seconds"].append(seconds)
            found["peak"], found["reserved"] = max(found["peak"], peak), max(found["reserved"], reserved)
        found["out"], found["first_peak"] = out.cpu(), first[2]
        self.typical = found["seconds"][-1]
        steps = ", ".join(f"{one:.3f}" for one in found["seconds"])
        log(
            f"{size} {name}: first step {found['first']:.2f} s, then {steps} s; peak {found['peak']:.2f} GB, "
            f"of the first {first[2]:.2f}, reserved {found['reserved']:.2f}"
        )
        clone.cleanup()
        return found

    def fit(self, kit: Any, base: Any, size: str, fits: list[float]) -> list[dict[str, Any]]:
        """A row for every number of gigabytes: the limit holds in the first step, in which kernels are chosen anew, and
        in the later ones. What a step takes is known from the second row of a size on."""
        attention = load_pack_part("nodes.host.accelerate.attention")
        rows, clone = [], base
        cost = self.typical * (4.2 if size == "720p" and len(self.steps) == 1 and "480p" in self.steps else 1) + 1
        for gigabytes in fits:
            if not Budget.has(3 * cost + LOADING):
                log(f"no time left to fit {size} into {gigabytes:g} GB")
                break
            clone = kit.offload(clone, kit.Settings("fit", gigabytes=gigabytes))
            row: dict[str, Any] = {"size": size, "gigabytes": gigabytes, "date": results.today()}
            if torch.cuda.is_available():
                row |= {"allocator": torch.cuda.get_allocator_backend(), "hardware": torch.cuda.get_device_name()}
            try:
                self.begin(clone, size)
                attention.forget_winners()
                with card_of(gigabytes):
                    first = self.step(clone, size, 0)
                    later = [self.step(clone, size, number) for number in (1, 2)]
                row |= {
                    "first_step_gb": round(first[2], 2), "peak_gb": round(max(one[2] for one in later), 2),
                    "reserved_gb": round(max(one[3] for one in (first, *later)), 2),
                    "blocks_offloaded": len(clone.offloader.plan), "first_step_seconds": round(first[1], 3),
                    "step_seconds": round(later[-1][1], 3), "holds": True,
                }  # fmt: skip
            except Exception as error:
                # with every block offloaded, the node words the error itself
                said = type(error).__name__ == "InputError" or "offloaded: make" in str(error)
                if not said and not isinstance(error, torch.cuda.OutOfMemoryError):
                    raise
                row |= {"refused" if said else "out_of_memory": str(error), "holds": said}
            clone.cleanup()
            rows.append(row)
            log("fit", row)
        return rows


@contextmanager
def card_of(gigabytes: float) -> Iterator[None]:
    """Limit torch to so much of the card and 3% more. Its own allocator counts reserved memory, cudaMallocAsync
    allocated memory."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(gigabytes * 1.03e9 / whole, 1.0))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def compare(
    kit: Any,
    accelerate: Any,
    model: Any,
    settings: Any,
    sizes: Sequence[str],
    frames: int,
    fits: list[float],
    host: bool,
    fits_only: bool,
) -> dict[str, Any]:
    """By size {"ours": ..., "peer": ..., "difference": relative L2}, and "fit", "locked"."""
    memory = load_pack_part("nodes.host.offload.memory")
    runs = Runs(model, frames)
    found: dict[str, Any] = {"fit": [], "by_size": {}}
    fast = accelerate.accelerate(model, settings)
    clone = kit.offload(fast, kit.Settings("blocks", len(model.model.diffusion_model.blocks)))
    for size in sizes:
        if fits_only:
            found["fit"] += runs.fit(kit, clone, size, fits)
            continue
        if size == sizes[0] or Budget.end == float("inf"):
            found["by_size"][size] = {"ours": runs.measure(clone, size, "offloaded")}
        if size == sizes[0]:
            found["locked"] = {
                "gb": round(memory.PinnedMemory.size / 1e9, 1), "pieces": memory.PinnedMemory.count,
                "moving_seconds": round(memory.PinnedMemory.moving, 1),
                "locking_seconds": round(memory.PinnedMemory.seconds, 1),
                "first_step": round(found["by_size"][size]["ours"]["first"], 1),
            }  # fmt: skip
            moved = memory.PinnedMemory.moving + memory.PinnedMemory.seconds
            runs.begin(clone, size)
            again = runs.step(clone, size, 0)[1]
            clone.cleanup()
            moved = memory.PinnedMemory.moving + memory.PinnedMemory.seconds - moved
            found["locked"] |= {"second_run_first_step": round(again, 2), "second_run_locking_seconds": round(moved, 1)}
            log("locked", found["locked"])
        if fits:
            found["fit"] += runs.fit(kit, clone, size, fits)
    for size in found["by_size"]:
        peer = found["by_size"][size]["peer"] = runs.measure(fast, size, "resident", whole=True)
        ours = found["by_size"][size]["ours"]
        difference = (ours["out"].double() - peer["out"].double()).norm() / peer["out"].double().norm()
        found["by_size"][size]["difference"] = float(difference)
        log(f"{size}: {difference:.2e} between the two")
        if host:
            little = with_little_room(fast)
            found["by_size"][size]["host"] = runs.measure(little, size, "offloaded by ComfyUI", loaded=True)
    log(f"locked memory left with all blocks on the card: {memory.PinnedMemory.count} pieces")
    return found


def with_little_room(model: Any) -> Any:
    """A clone that the host has loaded with room for a tenth of the weights."""
    clone = model.clone()
    clone.detach()
    clone.partially_load(clone.load_device, 0.1 * clone.model_size())
    return clone


def report(kind: str, settings: Any, found: dict[str, Any], version: str, real: bool, blocks: int) -> None:
    for size, measured in found["by_size"].items():
        ours, peer = measured["ours"], measured["peer"]
        spread = [round(max(one["seconds"]) / min(one["seconds"]) - 1, 3) for one in (ours, peer)]
        results.record_on_host(
            f"offload_{size}_{kind}",
            statistics.median(ours["seconds"]),
            statistics.median(peer["seconds"]),
            version,
            write=real,
            peer_name="the same model with every block on the card, accelerated alike, same run and module",
            blocks_offloaded=f"all {blocks}" + ("" if blocks == 40 else ", a model of fewer blocks than 40"),
            peak_gb={name: round(one["peak"], 2) for name, one in (("ours", ours), ("peer", peer))},
            reserved_gb={name: round(one["reserved"], 2) for name, one in (("ours", ours), ("peer", peer))},
            first_step_peak_gb=round(ours["first_peak"], 2),
            output_difference=measured["difference"],
            host_memory=found["locked"],
            noise={"ours": spread[0], "peer": spread[1]},
            settings=repr(settings),
        )
        if "host" in measured:
            theirs = measured["host"]
            results.record_on_host(
                f"offload_{size}_{kind}_host",
                statistics.median(ours["seconds"]),
                statistics.median(theirs["seconds"]),
                version,
                write=real,
                peer_name=f"ComfyUI {version}, its own offload with room for a tenth of the weights",
                peak_gb={name: round(one["peak"], 2) for name, one in (("ours", ours), ("peer", theirs))},
                first_step={name: round(one["first"], 1) for name, one in (("ours", ours), ("peer", theirs))},
                settings=repr(settings),
            )


def main(arguments: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames = arguments.sizes.split(","), 77
    blocks, shape = arguments.blocks or 40, FULL
    if arguments.small:
        sizes, frames, blocks, shape = ["small"], 5, 5, {"dim": 256, "ffn": 512}
    Budget.end = arguments.seconds or float("inf")
    with torch.inference_mode():
        kit, accelerate = load_pack_part("nodes.host.offload"), load_pack_part("nodes.host.accelerate")
        for kind in arguments.kinds.split(","):
            kind, _, own = kind.partition(":")
            fp8, blocks = kind == "fp8", int(own or blocks)
            real = not arguments.small and (blocks == 40 or bool(own))
            if not Budget.has(2 + blocks / 2):
                log(f"no time left for {kind}")
                continue
            settings = accelerate.Settings(
                arguments.attention, fused=True, matmul="fp8 (row-wise)" if fp8 else "as loaded"
            )
            model = load(blocks, shape, fp8)
            some = sizes[:1] if fp8 else sizes
            fits = [] if fp8 else [float(one) for one in arguments.fits.split(",") if one]
            found = compare(kit, accelerate, model, settings, some, frames, fits, arguments.host, arguments.fits_only)
            report(kind, settings, found, version, real, blocks)
            if real and found["fit"]:
                write_fits(found["fit"], version)
            del model, found
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def write_fits(rows: list[dict[str, Any]], version: str) -> None:
    """The table as one claim (the row that comes closest to its limit), with the rows of other sizes in the file."""
    path = results.FOLDER / "offload_fit.json"
    if path.exists():
        sizes = {row["size"] for row in rows}
        rows = [row for row in json.loads(path.read_text())["rows"] if row["size"] not in sizes] + rows
    held, failed = [row for row in rows if "peak_gb" in row], [row for row in rows if not row["holds"]]
    for row in failed:
        log(f"DOES NOT HOLD: {row['size']} in {row['gigabytes']:g} GB: {row['out_of_memory']}")
    if not held:
        log("no size fits into any of these: nothing to write")
        return
    worst = max(held, key=lambda row: row["peak_gb"] / row["gigabytes"])
    results.record_on_host(
        "offload_fit", worst["peak_gb"], worst["gigabytes"], version,
        peer_name="the gigabytes asked for, in the row that is closest to them or over", unit="GB",
        rows_that_ran_out_of_memory=len(failed), rows=rows,
    )  # fmt: skip


PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
PARSER.add_argument("--sizes", default="480p,720p")
PARSER.add_argument("--kinds", default="bf16,fp8", help="of bf16, fp8; fp8:5 for a model of 5 blocks")
PARSER.add_argument("--fits", default="8,12,16,24", help="gigabytes to fit into; empty for none")
PARSER.add_argument("--seconds", type=float, help="leave out what would not end in so many seconds")
PARSER.add_argument("--fits-only", action="store_true", help="nothing but fits, added to those of other sizes")
PARSER.add_argument("--host", action="store_true", help="measure ComfyUI's own offload too")
PARSER.add_argument("--blocks", type=int, help="transformer blocks, a multiple of 5 (default 40)")
PARSER.add_argument("--attention", default="auto (exact)")
PARSER.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")

if __name__ == "__main__":
    main(PARSER.parse_args())
