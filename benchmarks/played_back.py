"""What preparing a segment costs: one that plays its end back and forth, against one that only plays forward.

All four controls of replace mode (pose, face, background, mask), read as the chain reads them, on two cores. The clip
is one and a quarter segments and some frames long, so that its second segment of 77 frames is played back for the
most part; it is taken from a 1920x1080 H.264 file with its only keyframe at the start (upstream's example clip, or one
of our own made so), and brought to about 832x480. Measured after the first segment, as in a job, and with every decoder
closed, as in a job that is resumed there. The peer is the first segment of the same clip, read forward.

Writes ``results/played_back.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

CORES = 2
if hasattr(os, "sched_setaffinity"):  # before anything counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import av  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

FRAMES, LENGTH, ROUNDS, AREA = 106, 77, 3, 832 * 480
EXAMPLE = Path(os.environ.get("WAN_ANIMATE_EXAMPLES") or ROOT.parent / "shared" / "examples") / "animate"


def example_clip():
    """(name, path, pose track at the clip's size)."""
    from wan_animate.pose.track import PoseTrack

    return "upstream's example clip", EXAMPLE / "video.mp4", PoseTrack.load(EXAMPLE / "video_pose.npz")


def own_clip(folder: Path):
    """The same of our own dancer, coded as the example is: one keyframe, B-frames."""
    from demo.example import Dancer
    from wan_animate.pose.track import PoseTrack

    dancer = Dancer(seconds=FRAMES / 30, size=(1920, 1080))
    with av.open(str(folder / "dancer.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.options = {"g": "250", "bf": "3", "sc_threshold": "0", "crf": "18"}
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(dancer.read(index, index + 1)[0], format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    keypoints = np.stack([dancer.keypoints(index) for index in range(FRAMES)])
    return "our own dancer", folder / "dancer.mp4", PoseTrack(keypoints, 1920, 1080)


def prepared(sources, segments) -> list[float]:
    """Seconds until all controls of each segment are there, one right after the other."""
    from wan_animate.chain.control_reader import ControlReader

    times = [time.perf_counter()]
    with ControlReader(sources, segments) as reader:
        for segment in segments:
            reader.begin(segment)
            for name in sources:
                reader.take(name)
            times.append(time.perf_counter())
    return np.diff(times).tolist()


def measure(path: Path, track) -> dict[str, float]:
    from wan_animate.chain.controls import controls
    from wan_animate.chain.segments import plan_segments
    from wan_animate.video.source import VideoSource

    frames = VideoSource(path, max_area=AREA, limit=FRAMES)
    sources = controls(frames, track.slice(0, len(frames)), "replace").sources
    first, second = plan_segments(len(frames), LENGTH).segments
    times: dict[str, list[float]] = {"forward": [], "played back": [], "played back, resumed": []}
    for turn in range(ROUNDS + 1):
        frames.close()
        found = prepared(sources, [first, second])
        frames.close()
        found += prepared(sources, [second])
        if turn:  # the first round warmed up
            for name, seconds in zip(times, found, strict=True):
                times[name].append(seconds)
    return {name: min(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--own", action="store_true", help="our own clip, also where the example is at hand")
    own = parser.parse_args().own or not (EXAMPLE / "video.mp4").exists()
    with tempfile.TemporaryDirectory() as folder:
        name, path, track = own_clip(Path(folder)) if own else example_clip()
        found = measure(path, track)
    values = {
        "claim": "played_back",
        "ours": round(found["played back"], 2),
        "peer": round(found["forward"], 2),
        "peer_name": "the clip's first segment, read forward",
        "ratio": round(found["played back"] / found["forward"], 3),
        "unit": f"s a segment of {LENGTH} frames at about 832x480 from 1920x1080: pose, face, background and mask",
        "better": "lower",
        "resumed": round(found["played back, resumed"], 2),
        "resumed_ratio": round(found["played back, resumed"] / found["forward"], 3),
        "clip": name,
        "hardware": f"CPU, {CORES} of {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version(), "av": av.__version__, "opencv": cv2.__version__},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": "python benchmarks/played_back.py" + (" --own" if own else ""),
    }
    (Path(__file__).parent / "results" / "played_back.json").write_text(json.dumps(values, indent=2) + "\n")
    print(json.dumps(values, indent=2))


if __name__ == "__main__":
    main()
