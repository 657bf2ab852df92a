"""Sampling on several cards against one: Split Animate over GPUs in a server's process.

As :mod:`benchmarks.step_default`: a bf16 file of the real size (random weights), in the mode that users have, 77
frames, Accelerate Animate Model on both sides. One card and all numbers of cards take turns; a step is any but a run's
first. Then a whole segment of four steps with the VAE's encoding and decoding, on the most cards; the VAE shares its
work among them as in Animate Character.

    python benchmarks/split.py                          # 480p and 720p on 2, 4 and 8 cards, as many as there are
    python benchmarks/split.py --sizes 720p --cards 4 --groups 1,2,4,5   # how many groups of heads
    python benchmarks/split.py --sizes 720p --cards 2,4 --rounds 2 --steps 2   # in minutes
    python benchmarks/split.py --small                  # seconds on a CPU, small weights; writes nothing

Writes ``results/split_720p_4.json`` and so on (seconds a step over those on one card), ``split_segment_720p_4.json``,
and of that the VAE's part in ``split_vae_720p_4.json``. Each has every card's peak of memory (of torch) and how far the
latents, or what the VAE makes, are apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
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


def segment(
    model: Any, vae: Any, given: Any, pixels: torch.Tensor, steps: int
) -> tuple[dict[str, float], torch.Tensor, torch.Tensor]:
    """(seconds of encoding, sampling and decoding one segment, the encoded latent, the decoded frames)"""
    import torch

    from benchmarks.step_default import sample

    at = [time.perf_counter()]

    def done() -> None:
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)
        at.append(time.perf_counter())

    encoded = vae.encode(pixels)
    done()
    sample(model, given, steps)
    done()
    frames = vae.decode(encoded)
    done()
    names = "encode", "sample", "decode"
    return dict(zip(names, (b - a for a, b in zip(at, at[1:])))), encoded.float().cpu(), frames


class Taken:
    """What one side's runs took; each run's first step, which loads and compiles, apart."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.first: list[float] = []
        self.peak_gb: list[float] = []
        self.latent: Any = None

    def add(self, latent: torch.Tensor, steps: list[float], first: float) -> None:
        self.latent = latent
        self.steps += steps
        self.first.append(round(first, 2))

    def __str__(self) -> str:
        return f"first {self.first}, then {[round(one, 3) for one in self.steps]} s, GB {self.peak_gb}"


def record(claim: str, ours: Taken, peer: Taken, version: str | None, options: argparse.Namespace, **more: Any) -> None:
    apart = float((ours.latent - peer.latent).norm() / peer.latent.norm())
    print(f"{claim}: latents apart {apart:.2e}", flush=True)
    sides = {"ours": ours, "peer": peer}
    results.record_on_host(
        claim, statistics.median(ours.steps), statistics.median(peer.steps), version, write=not options.small,
        peer_name="the same on one card, same process and weights",
        noise={side: round(max(one.steps) / min(one.steps) - 1, 3) for side, one in sides.items()},
        first_steps={side: one.first for side, one in sides.items()},
        peak_gb={side: one.peak_gb for side, one in sides.items()},
        apart_after=f"{options.steps} steps: {apart:.5f}", **more,
    )  # fmt: skip


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
        folder = clip.full_models(options.folder)
        path, sizes, frames = folder / "diffusion_models" / clip.MODEL, options.sizes.split(","), 77
        vae_path = next((folder / "vae").glob("*.safetensors"))
        there = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
        cards = sorted(int(one) for one in options.cards.split(",") if int(one) <= len(there))
        if not cards:
            raise SystemExit(f"there are {len(there)} cards here, and --cards is {options.cards}.")
    import comfy.sd
    import comfy.utils

    accelerate, parallel = load_pack_part("nodes.host.accelerate"), load_pack_part("nodes.host.parallel")
    ports = load_pack_part("nodes.host.ports")
    with torch.inference_mode():
        host = comfy.sd.load_diffusion_model(str(path))
        one = accelerate.accelerate(host, accelerate.Settings("auto (exact)", fused=True))
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_path)))
        vae = load_pack_part("nodes.host.vae").accelerate_vae(vae)  # as HostVAE does on a card in half precision
        for size in sizes:
            given = conditioning(SIZES[size], frames)
            groups = [int(part) or None for part in options.groups.split(",")]
            named = {
                f"split_{size}_{count}" + (f"_groups_{some}" if len(groups) > 1 else ""): (count, some)
                for count in cards
                for some in (parallel.Settings(groups=one).groups_on(count) for one in groups)
            }
            sides = {"one card": one} | {
                claim: parallel.split(one, there[:count], parallel.Settings(groups=some))
                for claim, (count, some) in named.items()
            }
            taken = {side: Taken() for side in sides}
            for _ in range(options.rounds):
                for side, model in sides.items():
                    forget_peaks(there)
                    taken[side].add(*sample(model, given, options.steps))
                    taken[side].peak_gb = peaks(there[: named[side][0] if side in named else 1])
                    print(f"{size}, {side}: {taken[side]}", flush=True)
            for claim, (_, some) in named.items():
                record(claim, taken[claim], taken["one card"], version, options, head_groups=some)
            if size != options.segment and not options.small:
                continue
            counts = [int(some) for some in options.segment_cards.split(",")] if options.segment_cards else cards[-1:]
            models = {1: one} | {count: parallel.split(one, there[:count]) for count in counts if count <= len(there)}
            segments(size, frames, given, models, lambda count: ports.HostVAE(vae, there[:count]), version, options)


