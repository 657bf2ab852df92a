"""One sampling step of the 14B Wan Animate transformer: ComfyUI's defaults against Accelerate Animate Model.

Weights are random, of the real file's layout and size, loaded by the host's loader; a step is the host's
``apply_model`` on a segment of 77 frames with text, CLIP tokens, pose and face. Host and ours take turns on the same
module and noise; reported are the medians, the difference from the host's output, and the peak of memory that torch
has allocated. A step is any but a segment's first, in which the face is encoded and which is reported separately.

    python benchmarks/step.py                       # 832x480 and 1280x720, needs a card with 60 GB
    python benchmarks/step.py --blocks 10           # a quarter of the blocks
    python benchmarks/step.py --small               # seconds on a CPU, small weights; writes nothing
    python benchmarks/step.py --comfy PATH          # a ComfyUI whose packages this Python has

Writes ``results/step_480p_bf16.json`` and ``step_720p_bf16.json`` (fused kernels), ``step_480p_fp8.json`` and
``step_720p_fp8.json`` (fp8 matrix multiplications too), ``_fp8_attention`` (8-bit attention too, where faster) and
``_bf16_compiled`` where asked for, and ``face_motion_77.json``.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import torch  # noqa: E402

from benchmarks import results  # noqa: E402

SIZES = {"480p": (832, 480), "720p": (1280, 720), "small": (96, 64)}
ROUNDS = {"480p": 5, "720p": 3, "small": 2}
FULL = {"dim": 5120, "ffn": 13824}
# by name: the claim's name, and the settings of Accelerate Animate Model
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bf16": ("bf16", {"fused": True}),
    "fp8": ("fp8", {"fused": True, "matmul": "fp8 (row-wise)"}),
    "fp8_attention": (
        "fp8_attention",
        {"fused": True, "matmul": "fp8 (row-wise)", "attention": "auto (approximate too)"},
    ),
    "compiled": ("bf16_compiled", {"compile_blocks": True}),
    "eager": ("bf16_eager", {}),
}


def load_host(path: Path | None, cpu: bool) -> str:
    """Make ``comfy`` importable from a ComfyUI (default: the one found), without its server; returns its version."""
    from demo.host import require_host

    host = require_host(path)
    sys.path.insert(0, str(host.path))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = cpu
    args.base_directory = tempfile.mkdtemp(prefix="wan-animate-step-")
    return host.version


def load_pack_part(name: str) -> Any:
    """A module of this pack without the pack's ``__init__``, which registers nodes and needs the whole host."""
    for package, folder in (("wan_animate_kit_pack", ROOT), ("wan_animate_kit_pack.nodes", ROOT / "nodes")):
        if package not in sys.modules:
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = [str(folder)]
    return importlib.import_module(f"wan_animate_kit_pack.{name}")


