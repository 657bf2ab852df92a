"""What a sampling step costs in a window around the character, against whole frames of the same sharpness.

On upstream's example clip (``animate/video.mp4`` and its tracks in ``WAN_ANIMATE_EXAMPLES``) and on a generated
3840x2160 walk the window is planned as Crop to Character does. Of each sampled size: tokens, multiplications of the
published transformer, and the time of a step of ComfyUI's own module: on a card with random 14B weights (``--card``),
else on the CPU with small ones, few frames and a quarter of the size; attention takes another share of their time.

    python benchmarks/crop_step.py            # CPU, minutes; the claim is the work of the published transformer
    python benchmarks/crop_step.py --card     # needs 60 GB (or --blocks 10); the claim is the time

Writes ``results/crop_step.json``: the example at the source's own resolution. ``sizes`` has the others.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from wan_animate.stitch.character import crop_character  # noqa: E402
from wan_animate.stitch.cost import same_sharpness, step_work, tokens  # noqa: E402
from wan_animate.stitch.plan import WindowSize  # noqa: E402
from wan_animate.stitch.window import CropWindow  # noqa: E402

FRAMES = 77
CPU_FRAMES, CPU_SCALE, CPU_ROUNDS = 5, 0.25, 3


def example_window(size: WindowSize) -> CropWindow:
    """The window of the example clip by its real pose and mask."""
    from demo.example import examples_folder
    from wan_animate.mask.track import MaskTrack, MaskTrackSource
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.source import VideoSource

    folder = examples_folder() / "animate"
    frames = VideoSource(folder / "video.mp4", fps=30)
    mask = MaskTrackSource(MaskTrack.load(folder / "video_mask.npz"))
    return crop_character(frames, PoseTrack.load(folder / "video_pose.npz"), mask, size).window


def walk_window(size: WindowSize, speed: float) -> CropWindow:
    from benchmarks.walk import Walk

    walk = Walk(75, speed=speed)
    return crop_character(walk, walk.track(), None, size).window


def described(name: str, window: CropWindow) -> dict[str, Any]:
    whole = same_sharpness(window.size, window.share, window.source_size)
    found = {
        "clip": name,
        "window": list(window.size),
        "whole": list(whole),
        "share": round(window.share, 4),
        "speed": round(window.speed, 2),
        "standing": round(window.standing, 3),
        "tokens": [tokens(window.size, FRAMES), tokens(whole, FRAMES)],
        "tokens_ratio": round(tokens(window.size, FRAMES) / tokens(whole, FRAMES), 3),
        "work_ratio": round(step_work(window.size, FRAMES) / step_work(whole, FRAMES), 3),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    return found


def step_seconds(
    sizes: list[tuple[int, int]], frames: int, blocks: int, shape: dict[str, int], rounds: int
) -> list[float]:
    """Median seconds of a step of each size, taking turns on one model."""
    import torch

    from benchmarks.step import Steps, load_pack_part, random_model

    taken: list[list[float]] = [[] for _ in sizes]
    with torch.inference_mode():
        model = random_model(blocks, **shape)
        accelerate = load_pack_part("nodes.host.accelerate")
        settings = accelerate.Settings(backend="inductor" if _card() else "eager")
        clones = [accelerate.accelerate(model, settings) for _ in sizes]  # each keeps the face it has encoded
        steps = [Steps(model, *size, frames) for size in sizes]
        noises = [one.random(*one.noise_shape) for one in steps]
        for one, clone, noise in zip(steps, clones, noises):
            one.step(clone, noise, 0.9)  # the first encodes the face and chooses kernels
        for number in range(rounds):
            for at, (one, clone, noise) in enumerate(zip(steps, clones, noises)):
                taken[at].append(one.step(clone, noise, 0.8 - 0.1 * number)[1])
        for clone in clones:
            clone.cleanup()
    return [statistics.median(one) for one in taken]


def _card() -> bool:
    import torch

    return torch.cuda.is_available()


def main(arguments: argparse.Namespace) -> None:
    from benchmarks.step import FULL, load_host

    named = {
        "example, as the window is": example_window(WindowSize("window")),
        "example, 1280x720 whole": example_window(WindowSize("factor", factor=2 / 3)),
        "example, 832x468 whole": example_window(WindowSize("factor", factor=13 / 30)),
        "example, budget 832x480": example_window(WindowSize()),
        "4K walk, 1.5 px a frame, budget 832x480": walk_window(WindowSize(), 1.5),
        "4K walk, 20 px a frame, budget 832x480": walk_window(WindowSize(), 20.0),
    }
    sizes = [described(name, window) for name, window in named.items()]
    claimed = sizes[0]
    window, whole = tuple(claimed["window"]), tuple(claimed["whole"])
    version = load_host(arguments.comfy, cpu=not arguments.card)
    if arguments.card:
        blocks = arguments.blocks or 40
        ours, theirs = step_seconds([window, whole], FRAMES, blocks, FULL, 3)
        more: dict[str, Any] = {"blocks": blocks}
        unit = "seconds of a step, 77 frames, 14B random weights"
    else:
        small = [tuple(max(round(side * CPU_SCALE / 16), 1) * 16 for side in size) for size in (window, whole)]
        seconds = step_seconds(small, CPU_FRAMES, 5, {"dim": 256, "ffn": 512}, CPU_ROUNDS)
        of_small = [tokens(size, CPU_FRAMES) for size in small]
        print(f"CPU, small weights, {CPU_FRAMES} frames, {of_small} tokens: {seconds}", flush=True)
        ours, theirs = (40 * step_work(size, FRAMES) / 1e12 for size in (window, whole))
        more = {
            "cpu_step": {
                "sizes": small,
                "frames": CPU_FRAMES,
                "tokens": of_small,
                "seconds": [round(one, 3) for one in seconds],
                "ratio": round(seconds[0] / seconds[1], 3),
            }
        }
        unit = "10^12 multiplications and additions of a step, 77 frames, 14B (no card was here: not a time)"
    results.record_on_host(
        "crop_step", ours, theirs, version,
        peer_name=f"whole frames of {whole[0]}x{whole[1]}, as sharp", unit=unit, sizes=sizes, **more,
        write=not arguments.dry,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", action="store_true", help="time the 14B model on this machine's card")
    parser.add_argument("--blocks", type=int, help="transformer blocks, a multiple of 5 (default 40)")
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    main(parser.parse_args())
