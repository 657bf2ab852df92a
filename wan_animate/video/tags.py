"""Tags of a video file: what its container says about it."""

from __future__ import annotations

import mmap
import os

from .index import ClipFile


def read_tags(path: str | os.PathLike) -> dict[str, str]:
    """The container's tags.

    Raises:
        InputError: no video.
    """
    with ClipFile(path).open() as container:
        return dict(container.metadata)


def replace_tag(path: str | os.PathLike, before: str, after: str) -> bool:
    """Write a tag's text in place of one that a container's header holds already; spaces fill what is left.

    FFmpeg writes tags with the header, before the frames. What is known only after them has its place kept so.

    Args:
        before: ASCII, once in the file.
        after: ASCII, not longer.

    Returns:
        False, and nothing is changed, if the file does not hold ``before`` once, or it has no place for ``after``.
    """
    old, new = before.encode("ascii"), after.encode("ascii")
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(old)
        if at < 0 or content.find(old, at + 1) >= 0 or len(new) > len(old):
            return False
        content[at : at + len(old)] = new.ljust(len(old))
        return True
