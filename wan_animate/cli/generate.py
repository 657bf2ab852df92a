"""``wan-animate generate``: upstream's ``generate.py --task animate-14B`` by its flags."""

from __future__ import annotations

import typer

from ..interrupt import whole_imports
from .options import with_options
from .upstream_options import GenerateOptions

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate generate --task animate-14B --ckpt_dir Wan2.2-Animate-14B-Diffusers --src_root_path results --refert_num 1

wan-animate generate ... --replace_flag --use_relighting_lora --relighting_lora relighting_lora.ckpt

wan-animate generate ... --ulysses_size 8 --dit_fsdp: one clip on eight cards

wan-animate generate ... --audio dance.mp4 --save_file clip.mp4: with the driving video's sound

The same command with --base_seed and --save_file goes on from the last finished segment.
"""


def made(options: GenerateOptions) -> None:
    """A clip of upstream's intermediate files, or of those that preprocess wrote.

    Takes the flags of upstream's generate.py for animate-14B.
    """
    with whole_imports():
        from .generating import generate

    generate(options)


app.command("generate", epilog=EXAMPLES)(with_options(GenerateOptions, made))
