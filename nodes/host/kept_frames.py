"""Frames of the host's networks, kept for nodes that read them in other threads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import folder_paths

from ...wan_animate.chain.kept import keep
from ...wan_animate.files import make_folder
from ...wan_animate.video.frames import FrameSource
from .jobs import FOLDER
from .progress import progress_bar


def kept(source: FrameSource) -> FrameSource:
    """The source, or for one that runs a network its frames in the temp folder, which ComfyUI empties when it starts.

    The host loads and frees models in one thread; the pack's nodes read videos ahead in others.
    """
    if not source.by_network:
        return source
    name = hashlib.blake2b(source.fingerprint().encode(), digest_size=12).hexdigest()
    folder = make_folder(Path(folder_paths.get_temp_directory()) / FOLDER / "frames", "the frames")
    return keep(source, folder / f"{name}.mkv", progress_bar(len(source)))
