"""A whole segment of Wan Animate, pictures in to pictures out: ComfyUI's nodes against this pack, 14B size.

Their side is the graph that ships with the host: WanAnimateToVideo, a sampler, Trim Video Latent, VAE Decode. Ours is
what Animate Character runs: the engine's chain on the accelerated MODEL and VAE, without writing files. Both get the
same pictures, prompt, noise, sampler (euler, simple) and random weights, which both keep on the card; both make the
first segment of an *animate* job, 77 frames, once to warm up (one step), then timed. All VAE work is included: the
reference, the conditioning, the pose, the result.

    python benchmarks/segment.py                        # 832x480 and 1280x720, 4 steps; needs a card with 70 GB
    python benchmarks/segment.py --steps 4,20           # runs both
    python benchmarks/segment.py --steps 4 --reckon 20  # 20 reckoned from the steps of the run with 4
    python benchmarks/segment.py --small                # on a CPU, small weights; writes nothing

Writes ``results/segment_480p_4.json`` and so on; ``how`` says which are reckoned. With flash-attn-4 installed the
names end in ``_fa4``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks import step as one_step  # noqa: E402
from benchmarks.vae import random_vae  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.video.frames import FrameSource, TensorSource  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

SEED = 7


class Memory(SegmentStore):
    """Keeps the finished segment in memory: nothing goes to disk, as on the host's side."""

    def save(self, index: int, frames: np.ndarray, *_: Any) -> None:
        self.frames = frames

    def clip(self, plan: Any, fps: Fraction, count: int | None = None) -> FrameSource:
        return TensorSource(self.frames, fps)


class Inputs:
    """Pictures, prompt and CLIP tokens of one segment."""

    def __init__(self, width: int, height: int, frames: int):
        generator = torch.Generator().manual_seed(3)

        def blocks(count: int, rows: int, columns: int) -> torch.Tensor:
            coarse = torch.rand(count, rows // 16, columns // 16, 3, generator=generator)
            return coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)

        self.width, self.height, self.frames = width, height, frames
        self.reference = blocks(1, height, width)
        self.pose = blocks(frames, height, width) * (torch.rand(frames, height, width, 1, generator=generator) > 0.9)
        self.face = blocks(frames, 512, 512)
        self.prompt = [[torch.randn(1, 512, 4096, generator=generator) * 0.1, {}]]
        import comfy.clip_vision

        self.clip_vision = comfy.clip_vision.Output()
        self.clip_vision["penultimate_hidden_states"] = torch.randn(1, 257, 1280, generator=generator)


class Clock:
    """When each step ended, as the sampler's callback."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def __call__(self, *_: Any) -> None:
        wait()
        self.at.append(time.perf_counter())

    def steps(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:])]


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def theirs(model: Any, vae: Any, inputs: Inputs, steps: int, clock: Clock) -> torch.Tensor:
    """``[frames, H, W, 3]`` by the host's own nodes."""
    import comfy.sample
    from comfy_extras.nodes_wan import TrimVideoLatent, WanAnimateToVideo

    nodes: Any = import_module("nodes")  # the host's

    positive, negative, latent, trim, _, _ = WanAnimateToVideo.execute(
        positive=inputs.prompt,
        negative=inputs.prompt,
        vae=vae,
        width=inputs.width,
        height=inputs.height,
        length=inputs.frames,
        batch_size=1,
        continue_motion_max_frames=1,
        video_frame_offset=0,
        reference_image=inputs.reference,
        clip_vision_output=inputs.clip_vision,
        face_video=inputs.face,
        pose_video=inputs.pose,
    ).args
    samples = comfy.sample.sample(
        model, comfy.sample.prepare_noise(latent["samples"], SEED), steps, 1.0, "euler", "simple", positive, negative,
        comfy.sample.fix_empty_latent_channels(model, latent["samples"]), callback=clock, disable_pbar=True, seed=SEED,
    )  # fmt: skip
    trimmed = TrimVideoLatent.execute({"samples": samples}, trim).args[0]
    return nodes.VAEDecode().decode(vae, trimmed)[0]


def ours(model: Any, vae: Any, inputs: Inputs, steps: int, clock: Clock) -> torch.Tensor:
    """``[frames, H, W, 3]`` uint8 by the chain behind Animate Character."""
    part = one_step.load_pack_part
    generate, sources, frames, ports = (
        part("wan_animate.chain.generate"),
        part("wan_animate.chain.control_sources"),
        part("wan_animate.video.frames"),
        part("nodes.host.ports"),
    )
    job = generate.AnimateJob(
        reference=inputs.reference[0],
        controls=sources.Controls(frames.TensorSource(inputs.pose), frames.TensorSource(inputs.face)),
        segment_length=inputs.frames,
        seed=SEED,
        fps=Fraction(30),
    )
    denoiser = ports.HostDenoiser(
        model, inputs.prompt, inputs.prompt, inputs.clip_vision, steps, 1.0, "euler", "simple", 0.0, SEED
    )

    def report(progress: Any) -> None:
        if progress.stage == "denoise":
            clock()

    port = ports.HostVAE(vae)  # without cache: the latents of the round before do not count
    with tempfile.TemporaryDirectory() as folder:
        made = generate.generate(job, denoiser, port, Memory(folder), report)
    return torch.from_numpy(made.read(0, len(made)))


