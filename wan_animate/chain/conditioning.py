"""What the model is told for one segment.

Shapes, with L frames a segment (4n+1), T = (L-1)/4+1 latent frames, h = H/8, w = W/8: the transformer takes 16 noise
channels, 4 mask channels and 16 channels of conditioning latent over T+1 latent frames, of which the first is the
reference image; the pose latent is added from latent frame 1 on. The conditioning pixels are the previous frames, then
mid grey (animate) or the background video (replace). Sources: ``wan/animate.py: generate, get_i2v_mask`` of
Wan-Video/Wan2.2 and ``comfy_extras/nodes_wan.py: WanAnimateToVideo`` of ComfyUI.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..log import get_logger
from ..mask.cells import whole_cells
from ..video.frames import FrameSource, as_float, as_unit_float, read_reflected
from .control_reader import BACKGROUND, FACE, MASK, POSE
from .latents import encode_once
from .segments import Segment

log = get_logger(__name__)


@dataclass
class SegmentConditioning:
    """Everything but noise and prompt that one segment is made from.

    Attributes:
        segment: the frames it is for.
        concat_latent: ``[1, 16, T+1, h, w]``: the reference latent, then the conditioning pixels' latent.
        unknown_mask: ``[1, 4, T+1, h, w]``, 1 = to be made, 0 = known; its four channels are the four frames that a
            latent frame stands for.
        pose_latent: ``[1, 16, T, h, w]``.
        face: ``[1, 3, L, S, S]`` float32 in -1..1, or None when there is no face video.
    """

    segment: Segment
    concat_latent: torch.Tensor
    unknown_mask: torch.Tensor
    pose_latent: torch.Tensor
    face: torch.Tensor | None

    @property
    def known_mask(self) -> torch.Tensor:
        """As the transformer takes it: 1 = known."""
        return 1.0 - self.unknown_mask

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return tuple(self.concat_latent.shape)


def unknown_mask(segment: Segment, height: int, width: int, character_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The mask channels of the video part, without the reference frame.

    As the VAE groups frames and as the model was trained: the first frame's mask fills the four channels of latent
    frame 0, every later frame has one channel; picked with ``nearest``.

    Args:
        height, width: size in latent pixels.
        character_mask: ``[L, H, W]`` in 0..1, 1 = character, for replace; None for animate (everything is made).

    Returns:
        ``[1, 4, T, height, width]`` float32, 1 = to be made.
    """
    mask = torch.ones(4 * segment.latent_frames, height, width)
    if character_mask is not None:
        small = F.interpolate(character_mask[:, None].float(), size=(height, width), mode="nearest")[:, 0]
        mask[3:] = small
        mask[:3] = small[0]
    mask[: 4 * segment.previous_latents] = 0.0
    return mask.view(1, segment.latent_frames, 4, height, width).transpose(1, 2).contiguous()


def conditioning_pixels(
    segment: Segment, height: int, width: int, previous: torch.Tensor | None, background: torch.Tensor | None
) -> torch.Tensor:
    """The known frames, then the background video ``[L, H, W, 3]`` (uint8 or float in 0..1), or one frame of mid grey
    (0 in -1..1) that stands for all that are left: ``[segment.previous_frames + 1, H, W, 3]`` float in 0..1."""
    if background is None:
        behind = torch.full((1, height, width, 3), 0.5)
    else:
        behind = background[segment.previous_frames :]
    if not segment.previous_frames:
        return behind
    return torch.cat((previous.to(torch.float32), as_unit_float(behind)))


def face_pixels(crops: np.ndarray, size: int) -> torch.Tensor:
    """``[1, 3, L, size, size]`` in -1..1 of crops ``[L, h, w, 3]``."""
    pixels = as_float(crops).movedim(-1, 1)
    if pixels.shape[-2:] != (size, size):
        pixels = F.interpolate(pixels, size=(size, size), mode="area")
    elif crops.dtype != np.uint8:
        pixels = pixels.clone()  # a float source's own frames
    return pixels.mul_(2.0).sub_(1.0).movedim(0, 1).unsqueeze(0)


