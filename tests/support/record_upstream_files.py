"""Record the frames that upstream's own first half puts into its files for our drawn clip.

``python -m tests.support.record_upstream_files CHECKOUT``, where CHECKOUT is a clone of Wan-Video/Wan2.2 and matplotlib
is installed, writes ``tests/data/upstream_files.npz``. Its ``ProcessPipeline`` runs as it is; what stands in is what
needs weights (the dancer's true pose for the detectors, its outline for SAM 2) and what reads and writes videos.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np

from demo.example import Dancer, write_example
from demo.robot import character_keypoints
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.pose.track import PoseTrack
from wan_animate.video.source import VideoSource

from .record_upstream import TARGET as FUNCTIONS

TARGET = FUNCTIONS.with_name("upstream_files.npz")
AREA, FRAMES, SHOWN = (640, 360), 8, (0, 7)


def example(folder: Path) -> tuple[Path, Path, PoseTrack]:
    """The clip, the picture, and the pose of the clip's first frames."""
    video, picture = write_example(folder)
    dancer = Dancer(FRAMES / 30, (VideoSource(video).width, VideoSource(video).height))
    points = np.stack([dancer.keypoints(at) for at in range(FRAMES)])
    return video, picture, PoseTrack(points, dancer.width, dancer.height)


def in_frame(track: PoseTrack, width: int, height: int) -> PoseTrack:
    """The pose as a detector finds it in frames that upstream has laid on bars (``padding_resize``)."""
    scale = min(width / track.width, height / track.height)
    inner = np.array([int(scale * track.width), int(scale * track.height)])
    points = track.keypoints.copy()
    points[..., :2] *= inner / (track.width, track.height)
    points[..., :2] += (np.array([width, height]) - inner) // 2
    return PoseTrack(points, width, height)


def small(frame: np.ndarray) -> np.ndarray:
    """A face at a quarter of its side; others as they are."""
    return cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA) if frame.shape[:2] == (512, 512) else frame


class Reader:
    """decord's ``VideoReader`` of the first frames."""

    def __init__(self, path: str) -> None:
        self._source = VideoSource(path, fps=0, limit=FRAMES)

    def __len__(self) -> int:
        return len(self._source)

    def get_avg_fps(self) -> float:
        return float(self._source.fps)

    def get_frame_timestamp(self, _at: int) -> tuple[float, float]:
        return (len(self) - 1) / self.get_avg_fps(), len(self) / self.get_avg_fps()

    def get_batch(self, at: list[int]) -> Any:
        frames = np.concatenate([self._source.read(one, one + 1) for one in at])
        return SimpleNamespace(asnumpy=lambda: frames)


def pipeline(checkout: str, written: dict[str, np.ndarray], track: PoseTrack) -> Any:
    """Upstream's, whose videos go into ``written``."""

    class Clip:
        def __init__(self, frames: list[np.ndarray], fps: float) -> None:
            self._frames = np.stack(frames).astype(np.uint8)

        def write_videofile(self, path: str) -> None:
            written[Path(path).stem] = self._frames

    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        sys.modules[name] = made

    module("diffusers", FluxKontextPipeline=None)
    module("loguru", logger=SimpleNamespace(info=lambda *_: None))
    module("decord", VideoReader=Reader)
    module("moviepy")
    module("moviepy.editor", ImageSequenceClip=Clip)
    sys.modules["moviepy"].editor = sys.modules["moviepy.editor"]  # type: ignore[attr-defined]
    for name in ("sam2", "sam2.modeling", "sam2.modeling.sam", "sam2.modeling.sam.transformer"):
        module(name)
    sys.modules["sam2.modeling.sam"].transformer = sys.modules["sam2.modeling.sam.transformer"]  # type: ignore
    module("sam_utils", build_sam2_video_predictor=None)
    sys.path.insert(0, str(Path(checkout) / "wan" / "modules" / "animate" / "preprocess"))
    import pose2d_utils  # type: ignore
    from process_pipepline import ProcessPipeline  # type: ignore

    def found(frames: list[np.ndarray]) -> Any:
        height, width = frames[0].shape[:2]
        if len(frames) == 1 and len(frames) != len(track):
            points = character_keypoints(width, height)[None]  # the picture
        else:
            points = in_frame(track, width, height).keypoints
        return pose2d_utils.load_pose_metas_from_kp2ds_seq(points, width, height)

    def masks(frames: list[np.ndarray], _step: int, _poses: Any) -> list[np.ndarray]:
        height, width = frames[0].shape[:2]
        outline = PoseMaskSource(in_frame(track, width, height)).read(0, len(frames))
        return [(one >= 0.5 if one.dtype.kind == "f" else one >= 128).astype(np.uint8) for one in outline]

    made = ProcessPipeline.__new__(ProcessPipeline)
    made.pose2d, made.get_mask = found, masks
    return made


def main(checkout: str) -> None:
    written: dict[str, np.ndarray] = {}
    record: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        video, picture, track = example(Path(folder))
        run = pipeline(checkout, written, track)
        for mode in ("animate", "replace"):
            written.clear()
            out = Path(folder, mode)
            out.mkdir()
            run(str(video), str(picture), str(out), list(AREA), replace_flag=mode == "replace")
            assert Path(out, "src_ref.png").read_bytes() == picture.read_bytes()
            for name, frames in written.items():
                assert len(frames) == FRAMES, (mode, name, len(frames))
                for at in SHOWN:
                    record[f"{mode}_{name}_{at}"] = cv2.imencode(".png", small(frames[at])[..., ::-1])[1].ravel()
    np.savez_compressed(TARGET, **record)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
