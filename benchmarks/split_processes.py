"""Sampling by a process a card (NCCL) against one card, without ComfyUI: the shell's ``--gpus``.

Each process holds diffusers' transformer with random weights of the published model's size, in bfloat16, and the
context-parallel plan of :mod:`wan_animate.backends.context_parallel`; the steps are
:class:`wan_animate.backends.diffusers.DiffusersDenoiser`'s. :mod:`benchmarks.split` measures the other way, threads of
one process. 77 frames, cfg 1, the faces once, cuDNN's attention on both sides.

    python benchmarks/split_processes.py --sizes 480p,720p --cards 2,4
    python benchmarks/split_processes.py --small    # two gloo processes on a CPU, small weights; writes nothing

Writes ``results/split_processes_720p_4.json`` and so on: seconds of a step, the first of a run not counted, over those
of one process; every card's peak of memory, and how far the latents are apart.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks import step_diffusers as plain  # noqa: E402

ATTENTION = "_native_cudnn"


def work(rank: int, count: int, port: int, options: argparse.Namespace, folder: str) -> None:
    """One process: its steps' seconds, peak and latent of every size go to ``folder``."""
    from wan_animate.backends.context_parallel import parallelize
    from wan_animate.parallel.processes import join

    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    group = join("cpu" if options.small else "cuda")
    with torch.inference_mode():
        model = plain.transformer(options.small)
        if count > 1:
            parallelize(model, rank, count)
        if not options.small:
            for block in model.blocks:
                block.attn1.set_attention_backend(ATTENTION)
        for size in ["small"] if options.small else options.sizes.split(","):
            given = plain.conditioning(model, size)
            seconds: list[float] = []
            for _ in range(options.rounds):
                if group.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                latent, steps = plain.timed_steps(model, given, options.steps)
                seconds += steps[1:]
            torch.save((seconds, plain.peak(), latent), Path(folder) / f"{size}_{rank}.pt")
            if rank == 0:
                print(f"{size}, {count}: {[round(one, 3) for one in seconds]}, {plain.peak():.1f} GB", flush=True)
    group.leave()


def run(count: int, options: argparse.Namespace) -> dict[str, list[Any]]:
    """Of each size what the processes saved, by rank."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        torch.multiprocessing.spawn(work, (count, port, options, folder), nprocs=count)
        sizes = ["small"] if options.small else options.sizes.split(",")
        return {size: [torch.load(Path(folder) / f"{size}_{rank}.pt") for rank in range(count)] for size in sizes}


def main(options: argparse.Namespace) -> None:
    counts = [2] if options.small else [int(one) for one in options.cards.split(",")]
    if not options.small:
        counts = [one for one in counts if one <= torch.cuda.device_count()]
        if not counts:
            raise SystemExit(f"there are {torch.cuda.device_count()} cards here, and --cards is {options.cards}.")
    one = run(1, options)
    for count in counts:
        for size, ranks in run(count, options).items():
            alone, latent = one[size][0], ranks[0][2]
            apart = float((latent - alone[2]).norm() / alone[2].norm())
            results.record(
                f"split_processes_{size}_{count}", statistics.median(ranks[0][0]), statistics.median(alone[0]),
                peer_name="one process and card, the same attention and weights", unit="seconds a step",
                versions=plain.versions(), hardware=results.gpu() or results.cpu(), write=not options.small,
                peak_gb=[round(part[1], 2) for part in ranks], peer_peak_gb=round(alone[1], 2),
                apart_after=f"{options.steps} steps: {apart:.5f}",
            )  # fmt: skip
            print(f"{size}, {count} processes: latents apart {apart:.2e}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--cards", default="2,4,8", help="numbers of processes; those without cards are left out")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3, help="of a run; the first is not counted")
    parser.add_argument("--small", action="store_true", help="small weights, two processes on a CPU; writes nothing")
    given = parser.parse_args()
    if given.steps < 2 or given.rounds < 1:
        parser.error("--steps takes 2 or more, of which the first is not counted, and --rounds 1 or more.")
    if given.small:
        given.steps = 2
    main(given)
