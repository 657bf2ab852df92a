"""The clips of a batch: from a table or a folder, each with its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..cli.checks import FILES, check_options
from ..cli.options import RunOptions
from ..cli.recording import LEFT_OUT, WEIGHTS, folder_models
from ..cli.run import parsed
from ..errors import InputError
from ..queue.jobs import Row, check_names, read_table
from ..queue.workflow import Setting
from ..record.identity import content_hash, weights_hash

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
TRACK = "_pose.npz"
"""Of a folder: ``dance_pose.npz`` is the pose track of ``dance.mp4``."""
NOT_HERE = ("out", "sheet", "plan", "keep_segments")
"""Options of ``run`` that a clip of a batch does not have."""
NAMED = {one.name: one for one in fields(RunOptions) if one.name not in NOT_HERE}


@dataclass(frozen=True)
class Clip:
    """One clip to make.

    Attributes:
        key: equal for equal work, whatever the files are called.
        name: of the mp4, without ending.
        options: as ``run`` takes them; files as absolute paths, ``out`` is not set yet.
    """

    key: str
    name: str
    options: RunOptions
    priority: int = 0


def read_rows(source: str | Path) -> list[Row]:
    """The clips of a table (:func:`..queue.jobs.read_table`; the columns are options of ``run``), or of a folder: a
    video each, with the picture of its name if there is one, and its pose track (:data:`TRACK`).

    Raises:
        InputError: neither, or nothing in it.
    """
    source = Path(source)
    if not source.is_dir():
        return read_table(source)
    folder = source.absolute()
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    rows = []
    for video in found:
        if video.suffix.lower() not in VIDEOS:
            continue
        settings = [Setting("video", video.name, folder)]
        pictures = [path for path in found if path.stem == video.stem and path.suffix.lower() in PICTURES]
        if len(pictures) > 1:
            raise InputError(f"{video.name} has the pictures {' and '.join(p.name for p in pictures)}: leave one.")
        settings += [Setting("image", path.name, folder) for path in pictures]
        track = video.with_name(video.stem + TRACK)
        settings += [Setting("track", track.name, folder)] if track.is_file() else []
        rows.append(Row(video.stem, settings))
    if not rows:
        raise InputError(f"the folder {source} has no video: put pairs in it, such as dance.mp4 and dance.png.")
    return rows


def read_clips(rows: list[Row], common: list[str], out: Path, elsewhere: bool = False) -> list[Clip]:
    """Rows to clips, all of them checked.

    Args:
        common: options of all clips, as ``run`` takes them; a row's go on top.
        elsewhere: they are made on other machines, whose models folder and cards are not looked at.

    Raises:
        InputError: for the first row that cannot work, or two that are the same.
    """
    for option in NOT_HERE:
        if any(given.split("=")[0] == _flag(option) for given in common):
            raise InputError(f"{_flag(option)} is no option of a batch: see wan-animate batch --help.")
    check_names([row.name for row in rows])
    clips: list[Clip] = []
    keys: dict[str, str] = {}
    for row in rows:
        clip = _clip(row, common, out, elsewhere)
        if clip.key in keys:
            raise InputError(
                f"{clip.name} and {keys[clip.key]} are the same clip: take one out, or give it another seed."
            )
        keys[clip.key] = clip.name
        clips.append(clip)
    return clips


def _clip(row: Row, common: list[str], out: Path, elsewhere: bool) -> Clip:
    given = [text for setting in row.settings for text in _arguments(setting, row.name)]
    try:
        options = parsed([*common, *given, f"--out={out / row.name}.mp4"])
        for name in FILES:
            path = getattr(options, name)
            setattr(options, name, None if path is None else str(Path(path).expanduser().absolute()))
        if Path(options.models).is_dir() or not elsewhere:
            options.models = str(Path(options.models).absolute())
        check_options(replace(options, device="cpu") if elsewhere else options)
        if not elsewhere:
            _check_models(options.models)
    except InputError as error:
        raise InputError(f"{row.name}: {error}") from error
    return Clip(clip_key(options), row.name, options, row.priority)


def clip_key(options: RunOptions) -> str:
    """A hash of settings and of the content of files; of a models folder that is not here, its name.

    Defaults do not count, so that a later version with more options knows what this one did."""
    usual: dict[str, Any] = {
        one.name: [] if one.default_factory is not MISSING else one.default for one in fields(RunOptions)
    }
    given = {name: value for name, value in vars(options).items() if name not in LEFT_OUT}
    values: dict[str, Any] = {name: value for name, value in given.items() if value != usual[name]}
    weights = [model.hash for model in folder_models(options.models, bool(options.prompt_file))]
    files = {name: _hash(name, path) for name in sorted(FILES) if (path := getattr(options, name))}
    made = json.dumps([values, weights or options.models, files], sort_keys=True, default=str)
    return hashlib.blake2b(made.encode(), digest_size=12).hexdigest()


def _hash(name: str, path: str) -> str:
    if name in WEIGHTS:
        return weights_hash(path)
    stat = Path(path).stat()
    return _content_hash(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _content_hash(path: str, _size: int, _mtime: int) -> str:
    return content_hash(path)


@lru_cache(maxsize=16)
def _check_models(folder: str) -> None:
    from ..backends.diffusers import check_folder

    check_folder(folder)


def _arguments(setting: Setting, where: str) -> Iterable[str]:
    """A column as ``run`` takes it."""
    name = setting.name.strip().lstrip("-").replace("-", "_")
    if name not in NAMED:
        raise InputError(
            f"{where}: {setting.name} is no option of a clip: name the columns as wan-animate run names its options, "
            "such as image, video, seed."
        )
    flag, value = _flag(name), setting.value
    kind = get_type_hints(RunOptions).get(name)
    if kind is bool:
        return [flag] if _true(value, f"{where}: {setting.name}") else []
    if getattr(kind, "__origin__", None) is tuple:
        words = str(value).replace(",", " ").split()
        if len(words) != len(get_args(kind)):
            raise InputError(f"{where}: {setting.name} is {value!r}: give {len(get_args(kind))} numbers.")
        return [flag, *words]
    if name in FILES:
        value = setting.folder / Path(str(value)).expanduser()
    elif name == "models" and (setting.folder / str(value)).is_dir():
        value = setting.folder / str(value)
    return [f"{flag}={value}"]


def _true(value: Any, what: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise InputError(f"{what} is {value!r}: give true or false.")
    return known[str(value).lower()]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
