"""Whether the boundaries between segments show, with an error and noise of a known size in every segment.

The real chain (``chain.generate``) with a stand-in for the networks: the video VAE loses nothing, and the denoiser
passes a known clip through, and adds to each segment, its previous frames included, an error that stays within the
segment and is another one in the next:

- ``light``: a smooth field over the picture, in 1/255, as when shading is made anew
- ``shift``: the picture moved by part of a pixel, as when edges are drawn anew
- ``both``

and to each frame grain of its own. ``seam_ratio`` is the mean absolute difference of neighbouring frames at the
boundary that shows most (the largest anywhere in a cross-fade) over the median inside segments; ours is a cross-fade of
5 in 5 previous frames, the peer the plain way (a cut, as the host's graph and upstream join segments), in the same run
and without colour correction. Also printed: other numbers of previous frames, and how sharp (by the Laplacian's
variance) the softest blended frame is next to the others.

    python benchmarks/seam.py [--small] [--strip docs/seam.png]
"""

from __future__ import annotations

import argparse
import functools
import logging
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from einops import rearrange  # noqa: E402

from benchmarks import results  # noqa: E402
from wan_animate.chain.control_sources import Controls  # noqa: E402
from wan_animate.chain.generate import generate  # noqa: E402
from wan_animate.chain.job import AnimateJob  # noqa: E402
from wan_animate.chain.latents import with_still  # noqa: E402
from wan_animate.chain.options import ClipOptions  # noqa: E402
from wan_animate.chain.ports import SegmentConditioning, StepCallback  # noqa: E402
from wan_animate.chain.seams import boundary_frames  # noqa: E402
from wan_animate.chain.segments import SegmentPlan  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.video.frames import TensorSource, as_unit_float  # noqa: E402

LIGHT = 3.0  # of 255, mean size of the field
SHIFT = 0.25  # pixels
GRAIN = 1.5  # of 255, standard deviation
ERRORS = {"light": (LIGHT, 0.0), "shift": (0.0, SHIFT), "both": (LIGHT, SHIFT)}
WAYS = ((1, 0), (1, 1), (5, 0), (5, 5), (9, 9))  # previous frames, cross-fade
OURS, PLAIN = (5, 5), (5, 0)


class LosslessVAE:
    """Every pixel in a latent channel of its own: ``[n, H, W, 3]`` to ``[1, 768, k+1, H/8, W/8]``."""

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        frames = with_still(as_unit_float(frames), still)
        grouped = torch.cat((frames[:1].expand(3, -1, -1, -1), frames))
        return rearrange(grouped, "(t f) (h y) (w x) c -> 1 (f y x c) t h w", f=4, y=8, x=8)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = rearrange(latent, "1 (f y x c) t h w -> (t f) (h y) (w x) c", f=4, y=8, x=8, c=3)
        return frames[3:].clamp(0.0, 1.0).contiguous()


class ErringDenoiser:
    """The pose video, with another error in each segment and grain in each frame."""

    steps, face_size, face_dtype = 1, 16, torch.float32

    def __init__(self, light: float, shift: float) -> None:
        self.light, self.shift = light, shift

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        vae = LosslessVAE()
        frames = vae.decode(conditioning.pose_latent).numpy()
        random = np.random.default_rng(conditioning.segment.index)
        height, width = frames.shape[1:3]
        coarse = random.normal(size=(4, 6, 3)).astype(np.float32)
        field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        field *= self.light / 255 / np.abs(field).mean()
        angle = random.uniform(0, 2 * np.pi)
        move = np.array([[1, 0, self.shift * np.cos(angle)], [0, 1, self.shift * np.sin(angle)]], np.float32)
        out = np.empty_like(frames)
        for at, frame in enumerate(frames):
            if self.shift:
                frame = cv2.warpAffine(
                    frame, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
                )
            out[at] = frame + field + random.normal(scale=GRAIN / 255, size=frame.shape)
        latent = vae.encode(torch.from_numpy(out.clip(0, 1)))
        on_step(1, 1, None)
        return torch.cat((conditioning.concat_latent[:, :, :1], latent), dim=2)


def _joint(x: float, y: float, unit: float, dx: float, dy: float) -> tuple[int, int]:
    """A point of the figure in sixteenths of a pixel."""
    return round((x + dx * unit) * 16), round((y + dy * unit) * 16)


