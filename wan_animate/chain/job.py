"""One clip to make: its inputs, settings, and the keys by which it and its segments are found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from ..color.drift import MODES as COLOR_MODES
from ..errors import InputError
from ..finite import check_finite
from ..record.identity import picture_hash
from ..video.resample import letterbox
from .control_sources import Controls
from .noise import shared_noise, unit_noise
from .options import ClipOptions
from .segments import Segment, SegmentPlan

MODES = ("animate", "replace")
MOST_PICTURES = 5
"""Of the character; each adds a latent frame to every segment."""


def check_mode(mode: str) -> None:
    """Raises InputError unless there is such a mode."""
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}: choose animate or replace.")


def check_scene(mode: str, has_background: bool, has_mask: bool) -> None:
    """Raises InputError unless background and character mask are given exactly when the mode needs them."""
    check_mode(mode)
    if mode == "replace":
        wanted = {"a background (Background without Character)": has_background, "a character mask": has_mask}
        missing = [name for name, given in wanted.items() if not given]
        if missing:
            raise InputError(
                f"replace mode needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not "
                "connected: connect what is missing, or set mode to animate."
            )
    elif has_background or has_mask:
        raise InputError(
            "a background or character mask is connected, but mode is animate, which makes its own scene: set mode to "
            "replace, or disconnect them."
        )


@dataclass
class AnimateJob:
    """One clip to make.

    Attributes:
        reference: the character, ``[H, W, 3]`` float32 RGB in 0..1, of any size.
        controls: the control videos.
        mode: ``"animate"`` (the reference's scene) or ``"replace"`` (the driver's).
        segment_length, previous_frames: frames, 4n+1.
        seed: segment k uses ``seed + k``.
        fps: of the result; 0 takes the pose's.
        color: how drift from segment to segment is taken out (:mod:`..color.drift`): ``"off"``, ``"previous"`` (match
            the previous frames) or ``"anchor"`` (and hold on to the scene).
        options: what most clips leave alone.
        more_references: further pictures of the character, each as ``reference``. The model was trained with one.
    """

    reference: torch.Tensor
    controls: Controls
    mode: str = "animate"
    segment_length: int = 77
    previous_frames: int = 1
    seed: int = 0
    fps: Fraction = Fraction(0)
    color: str = "anchor"
    options: ClipOptions = ClipOptions()
    more_references: tuple[torch.Tensor, ...] = ()

    def __post_init__(self) -> None:
        self.fps = Fraction(self.fps) if self.fps else self.controls.pose.fps

    def plan(self) -> SegmentPlan:
        """Every segment of the clip."""
        return self.options.plan(len(self.controls), self.segment_length, self.previous_frames)

    def wanted(self) -> SegmentPlan:
        """The segments that are to be made."""
        return self.options.wanted(self.plan())

    def seed_of(self, index: int) -> int:
        """The seed of a segment."""
        return self.options.segment_seeds.get(index, self.seed + index) % 2**64

    def noise(self, segment: Segment, shape: tuple[int, ...]) -> torch.Tensor:
        """What a segment is sampled from, float32 on the CPU: ``shape`` is ``[1, 16, T+R, h, w]``."""
        if not self.shares_noise(segment):
            return unit_noise(self.seed_of(segment.index), shape)

        def seed_of(index: int) -> int:
            former = self.options.keep_rest and index != segment.index  # it goes on from the former frames
            return (self.seed + index) % 2**64 if former else self.seed_of(index)

        chain = [other.index for other in self.plan() if other.shot == segment.shot]
        start = max(chain[0], self.options.continued or 0)
        return shared_noise(seed_of, segment.index, start, segment.previous_latents, shape, self.reference_latents)

    def shares_noise(self, segment: Segment) -> bool:
        """Whether a segment's noise begins as that of the one before ends."""
        chained = segment.previous_frames > 0 and segment.index != self.options.continued
        return self.options.share_noise and chained

    def returns(self, segment: Segment) -> bool:
        """Whether a segment with a seed of its own fades back into its former frames."""
        return self.options.keep_rest and segment.index in self.options.segment_seeds and segment.hands_over

    def check(self) -> None:
        """Raises InputError for what cannot work, before any long work."""
        self.options.check(len(self.controls), len(self.plan()), self.previous_frames, *self.controls.size)
        check_scene(self.mode, self.controls.background is not None, self.controls.character_mask is not None)
        if self.color not in COLOR_MODES:
            raise InputError(f"color is {self.color!r}: choose {', '.join(COLOR_MODES[:-1])} or {COLOR_MODES[-1]}.")
        check_picture_count(1 + len(self.more_references))
        for name, picture in self.pictures.items():
            if picture.ndim != 3 or picture.shape[-1] != 3:
                raise InputError(
                    f"the {name} must be one RGB picture, but its shape is {list(picture.shape)}: connect one image."
                )
            check_finite(picture, f"the {name}", "connect another picture, or look at what made this one")
        self.controls.check()

    @property
    def pictures(self) -> dict[str, torch.Tensor]:
        """The reference and further pictures, by what they are called."""
        more = {f"reference image {number}": one for number, one in enumerate(self.more_references, 2)}
        return {"reference image": self.reference} | more

    @property
    def reference_latents(self) -> int:
        """R, the latent frames in front of a segment's own: one for each picture."""
        return 1 + len(self.more_references)

    def reference_pixels(self) -> torch.Tensor:
        """``[4R-3, H, W, 3]`` at the result's size, letterboxed on black.

        The first picture once and each further one four times, as many frames as the VAE has in a latent frame.
        """
        fitted = [letterbox(one.float().cpu().numpy(), *self.controls.size) for one in self.pictures.values()]
        pixels = torch.stack([torch.from_numpy(np.ascontiguousarray(one)) for one in fitted]).clamp_(0.0, 1.0)
        return torch.cat((pixels[:1], pixels[1:].repeat_interleave(4, 0)))

    def key(self, extra: str = "") -> str:
        """A hash of what decides the frames; ``extra`` for model, prompt and sampler."""
        digest = hashlib.blake2b(digest_size=12)
        settings = [
            self.mode, self.segment_length, self.previous_frames, self.seed, str(self.fps), extra, self.color
        ]  # fmt: skip
        fingerprints = list(self.controls.fingerprints.values())
        digest.update(json.dumps([settings, fingerprints, list(self.reference.shape)]).encode())
        digest.update(np.ascontiguousarray(self.reference.float().cpu().numpy()).data)
        for picture in self.more_references:
            digest.update(picture_hash(picture).encode())
        faded = self.options.faded(self.segment_length, self.previous_frames)
        digest.update(replace(self.options, crossfade=faded).signature().encode())
        return digest.hexdigest()

    def segment_keys(self, extra: str = "", prompts: Sequence[str] = ()) -> list[str]:
        """A hash for each segment of what decides its frames, the segments before it included.

        Args:
            extra: for what all segments share.
            prompts: a word for each segment's prompt; empty: all have the same.
        """
        options = self.options
        shared = ClipOptions(crossfade=options.crossfade, cuts=options.cuts)
        common = replace(self, seed=0, options=shared).key(extra)
        continued = "" if options.continue_from is None else options.continue_from.fingerprint()

        def keys(seeds: dict[int, int]) -> list[str]:
            made: list[str] = []
            for segment in self.plan():
                before = made[-1] if segment.previous_frames and made else ""
                before = continued if segment.index == options.continued else before
                seed = seeds.get(segment.index, (self.seed + segment.index) % 2**64)
                prompt = prompts[segment.index] if prompts else ""
                noise = ["shared noise"] if self.shares_noise(segment) else []
                made.append(_digest(common, before, segment.index, seed, prompt, *noise))
            return made

        if not options.keep_rest:
            return keys(options.segment_seeds)
        former = keys({})
        return [
            _digest(key, options.segment_seeds[index], "kept") if index in options.segment_seeds else key
            for index, key in enumerate(former)
        ]

    def former_keys(self, extra: str = "", prompts: Sequence[str] = ()) -> dict[int, str]:
        """:meth:`segment_keys` that segments had which fade back into their former frames, by segment."""
        before = replace(self, options=replace(self.options, segment_seeds={}, keep_rest=False))
        keys = before.segment_keys(extra, prompts) if self.options.keep_rest else []
        return {segment.index: keys[segment.index] for segment in self.plan() if self.returns(segment)}


def check_picture_count(count: int) -> None:
    """Raises InputError for more pictures of the character than :data:`MOST_PICTURES`."""
    if count > MOST_PICTURES:
        raise InputError(
            f"the reference image is {count} pictures, but each makes every segment longer, so {MOST_PICTURES} at most "
            "are taken: give one picture of the character, as the model was trained, or a few."
        )


def _digest(*values: object) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=12).hexdigest()
