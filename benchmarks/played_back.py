"""Time to read the controls of a segment that plays its end back and forth, against a segment read forward.

All four controls of replace mode (pose, face, background, mask), read as the chain reads them, on two cores. The clip
is 106 frames, so most of its second segment of 77 is played back; it comes from a 1920x1080 H.264 file with one
keyframe (upstream's example clip, or our own coded alike), resized to about 832x480. Measured after the first segment,
as in a job, and with every decoder closed, as when a job is resumed there. The peer is the clip's first segment.

Writes ``results/played_back.json``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

CORES = 2
if hasattr(os, "sched_setaffinity"):  # before anything counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import av  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402

if TYPE_CHECKING:
    from wan_animate.chain.segments import Segment
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.frames import FrameSource

FRAMES, LENGTH, ROUNDS, AREA = 106, 77, 3, 832 * 480
EXAMPLE = Path(os.environ.get("WAN_ANIMATE_EXAMPLES") or ROOT.parent / "shared" / "examples") / "animate"


def example_clip() -> tuple[str, Path, PoseTrack]:
    """(name, path, pose track at the clip's size)."""
    from wan_animate.pose.track import PoseTrack

    return "upstream's example clip", EXAMPLE / "video.mp4", PoseTrack.load(EXAMPLE / "video_pose.npz")


def own_clip(folder: Path) -> tuple[str, Path, PoseTrack]:
    """The same of the drawn dancer, coded like the example: one keyframe, B-frames."""
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


def prepared(sources: dict[str, FrameSource], segments: list[Segment]) -> list[float]:
    """Seconds until all controls of each segment are read, segment after segment."""
    from wan_animate.chain.control_reader import ControlReader

    times = [time.perf_counter()]
    with ControlReader(sources, segments) as reader:
        for segment in segments:
            reader.begin(segment)
            for name in sources:
                reader.take(name)
            times.append(time.perf_counter())
    return np.diff(times).tolist()


def measure(path: Path, track: PoseTrack) -> dict[str, float]:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--own", action="store_true", help="our own clip, also where the example is at hand")
    own = parser.parse_args().own or not (EXAMPLE / "video.mp4").exists()
    with tempfile.TemporaryDirectory() as folder:
        name, path, track = own_clip(Path(folder)) if own else example_clip()
        found = measure(path, track)
    results.record(
        "played_back",
        found["played back"],
        found["forward"],
        peer_name="the clip's first segment, read forward",
        unit=f"s a segment of {LENGTH} frames at about 832x480 from 1920x1080: pose, face, background and mask",
        versions=results.versions("av", "cv2"),
        hardware=results.cpu(CORES),
        digits=2,
        resumed=round(found["played back, resumed"], 2),
        resumed_ratio=round(found["played back, resumed"] / found["forward"], 3),
        clip=name,
    )


if __name__ == "__main__":
    main()
