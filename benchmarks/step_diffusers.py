"""Sampling without ComfyUI: four steps of a segment on diffusers' 14B transformer, ours against its plain way.

Weights are random, of the published model's layout and size, in bfloat16. Plain is ``WanAnimateTransformer3DModel`` as
``WanAnimatePipeline`` calls it: the faces in every step, PyTorch's own choice of attention, diffusers' own blocks. Ours
are the steps of :class:`wan_animate.backends.diffusers.DiffusersDenoiser`, with measured attention and fused blocks
where these run. Both take turns; reported are a step's medians over a segment of 77 frames, cfg 1, the difference
between the results, and the peak that torch has allocated. ``--linears fp8`` then quantizes the large linear layers as
``wan-animate run --linears fp8`` does, and times ours again, against the plain steps timed before in the same process.

    python benchmarks/step_diffusers.py                    # 832x480 and 1280x720; needs a card with 60 GB
    python benchmarks/step_diffusers.py --sizes 480p --linears as-loaded,fp8  # both, with one model built
    python benchmarks/step_diffusers.py --sizes 480p --offload
    python benchmarks/step_diffusers.py --small            # seconds on a CPU, small weights; writes nothing

Writes ``results/step_diffusers_480p.json``, ``step_diffusers_720p.json``, in fp8 ``step_diffusers_480p_fp8.json`` (with
the error of the layers' outputs), with ``--offload`` ``step_diffusers_480p_offload.json`` (against the weights on the
card).
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from wan_animate.backends import diffusers as backend  # noqa: E402
from wan_animate.backends.attention import NATIVE, choose_attention, set_attention  # noqa: E402
from wan_animate.backends.face_features import FaceFeatures  # noqa: E402
from wan_animate.backends.fp8_linears import AS_LOADED, FP8, Fp8Linears, quantize_linears  # noqa: E402
from wan_animate.backends.fused_blocks import fuse, prepare, unfuse  # noqa: E402
from wan_animate.backends.placement import place  # noqa: E402
from wan_animate.chain.ports import SegmentConditioning  # noqa: E402
from wan_animate.chain.segments import plan_segments  # noqa: E402
from wan_animate.plan.costs import tokens  # noqa: E402

SIZES = {"480p": (832, 480), "720p": (1280, 720), "small": (96, 64)}
STEPS, LENGTH = 4, {"480p": 77, "720p": 77, "small": 9}


class EveryStep(FaceFeatures):
    """As diffusers: faces go through the encoders in every pass."""

    @property
    def video(self) -> torch.Tensor:
        return self._video

    def once(self) -> Any:
        return nullcontext()


def transformer(small: bool) -> Any:
    if small:
        from demo.small_models import make

        return backend.load(make().root / "diffusers", dtype=torch.float32)[0]
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        try:
            made = WanAnimateTransformer3DModel()
        finally:
            torch.set_default_dtype(torch.float32)
    fuse(made)
    prepare(made)
    return made.eval()


def conditioning(model: Any, size: str) -> SegmentConditioning:
    (width, height), length = SIZES[size], LENGTH[size]
    latents, draw = (length - 1) // 4 + 1, torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    face = model.config.motion_encoder_size
    return SegmentConditioning(
        segment=plan_segments(length, length).segments[0],
        concat_latent=random(1, 16, latents + 1, height // 8, width // 8),
        unknown_mask=torch.ones(1, 4, latents + 1, height // 8, width // 8),
        pose_latent=random(1, 16, latents, height // 8, width // 8),
        face=random(1, 3, length, face, face).clamp(-1, 1),
    )


def timed_steps(model: Any, given: SegmentConditioning, steps: int) -> tuple[torch.Tensor, list[float]]:
    """The latent and each step's seconds."""
    prompt = torch.randn(1, 512, model.config.text_dim, generator=torch.Generator().manual_seed(1))
    denoiser = backend.DiffusersDenoiser(model, backend.flow_scheduler("unipc", 5.0), prompt, steps=steps)
    noise = torch.randn(given.concat_latent.shape, generator=torch.Generator().manual_seed(2))
    stamps = [time.perf_counter()]

    def on_step(*_: Any) -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())

    latent = denoiser.denoise(given, noise, on_step)
    return latent.float().cpu(), [b - a for a, b in zip(stamps, stamps[1:])]


def sample(model: Any, given: SegmentConditioning, plain: bool) -> tuple[torch.Tensor, float]:
    """The latent and the mean of the steps' seconds, the first one among them."""
    with patch.object(backend, "face_features", EveryStep) if plain else nullcontext():
        latent, seconds = timed_steps(model, given, STEPS)
    return latent, statistics.mean(seconds)


def peak() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


@dataclass
class Plain:
    """diffusers' own way at a size.

    Attributes:
        attention: the backend that our steps take.
    """

    given: SegmentConditioning
    attention: str
    latent: torch.Tensor
    seconds: float
    peak_gb: float


def turn(model: Any, given: SegmentConditioning, attention: str | None) -> tuple[torch.Tensor, float, float]:
    """The latent, seconds a step, and peak of four steps; ``attention`` None: plain."""
    plain = attention is None
    set_attention(model, NATIVE if attention is None else attention)
    (unfuse if plain else fuse)(model)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return *sample(model, given, plain), peak()


