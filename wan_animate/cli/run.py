"""``wan-animate run``."""

from __future__ import annotations

from functools import cache
from typing import Any

import typer

from ..interrupt import whole_imports
from .options import ClipCommand, RunOptions, with_options

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate run --image me.png --video dance.mp4 --out clip.mp4 --models Wan2.2-Animate-14B-Diffusers
--detector yolov10m.onnx --pose vitpose-l-wholebody.onnx

... --mode replace --sam2 sam2.1_hiera_large.safetensors: takes the person's place

... --crop: a small person in a large video, at the video's own size

... --previous-frames 5 --crossfade -1 --at-cuts anew: seams that fade, each shot begun on its own

... --prompt-for 0 149 "a robot walks" --prompt-for 150 -1 "a robot dances": prompts by frames

... --segment-seeds 3:1234 --keep-rest --keep-segments: segment 3 again, the rest as it is

... --lora relight.safetensors --lora-2 few_steps.safetensors --lora-2-strength 0.8 --steps 6: LoRAs

... --pose-edits edits.json --sam2 sam2.1_hiera_large.safetensors --mask-prompts points.json: as set in the editors

... --out clip.mov --codec prores_422: another format, of the lossless frames

... --first-segment 1 --last-segment 2: a part; --continue-from clip.mp4: goes on from one

The same command again goes on from the last finished segment.
"""


def made(options: RunOptions) -> None:
    """One picture and one driving video in, a finished clip out, on diffusers.

    Bad input is refused before a model loads; a stopped job goes on when the same command is run again."""
    with whole_imports():
        from .make import run

    run(options)


app.command("run", cls=ClipCommand, epilog=EXAMPLES)(with_options(RunOptions, made))


def parsed(arguments: list[str]) -> RunOptions:
    """The options of ``wan-animate run``, without running it.

    Raises:
        InputError: what is given is not an option.
    """
    from ..errors import InputError

    command, found = _reader()
    try:
        with command.make_context("wan-animate run", list(arguments)) as context:
            command.invoke(context)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise InputError(error.format_message()) from error
    return found.pop()


@cache
def _reader() -> tuple[Any, list[RunOptions]]:
    """A command that appends its options to the list."""
    from typer.main import get_command

    found: list[RunOptions] = []
    reader = typer.Typer(add_completion=False)
    reader.command("run", cls=ClipCommand)(with_options(RunOptions, found.append))
    return get_command(reader), found
