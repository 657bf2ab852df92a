"""Upstream's files between its two halves: ``src_pose.mp4``, ``src_face.mp4``, ``src_ref.png`` and, to replace,
``src_bg.mp4`` and ``src_mask.mp4``.

Its ``preprocess_data.py`` writes them by moviepy, its ``wan/animate.py`` reads them by decord and OpenCV: H.264 in
yuv420p, the colours coded as BT.601 in limited range whatever the size, and untagged; no sound. A mask is 0 and 255 in
all three channels. A face is 512x512. ``src_ref.png`` is a copy of the picture, whatever its format.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from ..chain.control_sources import Controls
from ..errors import InputError
from ..files import replacing
from ..mask.convert import MaskFromImages
from ..video.decode import EXACT
from ..video.frames import FrameSource, as_uint8, reading_once
from ..video.picture import read_picture
from ..video.source import VideoSource
from ..video.write import ENCODER_THREADS

POSE, FACE, BACKGROUND, MASK = "src_pose.mp4", "src_face.mp4", "src_bg.mp4", "src_mask.mp4"
REFERENCE = "src_ref.png"
FACE_SIDE = 512
CRF = 10
"""x264's quality; moviepy's 23 smears thin bones and the mask's edge."""
_UNSPECIFIED, _BT601 = 2, 6  # ITU-T H.273 matrix coefficients


@dataclass
class Intermediates:
    """What one half of upstream hands to the other.

    Attributes:
        reference: the character, ``[H, W, 3]`` float32 RGB in 0..1, of any size.
        controls: the control videos.
    """

    reference: torch.Tensor
    controls: Controls

    @property
    def mode(self) -> str:
        """``"animate"`` or ``"replace"``."""
        return "animate" if self.controls.background is None else "replace"


class IntermediateVideo(VideoSource):
    """A video whose colours are BT.601 where it does not say otherwise; players take large ones for BT.709."""

    def _convert(self, frame: av.VideoFrame, out: np.ndarray | None = None) -> np.ndarray:
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            frame.colorspace = _BT601
        return super()._convert(frame, out)

    def fingerprint(self) -> str:
        return f"bt601:{super().fingerprint()}"


def read_intermediates(folder: str | os.PathLike, mode: str) -> Intermediates:
    """Those of upstream, or of :func:`write_intermediates`. Frames are read when they are asked for.

    Args:
        mode: ``"animate"`` or ``"replace"``.

    Raises:
        InputError: a file is missing or is no video or picture, or sizes and lengths differ.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that preprocess wrote (--save_path).")
    needed = [POSE, FACE, REFERENCE, *([BACKGROUND, MASK] if mode == "replace" else [])]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        remedy = "run preprocess with --save_path there"
        if set(missing) <= {BACKGROUND, MASK}:
            remedy = "run preprocess with --replace_flag, or generate without"
        raise InputError(f"the folder {folder} has no {', '.join(missing)}: {remedy}.")
    picture = read_picture(folder / REFERENCE, "the reference image")
    pose, face = (IntermediateVideo(folder / name, fps=0) for name in (POSE, FACE))
    controls = Controls(pose, face)
    if mode == "replace":
        mask = MaskFromImages(IntermediateVideo(folder / MASK, fps=0))
        controls = Controls(pose, face, IntermediateVideo(folder / BACKGROUND, fps=0), mask)
    controls.check()
    return Intermediates(picture, controls)


def write_intermediates(
    folder: str | os.PathLike, made: Intermediates, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Writes them, each when it is whole, a few frames at a time. Returns their paths.

    Args:
        folder: exists.
        progress: called with (frames written, all frames).

    Raises:
        InputError: the folder is not writable or full, or sizes and lengths differ.
    """
    folder, controls = Path(folder), made.controls
    controls.check()
    names = {POSE: controls.pose, FACE: controls.face, BACKGROUND: controls.background, MASK: controls.character_mask}
    sources = {name: source for name, source in names.items() if source is not None}
    with ExitStack() as files:
        writers = {name: files.enter_context(_video(folder / name, source)) for name, source in sources.items()}
        step = min(source.chunk for source in sources.values())
        for start in range(0, len(controls), step):
            stop = min(start + step, len(controls))
            with reading_once():
                for name, source in sources.items():
                    writers[name](_images(source, start, stop))
            if progress is not None:
                progress(stop, len(controls))
        # read_picture turned it upright and laid it on black, as upstream's cv2.imread does not
        with replacing(folder / REFERENCE, "the reference image") as temporary:
            _write_picture(temporary, made.reference)
    return [folder / name for name in (*sources, REFERENCE)]


def _images(source: FrameSource, start: int, stop: int) -> np.ndarray:
    """uint8 ``[n, H, W, 3]``; a mask is 0 or 255."""
    frames = as_uint8(source.read(start, stop))
    if source.kind == "mask":
        binary = np.where(frames >= 128, np.uint8(255), np.uint8(0))
        return np.repeat(binary[..., None], 3, axis=3)
    return frames


def _write_picture(path: str, picture: torch.Tensor) -> None:
    from PIL import Image

    pixels = (picture * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()
    Image.fromarray(pixels).save(path, format="PNG")


@contextmanager
def _video(path: Path, source: FrameSource) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends uint8 images ``[n, H, W, 3]``."""
    rate = Fraction(source.fps).limit_denominator(100_000)
    with replacing(path, path.name) as temporary, av.open(temporary, "w", format="mp4") as container:
        stream = cast(av.VideoStream, container.add_stream("libx264", rate=rate))
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
        stream.codec_context.time_base = 1 / rate
        # said, for readers that guess by the size; the others take BT.601
        stream.colorspace, stream.color_range = _BT601, ColorRange.MPEG
        stream.color_primaries, stream.color_trc = ColorPrimaries.SMPTE170M, ColorTrc.SMPTE170M
        stream.options = {"crf": str(CRF), "preset": "medium"}
        stream.codec_context.thread_type, stream.codec_context.thread_count = "FRAME", ENCODER_THREADS
        at = 0

        def append(images: np.ndarray) -> None:
            nonlocal at
            for image in images:
                frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = frame.reformat(
                    format="yuv420p", interpolation=EXACT, dst_colorspace="itu601", dst_color_range=ColorRange.MPEG
                )
                frame.pts, frame.time_base = at, 1 / rate
                container.mux(stream.encode(frame))
                at += 1

        yield append
        container.mux(stream.encode(None))
