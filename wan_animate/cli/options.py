"""The options of ``run`` and ``plan``, as typer takes them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from typer import Argument, Option
from typer.core import TyperCommand

from ..errors import InputError

Kind = TypeVar("Kind")

INPUTS, PERSON, SIZE, SAMPLING = "Inputs", "Pose, person, mask", "Size and length", "Sampling"
LONG, RESULT = "Long clips: seams, shots, parts, prompts by frames", "Result"
ANOTHER = "Another picture of the character; the model was trained with one."
Signal = Annotated[float, Option(help="How strongly it acts: 1 as trained, 0 off.", rich_help_panel=SAMPLING)]
LoraStrength = Annotated[float, Option(help="1 as published.", rich_help_panel=SAMPLING)]
Part = Annotated[
    tuple[float, float],
    Option(metavar="START END", help="The part of the sampling in which it acts.", rich_help_panel=SAMPLING),
]
AS_GIVEN = "Files, as they were given for the clip"
AsGiven = Annotated[str | None, Option(metavar="FILE", help="", rich_help_panel=AS_GIVEN)]
Another = Annotated[str | None, Option(metavar="FILE", help=ANOTHER, rich_help_panel=INPUTS)]


def _file(help: str, panel: str = INPUTS) -> Any:
    return Option(metavar="FILE", help=help, rich_help_panel=panel)


def _option(help: str, panel: str, *names: str, **more: Any) -> Any:
    return Option(*names, help=help, rich_help_panel=panel, **more)


@dataclass(kw_only=True)
class RunOptions:
    """What a clip is made of, how, and where it goes."""

    image: Annotated[str, _file("The character; transparent parts of a cut-out become black.")]
    video: Annotated[str, _file("The driving video.")]
    image_2: Another = None
    image_3: Another = None
    image_4: Another = None
    image_5: Another = None
    mode: Annotated[
        Literal["animate", "replace"],
        _option("The character performs in its own scene, or takes the person's place.", INPUTS),
    ] = "animate"
    prompt: Annotated[str, _option("What the clip shows.", INPUTS)] = "People in the video are doing actions."
    prompt_file: Annotated[
        str | None, _file("A saved prompt (.safetensors) in place of --prompt: no text encoder is loaded.")
    ] = None

    track: Annotated[
        str | None, _file("A saved pose track (.npz) of the video; else --detector and --pose find it.", PERSON)
    ] = None
    detector: Annotated[str | None, _file("YOLOv10 ONNX file.", PERSON)] = None
    pose: Annotated[str | None, _file("ViTPose whole-body ONNX file.", PERSON)] = None
    person: Annotated[
        Literal["largest", "central", "number", "point"],
        _option("Who of several people: number counts from the left, point is whoever --person-point lies on.", PERSON),
    ] = "largest"
    person_number: Annotated[int, _option("1 is the leftmost.", PERSON)] = 1
    person_point: Annotated[
        tuple[float, float], _option("Fractions of the first frame.", PERSON, metavar="X Y")
    ] = (0.5, 0.5)  # fmt: skip
    clean: Annotated[float, _option("How much the pose is cleaned: 0 not at all, to 1.", PERSON)] = 0.5
    reference_track: Annotated[
        str | None, _file("animate: a saved pose track of --image; else it is detected as well.", PERSON)
    ] = None
    no_retarget: Annotated[
        bool, _option("animate: the driver's own build and place, not the character's.", PERSON, "--no-retarget")
    ] = False
    sam2: Annotated[
        str | None,
        _file("replace: SAM 2 safetensors file that cuts the person out; else the pose's outline.", PERSON),
    ] = None

    mask_prompts: Annotated[
        str | None,
        _file("replace: points and boxes for --sam2 by frame, as prompts of Segment Character (JSON).", PERSON),
    ] = None
    mask_prompts_only: Annotated[
        bool, _option("They stand for the pose's own points, not beside them.", PERSON, "--mask-prompts-only")
    ] = False
    pose_edits: Annotated[
        str | None,
        _file("Edits of the driver's pose, as edits of Edit Pose (JSON), made before it is cleaned.", PERSON),
    ] = None

    area: Annotated[
        int, _option("Pixels of the result; the video's aspect ratio is kept (see --fit).", SIZE)
    ] = 832 * 480  # fmt: skip
    fit: Annotated[
        Literal["fill", "pad"],
        _option(
            "Sides are divisible by 16: cut the edges off for that (a fiftieth or less from 512x288 on), or add bars.",
            SIZE,
        ),
    ] = "fill"
    crop: Annotated[
        bool,
        _option(
            "replace: work on a window of --area pixels around the person, and put it back into the video at its own "
            "size.",
            SIZE,
            "--crop",
        ),
    ] = False
    fps: Annotated[float, _option("Frames a second; 0 keeps the video's own.", SIZE)] = 30.0
    start: Annotated[int, _option("First frame.", SIZE)] = 0
    limit: Annotated[int, _option("How many frames; 0 = all.", SIZE)] = 0

    steps: Annotated[int, _option("20 as trained.", SAMPLING)] = 20
    shift: Annotated[float, _option("5 as trained.", SAMPLING)] = 5.0
    seed: Annotated[int, _option("Another seed, another clip.", SAMPLING)] = 0
    segment: Annotated[int, _option("Frames a segment, 4n+1.", SAMPLING)] = 77
    previous_frames: Annotated[
        int,
        _option(
            "Frames taken over from the segment before, 4n+1.", SAMPLING, "--previous-frames", "--guidance"
        ),
    ] = 1  # fmt: skip
    pose_strength: Signal = 1.0
    pose_range: Part = (0.0, 1.0)
    face_strength: Signal = 1.0
    face_range: Part = (0.0, 1.0)
    lora: Annotated[
        str | None, _file("A LoRA on the transformer, in any spelling (relighting, few steps).", SAMPLING)
    ] = None
    lora_strength: LoraStrength = 1.0
    lora_2: Annotated[str | None, _file("Another LoRA.", SAMPLING)] = None
    lora_2_strength: LoraStrength = 1.0
    color: Annotated[
        Literal["anchor", "previous", "off"],
        _option(
            "Take out colour drift: match each segment to the frames it takes over and to the scene, to these frames "
            "alone, or not at all.",
            SAMPLING,
        ),
    ] = "anchor"
    device: Annotated[
        str,
        _option(
            "cuda, cuda:1, cpu; by default cuda where PyTorch has it. With several cards and --gpus 1, cuda leaves "
            "detector, SAM 2, text encoder and VAE to the one of its model with most memory free; cuda:1 is for all.",
            SAMPLING,
        ),
    ] = ""
    offload: Annotated[
        Literal["auto", "on", "off"],
        _option("Keep the transformer's blocks in host memory: where the card is too small, always, never.", SAMPLING),
    ] = "auto"
    linears: Annotated[
        Literal["as-loaded", "fp8"],
        _option(
            "The transformer's large linear layers: fp8 multiplies them faster and halves the weights; the log says "
            "how far they are off (RTX 40, H100 and later; not with --shard-weights).",
            SAMPLING,
        ),
    ] = "as-loaded"
    gpus: Annotated[
        int,
        _option("Cards of this machine that compute each step together (or start it with torchrun).", SAMPLING),
    ] = 1
    shard_weights: Annotated[
        bool,
        _option("With --gpus: each card keeps a part of the weights (FSDP).", SAMPLING, "--shard-weights"),
    ] = False

    crossfade: Annotated[
        int,
        _option("Frames over which segments are cross-faded, of --previous-frames; 0 cuts, -1 takes all.", LONG),
    ] = 0
    share_noise: Annotated[
        bool, _option("The frames that segments share start from one noise.", LONG, "--share-noise")
    ] = False
    at_cuts: Annotated[
        Literal["anew", "chain"], _option("A cut in the video: start anew, or chain on.", LONG)
    ] = "chain"  # fmt: skip
    continue_from: Annotated[
        str | None,
        _file(
            "A video to go on from; the driving video begins with its last frames, the result after them.", LONG
        ),
    ] = None  # fmt: skip
    first_segment: Annotated[int, _option("Make the clip from this segment on.", LONG)] = 1
    last_segment: Annotated[int, _option("And up to this one; 0 = the last.", LONG)] = 0
    segment_seeds: Annotated[str, _option("Seeds of single segments, as 3:1234,5:99.", LONG)] = ""
    keep_rest: Annotated[
        bool,
        _option("With --segment-seeds: what follows such a segment stays as it is.", LONG, "--keep-rest"),
    ] = False
    prompt_for: Annotated[
        list[str],
        _option(
            "Another prompt for these frames (LAST -1: to the end), as often as needed; each segment takes the one for "
            "most of its frames.",
            LONG,
            metavar="FIRST LAST TEXT",
        ),
    ] = field(default_factory=list)

    out: Annotated[
        str,
        _file(
            "The mp4 to write (.mp4 or .m4v); refused while another process makes the same clip there.", RESULT
        ),
    ]  # fmt: skip
    codec: Annotated[
        Literal["h264", "h265", "av1", "prores_422", "prores_4444", "ffv1", "png", "gif", "webp"] | None,
        _option("Another format from the lossless frames, as wan-animate export has them: --out ends with it.", RESULT),
    ] = None
    quality: Annotated[
        Literal["best", "high", "medium", "small"], _option("Of --codec; best: no difference to be seen.", RESULT)
    ] = "high"
    models: Annotated[
        str,
        Option(
            metavar="FOLDER",
            help="A folder in diffusers' layout (Wan-AI/Wan2.2-Animate-14B-Diffusers).",
            rich_help_panel=INPUTS,
        ),
    ]
    sheet: Annotated[
        str | None, _file("Also write a contact sheet (driver | pose | face | mask | result) to this PNG.", RESULT)
    ] = None
    keep_segments: Annotated[
        bool,
        _option(
            "Leave the finished segments beside --out, for a run that makes some of them again.",
            RESULT,
            "--keep-segments",
        ),
    ] = False
    plan: Annotated[
        bool,
        _option("Print what wan-animate plan does, and exit.", RESULT, "--plan"),
    ] = False

    def __post_init__(self) -> None:
        # typer has no repeated option of three words
        self.prompt_for = self.prompts()  # type: ignore[assignment]

    def prompts(self) -> list[list[str]]:
        """[FIRST, LAST, TEXT] of each ``--prompt-for``."""
        return [three_words(one) for one in self.prompt_for]


@dataclass(kw_only=True)
class ReproduceOptions:
    """The clip, and the files that it was made of."""

    clip: Annotated[
        str, Argument(help="An mp4 that wan-animate made, or that Animate Character did with --against or --server.")
    ]
    against: Annotated[
        str | None,
        Option(metavar="CLIP", help="Only compare with this clip: settings, inputs, models, versions, frames."),
    ] = None
    server: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="For a clip of Animate Character: the address of a ComfyUI (http://127.0.0.1:8188) that has its "
            "inputs and models; runs the workflow in the mp4 of Save Video there, and has the server forget what it "
            "kept of former runs.",
        ),
    ] = None
    out: Annotated[
        str | None, _file("The mp4 to write; by default the clip's name with -again, next to it.", RESULT)
    ] = None
    models: Annotated[
        str | None, Option(metavar="FOLDER", help="The folder of the weights.", rich_help_panel=AS_GIVEN)
    ] = None
    image: AsGiven = None
    image_2: AsGiven = None
    image_3: AsGiven = None
    image_4: AsGiven = None
    image_5: AsGiven = None
    video: AsGiven = None
    track: AsGiven = None
    reference_track: AsGiven = None
    detector: AsGiven = None
    pose: AsGiven = None
    sam2: AsGiven = None
    mask_prompts: AsGiven = None
    pose_edits: AsGiven = None
    lora: AsGiven = None
    lora_2: AsGiven = None
    prompt_file: AsGiven = None
    continue_from: AsGiven = None
    device: Annotated[str, Option(help="cuda, cuda:1, cpu; by default cuda where PyTorch has it.")] = ""


@dataclass(frozen=True)
class Sampling:
    """What ``generate`` has beyond ``run``.

    Attributes:
        command: for the clip's record.
        solver: ``"unipc"`` or ``"dpm++"``.
        cfg: above 1, a negative prompt and a blank face are told apart from.
        lora: path of a LoRA on the transformer.
        sound: path of the file that the sound is taken from; None: the driving video.
    """

    command: str = "shell"
    solver: str = "unipc"
    cfg: float = 1.0
    negative: str = ""
    lora: str | None = None
    sound: str | None = None

    def settings(self) -> list[str]:
        """What makes another clip, beside the LoRA's content."""
        values = {"solver": self.solver, "cfg": self.cfg, "negative": self.negative if self.cfg > 1 else ""}
        return [f"{name}={value}" for name, value in values.items() if value != getattr(AS_RUN, name)]


