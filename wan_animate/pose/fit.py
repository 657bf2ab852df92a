"""A pose track and the frames it is used with: a saved track is cut as the frames were cut from the video."""

from __future__ import annotations

from dataclasses import replace

from ..errors import InputError
from ..frames import FrameSource
from .track import PoseTrack


def fit_track(track: PoseTrack, frames: FrameSource, what: str = "pose") -> PoseTrack:
    """The part of a track that belongs to ``frames``; its coordinates stay as they are.

    A track as long as the frames is theirs, unless both know where in the video they begin and it is not the same
    place, or the rates differ (keypoints of other packs, which know no place, have any rate). Of a longer one, the
    frames' start, rate and count say which part: a track that does not know where it begins is of the whole video.
    Frames without a file behind them (pictures from another node) say no start, so only a track of their own length
    will do.

    Args:
        track: of the frames, or of a longer part of the same video at the same rate.
        frames: of any size.
        what: what the error calls the track.

    Raises:
        InputError: the track does not cover the frames, has another rate, or begins elsewhere.
    """
    count, fps = len(frames), float(track.fps)
    begins, own = frames.start_seconds, track.start_seconds
    if len(track) == count:
        drift = abs(fps / float(frames.fps) - 1) * count
        if begins is None or own is None or (drift <= 0.5 and abs(begins - own) * fps < 0.5):
            return track
    if begins is None and len(track) < count:
        raise InputError(
            f"{what}: it has {len(track)} frames and there are {count} pictures; detect the pose from these pictures."
        )
    if begins is None:
        raise InputError(
            f"{what}: it has {len(track)} frames and there are {count} pictures, which do not say where in the video "
            "they begin; load the video with Load Driving Video, or detect the pose from these pictures."
        )
    first = (begins - (own or 0.0)) * fps
    last = first + count - 1
    drift = abs(fps / float(frames.fps) - 1) * (abs(first) + count)
    if drift > 0.5:
        raise InputError(
            f"{what}: it has {fps:g} frames a second and the video is read at {float(frames.fps):g}; set the video's "
            f"fps to {fps:g}, or detect the pose again at {float(frames.fps):g}."
        )
    start = round(first)
    if start < 0 or start + count > len(track):
        beginning = "" if not own else f", beginning {own:.2f} s into the video,"
        raise InputError(
            f"{what}: it has {len(track)} frames{beginning} and does not cover the {count} frames from {begins:.2f} s "
            f"on (its frames {start} to {round(last)}); set start and limit within it, or detect the pose again."
        )
    return replace(track.slice(start, start + count), start_seconds=begins)
