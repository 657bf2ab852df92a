"""How the shell's clips are recorded, and ``wan-animate reproduce``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .chain.job import AnimateJob
from .cli_options import FILES
from .errors import InputError
from .plan.cards import device_here
from .record.clip_record import ClipRecord, Model, read_record, record_of
from .record.compare import frames_compared, other_inputs, other_surroundings, short
from .record.identity import content_hash, weights_hash
from .record.versions import versions
from .video.source import VideoSource

WEIGHTS = ("detector", "pose", "sam2")
PARTS = ("transformer", "vae", "text_encoder", "image_encoder")
# neither settings of the clip nor inputs
LEFT_OUT = {"out", "sheet", "models", "device", "plan", "keep_segments", *FILES}
DIFFERENT = 1
"""Exit code for frames that differ."""


def record(options: argparse.Namespace, job: AnimateJob, frames: VideoSource) -> ClipRecord:
    """The record of the job that the options describe, whose driving video is ``frames``."""
    settings = {name: value for name, value in vars(options).items() if name not in LEFT_OUT}
    if options.prompt_file:
        del settings["prompt"]
    return record_of(
        job,
        "shell",
        {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
        files={"video": frames.file_digest()} | _hashes(options, content_hash, set(FILES) - {*WEIGHTS, "video"}),
        models=(*folder_models(options.models, bool(options.prompt_file)), *_single_models(options)),
        versions=versions(),
        device=device_here(options.device).name,
    )


def folder_models(folder: str, saved_prompt: bool = False) -> list[Model]:
    """The weight files of a folder in diffusers' layout; without the text encoder for a saved prompt."""
    return [
        Model(part, path.name, weights_hash(path))
        for part in PARTS
        if not (saved_prompt and part == "text_encoder")
        for path in sorted(Path(folder, part).glob("*"))
        if path.suffix in (".safetensors", ".bin") and path.is_file()
    ]


def weights_key(made: ClipRecord) -> str:
    """The hashes of a record's weights that make the frames; those of the pose and the mask show in the controls."""
    return " ".join(model.hash for model in made.models if model.part in PARTS)


def job_settings(options: argparse.Namespace, settings: str, made: ClipRecord) -> str:
    """Those of all segments (:func:`.cli_options.segment_settings`) with the prompts, for the job's key."""
    prompt = made.files.get("prompt_file") or options.prompt
    return " ".join([settings, f"prompt={prompt}", *(f"prompt_for={one}" for one in options.prompt_for)])


def _single_models(options: argparse.Namespace) -> list[Model]:
    hashes = _hashes(options, weights_hash, set(WEIGHTS))
    return [Model(name, Path(getattr(options, name)).name, key) for name, key in hashes.items()]


def _hashes(options: argparse.Namespace, of: Callable[[str], str], names: set[str]) -> dict[str, str]:
    return {name: of(path) for name in sorted(names) if (path := getattr(options, name))}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="wan-animate reproduce",
        description=(
            "Makes a clip again from the record in its mp4 and the same inputs, or says what is missing or changed; "
            "compares the lossless frames. Exit code 0: the same frames, 1: others, 2: it cannot be made."
        ),
    )
    p.add_argument("clip", help="an mp4 that wan-animate made, or that Animate Character did with --against")
    p.add_argument("--against", help="only compare with this clip: settings, inputs, models, versions, frames")
    p.add_argument(
        "--server",
        help="for a clip of Animate Character: the address of a ComfyUI (http://127.0.0.1:8188) that has its inputs "
        "and models; runs the workflow in the mp4 of Save Video there, and has the server forget what it kept of "
        "former runs",
    )
    p.add_argument("--out", help="the mp4 to write; default: the clip's name with -again, next to it")
    p.add_argument("--models", help="the folder of the weights")
    for name, kind in FILES.items():
        p.add_argument(f"--{name.replace('_', '-')}", help=f"{kind}, as it was given for the clip")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return p