AS_RUN = Sampling()
GENERATE = "shell generate"
"""The command in the record of what it makes."""


def command_of(options: RunOptions, sampling: Sampling) -> dict[str, Any]:
    """How the shell was called, for ``jobs resume``."""
    return {"options": vars(options), "sampling": vars(sampling), "cwd": os.getcwd()}


def three_words(given: str | list[str]) -> list[str]:
    """Of ``--prompt-for``: [FIRST, LAST, TEXT].

    Raises:
        InputError: there are fewer.
    """
    if not isinstance(given, str):
        return list(given)
    found = re.fullmatch(r"(\S+) (\S+) (.*)", given, re.S)
    if found is None:
        raise InputError(f"--prompt-for is {given!r}: give the first and the last frame, then the text.")
    return list(found.groups())


class ClipCommand(TyperCommand):
    """Takes the three words of ``--prompt-for`` together."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, joined = list(args), []
        while given:
            joined.append(given.pop(0))
            if joined[-1] == "--prompt-for" and len(given) >= 3 and " " not in given[0]:
                joined.append(" ".join(given[:3]))
                del given[:3]
        return super().parse_args(ctx, joined)


def with_options(
    kind: type[Kind],
    call: Callable[[Kind], Any],
    defaults: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """A function for typer whose options are the fields of a dataclass; calls ``call`` with one.

    Args:
        defaults: other defaults than the fields'.
        fixed: fields that are no options, and their values.
    """
    defaults, fixed = dict(defaults or {}), dict(fixed or {})

    def command(**given: Any) -> Any:
        return call(kind(**given, **fixed))

    hints, parameters = get_type_hints(kind, include_extras=True), []
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in fixed:
            continue
        default = defaults.get(one.name, one.default)
        if one.default_factory is not MISSING:
            default = one.default_factory()
        elif default is MISSING:
            default = inspect.Parameter.empty
        parameters.append(
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[one.name])
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = call.__doc__
    return command
