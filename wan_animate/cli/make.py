"""The clip that the options describe, on diffusers."""

from __future__ import annotations

import sys

from .options import AS_RUN
from .progress import close, counting, print_colors, printing

# Everything else is imported where it is used: Ctrl+C during imports, which take seconds, would end in a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from ..backends.diffusers import DiffusersDenoiser
    from ..chain.controls import Controls
    from ..chain.job import AnimateJob
    from ..chain.ports import VideoVAE
    from ..detect.detector import PoseDetector
    from ..pose.track import PoseTrack
    from ..record.clip_record import ClipRecord
    from ..video.frames import FrameSource
    from ..video.source import VideoSource
    from .options import RunOptions, Sampling

    Prepared = tuple[AnimateJob, Controls, VideoSource]


def run(
    options: RunOptions,
    expected: ClipRecord | None = None,
    source: Callable[[RunOptions], Prepared] | None = None,
    sampling: Sampling = AS_RUN,
) -> Path:
    """Do the job that the options describe; returns the mp4's path.

    Args:
        source: makes job, controls and driving video; None: from ``--video``.

    Raises:
        InputError: bad input, or another one than that of the record ``expected``.
    """
    import os.path

    from ..files import no_empty_folders
    from ..interrupt import whole_imports

    with whole_imports():
        from .checks import default_device
    options.device = options.device or default_device()
    with no_empty_folders(*(os.path.dirname(path) for path in (options.out, options.sheet) if path)):
        return _run(options, expected, source, sampling)


def _run(
    options: RunOptions,
    expected: ClipRecord | None,
    source: Callable[[RunOptions], Prepared] | None,
    sampling: Sampling,
) -> Path:
    import glob
    from pathlib import Path

    from ..interrupt import whole_imports

    with whole_imports():
        from ..backends.diffusers import check_folder, encode_prompt
        from ..chain.generate import generate, result_plan
        from ..chain.job_list import write_command
        from ..chain.reuse import take_over
        from ..chain.store import SegmentStore
        from ..files import short_name
        from ..plan.cards import device_here
        from ..plan.measured import begin_clock, run_of
        from ..plan.room import check_room, disk_needed
        from ..record.compare import check_inputs
        from ..record.frame_hashes import clip_hashes
        from ..stitch.controls import shown_frames, stitch_clip
        from ..video.audio import read_audio
        from ..video.derived import PartSource
        from ..weights.prompt_file import load_prompt
        from .checks import check_options, prompt_ranges, segment_prompts, segment_settings
        from .imports import import_packages
        from .options import command_of
        from .plans import plan_of, runs
        from .recording import check_weights, job_settings, record, weights_key
        from .saving import save_result

    check_options(options, pose=source is None)
    out = Path(options.out)
    if options.plan:
        print(plan_of(options, driving_video(options)).text())
        return out
    with whole_imports():
        import_packages(options)
    width = check_folder(options.models)["transformer"].get("text_dim")
    # read first: what is wrong with it is said before the pose is detected
    saved = load_prompt(options.prompt_file, width)[0][0] if options.prompt_file else None
    job, signals, frames = from_video(options) if source is None else source(options)
    job.check()
    made = record(options, job, frames, sampling)
    if expected is not None:
        check_inputs(expected, made)
    device = device_here(options.device).name
    clock = begin_clock(runs(), device, job)
    ranges = prompt_ranges(options)
    weights = weights_key(options, sampling)
    settings = " ".join([segment_settings(options, weights), *sampling.settings()])
    keys = settings, segment_prompts(options, job.plan(), made.files.get("prompt_file"))
    folder = f".{short_name(out.stem)}-"
    with SegmentStore(out.parent / f"{folder}{job.key(job_settings(options, settings, made))}") as store:
        take_over(store, job.segment_keys(*keys), out.parent.glob(f"{glob.escape(folder)}*"), job.former_keys(*keys))
        write_command(store.folder, command_of(options, sampling))
        shown_size = frames.native_size if options.crop else None
        check_room(disk_needed(job, store, device, runs(), shown_size), store.folder)
        # the text encoder is freed before the transformer is loaded
        prompt = encode_prompt(options.models, options.prompt, options.device) if saved is None else saved
        texts = [encode_prompt(options.models, text, options.device) for _, _, text in options.prompts()]
        negative = encode_prompt(options.models, sampling.negative, options.device) if sampling.cfg > 1 else None
        denoiser, vae = _ports(options, prompt, job, list(zip(ranges, texts)), sampling, negative)
        check_weights(options, sampling, weights)
        audio = read_audio(
            sampling.sound or options.video, float(options.start / frames.fps), float(len(frames) / frames.fps)
        )
        video = store.folder / "clip.mp4"  # in the job's folder, which the next run of a killed job cleans up
        clip = generate(job, denoiser, vae, store, printing(clock), None if options.crop else video, audio, made)
        close()
        shown = result_plan(job, store)
        took = run_of(clock, device, job, store.folder)
        if took is not None and len(shown) == len(job.plan()):
            runs().add(took)
        if options.crop:
            clip.tags = made.tags(clip_hashes(clip, [segment.keep for segment in shown]))
        whole = stitch_clip(signals, clip, video, audio, counting("stitch"))
        if signals.checked_mask is not None:
            for warning in signals.checked_mask.coverage().warnings:
                print(f"wan-animate: {warning}", file=sys.stderr)
        save_result(options, video, clip if whole is None else whole, audio)
        print_colors(store.records(len(job.plan())))
        if options.sheet:
            from ..preview.sheet import MaskShown, contact_sheet

            def part(source: FrameSource) -> FrameSource:
                return PartSource(source, shown.first, shown.first + len(clip))

            driver = shown_frames(signals, frames)
            columns: list[tuple[str, FrameSource]] = [("driver", part(driver)), ("pose", part(signals.pose))]
            if signals.face is not None:
                columns.append(("face", part(signals.face)))
            result: FrameSource = clip
            if signals.character_mask is not None:
                columns.append(("mask", MaskShown(part(driver), part(signals.character_mask))))
                result = MaskShown(clip, part(signals.character_mask), outline=True)
            columns += [("result", result), *([] if whole is None else [("stitched", whole)])]
            contact_sheet(options.sheet, columns)
        clip.close()
        if not options.keep_segments:
            store.remove()
    print(out)
    return out


