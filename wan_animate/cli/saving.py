"""The finished clip where it was asked for: the mp4, or another format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .options import RunOptions
from .progress import counting

if TYPE_CHECKING:
    from ..export.save import ClipFormat
    from ..video.frames import FrameSource


def clip_format(options: RunOptions) -> ClipFormat | None:
    """What ``--codec`` asks for; None for the usual mp4."""
    from ..export.save import ClipFormat

    return None if options.codec is None else ClipFormat(options.codec, options.quality)


def save_result(options: RunOptions, video: Path, frames: FrameSource, audio: dict | None) -> None:
    """Move the finished mp4 to ``--out``, or save its lossless frames there in another format, with its record.

    Raises:
        InputError: it cannot be written.
    """
    from ..export.save import save_clip
    from ..files import rename
    from ..record.clip_record import TAG
    from ..video.tags import read_tags

    form = clip_format(options)
    if form is None:
        rename(video, Path(options.out), "the video")
        return
    tags = {name.lower(): text for name, text in read_tags(video).items() if name.lower() == TAG}
    saved = save_clip(options.out, frames, form, audio, tags, counting("export"))
    print(f"wan-animate: {saved.text()}", file=sys.stderr)
