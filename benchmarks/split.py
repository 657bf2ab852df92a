"""Sampling on several cards against one: Split Animate over GPUs in a server's process.

As :mod:`benchmarks.step_default`: a bf16 file of the real size (random weights), in the mode that users have, 77
frames, Accelerate Animate Model on both sides. One card and several take turns; a step is any but a run's first. Then,
on the most cards, a whole segment of four steps with the VAE's encoding and decoding.

    python benchmarks/split.py                          # 480p and 720p on 2, 4 and 8 cards, as many as there are
    python benchmarks/split.py --sizes 720p --cards 4 --groups 1,2,4,5   # how many groups of heads
    python benchmarks/split.py --small                  # seconds on a CPU, small weights; writes nothing

Writes ``results/split_720p_4.json`` and so on (seconds a step over those on one card), and
``split_segment_720p_4.json``. Each has every card's peak of memory (of torch) and how far the latents are apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()
from benchmarks import results  # noqa: E402
from benchmarks.host_graph import start_host  # noqa: E402  no torch before the host

if TYPE_CHECKING:
    import torch

GB = 1e9
SEGMENT_STEPS = 4


def peaks(devices: list[torch.device]) -> list[float]:
    """Gigabytes that torch allocated on each card since :func:`forget_peaks`."""
    import torch

    return [round(torch.cuda.max_memory_allocated(one) / GB, 2) for one in devices if one.type == "cuda"]


def forget_peaks(devices: list[torch.device]) -> None:
    import torch

    for one in devices:
        if one.type == "cuda":
            torch.cuda.reset_peak_memory_stats(one)


def segment(model: Any, vae: Any, given: Any, pixels: torch.Tensor, steps: int) -> float:
    """Seconds of encoding, sampling and decoding one segment."""
    import torch

    from benchmarks.step_default import sample

    start = time.perf_counter()
    vae.encode(pixels)
    latent = sample(model, given, steps)[0]
    vae.decode(latent[:, :, 1:])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main(options: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = start_host(options.comfy, dynamic=True, small=options.small)
    import torch

    from benchmarks import clip
    from benchmarks.step import SIZES, load_pack_part
    from benchmarks.step_default import conditioning, sample
    from demo import small_models

    if options.small:
        made = small_models.make()
        path, vae_path, sizes, frames = made.transformer, made.vae, ["small"], 5
        cards, there = [2], [torch.device("cpu")] * 2
    else:
        folder = options.folder or Path(tempfile.gettempdir()) / "wan-animate-clip"
        path, sizes, frames = folder / "models" / "diffusion_models" / clip.MODEL, options.sizes.split(","), 77
        if not path.exists():
            for name in ("diffusion_models", "vae", "clip_vision"):
                (folder / "models" / name).mkdir(parents=True, exist_ok=True)
            clip.make_weights(folder / "models")
        vae_path = next((folder / "models" / "vae").glob("*.safetensors"))
        there = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        cards = [int(one) for one in options.cards.split(",") if int(one) <= len(there)]
        if not cards:
            raise SystemExit(f"there are {len(there)} cards here, and --cards is {options.cards}.")
    import comfy.sd
    import comfy.utils

    accelerate, parallel = load_pack_part("nodes.host.accelerate"), load_pack_part("nodes.host.parallel")
    ports = load_pack_part("nodes.host.ports")
    with torch.inference_mode():
        host = comfy.sd.load_diffusion_model(str(path))
        one = accelerate.accelerate(host, accelerate.Settings("auto (exact)", fused=True))
        vae = ports.HostVAE(comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_path))))
        for size in sizes:
            given = conditioning(SIZES[size], frames)
            for count in cards:
                devices = there[:count]
                for groups in (int(part) for part in options.groups.split(",")):
                    many = parallel.split(one, devices, parallel.Settings(groups=groups))
                    claim = f"split_{size}_{count}" + (f"_groups_{groups}" if "," in options.groups else "")
                    found: dict[str, list[float]] = {"ours": [], "peer": []}
                    first: dict[str, list[float]] = {"ours": [], "peer": []}
                    outs: dict[str, torch.Tensor] = {}
                    memory: dict[str, list[float]] = {}
                    for _ in range(options.rounds):
                        for side, model in (("peer", one), ("ours", many)):
                            forget_peaks(devices)
                            outs[side], steps, start = sample(model, given, options.steps)
                            memory[side] = peaks(devices)
                            found[side] += steps
                            first[side].append(round(start, 2))
                            said = [round(part, 3) for part in steps]
                            print(f"{claim} {side}: first {start:.2f} s, then {said}, GB {memory[side]}", flush=True)
                    apart = float((outs["ours"] - outs["peer"]).norm() / outs["peer"].norm())
                    print(f"{claim}: latents apart {apart:.2e}", flush=True)
                    results.record_on_host(
                        claim, statistics.median(found["ours"]), statistics.median(found["peer"]),
                        version, write=not options.small,
                        peer_name="the same on one card, same process and weights",
                        noise={side: round(max(some) / min(some) - 1, 3) for side, some in found.items()},
                        first_steps=first, peak_gb=memory, head_groups=groups,
                        apart_after=f"{options.steps} steps: {apart:.5f}",
                    )  # fmt: skip
                if count != max(cards) or (size != options.segment and not options.small):
                    continue  # of a whole segment, the most cards alone
                width, height = SIZES[size]
                pixels = torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(2))
                many = parallel.split(one, devices)
                taken: dict[str, list[float]] = {"ours": [], "peer": []}
                for turn in range(1 if options.small else 2):  # the first, which compiles, does not count
                    for side, model in (("peer", one), ("ours", many)):
                        seconds = segment(model, vae, given, pixels, SEGMENT_STEPS)
                        print(f"segment {size} {count} {side}: {seconds:.2f} s", flush=True)
                        taken[side] += [seconds] if turn or options.small else []
                results.record_on_host(
                    f"split_segment_{size}_{count}", statistics.median(taken["ours"]),
                    statistics.median(taken["peer"]), version, write=not options.small,
                    peer_name="the same on one card, same process and weights",
                )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--folder", type=Path, help="where the weights are, or go (40 GB)")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--cards", default="2,4,8", help="numbers of cards; those that are not there are left out")
    parser.add_argument("--groups", default="4", help="groups of heads; several are compared")
    parser.add_argument("--segment", default="720p", help="the size of the whole segment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a run; the first is not counted")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    main(parser.parse_args())
