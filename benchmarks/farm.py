"""The farm: twelve clips on two workers, one of them killed by SIGKILL in the middle, and the driver as well.

Small weights, clips of sixteen frames (five, or two shots of five, on the servers); four are cut into shots that are
made apart, and a thirteenth cannot be made. Then the same command again. Wanted: twelve results, once each; bit for bit
the frames of clips made one after the other by ``wan-animate run``, or on one server (the hashes of lossless frames
that every clip carries); no finished segment made again, nothing left over; the thirteenth failed with its sentence.

    python benchmarks/farm.py                  # processes, a Ray cluster of two nodes, two ComfyUI servers
    python benchmarks/farm.py --on ray         # one of processes, ray, servers
    python benchmarks/farm.py --on ray --url   # unfinished work behind an fsspec URL

Writes ``results/farm_processes.json`` and ``farm_ray.json`` (seconds with the kills, against one clip after the other
without), and ``farm_servers.json`` (two servers against one, both without a kill). Ends with status 1 where
something is not as wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers and what serves them, on few cores
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from demo import small_models  # noqa: E402

CLIPS, SHOTS = 12, 4
FRAMES, CUT, SIZE = 16, 8, (320, 176)
LIMIT = 5
"""Frames of a clip, or of a shot, on the ComfyUI servers."""
POISONED = "poisoned"
SHELL = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from demo import importing; importing.install()\n"
    "from wan_animate.cli import main\n"
    "if __name__ == '__main__': sys.exit(main(sys.argv[1:]))"
)


def write_inputs(folder: Path) -> None:
    """Clip, picture, track with a cut, prompt, a video that is none, and the table."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from demo.example import Dancer, write_example
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.write import write_video

    write_example(folder)
    dancer = Dancer(FRAMES / 30, SIZE, 30)
    write_video(folder / "driver.mp4", dancer, None, 30)
    keypoints = np.stack([dancer.keypoints(at) for at in range(FRAMES)])
    PoseTrack(keypoints, *SIZE, cuts=(CUT,)).save(folder / "track.npz")
    PoseTrack(keypoints[: 2 * LIMIT], *SIZE, cuts=(LIMIT,)).save(folder / "short.npz")
    save_file({"cond": torch.zeros(1, 5, 4096)}, folder / "prompt.safetensors")
    (folder / "broken.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    rows: list[list[Any]] = [["name", "video", "seed", "at_cuts", "priority"]]
    rows += [[f"clip{at:02}", "driver.mp4", at, "anew" if at < SHOTS else "chain", ""] for at in range(CLIPS)]
    rows.insert(3, [POISONED, "broken.mp4", 99, "chain", 1])
    (folder / "clips.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))


def options(folder: Path) -> list[str]:
    """Of ``run``, for all clips."""
    given = {
        "image": folder / "robot.png", "track": folder / "track.npz", "prompt-file": folder / "prompt.safetensors",
        "models": small_models.make().diffusers, "segment": 5, "steps": 1, "area": 160 * 96, "device": "cpu",
    }  # fmt: skip
    return [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget"]


def shell(*arguments: object) -> list[str]:
    return [sys.executable, "-c", SHELL, str(ROOT), *map(str, arguments)]


def serial(folder: Path, out: Path) -> float:
    """Each clip by ``wan-animate run``, one after the other in one process; the seconds."""
    out.mkdir()
    commands = [
        [
            "run", f"--video={folder / 'driver.mp4'}", f"--seed={at}", f"--at-cuts={'anew' if at < SHOTS else 'chain'}",
            f"--out={out / f'clip{at:02}.mp4'}", *options(folder),
        ]
        for at in range(CLIPS)
    ]  # fmt: skip
    code = SHELL.partition("if __name__")[0] + "import json\nfor one in json.loads(sys.argv[1]): assert main(one) == 0"
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT), json.dumps(commands)], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begun


class Watch:
    """What a farm's folder shows while it works.

    Attributes:
        again: finished segments that were written a second time.
    """

    def __init__(self, out: Path, work: Path) -> None:
        self._out, self._work = out, work
        self._seen: dict[Path, int] = {}
        self.again: list[str] = []

    def look(self) -> int:
        """How many clips are done."""
        with contextlib.suppress(OSError):
            for path in self._work.rglob("segment_*.mkv"):
                written = path.stat().st_mtime_ns
                if self._seen.setdefault(path, written) != written:
                    self.again.append(path.name)
                    self._seen[path] = written
        return len([one for one in self.events() if one["event"] == "done" and one["name"].startswith("clip")
                    and ":" not in one["name"]])  # fmt: skip

    def segments(self) -> int:
        return len(self._seen)

    def events(self) -> list[dict[str, Any]]:
        path = self._out / "queue.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]


def drive(command: list[str], watch: Watch, log: Path, moments: list[tuple[int, Callable[[int], None]]]) -> int:
    """Run a driver; at each moment (so many clips done, and one begun) do what belongs to it. Its exit code."""
    with log.open("ab") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT)
        while process.poll() is None:
            done = watch.look()
            if moments and done >= moments[0][0] and watch.segments() > done:
                moments.pop(0)[1](process.pid)
            time.sleep(0.1)
    watch.look()
    return process.returncode


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_a_process(driver: int) -> None:
    import psutil

    found = [one for one in psutil.Process(driver).children() if "spawn_main" in " ".join(one.cmdline())]
    kill(found[0].pid)


