"""The clip that the options describe, on diffusers."""

from __future__ import annotations

import sys

from .options import AS_RUN
from .progress import close, counting, print_colors, printing
from .shared import ALONE

# Everything else is imported where it is used: Ctrl+C during imports, which take seconds, would end in a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    import torch

    from ..chain.controls import Controls
    from ..chain.job import AnimateJob
    from ..chain.ports import Denoiser, VideoVAE
    from ..detect.detector import PoseDetector
    from ..mask.track import MaskTrackSource
    from ..pose.track import PoseTrack
    from ..record.clip_record import ClipRecord
    from ..video.frames import FrameSource
    from ..video.source import VideoSource
    from .options import RunOptions, Sampling
    from .shared import Shared

    Prepared = tuple[AnimateJob, Controls, VideoSource]


def run(
    options: RunOptions,
    expected: ClipRecord | None = None,
    source: Callable[[RunOptions], Prepared] | None = None,
    sampling: Sampling = AS_RUN,
    shared: Shared = ALONE,
    segments_only: bool = False,
) -> Path:
    """Do the job that the options describe; returns the mp4's path.

    Args:
        source: makes job, controls and driving video; None: from ``--video``.
        segments_only: no mp4 is made; a run with the same ``shared`` folder finds them.

    Raises:
        InputError: bad input, or another one than that of the record ``expected``.
    """
    import os.path
    from contextlib import ExitStack
    from pathlib import Path

    from ..files import no_empty_folders
    from ..interrupt import whole_imports

    with whole_imports():
        from .checks import default_device
        from .launch import by_torchrun, helps
    options.device = options.device or default_device()
    by_torchrun(options)
    if helps(options):
        return Path(options.out)
    with ExitStack() as stack:
        stack.enter_context(no_empty_folders(*(os.path.dirname(path) for path in (options.out, options.sheet) if path)))
        return _run(options, expected, source, sampling, shared, segments_only, stack)


def _run(
    options: RunOptions,
    expected: ClipRecord | None,
    source: Callable[[RunOptions], Prepared] | None,
    sampling: Sampling,
    shared: Shared,
    segments_only: bool,
    stack: ExitStack,
) -> Path:
    import glob
    from pathlib import Path

    from ..interrupt import whole_imports

    with whole_imports():
        from ..backends.diffusers import check_folder
        from ..chain.earlier import earlier_jobs
        from ..chain.finished import Finished
        from ..chain.generate import check_start, generate, result_plan
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
        from .checks import (
            check_encoders,
            check_linears,
            check_options,
            prompt_ranges,
            segment_prompts,
            segment_settings,
        )
        from .imports import import_packages
        from .launch import together
        from .loading import load_ports
        from .options import command_of
        from .plans import plan_of, runs, timed_model
        from .recording import check_weights, hold_weights, job_settings, record, weights_key
        from .saving import save_result

    check_options(options, pose=source is None)
    out = Path(options.out)
    if options.plan:
        print(plan_of(options, driving_video(options)).text())
        return out
    check_linears(options)
    with whole_imports():
        import_packages(options)
    group = stack.enter_context(together(options))
    width = check_folder(options.models)["transformer"].get("text_dim")
    check_encoders(options, sampling)
    # read first: what is wrong with it is said before the pose is detected
    saved = load_prompt(options.prompt_file, width)[0][0] if options.prompt_file else None
    job, signals, frames = from_video(options, shared) if source is None else source(options)
    job.check()
    made = record(options, job, frames, sampling)
    if expected is not None:
        check_inputs(expected, made)
    device = device_here(options.device).name
    timed = timed_model(options)
    clock = begin_clock(runs(), device, job, timed)
    ranges = prompt_ranges(options)
    held, weights = hold_weights(options, sampling), weights_key(options, sampling)
    settings = " ".join([segment_settings(options, weights), *sampling.settings()])
    keys = settings, segment_prompts(options, job.plan(), made.files.get("prompt_file"))
    folder, place = f".{short_name(out.stem)}-", shared.folder or out.parent
    audio = read_audio(
        sampling.sound or options.video, float(options.start / frames.fps), float(len(frames) / frames.fps)
    )
    progress = shared.progress or printing(clock)

    def opened(one: AnimateJob) -> SegmentStore:
        return SegmentStore(place / f"{folder}{one.key(job_settings(options, settings, made))}", shared.waiting)

    loaded: tuple[Denoiser, VideoVAE] | None = None

    def ports(one: AnimateJob, store: SegmentStore) -> tuple[Denoiser, VideoVAE]:
        """Of a job whose store has been begun; loaded for the first one that is not finished."""
        nonlocal loaded
        others = [] if segments_only else place.glob(f"{glob.escape(folder)}*")
        take_over(store, one.segment_keys(*keys), others, one.former_keys(*keys))
        write_command(store.folder, command_of(options, sampling))
        check_start(one, store)
        if all(map(store.is_whole, one.wanted())):
            store.verify(one.wanted())
        if all(map(store.is_whole, one.wanted())):
            return (finished := Finished(options.steps)), finished
        shown_size = frames.native_size if options.crop else None
        check_room(disk_needed(one, store, device, runs(), shown_size, timed), store.folder)
        if loaded is None:
            loaded = load_ports(options, saved, job, ranges, sampling, shared, weights, group)
            check_weights(options, sampling, weights)
        return loaded

    before: list[SegmentStore] = []
    for earlier in [] if expected is None else earlier_jobs(job, *expected.shown):
        with opened(earlier) as store:
            generate(earlier, *ports(earlier, store), store, progress, check_model=held.check).close()
            before.append(store)
    with opened(job) as store:
        denoiser, vae = ports(job, store)
        video = store.folder / "clip.mp4"  # in the job's folder, which the next run of a killed job cleans up
        if segments_only:
            generate(job, denoiser, vae, store, progress, check_model=held.check).close()
            return store.folder
        mp4 = None if options.crop else video
        clip = generate(job, denoiser, vae, store, progress, mp4, audio, made, held.check)
        close()
        shown = result_plan(job, store)
        took = run_of(clock, device, job, store.folder, timed, options.steps)
        if took is not None and len(shown) == len(job.plan()):
            runs().add(took)
        if options.crop:
            clip.tags = made.showing(shown).tags(clip_hashes(clip, [segment.keep for segment in shown]))
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
        if not options.keep_segments and shared.folder is None:
            for one in (store, *before):
                one.remove()
    print(out)
    return out


