"""A clip made again from its record."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..chain.earlier import goes_on
from ..errors import InputError
from ..record.clip_record import ClipRecord, read_record
from ..record.compare import frames_compared, other_inputs, other_surroundings, short
from ..record.identity import content_hash, weights_hash
from .checks import FILES
from .make import run
from .options import GENERATE, ReproduceOptions, RunOptions
from .recording import LEFT_OUT, WEIGHTS, folder_models
from .run import parsed

DIFFERENT = 1
"""Exit code for frames that differ."""


def reproduce(given: ReproduceOptions) -> int:
    """Make it, or compare it, and print how the frames compare; returns the exit code."""
    then = read_record(given.clip)
    if given.against:
        return _compared(then, read_record(given.against))
    if given.server:
        from ..record.server import run_again

        _check_alone(given.clip, then)
        now = read_record(run_again(given.server, given.clip, _out(given)))
        for line in other_inputs(then, now):
            print(f"wan-animate: {line}", file=sys.stderr)
    elif then.host == GENERATE:
        raise InputError(
            f"{given.clip} was made of intermediate files: run wan-animate generate again with them, "
            f"--base_seed {then.settings.get('seed')} and the same options, and compare with --against."
        )
    elif then.host != "shell":
        raise InputError(
            f"{given.clip} was made in {then.host}, which computes with other kernels than the shell: give --server, "
            "the address of a ComfyUI that has its inputs and models."
        )
    else:
        options = _options(given, then)
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


def _options(given: ReproduceOptions, then: ClipRecord) -> RunOptions:
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
    known = {one.name for one in fields(RunOptions)}
    for name, value in then.settings.items():
        if name in known and name not in LEFT_OUT:
            line += _argument(name, value)
    try:
        return parsed(line)
    except InputError:
        raise InputError(
            f"the settings in {given.clip} are not those of this version: use WanAnimateKit "
            f"{then.versions.get('wan_animate_kit', 'as it was then')}."
        ) from None


def _check_alone(clip: str, then: ClipRecord) -> None:
    """Raises InputError for a clip that a workflow does not make by itself."""
    options = then.settings.get("options")
    before = goes_on(options, *then.shown) if isinstance(options, dict) else ""
    if before:
        raise InputError(
            f"{clip} shows {before}, which its workflow does not make: run the workflow on the server that has the job "
            "still, or there first as it was before (without segment seeds, from segment 1 on), and compare what it "
            "saves with --against."
        )


def _out(given: ReproduceOptions) -> str:
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


def _check_files(given: ReproduceOptions, then: ClipRecord) -> None:
    """Raises InputError for the files that are not those of the record."""
    changed = []
    for name, key in then.files.items():
        now = _read(content_hash, name, getattr(given, name))
        if now != key:
            changed.append(f"{_flag(name)} is another file (hash {short(now)}, and was {short(key)})")
    saved = "prompt_file" in then.files and not then.settings.get("prompt_for")
    models = [(one.part, one.hash) for one in folder_models(given.models or "", saved)]
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
