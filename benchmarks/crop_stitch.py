"""What crop and stitch keeps: bytes beyond the feather, the window's motion, sharpness, memory; and a whole job's time.

The denoiser is one that passes the pixels through, so that what is lost is lost by resampling. On the example clip
(``WAN_ANIMATE_EXAMPLES``) and a generated 3840x2160 walk:

- bytes that differ from the source beyond mask and feather, by an exact distance transform;
- the window's motion between two frames;
- the character's sharpness at the source's resolution, as its share of the source's gradient energy and as PSNR, from
  832x480 pixels in the window and from as many in whole frames;
- peak resident memory of cropping a segment's frames and stitching a 4K clip, over the start, for two lengths;
- with ``--job``: the seconds of a replace job with small weights on a ComfyUI server, in the window and in whole frames
  of the same sharpness.

Writes ``results/crop_sharpness.json``, ``crop_memory.json`` and, with ``--job``, ``crop_job.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from scipy.ndimage import distance_transform_edt  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.prepare_memory import Growth  # noqa: E402
from benchmarks.walk import Walk  # noqa: E402
from wan_animate.mask.shape import ShapedMaskSource  # noqa: E402
from wan_animate.mask.track import MaskTrack, MaskTrackSource, binary  # noqa: E402
from wan_animate.pose.track import PoseTrack  # noqa: E402
from wan_animate.stitch.character import CroppedCharacter, crop_character  # noqa: E402
from wan_animate.stitch.crop import CroppedSource  # noqa: E402
from wan_animate.stitch.plan import WindowSize  # noqa: E402
from wan_animate.stitch.resample import PlacedBack, cut_out  # noqa: E402
from wan_animate.stitch.stitch import StitchedSource, write_stitched  # noqa: E402
from wan_animate.video.frames import FrameSource, read_uint8  # noqa: E402
from wan_animate.video.resample import fill_size  # noqa: E402
from wan_animate.video.source import VideoSource  # noqa: E402

AREA, FEATHER, SEGMENT = 832 * 480, 16.0, 77


def example() -> tuple[FrameSource, CroppedCharacter]:
    from demo.example import examples_folder

    folder = examples_folder() / "animate"
    frames = VideoSource(folder / "video.mp4", fps=30)
    mask = MaskTrackSource(MaskTrack.load(folder / "video_mask.npz"))
    return frames, crop_character(frames, PoseTrack.load(folder / "video_pose.npz"), mask, WindowSize("budget", AREA))


def walk(speed: float) -> tuple[FrameSource, CroppedCharacter]:
    frames = Walk(75, speed=speed)
    return frames, crop_character(frames, frames.track(), None, WindowSize("budget", AREA))


def differing(frames: FrameSource, found: CroppedCharacter, at: int) -> int:
    """Bytes that differ beyond the feather, where the window is filled with another picture."""
    inside = ShapedMaskSource(found.mask, cells=True)
    other = CroppedSource(frames, found.window)
    stitched = StitchedSource(frames, _Inverted(other), found.window, inside, FEATHER)
    before, after = read_uint8(frames, at, at + 1)[0], stitched.read(at, at + 1)[0]
    left, top, width, height = found.window.places[at]
    across, down = found.window.size[0] / width, found.window.size[1] / height
    matrix = np.array([[across, 0, (0.5 - left) * across - 0.5], [0, down, (0.5 - top) * down - 0.5]])
    mask = cv2.warpAffine(
        inside.read(at, at + 1)[0], matrix, (frames.width, frames.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    away = distance_transform_edt(mask < 128)
    assert (before != after)[away == 0].mean() > 0.5
    return int((before != after)[away > FEATHER + 1].sum())


class _Inverted(FrameSource):
    def __init__(self, source: FrameSource) -> None:
        self.source, self.width, self.height, self.fps = source, source.width, source.height, source.fps

    def __len__(self) -> int:
        return len(self.source)

    def _read(self, start: int, stop: int) -> np.ndarray:
        return 255 - self.source.read(start, stop)

    def fingerprint(self) -> str:
        return f"inverted:{self.source.fingerprint()}"


def put_back(image: np.ndarray, place: tuple[float, float, float, float]) -> np.ndarray:
    placed = PlacedBack(image, place)
    return placed.part(0, 0, placed.width, placed.height)


def sharpness(frames: FrameSource, found: CroppedCharacter, at: int) -> dict[str, tuple[float, float]]:
    """(share of the source's gradient energy on the character, PSNR) from the window and from whole frames."""
    before = read_uint8(frames, at, at + 1)[0]
    left, top, width, height = found.window.places[at].tolist()
    mask = binary(found.mask.read(at, at + 1)[0])
    person = np.zeros(before.shape[:2], np.uint8)
    x, y = round(left), round(top)
    person[y : y + int(height), x : x + int(width)] = cv2.resize(mask, (int(width), int(height)))
    person = cv2.erode(person, np.ones((9, 9), np.uint8)).astype(bool)
    window = before.copy()
    made = put_back(cut_out(before, (left, top, width, height), found.window.size), (left, top, width, height))
    x1, y1 = int(np.ceil(left)), int(np.ceil(top))
    window[y1 : y1 + made.shape[0], x1 : x1 + made.shape[1]] = made
    place = (0.0, 0.0, float(frames.width), float(frames.height))
    whole = put_back(cut_out(before, place, fill_size(frames.width, frames.height, AREA)), place)

    def energy(image: np.ndarray) -> float:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
        return float(sum((cv2.Sobel(grey, cv2.CV_64F, *order)[person] ** 2).sum() for order in ((1, 0), (0, 1))))

    def psnr(image: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.mean((image[person].astype(float) - before[person]) ** 2)))

    total = energy(before)
    return {name: (energy(image) / total, psnr(image)) for name, image in (("window", window), ("whole", whole))}


