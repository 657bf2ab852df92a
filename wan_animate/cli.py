"""The main job from a shell, with diffusers: ``python -m wan_animate.cli --help``."""

from __future__ import annotations

import sys

from .cli_progress import counting, line_end, print_colors, printing

# Everything else is imported where it is used: Ctrl+C during imports, which take seconds, would end in a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import NoReturn

    import torch

    from .backends.diffusers import DiffusersDenoiser
    from .chain.controls import Controls
    from .chain.job import AnimateJob
    from .chain.ports import VideoVAE
    from .detect.detector import PoseDetector
    from .pose.track import PoseTrack
    from .record.clip_record import ClipRecord
    from .video.frames import FrameSource
    from .video.source import VideoSource

STOPPED = 130  # as shells have it for a program that Ctrl+C ended: 128 and the signal's number


def parser() -> argparse.ArgumentParser:
    import argparse

    import torch

    from .cli_options import add_clip_options, add_more_images

    p = argparse.ArgumentParser(
        prog="wan-animate",
        description="One character picture and one driving video in, a finished clip out.",
        epilog="wan-animate reproduce CLIP.mp4 makes a clip again from the record in it: see its --help.",
    )
    p.add_argument("--image", required=True, help="the character; transparent parts of a cut-out become black")
    add_more_images(p)
    p.add_argument("--video", required=True, help="the driving video")
    p.add_argument(
        "--out",
        required=True,
        help="the mp4 to write (.mp4 or .m4v); refused while another process makes the same clip there",
    )
    p.add_argument(
        "--models", required=True, help="a folder in diffusers' layout (Wan-AI/Wan2.2-Animate-14B-Diffusers)"
    )
    p.add_argument("--mode", choices=["animate", "replace"], default="animate")
    p.add_argument("--track", help="a saved pose track (.npz) of the video; else --detector and --pose find it")
    p.add_argument("--detector", help="YOLOv10 ONNX file")
    p.add_argument("--pose", help="ViTPose whole-body ONNX file")
    p.add_argument(
        "--person",
        choices=["largest", "central", "number", "point"],
        default="largest",
        help="who of several people: number counts from the left, point is whoever --person-point lies on",
    )
    p.add_argument("--person-number", type=int, default=1, help="1 is the leftmost")
    p.add_argument(
        "--person-point", type=float, nargs=2, default=(0.5, 0.5), metavar=("X", "Y"), help="fractions of frame 0"
    )
    p.add_argument("--clean", type=float, default=0.5, help="how much the pose is cleaned: 0 not at all, to 1")
    p.add_argument("--reference-track", help="animate: a saved pose track of --image; else it is detected as well")
    p.add_argument(
        "--no-retarget", action="store_true", help="animate: the driver's own build and place, not the character's"
    )
    p.add_argument("--sam2", help="replace: SAM 2 safetensors file that cuts the person out; else the pose's outline")
    p.add_argument("--prompt", default="People in the video are doing actions.", help="what the clip shows")
    p.add_argument(
        "--prompt-file", help="a saved prompt (.safetensors) in place of --prompt: no text encoder is loaded"
    )
    p.add_argument(
        "--area", type=int, default=832 * 480, help="pixels of the result; the video's aspect ratio is kept (see --fit)"
    )
    p.add_argument(
        "--fit",
        choices=["fill", "pad"],
        default="fill",
        help="sides are divisible by 16: cut the edges off for that (a fiftieth or less from 512x288 on), or add bars",
    )
    p.add_argument("--fps", type=float, default=30.0, help="0 keeps the video's own")
    p.add_argument("--start", type=int, default=0, help="first frame")
    p.add_argument("--limit", type=int, default=0, help="how many frames; 0 = all")
    p.add_argument("--segment", type=int, default=77, help="frames a segment, 4n+1")
    p.add_argument(
        "--previous-frames",
        "--guidance",
        type=int,
        default=1,
        help="frames taken over from the segment before, 4n+1",
    )
    for name in ("pose", "face"):
        p.add_argument(
            f"--{name}-strength", type=float, default=1.0, help=f"how strongly the {name} acts: 1 as trained, 0 off"
        )
        p.add_argument(
            f"--{name}-range",
            type=float,
            nargs=2,
            default=(0.0, 1.0),
            metavar=("START", "END"),
            help=f"the part of the sampling in which the {name} acts, fractions of it",
        )
    p.add_argument(
        "--color",
        choices=["anchor", "previous", "off"],
        default="anchor",
        help="take out colour drift: match each segment to the frames it takes over and to the scene, to these frames "
        "alone, or not at all",
    )
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--shift", type=float, default=5.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument(
        "--plan",
        action="store_true",
        help="print segments, sizes, time, disk and memory of the job and what is wrong with its inputs, and exit; "
        "loads no model (give --track to have the person looked for)",
    )
    p.add_argument("--sheet", help="also write a contact sheet (driver | pose | face | mask | result) to this PNG")
    add_clip_options(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, 1 for a clip reproduced with other frames, 2 for input that does not work,
    :data:`STOPPED` after Ctrl+C."""
    from .interrupt import is_interrupt, whole_imports

    try:
        with whole_imports():
            from .errors import InputError

            options = parser()
            given = sys.argv[1:] if arguments is None else arguments
            again = given[:1] == ["reproduce"]
            if again:
                from .cli_record import reproduce
        if again:
            return reproduce(given[1:], options, run)
        run(options.parse_args(given))
    except BaseException as error:
        if is_interrupt(error):
            line_end(
                "wan-animate: stopped; run the same command again to go on from the last finished segment, if there is "
                "one."
            )
            return STOPPED
        if not isinstance(error, InputError):
            raise
        line_end(f"wan-animate: {error}")
        return 2
    return 0


def program() -> NoReturn:
    """The shell's command."""
    code = main()
    if code == STOPPED:
        from .interrupt import end_by_interrupt

        end_by_interrupt()
    sys.exit(code)


def run(options: argparse.Namespace, expected: ClipRecord | None = None) -> Path:
    """Do the job that the options describe; returns the mp4's path. Raises InputError if its inputs are not those of
    the record ``expected``."""
    import os.path

    from .files import no_empty_folders

    with no_empty_folders(*(os.path.dirname(path) for path in (options.out, options.sheet) if path)):
        return _run(options, expected)


def _run(options: argparse.Namespace, expected: ClipRecord | None) -> Path:
    import glob
    from pathlib import Path

    from .interrupt import whole_imports

    with whole_imports():
        from .backends.diffusers import check_folder, encode_prompt
        from .chain.generate import generate, result_plan
        from .chain.reuse import take_over
        from .chain.store import SegmentStore
        from .cli_imports import import_packages
        from .cli_options import check_options, prompt_ranges, segment_prompts, segment_settings
        from .cli_plan import plan, runs
        from .cli_record import job_settings, record, weights_key
        from .files import rename, short_name
        from .plan.cards import device_here
        from .plan.measured import begin_clock, run_of
        from .record.compare import check_inputs
        from .record.frame_hashes import clip_hashes
        from .stitch.controls import shown_frames, stitch_clip
        from .video.audio import read_audio
        from .video.derived import PartSource
        from .weights.prompt_file import load_prompt

    check_options(options)
    out = Path(options.out)
    if options.plan:
        print(plan(options, _frames(options)).text())
        return out
    with whole_imports():
        import_packages(options)
    width = check_folder(options.models)["transformer"].get("text_dim")
    # read first: what is wrong with it is said before the pose is detected
    saved = load_prompt(options.prompt_file, width)[0][0] if options.prompt_file else None
    frames = _frames(options)
    job, signals = _job(options, frames)
    job.check()
    made = record(options, job, frames)
    if expected is not None:
        check_inputs(expected, made)
    device = device_here(options.device).name
    clock = begin_clock(runs(), device, job)
    ranges = prompt_ranges(options)
    settings = segment_settings(options, weights_key(made))
    keys = settings, segment_prompts(options, job.plan(), made.files.get("prompt_file"))
    folder = f".{short_name(out.stem)}-"
    with SegmentStore(out.parent / f"{folder}{job.key(job_settings(options, settings, made))}") as store:
        take_over(store, job.segment_keys(*keys), out.parent.glob(f"{glob.escape(folder)}*"), job.former_keys(*keys))
        # the text encoder is freed before the transformer is loaded
        prompt = encode_prompt(options.models, options.prompt, options.device) if saved is None else saved
        texts = [encode_prompt(options.models, text, options.device) for _, _, text in options.prompt_for]
        denoiser, vae = _ports(options, prompt, job, list(zip(ranges, texts)))
        audio = read_audio(options.video, float(options.start / frames.fps), float(len(frames) / frames.fps))
        video = store.folder / "clip.mp4"  # in the job's folder, which the next run of a killed job cleans up
        clip = generate(job, denoiser, vae, store, printing(clock), None if options.crop else video, audio, made)
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
        rename(video, out, "the video")
        print_colors(store.records(len(job.plan())))
        if options.sheet:
            from .preview.sheet import MaskShown, contact_sheet

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


def _frames(options: argparse.Namespace) -> VideoSource:
    """The driving video; its notes are printed."""
    from .video.source import VideoSource

    # a small person is found on larger frames than the window is
    area = max(options.area, 1280 * 720) if options.crop else options.area
    frames = VideoSource(
        options.video, fps=options.fps, max_area=area, start=options.start, limit=options.limit, fit=options.fit
    )
    for note in frames.notes:
        print(f"wan-animate: {note}", file=sys.stderr)
    return frames


def _job(options: argparse.Namespace, frames: VideoSource) -> tuple[AnimateJob, Controls]:
    from .chain.controls import controls
    from .chain.job import AnimateJob
    from .cli_options import clip_options, more_images
    from .errors import InputError
    from .pose.track import PoseTrack, fit_track
    from .video.picture import read_picture

    reference = read_picture(options.image, "the reference image")
    detector = None
    if options.detector and options.pose:
        from .detect.detector import PoseDetector

        detector = PoseDetector(options.detector, options.pose)
    if options.track:
        track = fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    elif detector:
        from .people.choosing import PersonChoice

        x, y = options.person_point
        person = PersonChoice(options.person, number=options.person_number, x=x, y=y)
        track = detector.detect(frames, progress=counting("pose"), person=person).track
    else:
        raise InputError("there is nothing to read the pose with: give --track, or --detector and --pose.")
    body = None if options.mode == "replace" or options.no_retarget else _character(options, reference, detector)
    if detector:
        detector.close()
    mask = None
    if options.mode == "replace" and options.sam2:
        from .mask.character import segment_character
        from .mask.segmentation import Segmenter
        from .mask.track import MaskTrackSource

        found = segment_character(Segmenter(options.sam2, options.device), frames, track, progress=counting("mask"))
        if found.lost:
            print(f"wan-animate: {found.report}", file=sys.stderr)
        mask = MaskTrackSource(found.masks)
    if options.crop:
        from .stitch.controls import cropped_controls

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


def _character(options: argparse.Namespace, picture: torch.Tensor, detector: PoseDetector | None) -> PoseTrack | None:
    """The pose of the reference picture; None (printed) without a detector or a track."""
    from .errors import InputError
    from .pose.track import PoseTrack
    from .video.frames import TensorSource

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
    options: argparse.Namespace,
    prompt: torch.Tensor,
    job: AnimateJob,
    others: list[tuple[tuple[int, int], torch.Tensor]],
) -> tuple[DiffusersDenoiser, VideoVAE]:
    import torch

    from .backends.diffusers import DiffusersDenoiser, encode_image, load
    from .cli_options import strengths

    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    image = encode_image(options.models, job.reference_pixels()[0], options.device)
    transformer, vae, scheduler = load(options.models, options.shift, dtype, options.device)
    given = strengths(options)
    denoiser = DiffusersDenoiser(
        transformer, scheduler, prompt, image=image, steps=options.steps,
        pose_strength=given["pose_strength"], face_strength=given["face_strength"],
    )  # fmt: skip
    denoiser.set_prompts(others, len(job.controls))
    return denoiser, vae


if __name__ == "__main__":
    program()