def timed(run: Callable[..., torch.Tensor], *args: Any) -> tuple[torch.Tensor, float, list[float], float]:
    """(frames, seconds, seconds of the steps after the first, peak GB)"""
    clock = Clock()
    wait()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    made = run(*args, clock)
    wait()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    return made, seconds, clock.steps(), peak


def measure(
    sides: dict[str, tuple[Any, ...]],
    size: str,
    frames: int,
    arguments: argparse.Namespace,
    version: str,
    real: bool,
) -> None:
    """Time both sides, {"host" or "ours": (function, MODEL, VAE)}, and write a claim for every number of steps."""
    inputs = Inputs(*one_step.SIZES[size], frames)
    for name, side in sides.items():
        print(f"{size} {name}: warm-up {timed(*side, inputs, 1)[1]:.1f} s", flush=True)
    for steps in [int(one) for one in arguments.steps.split(",")]:
        found: dict[str, list[Any]] = {name: [] for name in sides}
        for _ in range(arguments.rounds):
            pictures = {}
            for name, side in sides.items():
                pictures[name], *measured = timed(*side, inputs, steps)
                found[name].append(measured)
                print(f"{size} {name}: {steps} steps {measured[0]:.2f} s, peak {measured[2]:.1f} GB", flush=True)
        off = (pictures["host"].mul(255).round() - pictures["ours"]).abs().mean()
        whole = {name: statistics.median(one[0] for one in runs) for name, runs in found.items()}
        step = {
            name: statistics.median(s for one in runs for s in one[1] or [math.nan]) for name, runs in found.items()
        }
        more = {
            "step_seconds": {name: round(value, 3) for name, value in step.items()},
            "peak_gb": {name: round(max(one[2] for one in runs), 2) for name, runs in found.items()},
            "mean_difference_in_levels": round(float(off), 3),
            "settings": {
                "attention": arguments.attention,
                "linear_layers": arguments.linear_layers,
                "compile_blocks": arguments.compile,
                "fused": True,
            },
        }
        counts = {steps: f"run with {steps} steps"}
        for count in [int(one) for one in arguments.reckon.split(",") if one]:
            counts[count] = f"reckoned: the run with {steps} steps and {count - steps} more of its later steps"
        for count, how in counts.items():
            seconds = {
                name: whole[name] + (count - steps) * step[name] if count != steps else whole[name] for name in whole
            }
            layers = "_fp8" if arguments.linear_layers != "as loaded" else ""
            claim = f"segment_{size}_{count}{layers}{results.attention_package()}"
            results.record_on_host(
                claim,
                seconds["ours"],
                seconds["host"],
                version,
                peer_name=f"ComfyUI {version}, its defaults, same run and module",
                write=real,
                how=how,
                **more,
            )


def main(arguments: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = one_step.load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames, blocks, shape = arguments.sizes.split(","), 77, arguments.blocks or 40, one_step.FULL
    if arguments.small:
        sizes, frames, blocks, shape = ["small"], 5, 5, {"dim": 256, "ffn": 512}
    with torch.inference_mode():
        start = time.perf_counter()
        model, vae = one_step.random_model(blocks, **shape), random_vae(16 if arguments.small else 96)
        print(f"{blocks} blocks and the VAE loaded in {time.perf_counter() - start:.0f} s", flush=True)
        accelerate = one_step.load_pack_part("nodes.host.accelerate")
        settings = accelerate.Settings(
            arguments.attention, compile_blocks=arguments.compile, matmul=arguments.linear_layers, fused=True
        )
        fast_model = accelerate.accelerate(model, settings)
        fast_vae = one_step.load_pack_part("nodes.host.vae").accelerate_vae(vae)
        sides = {"host": (theirs, model, vae), "ours": (ours, fast_model, fast_vae)}
        for size in sizes:
            measure(sides, size, frames, arguments, version, not arguments.small and blocks == 40)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--steps", default="4")
    parser.add_argument("--reckon", default="", help="numbers of steps to reckon from the run, as 20")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--blocks", type=int, help="transformer blocks, a multiple of 5 (default 40)")
    parser.add_argument("--attention", default="auto (exact)")
    parser.add_argument("--linear-layers", "--products", default="as loaded")
    parser.add_argument("--compile", action="store_true", help="with compiled blocks")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    return parser


if __name__ == "__main__":
    main(options().parse_args())
