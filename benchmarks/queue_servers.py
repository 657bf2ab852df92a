"""Jobs an hour of ``wan-animate queue`` on two servers against one.

Both are real ComfyUI servers on this machine, each kept to one core (``taskset``), with the demo's small weights; every
job is the shipped animate workflow on the drawn dancer with its own seed, two segments of 5 frames. Each server makes
one job before the clock starts. On one machine the two share memory, disk and caches: servers of their own gain more.

Writes ``results/queue_two_servers.json``. ``--jobs 2`` is a trial, which writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from demo import graphs, small_models  # noqa: E402
from demo import host as host_module  # noqa: E402
from demo.example import clip_at_hand, track_beside  # noqa: E402
from demo.server import HostServer  # noqa: E402

JOBS, FRAMES, SEGMENT, STEPS = 4, 9, 5, 1


def workflow(folder: Path) -> tuple[Path, dict[str, Path]]:
    """The workflow's file, and the inputs by file name."""
    video, picture, detectors = clip_at_hand(folder)
    character = track_beside(picture)
    graph = graphs.load_graph("animate")
    graphs.use_small_models(graph, detectors, None if character is None else character.name)
    graphs.set_inputs(graph, "LoadImage", image=picture.name)
    graphs.set_inputs(graph, f"{graphs.KIT}LoadVideo", file=video.name, width=160, height=96, limit=FRAMES)
    settings = dict(segment_length=SEGMENT, steps=STEPS, sampler_name="euler")
    graphs.set_inputs(graph, f"{graphs.KIT}Animate", **settings)
    path = folder / "work.json"
    path.write_text(json.dumps(graph))
    return path, {one.name: one for one in (video, picture, character) if one is not None}


def seconds(servers: list[HostServer], path: Path, folder: Path, jobs: int, first_seed: int) -> float:
    """How long the command takes for so many jobs."""
    table = folder / "jobs.csv"
    table.write_text("\n".join(["name,seed", *(f"job{at},{first_seed + at}" for at in range(jobs))]))
    out = folder / f"clips-{first_seed}"
    addresses = ",".join(server.url for server in servers)
    command = [
        sys.executable,
        "-m",
        "wan_animate.cli",
        "queue",
        str(path),
        "--jobs",
        str(table),
        "--servers",
        addresses,
    ]
    began = time.monotonic()
    subprocess.run([*command, "--out", str(out)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    took = time.monotonic() - began
    made = len(list(out.rglob("*.mp4")))
    if made != jobs:
        raise RuntimeError(f"{made} of {jobs} clips were made")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=JOBS, help="jobs of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, one and two servers in turn (default: 1)")
    options = parser.parse_args()
    host = host_module.find_host()
    if host is None:
        raise SystemExit(host_module.NOT_FOUND)
    files = small_models.make()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        path, inputs = workflow(folder)
        servers = []
        for core in range(2):
            os.environ["OMP_NUM_THREADS"] = "1"
            base = folder / f"server{core}"
            files.copy_to(base / "models")
            server = stack.enter_context(HostServer(host, base))
            subprocess.run(["taskset", "-a", "-cp", str(core), str(server.pid)], check=True, stdout=subprocess.DEVNULL)
            for file in inputs.values():
                server.upload(file)
            servers.append(server)
        for server in servers:
            seconds([server], path, folder, 1, 10_000 + server.port)
        took: dict[int, list[float]] = {1: [], 2: []}
        seed = 0
        for _ in range(options.rounds):
            for count, times in took.items():
                times.append(seconds(servers[:count], path, folder, options.jobs, seed))
                seed += options.jobs
                print(f"{count} servers: {times[-1]:.1f} s for {options.jobs} jobs", flush=True)
    two, one = (3600 * options.jobs * len(took[count]) / sum(took[count]) for count in (2, 1))
    results.record(
        "queue_two_servers", two, one, peer_name="the same command on one server", unit="jobs an hour", better="higher",
        digits=1, write=options.jobs >= JOBS, jobs=options.jobs, rounds=options.rounds,
        seconds={str(count): [round(each, 2) for each in times] for count, times in took.items()},
        load=round(os.getloadavg()[2], 1), hardware=f"{results.cpu()}; each server on one core",
        versions=results.versions() | {"comfyui": host.version},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
