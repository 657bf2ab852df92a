"""How much of a detector's jitter cleaning leaves, and how far the face box of a still head moves.

Gaussian errors of known size are added to a track. What :func:`clean_track` leaves of them is measured against the
track itself: mean error of the shown points, lag (least squares on the track's own velocity), and what cleaning
changes on a track without errors. The claim: errors of 4 pixels at 480p. Printed too: other sizes, errors that are
correlated in time, generated motion, and the best that choosing a smoother for each joint could do.

The face box: the middle frame's face held still, errors of 3 pixels; mean motion of the box's centre a frame, ours and
without steadying (upstream's box).

Takes the example's real track (``--track``, else from ``WAN_ANIMATE_EXAMPLES`` or ``shared/examples`` next to the
project), or generated motion. Writes ``results/clean_noise.json`` and ``results/face_steady.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402
from demo.example import examples_folder  # noqa: E402
from demo.figure import figure_keypoints  # noqa: E402
from wan_animate.face.boxes import face_boxes  # noqa: E402
from wan_animate.pose.clean import clean_track  # noqa: E402
from wan_animate.pose.track import PoseTrack  # noqa: E402
from wan_animate.time_series import HINT, fill_in, whittaker_smoothers  # noqa: E402

WIDTH, HEIGHT = 854, 480
ERROR, FACE_ERROR = 4.0, 3.0
PARTS = {"all": slice(0, 133), "body": slice(0, 17), "hands": slice(91, 133), "face": slice(23, 91)}


def generated() -> PoseTrack:
    return PoseTrack(np.stack([figure_keypoints(at / 30, WIDTH, HEIGHT) for at in range(150)]), WIDTH, HEIGHT)


def with_errors(track: PoseTrack, size: float, alike: float = 0.0) -> PoseTrack:
    """The track with Gaussian errors of ``size`` pixels, correlated by ``alike`` from frame to frame."""
    errors = np.random.default_rng(0).normal(size=(*track.keypoints.shape[:2], 2)) * size
    for frame in range(1, len(errors)):
        errors[frame] = alike * errors[frame - 1] + np.sqrt(1 - alike**2) * errors[frame]
    keypoints = track.keypoints.copy()
    keypoints[..., :2] += errors
    return track.replaced(keypoints)


def mean_error(track: PoseTrack, truth: PoseTrack, part: slice) -> float:
    way = np.linalg.norm(track.keypoints[..., :2] - truth.keypoints[..., :2], axis=2)[:, part]
    return float(way[(truth.keypoints[..., 2] >= 0.5)[:, part]].mean())


def lag(track: PoseTrack, truth: PoseTrack) -> float:
    points, shown = truth.keypoints[..., :2].astype(float), truth.keypoints[..., 2] >= 0.5
    velocity = np.gradient(points, axis=0)
    late = ((track.keypoints[..., :2] - points) * velocity)[shown].sum() / (velocity**2)[shown].sum()
    return -float(late)


def measure(name: str, truth: PoseTrack, size: float, alike: float = 0.0) -> tuple[float, float]:
    """Mean error after cleaning and before."""
    rough = with_errors(truth, size, alike) if size else truth
    start = time.perf_counter()
    cleaned = clean_track(rough)
    speed = (time.perf_counter() - start) / len(truth) * 1000
    before = {part: mean_error(rough, truth, members) for part, members in PARTS.items()}
    after = {part: mean_error(cleaned, truth, members) for part, members in PARTS.items()}
    way = np.linalg.norm(cleaned.keypoints[..., :2] - truth.keypoints[..., :2], axis=2)
    way = way[truth.keypoints[..., 2] >= 0.5]
    words = [f"{part} {after[part]:.2f}" + (f" ({after[part] / before[part]:.2f})" if size else "") for part in PARTS]
    print(
        f"{name:9} errors {size:g}{f', {alike:g} alike' if alike else '':12} left: {', '.join(words)}; "
        f"95 of 100 below {np.quantile(way, 0.95):.2f}, largest {way.max():.1f}; "
        f"lag {lag(cleaned, truth):+.3f} frames; {speed:.2f} ms a frame"
    )
    return after["all"], before["all"]


def best_smoother(truth: PoseTrack, size: float) -> float:
    """Share of the errors that is left when the truth chooses for every joint which of our smoothers it gets: the
    limit of smoothing joint by joint."""
    rough, shown = with_errors(truth, size), truth.keypoints[..., 2] >= 0.5
    known = np.tile(shown, 2)
    signals = np.concatenate([rough.keypoints[..., 0], rough.keypoints[..., 1]], axis=1).astype(float)
    fits = whittaker_smoothers(fill_in(signals, known), np.where(known, 1.0, HINT), 0.0)[0]
    count = shown.shape[1]
    way = [
        fits[..., part] - truth.keypoints[:, None, :, axis]
        for axis, part in enumerate((slice(count), slice(count, None)))
    ]
    error = (np.hypot(*way) * shown[:, None]).sum(axis=0).min(axis=0)
    return float(error.sum() / shown.sum() / mean_error(rough, truth, PARTS["all"]))


def box_motion(boxes: np.ndarray) -> float:
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return float(np.linalg.norm(np.diff(middle, axis=0), axis=1).mean())


def main(path: Path) -> None:
    dancer = generated()
    real = PoseTrack.load(path) if path.is_file() else None
    whole = dancer if real is None else real
    truth = dancer if real is None else real.scaled(WIDTH, HEIGHT)
    source = "a generated dance" if real is None else "upstream's example clip"
    clean_track(dancer.slice(0, 30))  # the first call pays for loading
    tracks = {"generated": dancer} | ({} if real is None else {"example": truth})
    for name, track in tracks.items():
        for size, alike in ((0, 0), (1, 0), (2, 0), (4, 0), (8, 0), (4, 0.5), (4, 0.8)):
            measure(name, track, size, alike)
    sizes = (1, 2, 4, 8)
    best = ", ".join(f"{size} pixels {best_smoother(truth, size):.2f}" for size in sizes)
    print(f"the best smoother for every joint, chosen by the truth, leaves of errors of {best}")
    after, before = measure("claim", truth, ERROR)
    versions = results.versions("numpy", "cv2")
    results.record(
        "clean_noise",
        after,
        before,
        peer_name=f"the same track with its errors: Gaussian, {ERROR:g} pixels, on {source} at {WIDTH}x{HEIGHT}",
        unit="pixels, mean error of the shown points",
        versions=versions,
        digits=3,
    )
    middle = len(whole) // 2
    still = whole.replaced(np.repeat(whole.keypoints[middle : middle + 1], len(whole), axis=0))
    for error in (1.0, FACE_ERROR, 6.0):
        shaken = with_errors(still, error)
        ours, peer = (box_motion(face_boxes(shaken, steady=steady)[0]) for steady in (1, 0))
        print(f"face box of a still head, errors {error:g}: {ours:.3f} pixels a frame, unsteadied {peer:.3f}")
        if error == FACE_ERROR:
            found = ours, peer
    results.record(
        "face_steady",
        *found,
        peer_name=f"upstream's box of the same still face; errors {FACE_ERROR:g} pixels, on {source} at "
        f"{whole.width}x{whole.height}",
        unit="pixels a frame, motion of the box's middle",
        versions=versions,
        digits=3,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", type=Path, default=examples_folder() / "animate" / "video_pose.npz")
    main(parser.parse_args().track)
