"""What the transformer is given for one segment.

L frames a segment (4n+1), T = (L-1)/4+1 latent frames, h = H/8, w = W/8. The transformer takes 16 noise, 4 mask and 16
conditioning channels over T+R latent frames, the R of the reference first (1 as trained). Whatever R is, it adds the
pose latent from latent frame 1 on and the first face feature there, so that these get R-1 frames in front.
Sources: ``wan/animate.py: generate, get_i2v_mask`` of Wan-Video/Wan2.2; ComfyUI's ``WanAnimateToVideo``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from .. import workers
from ..log import SEGMENT_MASK, about, get_logger
from ..mask.cells import fills, whole_cells
from ..mask.track import binary
from ..text import frame_ranges, nothing_kept
from ..video.frames import as_float, as_unit_float
from .control_sources import BACKGROUND, FACE, MASK, POSE, Controls
from .latents import CachedVAE
from .ports import SegmentConditioning
from .segments import Segment

log = get_logger(__name__)
_AT_ONCE = 8  # frames
_BITS = {2: torch.int16, 4: torch.int32}  # by bytes of a float: what a table of its bits holds


def unknown_mask(segment: Segment, height: int, width: int, character_mask: torch.Tensor | None = None) -> torch.Tensor:
    """The mask channels without the reference: frame 0 in all four of latent frame 0, each later frame in one.

    Args:
        height, width: in latent pixels.
        character_mask: ``[L, H, W]`` uint8 or float, 1 = character; None (animate): all is made.

    Returns:
        ``[1, 4, T, height, width]`` float32, 1 = to be made.
    """
    mask = torch.ones(4 * segment.latent_frames, height, width)
    if character_mask is not None:
        small = F.interpolate(character_mask[:, None], size=(height, width), mode="nearest")[:, 0].float()
        mask[3:] = small
        mask[:3] = small[0]
    mask[: 4 * segment.previous_latents] = 0.0
    return rearrange(mask, "(t c) h w -> 1 c t h w", c=4).contiguous()


def conditioning_pixels(
    segment: Segment, height: int, width: int, previous: torch.Tensor | None, background: torch.Tensor | None
) -> torch.Tensor:
    """The previous frames, then the background ``[L, H, W, 3]`` (uint8 or float in 0..1) where they end, or one frame
    of mid grey that stands for the rest."""
    if background is None:
        scene = torch.full((1, height, width, 3), 0.5)
    else:
        scene = background[segment.previous_frames :]
    if previous is None:
        return scene
    pixels = torch.empty(len(previous) + len(scene), height, width, 3)
    pixels[: len(previous)] = previous
    for start in range(0, len(scene), _AT_ONCE):  # all at once, floats would be there twice
        part = as_unit_float(scene[start : start + _AT_ONCE])
        pixels[len(previous) + start :][: len(part)] = part
    return pixels


def face_pixels(crops: np.ndarray, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """``[1, 3, L, size, size]`` in -1..1 of crops ``[L, h, w, 3]``, a few at a time: 77 are 242 MB in float32."""
    out = torch.empty((len(crops), 3, size, size), dtype=dtype)
    if crops.dtype == np.uint8 and crops.shape[1:3] == (size, size) and dtype.itemsize in _BITS:
        _look_up(crops, out)
        return rearrange(out, "l c h w -> 1 c l h w")
    for start in range(0, len(crops), _AT_ONCE):
        pixels = rearrange(as_float(crops[start : start + _AT_ONCE]), "l h w c -> l c h w")
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(pixels, size=(size, size), mode="area")
        out[start : start + _AT_ONCE] = pixels * 2.0 - 1.0
    return rearrange(out, "l c h w -> 1 c l h w")


def _look_up(crops: np.ndarray, out: torch.Tensor) -> None:
    """The same numbers into ``out`` ``[L, 3, h, w]``, each of the 256 rounded once: ten times as fast."""
    bits = _BITS[out.dtype.itemsize]
    table = (as_float(np.arange(256, dtype=np.uint8)) * 2.0 - 1.0).to(out.dtype).view(bits).numpy()

    def look_up(crops: np.ndarray, out: np.ndarray) -> None:
        for crop, planes in zip(crops, out):
            for plane, into in zip(cv2.split(np.ascontiguousarray(crop)), planes):
                cv2.LUT(plane, table, into)

    workers.each(look_up, crops, out.view(bits).numpy())


def later(faces: torch.Tensor, latents: int) -> torch.Tensor:
    """Faces ``[1, 3, L, S, S]`` with the first repeated in front for so many more latent frames.

    The face encoder is causal and starts as if the first face had always been there: each frame keeps its feature.
    """
    if not latents:
        return faces
    return torch.cat((faces[:, :, :1].expand(-1, -1, 4 * latents, -1, -1), faces), dim=2)


def latent_keys(segment: Segment, controls: Controls) -> tuple[str, str | None]:
    """Cache keys of a segment's pose and scene; None for a scene with previous frames, which comes once."""

    def key(name: str) -> str:
        return f"{segment.start}:{segment.stop}:{segment.shot}:{controls.fingerprints[name]}"

    if segment.previous_frames:
        return key(POSE), None
    if controls.background is None:
        return key(POSE), "grey:{}x{}x{}".format(segment.length, *controls.size)
    return key(POSE), key(BACKGROUND)


