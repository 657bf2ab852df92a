"""A driving clip and a character where there is no example clip: the dancer and the robot, drawn."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from demo.figure import draw_figure, figure_keypoints
from demo.importing import ROOT
from demo.robot import character_keypoints, draw_character
from wan_animate.video.frames import FrameSource

SIZE, FPS, SECONDS, RATE = (640, 360), 30, 2.1, 44100


class Dancer(FrameSource):
    """The dancer of :mod:`demo.figure`, drawn on reading."""

    def __init__(self, seconds: float = SECONDS, size: tuple[int, int] = SIZE, fps: int = FPS):
        self.width, self.height = size
        self.fps = Fraction(fps)
        self._length = round(seconds * fps)

    def __len__(self) -> int:
        return self._length

    def keypoints(self, frame: int) -> np.ndarray:
        """The joints of a frame: float32 ``[133, 3]``, x and y in pixels, confidence."""
        return figure_keypoints(float(frame / self.fps), self.width, self.height)

    def _read(self, start: int, stop: int) -> np.ndarray:
        frames = (draw_figure(self.keypoints(i), self.width, self.height) for i in range(start, stop))
        return np.stack(list(frames))

    def fingerprint(self) -> str:
        return f"dancer:{self._length}:{self.width}x{self.height}:{self.fps}"


def tone(seconds: float) -> dict[str, Any]:
    """A melody of three notes as ComfyUI's AUDIO: stereo float32 ``[1, 2, N]`` at 44.1 kHz."""
    import torch

    time = torch.arange(round(seconds * RATE)) / RATE
    pitch = torch.tensor([440.0, 554.37, 659.25])[(time * 3).long() % 3]
    wave = torch.sin(2 * torch.pi * torch.cumsum(pitch / RATE, 0)) * 0.2
    return {"waveform": torch.stack([wave, wave])[None], "sample_rate": RATE}


def write_example(folder: Path | str) -> tuple[Path, Path]:
    """Write ``dancer.mp4``, ``robot.png`` and the robot's pose into a folder unless they are there.

    Returns:
        The paths of video and image; the pose is ``robot_pose.npz`` in the same folder.
    """
    from PIL import Image

    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.write import write_video

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    video, image = folder / "dancer.mp4", folder / "robot.png"
    if not video.exists():
        write_video(video, Dancer(), tone(SECONDS), FPS)
    if not image.exists():
        temporary = image.with_suffix(".part")
        Image.fromarray(draw_character(*SIZE)).save(temporary, "PNG")
        os.replace(temporary, image)
    pose = folder / "robot_pose.npz"
    if not pose.exists():
        PoseTrack(character_keypoints(*SIZE)[None], *SIZE).save(pose)
    return video, image


def examples_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a real example clip (``animate/video.mp4``, ``animate/image.jpeg``): ``WAN_ANIMATE_EXAMPLES``, else
    ``shared/examples`` next to this repository. ``none`` means no clip."""
    named = environ.get("WAN_ANIMATE_EXAMPLES", "").strip()
    if named.lower() == "none":
        return ROOT / ".no-examples"
    return Path(named).expanduser().absolute() if named else ROOT.parent / "shared" / "examples"


def clip_at_hand(own: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> tuple[Path, Path, str]:
    """The driving video and the picture of the character: the example clip, else the drawn one.

    Args:
        own: the folder of the drawn clip (default: one in ``.cache/example``, named by the code that draws it).

    Returns:
        Their paths, and the small detectors for the video: a key of :data:`demo.small_models.DETECTION`.
    """
    video, image = (examples_folder(environ) / "animate" / name for name in ("video.mp4", "image.jpeg"))
    if video.is_file() and image.is_file():
        return video, image, "template"
    return *write_example(own or ROOT / ".cache" / "example" / _fingerprint()), "dancer"


def _fingerprint() -> str:
    """A hash of the code that draws clip and character."""
    digest = hashlib.sha256()
    for name in ("example.py", "figure.py", "robot.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:8]


def track_beside(path: Path) -> Path | None:
    """``NAME_pose.npz`` next to ``NAME.mp4`` or ``NAME.png``."""
    beside = path.with_name(f"{path.stem}_pose.npz")
    return beside if beside.is_file() else None
