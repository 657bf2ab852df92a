"""Upstream's flags, and ours beside them, of ``preprocess`` and ``generate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from typer import Option

MASK, OURS = "Mask (replace), as in training", "Beyond upstream's flags"
TAKEN = "Taken so that upstream's commands run; they change nothing here"
PROMPT = "视频中的人在做动作"
"""Upstream's, of ``wan/configs/wan_animate_14B.py``: people in the video are doing actions."""
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Upstream's, of ``wan/configs/shared_config.py``."""


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
    ulysses_size: Annotated[
        int, Option("--ulysses_size", help="Cards of this machine that compute each step together, or torchrun's.")
    ] = 1
    dit_fsdp: Annotated[bool, Option("--dit_fsdp", help="Of several cards each keeps a part of the weights.")] = False
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
    linears: Annotated[
        Literal["as-loaded", "fp8"],
        Option("--linears", help="fp8: faster, half the weights, a little off: see run --help.", rich_help_panel=OURS),
    ] = "as-loaded"
    size: Annotated[str, Option("--size", help="It is src_pose.mp4's.", rich_help_panel=TAKEN)] = ""
    offload_model: Annotated[str, Option("--offload_model", rich_help_panel=TAKEN)] = ""
    convert_model_dtype: Annotated[bool, Option("--convert_model_dtype", rich_help_panel=TAKEN)] = False
    t5_cpu: Annotated[bool, Option("--t5_cpu", rich_help_panel=TAKEN)] = False
    t5_fsdp: Annotated[bool, Option("--t5_fsdp", rich_help_panel=TAKEN)] = False
