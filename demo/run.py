"""`make demo`: one picture and one driving video in, a finished clip out.

On a headless ComfyUI through its HTTP API, else on the embedded diffusers backend. Without real weights and a GPU it
uses small weights that were never trained: every frame then shows the reference, the pose and, when replacing, the
scene in their places.

Options are read from the environment, so that `make demo IMAGE=me.png VIDEO=dance.mp4 MODE=replace` works:
  IMAGE, VIDEO     the character and the driving video (default: the example clip, else our own)
  MODE             animate or replace (default: animate)
  FRAMES           how many frames at most (0 = all)
  SEGMENT, PREVIOUS_FRAMES  frames a segment and taken over from the one before, both 4n+1
  STEPS, SEED      sampling steps, seed
  WIDTH, HEIGHT    about how many pixels; the video's shape is kept
  WEIGHTS          auto, small or real
  OUT              folder for the results (default: demo/out)
  WAN_ANIMATE_EXAMPLES  folder with the example clip, as animate/video.mp4 and animate/image.jpeg (default:
                   ../shared/examples; none = our own clip)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.importing import ROOT, install

install()

from demo import graphs, host  # noqa: E402
from demo.example import clip_at_hand, track_beside  # noqa: E402
from demo.small_models import DETECTION, SEGMENTER_NAME  # noqa: E402
from wan_animate.chain.segments import check_segment_settings  # noqa: E402
from wan_animate.errors import InputError  # noqa: E402
from wan_animate.files import make_folder, replacing  # noqa: E402

if TYPE_CHECKING:
    from demo.server import HostServer
    from demo.small_models import SmallModels
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.frames import FrameSource

# three segments that two CPU cores finish in a few minutes
SMALL = {"FRAMES": 37, "SEGMENT": 13, "PREVIOUS_FRAMES": 1, "STEPS": 3, "WIDTH": 320, "HEIGHT": 192}
# what the nodes take
RANGES = {"STEPS": (1, 1000), "WIDTH": (16, 8192), "HEIGHT": (16, 8192), "SEGMENT": (5, 1001),
          "PREVIOUS_FRAMES": (1, 997), "SEED": (0, 2**64 - 1)}  # fmt: skip
KIT = graphs.KIT


def options(environ: Mapping[str, str]) -> argparse.Namespace:
    """The options, checked; a number that is not given is None.

    Raises:
        InputError: an option has no such value, or names no file.
    """
    found = argparse.Namespace(mode=environ.get("MODE") or "animate", weights=environ.get("WEIGHTS") or "auto")
    for name, allowed in (("mode", ("animate", "replace")), ("weights", ("auto", "small", "real"))):
        if getattr(found, name) not in allowed:
            raise InputError(f"{name.upper()} is {getattr(found, name)!r}: set it to {' or '.join(allowed)}.")
    for name in (*SMALL, "SEED"):
        text = environ.get(name) or ""
        if text and not (text.isascii() and text.isdigit()):
            raise InputError(f"{name} is {text!r}: give a whole number.")
        setattr(found, name.lower(), int(text) if text else None)
    for name, (low, high) in RANGES.items():
        value = getattr(found, name.lower())
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} is {value}: give a number from {low} to {high}.")
    # one of them alone is checked against the widest range of the other
    check_segment_settings(found.segment or RANGES["SEGMENT"][1], found.previous_frames or 1)
    found.out = Path(environ.get("OUT") or ROOT / "demo" / "out").absolute()
    given = {name: Path(environ[name]).expanduser().absolute() for name in ("IMAGE", "VIDEO") if environ.get(name)}
    for name, path in given.items():
        if not path.is_file():
            raise InputError(f"{name} is {path}, and there is no such file: give the path of one.")
    found.own = False
    if len(given) < 2:
        video, image, detectors = clip_at_hand(environ=environ)
        found.own = detectors == "dancer" and "VIDEO" not in given
        given = {"VIDEO": video, "IMAGE": image} | given
    found.video, found.image = given["VIDEO"], given["IMAGE"]
    found.track, found.character = (track_beside(path) for path in (found.video, found.image))
    if found.own:
        found.track = None  # the small networks find our own dancer
    return found


def main() -> int:
    began = time.monotonic()
    try:
        job = options(os.environ)
        make_folder(job.out, "the result (OUT)")
        found = host.find_host()
        print(f"picture  {job.image}\nvideo    {job.video}\nmode     {job.mode}")
        video, sheet = run_on_host(found, job) if found else run_embedded(job)
    except (InputError, host.HostError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"done in {time.monotonic() - began:.0f} s\n{video}\n{sheet}")
    return 0


def small_models() -> SmallModels:
    from demo.small_models import make

    print("making the small weights ...", end="", flush=True)
    files = make()
    print(f"\rsmall weights in {files.root}")
    return files


def small_settings(job: argparse.Namespace) -> None:
    for name, value in SMALL.items():
        if getattr(job, name.lower()) is None:
            setattr(job, name.lower(), value)


# -- on a ComfyUI


def run_on_host(found: host.Host, job: argparse.Namespace) -> tuple[Path, Path]:
    from demo.server import HostServer, output_items

    files = small_models()
    print(f"starting ComfyUI {found.version} from {found.path}", flush=True)
    with HostServer(found, extra_models=(found.models,)) as server:
        files.copy_to(server.base_dir / "models")
        graph = graphs.load_graph(job.mode)
        accelerated = host.has_accelerator(host.server_python(found))
        fps = name_inputs(server, graph, job, accelerated)
        signals = graphs.save_signals(graph, fps)
        result = graphs.node_of(graph, f"{KIT}Animate")
        save = next(n for n in graphs.nodes_of(graph, "SaveVideo") if graph[n]["inputs"]["video"][0] == result)
        entry = server.run(graph, Progress(graph, server.get("/object_info")), timeout=24 * 3600)
        paths = {}
        for label, node in {**signals, "result": save}.items():
            (item,) = output_items({"outputs": {node: entry["outputs"][node]}})
            name = f"{job.mode}.mp4" if label == "result" else f"{job.mode}_{label}.mp4"
            paths[label] = write_whole(job.out / name, server.fetch(item))
    return paths["result"], write_sheet(job, graph, paths)


def name_inputs(server: HostServer, graph: graphs.Graph, job: argparse.Namespace, accelerated: bool) -> float:
    """Set the workflow's files and numbers; returns the clip's frame rate."""
    listed = {
        folder: server.get(f"/models/{folder}")
        for folder in ("diffusion_models", "loras", "vae", "text_encoders", "clip_vision", "detection", "sam2")
    }
    real = real_files(listed)
    needed = {"transformer", "vae", "text_encoder"}
    if job.weights == "real" and not needed <= real.keys():
        raise InputError(
            f"WEIGHTS is real, but no file for {', '.join(sorted(needed - real.keys()))} is in ComfyUI's "
            "models folders: see models_manifest.json for the names."
        )
    use_real = job.weights == "real" or job.weights == "auto" and needed <= real.keys() and accelerated
    if use_real:
        print(f"weights  {real['transformer']}")
        graphs.set_inputs(graph, f"{KIT}LoadModel", model=real["transformer"])
        graphs.set_inputs(graph, "VAELoader", vae_name=real["vae"])
        graphs.set_inputs(graph, "CLIPLoader", clip_name=real["text_encoder"])
        graphs.set_inputs(graph, "CLIPVisionLoader", clip_name=real.get("clip_vision", ""))
        name_lora(graph, real)
    else:
        print("weights  small and made up" + (": no GPU for the real ones" if needed <= real.keys() else ""))
        graphs.use_small_sampling(graph)
        small_settings(job)
    if use_real and "clip_vision" not in real:
        graphs.leave_out_clip_vision(graph)

    graphs.set_inputs(graph, "LoadImage", image=server.upload(job.image))
    given = {"limit": job.frames, "width": job.width, "height": job.height}
    given = {name: value for name, value in given.items() if value is not None}
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file=server.upload(job.video), **given)
    given = {
        "segment_length": job.segment,
        "guidance_frames": job.previous_frames,
        "steps": job.steps,
        "seed": job.seed,
    }
    graphs.set_inputs(graph, f"{KIT}Animate", **{name: value for name, value in given.items() if value is not None})
    return name_pose(server, graph, job, real)


def name_lora(graph: graphs.Graph, real: dict[str, str]) -> None:
    if "relight_lora" in real:
        graphs.set_inputs(graph, f"{KIT}RelightLora", lora=real["relight_lora"])
    elif graphs.nodes_of(graph, f"{KIT}RelightLora"):
        print("light    no relighting LoRA in models/loras: the character keeps its own light")
        graphs.leave_out_lora(graph)
    if "distill_lora" in real:
        graphs.set_inputs(graph, f"{KIT}ApplyLora", lora=real["distill_lora"])
    else:
        graphs.leave_out_speed_lora(graph)


def name_pose(server: HostServer, graph: graphs.Graph, job: argparse.Namespace, real: dict[str, str]) -> float:
    """Set the detectors: the real ones, else tracks next to video and picture, else the small graphs."""
    name_segmenter(graph, job, real)
    name_character(server, graph, job, real)
    load = graph[graphs.node_of(graph, f"{KIT}LoadVideo")]["inputs"]
    if {"person_detector", "pose_detector"} <= real.keys():
        names = real["person_detector"], real["pose_detector"]
    elif job.track:
        print(f"pose     {job.track}")
        track, fps, size = cut_track(job.track, job.video, load["limit"], load["width"] * load["height"])
        path = server.base_dir / "input" / f"{job.video.stem}_pose.npz"
        track.save(path)
        load["fps"] = fps
        graphs.use_track(graph, path.name, *size)
        return fps
    else:
        names = DETECTION[small_detectors(job)]
    print(f"pose     {names[0]}, {names[1]}")
    graphs.set_inputs(graph, f"{KIT}LoadPoseDetector", detector=names[0], pose_model=names[1])
    return float(load["fps"])


def name_character(server: HostServer, graph: graphs.Graph, job: argparse.Namespace, real: dict[str, str]) -> None:
    """Set the pose of the character's picture, for retargeting."""
    if job.mode == "replace" or {"person_detector", "pose_detector"} <= real.keys():
        return
    if job.character is None:
        print("body     no detector files and no track beside the picture: the skeleton keeps the driver's build")
    else:
        print(f"body     {job.character}")
    graphs.use_known_character(graph, job.character and server.upload(job.character))