def memory(clip: Path, count: int) -> dict[str, float]:
    """MiB over the start, and seconds: the controls of a segment read, then the clip stitched and written."""
    from demo.figure import figure_keypoints

    frames = VideoSource(clip, fps=30, limit=count)
    points = [figure_keypoints(at / 30, frames.width, frames.height, (0.3, 0.62), 0.3) for at in range(count)]
    found = crop_character(frames, PoseTrack(np.stack(points), frames.width, frames.height, frames.fps))
    held = found.frames.read(0, 1)
    began = time.perf_counter()
    with Growth() as growth, tempfile.TemporaryDirectory() as folder:
        for start in range(0, count, SEGMENT):
            held = found.frames.read(start, min(start + SEGMENT, count))
        del held
        stitched = StitchedSource(frames, found.frames, found.window, found.mask, FEATHER)
        write_stitched(Path(folder) / "stitched.mp4", stitched)
    return {"mib": growth.mib, "seconds": time.perf_counter() - began}


def memory_of_lengths(lengths: list[int], versions: dict[str, str | None], write: bool) -> None:
    short, long = lengths
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "walk.mp4"
        Walk(long).write(clip)
        found = []
        for count in lengths:
            command = [sys.executable, __file__, "--child", str(clip), str(count)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{count} frames of 4K: +{found[-1]['mib']:.0f} MiB, {found[-1]['seconds']:.0f} s", flush=True)
    results.record(
        "crop_memory", found[1]["mib"], found[0]["mib"], versions=versions, digits=1, write=write,
        peer_name=f"the same of {short} frames (ours: {long}), 3840x2160, cropped, stitched and written",
        unit="MiB of peak resident memory over the start", seconds=[round(one["seconds"]) for one in found],
    )  # fmt: skip


def versions_used() -> dict[str, str | None]:
    return results.versions("numpy", "cv2", "PIL", "scipy")


def job_seconds() -> dict[str, float]:
    """Seconds of a replace job with small weights, in the window and in whole frames as sharp."""
    from demo import graphs
    from demo.example import examples_folder
    from demo.host import require_host
    from demo.server import HostServer
    from demo.small_models import make

    kit, folder, scale = graphs.KIT, examples_folder() / "animate", 1 / 3
    _, found = example()
    taken: dict[str, float] = {}
    with HostServer(require_host()) as server:
        make().copy_to(server.base_dir / "models")
        for name in ("video.mp4", "image.jpeg", "video_pose.npz"):
            server.upload(folder / name)
        for name in ("warm up", "window", "whole"):
            graph = graphs.load_graph("replace" if name == "whole" else "replace_crop")
            graphs.use_small_models(graph, "template", None)
            graphs.set_inputs(graph, "LoadImage", image="image.jpeg")
            sides = {"width": round(1920 * scale), "height": round(1080 * scale)}
            graphs.set_inputs(graph, f"{kit}LoadVideo", file="video.mp4", limit=17, **sides)
            graphs.set_inputs(graph, f"{kit}CropToCharacter", size="factor", factor=scale)
            graphs.set_inputs(graph, f"{kit}Animate", segment_length=17, steps=4, sampler_name="euler",
                              seed=len(taken))  # fmt: skip
            detect, segment = graphs.driver_detect(graph), graphs.node_of(graph, f"{kit}SegmentCharacter")
            load = graphs.add(
                graph, f"{kit}LoadPoseTrack", file="video_pose.npz", frames=graph[detect]["inputs"]["frames"]
            )
            drawn = graphs.add(graph, f"{kit}MaskFromPose", pose=[load, 0], grow=1.0, width=0, height=0)
            face = graphs.add(graph, f"{kit}CropFace", frames=graph[detect]["inputs"]["frames"], pose=[load, 0],
                              face_scale=1.3, missing_face="blend", face_steady=1.0)  # fmt: skip
            if name == "whole":
                graph[drawn]["inputs"]["frames"] = graph[detect]["inputs"]["frames"]
                draw = graphs.node_of(graph, f"{kit}DrawPose")
                graph[draw]["inputs"]["frames"] = graph[detect]["inputs"]["frames"]
            graphs.relink(graph, segment, {0: [drawn, 0]})
            graphs.relink(graph, detect, {0: [load, 0], 1: [face, 0]})
            unused = ("DetectPose", "LoadPoseDetector", "SegmentCharacter", "LoadSegmenter")
            graphs.drop_unused(graph, tuple(f"{kit}{kind}" for kind in unused))
            began = time.perf_counter()
            server.run(graph, timeout=3600)
            taken[name] = time.perf_counter() - began
            print(f"{name}: {taken[name]:.1f} s", flush=True)
    return taken


def main(arguments: argparse.Namespace) -> None:
    clips = {"example": example(), "4K walk": walk(1.5), "4K walk at 20 px a frame": walk(20.0)}
    found, kept = {}, {}
    for name, (frames, cropped) in clips.items():
        shown = range(5, len(frames), 35)
        found[name] = {
            "bytes_differing_outside_the_feather": sum(differing(frames, cropped, at) for at in shown),
            "frames_looked_at": len(shown),
            "window_motion": round(cropped.window.speed, 2),
            "standing": round(cropped.window.standing, 3),
            "window": list(cropped.window.size),
            "share": round(cropped.window.share, 3),
        }
        measured = [sharpness(frames, cropped, at) for at in shown]
        kept[name] = {way: np.mean([one[way] for one in measured], axis=0).round(3).tolist() for way in measured[0]}
        print(name, found[name], kept[name], flush=True)
    versions = versions_used()
    results.record(
        "crop_sharpness", kept["4K walk"]["window"][0], kept["4K walk"]["whole"][0],
        peer_name="whole frames of as many pixels (832x480), 4K walk", better="higher", versions=versions,
        unit="share of the source's gradient energy on the character, at the source's resolution",
        psnr_db={name: {way: value[1] for way, value in one.items()} for name, one in kept.items()},
        gradient_energy={name: {way: value[0] for way, value in one.items()} for name, one in kept.items()},
        clips=found, write=not arguments.dry,
    )  # fmt: skip
    memory_of_lengths(arguments.lengths, versions, not arguments.dry)
    if arguments.job:
        taken = job_seconds()
        results.record(
            "crop_job", taken["window"], taken["whole"], versions=versions, write=not arguments.dry,
            peer_name="the replace workflow on whole frames as sharp, same server; small weights, 17 frames, 4 steps",
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", action="store_true", help="also time whole jobs on a ComfyUI server")
    parser.add_argument("--memory", action="store_true", help="measure memory alone")
    parser.add_argument(
        "--lengths", type=lambda text: [int(one) for one in text.split(",")], default=[30, 60],
        help="two numbers of frames, whose memory is compared",
    )  # fmt: skip
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--child", nargs=2, metavar=("CLIP", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(memory(Path(arguments.child[0]), int(arguments.child[1]))))
    elif arguments.memory:
        memory_of_lengths(arguments.lengths, versions_used(), not arguments.dry)
    else:
        main(arguments)
