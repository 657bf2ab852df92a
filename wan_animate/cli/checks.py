"""The shell's options, checked before anything is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from ..backends.diffusers import check_parts
from ..chain.job import MOST_PICTURES
from ..chain.options import ClipOptions, parse_segment_seeds
from ..chain.prompts import FrameRange, check_range, prompts_for
from ..chain.segments import SegmentPlan, check_segment_settings
from ..chain.strength import HIGHEST, Strength
from ..errors import InputError
from ..export.codecs import CODECS
from ..files import check_ending, check_place, make_folder
from ..pose.track import PoseTrack
from ..video.source import VideoSource
from ..weights.lora_file import check_lora_file
from .by_hand import check_by_hand
from .options import AS_RUN, RunOptions, Sampling

PICTURES = ""
"""The ending of a folder of pictures."""
VIDEO_ENDINGS = (".mp4", ".m4v")
SHEET_ENDINGS = (".png",)
# option -> (lowest, highest, what to give), as the nodes' inputs have it
RANGES = {
    "steps": (1, 1000, "20 as trained, 4 to 6 with a distillation LoRA"),
    "shift": (0.01, 100, "5 as trained"),
    "seed": (0, 2**64 - 1, "any number from 0 on"),
    "fps": (0, 240, "30 as trained, or 0 for the video's own"),
    "area": (16 * 16, 8192 * 8192, "the pixels of a frame, such as 399360 for 832x480"),
    "start": (0, 1_000_000_000, "the first frame, counted from 0"),
    "limit": (0, 1_000_000_000, "a number of frames, or 0 for all"),
    "segment": (5, 1001, "77 as trained"),
    "previous_frames": (1, 997, "1 or 5 as trained"),
    "clean": (0, 1, "0 for off, to 1"),
    "person_number": (1, 1000, "1 for the leftmost"),
    "pose_strength": (0, HIGHEST, "1 as trained, 0 for off"),
    "face_strength": (0, HIGHEST, "1 as trained, 0 for off"),
    **dict.fromkeys(("lora_strength", "lora_2_strength"), (-10, 10, "1 as published")),
    "crossfade": (-1, 996, "-1 for all previous frames, or 0 for a cut"),
    "first_segment": (1, 100_000, "1 for the first"),
    "last_segment": (0, 100_000, "0 for the last"),
    "gpus": (1, 1024, "1 for one card"),
}
LORAS = ("lora", "lora_2")
MORE_IMAGES = tuple(f"image_{number}" for number in range(2, MOST_PICTURES + 1))
FILES = {
    "image": "a picture",
    **dict.fromkeys(MORE_IMAGES, "a picture"),
    "video": "a video",
    "track": "a pose track (.npz)",
    "reference_track": "a pose track (.npz)",
    "detector": "an ONNX file",
    "pose": "an ONNX file",
    "sam2": "a safetensors file",
    "mask_prompts": "a JSON file",
    "pose_edits": "a JSON file",
    **dict.fromkeys(LORAS, "a LoRA"),
    "prompt_file": "a saved prompt (.safetensors)",
    "continue_from": "a video",
}


def more_images(options: RunOptions) -> list[str]:
    """The paths of further pictures."""
    return [path for name in MORE_IMAGES if (path := getattr(options, name))]


def loras(options: RunOptions) -> list[tuple[str, float]]:
    """(path, strength) of each that does something."""
    given = [(getattr(options, name), getattr(options, f"{name}_strength")) for name in LORAS]
    return [(path, strength) for path, strength in given if path and strength]


def clip_options(options: RunOptions, track: PoseTrack | None) -> ClipOptions:
    """Of the chain; the shots are the track's, and not known without one."""
    anew = track if options.at_cuts == "anew" else None
    return ClipOptions(
        crossfade=options.crossfade,
        share_noise=options.share_noise,
        cuts=() if anew is None else anew.cuts,
        cut_frames=0 if anew is None else len(anew),
        continue_from=_read(options.continue_from) if options.continue_from else None,
        first_segment=options.first_segment - 1,
        last_segment=options.last_segment - 1,
        segment_seeds=parse_segment_seeds(options.segment_seeds),
        keep_rest=options.keep_rest,
    )


def _read(video: Path | str) -> VideoSource:
    """As it is; its notes are printed."""
    source = VideoSource(video, fps=0)
    for note in source.notes:
        print(f"wan-animate: {note}", file=sys.stderr)
    return source


def prompt_ranges(options: RunOptions) -> list[FrameRange]:
    """The frames of ``--prompt-for``.

    Raises:
        InputError: no numbers, or no frames.
    """
    ranges = []
    for first, last, _ in options.prompts():
        try:
            frames = int(first), int(last)
        except ValueError:
            raise InputError(
                f"--prompt-for is {first} {last}, which are no frame numbers: give the first and the last frame, then "
                "the text."
            ) from None
        check_range(frames)
        ranges.append(frames)
    return ranges


def segment_settings(options: RunOptions, weights: str) -> str:
    """What all segments share, beside what :class:`.chain.job.AnimateJob` holds.

    Args:
        weights: their hashes (:func:`.recording.weights_key`): a file that is replaced makes another job.
    """
    values: dict[str, object] = {"weights": weights, "steps": options.steps, "shift": options.shift}
    values |= strengths(options)
    values |= {f"lora {number}": strength for number, (_, strength) in enumerate(loras(options)) if strength != 1}
    if options.gpus > 1:  # which rounds otherwise
        values["gpus"] = options.gpus
    if options.linears != "as-loaded":
        values["linears"] = options.linears
    return " ".join(f"{name}={value}" for name, value in values.items())


