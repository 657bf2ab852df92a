"""The plan of a clip: what will be made, what it costs, and what to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..chain.job import check_picture_count
from ..chain.options import ClipOptions
from ..chain.segments import SegmentPlan
from ..errors import InputError
from ..pose.track import PoseTrack
from ..preview.report import listed
from ..text import duration
from . import costs, findings
from .cards import MEASURED, Device, known_card
from .findings import Finding
from .measured import Run, Runs, TimedModel


@dataclass(frozen=True)
class Times:
    """Seconds of a job, and where they are from.

    Attributes:
        step: one pass of one step.
        segment: with all its steps.
        total: of the job.
        basis: a clause.
    """

    step: float
    segment: float
    total: float
    basis: str


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """Result of :func:`plan_clip`.

    Attributes:
        segments: those that are made.
        count: of all segments of the clip.
        size, sampled: width and height of the clip, and as the model works on it.
        cuts: of the driver; None where no track was given.
        anew: whether each shot begins a chain of its own.
        tokens: of a segment.
        times: None where nothing was measured on such a device.
        free: bytes on the disk of the job, None if not asked.
        track, mask_area, notes: as given to :func:`plan_clip`.
    """

    segments: SegmentPlan
    count: int
    size: tuple[int, int]
    sampled: tuple[int, int]
    fps: Fraction
    mode: str
    steps: int
    passes: int
    tokens: int
    cuts: tuple[int, ...] | None
    anew: bool
    disk: costs.Disk
    memory: costs.Memory
    times: Times | None
    device: Device
    free: int | None
    findings: tuple[Finding, ...]
    track: PoseTrack | None = None
    mask_area: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return self.segments.frame_count

    @property
    def padding(self) -> int:
        """Frames past the end of the clip, or of a shot, that are made and not kept."""
        return sum(max(segment.stop - segment.end(self.frames), 0) for segment in self.segments)

    @property
    def made_twice(self) -> int:
        """Frames that segments take over from the one before, or from a clip that goes on."""
        return sum(segment.previous_frames for segment in self.segments)

    def rows(self) -> list[tuple[str, str]]:
        """(what, in words)"""
        clip = f"{self.frames} frames of {_by(self.size)} at {float(self.fps):g} a second"
        rows = [
            ("Clip", f"{clip}: {self.frames / float(self.fps):.1f} s{self._part()}"),
            ("Segments", self._segments()),
            ("Shots", _shots(self.cuts, self.anew)),
            ("Padding", f"{counted(self.padding, 'frame')} at the end{' of shots' * self.anew}, made and not kept"),
            ("Sampled", f"{_by(self.sampled)}: {self.tokens:,} tokens a segment"),
            ("Time", self._time()),
            ("Disk", self._disk()),
            ("VRAM", self._vram()),
            ("RAM", f"{_gb(self.memory.ram)} with the weights in it (estimated)"),
        ]
        return rows

    def text(self) -> str:
        """The plan in Markdown: what to look at, how the video is read, then the figures."""
        faults = [f"{at}. {finding}" for at, finding in enumerate(map(_sentence, self.findings), 1)]
        head = "Nothing is wrong with the inputs that can be told beforehand."
        if faults:
            head = "\n".join(["**Look at this first**", "", *faults])
        table = [f"| {name} | {words} |" for name, words in self.rows()]
        notes = ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join([head, *notes, "", "| Plan | |", "| --- | --- |", *table])

    def _part(self) -> str:
        first, keep = self.segments.first, self.segments.keep
        return "" if keep == self.frames else f"; frames {first} to {first + keep - 1} are made"

    def _segments(self) -> str:
        segments = self.segments.segments
        which = ""
        if len(segments) < self.count:
            last = f" to {segments[-1].index + 1}" if len(segments) > 1 else ""
            which = f"{segments[0].index + 1}{last} of {self.count}: "
        overlap = max(segment.previous_frames for segment in segments)
        taken = f", {overlap} of them taken over ({self.made_twice} in all)" if overlap else ""
        return f"{which}{len(segments)} of {segments[0].length} frames{taken}"

    def _time(self) -> str:
        if self.times is None:
            return f"not known for {self.device.name} before the first run of this model here, which is measured"
        times, cfg = self.times, " (two passes: cfg is not 1)" if self.passes > 1 else ""
        return (
            f"about {duration(times.total)}: {self.steps} steps of {times.step * self.passes:.2g} s a segment{cfg}, "
            f"{duration(times.segment)} each; {times.basis}"
        )

    def _disk(self) -> str:
        parts = f"segments {_mb(self.disk.segments)}, carried over {_mb(self.disk.tails)}, mp4 {_mb(self.disk.video)}"
        free = "" if self.free is None else f"; {_gb(self.free)} free"
        return f"{_mb(self.disk.total)} while it runs ({parts}){free}"

    def _vram(self) -> str:
        has = f"; {self.device.name} has {_gb(self.device.memory)}" if self.device.memory else ""
        need = f"{_gb(self.memory.resident)} with all weights on the card"
        return f"{need}, {_gb(self.memory.offloaded)} with all blocks in host memory (estimated){has}"


def plan_clip(
    size: tuple[int, int],
    frames: int,
    fps: Fraction,
    lossless: float,
    device: Device,
    mode: str = "animate",
    segment_length: int = 77,
    previous_frames: int = 1,
    steps: int = 20,
    cfg: float = 1.0,
    weights: str = "bf16",
    track: PoseTrack | None = None,
    reference: PoseTrack | None = None,
    mask_area: np.ndarray | None = None,
    runs: Runs | None = None,
    free: int | None = None,
    sampled: tuple[int, int] | None = None,
    options: ClipOptions = ClipOptions(),  # noqa: B008  frozen
    references: int = 1,
    notes: Sequence[str] = (),
    model: str = TimedModel.size,
    seen: Finding | None = None,
    output: Finding | None = None,
) -> ClipPlan:
    """Plan a clip; reads no frame of it and loads no model.

    Args:
        size: of the clip, in pixels.
        lossless: bytes that a pixel of such a clip takes on disk (:func:`..chain.segment_files.bytes_a_pixel`).
        weights: a key of :data:`.costs.WEIGHTS`.
        track, reference: the driver's pose, and that of the character's picture.
        mask_area: ``[T]``, the character mask's share of each frame (:func:`..preview.report.mask_areas`).
        runs: what this machine's runs took.
        free: bytes on the disk of the job.
        sampled: what the model works on, if not the whole frame.
        options: as the job has them: cross-fade, shots, which segments are made.
        references: pictures of the character.
        notes: what is said beside the faults, such as :attr:`..video.frames.FrameSource.notes`.
        model: the transformer's size (:func:`.measured.size_name`); the published one where it is not known.
        seen: what was found of people where there is no ``track`` (:func:`.look.look_for_people`).
        output: what is wrong with the place to write to.

    Raises:
        InputError: settings that the model cannot run with, or a track or mask of another length.
    """
    check_picture_count(references)
    sampled = sampled or size
    whole = options.plan(frames, segment_length, previous_frames)
    options.check(frames, len(whole), previous_frames, *sampled)
    plan = options.wanted(whole)
    if weights not in costs.WEIGHTS:
        raise InputError(f"weights is {weights!r}: choose {' or '.join(costs.WEIGHTS)}.")
    if mask_area is not None and len(mask_area) == 1:
        mask_area = np.repeat(mask_area, frames)
    for name, given in (("pose", track), ("character mask", mask_area)):
        if given is not None and len(given) != frames:
            raise InputError(
                f"plan clip: the clip has {frames} frames and the {name} {len(given)}: connect those of one clip."
            )
    track = None if track is None else _as_large(track, size)
    first, passes = plan.segments[0], 1 if cfg == 1 else 2
    count = costs.tokens(sampled, first.latent_frames, references)
    timed = TimedModel(model, weights)
    last = None if runs is None else runs.nearest(device.name, mode, sampled, count, timed, steps)
    others = runs is not None and last is None and any(run.device == device.name for run in runs.read())
    # A run of the same mode shows what such pictures take; a drawn scene and a filmed one differ.
    same = last if last is not None and last.mode == mode and last.lossless else None
    disk = costs.disk(
        sampled,
        plan.keep,
        sum(segment.hands_over for segment in plan),
        previous_frames,
        same.lossless if same else lossless,
        same.video or None if same else None,
        size,
    )
    memory = costs.memory(sampled, first, mode, weights, references)
    found = [
        output,
        *(_of_track(track, reference) if track is not None else [seen]),
        None if mask_area is None else findings.empty_mask(mask_area, track),
        None if mask_area is None else findings.white_mask(mask_area),
        *findings.settings(plan, sampled, fps, segment_length, previous_frames),
        None if free is None else findings.disk(disk.total, free),
        findings.vram(memory.resident, memory.offloaded, device.memory),
    ]
    return ClipPlan(
        segments=plan,
        count=len(whole),
        size=size,
        sampled=sampled,
        fps=fps,
        mode=mode,
        steps=steps,
        passes=passes,
        tokens=count,
        cuts=options.cuts or (None if track is None else track.cuts),
        anew=bool(options.cuts),
        disk=disk,
        memory=memory,
        times=_times(plan, sampled, mode, count, steps * passes, device, timed, last, others),
        device=device,
        free=free,
        findings=tuple(one for one in found if one is not None),
        track=track,
        mask_area=mask_area,
        notes=tuple(notes),
    )


def _of_track(track: PoseTrack, reference: PoseTrack | None) -> list[Finding | None]:
    lost = findings.no_person(track)
    if not track.body_found.any():
        return [lost]
    return [
        lost,
        findings.small_face(track),
        None if reference is None else findings.framing(track, reference),
    ]


def _as_large(track: PoseTrack, size: tuple[int, int]) -> PoseTrack:
    """The track with as many pixels as the clip, in its own shape: faces are as large as the model is shown them."""
    share = (size[0] * size[1] / (track.width * track.height)) ** 0.5
    if abs(share - 1) < 0.02:
        return track
    return track.scaled(max(round(track.width * share), 1), max(round(track.height * share), 1))


def _times(
    plan: SegmentPlan,
    size: tuple[int, int],
    mode: str,
    count: int,
    steps: int,
    device: Device,
    model: TimedModel,
    run: Run | None,
    others: bool,
) -> Times | None:
    """``others``: whether runs on this device tell nothing of this model."""
    first = plan.segments[0]
    if run is not None:
        step = run.step_seconds * costs.step_flops(count) / costs.step_flops(run.tokens)
        share = first.length * size[0] * size[1] / (run.segment_length * run.width * run.height)
        other, start = run.other_seconds * share, run.start_seconds
        made = ", ".join(filter(None, [f"{run.weights} weights", run.how]))
        here = f"at {run.width}x{run.height} on {run.date} ({made})"
        same = run.tokens == count and share == 1 and run.weights == model.weights
        basis = f"measured here {here}" if same else f"estimated from the run here {here}"
    else:
        card = known_card(device.name)
        if card is None or model.size != TimedModel.size:
            return None
        step, start = costs.step_seconds(count, card), costs.START_SECONDS
        other = costs.other_seconds(first, size, mode, card)
        cold = f"a server's first job takes {costs.COLD_SECONDS:.0f} s more"
        basis = (
            f"estimated from times measured on such a card; {cold}"
            if card.name == "H100"
            else f"estimated from times of an {MEASURED.name.split()[0]} by the published rates of both; {cold}"
        )
        basis += "; the runs measured here were of models of another size" * others
    segment = steps * step + other
    return Times(step, segment, start + len(plan) * segment, basis)


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _sentence(finding: Finding) -> str:
    text = str(finding)
    return text[0].upper() + text[1:]


def _shots(cuts: tuple[int, ...] | None, anew: bool) -> str:
    if cuts is None:
        return "not known without a pose"
    begun = ", each begun anew" * anew
    return "1, no cut" if not cuts else f"{len(cuts) + 1} (cuts at {listed(cuts)}){begun}"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _gb(count: float) -> str:
    return f"{count / 1e9:.3g} GB"


def _mb(count: float) -> str:
    return f"{count / 1e6:.3g} MB" if count < 1e9 else _gb(count)
