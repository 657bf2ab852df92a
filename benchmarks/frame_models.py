"""Peak memory from a video to a larger one at twice the rate: Interpolate Frames, Upscale Frames and Save Clip against
the host's own nodes.

Both run the host's networks with small weights, each in a process of its own: ours a frame or two at a time, the host's
Run Frame Interpolation Model, Upscale Image (using Model) and Save Video on the whole clip, which Load Video and Get
Video Components read. What is counted is the process's resident memory at its peak, above that with the networks
loaded. That their frames are equal is a test (``tests/host/test_frame_models.py``).

Writes ``results/frame_models_memory.json``. ``--small`` is a trial of seconds, which writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402

SIZE, RATE = (160, 96), 30
WAYS = ("ours", "host")


def peak_begin() -> int:
    """Resident bytes now, from where the peak is counted anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1024 * int(lines[name].split()[0])


def work(way: str, video: Path, folder: Path) -> dict[str, Any]:
    """One way in this process: {"peak": bytes, "seconds", "frames"}."""
    from fractions import Fraction

    import torch

    from demo import host as host_module
    from demo.small_frame_models import write_interpolation, write_upscaling

    found = host_module.find_host()
    if found is None:
        raise SystemExit(host_module.NOT_FOUND)
    host_module.load_in_process(found, folder)
    pack = host_module.pack_nodes(host_module.load_pack())
    from comfy_extras.nodes_frame_interpolation import FrameInterpolate, FrameInterpolationModelLoader
    from comfy_extras.nodes_upscale_model import ImageUpscaleWithModel, UpscaleModelLoader

    smooth = write_interpolation(folder / "models" / "frame_interpolation")
    large = write_upscaling(folder / "models" / "upscale_models")
    interpolation = FrameInterpolationModelLoader.execute(smooth.name).result[0]
    upscaling = UpscaleModelLoader.execute(large.name).result[0]
    torch.set_num_threads(1)  # so small are these networks
    with torch.inference_mode():
        before, began = peak_begin(), time.perf_counter()
        if way == "ours":
            load, more = pack["WanAnimateKitLoadVideo"], pack["WanAnimateKitInterpolateFrames"]
            frames, audio = load.execute("", 0.0, *SIZE, video=_from_file(video)).result[:2]
            frames = more.execute(interpolation, frames, float(2 * RATE)).result[0]
            frames = pack["WanAnimateKitUpscaleFrames"].execute(upscaling, frames, 0).result[0]
            pack["WanAnimateKitSaveClip"].execute(frames, "clip", "h264", "high", 0.0, audio=audio)
            count = len(frames)
        else:
            parts = _from_file(video).get_components()
            images = FrameInterpolate.execute(interpolation, parts.images, 2).result[0]
            images = ImageUpscaleWithModel.execute(upscaling, images).result[0]
            _save(images, parts.audio, Fraction(2 * RATE), folder / "host.mp4")
            count = len(images)
        return {"peak": peak() - before, "seconds": time.perf_counter() - began, "frames": count}


def _from_file(video: Path) -> Any:
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(video))


def _save(images: Any, audio: Any, rate: Any, out: Path) -> None:
    from comfy_api.latest import InputImpl, Types

    InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=audio, frame_rate=rate)).save_to(str(out))


def measured(way: str, video: Path) -> dict[str, Any]:
    """:func:`work` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, __file__, "--way", way, "--video", str(video), "--folder", folder]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="24 frames, nothing written")
    parser.add_argument("--frames", type=int, default=240)
    for name in ("--way", "--video", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(work(given.way, Path(given.video), Path(given.folder))))
        return
    from benchmarks.walk import Walk
    from demo.host import find_host

    count = 24 if given.small else given.frames
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        Walk(count, *SIZE).write(video)
        ours, host = (measured(way, video) for way in WAYS)
    print(f"ours {ours}\nhost {host}")
    found = find_host()
    results.record(
        "frame_models_memory",
        ours["peak"] / 1e6,
        host["peak"] / 1e6,
        peer_name="ComfyUI's FrameInterpolate, ImageUpscaleWithModel and Save Video on the whole clip",
        unit=f"MB above the loaded networks, {count} frames of {SIZE[0]}x{SIZE[1]} to {host['frames']} twice as large",
        versions=results.versions("torch", "av") | {"comfyui": None if found is None else found.version},
        digits=1,
        write=not given.small,
        frames=[ours["frames"], host["frames"]],
    )


if __name__ == "__main__":
    main()