def scene(count: int, width: int, height: int, pan: float) -> TensorSource:
    """A textured wall that moves by ``pan`` pixels a frame, and a figure that walks and waves before it."""
    random = np.random.default_rng(7)
    wide = int(width + abs(pan) * count + 2)
    wall = np.full((height, wide, 3), 0.45, np.float32)
    for cells in (3, 8, 24, 80):
        noise = random.normal(size=(cells, max(cells * wide // height, 1), 3)).astype(np.float32)
        wall += 0.05 * cv2.resize(noise, (wide, height), interpolation=cv2.INTER_CUBIC)
    for x in range(0, wide, 40):
        cv2.line(wall, (x, 0), (x + 13, height), (0.2, 0.25, 0.3), 2, cv2.LINE_AA)
    frames = np.empty((count, height, width, 3), np.uint8)
    for at in range(count):
        move = np.array([[1, 0, -pan * at], [0, 1, 0]], np.float32)
        frame = cv2.warpAffine(wall, move, (width, height), flags=cv2.INTER_LINEAR)
        turn, unit = 0.12 * at, height / 12
        x, y = width / 2 + 2.2 * unit * np.sin(0.05 * at), height * 0.45
        joint = functools.partial(_joint, x, y, unit)
        color, thick = (0.8, 0.45, 0.3), max(round(unit / 1.5), 1)
        for end in ((1.8 * np.cos(turn), -1 + 1.8 * np.sin(turn)), (-1.8 * np.cos(turn), -1 - 1.8 * np.sin(turn))):
            cv2.line(frame, joint(0, -1), joint(*end), color, thick, cv2.LINE_AA, 4)
        for side in (-1, 1):
            cv2.line(frame, joint(0, 2), joint(side * np.sin(turn), 5), (0.2, 0.25, 0.5), thick, cv2.LINE_AA, 4)
        cv2.line(frame, joint(0, -1.5), joint(0, 2), (0.25, 0.5, 0.35), 2 * thick, cv2.LINE_AA, 4)
        cv2.circle(frame, joint(0, -3), round(unit * 16), color, -1, cv2.LINE_AA, 4)
        frames[at] = frame.clip(0, 1) * 255 + 0.5
    return TensorSource(frames, 30)


def made(
    clip: TensorSource, way: tuple[int, int], error: tuple[float, float], length: int
) -> tuple[np.ndarray, SegmentPlan]:
    job = AnimateJob(
        torch.rand(clip.height, clip.width, 3), Controls(clip), segment_length=length, previous_frames=way[0],
        color="off", options=ClipOptions(crossfade=way[1]),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="wan-animate-seam-") as folder:
        frames = generate(job, ErringDenoiser(*error), LosslessVAE(), SegmentStore(folder))
        return frames.read(0, len(frames)), job.plan()


def ratios(frames: np.ndarray, plan: SegmentPlan) -> tuple[float, float]:
    """(difference at the boundary that shows most over the median inside, sharpness of blended frames over others)."""
    differences = np.array([cv2.absdiff(a, b).mean() for a, b in zip(frames[1:], frames[:-1])])
    sharp = np.array([cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F).var() for frame in frames])
    zones = list(boundary_frames(plan).values())
    inside = np.setdiff1d(np.arange(1, len(frames)), np.concatenate([np.array(zone) for zone in zones]))
    usual = np.median(differences[inside - 1])
    most = max(differences[zone.start - 1 : zone.stop - 1].max() for zone in zones)
    blended = [at for zone in zones for at in zone[:-1]]
    softest = sharp[blended].min() if blended else sharp[inside].min()
    return float(most / usual), float(softest / np.median(sharp[inside]))


def strip(frames: dict[str, np.ndarray], boundary: int, path: Path, before: int = 7, after: int = 2) -> None:
    """Rows of frames about a boundary, and below each its difference from the frame before, smoothed, 25 times."""
    rows = []
    for name, clip in frames.items():
        shown = range(boundary - before, boundary + after)
        crop = slice(clip.shape[2] // 5, clip.shape[2] * 4 // 5)
        pictures = np.concatenate([clip[at][:, crop] for at in shown], axis=1)
        change = np.concatenate(
            [
                cv2.GaussianBlur(np.abs(clip[at].astype(np.float32) - clip[at - 1])[:, crop], (0, 0), 2) - GRAIN
                for at in shown
            ],
            axis=1,
        )
        label = np.full((18, pictures.shape[1], 3), 255, np.uint8)
        cv2.putText(label, name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        rows += [label, pictures, (25 * change).clip(0, 255).astype(np.uint8)]
    picture = np.concatenate(rows)
    picture = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="smaller pictures and fewer segments; writes no result")
    parser.add_argument("--strip", type=Path, help="also write a picture of a boundary, PNG")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the boundaries that show are the bench's own
    width, height, length, segments = (160, 96, 21, 3) if options.small else (256, 144, 41, 5)
    worst: dict[tuple[int, int], float] = {}
    shown: dict[str, np.ndarray] = {}
    for name, pan in (("still", 0.0), ("moving", 2.0)):
        clip = scene(segments * (length - 5), width, height, pan)
        for error, sizes in ERRORS.items():
            for way in WAYS:
                frames, plan = made(clip, way, sizes, length)
                ratio, sharpness = ratios(frames, plan)
                worst[way] = max(worst.get(way, 0.0), ratio)
                print(
                    f"{name:6} {error:5} previous {way[0]} cross-fade {way[1]}: {ratio:.3f}, sharpness {sharpness:.3f}",
                    flush=True,
                )
                if name == "still" and error == "both" and way in (OURS, PLAIN):
                    shown["a cut" if way == PLAIN else "cross-fade over 5"] = frames
                    boundary = plan.segments[1].start + 5
    for way in WAYS:
        print(f"previous {way[0]}, cross-fade {way[1]}: at most {worst[way]:.3f}")
    if options.strip:
        strip(shown, boundary, options.strip)
    results.record(
        "seam_ratio",
        worst[OURS],
        worst[PLAIN],
        peer_name="a cut, the plain way",
        unit="frame difference at a boundary over the median inside segments",
        versions=results.versions("torch", "cv2"),
        write=not options.small,
        by_way={f"previous {previous}, cross-fade {fade}": round(worst[previous, fade], 4) for previous, fade in WAYS},
        light=LIGHT,
        shift=SHIFT,
        grain=GRAIN,
        scenes=f"still and moving, {segments} segments of {length}, 5 previous frames, cross-fade of 5",
    )


if __name__ == "__main__":
    main()