def compare(model: Any, size: str, rounds: int, write: bool, exact: bool) -> Plain:
    """Plain against ours in turns; without ``exact`` plain alone, for :func:`compare_fp8`."""
    given = conditioning(model, size)
    name = choose_attention(model, tokens(SIZES[size], given.segment.latent_frames))
    took: dict[str | None, list[float]] = {None: [], name: []}
    for number in range(rounds + 1):
        made, seconds, plain_peak = turn(model, given, None)
        took[None] += [seconds] * bool(number)  # the first warms up
        if exact:
            ours, seconds, our_peak = turn(model, given, name)
            took[name] += [seconds] * bool(number)
    plain = Plain(given, name, made, statistics.median(took[None]), plain_peak)
    if exact:
        record(f"step_diffusers_{size}", model, size, plain, ours, statistics.median(took[name]), our_peak, write)
    return plain


def compare_fp8(model: Any, linears: Fp8Linears, size: str, rounds: int, write: bool, plain: Plain) -> None:
    """Ours with large linear layers in fp8 against what plain took before they were."""
    took = []
    for number in range(rounds + 1):
        ours, seconds, our_peak = turn(model, plain.given, plain.attention)
        took += [seconds] * bool(number)
    errors = linears.errors.values()
    print(f"{len(linears.quantized)} layers, outputs {statistics.mean(errors):.2%} off, at most {max(errors):.2%}")
    record(
        f"step_diffusers_{size}_fp8", model, size, plain, ours, statistics.median(took), our_peak, write,
        linears="fp8", layers=len(linears.quantized), layer_error=round(statistics.mean(errors), 4),
        largest_layer_error=round(max(errors), 4),
    )  # fmt: skip


def in_fp8(model: Any) -> Fp8Linears:
    unfuse(model)  # so that the fused blocks are checked again
    found = quantize_linears(model, model.device)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def record(
    claim: str, model: Any, size: str, plain: Plain, made: torch.Tensor, ours: float, our_peak: float, write: bool,
    **more: Any,
) -> None:  # fmt: skip
    error = float((made - plain.latent).norm() / plain.latent.norm())
    fused = bool(model.blocks[0].attn1.processor.shared.agrees)
    print(f"{claim}: attention {plain.attention}, blocks {'' if fused else 'not '}fused, relative error {error:.2e}")
    results.record(
        claim, ours, plain.seconds,
        peer_name="diffusers' transformer as WanAnimatePipeline calls it",
        unit=f"seconds a step of {STEPS}, {LENGTH[size]} frames of {SIZES[size][0]}x{SIZES[size][1]}",
        versions=versions(), hardware=results.gpu() or results.cpu(), write=write, attention=plain.attention,
        fused_blocks=fused, relative_error=float(f"{error:.2g}"), peak_gb=round(our_peak, 2),
        peer_peak_gb=round(plain.peak_gb, 2), **more,
    )  # fmt: skip


def versions() -> dict[str, str | None]:
    from importlib.metadata import version

    return {"torch": torch.__version__, "diffusers": version("diffusers")}


def compare_offload(model: Any, size: str, write: bool) -> None:
    given = conditioning(model, size)
    choose_attention(model, tokens(SIZES[size], given.segment.latent_frames))
    sample(model, given, False)
    resident, theirs = sample(model, given, False)
    model.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    place(model, "cuda" if torch.cuda.is_available() else "cpu", 0, "on")
    sample(model, given, False)
    made, ours = sample(model, given, False)
    equal = torch.equal(made, resident)
    print(f"{size}, blocks in host memory: bits equal: {equal}")
    results.record(
        f"step_diffusers_{size}_offload", ours, theirs, peer_name="the weights on the card",
        unit=f"seconds a step of {STEPS}", versions=versions(), hardware=results.gpu() or results.cpu(), write=write,
        bits_equal=equal, peak_gb=round(peak(), 2),
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--offload", action="store_true", help="blocks in host memory, against weights on the card")
    parser.add_argument(
        "--linears", default=AS_LOADED, type=lambda text: text.split(","),
        help=f"{AS_LOADED}, {FP8}, or both: large linear layers as loaded, or quantized after these were timed",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="small weights, any machine; writes nothing")
    options = parser.parse_args(argv)
    if not options.linears or set(options.linears) - {AS_LOADED, FP8}:
        parser.error(f"--linears is {AS_LOADED}, {FP8}, or {AS_LOADED},{FP8}")
    if options.offload and options.linears != [AS_LOADED]:
        parser.error(f"--offload is timed with --linears {AS_LOADED}")
    if not options.small and not torch.cuda.is_available():
        raise SystemExit("a card is needed, or --small")
    model, write = transformer(options.small), not options.small
    sizes = ["small"] if options.small else options.sizes.split(",")
    if options.offload:
        for size in sizes:
            compare_offload(model, size, write)
        return 0
    plain = {size: compare(model, size, options.rounds, write, AS_LOADED in options.linears) for size in sizes}
    if FP8 in options.linears:
        linears = in_fp8(model)
        for size in sizes:
            compare_fp8(model, linears, size, options.rounds, write, plain[size])
    return 0


if __name__ == "__main__":
    sys.exit(main())
