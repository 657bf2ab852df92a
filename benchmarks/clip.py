"""The whole job on a ComfyUI server over HTTP: our workflow against the host's own nodes, chained by hand.

The server is started without flags. Transformer, VAE and CLIP ViT-H have the real size and random weights (which time
like the real ones), read from files by the shipped workflow's loaders; prompt and pose are saved ones. Timed is:
reading the video, drawing the pose, cropping the faces, encoding, sampling, decoding, writing the mp4. Both sides get
the same clip, pose, faces, picture, seed, steps and sampler. The host's side is its own template, once a segment:
WanAnimateToVideo, KSampler, Trim Video Latent, VAE Decode, then Create Video and Save Video; its pose and faces come
from our nodes as images.

*Cold* is a server's first job, with an empty kernel cache and with one that an earlier server filled; *warm* a later
job of the same server with another seed. A job after one of the other side has to load its model again and counts as
neither.

    python benchmarks/clip.py                             # 832x480, two segments, 4 steps; needs a card with 70 GB
    python benchmarks/clip.py --sizes 480p,720p --segments 2,5
    python benchmarks/clip.py --jobs ours,ours,peer,peer  # which jobs, in this order; "new" starts another server
    python benchmarks/clip.py --segments 2,5,2,5 --jobs 'ours,ours;ours;peer,peer;peer'  # orders by number of segments
    python benchmarks/clip.py --sizes 720p --warm-up 480p --jobs ours,peer  # each side is warmed up by a job of 480p
    python benchmarks/clip.py --small                     # small weights and pictures, on a CPU; writes nothing

Writes ``results/clip_480p_4.json`` (two segments, warm), ``clip_480p_4_five.json``, ``clip_480p_4_cold.json``
(empty kernel cache) and ``clip_480p_4_cold_cached.json``, and the same for 720p. With ``flash-attn-4`` installed the
names end in ``_fa4``.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from benchmarks.clip_graphs import CLIP_VISION, Inputs, host_graph, long_clip, our_graph  # noqa: E402
from benchmarks.meters import Meters, Usage  # noqa: E402
from demo import graphs, host, small_models  # noqa: E402
from demo.server import HostServer  # noqa: E402

KIT = graphs.KIT
AREAS = {"480p": (832, 480), "720p": (1280, 720), "small": (160, 96)}
LENGTH = 77
MODEL, VAE = "random_animate_14B_bf16.safetensors", "random_wan_2.1_vae.safetensors"
NAMES = {2: "", 5: "_five"}


@dataclass
class Job:
    """A finished job: whose, what it took, and when its first step was done."""

    side: str
    state: str  # "cold", "warm", or "switched" after a job of the other side
    usage: Usage
    first_step: float
    nodes: list[tuple[str, float]] = field(default_factory=list)

    def said(self) -> str:
        busy, later = self.usage.busy_share(), self.usage.busy_share(self.first_step)
        card = "" if busy is None else f", card busy {busy:.0%} ({later:.0%} from the first step on)"
        vram = "" if self.usage.vram_gb is None else f", card {self.usage.vram_gb:.1f} GB"
        slow = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.nodes if seconds >= 0.5)
        return (
            f"{self.side} {self.state}: {self.usage.seconds:.1f} s, first step done after "
            f"{self.first_step:.1f} s{card}{vram}, RAM {self.usage.ram_gb:.1f} GB, of it without a file behind it "
            f"{self.usage.ram_anonymous_gb:.1f} GB ({slow})"
        )


def full_models(folder: Path | None) -> Path:
    """``folder``/models, by default that of :func:`main`, with weights of the real size, made where there are none."""
    models = base_folder(folder) / "models"
    if not (models / "diffusion_models" / MODEL).exists():
        for name in ("diffusion_models", "vae", "clip_vision"):
            (models / name).mkdir(parents=True, exist_ok=True)
        make_weights(models)
    return models


def base_folder(given: Path | None) -> Path:
    return given or Path(tempfile.gettempdir()) / "wan-animate-clip"


def make_weights(folder: Path) -> None:
    """Write a transformer, a VAE and a CLIP of the real size, in a process of its own, which frees its memory."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from benchmarks import clip; clip.write_weights(Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT), str(folder)], check=True)


def write_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from benchmarks.step import FULL, random_weights
    from demo.small_vae import vae_shapes

    weights = {name: tensor.cpu().contiguous() for name, tensor in random_weights(40, **FULL).items()}
    save_file(weights, folder / "diffusion_models" / MODEL)
    generator = torch.Generator().manual_seed(0)
    vae: dict[str, torch.Tensor] = {}
    for name, shape in vae_shapes(96).items():
        spread = 0.1 if name.endswith(("gamma", "bias")) else 1 / math.sqrt(math.prod(shape[1:]))
        vae[name] = torch.randn(shape, generator=generator) * spread + name.endswith("gamma")
    save_file(vae, folder / "vae" / VAE)
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes: dict[str, Any] = dict(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14
    )
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, projection_dim=1024, hidden_act="gelu"))
    numbers = {name: one.half().contiguous() for name, one in clip.state_dict().items() if "position_ids" not in name}
    save_file(numbers, folder / "clip_vision" / CLIP_VISION)


