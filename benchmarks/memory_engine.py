"""Memory that the engine takes for a long clip, without a host: 1,500 frames against 300.

Everything is real but the networks: the video is read, poses drawn, faces cropped, segments saved, the mp4 written and
the boundaries compared, while a stand-in for the VAE pools and enlarges and one for the transformer passes the pose
through. Counted is the process's resident memory that no file backs, at its peak, over what it had after a first job of
18 frames. 300 frames are four segments: fewer never have one being saved, one made and one read at the same time.
The clip is the drawn dancer at 480x272.

    python benchmarks/memory_engine.py                # a minute
    python benchmarks/memory_engine.py --frames 600   # writes nothing

Writes ``results/memory_engine.json``. :mod:`benchmarks.memory_growth` has the same of a ComfyUI server on a card.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.memory_growth import SIZE, write_driver  # noqa: E402
from benchmarks.meters import anonymous_bytes  # noqa: E402
from wan_animate.chain.control_sources import Controls  # noqa: E402
from wan_animate.chain.generate import generate  # noqa: E402
from wan_animate.chain.job import AnimateJob  # noqa: E402
from wan_animate.chain.latents import CachedVAE, LatentCache, with_still  # noqa: E402
from wan_animate.chain.ports import SegmentConditioning, StepCallback  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.face.boxes import face_boxes  # noqa: E402
from wan_animate.face.crop import FaceCropSource  # noqa: E402
from wan_animate.pose.draw import DrawnPoseSource  # noqa: E402
from wan_animate.pose.track import PoseTrack  # noqa: E402
from wan_animate.video.frames import as_unit_float  # noqa: E402
from wan_animate.video.source import VideoSource  # noqa: E402

WARM, SHORT, FPS = 18, 300, 30


class PoolingVAE:
    """The mean colour of 8x8 pixels of every fourth frame, and back."""

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        kept = as_unit_float(with_still(frames, still)[::4])
        pooled = F.avg_pool2d(kept.permute(0, 3, 1, 2), 8) * 2 - 1  # [t, 3, h, w]
        return F.pad(pooled.movedim(0, 1), (0, 0, 0, 0, 0, 0, 0, 13))[None]

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = latent[0, :3].movedim(0, 1) / 2 + 0.5  # [t, 3, h, w]
        out = torch.empty(4 * len(frames) - 3, 8 * frames.shape[2], 8 * frames.shape[3], 3)
        for at, frame in enumerate(out):
            frame[:] = F.interpolate(frames[(at + 3) // 4][None], scale_factor=8)[0].movedim(0, -1)
        return out.clamp_(0, 1)


class PassingDenoiser:
    steps, face_size, face_dtype = 1, 512, torch.float16

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        time.sleep(0.5)  # for what is read meanwhile
        return torch.cat((conditioning.concat_latent[:, :, :1], conditioning.pose_latent), dim=2)


class Peak:
    """The most anonymous memory of this process since :meth:`begin`, MB."""

    def __init__(self) -> None:
        self.most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def now() -> float:
        return anonymous_bytes(os.getpid()) / 1e6

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, self.now())
            time.sleep(0.02)


def run(folder: Path, count: int, seed: int, cache: LatentCache) -> None:
    track = PoseTrack.load(folder / f"driver_{count}.npz")
    boxes, found = face_boxes(track)
    with closing(VideoSource(folder / "driver.mp4", limit=count)) as video, tempfile.TemporaryDirectory() as made:
        controls = Controls(DrawnPoseSource(track), FaceCropSource(video, boxes, found))
        job = AnimateJob(torch.full((64, 64, 3), 0.5), controls, seed=seed)
        store = SegmentStore(Path(made) / "job")
        generate(job, PassingDenoiser(), CachedVAE(PoolingVAE(), cache), store, video=Path(made) / "clip.mp4").close()


def main(frames: int) -> None:
    import logging

    logging.getLogger("wan_animate").setLevel(logging.ERROR)  # the stand-ins' boundaries show
    peak, cache, most = Peak(), LatentCache(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_driver(folder, frames, SIZE, (WARM, SHORT, frames))
        run(folder, WARM, 0, cache)
        idle = peak.now()
        for seed, count in enumerate((SHORT, frames), 1):
            peak.most, start = 0.0, time.perf_counter()
            run(folder, count, seed, cache)
            most.append(peak.most - idle)
            print(f"{count} frames: peak +{most[-1]:.0f} MB, {time.perf_counter() - start:.0f} s", flush=True)
    results.record(
        "memory_engine", most[1], most[0], peer_name=f"the same job with {SHORT} frames",
        unit="MB of memory over idle, at its peak", digits=0, versions=results.versions("numpy", "av"),
        write=frames >= 1500, frames=frames, size="x".join(map(str, SIZE)), idle_mb=round(idle),
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1500)
    main(parser.parse_args().frames)
