"""``wan-animate generate``: upstream's ``generate.py --task animate-14B`` by its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from typer import Option

from ..interrupt import whole_imports
from .options import with_options

app = typer.Typer()

OURS, TAKEN = "Beyond upstream's flags", "Taken so that upstream's commands run; they change nothing here"
PROMPT = "视频中的人在做动作"
"""Upstream's, of ``wan/configs/wan_animate_14B.py``: people in the video are doing actions."""
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Upstream's, of ``wan/configs/shared_config.py``."""
EXAMPLES = """
Examples:

wan-animate generate --task animate-14B --ckpt_dir Wan2.2-Animate-14B-Diffusers --src_root_path results --refert_num 1

wan-animate generate ... --replace_flag --use_relighting_lora --relighting_lora relighting_lora.ckpt

wan-animate generate ... --audio dance.mp4 --save_file clip.mp4: with the driving video's sound

The same command with --base_seed and --save_file goes on from the last finished segment.
"""


@dataclass(kw_only=True)
class GenerateOptions:
    """Upstream's flags, and ours."""

    ckpt_dir: Annotated[
        str,
        Option("--ckpt_dir", metavar="FOLDER", help="The model in diffusers' layout "
               "(Wan-AI/Wan2.2-Animate-14B-Diffusers)."),
    ]  # fmt: skip
    src_root_path: Annotated[
        str, Option("--src_root_path", metavar="FOLDER", help="Where preprocess, ours or upstream's, wrote.")
    ]
    task: Annotated[Literal["animate-14B"], Option("--task")] = "animate-14B"
    replace_flag: Annotated[bool, Option("--replace_flag", help="Use src_bg.mp4 and src_mask.mp4.")] = False
    use_relighting_lora: Annotated[
        bool, Option("--use_relighting_lora", help="With --replace_flag: relighting_lora.ckpt of --ckpt_dir.")
    ] = False
    refert_num: Annotated[
        int, Option("--refert_num", help="Frames taken over from the segment before, 1 or 5 (4n+1).")
    ] = 1  # fmt: skip
    frame_num: Annotated[int, Option("--frame_num", help="Frames a segment, 4n+1.")] = 77
    sample_steps: Annotated[int, Option("--sample_steps")] = 20
    sample_shift: Annotated[float, Option("--sample_shift")] = 5.0
    sample_solver: Annotated[Literal["unipc", "dpm++"], Option("--sample_solver")] = "unipc"
    sample_guide_scale: Annotated[
        float, Option("--sample_guide_scale", help="Above 1 strengthens the expression, in twice the time.")
    ] = 1.0
    base_seed: Annotated[int, Option("--base_seed", help="-1 takes one by chance, and prints it.")] = -1
    prompt: Annotated[str, Option("--prompt", help="What the clip shows.")] = PROMPT
    save_file: Annotated[
        str | None, Option("--save_file", metavar="FILE", help="The mp4; by default clip.mp4 in --src_root_path.")
    ] = None
    relighting_lora: Annotated[
        str | None,
        Option("--relighting_lora", metavar="FILE", help="Where --use_relighting_lora finds it.", rich_help_panel=OURS),
    ] = None
    prompt_file: Annotated[
        str | None,
        Option("--prompt_file", metavar="FILE", help="A saved prompt (.safetensors): no text encoder is loaded.",
               rich_help_panel=OURS),
    ] = None  # fmt: skip
    n_prompt: Annotated[
        str, Option("--n_prompt", help="The negative prompt, above --sample_guide_scale 1.", rich_help_panel=OURS)
    ] = ""  # upstream's
    audio: Annotated[
        str | None,
        Option("--audio", metavar="FILE", help="A file whose sound is taken, from its start.", rich_help_panel=OURS),
    ] = None
    color: Annotated[
        Literal["anchor", "previous", "off"],
        Option("--color", help="Take out colour drift: see run --help; off is upstream's.", rich_help_panel=OURS),
    ] = "anchor"
    crossfade: Annotated[
        int,
        Option("--crossfade", help="Frames that segments fade over; -1: --refert_num.", rich_help_panel=OURS),
    ] = 0
    sheet: Annotated[
        str | None, Option("--sheet", metavar="FILE", help="Also write a contact sheet (PNG).", rich_help_panel=OURS)
    ] = None
    device: Annotated[
        str, Option("--device", help="cuda, cuda:1, cpu; by default cuda where it is.", rich_help_panel=OURS)
    ] = ""
    size: Annotated[str, Option("--size", help="It is src_pose.mp4's.", rich_help_panel=TAKEN)] = ""
    offload_model: Annotated[str, Option("--offload_model", rich_help_panel=TAKEN)] = ""
    convert_model_dtype: Annotated[bool, Option("--convert_model_dtype", rich_help_panel=TAKEN)] = False
    t5_cpu: Annotated[bool, Option("--t5_cpu", rich_help_panel=TAKEN)] = False


def made(options: GenerateOptions) -> None:
    """A clip of upstream's intermediate files, or of those that preprocess wrote.

    Takes the flags of upstream's generate.py for animate-14B, on one card.
    """
    with whole_imports():
        from .generating import generate

    generate(options)


app.command("generate", epilog=EXAMPLES)(with_options(GenerateOptions, made))
