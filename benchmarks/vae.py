"""Encoding and decoding with the Wan 2.1 VAE: ComfyUI's VAE object against Accelerate Video VAE around it.

Weights are random, of the real file's layout and width, loaded by the host; a clip of 77 frames goes from pixels in RAM
to the latent and back as VAE Encode and VAE Decode do it. Host and ours take turns; reported are the medians, the peak
of memory that torch has allocated above the weights, and the relative L2 distance of ours from the host's and, on 9
frames, of both from the same network in float32.

    python benchmarks/vae.py                       # 832x480 and 1280x720, needs a card with 16 GB
    python benchmarks/vae.py --sizes 480p
    python benchmarks/vae.py --small               # seconds on a CPU, width 8; writes nothing
    python benchmarks/vae.py --comfy PATH          # a ComfyUI whose packages this Python has

Writes ``results/vae_encode_480p.json``, ``vae_decode_480p.json``, the same for 720p, and ``vae_encode_grey_480p.json``:
a clip whose first frame alone is known, as in the second and later segments of animate mode.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.step import load_host, load_pack_part  # noqa: E402

SIZES = {"480p": (832, 480), "720p": (1280, 720), "small": (96, 64)}
ROUNDS = {"480p": 3, "720p": 2, "small": 2}


def random_vae(dim: int) -> Any:
    """The host's VAE object around random weights."""
    import comfy.sd

    from demo.small_vae import vae_shapes

    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in vae_shapes(dim).items():
        if name.endswith("gamma"):
            weights[name] = 1 + 0.1 * torch.randn(shape, generator=generator)
        elif name.endswith("bias"):
            weights[name] = 0.1 * torch.randn(shape, generator=generator)
        else:
            weights[name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    return comfy.sd.VAE(sd=weights)


def moving_clip(frames: int, width: int, height: int) -> torch.Tensor:
    """``[T, H, W, 3]`` in 0..1: soft noise that drifts."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, height // 8 + frames, width // 8 + frames, generator=generator)
    views = [coarse[:, :, at : at + height // 8, at : at + width // 8] for at in range(frames)]
    return torch.nn.functional.interpolate(torch.cat(views), size=(height, width), mode="bilinear").movedim(1, -1)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(device: torch.device, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float, float]:
    """(result, seconds, peak GB above what was allocated before)"""
    cuda, before = device.type == "cuda", 0
    wait(device)
    if cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    out = work()
    wait(device)
    seconds = time.perf_counter() - start
    return out, seconds, (torch.cuda.max_memory_allocated() - before) / 1e9 if cuda else 0.0


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).norm() / (theirs - theirs.mean()).norm())


def compare(sides: dict[str, Any], call: str, given: torch.Tensor, label: str) -> dict[str, dict[str, Any]]:
    """name -> {"seconds": [...], "peak": GB, "error": against the first side} of ``vae.encode`` or ``vae.decode``."""
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "peak": 0.0} for name in sides}
    for number in range(ROUNDS[label.split()[0]] + 1):
        theirs = None
        for name, vae in sides.items():
            out, seconds, peak = timed(vae.device, partial(getattr(vae, call), given))
            theirs = out if theirs is None else theirs
            if number == 0:  # kernels are chosen and compiled in the first round
                found[name]["error"] = relative(out, theirs)
                found[name]["first"] = seconds
                continue
            found[name]["seconds"].append(seconds)
            found[name]["peak"] = max(found[name]["peak"], peak)
    for name, one in found.items():
        one["median"] = statistics.median(one["seconds"])
        print(
            f"{label} {name}: {one['median']:.3f} s ({min(one['seconds']):.3f} to {max(one['seconds']):.3f}, first "
            f"{one['first']:.2f}), peak {one['peak']:.2f} GB, {one['error']:.3%} off",
            flush=True,
        )
    return found


def against_float32(sides: dict[str, Any], call: str, given: torch.Tensor) -> dict[str, float]:
    """How far each side is from the host's network in float32."""
    host = next(iter(sides.values()))
    wanted = {name: getattr(vae, call)(given) for name, vae in sides.items()}
    module, dtype = host.first_stage_model, host.vae_dtype
    try:
        host.vae_dtype = torch.float32
        module.float()
        exact = getattr(host, call)(given)
    finally:
        module.to(dtype)
        host.vae_dtype = dtype
    return {name: relative(out, exact) for name, out in wanted.items()}


def record(claim: str, found: dict[str, dict[str, Any]], host_version: str, write: bool, **more: Any) -> None:
    ours, host = found["ours"], found["host"]
    results.record_on_host(
        claim,
        ours["median"],
        host["median"],
        host_version,
        write=write,
        peer_name=f"ComfyUI {host_version}, its own VAE object, same run and weights",
        difference=round(ours["error"], 5),
        peak_gb={"ours": round(ours["peak"], 2), "peer": round(host["peak"], 2)},
        noise={
            name: round(max(one["seconds"]) / min(one["seconds"]) - 1, 3)
            for name, one in (("ours", ours), ("peer", host))
        },
        **more,
    )


def main(arguments: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames, dim = arguments.sizes.split(","), 77, 96
    if arguments.small:
        sizes, frames, dim = ["small"], 17, 8
    with torch.inference_mode():
        host = random_vae(dim)
        sides = {"host": host, "ours": load_pack_part("nodes.host.vae").accelerate_vae(host)}
        print(f"{host.vae_dtype} on {host.device}", flush=True)
        clip = moving_clip(9, *SIZES[sizes[0]])
        errors = {"encode": against_float32(sides, "encode", clip)}
        errors["decode"] = against_float32(sides, "decode", host.encode(clip))
        print(f"against float32: {errors}", flush=True)
        rounded = {call: {side: round(value, 5) for side, value in one.items()} for call, one in errors.items()}
        for size in sizes:
            clip = moving_clip(frames, *SIZES[size])
            latent = host.encode(clip)
            for call, given in (("encode", clip), ("decode", latent)):
                found = compare(sides, call, given, f"{size} {call}")
                record(f"vae_{call}_{size}", found, version, not arguments.small, from_float32=rounded[call])
            if size == sizes[0]:
                grey = torch.full_like(clip, 0.5)
                grey[0] = clip[0]
                found = compare(sides, "encode", grey, f"{size} encode grey")
                record(f"vae_encode_grey_{size}", found, version, not arguments.small)
            if arguments.profile and size == sizes[0]:
                for call, given in (("encode", clip), ("decode", latent)):
                    profile(sides["ours"], call, given)


def profile(vae: Any, call: str, given: torch.Tensor) -> None:
    """Print where the time goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    kind = "cuda" if vae.device.type == "cuda" else "cpu"
    with record(activities=[getattr(ProfilerActivity, kind.upper())]) as recorded:
        getattr(vae, call)(given)
        wait(vae.device)
    table = recorded.key_averages().table(sort_by=f"self_{kind}_time_total", row_limit=20, max_name_column_width=90)
    print(table, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--profile", action="store_true", help="print where the time of ours goes")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    main(parser.parse_args())