def kill_an_actor(_driver: int) -> None:
    """Of the cluster that this process started."""
    import psutil

    found = [one for one in psutil.Process().children(recursive=True) if "ray::Hand" in " ".join(one.cmdline())]
    kill(found[0].pid)


def frames_of(clip: Path) -> tuple[Any, ...]:
    """The hashes of its lossless frames, which it carries. Its bytes tell less: x264's threads are not repeatable."""
    from wan_animate.record.clip_record import read_record

    record = read_record(clip)
    return record.frames, record.segments


def faults(out: Path, whole: Path, watch: Watch, code: int, said: str) -> list[str]:
    found = [] if code == 1 else [f"the last command ended with {code}"]
    names = {path.name for path in out.iterdir()}
    wanted = {f"clip{at:02}.mp4" for at in range(CLIPS)}
    if names != wanted | {"queue.jsonl"}:
        found.append(f"missing {sorted(wanted - names)}, left over {sorted(names - wanted - {'queue.jsonl'})}")
    differ = [name for name in sorted(wanted & names) if frames_of(out / name) != frames_of(whole / name)]
    found += [f"not as made alone: {differ}"] if differ else []
    done = [one["key"] for one in watch.events() if one["event"] == "done"]
    found += ["a unit was done twice"] if len(set(done)) != len(done) else []
    found += [f"segments made again: {watch.again}"] if watch.again else []
    if f"{CLIPS} of {CLIPS + 1} jobs are in" not in said or f"{POISONED}: " not in said:
        found.append("the summary does not say it")
    return found


@contextlib.contextmanager
def ray_cluster() -> Iterator[str]:
    """Two nodes on this machine, a CPU each; the address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def farm(kind: str, folder: Path, place: Path, whole: Path, alone: float, url: bool, write: bool) -> list[str]:
    """Processes or a Ray cluster."""
    out, log = place / "out", place / "log"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        more = ["--workers=2"]
        if kind == "ray":
            more += ["--ray", stack.enter_context(ray_cluster())]
        work = out / ".work"
        if url:
            work = place / "work"
            more += ["--shared", work.as_uri()]
        watch = Watch(out, work)
        command = shell("batch", folder / "clips.csv", "--out", out, *more, *options(folder))
        begun = time.perf_counter()
        at_worker = kill_a_process if kind == "processes" else kill_an_actor
        drive(command, watch, log, [(2, at_worker), (5, kill)])
        between = watch.look()
        code = drive(command, watch, log, [])
        took = time.perf_counter() - begun
    said = log.read_text()
    found = faults(out, whole, watch, code, said)
    if work.exists() and any(path.is_file() for path in work.rglob("*") if "inputs" not in path.parts):
        found.append("unfinished work is left")
    print("\n".join(said.splitlines()[-4:]))
    print(f"{kind}: {between} of {CLIPS} clips when the driver was killed; {'; '.join(found) or 'all as wanted'}")
    if not found:
        results.record(
            f"farm_{kind}{'_url' * url}", took, alone, digits=1, write=write, versions=versions(kind),
            peer_name="the same clips by wan-animate run, one after the other in one process, nothing killed",
            clips=CLIPS, shots=SHOTS * 2, killed=["a worker", "the driver"], done_before_the_driver_was_killed=between,
            identical=CLIPS, made_again=0, left_over=0, poisoned="failed alone",
            note="two workers on one machine", **load(),
        )  # fmt: skip
    return found


def load() -> dict[str, Any]:
    """The machine's cores (``os.cpu_count()``), and its load of the last 15 minutes, this benchmark's own included."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[2], 1)}


def versions(kind: str) -> dict[str, str | None]:
    made = results.versions("torch", "diffusers")
    return made | ({"ray": results.version_of("ray")} if kind == "ray" else {})


# -- ComfyUI servers


