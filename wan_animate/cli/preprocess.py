"""``wan-animate preprocess``: upstream's ``preprocess_data.py`` by its flags."""

from __future__ import annotations

import typer

from ..interrupt import whole_imports
from .options import with_options
from .upstream_options import PreprocessOptions

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate preprocess --ckpt_path Wan2.2-Animate-14B/process_checkpoint --video_path dance.mp4 --refer_path me.png
--save_path results --resolution_area 1280 720 --retarget_flag

wan-animate preprocess ... --replace_flag --iterations 3 --k 7 --w_len 1 --h_len 1

wan-animate preprocess ... --track dance.npz: a saved pose in place of the networks

Then: wan-animate generate --src_root_path results --ckpt_dir Wan2.2-Animate-14B-Diffusers --save_file clip.mp4
"""


def made(options: PreprocessOptions) -> None:
    """Pose, face, background and mask of a video as upstream's intermediate files.

    Takes the flags of upstream's preprocess_data.py; its generate.py reads what this writes, and generate what that
    wrote.
    """
    with whole_imports():
        from .preprocessing import preprocess

    preprocess(options)


app.command("preprocess", epilog=EXAMPLES)(with_options(PreprocessOptions, made))
