"""A finished video saved in another format."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files import check_ending, check_place
from ..record.clip_record import TAG
from ..video.audio import read_audio
from ..video.frames import FrameSource
from ..video.source import VideoSource
from ..video.tags import read_tags
from .compare import compared
from .save import ClipFormat, Saved, save_clip

# FFmpeg's own in a container, which the new one sets
_KEPT = (TAG, "prompt", "workflow")


def check_out(path: str | os.PathLike, form: ClipFormat) -> Path:
    """Where a clip of this format is written.

    Raises:
        InputError: a wrong ending, or no file or folder can be made there.
    """
    codec = form.check()
    if codec.ending:
        return check_place(check_ending(path, "the clip", (codec.ending,)), "the clip")
    path = Path(path)
    if os.path.lexists(path) or not path.parent.is_dir():
        raise InputError(f"PNG pictures are written to a new folder, and {path} cannot be made: name another.")
    return path


def export_file(
    video: str | os.PathLike,
    out: str | os.PathLike,
    form: ClipFormat,
    audio: str | os.PathLike | None = None,
    silent: bool = False,
    driver: str | os.PathLike | None = None,
    compare: str = "off",
    progress: Callable[[int, int], None] | None = None,
) -> Saved:
    """Saves a video anew, with its own sound and what it says of how it was made.

    Args:
        audio: a file whose sound replaces the video's.
        silent: without sound.
        driver: to compare with (:func:`.compare.compared`); the result is then not the clip that the tags tell of.

    Raises:
        InputError: a file cannot be read, ``out`` cannot be written, or an option does not suit the format.
    """
    path = check_out(out, form)
    for given in (video, audio, driver):
        if given is not None and path.exists() and os.path.exists(given) and os.path.samefile(path, given):
            raise InputError(f"{path} is read and would be written: name another file to write.")
    source: FrameSource = VideoSource(video, fps=0)
    beside = None if driver is None else VideoSource(driver, fps=0)
    whole = compared(source, beside, compare)
    sound = None if silent else read_audio(video if audio is None else audio)
    if audio is not None and sound is None:
        raise InputError(f"there is no sound in {os.fspath(audio)}: name another file, or none.")
    tags = {name.lower(): text for name, text in read_tags(video).items()} if whole is source else {}
    kept = {name: tags[name] for name in _KEPT if name in tags}
    try:
        saved = save_clip(path, whole, form, sound, kept, progress)
        return replace(saved, read=(*source.notes, *(() if beside is None else beside.notes)))
    finally:
        whole.close()
