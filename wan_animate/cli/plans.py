"""What ``wan-animate plan`` prints, and where the shell keeps what its runs took."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..chain.controls import controls
from ..plan.cards import device_here
from ..plan.clip_plan import ClipPlan, plan_clip
from ..plan.measured import Runs
from ..plan.room import free_at
from ..plan.sample import lossless_size
from ..pose.track import PoseTrack, fit_track
from ..stitch.controls import cropped_controls
from ..video.picture import read_picture
from ..video.resample import fill_size
from ..video.source import VideoSource
from .checks import clip_options, more_images
from .options import RunOptions

FOLDER = "WAN_ANIMATE_CACHE"
"""Environment variable: the folder of :func:`runs` in place of the user's own for such files."""


def runs() -> Runs:
    """What the shell's runs took on this machine."""
    own = os.environ.get(FOLDER)
    if own:
        return Runs(Path(own) / "runs.json")
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Runs(base / "wan-animate" / "runs.json")


def plan_of(options: RunOptions, frames: VideoSource) -> ClipPlan:
    """The plan of the job that the options describe. No model is loaded: without ``--track`` the person is not looked
    for, and a mask is not made, so that shots, the window's shape and an empty mask are not known."""
    picture = read_picture(options.image, "the reference image")
    track = reference = None
    if options.track:
        track = fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    if options.reference_track and options.mode == "animate" and not options.no_retarget:
        reference = PoseTrack.load(options.reference_track)
    seen = None if track is None or not track.body_found.any() else track
    size = sampled = frames.width, frames.height
    if options.crop:
        full = frames.full_size()
        size = full.width, full.height
        window = None if seen is None else cropped_controls(full, seen, None, options.area, options.clean)
        sampled = fill_size(*size, options.area) if window is None else window.size
    elif seen is not None:
        size = sampled = controls(frames, seen, options.mode, reference=reference).size
    return plan_clip(
        size=size,
        frames=len(frames),
        fps=frames.fps,
        lossless=lossless_size(picture if options.mode == "animate" else frames, sampled),
        device=device_here(options.device),
        mode=options.mode,
        segment_length=options.segment,
        previous_frames=options.previous_frames,
        steps=options.steps,
        track=track,
        reference=reference,
        runs=runs(),
        free=free_at(options.out),
        sampled=sampled,
        options=clip_options(options, track),
        references=1 + len(more_images(options)),
        notes=frames.notes,
    )
