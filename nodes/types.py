"""The pack's types on the graph, and IMAGE and MASK as frame sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    import torch

    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

Frames = io.Custom("FRAMES")
Track = io.Custom("POSE_TRACK")
Detector = io.Custom("POSE_DETECTOR")
Segmenter = io.Custom("SEGMENTER")
Window = io.Custom("CROP_WINDOW")
Options = io.Custom("CLIP_OPTIONS")


def valid(check: Callable[[], object]) -> bool | str:
    """For ``validate_inputs``: True, or the sentence of the InputError that ``check`` raises."""
    from ..wan_animate.errors import InputError

    try:
        check()
    except InputError as error:
        return str(error)
    return True


def in_limits(cls: type[io.ComfyNode], **values: Any) -> None:
    """For ``validate_inputs``: the limits and choices that the node's own schema gives these inputs.

    The host leaves them to a node that takes an input there. None is linked, and passes.

    Raises:
        InputError: beyond them, or no number.
    """
    from ..wan_animate.errors import InputError
    from .host.folders import said

    for given in cls.define_schema().inputs:
        value = values.get(given.id)
        if value is None:
            continue
        options = getattr(given, "options", None)
        low, high = getattr(given, "min", None), getattr(given, "max", None)
        if options is not None and value not in options:
            raise InputError(f"{given.id} is {said(value)}, but it must be one of {', '.join(map(str, options[:8]))}.")
        if low is None or high is None:
            continue
        if not isinstance(value, (int, float)) or not low <= value <= high:  # NaN as well
            raise InputError(f"{given.id} is {said(value)}, but it must lie between {low:g} and {high:g}.")


def frames_input(id: str, tooltip: str, **kwargs: Any) -> io.MultiType.Input:
    kwargs.setdefault("display_name", id.replace("_", " "))
    return io.MultiType.Input(id, [Frames, io.Image], tooltip=tooltip, **kwargs)


def mask_input(id: str, tooltip: str, **kwargs: Any) -> io.MultiType.Input:
    kwargs.setdefault("display_name", id.replace("_", " "))
    return io.MultiType.Input(id, [Frames, io.Mask], tooltip=tooltip, **kwargs)


def pose_input(id: str, tooltip: str, **kwargs: Any) -> io.MultiType.Input:
    """A drawn skeleton, or the track that is drawn (:func:`as_drawn`)."""
    kwargs.setdefault("display_name", id.replace("_", " "))
    return io.MultiType.Input(id, [Frames, Track, io.Image], tooltip=tooltip, **kwargs)


def as_drawn(value: Any, name: str, mode: str = "animate", frames: Iterable[FrameSource | None] = ()) -> FrameSource:
    """A track drawn (:func:`..wan_animate.chain.controls.drawn_pose`); pictures as :func:`as_images`.

    Raises:
        InputError: for masks, or a track that does not cover ``frames``.
    """
    from ..wan_animate.chain.controls import drawn_pose
    from ..wan_animate.pose.track import PoseTrack

    return drawn_pose(value, mode, frames) if isinstance(value, PoseTrack) else as_images(value, name)


def drawn_note(value: Any, drawn: FrameSource, frames: Iterable[FrameSource | None] = (), mode: str = "animate") -> str:
    """A sentence where :func:`as_drawn` chose the size of a track itself, or left it very large; else empty."""
    from ..wan_animate.chain.controls import drawn_pose_note
    from ..wan_animate.pose.track import PoseTrack

    return drawn_pose_note(value, drawn, frames, mode) if isinstance(value, PoseTrack) else ""


def fitted(pose: PoseTrack, frames: Any, size: bool = False) -> PoseTrack:
    """The pose cut to ``frames``, and with ``size`` scaled to them.

    Raises:
        InputError: the frames are masks, or the track does not cover them.
    """
    from ..wan_animate.pose.track import fit_track

    if frames is None:
        return pose
    frames = as_images(frames, "frames")
    pose = fit_track(pose, frames)
    return pose.onto(frames) if size else pose


def as_frames(value: Any, fps: float = 30, lazily: bool = False) -> FrameSource:
    """FRAMES as they are; IMAGE or MASK as a source at ``fps``.

    Args:
        lazily: they are read in this thread alone, so frames that a network makes are made when they are read.
    """
    from ..wan_animate.video.frames import FrameSource, TensorSource
    from .host.kept_frames import kept

    source = value if isinstance(value, FrameSource) else TensorSource(value, fps)
    return source if lazily else kept(source)


def as_images(value: Any, name: str, fps: float = 30, lazily: bool = False) -> FrameSource:
    """As :func:`as_frames`. Raises InputError if ``name`` carries masks."""
    return _of_kind(
        some_frames(value, name, fps, lazily),
        "image",
        name,
        "pictures, but it carries masks: connect the video's FRAMES or an IMAGE",
    )


def as_masks(value: Any, name: str, fps: float = 30) -> FrameSource:
    """As :func:`as_frames`. Raises InputError if ``name`` carries pictures."""
    return _of_kind(
        some_frames(value, name, fps),
        "mask",
        name,
        "masks, but it carries pictures: put the Mask to Frames node in between",
    )


def first_picture(value: torch.Tensor, name: str) -> torch.Tensor:
    """``[H, W, 3]``, transparency as black. Raises InputError if there is none."""
    return pictures(value, name)[0]


def pictures(value: torch.Tensor, name: str) -> list[torch.Tensor]:
    """Each ``[H, W, 3]``, transparency as black. Raises InputError if there is none."""
    from ..wan_animate.errors import InputError
    from ..wan_animate.video.picture import over_background

    if value.ndim != 4 or 0 in value.shape or value.shape[-1] not in (3, 4):
        raise InputError(
            f"{name} needs a picture, but its shape is {list(value.shape)}: connect an IMAGE with at least one in it."
        )
    return [over_background(picture) for picture in value]


def some_frames(value: Any, name: str, fps: float, lazily: bool = False) -> FrameSource:
    from ..wan_animate.errors import InputError

    if len(value) == 0:
        raise InputError(f"{name} carries no frames (an empty batch): connect at least one picture.")
    return as_frames(value, fps, lazily)


def _of_kind(source: FrameSource, kind: str, name: str, sentence: str) -> FrameSource:
    from ..wan_animate.errors import InputError

    if source.kind != kind:
        raise InputError(f"{name} needs {sentence}.")
    return source


def fit_input(tooltip: str, **options: Any) -> io.Input:
    return io.Combo.Input(
        "fit", display_name="fit", options=["fill", "pad"], default="fill", tooltip=tooltip, **options
    )


def drawn_at_inputs() -> list[io.Input]:
    return [
        fit_input(
            "How a pose of another size is brought to width x height: as fit in Load Driving Video. A pose of quite "
            "another shape is always padded.",
            optional=True,
            advanced=True,
        ),
        frames_input(
            "frames",
            optional=True,
            tooltip="The video it is used with: the pose is cut to these frames and brought to their size.",
        ),
    ]