def segments(
    size: str,
    frames: int,
    given: Any,
    models: dict[int, Any],
    vae_on: Callable[[int], Any],
    version: str | None,
    options: argparse.Namespace,
) -> None:
    """Whole segments on one card and on several, and of these what the VAE takes."""
    import torch

    from benchmarks.step import SIZES

    width, height = SIZES[size]
    pixels = torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(2))
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    taken: dict[int, list[dict[str, float]]] = {count: [] for count in models}
    made: dict[int, list[torch.Tensor]] = {}
    memory: dict[int, list[float]] = {}
    for turn in range(options.segment_rounds + 1):
        for count, model in models.items():
            forget_peaks(devices)
            # the first, of one step, compiles and loads, and does not count
            found, *made[count] = segment(model, vae_on(count), given, pixels, SEGMENT_STEPS if turn else 1)
            taken[count] += [found] if turn else []
            memory[count] = peaks(devices[:count])
            said = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found.items())
            print(
                f"segment {size}, {count} cards{'' if turn else ', to warm up'}: {said} s, GB {memory[count]}",
                flush=True,
            )

    def seconds(count: int, *names: str) -> float:
        return statistics.median(sum(one[name] for name in names) for one in taken[count])

    for count in list(models)[1:]:
        apart = {
            name: round(float((ours - theirs).norm() / theirs.norm()), 6)
            for name, ours, theirs in zip(("latent", "frames"), made[count], made[1])
        }
        print(f"segment {size}, {count} cards: the VAE's apart {apart}", flush=True)
        for claim, names in (("segment", ("encode", "sample", "decode")), ("vae", ("encode", "decode"))):
            results.record_on_host(
                f"split_{claim}_{size}_{count}", seconds(count, *names), seconds(1, *names), version,
                write=not options.small, peer_name="the same on one card, same process and weights",
                seconds={str(some): {name: round(seconds(some, name), 3) for name in names} for some in (1, count)},
                peak_gb={"ours": memory[count], "peer": memory[1]}, vae_apart=apart,
            )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--folder", type=Path, help="where the weights are, or go (40 GB)")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--cards", default="2,4,8", help="numbers of cards; those that are not there are left out")
    parser.add_argument("--groups", default="0", help="groups of heads, 0 as in the node; several are compared")
    parser.add_argument("--segment", default="720p", help="the size of the whole segment; none leaves it out")
    parser.add_argument("--segment-cards", help="numbers of cards for it (default: the most of --cards)")
    parser.add_argument("--segment-rounds", type=int, default=1, help="that count, after one of a step to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a run; the first is not counted")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    chosen = parser.parse_args()
    if chosen.steps < 2 or chosen.rounds < 1 or chosen.segment_rounds < 1:
        parser.error("--steps takes 2 or more, of which the first is not counted, and each of the rounds 1 or more.")
    if chosen.small:
        chosen.rounds, chosen.steps = 1, 2
    main(chosen)
