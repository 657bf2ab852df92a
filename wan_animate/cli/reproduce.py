"""``wan-animate reproduce``."""

from __future__ import annotations

import typer

from ..interrupt import whole_imports
from .options import ReproduceOptions, with_options

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate reproduce clip.mp4 --image me.png --video dance.mp4 --models Wan2.2-Animate-14B-Diffusers
--detector yolov10m.onnx --pose vitpose-l-wholebody.onnx

wan-animate reproduce clip.mp4 --against other.mp4

wan-animate reproduce clip.mp4 --server http://127.0.0.1:8188

Exit code 0: the same frames, 1: others, 2: it cannot be made.
"""


def again(options: ReproduceOptions) -> int:
    """Make a clip again from the record in its mp4 and the same inputs, or say what is missing or changed.

    The lossless frames are compared."""
    with whole_imports():
        from .reproducing import reproduce

    return reproduce(options)


app.command("reproduce", epilog=EXAMPLES)(with_options(ReproduceOptions, again))
