"""Retargeting against upstream's on the same tracks: how far standing feet slide, how far limbs miss their length.

Upstream's ``wan/modules/animate/preprocess/retarget_pose.py`` runs from a checkout of Wan-Video/Wan2.2 (Apache-2.0):

    python benchmarks/retarget.py --upstream path/to/Wan2.2

The driver is a generated dance (``tests/support/motion.py``) on four bodies; the references stand frontally. Writes
``results/retarget_foot_slide.json`` (mean over the standing stretches of an ankle's largest distance from its mean
place; the clip begins with the frontal stance that upstream asks for) and ``results/retarget_limb_error.json`` (mean
over limbs of how far the longest length differs from the reference's; the clip begins in mid-dance, arms half towards
the camera). Both figures are printed for both beginnings.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()
sys.path.insert(0, str(ROOT))  # for tests.support; install() takes it off

import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402
from tests.support import motion  # noqa: E402
from tests.support import retarget_measures as measures  # noqa: E402
from wan_animate.pose.track import PoseTrack  # noqa: E402
from wan_animate.pose.wholebody import DRAWN_FIRST, DRAWN_SECOND  # noqa: E402
from wan_animate.retarget.retarget import retarget  # noqa: E402

Retarget = Callable[[PoseTrack, PoseTrack], PoseTrack]  # driver and reference to the result
BODIES = ("child", "giant", "long legs", "short arms")
# Limbs that upstream's skeleton has too; its hips hang off the neck each on its own.
LIMBS = tuple(limb for limb in measures.LIMBS if limb not in ("trunk", "hips", "shoulders"))


def upstream_retarget(checkout: Path) -> Retarget:
    """Upstream's retargeting of body and feet."""
    sys.path.insert(0, str(checkout / "wan" / "modules" / "animate" / "preprocess"))
    import pose2d_utils
    import retarget_pose

    retarget_pose.tqdm = lambda steps: steps

    def run(driver: PoseTrack, reference: PoseTrack) -> PoseTrack:
        def metas(track: PoseTrack) -> list[dict]:
            return pose2d_utils.load_pose_metas_from_kp2ds_seq(list(track.keypoints), track.width, track.height)

        clip, still = metas(driver), metas(reference)[0]
        drawn = retarget_pose.get_retarget_pose(copy.deepcopy(clip[0]), still, copy.deepcopy(clip), None, None)
        out = np.zeros_like(driver.keypoints)
        for points, meta in zip(out, drawn, strict=True):
            for i, (first, second) in enumerate(zip(DRAWN_FIRST, DRAWN_SECOND, strict=True)):
                if i != 1:  # the neck is the middle of the shoulders
                    points[[first, second], :2], points[[first, second], 2] = meta.kps_body[i], meta.kps_body_p[i]
        return PoseTrack(out, reference.width, reference.height, driver.fps)

    return run


def measured(run: Retarget, plain_start: bool) -> dict[str, float]:
    poses = motion.dance()
    if plain_start:
        poses[0] = motion.stance(motion.ADULT, wide=1.3)
    driver = motion.seen(poses, 960, 540, 220.0)
    standing = np.array([pose.standing for pose in poses])
    slides, errors, longest, angles = [], [], [], []
    for name in BODIES:
        reference = motion.picture_of(name)
        result = run(driver, reference)
        leg = measures.leg_size(reference) / measures.leg_size(result)
        slides += list(measures.slides(result, standing) / leg)
        for limb in LIMBS:
            share = np.nanmax(measures.limb_lengths(result, limb)) / measures.limb_lengths(reference, limb)[0]
            errors.append(abs(share - 1))
            longest.append(share)
        angles.append(measures.angle_error(result, driver))
    return {
        "slide": float(np.mean(slides)),
        "slide_max": float(np.max(slides)),
        "limb": float(np.mean(errors)),
        "longest": float(np.max(longest)),
        "angle": float(np.max(angles)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, default=os.environ.get("WAN_UPSTREAM"), help="a checkout of Wan2.2")
    checkout = parser.parse_args().upstream
    if not checkout:
        print("retarget: skipped; give a checkout of Wan-Video/Wan2.2 with --upstream or in WAN_UPSTREAM")
        return
    found = {}
    for who, run in (("ours", retarget), ("upstream", upstream_retarget(Path(checkout)))):
        for start in (True, False):
            values = found[who, start] = measured(run, start)
            shown = {key: round(value, 4) for key, value in values.items()}
            print(who, "from a plain stance" if start else "from mid-dance", shown)
    slides, limbs = (
        [100 * found[who, start][key] for who in ("ours", "upstream")]
        for key, start in (("slide", True), ("limb", False))
    )
    for claim, pair, unit in (
        ("retarget_foot_slide", slides, "percent of a leg, standing feet"),
        ("retarget_limb_error", limbs, "percent of the reference's limb"),
    ):
        results.record(
            claim,
            *pair,
            peer_name="upstream's get_retarget_pose on the same tracks (Wan-Video/Wan2.2)",
            unit=unit,
            versions=results.versions("numpy"),
            digits=3,
        )


if __name__ == "__main__":
    main()