def from_video(options: RunOptions) -> Prepared:
    frames = driving_video(options)
    return *animate_job(options, frames), frames


def driving_video(options: RunOptions) -> VideoSource:
    """The driving video; its notes are printed."""
    from ..video.source import VideoSource

    # a small person is found on larger frames than the window is
    area = max(options.area, 1280 * 720) if options.crop else options.area
    frames = VideoSource(
        options.video, fps=options.fps, max_area=area, start=options.start, limit=options.limit, fit=options.fit
    )
    for note in frames.notes:
        print(f"wan-animate: {note}", file=sys.stderr)
    return frames


def animate_job(options: RunOptions, frames: VideoSource) -> tuple[AnimateJob, Controls]:
    from ..chain.controls import controls
    from ..chain.job import AnimateJob
    from ..errors import InputError
    from ..pose.edits import edit_pose
    from ..pose.track import PoseTrack, fit_track
    from ..video.picture import read_picture
    from .by_hand import mask_prompts, pose_edits
    from .checks import clip_options, more_images

    reference = read_picture(options.image, "the reference image")
    detector = None
    if options.detector and options.pose:
        from ..detect.detector import PoseDetector

        detector = PoseDetector(options.detector, options.pose)
    if options.track:
        track = fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    elif detector:
        from ..people.choosing import PersonChoice

        x, y = options.person_point
        person = PersonChoice(options.person, number=options.person_number, x=x, y=y)
        track = detector.detect(frames, progress=counting("pose"), person=person).track
    else:
        raise InputError("there is nothing to read the pose with: give --track, or --detector and --pose.")
    track = edit_pose(track, pose_edits(options))
    body = None if options.mode == "replace" or options.no_retarget else _character(options, reference, detector)
    if detector:
        detector.close()
    mask = None
    if options.mode == "replace" and options.sam2:
        from ..mask.character import segment_character
        from ..mask.segmentation import Segmenter
        from ..mask.track import MaskTrackSource

        own = mask_prompts(options, (frames.width, frames.height))
        found = segment_character(
            Segmenter(options.sam2, options.device), frames, track, own, options.mask_prompts_only,
            progress=counting("mask"),
        )  # fmt: skip
        if found.lost:
            print(f"wan-animate: {found.report}", file=sys.stderr)
        mask = MaskTrackSource(found.masks)
    if options.crop:
        from ..stitch.controls import cropped_controls

        cropped = cropped_controls(frames.full_size(), track, mask, options.area, options.clean, counting("window"))
        print(f"wan-animate: {cropped.report}", file=sys.stderr)
        signals: Controls = cropped
    else:
        signals = controls(frames, track, options.mode, mask=mask, reference=body, strength=options.clean)
    length, previous = options.segment, options.previous_frames
    job = AnimateJob(reference, signals, options.mode, length, previous, options.seed, frames.fps, options.color)
    job.options = clip_options(options, track)
    job.more_references = tuple(read_picture(path, "the reference image") for path in more_images(options))
    return job, signals