def build_conditioning(
    segment: Segment,
    controls: Controls,
    vae: CachedVAE,
    reference_latent: torch.Tensor,
    previous: torch.Tensor | None = None,
    face_size: int = 512,
    face_dtype: torch.dtype = torch.float32,
    take: Callable[[str], np.ndarray] | None = None,
    pose_ahead: torch.Tensor | None = None,
) -> SegmentConditioning:
    """Read and encode one segment's frames; past the shot's end the controls play back and forth.

    A latent pixel whose 8x8 cell holds any of the character mask is made; upstream and ComfyUI look at one pixel.

    Args:
        reference_latent: ``[1, 16, R, h, w]``, the reference encoded alone.
        previous: ``[segment.previous_frames, H, W, 3]`` in 0..1, or None for 0.
        face_size, face_dtype: of the motion encoder's input.
        take: as :meth:`.control_reader.ControlReader.take`; None reads the frames here.
        pose_ahead: what the VAE has already made of the pose; its frames are taken all the same.
    """
    width, height = controls.size
    pose_key, scene_key = latent_keys(segment, controls) if vae.cache is not None else (None, None)
    more = reference_latent.shape[2] - 1
    read = take or (lambda name: segment.read(controls.sources[name]))

    def pixels(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(read(name)))

    def scene() -> torch.Tensor:
        if controls.background is None:
            return conditioning_pixels(segment, height, width, previous, None)
        if faces is not None:
            faces.result()  # their bytes are freed before the scene becomes floats
        return conditioning_pixels(segment, height, width, previous, pixels(BACKGROUND))

    with ThreadPoolExecutor(1, "face") as executor:  # face crops are converted while the VAE works
        faces = (
            executor.submit(lambda: later(face_pixels(read(FACE), face_size, face_dtype), more))
            if controls.face is not None
            else None
        )
        if pose_ahead is None:
            pose_latent = vae.encode_once(pose_key, lambda: pixels(POSE))
        else:
            read(POSE)  # who watches what is read must see it
            pose_latent = pose_ahead
        if more:
            blank = vae.encode_once(f"black:{width}x{height}", lambda: torch.zeros(1, height, width, 3))
            pose_latent = torch.cat((blank.expand(-1, -1, more, -1, -1).to(pose_latent), pose_latent), dim=2)
        still = 0 if controls.background is not None else segment.length - segment.previous_frames - 1
        latent = vae.encode_once(scene_key, scene, still)
    mask = None
    if controls.character_mask is not None:
        character = binary(read(MASK))  # the threshold that cut the background
        if not character.any():
            log.warning(
                "the character mask is black in frames %d to %d: nobody is put into the scene there",
                segment.start,
                segment.stop - 1,
                extra=about(kind=SEGMENT_MASK),
            )
        frames = np.zeros(len(controls), bool)
        kept = frames[segment.start : min(segment.stop, segment.end(len(controls)))]
        kept[:] = fills(character)[: len(kept)]
        checked = controls.checked_mask
        if kept.any() and not (checked is not None and checked.of_window):
            log.warning("%s", nothing_kept(f"frames {frame_ranges(frames)}"), extra=about(kind=SEGMENT_MASK))
        mask = torch.from_numpy(whole_cells(character))  # no pixel that the background has black is known
    made = unknown_mask(segment, latent.shape[-2], latent.shape[-1], mask).to(latent)
    return SegmentConditioning(
        segment=segment,
        concat_latent=torch.cat((reference_latent, latent), dim=2),
        unknown_mask=torch.cat((torch.zeros_like(reference_latent[:, :4]).to(made), made), dim=2),
        pose_latent=pose_latent,
        face=faces.result() if faces is not None else None,
    )