def random_weights(blocks: int, dim: int, ffn: int) -> dict[str, torch.Tensor]:
    """Random weights by the file's names, in bf16, made on the GPU if there is one."""
    from demo.small_transformer import transformer_shapes

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    noise = torch.randn(1 << 26, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    weights, at = {}, 0
    for name, shape in transformer_shapes(dim=dim, ffn=ffn, blocks=blocks).items():
        size = math.prod(shape)
        if name.endswith(".kernel"):
            row = torch.tensor([1.0, 3.0, 3.0, 1.0], device=device)
            tensor = (row[None, :] * row[:, None] / row.sum() ** 2).to(torch.bfloat16)
        elif ("norm" in name and name.endswith("weight")) or name in ("img_emb.proj.0.weight", "img_emb.proj.4.weight"):
            tensor = torch.ones(shape, dtype=torch.bfloat16, device=device)
        elif name.endswith("bias"):
            tensor = torch.zeros(shape, dtype=torch.bfloat16, device=device)
        else:
            # from one large draw, each tensor at another offset
            at = (at + 7919) % (len(noise) // 2)
            rows = -(-size // (len(noise) // 2))
            tensor = noise[at : at + len(noise) // 2].repeat(rows)[:size].view(shape)
            if not name.startswith("motion_encoder.enc"):  # whose layers scale by 1/sqrt(fan-in) themselves
                fan_in = shape[-1] if name.endswith(("modulation", "padding_tokens")) else math.prod(shape[1:])
                tensor = tensor / math.sqrt(fan_in)
            else:
                tensor = tensor.clone()
        weights[name] = tensor
    return weights


def random_model(blocks: int, dim: int, ffn: int) -> Any:
    """A MODEL from random weights, on the GPU."""
    import comfy.model_management
    import comfy.sd

    weights = random_weights(blocks, dim, ffn)
    # without dynamic VRAM, as compiled blocks need it: both sides run the same way
    model = comfy.sd.load_diffusion_model_state_dict(weights, {"dtype": torch.bfloat16}, disable_dynamic=True)
    del weights
    comfy.model_management.load_models_gpu([model], force_full_load=True)
    return model


class Steps:
    """One segment's inputs, and steps on them by any clone of the model."""

    def __init__(self, model: Any, width: int, height: int, frames: int) -> None:
        self.device, latents = model.load_device, (frames + 3) // 4 + 1
        generator = torch.Generator().manual_seed(1)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(self.device)

        self.noise_shape = (1, 16, latents, height // 8, width // 8)
        self.random, self.given = random, {
            "c_concat": random(1, 20, *self.noise_shape[2:]),
            "c_crossattn": random(1, 512, 4096) * 0.1,
            "clip_fea": random(1, 257, 1280),
            "pose_latents": random(1, 16, latents - 1, *self.noise_shape[3:]),
            "face_pixel_values": random(1, 3, frames, 512, 512).clamp_(-1, 1),
        }  # fmt: skip

    def options(self, clone: Any) -> dict[str, Any]:
        """The clone's options and wrappers, merged as the host does when sampling starts."""
        import comfy.model_patcher
        import comfy.patcher_extension

        options = comfy.model_patcher.create_model_options_clone(clone.model_options)["transformer_options"]
        merge = comfy.patcher_extension.merge_nested_dicts
        merge(options.setdefault("wrappers", {}), clone.wrappers, copy_dict1=False)
        return options

    def step(self, clone: Any, noise: torch.Tensor, sigma: float) -> tuple[torch.Tensor, float, float]:
        """(output, seconds, peak GB)"""
        clone.pre_run()
        options = self.options(clone)
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        out = clone.model.apply_model(
            noise, torch.tensor([sigma], device=self.device), transformer_options=options, **self.given
        )
        self.wait()
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() / 1e9 if self.device.type == "cuda" else 0.0
        return out, seconds, peak

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def compare(model: Any, accelerate: Any, size: str, frames: int, variants: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """name -> {"seconds": [...], "peak": GB, "error": relative L2, "first": s, "segment": s} for the host and ours."""
    steps = Steps(model, *SIZES[size], frames)
    clones = {"host": model} | {name: accelerate.accelerate(model, settings) for name, settings in variants.items()}
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "peak": 0.0, "error": 0.0} for name in clones}
    noise = steps.random(*steps.noise_shape)
    for name, clone in clones.items():
        found[name]["first"] = found[name]["segment"] = steps.step(clone, noise, 0.9)[1]
        if name != "host":  # kernels were chosen and compiled in there
            clone.cleanup()  # the end of a run: the next step is again the first of a segment
            found[name]["segment"] = steps.step(clone, noise, 0.9)[1]
        print(f"{size} {name}: first step {found[name]['first']:.2f} s, of the next segment", end=" ")
        print(f"{found[name]['segment']:.2f} s", flush=True)
    for number in range(ROUNDS[size]):
        noise, sigma = steps.random(*steps.noise_shape), 0.8 - 0.1 * number
        theirs = None
        for name, clone in clones.items():
            out, seconds, peak = steps.step(clone, noise, sigma)
            found[name]["seconds"].append(seconds)
            found[name]["peak"] = max(found[name]["peak"], peak)
            if theirs is None:
                theirs = (out - noise).double()  # the model's output alone: the noise would hide its error
            error = float(((out - noise).double() - theirs).norm() / theirs.norm())
            found[name]["error"] = max(found[name]["error"], error)
            print(f"{size} {name}: {seconds:.3f} s, {peak:.1f} GB, {error:.2%} off", flush=True)
    for clone in clones.values():
        clone.cleanup()
    return found


def face_motion(model: Any, frames: int) -> tuple[float, float, float]:
    """(ours, the host's) seconds for the face video of a segment, and their relative difference."""
    fast_blur = load_pack_part("nodes.host.accelerate.face_motion").fast_blur
    module, device = model.model.diffusion_model, model.load_device
    faces = torch.rand(1, 3, frames, 512, 512, generator=torch.Generator().manual_seed(2)) * 2 - 1
    faces = faces.to(device, model.model.get_dtype_inference())
    tokens = torch.zeros(1, 1, frames // 4 + 2, 1, 1, device=device)

    def encode(ours: bool) -> torch.Tensor:
        def run() -> torch.Tensor:
            return module.after_patch_embedding(tokens, None, faces)[1]

        if ours:
            with fast_blur(module.motion_encoder):
                return run()
        return run()

    taken: dict[bool, list[float]] = {True: [], False: []}
    out: dict[bool, torch.Tensor] = {}
    for _ in range(4):
        for ours in (False, True):
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            out[ours] = encode(ours)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken[ours].append(time.perf_counter() - start)
    error = float((out[True] - out[False]).float().norm() / out[False].float().norm())
    return statistics.median(taken[True][1:]), statistics.median(taken[False][1:]), error


def main(arguments: argparse.Namespace) -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    version = load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames = arguments.sizes.split(","), 77
    blocks, shape = arguments.blocks or 40, FULL
    if arguments.small:
        sizes, frames, blocks, shape = ["small"], 5, arguments.blocks or 5, {"dim": 256, "ffn": 512}
    real = not arguments.small and blocks == 40
    claim = {"peer_name": f"ComfyUI {version}, its defaults, same run and module", "write": real}
    with torch.inference_mode():
        start = time.perf_counter()
        model = random_model(blocks, **shape)
        print(f"{blocks} blocks loaded in {time.perf_counter() - start:.0f} s", flush=True)
        accelerate = load_pack_part("nodes.host.accelerate")
        variants = {}
        for name in arguments.variants.split(","):
            asked = {"attention": arguments.attention, "reuse": arguments.reuse, **VARIANTS[name][1]}
            variants[name] = accelerate.Settings(backend="eager" if arguments.small else "inductor", **asked)
        ours, theirs, error = face_motion(model, frames)
        results.record_on_host(f"face_motion_{frames}", ours, theirs, version, difference=error, **claim)
        for size in sizes:
            found = compare(model, accelerate, size, frames, variants)
            host = found.pop("host")
            for name, measured in found.items():
                spread = [round(max(one["seconds"]) / min(one["seconds"]) - 1, 3) for one in (measured, host)]
                results.record_on_host(
                    f"step_{size}_{VARIANTS[name][0]}{results.attention_package()}",
                    statistics.median(measured["seconds"]),
                    statistics.median(host["seconds"]),
                    version,
                    **claim,
                    output_error=round(measured["error"], 5),
                    first_step_of_a_segment=round(measured["segment"], 3),
                    first_step_at_all=round(measured["first"], 1),
                    peak_gb={"ours": round(measured["peak"], 2), "peer": round(host["peak"], 2)},
                    noise={"ours": spread[0], "peer": spread[1]},
                    settings={"attention": arguments.attention, "reuse": arguments.reuse, **VARIANTS[name][1]},
                )
            for name in arguments.profile.split(",") if arguments.profile else ():
                print(f"{size} {name}:", flush=True)
                profile(model, accelerate, size, frames, variants[name])


def profile(model: Any, accelerate: Any, size: str, frames: int, settings: Any) -> None:
    """Print where the time of an accelerated step goes."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    steps, clone = Steps(model, *SIZES[size], frames), accelerate.accelerate(model, settings)
    noise = steps.random(*steps.noise_shape)
    steps.step(clone, noise, 0.9)
    activities = [ProfilerActivity.CUDA] if steps.device.type == "cuda" else [ProfilerActivity.CPU]
    with record(activities=activities) as recorded:
        steps.step(clone, noise, 0.8)
    clone.cleanup()
    sort = "self_cuda_time_total" if steps.device.type == "cuda" else "self_cpu_time_total"
    print(recorded.key_averages().table(sort_by=sort, row_limit=25, max_name_column_width=80), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--blocks", type=int, help="transformer blocks, a multiple of 5 (default 40)")
    parser.add_argument("--attention", default="auto (exact)")
    parser.add_argument("--reuse", default="small", choices=("off", "small", "all"))
    parser.add_argument("--variants", default="bf16,fp8", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--profile", help="print where the time of these variants' steps goes")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    main(parser.parse_args())
