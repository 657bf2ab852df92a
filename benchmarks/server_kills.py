"""SIGKILL of a ComfyUI server, in Animate Character and in a node after it; and 100 jobs in one server.

    python benchmarks/server_kills.py               # ten kills, five of them in Save Video
    python benchmarks/server_kills.py --jobs 100    # as many jobs, each second one cancelled as well

Kills: the shipped animate workflow on small weights, three segments. A second server that is never killed makes the
same clip: the hashes of the lossless frames in both mp4s are compared, and no finished segment may be written twice,
which its inode tells. Jobs: memory that no file backs, threads, open files and the job folder's size after 20 jobs and
after all, under a limit that is set low.

Ends with status 1 where something is not as it must be. Writes no claim: nothing here is a speed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks.memory_growth import write_driver  # noqa: E402
from benchmarks.meters import anonymous_bytes  # noqa: E402
from demo import example, graphs, host, small_models  # noqa: E402
from demo.server import HostEnded, HostServer, PromptInterrupted  # noqa: E402
from wan_animate.chain.segment_files import LosslessSource  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.record.clip_record import read_record  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the servers: MKL takes fewer threads under load, and sums otherwise
KIT = graphs.KIT
SIZE, SEGMENT, FRAMES, FPS = (96, 64), 5, 13, 30
LIMIT, WARM = "2MB", 20


def job(seed: int) -> graphs.Graph:
    """The animate workflow, three segments."""
    graph = graphs.load_graph("animate")
    graphs.use_small_sampling(graph)
    graphs.leave_out_retargeting(graph)
    graphs.use_track(graph, f"driver_{FRAMES}.npz", *SIZE)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file="driver.mp4", width=SIZE[0], height=SIZE[1], limit=FRAMES)
    graphs.set_inputs(graph, "LoadImage", image="robot.png")
    graphs.set_inputs(graph, f"{KIT}Animate", steps=1, segment_length=SEGMENT, seed=seed, sampler_name="euler")
    return graph


def fill(base: Path, inputs: Path) -> None:
    """A base folder with the small weights and the inputs."""
    small_models.make().copy_to(base / "models")
    (base / "input").mkdir(parents=True, exist_ok=True)
    for file in inputs.iterdir():
        shutil.copyfile(file, base / "input" / file.name)


def server(found: host.Host, base: Path) -> HostServer:
    pages = base / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "index.html").write_text("no pages are asked for here")
    return HostServer(found, base, extra_args=("--front-end-root", str(pages)))


def segments(base: Path) -> dict[str, int]:
    """Finished segments -> inode."""
    return {path.name: path.stat().st_ino for path in base.glob("output/wan_animate_kit/jobs/*/segment_*.mkv")}


def difference(*bases: Path) -> list[int]:
    """Of the frames of each segment, at most."""
    (one, other) = (SegmentStore(next(base.glob("output/wan_animate_kit/jobs/*"))) for base in bases)
    found = []
    for name in sorted(path.name for path in one.folder.glob("segment_*.mkv")):
        sources = [LosslessSource([(store.folder / name, 0, None)], FPS) for store in (one, other)]
        first, second = (source.read(0, len(source)).astype(int) for source in sources)
        found.append(int(abs(first - second).max()))
    return found


def clip(base: Path) -> Path:
    """What Save Video wrote last."""
    return max((base / "output" / "video").rglob("*.mp4"), key=lambda path: path.stat().st_mtime)


def killer(running: HostServer, graph: graphs.Graph, later: bool, after: float) -> Callable[[str, Any], None]:
    """Kills the server some seconds into Animate Character, or as soon as Save Video begins."""
    animate, save = graphs.node_of(graph, f"{KIT}Animate"), graphs.node_of(graph, "SaveVideo")
    begun: list[float] = []

    def on_message(kind: str, data: Any) -> None:
        if kind == "executing" and data.get("node") == animate:
            begun.append(time.monotonic())
        in_save = kind == "executing" and data.get("node") == save
        in_animate = not later and begun and time.monotonic() - begun[0] >= after
        if in_save or in_animate:
            os.killpg(running.pid, signal.SIGKILL)

    return on_message


def kills(found: host.Host, folder: Path, count: int) -> list[str]:
    inputs, whole, broken = folder / "inputs", folder / "whole", folder / "broken"
    for base in (whole, broken):
        fill(base, inputs)
    before: dict[str, int] = {}
    faults, chance = [], random.Random(3)
    with server(found, whole) as running:
        start = time.monotonic()
        running.run(job(1), timeout=1800)
        took = time.monotonic() - start
    print(f"unbroken: {took:.1f} s with loading", flush=True)
    for at in range(count):
        later = at >= count // 2  # the finished clip is there by then
        with server(found, broken) as running:
            graph = job(1)
            try:
                running.run(graph, killer(running, graph, later, chance.uniform(0, 0.5 * took)), timeout=1800)
            except HostEnded:
                pass
        after = segments(broken)
        if any(after.get(name) != inode for name, inode in before.items()):
            faults.append(f"kill {at + 1}: a finished segment was written again")
        before = after
        print(f"kill {at + 1}{' in Save Video' if later else ''}: {len(after)} segments finished", flush=True)
    with server(found, broken) as running:
        start = time.monotonic()
        running.run(job(1), timeout=1800)
        print(f"the last run: {time.monotonic() - start:.1f} s", flush=True)
    if any(segments(broken).get(name) != inode for name, inode in before.items()):
        faults.append("the last run wrote a finished segment again")
    records = [read_record(clip(base)) for base in (whole, broken)]
    if records[0].frames != records[1].frames or records[0].segments != records[1].segments:
        faults.append(f"the frames differ, by up to {difference(whole, broken)} of 255 in each segment")
    faults += [f"left over: {path}" for path in broken.rglob("*.part*")]
    return faults


def jobs(found: host.Host, folder: Path, count: int) -> list[str]:
    base, seen, faults = folder / "jobs", [], []
    fill(base, folder / "inputs")
    os.environ["WAN_ANIMATE_JOBS_LIMIT"] = LIMIT
    with server(found, base) as running:
        for at in range(count):
            running.run(job(at), timeout=1800)
            if at % 2:
                cancel(running, job(10_000 + at))
            seen.append(state(running.pid, base))
            if at + 1 in (1, 5, WARM, count) or not (at + 1) % 25:
                print(f"{at + 1} jobs: {seen[-1]}", flush=True)
    first, last = seen[min(WARM, count) - 1], seen[-1]
    if last["mb"] > 1.03 * first["mb"]:
        faults.append(f"memory grew from {first['mb']} to {last['mb']} MB")
    for name in ("threads", "files", "folders"):
        if last[name] > first[name]:
            faults.append(f"{name} grew from {first[name]} to {last[name]}")
    return faults


def cancel(running: HostServer, graph: graphs.Graph) -> None:
    """Begins a job, and stops it before its first segment is finished."""
    animate = graphs.node_of(graph, f"{KIT}Animate")

    def on_message(kind: str, data: Any) -> None:
        if kind == "executing" and data.get("node") == animate:
            running.interrupt()

    try:
        running.run(graph, on_message, timeout=1800)
    except PromptInterrupted:
        pass


def state(pid: int, base: Path) -> dict[str, int]:
    """What the server holds, and what its jobs take."""
    kept = base / "output" / "wan_animate_kit" / "jobs"
    files = [path for path in kept.rglob("*") if path.is_file()]
    return {
        "mb": round(anonymous_bytes(pid) / 1e6),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "folders": sum(path.is_dir() for path in kept.iterdir()),
        "kb": sum(path.stat().st_size for path in files) // 1000,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=0)
    arguments = parser.parse_args()
    found = host.find_host()
    if found is None:
        sys.exit("this needs a ComfyUI: see README, Demo")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inputs").mkdir()
        example.write_example(folder / "inputs")
        write_driver(folder / "inputs", FRAMES, SIZE, (FRAMES,))
        if arguments.jobs:
            faults = jobs(found, folder, arguments.jobs)
        else:
            faults = kills(found, folder, arguments.kills)
    print("; ".join(faults) or "as it must be")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