def server_inputs(folder: Path, *servers: Any) -> Path:
    """The shipped workflow with the small weights and the known pose, and tables; the workflow."""
    from demo import graphs

    graph = graphs.load_graph("animate")
    for server in servers:
        server.upload(folder / "short.npz")
        server.upload(folder / "robot_pose.npz")
    graphs.use_small_models(graph, "dancer", "robot_pose.npz")
    graphs.use_track(graph, "short.npz", 128, 96)
    sampling = {"segment_length": LIMIT, "guidance_frames": 1, "steps": 1, "sampler_name": "euler"}
    graphs.set_inputs(graph, f"{graphs.KIT}Animate", **sampling)
    # Chosen by timing, it need not be the same on two servers, and other kernels round otherwise.
    graphs.set_inputs(graph, f"{graphs.KIT}Accelerate", attention="host default")
    graphs.set_inputs(graph, f"{graphs.KIT}LoadVideo", width=128, height=96, fps=30.0)
    (folder / "animate.json").write_text(json.dumps(graph))
    for table, seed in (("servers", 0), ("more", 100), ("one", 500)):
        count = 1 if table == "one" else CLIPS
        lines = [
            f"clip{at:02},{seed + at},0,{2 * LIMIT},anew" if at < SHOTS else f"clip{at:02},{seed + at},0,{LIMIT},chain"
            for at in range(count)
        ]
        lines.insert(3, f"{POISONED},99,5000,{LIMIT},chain")
        (folder / f"{table}.csv").write_text("\n".join(["name,seed,start,limit,at_cuts", *lines]))
    return folder / "animate.json"


def on_servers(folder: Path, place: Path, write: bool) -> list[str]:
    from demo.host import require_host
    from demo.server import HostServer

    host, models = require_host(), small_models.make()
    place.mkdir()

    def start(name: str) -> HostServer:
        models.copy_to(place / name / "models")
        return HostServer(host, place / name)

    def command(table: str, out: Path, *servers: HostServer) -> list[str]:
        urls = ",".join(server.url for server in servers)
        given = [f"--image={folder / 'robot.png'}", f"--video={folder / 'driver.mp4'}"]
        more = ["--servers", urls, f"--workflow={workflow}", "--out", out, *given]
        return shell("batch", folder / f"{table}.csv", *more)

    def timed(table: str, name: str, *servers: HostServer) -> float:
        begun = time.perf_counter()
        with (place / "log").open("ab") as said:
            subprocess.run(command(table, place / name, *servers), stdout=said, stderr=said, cwd=ROOT)
        return time.perf_counter() - begun

    out, log = place / "out", place / "killed.log"
    with start("first") as first:
        with start("second") as second:
            workflow = server_inputs(folder, first, second)
            watch = Watch(out, out / ".none")
            watch.segments = lambda: 10**6  # type: ignore[method-assign]
            drive(command("servers", out, first, second), watch, log, [(3, kill)])
            lost = [(6, lambda _driver: os.killpg(second.pid, signal.SIGKILL))]
            code = drive(command("servers", out, first, second), watch, log, lost)
        with start("third") as third:  # which has none of these clips
            server_inputs(folder, third)
            timed("one", "warm", third)
            one = timed("servers", "alone", third)
            two = timed("more", "both", first, third)
        found = faults(out, place / "alone", watch, code, log.read_text())
    print("\n".join(log.read_text().splitlines()[-4:]))
    print(f"servers: {'; '.join(found) or 'all as wanted'}")
    if not found:
        results.record(
            "farm_servers", two, one, digits=1, write=write, versions=results.versions("torch"),
            peer_name="one ComfyUI server", clips=CLIPS, shots=SHOTS * 2, comfyui=host.version,
            jobs_an_hour={"two": round(3600 * CLIPS / two, 1), "one": round(3600 * CLIPS / one, 1)},
            killed=["the driver", "a server"], identical=CLIPS, made_twice=0, left_over=0, poisoned="failed alone",
            note=f"both servers on one machine, {os.environ['OMP_NUM_THREADS']} thread of torch each", **load(),
        )  # fmt: skip
    return found


def main(kinds: list[str], url: bool, write: bool) -> int:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, whole = Path(name) / "in", Path(name) / "whole"
        folder.mkdir()
        write_inputs(folder)
        found, alone = [], 0.0
        if kinds != ["servers"]:
            alone = serial(folder, whole)
            print(f"one after the other: {alone:.0f} s", flush=True)
        for kind in kinds:
            place = Path(name) / kind
            if kind == "servers":
                found += on_servers(folder, place, write)
            else:
                found += farm(kind, folder, place, whole, alone, url, write)
    return bool(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=["processes", "ray", "servers"], action="append")
    parser.add_argument("--url", action="store_true", help="unfinished work behind an fsspec URL (file://)")
    parser.add_argument("--dry", action="store_true", help="write no result")
    given = parser.parse_args()
    sys.exit(main(given.on or ["processes", "ray", "servers"], given.url, not given.dry))