def segment_prompts(options: RunOptions, plan: SegmentPlan, prompt_file: str | None = None) -> list[str]:
    """The text, or the hash of the file, of each segment's prompt."""
    texts = [prompt_file or options.prompt, *(text for _, _, text in options.prompts())]
    ranges = [None, *prompt_ranges(options)]
    return [texts[prompts_for(segment, ranges, plan.frame_count)[0]] for segment in plan]


def check_options(options: RunOptions, pose: bool = True) -> None:
    """Raises InputError for the first option that cannot work.

    Args:
        pose: it is to be found, or read from a track.
    """
    for name, (low, high, give) in RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:  # nor does "not a number" lie between them
            raise InputError(f"{_flag(name)} is {value}, but it must be {low:,} to {high:,}: give {give}.")
    if not all(0 <= side <= 1 for side in options.person_point):
        x, y = options.person_point
        raise InputError(f"--person-point is {x:g} {y:g}, but both must be 0 to 1: give fractions of the frame.")
    if options.crop and options.mode != "replace":
        raise InputError("--crop is given, but --mode is animate, which makes its own scene: leave --crop out.")
    check_segment_settings(options.segment, options.previous_frames, max(options.crossfade, 0))
    parse_segment_seeds(options.segment_seeds)
    prompt_ranges(options)
    for name, strength in strengths(options).items():
        strength.check(_flag(name), _flag(name.replace("strength", "range")))
    check_device(options.device)
    if options.linears == "fp8" and options.shard_weights:
        raise InputError(
            "--linears fp8 and --shard-weights are given, which do not go together: leave one of them out (in fp8 each "
            "card holds half of the weights' size)."
        )
    for name, kind in FILES.items():
        path = getattr(options, name)
        if path is not None and not _is_file(path):
            found = "a folder" if _is_folder(path) else "no file" if _is_there(path) else "not there"
            raise InputError(f"{_flag(name)} is {path}, which is {found}: give the path of {kind}{_fetched(path)}.")
    for path, _ in loras(options):
        check_lora_file(path)
    check_by_hand(options)
    if pose and not options.plan and not options.track and not (options.detector and options.pose):
        raise InputError(
            "there is nothing to read the pose with: give --track, or --detector and --pose with their ONNX files "
            "(wan-animate models download yolov10m.onnx vitpose-l-wholebody.onnx fetches them)."
        )
    if not options.plan:  # which has what is wrong with them among its findings
        check_outputs(options)


def used_files(options: RunOptions) -> set[str]:
    """Names of the options whose files the clip is made of; others may be given and are not looked at."""
    character = options.mode == "animate" and not options.no_retarget
    used = {name for name in FILES if getattr(options, name)}
    if not character:
        used -= {"reference_track"}
    if options.track and (not character or options.reference_track):
        used -= {"detector", "pose"}
    if options.mode != "replace":
        used -= {"sam2", "mask_prompts"}
    return used - (set(LORAS) - {name for name in LORAS if getattr(options, f"{name}_strength")})


def encodes_text(options: RunOptions, sampling: Sampling = AS_RUN) -> bool:
    """Whether a prompt is not a saved one."""
    return not options.prompt_file or bool(options.prompts()) or sampling.cfg > 1


def check_encoders(options: RunOptions, sampling: Sampling = AS_RUN) -> None:
    """Raises InputError where the model folder lacks what encodes a prompt, or prepares the picture for its encoder."""
    check_parts(options.models, text=encodes_text(options, sampling))


def strengths(options: RunOptions) -> dict[str, Strength]:
    """Of "pose_strength" and "face_strength"."""
    return {
        f"{name}_strength": Strength(getattr(options, f"{name}_strength"), *getattr(options, f"{name}_range"))
        for name in ("pose", "face")
    }


def default_device() -> str:
    """The card, where PyTorch has one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """Raises InputError unless PyTorch has this device here."""
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # a RuntimeError or AssertionError of many kinds, or NotImplementedError
        have = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(
            f"--device is {name!r}, which this PyTorch cannot use here: give one of {', '.join(have)}."
        ) from error


def check_linears(options: RunOptions) -> None:
    """Raises InputError where ``--linears fp8`` cannot be multiplied by the device."""
    if options.linears == "fp8":
        from ..kernels.fp8 import refusal

        reason = refusal(torch.device(options.device))
        if reason is not None:
            raise InputError(
                f"--linears is fp8, which {options.device} cannot multiply: {reason}; leave --linears out, or, for "
                "a clip that was made so, take an RTX 40, an H100 or a later card."
            )


def check_outputs(options: RunOptions) -> None:
    """Makes the folders. Raises InputError for a file that cannot be written."""
    given = {"out": ("the video (--out)", VIDEO_ENDINGS), "sheet": ("the contact sheet (--sheet)", SHEET_ENDINGS)}
    for name, (what, endings) in given.items():
        if not getattr(options, name):
            continue
        path = Path(getattr(options, name))
        if name == "out" and options.codec:
            endings = (CODECS[options.codec].ending,)
        if endings != (PICTURES,):
            path = check_ending(path, what, endings)
        elif os.path.lexists(path):
            raise InputError(f"--codec png writes a new folder, and --out is {path}, which is there: name another.")
        make_folder(path.parent, what)
        check_place(path, what)
        for other in FILES:
            used = getattr(options, other)
            if used is not None and path.exists() and os.path.samefile(path, used):
                raise InputError(f"{_flag(name)} and {_flag(other)} are the same file, {path}: name another to write.")


def _fetched(path: str) -> str:
    """How a file of this name comes here, where the list of models has it."""
    from ..models.manifest import read_manifest

    name = Path(path).name
    known = any(model.name == name for model in read_manifest())
    return f" (wan-animate models download {name} fetches it, into ComfyUI's models or --folder)" if known else ""


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
