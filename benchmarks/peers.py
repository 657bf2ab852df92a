"""One sampling step of the 14B model: this pack in ComfyUI against other programs' models, on one card in one run.

Each side is built with random weights of the real widths, timed, and freed before the next: diffusers'
WanAnimateTransformer3DModel with its defaults, the WanModel of kijai's ComfyUI-WanVideoWrapper as its loader node gives
it with the whole model on the card, the host's model with its defaults, and the host's model accelerated. Steps are
later ones of a segment of 77 frames; inputs differ between the sides, so outputs are not compared
(``benchmarks/step.py`` compares with the host).

    python benchmarks/peers.py                      # 832x480 and 1280x720, 40 blocks, against diffusers
    python benchmarks/peers.py --wrapper CHECKOUT   # and against the wrapper in that folder; needs gguf and ftfy
    python benchmarks/peers.py --wrapper CHECKOUT --peers wrapper   # only that one
    python benchmarks/peers.py --blocks 10          # a quarter of the blocks; nothing is written
    python benchmarks/peers.py --small              # on a CPU

Writes ``results/step_480p_diffusers.json`` and ``step_720p_diffusers.json``, ``step_480p_wrapper.json`` and
``step_720p_wrapper.json``.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import re
import statistics
import sys
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks import step as one_step  # noqa: E402

ROUNDS = 3
WRAPPER = "wan_video_wrapper_peer"  # the package that the wrapper's modules are imported as
# the wrapper's loader node at its defaults, but for the device: by default it leaves the model in main memory
LOADER = {
    "base_precision": "bf16",
    "load_device": "main_device",
    "quantization": "disabled",
    "attention_mode": "sdpa",
    "rms_norm_function": "default",
}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def median_time(step: Callable[[int], None], device: torch.device) -> float:
    """Median seconds of ``ROUNDS`` steps, after a warm-up step."""
    taken = []
    for number in range(ROUNDS + 1):
        wait(device)
        start = time.perf_counter()
        step(number)
        wait(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def diffusers_steps(blocks: int, sizes: list[str], frames: int, small: bool) -> dict[str, float]:
    """size -> median seconds of a step of diffusers' transformer."""
    from diffusers import WanAnimateTransformer3DModel

    device = torch.device("cpu" if small else "cuda")
    dtype = torch.float32 if small else torch.bfloat16
    widths = {"num_attention_heads": 2, "ffn_dim": 512} if small else {}
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = WanAnimateTransformer3DModel(
                num_layers=blocks, image_dim=1280, added_kv_proj_dim=256 if small else 5120, **widths
            ).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    found = {}
    for size in sizes:
        width, height = one_step.SIZES[size]
        latents, rows, columns = (frames + 3) // 4 + 1, height // 8, width // 8

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device=device, dtype=dtype)

        given = {
            "hidden_states": random(1, 36, latents, rows, columns),
            "encoder_hidden_states": random(1, 512, 4096) * 0.1,
            "encoder_hidden_states_image": random(1, 257, 1280),
            "pose_hidden_states": random(1, 16, latents - 1, rows, columns),
            "face_pixel_values": random(1, 3, frames, 512, 512).clamp_(-1, 1),
        }

        def step(number: int, given: dict[str, torch.Tensor] = given) -> None:
            model(timestep=torch.tensor([900 - 100 * number], device=device), return_dict=False, **given)

        found[size] = median_time(step, device)
        print(f"{size} diffusers: {found[size]:.3f} s", flush=True)
    return found


def wrapper_loading(checkout: Path) -> types.ModuleType:
    """The wrapper's loader module, without its ``__init__``, which registers nodes and needs more packages."""
    if WRAPPER not in sys.modules:
        sys.modules[WRAPPER] = types.ModuleType(WRAPPER)
        sys.modules[WRAPPER].__path__ = [str(checkout.resolve())]
    sys.modules["server"] = None  # type: ignore[assignment]  # it tries the host's server, and does without
    try:
        return importlib.import_module(f"{WRAPPER}.nodes_model_loading")
    finally:
        del sys.modules["server"]