def name_segmenter(graph: graphs.Graph, job: argparse.Namespace, real: dict[str, str]) -> None:
    if job.mode == "replace":
        graphs.set_inputs(graph, f"{KIT}LoadSegmenter", model=real.get("segmenter", SEGMENTER_NAME))


def small_detectors(job: argparse.Namespace) -> str:
    if not job.own:
        print("pose     no detector files and no track beside the video: the same standing pose in every frame")
    return "dancer" if job.own else "template"


def cut_track(path: Path, video: Path, limit: int, area: int) -> tuple[PoseTrack, float, tuple[int, int]]:
    """A saved track cut to the frames that will be read, its frame rate, and the frames' size."""
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.source import VideoSource

    track = PoseTrack.load(path)
    frames = VideoSource(video, fps=track.fps, max_area=area, limit=limit)
    count, size = len(frames), (frames.width, frames.height)
    frames.close()
    if len(track) < count:
        raise InputError(
            f"the track {path.name} has {len(track)} frames and the video {count}: "
            f"set FRAMES={len(track)} or move the track away."
        )
    return track.slice(0, count), float(track.fps), size


def real_files(listed: dict[str, list[str]]) -> dict[str, str]:
    """role -> the first of its files in models_manifest.json that the host lists, in any subfolder."""
    found: dict[str, str] = {}
    for model in json.loads((ROOT / "models_manifest.json").read_text(encoding="utf-8"))["models"]:
        for name in listed.get(model["folder"], []):
            if name.replace("\\", "/").rsplit("/", 1)[-1] == model["name"]:
                found.setdefault(model["role"], name)
    return found


