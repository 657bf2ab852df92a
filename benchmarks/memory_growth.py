"""Memory of a server that makes a long clip: 1,500 frames against 150, over HTTP, with small weights.

The animate workflow as shipped (small models, saved tracks) on a server of its own for each length. Counted is the
server's resident memory that no file backs, at its peak, over what it had after a first short job, which loads the
models. From run to run that differs by 20 to 50 MB, by what happens to run at once: ``--servers`` takes medians. The
clip is the drawn dancer at 480x272; ``--driver 3840x2160`` reads it from a 4K file. ``--crop`` makes it by the crop and
stitch workflow, in a window of as many pixels.

    python benchmarks/memory_growth.py                     # minutes on a GPU, hours on two cores
    python benchmarks/memory_growth.py --frames 300        # shorter
    python benchmarks/memory_growth.py --crop --driver 3840x2160 --size 160x96 --no-faces  # minutes on two cores
    python benchmarks/memory_growth.py --servers 3         # medians of so many servers side by side
    python benchmarks/memory_growth.py --driver 3840x2160 --crop --inputs folder  # drawn once, used again

Writes ``results/memory_growth.json``; with ``--crop``, ``--driver`` and ``--size`` its name says so.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from benchmarks.meters import Meters  # noqa: E402
from demo import example, graphs, host, small_models  # noqa: E402
from demo.server import HostServer  # noqa: E402

KIT = graphs.KIT
SHORT, WARM, FPS = 150, 18, 30
SIZE = (480, 272)
LIMIT_MB = 600


def write_driver(folder: Path, frames: int, size: tuple[int, int], counts: tuple[int, ...] | None = None) -> None:
    """``driver.mp4``, and the pose of its first frames: ``driver_18.npz``, ``driver_150.npz``, ..."""
    import numpy as np

    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.write import write_video

    dancer = example.Dancer(frames / FPS, size, FPS)
    write_video(folder / "driver.mp4", dancer, None, FPS, crf=30)
    keypoints = np.stack([dancer.keypoints(i) for i in range(frames)])
    for count in counts or (WARM, SHORT, frames):
        PoseTrack(keypoints[:count], *size).save(folder / f"driver_{count}.npz")


def job(limit: int, segment: int, seed: int, size: tuple[int, int]) -> graphs.Graph:
    """The animate workflow on the first ``limit`` frames of the driver."""
    graph = graphs.load_graph("animate")
    graphs.use_small_sampling(graph)
    graphs.leave_out_retargeting(graph)
    graphs.use_track(graph, f"driver_{limit}.npz", *size)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file="driver.mp4", width=size[0], height=size[1], limit=limit)
    graphs.set_inputs(graph, "LoadImage", image="robot.png")
    graphs.set_inputs(graph, f"{KIT}Animate", steps=1, segment_length=segment, seed=seed, sampler_name="euler")
    return graph


def crop_job(limit: int, segment: int, seed: int, size: tuple[int, int]) -> graphs.Graph:
    """The crop and stitch workflow, with the mask that the pose draws."""
    graph = graphs.load_graph("replace_crop")
    graphs.use_small_models(graph, "template", None)
    detect, segmented = graphs.driver_detect(graph), graphs.node_of(graph, f"{KIT}SegmentCharacter")
    frames = graph[detect]["inputs"]["frames"]
    track = graphs.add(graph, f"{KIT}LoadPoseTrack", file=f"driver_{limit}.npz", frames=frames)
    mask = graphs.add(graph, f"{KIT}MaskFromPose", pose=[track, 0], grow=1.0, width=0, height=0)
    graphs.relink(graph, segmented, {0: [mask, 0]})
    graphs.relink(graph, detect, {0: [track, 0]})
    unused = ("DetectPose", "LoadPoseDetector", "SegmentCharacter", "LoadSegmenter")
    graphs.drop_unused(graph, tuple(f"{KIT}{kind}" for kind in unused))
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file="driver.mp4", width=size[0], height=size[1], limit=limit)
    graphs.set_inputs(graph, "LoadImage", image="robot.png")
    graphs.set_inputs(graph, f"{KIT}CropToCharacter", size="pixel budget", width=size[0], height=size[1])
    graphs.set_inputs(graph, f"{KIT}Animate", steps=1, segment_length=segment, seed=seed, sampler_name="euler")
    return graph


def measure(
    found: host.Host, inputs: Path, frames: int, job: Callable[[int, int], graphs.Graph]
) -> tuple[float, float, float]:
    """(idle, peak over idle, seconds) of a job: MB of a fresh server's anonymous memory."""
    import psutil

    from benchmarks.meters import anonymous_bytes

    with tempfile.TemporaryDirectory() as pages, HostServer(found, extra_args=("--front-end-root", pages)) as server:
        Path(pages, "index.html").write_text("no pages are asked for here")
        small_models.make().copy_to(server.base_dir / "models")
        for file in inputs.iterdir():
            shutil.copyfile(file, server.base_dir / "input" / file.name)  # ComfyUI follows no links out of it
        with Meters(server.pid) as meters:
            server.run(job(WARM, 1), timeout=3600)
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            idle = sum(anonymous_bytes(process.pid) for process in family) / 1e6
            meters.begin()
            server.run(job(frames, 2), timeout=6 * 3600)
            usage = meters.end()
    print(f"{frames} frames: idle {idle:.0f} MB, peak +{usage.ram_anonymous_gb * 1e3 - idle:.0f} MB, "
          f"{usage.seconds:.0f} s", flush=True)  # fmt: skip
    return idle, usage.ram_anonymous_gb * 1e3 - idle, usage.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--segment", type=int, default=77)
    parser.add_argument("--size", default="x".join(map(str, SIZE)), help="that the model works at")
    parser.add_argument("--no-faces", action="store_true", help="a CPU takes seconds for each")
    parser.add_argument("--driver", default="x".join(map(str, SIZE)), help="size of the driving video's file")
    parser.add_argument("--crop", action="store_true", help="by the crop and stitch workflow")
    parser.add_argument("--servers", type=int, default=1, help="for each length, side by side")
    parser.add_argument("--inputs", type=Path, help="a folder that keeps the drawn clip")
    arguments = parser.parse_args()
    found = host.find_host()
    if found is None:
        sys.exit("this needs a ComfyUI: see README, Demo")
    width, height = map(int, arguments.driver.split("x"))
    across, down = map(int, arguments.size.split("x"))
    size = across, down
    with tempfile.TemporaryDirectory() as folder:
        inputs = arguments.inputs or Path(folder) / "inputs"
        if not (inputs / f"driver_{arguments.frames}.npz").exists():  # written last
            inputs.mkdir(exist_ok=True, parents=True)
            example.write_example(inputs)
            write_driver(inputs, arguments.frames, (width, height))

        def make(limit: int, seed: int) -> graphs.Graph:
            graph = (crop_job if arguments.crop else job)(limit, arguments.segment, seed, size)
            if arguments.no_faces:
                graph[graphs.node_of(graph, f"{KIT}Animate")]["inputs"].pop("face")
                graphs.drop_unused(graph, (f"{KIT}CropFace",))
            return graph

        small_models.make()  # once, for all servers

        def measured(frames: int) -> list[tuple[float, float, float]]:
            with ThreadPoolExecutor(arguments.servers) as pool:
                servers = range(arguments.servers)
                return list(pool.map(lambda _: measure(found, inputs, frames, make), servers))

        shorts, longs = measured(SHORT), measured(arguments.frames)
    short, long = (statistics.median(peak for _, peak, _ in runs) for runs in (shorts, longs))
    results.record(
        "memory_growth"
        + "_crop" * arguments.crop
        + f"_{width}" * ((width, height) != SIZE)
        + f"_at_{size[0]}" * (size != SIZE),
        long,
        short,
        peer_name=f"the same job with {SHORT} frames",
        unit="MB of the server's memory over idle, at its peak",
        digits=0,
        versions=results.versions("numpy") | {"comfyui": found.version},
        write=arguments.frames >= 1500,
        frames=arguments.frames,
        segment=arguments.segment,
        size=arguments.size,
        driver=arguments.driver,
        faces=not arguments.no_faces,
        peaks_mb={"ours": [round(peak) for _, peak, _ in longs], "peer": [round(peak) for _, peak, _ in shorts]},
        idle_mb=round(statistics.median(idle for idle, _, _ in longs)),
        limit_mb=LIMIT_MB,
        seconds=round(max(seconds for _, _, seconds in longs)),
    )


if __name__ == "__main__":
    main()
