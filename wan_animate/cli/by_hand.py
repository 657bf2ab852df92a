"""What was set by hand in an editor, as files for the shell: points and boxes of a mask, edits of a pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import reading
from .options import RunOptions

if TYPE_CHECKING:
    from ..mask.prompts import Prompt
    from ..pose.edits import PoseEdits


def check_by_hand(options: RunOptions) -> None:
    """Raises InputError for files that cannot be used, or not with the other options."""
    if options.mask_prompts and not (options.mode == "replace" and options.sam2):
        raise InputError(
            "--mask-prompts is given, but no mask is made from points: give --mode replace and --sam2, or leave it out."
        )
    if options.mask_prompts_only and not options.mask_prompts:
        raise InputError("--mask-prompts-only is given without --mask-prompts: give the file, or leave it out.")
    mask_prompts(options)
    pose_edits(options)


def mask_prompts(options: RunOptions, size: tuple[int, int] | None = None) -> list[Prompt]:
    """Those of ``--mask-prompts`` in a clip of ``size`` (width, height). Raises InputError."""
    from ..mask.prompts import read_prompts

    return read_prompts(_text(options.mask_prompts, "the mask's points"), size)


def pose_edits(options: RunOptions) -> PoseEdits:
    """Those of ``--pose-edits``. Raises InputError."""
    from ..pose.edits import read_edits

    return read_edits(_text(options.pose_edits, "the pose's edits"))


def _text(path: str | None, what: str) -> str | None:
    from ..pose.edits import LONGEST_TEXT

    if not path:
        return None
    with reading(path, what, "give the JSON file of the editor") as found, open(found, encoding="utf-8") as file:
        text = file.read(LONGEST_TEXT + 1)
    if not text.strip():
        raise InputError(f"{what} {path} is an empty file: give the JSON of the editor, or leave it out.")
    return text
