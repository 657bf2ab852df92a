"""One sampling step on a server started without flags: a bf16 file's weights in float16, with dynamic VRAM.

Like :mod:`benchmarks.step`, in the mode that users have: a bf16 file of the real size (random weights) is read by Load
Diffusion Model's code in a process set up as the server sets itself up, and both sides sample through the host's
sampler. Host and ours take turns; a step is any but a run's first, timed by the sampler's callback.

    python benchmarks/step_default.py                 # 832x480 and 1280x720, needs a card with 60 GB
    python benchmarks/step_default.py --sizes 480p --rounds 3 --profile
    python benchmarks/step_default.py --small         # seconds on a CPU, small weights; writes nothing

Writes ``results/step_480p_default.json`` and ``step_720p_default.json``; with flash-attn-4 installed,
``step_480p_default_fa4.json`` and so on.
"""

from __future__ import annotations

import argparse
import statistics
import sys
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

Condition = list[list[Any]]  # CONDITIONING: pairs of a tensor and a dict

SEED = 1


def conditioning(
    size: tuple[int, int], frames: int, clip_vision: bool = True
) -> tuple[torch.Tensor, Condition, Condition]:
    """(noise, positive, negative) of one segment with text, CLIP tokens, pose and face."""
    import comfy.clip_vision
    import torch

    generator = torch.Generator().manual_seed(SEED)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    latents = (frames + 3) // 4 + 1
    shape = (1, 16, latents, size[1] // 8, size[0] // 8)
    values: dict[str, Any] = {
        "concat_latent_image": random(*shape),
        "concat_mask": torch.ones(1, 4, *shape[2:]),
        "pose_video_latent": random(1, 16, latents - 1, *shape[3:]),
        "face_video_pixels": random(1, 3, frames, 512, 512).clamp_(-1, 1),
    }
    if clip_vision:
        values["clip_vision_output"] = comfy.clip_vision.Output()
        values["clip_vision_output"]["penultimate_hidden_states"] = random(1, 257, 1280)
    positive = [[random(1, 512, 4096) * 0.1, values]]
    return random(*shape), positive, positive


def sample(
    model: Any, given: tuple[torch.Tensor, Condition, Condition], steps: int
) -> tuple[torch.Tensor, list[float], float]:
    """(latent, seconds of every step but the first, seconds of the first)"""
    import comfy.sample
    import torch

    noise, positive, negative = given
    at = [time.perf_counter()]

    def stepped(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        at.append(time.perf_counter())

    out = comfy.sample.sample(
        model, noise, steps, 1.0, "euler", "simple", positive, negative, torch.zeros_like(noise), callback=stepped,
        disable_pbar=True, seed=SEED,
    )  # fmt: skip
    taken = [after - before for before, after in zip(at, at[1:])]
    return out.float().cpu(), taken[1:], taken[0]


def profile(model: Any, given: tuple[torch.Tensor, Condition, Condition]) -> None:
    """Print where the time of two steps goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA]) as recorded:
        sample(model, given, 2)
    table = recorded.key_averages().table(sort_by="self_cuda_time_total", row_limit=24, max_name_column_width=80)
    print("\n".join(f"{line[:80]} {line[-75:]}" for line in table.splitlines()), flush=True)


def main(options: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = start_host(options.comfy, dynamic=True, small=options.small)
    import torch

    from benchmarks import clip
    from benchmarks.step import SIZES, load_pack_part

    if options.small:
        from demo import small_models

        path, sizes, frames = small_models.make().transformer, ["small"], 5
    else:
        models = clip.full_models(options.folder)
        path, sizes, frames = models / "diffusion_models" / clip.MODEL, options.sizes.split(","), 77
    import comfy.sd

    kit = load_pack_part("nodes.host.accelerate")
    with torch.inference_mode():
        host = comfy.sd.load_diffusion_model(str(path))
        ours = kit.accelerate(host, kit.Settings("auto (exact)", fused=True))
        for size in sizes:
            given = conditioning(SIZES[size], frames)
            found: dict[str, list[float]] = {"ours": [], "peer": []}
            first: dict[str, list[float]] = {"ours": [], "peer": []}
            outs: dict[str, torch.Tensor] = {}
            for _ in range(options.rounds):
                for side, model in (("peer", host), ("ours", ours)):
                    outs[side], steps, start = sample(model, given, options.steps)
                    found[side] += steps
                    first[side].append(round(start, 2))
                    print(f"{size} {side}: first {start:.2f} s, then {[round(one, 3) for one in steps]}", flush=True)
            apart = float((outs["ours"] - outs["peer"]).norm() / outs["peer"].norm())
            claim = f"step_{size}_default{results.attention_package()}"
            results.record_on_host(
                claim, statistics.median(found["ours"]), statistics.median(found["peer"]),
                version, write=not options.small,
                peer_name=f"ComfyUI {version}, its defaults, same process and weights",
                noise={side: round(max(one) / min(one) - 1, 3) for side, one in found.items()},
                first_steps=first, apart_after=f"{options.steps} steps: {apart:.4f}",
                compute=str(host.model.get_dtype_inference()), dynamic_vram=host.is_dynamic(),
            )  # fmt: skip
            if options.profile:
                for model in (host, ours):
                    profile(model, given)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--folder", type=Path, help="where the weights are, or go (40 GB)")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of a run; the first is not counted")
    parser.add_argument("--profile", action="store_true", help="print where the time of two steps goes")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    main(parser.parse_args())