class Follower:
    """A job's messages: how long each node ran, and when the sampler's first step was done."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self.graph, self.began, self.at = graph, time.time(), time.time()
        self.node: str | None = None
        self.nodes: list[tuple[str, float]] = []
        self.first_step = math.nan
        self.samplers = {*graphs.nodes_of(graph, f"{KIT}Animate"), *graphs.nodes_of(graph, "KSampler")}

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node"):
            self.next(data["node"])
        if kind == "progress_state" and math.isnan(self.first_step):
            if any(data["nodes"].get(node, {}).get("value", 0) >= 1 for node in self.samplers & data["nodes"].keys()):
                self.first_step = time.time() - self.began

    def next(self, node: str | None) -> None:
        now = time.time()
        if self.node:
            name = self.graph[self.node]["class_type"].replace(KIT, "")
            self.nodes.append((name, now - self.at))
        self.node, self.at = node, now


def run_job(server: HostServer, meters: Meters, side: str, inputs: Inputs, seed: int, state: str) -> Job:
    graph = (our_graph if side == "ours" else host_graph)(inputs, seed)
    follower = Follower(graph)
    meters.begin()
    server.run(graph, follower, timeout=3600)
    usage = meters.end()
    follower.next(None)
    return Job(side, state, usage, follower.first_step, follower.nodes)


class Session:
    """The running server and its kernel cache."""

    def __init__(self, found: host.Host, base: Path, arguments: argparse.Namespace) -> None:
        self.found, self.base, self.arguments, self.seed = found, base, arguments, 1
        self.server: HostServer | None = None
        self.meters: Meters | None = None
        self.last: str | None = None  # the side of the job before
        self.caches: list[str] = []

    def start(self, empty: bool = False) -> None:
        """Start another server; with ``empty``, or as the first, with an empty kernel cache."""
        self.stop()
        if empty or not self.caches:
            self.caches.append(tempfile.mkdtemp(prefix="kernels-"))
        os.environ["TRITON_CACHE_DIR"] = os.path.join(self.caches[-1], "triton")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(self.caches[-1], "inductor")
        pages = str(self.base / "models" / "frontend")
        extra = ("--front-end-root", pages, *self.arguments.server_args.split())
        self.server, self.last = HostServer(self.found, base_dir=self.base, extra_args=extra), None
        self.server.start()
        self.meters = Meters(self.server.pid).__enter__()

    def inputs(self, **given: Any) -> Inputs:
        """Copy the files to the server's input folder, each once, so that what it has cached of them stays valid."""
        assert self.server is not None
        for name in ("image", "video", "track", "character"):
            path = given[name]
            if path not in self._placed:
                shutil.copyfile(path, self.server.base_dir / "input" / path.name)
                self._placed.add(path)
            given[name] = path.name
        return Inputs(**given)

    def stop(self) -> None:
        self._placed: set[Path] = set()
        if self.server is not None:
            if self.meters is not None:
                self.meters.__exit__()
            if self.arguments.log:
                print(self.server.log()[-self.arguments.log :], flush=True)
            self.server.stop()
            self.server = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        for cache in self.caches:
            shutil.rmtree(cache, ignore_errors=True)


