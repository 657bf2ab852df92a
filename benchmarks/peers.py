"""One sampling step of the 14B model: this pack in ComfyUI against diffusers' own transformer, on one card in one run.

Each side is built with random weights of the real widths, timed, and taken down again before the next comes: diffusers'
WanAnimateTransformer3DModel as it comes (its default attention), the host's model as it comes, and the host's model
accelerated. Steps are later ones of a segment of 77 frames; the weights differ between the two, so outputs are not
compared (``benchmarks/step.py`` does that against the host).

    python benchmarks/peers.py                  # 832x480 and 1280x720, 40 blocks
    python benchmarks/peers.py --blocks 10      # a quarter of the blocks; nothing is written
    python benchmarks/peers.py --small          # on a CPU

Writes ``results/step_480p_diffusers.json`` and ``step_720p_diffusers.json``.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import step as one_step  # noqa: E402

ROUNDS = 3


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


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

        def random(*shape):
            return torch.randn(*shape, device=device, dtype=dtype)

        given = {
            "hidden_states": random(1, 36, latents, rows, columns),
            "encoder_hidden_states": random(1, 512, 4096) * 0.1,
            "encoder_hidden_states_image": random(1, 257, 1280),
            "pose_hidden_states": random(1, 16, latents - 1, rows, columns),
            "face_pixel_values": random(1, 3, frames, 512, 512).clamp_(-1, 1),
        }
        taken = []
        for number in range(ROUNDS + 1):
            wait(device)
            start = time.perf_counter()
            model(timestep=torch.tensor([900 - 100 * number], device=device), return_dict=False, **given)
            wait(device)
            taken.append(time.perf_counter() - start)
        found[size] = statistics.median(taken[1:])
        print(f"{size} diffusers: {found[size]:.3f} s", flush=True)
    return found


def host_steps(blocks: int, shape: dict, sizes: list[str], frames: int, settings) -> dict[str, tuple[float, float]]:
    """size -> median seconds of a step of (the host's model as it comes, accelerated)."""
    accelerate = one_step.load_pack_part("nodes.host.accelerate")
    model = one_step.random_model(blocks, **shape)
    sides = {"host": model, "ours": accelerate.accelerate(model, accelerate.Settings(**settings))}
    found = {}
    for size in sizes:
        steps = one_step.Steps(model, *one_step.SIZES[size], frames)
        noise = steps.random(*steps.noise_shape)
        taken = {name: [] for name in sides}
        for number in range(ROUNDS + 1):
            for name, clone in sides.items():
                taken[name].append(steps.step(clone, noise, 0.9 - 0.1 * number)[1])
        for clone in sides.values():
            clone.cleanup()
        found[size] = tuple(statistics.median(taken[name][1:]) for name in ("host", "ours"))
        print(f"{size} host: {found[size][0]:.3f} s, ours: {found[size][1]:.3f} s", flush=True)
    return found


def main(arguments) -> None:
    if arguments.comfy is None:
        from demo.host import find_host

        arguments.comfy = find_host().path
    version = one_step.load_host(arguments.comfy, cpu=arguments.small)
    sizes, frames, blocks, shape = arguments.sizes.split(","), 77, arguments.blocks, one_step.FULL
    if arguments.small:
        sizes, frames, blocks, shape = ["small"], 5, 5, {"dim": 256, "ffn": 512}
    import diffusers

    with torch.inference_mode():
        theirs = diffusers_steps(blocks, sizes, frames, arguments.small)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        settings = {"attention": "auto (exact)", "fused": True}
        hosts = host_steps(blocks, shape, sizes, frames, settings)
    for size in sizes:
        host, ours = hosts[size]
        one_step.write(
            f"step_{size}_diffusers",
            ours,
            theirs[size],
            version,
            not arguments.small and blocks == 40,
            peer_name=f"diffusers {diffusers.__version__}, WanAnimateTransformer3DModel as it comes",
            host_default=round(host, 4),
            settings=settings,
            command="python benchmarks/peers.py",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    main(parser.parse_args())
