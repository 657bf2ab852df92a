"""``wan-animate preprocess``: upstream's ``preprocess_data.py`` by its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from typer import Option

from ..interrupt import whole_imports
from .options import with_options

app = typer.Typer()

MASK, OURS = "Mask (replace), as in training", "Beyond upstream's flags"
EXAMPLES = """
Examples:

wan-animate preprocess --ckpt_path Wan2.2-Animate-14B/process_checkpoint --video_path dance.mp4 --refer_path me.png
--save_path results --resolution_area 1280 720 --retarget_flag

wan-animate preprocess ... --replace_flag --iterations 3 --k 7 --w_len 1 --h_len 1

wan-animate preprocess ... --track dance.npz: a saved pose in place of the networks

Then: wan-animate generate --src_root_path results --ckpt_dir Wan2.2-Animate-14B-Diffusers --save_file clip.mp4
"""


@dataclass(kw_only=True)
class PreprocessOptions:
    """Upstream's flags, and ours."""

    video_path: Annotated[str, Option("--video_path", metavar="FILE", help="The driving video.")]
    refer_path: Annotated[str, Option("--refer_path", metavar="FILE", help="The character's picture.")]
    save_path: Annotated[
        str,
        Option(
            "--save_path",
            metavar="FOLDER",
            help="Gets src_pose.mp4, src_face.mp4, src_ref.png; to replace src_bg.mp4 and src_mask.mp4 too.",
        ),
    ]
    ckpt_path: Annotated[
        str | None,
        Option("--ckpt_path", metavar="FOLDER", help="Upstream's process_checkpoint, or ComfyUI's models folder."),
    ] = None
    resolution_area: Annotated[
        tuple[int, int],
        Option("--resolution_area", metavar="W H", help="Pixels of the result; the aspect ratio is kept."),
    ] = (1280, 720)
    fps: Annotated[float, Option("--fps", help="Frames a second; -1 keeps the video's own.")] = 30
    replace_flag: Annotated[bool, Option("--replace_flag", help="The character takes the person's place.")] = False
    retarget_flag: Annotated[
        bool, Option("--retarget_flag", help="animate: the motion on the character's own bones.")
    ] = False  # fmt: skip
    use_flux: Annotated[
        bool,
        Option(
            "--use_flux",
            help="With --retarget_flag: measure the bones in pictures edited by FLUX.1 Kontext (FLUX.1-Kontext-dev "
            "below --ckpt_path, by diffusers). Saved as refer_edit.png and tpl_edit.png.",
        ),
    ] = False
    iterations: Annotated[int, Option("--iterations", help="Times it is grown.", rich_help_panel=MASK)] = 3
    k: Annotated[int, Option("--k", help="Side of the growing square, in pixels.", rich_help_panel=MASK)] = 7
    w_len: Annotated[int, Option("--w_len", help="Columns of blocks that it is filled by.", rich_help_panel=MASK)] = 1
    h_len: Annotated[int, Option("--h_len", help="Rows of them.", rich_help_panel=MASK)] = 1
    track: Annotated[
        str | None, Option("--track", metavar="FILE", help="A saved pose (.npz) of the video.", rich_help_panel=OURS)
    ] = None  # fmt: skip
    reference_track: Annotated[
        str | None, Option("--reference_track", metavar="FILE", help="The same of the picture.", rich_help_panel=OURS)
    ] = None
    refer_edit: Annotated[
        str | None,
        Option("--refer_edit", metavar="FILE", help="The picture, edited elsewhere: upright, facing the camera.",
               rich_help_panel=OURS),
    ] = None  # fmt: skip
    tpl_edit: Annotated[
        str | None,
        Option("--tpl_edit", metavar="FILE", help="A frame of the video, edited likewise.", rich_help_panel=OURS),
    ] = None
    detector: Annotated[
        str | None, Option("--detector", metavar="FILE", help="YOLOv10 ONNX file.", rich_help_panel=OURS)
    ] = None
    pose: Annotated[
        str | None, Option("--pose", metavar="FILE", help="ViTPose whole-body ONNX file.", rich_help_panel=OURS)
    ] = None
    sam2: Annotated[
        str | None, Option("--sam2", metavar="FILE", help="SAM 2 safetensors file.", rich_help_panel=OURS)
    ] = None
    person: Annotated[
        Literal["largest", "central", "number", "point"],
        Option("--person", help="Who of several people: see run --help.", rich_help_panel=OURS),
    ] = "largest"
    person_number: Annotated[int, Option("--person_number", help="1 is the leftmost.", rich_help_panel=OURS)] = 1
    person_point: Annotated[
        tuple[float, float], Option("--person_point", metavar="X Y", help="Fractions of frame 0.", rich_help_panel=OURS)
    ] = (0.5, 0.5)
    clean: Annotated[
        float, Option("--clean", help="How much the pose is cleaned: 0 as upstream, to 1.", rich_help_panel=OURS)
    ] = 0.5
    fit: Annotated[
        Literal["pad", "fill"],
        Option("--fit", help="replace: sides are divisible by 16; add bars as upstream, or cut the edges off.",
               rich_help_panel=OURS),
    ] = "pad"  # fmt: skip
    start: Annotated[int, Option("--start", help="First frame.", rich_help_panel=OURS)] = 0
    limit: Annotated[int, Option("--limit", help="How many frames; 0 = all.", rich_help_panel=OURS)] = 0
    device: Annotated[
        str, Option("--device", help="Of SAM 2 and FLUX; by default cuda where it is.", rich_help_panel=OURS)
    ] = ""  # fmt: skip


def made(options: PreprocessOptions) -> None:
    """Pose, face, background and mask of a video as upstream's intermediate files.

    Takes the flags of upstream's preprocess_data.py; its generate.py reads what this writes, and generate what that
    wrote.
    """
    with whole_imports():
        from .preprocessing import preprocess

    preprocess(options)


app.command("preprocess", epilog=EXAMPLES)(with_options(PreprocessOptions, made))