class Progress:
    """Prints a line a node, and one every few seconds while a node counts."""

    def __init__(self, graph: graphs.Graph, infos: dict[str, Any]) -> None:
        """Args: ``infos``: the server's ``/object_info``, for nodes without a title of their own."""
        self._titles = {node: graphs.title(what, infos) for node, what in graph.items()}
        self._last = 0.0

    def __call__(self, kind: str, data: Any) -> None:
        now = time.monotonic()
        if kind == "executing" and data.get("node"):
            print(f"  {self._titles.get(data['node'], data['node'])}", flush=True)
            self._last = now
        elif kind == "progress_state" and now - self._last > 5:
            for node, state in data["nodes"].items():
                if state.get("state") == "running" and state.get("max", 1) > 1:
                    title = self._titles.get(node, node)
                    print(f"  {title}: {state['value']:.0f}/{state['max']:.0f}", flush=True)
                    self._last = now


def write_whole(path: Path, data: bytes) -> Path:
    with replacing(path, "the result") as temporary:
        Path(temporary).write_bytes(data)
    return path


def write_sheet(job: argparse.Namespace, graph: graphs.Graph, paths: dict[str, Path]) -> Path:
    from wan_animate.preview.sheet import MaskShown, contact_sheet
    from wan_animate.video.source import VideoSource

    load = graph[graphs.node_of(graph, f"{KIT}LoadVideo")]["inputs"]
    driver = VideoSource(
        job.video, fps=load["fps"], max_area=load["width"] * load["height"], start=load["start"], limit=load["limit"]
    )
    shown: dict[str, FrameSource] = {
        label: VideoSource(paths[label], fps=0) for label in ("pose", "face", "mask", "result") if label in paths
    }
    if "mask" in shown:
        shown["result"] = MaskShown(shown["result"], shown["mask"], outline=True)
        shown["mask"] = MaskShown(driver, shown["mask"])
    columns = [("driver", driver), *shown.items()]
    sheet = job.out / f"{job.mode}.png"
    contact_sheet(sheet, columns)
    return sheet


