"""Memory and speed of Segment Character on a long clip.

Follows the drawn dancer through clips of 400 and 1,600 frames (100 and 400 with ``--large``), each in its own process,
and samples the growth of memory from just before the clip is opened, with the model loaded and one frame done; on a
GPU, the peak of what torch has allocated. Another process does 400 frames with transformers' own session over the
whole clip, as its documentation shows. ``--large`` takes a model of SAM 2.1 large's size (random weights), else the
demo's small one is taken.

Writes ``results/segment_memory.json`` (the longer clip against the shorter) and
``results/segment_memory_session.json``; with ``--large`` both, and the speed, as ``..._large.json``.

    python benchmarks/segment_memory.py
    python benchmarks/segment_memory.py --large --device cuda
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from benchmarks.prepare_memory import Growth  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

    from wan_animate.video.frames import TensorSource

WIDTH, HEIGHT = 832, 480
MIB = 1 << 20


def large_weights(path: Path) -> None:
    """A file of SAM 2.1 large's shapes."""
    import torch
    from safetensors.torch import save_file

    from wan_animate.mask.sam2_weights import build_model

    backbone = {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [1152, 576, 288, 144],
    }
    torch.manual_seed(0)
    save_file(build_model({"vision_config": vision}).state_dict(), path)


def follow(weights: Path, count: int, device: str, session: bool) -> dict[str, Any]:
    """What segmenting ``count`` frames took: MiB in RAM and on the GPU, seconds."""
    import numpy as np
    import torch

    from demo.figure import draw_figure, figure_keypoints
    from wan_animate.mask.prompts import prompts_from_pose
    from wan_animate.mask.segmentation import Segmenter
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.frames import FrameSource

    keypoints = [figure_keypoints(at / 30, WIDTH, HEIGHT) for at in range(50)]
    drawn = [draw_figure(points, WIDTH, HEIGHT) for points in keypoints]

    class Loop(FrameSource):
        width, height, fps = WIDTH, HEIGHT, Fraction(30)

        def __len__(self) -> int:
            return count

        def _read(self, start: int, stop: int) -> np.ndarray:
            return np.stack([drawn[index % 50] for index in range(start, stop)])

        def fingerprint(self) -> str:
            return "loop"

    frames = Loop()
    track = PoseTrack(np.stack([keypoints[at % 50] for at in range(count)]), WIDTH, HEIGHT)
    prompts = prompts_from_pose(track)
    segmenter = Segmenter(weights, device)

    def all_at_once() -> None:
        from transformers import Sam2VideoVideoProcessor
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        model: Any = segmenter.load()
        side = model.config.image_size
        video = Sam2VideoVideoProcessor(size={"height": side, "width": side})(
            videos=list(frames.read(0, count)), device=device, return_tensors="pt"
        )
        held = Sam2VideoInferenceSession(
            video.pixel_values_videos[0], HEIGHT, WIDTH, device, device, device, torch.float32
        )
        scale = torch.tensor([side / WIDTH, side / HEIGHT])
        with segmenter.autocast(), torch.inference_mode():
            for prompt in prompts:
                points = torch.from_numpy(prompt.points) * scale
                labels = torch.from_numpy(prompt.labels).int()
                index = held.obj_id_to_idx(1)
                held.add_point_inputs(
                    index, prompt.frame, {"point_coords": points[None, None], "point_labels": labels[None, None]}
                )
                held.obj_with_new_inputs = [1]
                model(held, frame_idx=prompt.frame)
            for _ in model.propagate_in_video_iterator(held):
                pass

    segmenter.segment(one_frame(drawn[0]), [type(prompts[0])(0, prompts[0].points, prompts[0].labels)])
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    with Growth() as growth:
        started = time.perf_counter()
        if session:
            all_at_once()
        else:
            segmenter.segment(frames, prompts)
        seconds = time.perf_counter() - started
    card = (torch.cuda.max_memory_allocated() - before) / MIB if device == "cuda" else None
    return {
        "frames": count, "mib": growth.mib, "card_mib": card, "seconds": seconds, "weights_mib": before / MIB,
        "name": torch.cuda.get_device_name() if device == "cuda" else None,
    }  # fmt: skip


def one_frame(frame: np.ndarray) -> TensorSource:
    from wan_animate.video.frames import TensorSource

    return TensorSource(frame[None])


def in_own_process(weights: Path, count: int, device: str, session: bool = False) -> dict[str, Any]:
    command = [sys.executable, __file__, "--device", device, "--child", str(weights), str(count)]
    done = subprocess.run(command + ["--session"] * session, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    way = "session over the whole clip" if session else "streamed"
    card = f", card +{measured['card_mib']:.0f} MiB over {measured['weights_mib']:.0f}" if measured["card_mib"] else ""
    rate = count / measured["seconds"]
    print(f"{count:4d} frames {way}: +{measured['mib']:.0f} MiB{card}, {rate:.1f} frames a second", flush=True)
    return measured


def main(large: bool, device: str) -> None:
    from demo.small_sam2 import FILE

    with tempfile.TemporaryDirectory() as folder:
        weights = FILE
        if large:
            weights = Path(folder) / "large.safetensors"
            large_weights(weights)
        lengths = (100, 400) if large else (400, 1600)
        measured = {count: in_own_process(weights, count, device) for count in lengths}
        whole = in_own_process(weights, 400, device, session=True)
    (short, long), same = (measured[count] for count in lengths), measured[400]
    suffix, key = ("_large" if large else ""), ("card_mib" if device == "cuda" else "mib")
    unit = (
        "MiB held on the card beside the weights" if device == "cuda" else "MiB of peak resident memory over the start"
    )
    versions, hardware = results.versions("numpy", "torch", "transformers"), long["name"] or results.cpu()
    common: dict[str, Any] = {"unit": unit, "better": "lower", "versions": versions, "hardware": hardware, "digits": 1}
    clip = f"{WIDTH}x{HEIGHT}"
    results.record(
        f"segment_memory{suffix}", long[key], short[key],
        peer_name=f"the same with {lengths[0]} frames (ours: {lengths[1]}), {clip}", **common,
    )  # fmt: skip
    results.record(
        f"segment_memory_session{suffix}", same[key], whole[key],
        peer_name=f"transformers' session over the whole clip, 400 frames, {clip}", **common,
    )  # fmt: skip
    if large:
        common |= {"unit": "frames a second", "better": "higher"}
        results.record(
            f"segment_speed{suffix}", 400 / same["seconds"], 400 / whole["seconds"],
            peer_name=f"transformers' session over the whole clip, 400 frames, {clip}", **common,
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="a model of SAM 2.1 large's size")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--child", nargs=2, metavar=("WEIGHTS", "FRAMES"), help=argparse.SUPPRESS)
    parser.add_argument("--session", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        path, count = arguments.child
        print(json.dumps(follow(Path(path), int(count), arguments.device, arguments.session)))
    else:
        main(arguments.large, arguments.device)
