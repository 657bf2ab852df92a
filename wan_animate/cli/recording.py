"""How the shell's clips are recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..chain.job import AnimateJob
from ..errors import InputError
from ..plan.cards import device_here
from ..record.clip_record import ClipRecord, Model, record_of
from ..record.identity import content_hash, content_identity, weights_hash
from ..record.versions import versions
from ..video.source import VideoSource
from ..weights.held import HeldFiles
from .checks import FILES, LORAS, encodes_text, loras, used_files
from .options import AS_RUN, GENERATE, RunOptions, Sampling

WEIGHTS = ("detector", "pose", "sam2", *LORAS)
PARTS = ("transformer", "vae", "text_encoder", "image_encoder")
WEIGHT_FILES = (".safetensors", ".bin")
# neither settings of the clip nor inputs
LEFT_OUT = {"out", "sheet", "models", "device", "offload", "plan", "keep_segments", "codec", "quality", *FILES}
# left out unless set: older clips' records have none of them
LATER = {"lora_strength": 1.0, "lora_2_strength": 1.0, "mask_prompts_only": False, "linears": "as-loaded"}


def record(options: RunOptions, job: AnimateJob, frames: VideoSource, sampling: Sampling = AS_RUN) -> ClipRecord:
    """The record of the job that the options describe, whose driving video is ``frames``."""
    settings = {name: value for name, value in vars(options).items() if name not in LEFT_OUT}
    settings = {name: value for name, value in settings.items() if name not in LATER or value != LATER[name]}
    if options.prompt_file:
        del settings["prompt"]
    if sampling.command == GENERATE:
        settings |= {"solver": sampling.solver, "cfg": sampling.cfg, "negative": sampling.negative * (sampling.cfg > 1)}
    used = used_files(options)
    return record_of(
        job,
        sampling.command,
        {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
        files={"video": frames.file_digest()} | _hashes(options, content_hash, used - {*WEIGHTS, "video"}),
        models=(
            *folder_models(options.models, not encodes_text(options, sampling)),
            *_single_models(options),
            *_lora(sampling),
        ),
        versions=versions(),
        device=device_here(options.device).name,
    )


def folder_models(folder: str, saved_prompt: bool = False) -> list[Model]:
    """The weight files of a folder in diffusers' layout; without the text encoder where all prompts are saved ones."""
    return [
        Model(path.parent.name, path.name, weights_hash(path))
        for path in _folder_files(folder, PARTS, saved_prompt)
        if path.suffix in WEIGHT_FILES
    ]


def weights_key(options: RunOptions, sampling: Sampling = AS_RUN) -> str:
    """Changes with every file of the model, and every LoRA; those of the pose and the mask show in the controls."""
    return " ".join(map(content_identity, _key_files(options, sampling)))


def hold_weights(options: RunOptions, sampling: Sampling = AS_RUN) -> HeldFiles:
    """The files of :func:`weights_key`, before they are loaded."""
    return HeldFiles(
        _key_files(options, sampling),
        "leave the model's files alone until the clip is done, and run again; the segments before this one are kept, "
        "and gone on with where the file is as it was",
    )


def check_weights(options: RunOptions, sampling: Sampling, key: str) -> None:
    """Raises InputError where :func:`weights_key` is not ``key`` any more: the job would not be of these files."""
    if weights_key(options, sampling) != key:
        raise InputError(
            f"a file of the model in {options.models} was changed while it was loaded: leave the folder alone, and run "
            "again."
        )


def _key_files(options: RunOptions, sampling: Sampling) -> list[str | Path]:
    saved = not encodes_text(options, sampling)
    files = _folder_files(options.models, (*PARTS, "scheduler", "image_processor"), saved)
    # a tokenizer's words are in files of any ending
    words = [] if saved else _folder_files(options.models, ("tokenizer",), False)
    seen = [path for path in files if path.suffix in (*WEIGHT_FILES, ".json")]
    return [*seen, *words, *_loras(options, sampling)]


def _loras(options: RunOptions, sampling: Sampling) -> list[str]:
    return [*([sampling.lora] if sampling.lora else []), *(path for path, _ in loras(options))]


def _folder_files(folder: str, parts: tuple[str, ...], saved_prompt: bool) -> list[Path]:
    wanted = [part for part in parts if not (saved_prompt and part == "text_encoder")]
    return [path for part in wanted for path in sorted(Path(folder, part).glob("*")) if path.is_file()]


def job_settings(options: RunOptions, settings: str, made: ClipRecord) -> str:
    """Those of all segments (:func:`.checks.segment_settings`) with the prompts, for the job's key."""
    prompt = made.files.get("prompt_file") or options.prompt
    return " ".join([settings, f"prompt={prompt}", *(f"prompt_for={one}" for one in options.prompt_for)])


def _single_models(options: RunOptions) -> list[Model]:
    hashes = _hashes(options, weights_hash, used_files(options) & set(WEIGHTS))
    return [Model(name, Path(getattr(options, name)).name, key) for name, key in hashes.items()]


def _lora(sampling: Sampling) -> list[Model]:
    return [Model("lora", Path(sampling.lora).name, weights_hash(sampling.lora))] if sampling.lora else []


def _hashes(options: RunOptions, of: Callable[[str], str], names: set[str]) -> dict[str, str]:
    return {name: of(path) for name in sorted(names) if (path := getattr(options, name))}
