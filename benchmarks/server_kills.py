"""SIGKILL of a ComfyUI server, in Animate Character and in a node after it; and 100 jobs in one server.

    python benchmarks/server_kills.py               # ten kills, five of them in Save Video
    python benchmarks/server_kills.py --jobs 100    # as many jobs, each second one cancelled as well

Kills: the shipped animate workflow on small weights, three segments. A second server that is never killed makes the
same clip: the hashes of the lossless frames in both mp4s are compared, and no finished segment may be written twice,
which its inode and time tell. A kill that comes too late does not count: the clip is compared, removed and begun anew.
Jobs: memory that no file backs, threads, open files and job folders, medians of the five jobs up to the 20th and of the
last five, under a limit of the job folder that is set low.

The servers run on the CPU (``--cpu``) with one OpenMP thread, whatever the machine has: with two, the same clip differs
by 1 of 255 from that of one thread (sums in another order), and a loaded machine may take fewer than it is told.

Ends with status 1 where something is not as it must be. A hundred jobs and more write ``results/server_jobs.json``: the
memory at the end against that up to the 20th job.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks.memory_growth import write_driver  # noqa: E402
from benchmarks.meters import anonymous_bytes  # noqa: E402
from benchmarks.results import record, torch_versions  # noqa: E402
from demo import example, graphs, host, small_models  # noqa: E402
from demo.server import HostServer, PromptInterrupted  # noqa: E402
from wan_animate.chain.segment_files import LosslessSource  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.record.clip_record import read_record  # noqa: E402

# of the servers: see above
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
KIT = graphs.KIT
SIZE, SEGMENT, FRAMES, FPS = (96, 64), 5, 13, 30
LIMIT, WARM, WINDOW = "2MB", 20, 5


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
    return HostServer(found, base, extra_args=("--cpu", "--front-end-root", str(pages)))


def segments(base: Path) -> dict[str, tuple[int, int]]:
    """Finished segments -> (inode, time of writing)."""
    found = base.glob("output/wan_animate_kit/jobs/*/segment_*.mkv")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def remade(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    return [name for name, written in before.items() if after.get(name) != written]


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


class Killer:
    """Kills the server ``after`` seconds in Animate Character; or, ``after`` None, as soon as Save Video begins."""

    def __init__(self, running: HostServer, graph: graphs.Graph, after: float | None) -> None:
        self._running, self._after = running, after
        self._animate, self._save = graphs.node_of(graph, f"{KIT}Animate"), graphs.node_of(graph, "SaveVideo")
        self._timer: threading.Timer | None = None
        self.done = False

    def __call__(self, kind: str, data: Any) -> None:
        node = data.get("node") if kind == "executing" else None
        if self._timer is not None and node not in (None, self._animate):
            self._timer.cancel()
        if self._after is None and node == self._save:
            self._kill()
        elif self._after is not None and node == self._animate and self._timer is None:
            self._timer = threading.Timer(self._after, self._kill)
            self._timer.start()

    def _kill(self) -> None:
        self.done = True
        os.killpg(self._running.pid, signal.SIGKILL)


class Stopwatch:
    """Seconds that Animate Character works."""

    def __init__(self, graph: graphs.Graph) -> None:
        self._animate, self._began, self.seconds = graphs.node_of(graph, f"{KIT}Animate"), 0.0, 0.0

    def __call__(self, kind: str, data: Any) -> None:
        if kind == "executing" and data.get("node") == self._animate:
            self._began = time.monotonic()
        elif kind == "executing" and self._began and not self.seconds:
            self.seconds = time.monotonic() - self._began


def run_to_end(found: host.Host, base: Path) -> float:
    """Seconds of Animate Character."""
    graph = job(1)
    watch = Stopwatch(graph)
    with server(found, base) as running:
        running.run(graph, watch, timeout=1800)
    return watch.seconds


def killed(found: host.Host, base: Path, after: float | None) -> bool:
    """Whether the server was killed before the clip was saved."""
    graph = job(1)
    with server(found, base) as running:
        killer = Killer(running, graph, after)
        try:
            running.run(graph, killer, timeout=1800)
        except host.HostError:
            if not killer.done:
                raise
    return killer.done


def compared(whole: Path, broken: Path) -> list[str]:
    """What is wrong with the clip of a server that was killed."""
    records = [read_record(clip(base)) for base in (whole, broken)]
    if records[0].frames == records[1].frames and records[0].segments == records[1].segments:
        return []
    return [f"the frames differ, by up to {difference(whole, broken)} of 255 in each segment"]


def kills(found: host.Host, folder: Path, count: int) -> list[str]:
    whole, broken = folder / "whole", folder / "broken"
    for base in (whole, broken):
        fill(base, folder / "inputs")
    before: dict[str, tuple[int, int]] = {}
    faults, chance, at = [], random.Random(3), 0
    took = run_to_end(found, whole)
    print(f"unbroken: Animate Character takes {took:.1f} s", flush=True)
    while at < count:
        later = at >= count // 2  # the finished clip is there by then, or made before the kill
        done = killed(found, broken, None if later else chance.uniform(0, took))
        after = segments(broken)
        faults += [f"kill {at + 1}: {name} was written again" for name in remade(before, after)]
        before = after
        if not done:
            print("the clip was saved before: it is compared and begun anew", flush=True)
            faults += compared(whole, broken)
            shutil.rmtree(broken / "output")
            before = {}
            continue
        at += 1
        print(f"kill {at}{' in Save Video' if later else ''}: {len(after)} segments finished", flush=True)
    print(f"the last run: {run_to_end(found, broken):.1f} s in Animate Character", flush=True)
    faults += [f"the last run wrote {name} again" for name in remade(before, segments(broken))]
    faults += compared(whole, broken)
    return faults + [f"left over: {path}" for path in broken.rglob("*.part*")]


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
    warm = min(WARM, count)
    first, last = settled(seen[max(warm - WINDOW, 0) : warm]), settled(seen[-WINDOW:])
    print(f"up to job {warm}: {first}; of the last jobs: {last}", flush=True)
    write(found.version, count, first, last)
    if last["mb"] > 1.03 * first["mb"]:
        faults.append(f"memory grew from {first['mb']} to {last['mb']} MB")
    for name in ("threads", "files", "folders"):
        if last[name] > first[name]:
            faults.append(f"{name} grew from {first[name]} to {last[name]}")
    return faults


def write(comfyui: str, count: int, first: dict[str, float], last: dict[str, float]) -> None:
    record(
        "server_jobs",
        last["mb"],
        first["mb"],
        peer_name=f"the same server up to its job {WARM}",
        unit="MB of memory that no file backs, with as many cancelled jobs as half of the finished ones",
        versions=torch_versions(comfyui),
        write=count >= 100,
        jobs=count,
        cancelled=count // 2,
        limit=LIMIT,
        first=first,
        last=last,
    )


def settled(states: list[dict[str, int]]) -> dict[str, float]:
    """Medians: one job more or less in the server's caches does not count."""
    return {name: statistics.median(state[name] for state in states) for name in states[0]}


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
            faults, did = jobs(found, folder, arguments.jobs), f"{arguments.jobs} jobs, {arguments.jobs // 2} cancels"
        else:
            faults, did = kills(found, folder, arguments.kills), f"{arguments.kills} kills of the server"
    print(f"{did}: {'; '.join(faults) or 'as it must be'}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