# -- without one


def run_embedded(job: argparse.Namespace) -> tuple[Path, Path]:
    from wan_animate.cli.make import run
    from wan_animate.cli.run import parsed

    print("no ComfyUI found: the embedded diffusers backend does the work")
    files = small_models()
    if files.diffusers is None:
        raise InputError("the embedded backend needs diffusers: run make setup.")
    small_settings(job)
    video, sheet = job.out / f"{job.mode}.mp4", job.out / f"{job.mode}.png"
    given: dict[str, Any] = {"image": job.image, "video": job.video, "mode": job.mode, "out": video, "sheet": sheet}
    given |= {"models": files.diffusers, "prompt-file": files.prompt, "area": job.width * job.height}
    given |= {"limit": job.frames, "segment": job.segment, "previous-frames": job.previous_frames, "steps": job.steps}
    given |= {"seed": job.seed or 0}
    if job.track:
        track, fps, _ = cut_track(job.track, job.video, job.frames, job.width * job.height)
        path = job.out / f".{job.video.stem}_pose.npz"
        track.save(path)
        given |= {"track": path, "fps": fps}
    else:
        detector, pose = DETECTION[small_detectors(job)]
        given |= {"detector": files.detection / detector, "pose": files.detection / pose}
    if job.mode == "replace" and job.own:
        given["sam2"] = files.segmenter
    if job.character is not None:
        given["reference-track"] = job.character
    try:
        with own_times(files.root / "runs"):
            run(parsed([f"--{name}={value}" for name, value in given.items()]))
    finally:
        if job.track:
            path.unlink(missing_ok=True)
    return video, sheet


@contextmanager
def own_times(folder: Path) -> Iterator[None]:
    """What small weights take is kept there: it would tell ``wan-animate plan`` nothing of real ones."""
    name = "WAN_ANIMATE_CACHE"
    before, os.environ[name] = os.environ.get(name), str(folder)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


if __name__ == "__main__":
    # --help: the options are the environment's
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