def from_video(options: RunOptions, shared: Shared = ALONE) -> Prepared:
    frames = driving_video(options)
    return *animate_job(options, frames, shared), frames


def driving_video(options: RunOptions) -> VideoSource:
    """The driving video; its notes are printed, but where a plan has them."""
    from ..video.source import VideoSource

    # a small person is found on larger frames than the window is
    area = max(options.area, 1280 * 720) if options.crop else options.area
    frames = VideoSource(
        options.video, fps=options.fps, max_area=area, start=options.start, limit=options.limit, fit=options.fit
    )
    for note in [] if options.plan else frames.notes:
        print(f"wan-animate: {note}", file=sys.stderr)
    return frames


def animate_job(options: RunOptions, frames: VideoSource, shared: Shared = ALONE) -> tuple[AnimateJob, Controls]:
    from ..chain.controls import controls
    from ..chain.job import AnimateJob
    from ..pose.edits import edit_pose
    from ..video.picture import read_picture
    from .by_hand import pose_edits
    from .checks import clip_options, more_images

    reference = read_picture(options.image, "the reference image")
    detector = None
    if options.detector and options.pose:
        from ..detect.detector import PoseDetector
        from ..parallel.roomiest import card_with_room

        detector = PoseDetector(
            options.detector, options.pose,
            choose_card=lambda: card_with_room(options.device, "The pose detector").index or 0,
        )  # fmt: skip
    track = edit_pose(_track(options, frames, detector, shared), pose_edits(options))
    body = None if options.mode == "replace" or options.no_retarget else _character(options, reference, detector)
    if detector:
        detector.close()
    mask = _mask(options, frames, track, shared)
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


def chains(options: RunOptions, shared: Shared) -> list[tuple[int, int]]:
    """First and last segment, from 0, of each chain that is to be made; ``shared`` then has the pose and the masks.

    Raises:
        InputError: as :func:`run`.
    """
    from .checks import check_linears, check_options, default_device
    from .imports import import_packages

    options.device = options.device or default_device()
    check_options(options)
    check_linears(options)
    import_packages(options)
    job, _, _ = from_video(options, shared)
    job.check()
    return job.wanted().chains()


def _track(options: RunOptions, frames: VideoSource, detector: PoseDetector | None, shared: Shared) -> PoseTrack:
    from ..errors import InputError
    from ..pose.track import PoseTrack, fit_track

    if options.track:
        return fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    if detector is None:
        raise InputError("there is nothing to read the pose with: give --track, or --detector and --pose.")
    if shared.track is not None and shared.track.exists():
        return PoseTrack.load(shared.track)
    from ..people.choosing import PersonChoice

    x, y = options.person_point
    person = PersonChoice(options.person, number=options.person_number, x=x, y=y)
    track = detector.detect(frames, progress=counting("pose"), person=person).track
    if shared.track is not None:
        track.save(shared.track)
    return track


def _mask(options: RunOptions, frames: VideoSource, track: PoseTrack, shared: Shared) -> MaskTrackSource | None:
    if options.mode != "replace" or not options.sam2:
        return None
    from ..mask.track import MaskTrack, MaskTrackSource

    if shared.masks is not None and shared.masks.exists():
        return MaskTrackSource(MaskTrack.load(shared.masks))
    from ..mask.character import segment_character
    from ..mask.segmentation import Segmenter
    from ..parallel.roomiest import card_with_room
    from .by_hand import mask_prompts

    own = mask_prompts(options, (frames.width, frames.height))
    found = segment_character(
        Segmenter(options.sam2, card_with_room(options.device, "SAM 2")), frames, track, own,
        options.mask_prompts_only, progress=counting("mask"),
    )  # fmt: skip
    if found.lost:
        print(f"wan-animate: {found.report}", file=sys.stderr)
    if shared.masks is not None:
        found.masks.save(shared.masks)
    return MaskTrackSource(found.masks)


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