def reproduce(
    arguments: list[str], shell: argparse.ArgumentParser, run: Callable[[argparse.Namespace, ClipRecord], Path]
) -> int:
    """``wan-animate reproduce``; returns the exit code.

    Args:
        shell: the parser of the main command.
        run: makes the clip, and raises InputError where its inputs are not those of the record.
    """
    given = parser().parse_args(arguments)
    then = read_record(given.clip)
    if given.against:
        return _compared(then, read_record(given.against))
    if given.server:
        from .record.server import run_again

        now = read_record(run_again(given.server, given.clip, _out(given)))
        for line in other_inputs(then, now):
            print(f"wan-animate: {line}", file=sys.stderr)
    elif then.host != "shell":
        raise InputError(
            f"{given.clip} was made in {then.host}, which computes with other kernels than the shell: give --server, "
            "the address of a ComfyUI that has its inputs and models."
        )
    else:
        options = _options(given, then, shell)
        _check_files(given, then)
        now = read_record(run(options, then))
    for note in other_surroundings(then, now):
        print(f"wan-animate: {note}", file=sys.stderr)
    print(f"wan-animate: {frames_compared(then, now)}.", file=sys.stderr)
    return 0 if now.frames == then.frames else DIFFERENT


def _compared(then: ClipRecord, now: ClipRecord) -> int:
    for line in (*other_inputs(then, now), *other_surroundings(then, now), frames_compared(then, now)):
        print(line)
    return 0 if now.frames == then.frames else DIFFERENT


def _options(given: argparse.Namespace, then: ClipRecord, shell: argparse.ArgumentParser) -> argparse.Namespace:
    """The main command's options: settings of the record, files as given."""
    needed = {one.part for one in then.models if one.part in WEIGHTS} | then.files.keys()
    missing = [name for name in ("models", *FILES) if name in needed | {"models"} and not getattr(given, name)]
    if missing:
        hashes = then.files | {one.part: one.hash for one in then.models}
        named = (f"{_flag(name)} (hash {short(hashes[name])})" if name in hashes else _flag(name) for name in missing)
        raise InputError(f"{given.clip} was made with more than is given here: give {', '.join(named)} too.")
    unused = [name for name in FILES if getattr(given, name) and name not in needed]
    if unused:
        raise InputError(f"{given.clip} was made without {', '.join(map(_flag, unused))}: leave it out.")
    line = [f"--out={_out(given)}", f"--models={given.models}", f"--device={given.device}"]
    line += [f"{_flag(name)}={getattr(given, name)}" for name in FILES if getattr(given, name)]
    known = {action.dest: action.default for action in shell._actions}
    for name, value in then.settings.items():
        if name in known and name not in LEFT_OUT:
            line += _argument(name, value)
    try:
        return shell.parse_args(line)
    except SystemExit:
        raise InputError(
            f"the settings in {given.clip} are not those of this version: use WanAnimateKit "
            f"{then.versions.get('wan_animate_kit', 'as it was then')}."
        ) from None


def _out(given: argparse.Namespace) -> str:
    clip = Path(given.clip)
    if given.out and os.path.exists(given.out) and os.path.samefile(given.out, clip):
        raise InputError(f"--out and the clip are the same file, {clip}: name another to write.")
    return given.out or str(clip.with_name(f"{clip.stem}-again.mp4"))


def _argument(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [_flag(name)] * value
    if isinstance(value, list):
        given = value if value and isinstance(value[0], list) else [value] * bool(value)
        return [text for one in given for text in (_flag(name), *map(str, one))]
    return [] if value is None else [f"{_flag(name)}={value}"]


def _check_files(given: argparse.Namespace, then: ClipRecord) -> None:
    """Raises InputError for the files that are not those of the record."""
    changed = []
    for name, key in then.files.items():
        now = _read(content_hash, name, getattr(given, name))
        if now != key:
            changed.append(f"{_flag(name)} is another file (hash {short(now)}, and was {short(key)})")
    models = [(one.part, one.hash) for one in folder_models(given.models, "prompt_file" in then.files)]
    models += [(name, _read(weights_hash, name, getattr(given, name))) for name in WEIGHTS if getattr(given, name)]
    was = {(one.part, one.hash): one.name for one in then.models}
    changed += [f"the {part} is other weights than {was[part, key]} (hash {short(key)})"
                for part, key in was if (part, key) not in models]  # fmt: skip
    changed += [f"weights of the {part} were not used" for part, key in models if (part, key) not in was]
    if changed:
        raise InputError(f"{given.clip} cannot be made again: {'; '.join(changed)}.")


def _read(of: Callable[[str], str], name: str, path: str) -> str:
    try:
        return of(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{_flag(name)} is {path}, which cannot be read ({reason}): give the path of it.") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