def latent_names(
    segment: Segment, pose: FrameSource, pose_name: str | None, background: FrameSource | None, name: str | None
) -> tuple[str | None, str | None]:
    """What a VAE remembers a segment's pose and scene by (:func:`.latents.encode_once`), from the fingerprints of pose
    and background; None for what never comes again."""

    def part(source: str | None) -> str | None:
        return None if source is None else f"{segment.start}:{segment.stop}:{source}"

    scene = None  # what was generated before comes once
    if not segment.previous_frames:
        scene = f"grey:{segment.length}x{pose.height}x{pose.width}" if background is None else part(name)
    return part(pose_name), scene


def build_conditioning(
    segment: Segment,
    vae,
    reference_latent: torch.Tensor,
    pose: FrameSource,
    face: FrameSource | None,
    background: FrameSource | None = None,
    character_mask: FrameSource | None = None,
    previous: torch.Tensor | None = None,
    face_size: int = 512,
    pose_name: str | None = None,
    background_name: str | None = None,
    take: Callable[[str], np.ndarray] | None = None,
) -> SegmentConditioning:
    """Read one segment's frames and encode them.

    Args:
        segment: from :func:`wan_animate.chain.segments.plan_segments`.
        vae: a :class:`wan_animate.chain.ports.VideoVAE`.
        reference_latent: ``[1, 16, 1, h, w]``, the reference image encoded alone (the same for every segment).
        pose, background, character_mask: sources of the result's size; all padded by playing back and forth. A latent
            cell that holds any of the mask is made (:func:`..mask.cells.whole_cells`), where upstream and the host ask
            one pixel of it; of a mask in whole cells, as Shape Mask gives it, both come out the same.
        face: face crops, any size (512 for the published model).
        previous: ``[segment.previous_frames, H, W, 3]`` in 0..1, the last frames of the segment before.
        face_size: sides that the motion encoder takes.
        pose_name, background_name: the sources' fingerprints, for a VAE that remembers latents; None encodes anew.
        take: gives a control's frames over the segment by name (:meth:`.control_reader.ControlReader.take`); None reads
            them from the sources here.
    """
    height, width = pose.height, pose.width
    sources = {POSE: pose, FACE: face, BACKGROUND: background, MASK: character_mask}
    if take is None:

        def take(name: str) -> np.ndarray:
            return read_reflected(sources[name], segment.start, segment.stop)

    def pixels(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(take(name)))

    def scene() -> torch.Tensor:
        behind = pixels(BACKGROUND) if background is not None else None
        return conditioning_pixels(segment, height, width, previous, behind)

    pose_key, scene_key = latent_names(segment, pose, pose_name, background, background_name)
    with ThreadPoolExecutor(1, "face") as beside:  # the faces are made ready while the VAE is at work
        faces = beside.submit(lambda: face_pixels(take(FACE), face_size)) if face is not None else None
        pose_latent = encode_once(vae, pose_key, lambda: pixels(POSE))
        still = 0 if background is not None else segment.length - segment.previous_frames - 1
        latent = encode_once(vae, scene_key, scene, still)
    mask = None
    if character_mask is not None:  # half and above is character, as the background was cut (a feathered edge is soft)
        mask = (as_float(take(MASK)) >= 0.5).numpy().view(np.uint8)
        if not mask.any():
            log.warning(
                "the character mask is black in frames %d to %d: nobody is put into the scene there",
                segment.start,
                segment.stop - 1,
            )
        mask = torch.from_numpy(whole_cells(mask)).float()  # no pixel that the background has black is called known
    made = unknown_mask(segment, latent.shape[-2], latent.shape[-1], mask).to(latent)
    return SegmentConditioning(
        segment=segment,
        concat_latent=torch.cat((reference_latent, latent), dim=2),
        unknown_mask=torch.cat((torch.zeros_like(made[:, :, :1]), made), dim=2),
        pose_latent=pose_latent,
        face=faces.result() if faces is not None else None,
    )
