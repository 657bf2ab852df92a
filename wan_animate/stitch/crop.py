"""What lies in the window: frames, masks and the pose, at the window's sampled size."""

from __future__ import annotations

from concurrent.futures import wait
from dataclasses import replace

import numpy as np

from .. import workers
from ..errors import InputError
from ..mask.track import binary
from ..pose.track import PoseTrack
from ..video.derived import DerivedSource
from ..video.frames import FrameSource, as_uint8
from .boxes import Rectangle, whole_picture
from .resample import cut_out, cut_out_mask
from .window import CropWindow


class CroppedSource(DerivedSource):
    """The window's pixels at :attr:`.window.CropWindow.size`, uint8.

    Raises:
        InputError: the frames are masks, or not those of the window.
    """

    kind = "image"

    def __init__(self, source: FrameSource, window: CropWindow) -> None:
        if source.kind != "image":
            raise InputError("crop: frames are needed, but these are masks; connect the driving video.")
        window.check(source)
        super().__init__(source)
        self.window = window
        self.width, self.height = window.size
        self.start_seconds = source.start_seconds

    @property
    def native_scale(self) -> float:
        """As of :class:`..video.frames.FrameSource`, in the median frame."""
        return self.window.scale * (self.source.native_scale or 1.0)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width, 3), np.uint8)

        def cut(frames: np.ndarray, first: int) -> None:
            for at, frame in enumerate(as_uint8(frames), first):
                out[at - start] = cut_out(frame, _place(self.window, at), self.window.size)

        cutting = None
        try:
            for first, _, frames in self.source.batches(self.chunk, start, stop):
                if cutting is not None:
                    cutting.result()
                cutting = workers.submit(cut, frames, first)  # while the next are decoded
                del frames
            if cutting is not None:
                cutting.result()
        finally:
            if cutting is not None:
                wait((cutting,))
        return out

    def fingerprint(self) -> str:
        return f"cropped:{self.window.fingerprint()}:{self.source.fingerprint()}"


class CroppedMaskSource(DerivedSource):
    """The window's part of masks of any size, uint8 of 0 and 255.

    Args:
        mask: of the clip's frames.
        picture: where the clip's whole picture lies in the masks (:func:`.boxes.mask_picture`).
        frames: the frames that the window was made for.

    Raises:
        InputError: ``mask`` gives images or another number of frames.
    """

    kind = "mask"

    def __init__(self, mask: FrameSource, picture: Rectangle, frames: FrameSource, window: CropWindow) -> None:
        if mask.kind != "mask":
            raise InputError("crop: a mask is needed, but these are images; turn it into masks first.")
        if len(mask) != len(window):
            raise InputError(
                f"crop: the window has {len(window)} frames and there are {len(mask)} masks; make the mask from the "
                "same clip."
            )
        super().__init__(mask)
        self.window = window
        self.width, self.height = window.size
        self.start_seconds = frames.start_seconds
        x, y, width, height = whole_picture(frames)
        scale = np.array([picture[2] / width, picture[3] / height])
        self._places = np.concatenate(
            [(window.places[:, :2] - (x, y)) * scale + picture[:2], window.places[:, 2:] * scale], axis=1
        )

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width), np.uint8)
        for first, _, masks in self.source.batches(self.chunk, start, stop):
            for at, mask in enumerate(binary(masks), first):
                left, top, width, height = self._places[at].tolist()
                out[at - start] = cut_out_mask(mask, (left, top, width, height), self.window.size)
        out *= 255
        return out

    def is_black(self) -> bool | None:
        return self.source.is_black() or None

    def fingerprint(self) -> str:
        places = np.round(self._places[0], 3).tolist()
        return f"cropped:{places}:{self.window.fingerprint()}:{self.source.fingerprint()}"


def crop_track(track: PoseTrack, window: CropWindow) -> PoseTrack:
    """The pose in pixels of the window at its sampled size.

    Args:
        track: in pixels of the window's source frames (:meth:`..pose.track.PoseTrack.onto`).

    Raises:
        InputError: other frames than the window's.
    """
    if (track.width, track.height) != window.source_size or len(track) != len(window):
        width, height = window.source_size
        raise InputError(
            f"crop: the pose has {len(track)} frames of {track.width}x{track.height} and the window {len(window)} of "
            f"{width}x{height}; make the window from this pose."
        )
    scale = (np.array(window.size) / window.places[:, 2:])[:, None]
    corner = window.places[:, None, :2]
    keypoints = track.keypoints.astype(np.float64)
    # a part that was not found stays at 0, 0
    found = (track.keypoints != 0).any(axis=2, keepdims=True)
    keypoints[..., :2] = np.where(found, (keypoints[..., :2] - corner) * scale, 0)
    boxes = None
    if track.boxes is not None:
        boxes = track.boxes.astype(np.float64)
        boxes[:, :2] = (boxes[:, :2] - corner[:, 0]) * scale[:, 0]
        boxes[:, 2:4] = (boxes[:, 2:4] - corner[:, 0]) * scale[:, 0]
    pictures = np.concatenate([-window.places[:, :2], np.tile(window.source_size, (len(window), 1))], axis=1)
    width, height = window.size
    return replace(
        track,
        keypoints=keypoints.astype(np.float32),
        width=width,
        height=height,
        boxes=None if boxes is None else boxes.astype(np.float32),
        picture=None,
        pictures=pictures * np.tile(scale[:, 0], 2),
    )


def _place(window: CropWindow, at: int) -> Rectangle:
    left, top, width, height = window.places[at].tolist()
    return left, top, width, height
