"""Wan 2.2 Animate from Python: a character's picture performs a driving video. The engine, without ComfyUI.

A clip, from files to file, on a folder of diffusers weights::

    from wan_animate import AnimateJob, PoseTrack, VideoSource, generate
    from wan_animate.backends.diffusers import DiffusersDenoiser, load
    from wan_animate.chain.controls import controls
    from wan_animate.chain.store import SegmentStore
    from wan_animate.video.picture import read_picture

    frames = VideoSource("dance.mp4", fps=30, max_area=832 * 480)
    track = PoseTrack.load("dance.npz")  # or wan_animate.detect.detector.PoseDetector(...).detect(frames).track
    job = AnimateJob(read_picture("robot.png", "the reference image"), controls(frames, track), seed=1)
    transformer, vae, scheduler = load("Wan2.2-Animate-14B-Diffusers", device="cuda")
    denoiser = DiffusersDenoiser(transformer, scheduler, prompt)  # prompt: backends.diffusers.encode_prompt
    clip = generate(job, denoiser, vae, SegmentStore("work"), video="robot.mp4")
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chain.generate import generate
    from .chain.job import AnimateJob
    from .pose.track import PoseTrack
    from .video.source import VideoSource

# onnxruntime keeps a device id and events in the home folder and sends them to its maker. It reads this on its first
# import; its own disable_telemetry_events() comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["AnimateJob", "PoseTrack", "VideoSource", "generate"]

_MODULES = {
    "AnimateJob": ".chain.generate",
    "PoseTrack": ".pose.track",
    "VideoSource": ".video.source",
    "generate": ".chain.generate",
}


def __getattr__(name: str) -> Any:
    """Imports names of ``__all__`` on first use: ``import wan_animate`` alone loads no library."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