def wrapper_model(checkout: Path, blocks: int, dim: int, ffn: int) -> Any:
    """The wrapper's model as its loader node and its sampler make it, with random weights in place of the file's.

    What stays in float32, and what moves to the offload device between steps, is the wrapper's choice.
    """
    loading = wrapper_loading(checkout)
    weights, real = one_step.random_weights(blocks, dim, ffn), loading.WanModel
    with mock.patch.multiple(
        loading,
        load_torch_file=lambda *_, **__: weights,
        folder_paths=types.SimpleNamespace(get_full_path_or_raise=lambda _, name: name),
        # the loader takes heads and blocks from the width: it knows no small model and no quarter of the blocks
        WanModel=lambda **config: real(**config | {"num_layers": blocks, "num_heads": dim // 128}),
    ):
        (patcher,) = loading.WanVideoModelLoader().loadmodel("Wan2_2-Animate-14B_bf16.safetensors", **LOADER)
    loaded, model = patcher.model, patcher.model.diffusion_model
    precision = {"weight_dtype": loaded["weight_dtype"], "base_dtype": loaded["base_dtype"]}
    loading.load_weights(model, loaded["sd"], **precision, transformer_load_device=model.main_device)
    model.rope_embedder.k = 0  # the sampler's default: positions as trained
    return model


def wrapper_steps(
    checkout: Path, blocks: int, shape: dict[str, int], sizes: list[str], frames: int
) -> dict[str, float]:
    """size -> median seconds of a step of the wrapper's model, one pass.

    As in its sampler, latents and face pixels are float32, the rest its precision, and the face is encoded in every
    step, by encoders moved from the offload device for it.
    """
    model = wrapper_model(checkout, blocks, **shape)
    device, found = model.main_device, {}
    for size in sizes:
        width, height = one_step.SIZES[size]
        latents, rows, columns = (frames + 3) // 4 + 1, height // 8, width // 8

        def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.randn(*shape, device=device, dtype=dtype)

        given = {
            "x": [random(16, latents, rows, columns)],
            "y": [random(20, latents, rows, columns)],
            "context": [random(512, 4096, dtype=model.base_dtype) * 0.1],
            "clip_fea": random(1, 257, 1280, dtype=model.base_dtype),
            "seq_len": latents * rows * columns // 4,
            "wananim_pose_latents": random(1, 16, latents - 1, rows, columns, dtype=model.base_dtype),
            "wananim_face_pixel_values": random(1, 3, frames, 512, 512).clamp_(-1, 1),
            "device": device,
            "total_steps": 10,
        }
        outputs: list[torch.Tensor] = []

        def step(number: int, given: dict[str, Any] = given, outputs: list[torch.Tensor] = outputs) -> None:
            at = {"t": torch.tensor(900 - 100 * number, device=device), "current_step": number + 1}
            outputs[:] = model(**at, current_step_percentage=(number + 1) / 10, **given)[0]

        found[size] = median_time(step, device)
        if not torch.isfinite(outputs[0]).all():
            raise RuntimeError("the wrapper's output is not finite")
        print(f"{size} wrapper: {found[size]:.3f} s", flush=True)
    return found


def wrapper_version(checkout: Path) -> str:
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^version\s*=\s*\"([^\"]+)", text, re.MULTILINE)
    return found.group(1) if found else "of an unknown version"


def host_steps(
    blocks: int, shape: dict[str, int], sizes: list[str], frames: int, settings: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """size -> median seconds of a step of (the host's model with its defaults, accelerated)."""
    accelerate = one_step.load_pack_part("nodes.host.accelerate")
    model = one_step.random_model(blocks, **shape)
    sides = {"host": model, "ours": accelerate.accelerate(model, accelerate.Settings(**settings))}
    found = {}
    for size in sizes:
        steps = one_step.Steps(model, *one_step.SIZES[size], frames)
        noise = steps.random(*steps.noise_shape)
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            for name, clone in sides.items():
                taken[name].append(steps.step(clone, noise, 0.9 - 0.1 * number)[1])
        for clone in sides.values():
            clone.cleanup()
        found[size] = statistics.median(taken["host"][1:]), statistics.median(taken["ours"][1:])
        print(f"{size} host: {found[size][0]:.3f} s, ours: {found[size][1]:.3f} s", flush=True)
    return found


def main(arguments: argparse.Namespace) -> int:
    """0, or 1 where a peer that was asked for did not run."""
    version = one_step.load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames, blocks, shape = arguments.sizes.split(","), 77, arguments.blocks, one_step.FULL
    if arguments.small:
        sizes, frames, blocks, shape = ["small"], 5, 5, {"dim": 256, "ffn": 512}

    def diffusers() -> tuple[dict[str, float], dict[str, Any]]:
        import diffusers

        name = f"diffusers {diffusers.__version__}, WanAnimateTransformer3DModel as it comes"
        return diffusers_steps(blocks, sizes, frames, arguments.small), {"peer_name": name}

    def wrapper() -> tuple[dict[str, float], dict[str, Any]]:
        name = f"ComfyUI-WanVideoWrapper {wrapper_version(arguments.wrapper)}, WanModel as it comes, sdpa"
        more = {
            "peer_name": f"{name}; the face encoded in every step",
            "peer_settings": LOADER,
        }
        return wrapper_steps(arguments.wrapper, blocks, shape, sizes, frames), more

    theirs: dict[str, tuple[dict[str, float], dict[str, Any]]] = {}
    with torch.inference_mode():
        for name, peer in {"diffusers": diffusers, "wrapper": wrapper}.items():
            if name not in arguments.peers:
                continue
            try:
                theirs[name] = peer()
            except Exception:  # a peer that does not run here leaves the other's row
                traceback.print_exc()
            free_memory()
        settings: dict[str, Any] = {"attention": "auto (exact)", "fused": True}
        hosts = host_steps(blocks, shape, sizes, frames, settings)
    for size in sizes:
        host, ours = hosts[size]
        for name, (seconds, more) in theirs.items():
            results.record_on_host(
                f"step_{size}_{name}",
                ours,
                seconds[size],
                version,
                write=not arguments.small and blocks == 40,
                host_default=round(host, 4),
                settings=settings,
                **more,
            )
    return int(set(theirs) != set(arguments.peers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--wrapper", type=Path, help="a checkout of ComfyUI-WanVideoWrapper")
    parser.add_argument("--peers", help="of diffusers, wrapper (default: diffusers, and wrapper if given)")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    given = parser.parse_args()
    given.peers = (given.peers or ("diffusers,wrapper" if given.wrapper else "diffusers")).split(",")
    if "wrapper" in given.peers and given.wrapper is None:
        parser.error("the wrapper needs --wrapper CHECKOUT")
    if unknown := set(given.peers) - {"diffusers", "wrapper"}:
        parser.error(f"--peers knows diffusers and wrapper, not {', '.join(sorted(unknown))}")
    sys.exit(main(given))
