"""A clip's record: settings, hashes of inputs, models and frames, versions; JSON in a tag of the mp4.

Nothing private: of files the hashes, of weights their base names too, never a path.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..json_text import parse_json
from ..video.frames import FrameSource
from ..video.source import VideoSource
from ..video.tags import read_tags
from .frame_hashes import UNKNOWN, FrameHashes
from .identity import picture_hash, text_hash

if TYPE_CHECKING:
    from ..chain.job import AnimateJob
    from ..chain.segments import SegmentPlan

TAG = "wan_animate_kit"
FORM = 1


@dataclass(frozen=True)
class Model:
    """A weight file: what it is for, its base name, :func:`.identity.weights_hash`."""

    part: str
    name: str
    hash: str


@dataclass(frozen=True)
class ClipRecord:
    """How a clip was made.

    Attributes:
        host: ``"shell"`` or ``"ComfyUI"``.
        settings: by name; numbers, texts and lists of numbers.
        clip: what it shows: frames, width, height, fps (a fraction's text), segments, and the number of the first of
            these in the whole clip, from 1; made in a window, of what lies in it.
        inputs: what the model was given, as hashes by name.
        files: what a user named, as content hashes by option; of the shell.
        models: weight files.
        versions: of packages, by name.
        device: the card's name, or ``"CPU"``.
        frames: hash of the lossless frames, as the model made them; zeros until they are known.
        segments: the same of each segment.
    """

    host: str
    settings: dict[str, Any]
    clip: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    device: str = "CPU"
    frames: str = UNKNOWN
    segments: tuple[str, ...] = ()

    def showing(self, plan: SegmentPlan) -> ClipRecord:
        """The record of a clip that shows these segments."""
        return replace(self, clip=self.clip | _shown(plan))

    @property
    def shown(self) -> tuple[int, int]:
        """The first and the last segment that it shows, from 0."""
        options = self.settings.get("options") or {}
        # older records do not say it: what a part joins on to is there from the start of the clip
        known = options.get("first_segment", 0) if options.get("continue_from") else 0
        first = self.clip.get("first_segment", known + 1) - 1
        return first, first + len(self.segments) - 1

    def tags(self, hashes: FrameHashes | None = None) -> dict[str, str]:
        """The tag's name and text; without ``hashes`` with zeros in their place, of the same length."""
        values: dict[str, Any] = {"form": FORM, **asdict(self), "segments": [UNKNOWN] * self.clip["segments"]}
        if hashes is not None:
            # more have no place
            segments = hashes.segments if len(hashes.segments) <= len(values["segments"]) else []
            values |= {"frames": hashes.whole, "segments": segments}
        return {TAG: json.dumps(values)}


def record_of(job: AnimateJob, host: str, settings: dict[str, Any], **more: Any) -> ClipRecord:
    """The record of a job to be made, of the segments that it asks for (:meth:`ClipRecord.showing`).

    Args:
        settings: those that the job does not know: prompt, sampler.
        more: ``files``, ``models``, ``versions``, ``device`` of :class:`ClipRecord`.
    """
    left_out = ("reference", "more_references", "controls", "fps")
    known = {one.name: _plain(getattr(job, one.name)) for one in fields(job) if one.name not in left_out}
    width, height = job.controls.size
    clip = {"frames": 0, "width": width, "height": height, "fps": str(job.fps)} | _shown(job.wanted())
    return ClipRecord(host, known | settings, clip, _inputs(job), **more)


def _shown(plan: SegmentPlan) -> dict[str, int]:
    return {"frames": plan.keep, "segments": len(plan), "first_segment": plan.segments[0].index + 1}


def _plain(value: Any) -> Any:
    """A setting as JSON has it; a clip by its hash."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, FrameSource):
        return text_hash(value.fingerprint())
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Fraction) else None


def _inputs(job: AnimateJob) -> dict[str, str]:
    found = {name: picture_hash(picture) for name, picture in job.pictures.items()}
    found |= {name: text_hash(fingerprint) for name, fingerprint in job.controls.fingerprints.items()}
    for source in job.controls.sources.values():
        while isinstance(inner := getattr(source, "source", None), FrameSource):
            source = inner
        if isinstance(source, VideoSource):
            found["driving video"] = source.file_digest()
    track = getattr(job.controls.pose, "track", None)
    return found | ({} if track is None else {"pose track": text_hash(track.fingerprint())})


def record_tags(path: str | os.PathLike) -> dict[str, str] | None:
    """A video's record as :meth:`ClipRecord.tags` gives it; None without one.

    Raises:
        InputError: it cannot be read.
    """
    text = read_tags(path).get(TAG)
    return None if text is None else {TAG: text}


def read_record(path: str | os.PathLike) -> ClipRecord:
    """The record in a video's tags.

    Raises:
        InputError: no video, no record in it, or one of another form.
    """
    tags = {name.lower(): text for name, text in read_tags(path).items()}  # Matroska has them in capitals
    if TAG not in tags:
        raise InputError(
            f"{os.fspath(path)} does not say how it was made: WanAnimateKit did not make it, or another program wrote "
            "it anew without its tags."
        )
    try:
        values = parse_json(tags[TAG])
        form = values.pop("form")
        if form != FORM:
            raise InputError(
                f"the record in {os.fspath(path)} is of form {form}, and this WanAnimateKit reads form {FORM}: use the "
                "version that made the clip, or a later one."
            )
        values |= {"models": tuple(Model(**model) for model in values["models"])}
        record = ClipRecord(**values | {"segments": tuple(values["segments"])})
        dicts = (record.settings, record.clip, record.inputs, record.files, record.versions)
        if not all(isinstance(one, dict) for one in dicts):
            raise TypeError("not by name")
        Fraction(record.clip["fps"])
        sum(record.shown)
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"the record in {os.fspath(path)} is damaged ({error}): take the clip as it was made."
        ) from error
    return record
