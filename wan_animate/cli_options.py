"""The shell's options, checked before anything is loaded."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from .chain.segments import check_segment_settings
from .errors import InputError
from .files import check_ending, check_place, make_folder

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
}
FILES = {
    "image": "a picture",
    "video": "a video",
    "track": "a pose track (.npz)",
    "reference_track": "a pose track (.npz)",
    "detector": "an ONNX file",
    "pose": "an ONNX file",
    "sam2": "a safetensors file",
    "prompt_file": "a saved prompt (.safetensors)",
}


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError for the first option that cannot work."""
    for name, (low, high, give) in RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:  # nor does "not a number" lie between them
            raise InputError(f"{_flag(name)} is {value}, but it must be {low:,} to {high:,}: give {give}.")
    if not all(0 <= side <= 1 for side in options.person_point):
        x, y = options.person_point
        raise InputError(f"--person-point is {x:g} {y:g}, but both must be 0 to 1: give fractions of the frame.")
    if options.crop and options.mode != "replace":
        raise InputError("--crop is given, but --mode is animate, which makes its own scene: leave --crop out.")
    check_segment_settings(options.segment, options.previous_frames)
    check_device(options.device)
    for name, kind in FILES.items():
        path = getattr(options, name)
        if path is not None and not _is_file(path):
            found = "a folder" if _is_folder(path) else "not there"
            raise InputError(f"{_flag(name)} is {path}, which is {found}: give the path of {kind}.")
    if not options.track and not (options.detector and options.pose):
        raise InputError(
            "there is nothing to read the pose with: give --track, or --detector and --pose with their ONNX files."
        )
    _check_outputs(options)


def check_device(name: str) -> None:
    """Raises InputError unless PyTorch has this device here."""
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # a RuntimeError or AssertionError of many kinds, or NotImplementedError
        have = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(
            f"--device is {name!r}, which this PyTorch cannot use here: give one of {', '.join(have)}."
        ) from error


def _check_outputs(options: argparse.Namespace) -> None:
    given = {"out": ("the video (--out)", VIDEO_ENDINGS), "sheet": ("the contact sheet (--sheet)", SHEET_ENDINGS)}
    for name, (what, endings) in given.items():
        if not getattr(options, name):
            continue
        path = check_ending(getattr(options, name), what, endings)
        make_folder(path.parent, what)
        check_place(path, what)
        for other in FILES:
            used = getattr(options, other)
            if used is not None and path.exists() and os.path.samefile(path, used):
                raise InputError(f"{_flag(name)} and {_flag(other)} are the same file, {path}: name another to write.")


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