def _character(options: RunOptions, picture: torch.Tensor, detector: PoseDetector | None) -> PoseTrack | None:
    """The pose of the reference picture; None (printed) without a detector or a track."""
    from ..errors import InputError
    from ..pose.track import PoseTrack
    from ..video.frames import TensorSource

    if options.reference_track:
        return PoseTrack.load(options.reference_track)
    if detector is None:
        print(
            "wan-animate: the character's build is not known, so the skeleton keeps the driver's: give "
            "--reference-track, or --detector and --pose.",
            file=sys.stderr,
        )
        return None
    try:
        return detector.detect(TensorSource(picture[None])).track
    except InputError as error:
        raise InputError(
            f"the reference image {options.image} shows no body to retarget the pose to ({error}); use another picture "
            "or --no-retarget."
        ) from error


def _ports(
    options: RunOptions,
    prompt: torch.Tensor,
    job: AnimateJob,
    others: list[tuple[tuple[int, int], torch.Tensor]],
    sampling: Sampling,
    negative: torch.Tensor | None,
) -> tuple[DiffusersDenoiser, VideoVAE]:
    import torch

    from ..backends.attention import choose_attention
    from ..backends.diffusers import DiffusersDenoiser, encode_image, flow_scheduler, load
    from ..plan.costs import ACTIVATIONS, DIFFUSERS_VAE
    from ..plan.measured import job_tokens
    from .checks import loras, strengths
    from .plans import runs

    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    image = encode_image(options.models, job.reference_pixels()[0], options.device)
    count, (width, height) = job_tokens(job), job.controls.size
    needed = max(ACTIVATIONS * count, DIFFUSERS_VAE * width * height)
    transformer, vae, scheduler = load(options.models, options.shift, dtype, options.device, options.offload, needed)
    if transformer.device.type == "cuda":
        choose_attention(transformer, count, runs().path.with_name("attention.json"))
    if sampling.solver != AS_RUN.solver:
        scheduler = flow_scheduler(sampling.solver, options.shift)
    for path, strength in [*([(sampling.lora, 1.0)] if sampling.lora else []), *loras(options)]:
        from ..backends.lora import add_lora

        add_lora(transformer, path, strength)
    given = strengths(options)
    denoiser = DiffusersDenoiser(
        transformer, scheduler, prompt, negative, image, options.steps, sampling.cfg,
        pose_strength=given["pose_strength"], face_strength=given["face_strength"],
    )  # fmt: skip
    denoiser.set_prompts(others, len(job.controls))
    return denoiser, vae