def main(arguments: argparse.Namespace) -> int:
    found = host.require_host(arguments.comfy)
    base = base_folder(arguments.folder)
    models = base / "models"
    for folder in ("diffusion_models", "vae", "clip_vision", "frontend"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    (models / "frontend" / "index.html").write_text("no pages are asked for here")
    small_models.make().copy_to(models)
    if not arguments.small and not (models / "clip_vision" / CLIP_VISION).exists():
        make_weights(models)
    jobs: dict[tuple[str, int], list[Job]] = {}
    with Session(found, base, arguments) as session:
        for size in ("small",) if arguments.small else arguments.sizes.split(","):
            for count, order in zip(arguments.segments.split(","), itertools.cycle(arguments.jobs.split(";"))):
                done = jobs.setdefault((size, int(count)), [])
                done += run_jobs(session, size, int(count), order.split(","), arguments)
                report(done, size, int(count), found.version, arguments)
    return 0


def run_jobs(session: Session, size: str, count: int, order: list[str], arguments: argparse.Namespace) -> Iterator[Job]:
    """The jobs of ``order`` for one size and number of segments."""
    from wan_animate.video.resample import fill_size

    example, length = arguments.example, 5 if arguments.small else LENGTH
    # the example has a segment and a third: longer clips play it back and forth
    frames = 106 if count == 2 and not arguments.small else length + (count - 1) * (length - 1)
    video, track = long_clip(example, frames, session.base, (320, 192) if arguments.small else None)
    area = AREAS[size]
    fitted = fill_size(*((320, 192) if arguments.small else (1920, 1080)), area[0] * area[1])
    names = (small_models.TRANSFORMER_NAME, small_models.VAE_NAME) if arguments.small else (MODEL, VAE)
    for side in order:
        if side in ("new", "empty") or session.server is None:
            session.start(side == "empty")
        if side in ("new", "empty"):
            continue
        assert session.server is not None and session.meters is not None
        if session.last != side and arguments.warm_up not in ("", size):
            for _ in run_jobs(session, arguments.warm_up, count, [side], arguments):
                pass  # not counted
        inputs = session.inputs(
            image=example / "image.jpeg", video=video, track=track, character=example / "image_pose.npz", frames=frames,
            area=area, size=fitted, model=names[0], vae=names[1], steps=arguments.steps, length=length,
        )  # fmt: skip
        state = "cold" if session.last is None else "warm" if session.last == side else "switched"
        job = run_job(session.server, session.meters, side, inputs, session.seed, state)
        session.last, session.seed = side, session.seed + 100
        print(f"{size}, {count} segments, {job.said()}", flush=True)
        yield job


def report(jobs: list[Job], size: str, count: int, version: str, arguments: argparse.Namespace) -> None:
    base = f"clip_{size}_{arguments.steps}{NAMES.get(count, f'_{count}')}{results.attention_package()}"
    warm, cold = (
        {side: [job for job in jobs if (job.side, job.state) == (side, state)] for side in ("ours", "peer")}
        for state in ("warm", "cold")
    )

    def median(found: list[Job], value: Callable[[Job], float]) -> float:
        return statistics.median(value(job) for job in found)

    def claim(name: str, ours: list[Job], peer: list[Job], **more: Any) -> None:
        if not ours or not peer:
            return
        sides = {"ours": ours, "peer": peer}
        results.record_on_host(
            name, median(ours, lambda job: job.usage.seconds), median(peer, lambda job: job.usage.seconds), version,
            write=not arguments.small,
            peer_name=f"ComfyUI {version}, its own nodes chained, same server settings and machine",
            seconds={side: [round(job.usage.seconds, 1) for job in found] for side, found in sides.items()},
            first_step_after={side: round(median(one, lambda job: job.first_step), 1) for side, one in sides.items()},
            card_busy={side: shares(found, 0.0) for side, found in sides.items()},
            card_busy_from_first_step={side: shares(found, None) for side, found in sides.items()},
            vram_peak_gb={side: max(job.usage.vram_gb or 0 for job in found) for side, found in sides.items()},
            ram_peak_gb={side: round(max(job.usage.ram_gb for job in found), 1) for side, found in sides.items()},
            ram_anonymous_peak_gb={
                side: round(max(job.usage.ram_anonymous_gb for job in found), 1) for side, found in sides.items()
            },
            segments=count,
            settings="the workflow's defaults, 4 steps of euler, no flags" + arguments.server_args,
            **more,
        )  # fmt: skip

    claim(base, warm["ours"], warm["peer"])
    claim(f"{base}_cold", cold["ours"][:1], cold["peer"][:1], how="first job of a server, kernel cache empty")
    claim(f"{base}_cold_cached", cold["ours"][1:], cold["peer"][:1], how="first job of a server, kernel cache filled")


def shares(found: list[Job], start: float | None) -> float | None:
    seen = [job.usage.busy_share(job.first_step if start is None else start) for job in found]
    values = [value for value in seen if value is not None]
    return round(statistics.median(values), 3) if values else None


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfy", type=Path, help="the folder with ComfyUI's main.py")
    parser.add_argument("--example", type=Path, default=ROOT.parent / "shared" / "examples" / "animate",
                        help="a folder with video.mp4, video_pose.npz, image.jpeg and image_pose.npz")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where weights and the server's folders go (40 GB)")
    parser.add_argument("--sizes", default="480p")
    parser.add_argument("--segments", default="2")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument(
        "--jobs", default="ours,ours,new,ours,new,peer,peer", help="in order; by number of segments with ;"
    )
    parser.add_argument(
        "--warm-up", default="", choices=("", *AREAS), help="a size: before a side's first job one of this size is run"
    )
    parser.add_argument("--server-args", default="", help="flags for the server, in one word")
    parser.add_argument("--log", type=int, default=0, help="print so many characters of the server's log")
    parser.add_argument("--small", action="store_true", help="small weights and pictures, on the CPU")
    return parser


if __name__ == "__main__":
    sys.exit(main(options().parse_args()))
