"""What ``wan-animate plan`` prints, and where the shell keeps what its runs took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..chain.controls import controls
from ..errors import InputError
from ..files import cache_folder, no_empty_folders
from ..plan.cards import device_here
from ..plan.clip_plan import ClipPlan, plan_clip
from ..plan.costs import SERVER, WEIGHTS
from ..plan.findings import Finding
from ..plan.look import look_for_people
from ..plan.measured import Runs, TimedModel, size_name
from ..plan.room import free_at
from ..plan.sample import lossless_size
from ..pose.track import PoseTrack, fit_track
from ..stitch.controls import cropped_controls
from ..video.picture import read_picture
from ..video.resample import fill_size
from ..video.source import VideoSource
from .checks import check_outputs, clip_options, more_images
from .options import RunOptions


def runs() -> Runs:
    """What the shell's runs took on this machine."""
    return Runs(cache_folder() / "runs.json")


def timed_model(options: RunOptions) -> TimedModel:
    """What of the model in ``--models`` sets the time of a step. Raises InputError."""
    from ..backends.diffusers import check_folder

    config = check_folder(options.models)["transformer"]
    width = config.get("num_attention_heads", 40) * config.get("attention_head_dim", 128)
    cards = [f"{options.gpus} cards" + ", weights shared out" * options.shard_weights] if options.gpus > 1 else []
    offload = [] if options.offload == "off" else [f"offload {options.offload}"]
    return TimedModel(
        size_name(width, config.get("num_layers", 40)), weights_in_memory(options), ", ".join([*offload, *cards])
    )


def weights_in_memory(options: RunOptions) -> str:
    """A key of :data:`..plan.costs.WEIGHTS`."""
    return "fp8" if options.linears == "fp8" else "bf16"


def output_fault(options: RunOptions) -> Finding | None:
    """Why a run would refuse the files that it is to write; leaves nothing behind."""
    try:
        with no_empty_folders(*(Path(path).parent for path in (options.out, options.sheet) if path), always=True):
            check_outputs(options)
    except InputError as error:
        return Finding("output", str(error))
    return None


def plan_of(options: RunOptions, frames: VideoSource) -> ClipPlan:
    """The plan of the job that the options describe. No pose is detected and no mask made: without ``--track`` some
    frames are looked through for people by ``--detector``; what was not looked at is in the notes."""
    notes, unseen = [*frames.notes], None
    if not options.track and options.detector:
        unseen = look_for_people(options.detector, frames)
    elif not options.track:
        notes.append(
            "People were not looked for, as --detector is not given, nor their faces, cuts and framing: give "
            "--detector (wan-animate models names the file), or --track with a saved pose."
        )
    if options.mode == "replace":
        notes.append(
            "The mask was not looked at (it is made when the clip is): whether it is empty or white in some frames is "
            "said then, before they are sampled."
        )
    model = TimedModel.size
    try:
        model = timed_model(options).size
        if model != TimedModel.size:
            notes.append(
                f"Memory, and times before a run here, are of the published 14B model ({TimedModel.size}: width and "
                f"blocks); the one in --models is {model}."
            )
    except InputError as error:
        notes.append(f"Times and memory are of the published 14B model, as the one here was not seen: {error}")
    picture = read_picture(options.image, "the reference image")
    track = reference = None
    if options.track:
        track = fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    if options.reference_track and options.mode == "animate" and not options.no_retarget:
        reference = PoseTrack.load(options.reference_track)
    seen = None if track is None or not track.body_found.any() else track
    size = sampled = frames.width, frames.height
    if options.crop:
        full = frames.full_size()
        size = full.width, full.height
        window = None if seen is None else cropped_controls(full, seen, None, options.area, options.clean)
        sampled = fill_size(*size, options.area) if window is None else window.size
    elif seen is not None:
        size = sampled = controls(frames, seen, options.mode, reference=reference).size
    plan = plan_clip(
        size=size,
        frames=len(frames),
        fps=frames.fps,
        lossless=lossless_size(picture if options.mode == "animate" else frames, sampled),
        device=device_here(options.device),
        weights=weights_in_memory(options),
        mode=options.mode,
        segment_length=options.segment,
        previous_frames=options.previous_frames,
        steps=options.steps,
        track=track,
        reference=reference,
        runs=runs(),
        free=free_at(options.out),
        sampled=sampled,
        options=clip_options(options, track),
        references=1 + len(more_images(options)),
        notes=notes,
        model=model,
        seen=unseen,
        output=output_fault(options),
    )
    # In fp8 too the file's weights are all in host memory before they are quantized.
    loading = SERVER + WEIGHTS["bf16"]
    return replace(plan, memory=replace(plan.memory, ram=max(plan.memory.ram, loading)))
