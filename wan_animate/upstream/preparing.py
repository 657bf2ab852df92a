"""Upstream's first half (``wan/modules/animate/preprocess/process_pipepline.py``) with this engine's parts: the person
followed, poses cleaned, face crops that do not jump."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..chain.control_sources import Controls
from ..face.boxes import face_boxes
from ..face.crop import FaceCropSource
from ..mask.background import BackgroundSource
from ..mask.from_pose import PoseMaskSource
from ..mask.shape import ShapedMaskSource
from ..pose.clean import clean_track
from ..pose.draw import DrawnPoseSource
from ..pose.track import PoseTrack, fit_track
from ..retarget.placement import sized
from ..retarget.retarget import retarget
from ..video.frames import FrameSource
from ..video.resample import area_size
from .intermediates import Intermediates


@dataclass(frozen=True)
class MaskShape:
    """As of :func:`..mask.shape.shape_mask`."""

    iterations: int = 3
    k: int = 7
    w_len: int = 1
    h_len: int = 1


def replaced(
    picture: torch.Tensor,
    frames: FrameSource,
    track: PoseTrack,
    mask: FrameSource | None,
    shape: MaskShape,
    clean: float,
) -> Intermediates:
    """For replace: everything has the frames' size.

    Args:
        picture: the character, ``[H, W, 3]`` in 0..1.
        frames: the driving video at the result's size.
        track: its pose as detected.
        mask: the person; None takes the pose's outline.
        clean: of :func:`..pose.clean.clean_track`, 0..1.
    """
    track = fit_track(track, frames).onto(frames)
    face = _face(frames, track)
    track = clean_track(track, clean)
    shaped = ShapedMaskSource(
        PoseMaskSource(track) if mask is None else mask, shape.iterations, shape.k, shape.w_len, shape.h_len, cells=True
    )
    return Intermediates(picture, Controls(DrawnPoseSource(track), face, BackgroundSource(frames, shaped), shaped))


def animated(
    picture: torch.Tensor,
    frames: FrameSource,
    track: PoseTrack,
    area: int,
    clean: float,
    reference: PoseTrack | None = None,
    driver_edit: PoseTrack | None = None,
    reference_edit: PoseTrack | None = None,
) -> Intermediates:
    """For animate: the pose has the picture's shape, at ``area`` pixels.

    Args:
        picture: the character, ``[H, W, 3]`` in 0..1.
        frames: the driving video at its own size.
        track: its pose as detected.
        clean: of :func:`..pose.clean.clean_track`, 0..1.
        reference: the picture's pose, to retarget to; None keeps the driver's body, letterboxed.
        driver_edit, reference_edit: of :func:`..retarget.retarget.retarget`.
    """
    track = fit_track(track, frames).onto(frames)
    face = _face(frames, track)
    track = clean_track(track, clean)
    height, width = picture.shape[:2]
    if reference is None:
        pose = DrawnPoseSource.at_size(track, *area_size(width, height, area), fit="pad")
    else:
        pose = DrawnPoseSource(retarget(track, sized(reference, area), driver_edit, reference_edit))
    return Intermediates(picture, Controls(pose, face))


def _face(frames: FrameSource, track: PoseTrack) -> FaceCropSource:
    boxes, found = face_boxes(track)
    return FaceCropSource(frames, boxes, found=found)
