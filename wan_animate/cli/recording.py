"""How the shell's clips are recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..chain.job import AnimateJob
from ..plan.cards import device_here
from ..record.clip_record import ClipRecord, Model, record_of
from ..record.identity import content_hash, weights_hash
from ..record.versions import versions
from ..video.source import VideoSource
from .checks import FILES, LORAS
from .options import AS_RUN, RunOptions, Sampling

WEIGHTS = ("detector", "pose", "sam2", *LORAS)
PARTS = ("transformer", "vae", "text_encoder", "image_encoder")
# neither settings of the clip nor inputs
LEFT_OUT = {"out", "sheet", "models", "device", "plan", "keep_segments", "codec", "quality", *FILES}
# left out unless set: older clips' records have none of them
LATER = {"lora_strength": 1.0, "lora_2_strength": 1.0, "mask_prompts_only": False}


def record(options: RunOptions, job: AnimateJob, frames: VideoSource, sampling: Sampling = AS_RUN) -> ClipRecord:
    """The record of the job that the options describe, whose driving video is ``frames``."""
    settings = {name: value for name, value in vars(options).items() if name not in LEFT_OUT}
    settings = {name: value for name, value in settings.items() if name not in LATER or value != LATER[name]}
    if options.prompt_file:
        del settings["prompt"]
    return record_of(
        job,
        sampling.command,
        {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
        files={"video": frames.file_digest()} | _hashes(options, content_hash, set(FILES) - {*WEIGHTS, "video"}),
        models=(*folder_models(options.models, bool(options.prompt_file)), *_single_models(options), *_lora(sampling)),
        versions=versions(),
        device=device_here(options.device).name,
    )


def folder_models(folder: str, saved_prompt: bool = False) -> list[Model]:
    """The weight files of a folder in diffusers' layout; without the text encoder for a saved prompt."""
    return [
        Model(part, path.name, weights_hash(path))
        for part in PARTS
        if not (saved_prompt and part == "text_encoder")
        for path in sorted(Path(folder, part).glob("*"))
        if path.suffix in (".safetensors", ".bin") and path.is_file()
    ]


def weights_key(made: ClipRecord) -> str:
    """The hashes of a record's weights that make the frames; those of the pose and the mask show in the controls."""
    return " ".join(model.hash for model in made.models if model.part in (*PARTS, *LORAS))


def job_settings(options: RunOptions, settings: str, made: ClipRecord) -> str:
    """Those of all segments (:func:`.checks.segment_settings`) with the prompts, for the job's key."""
    prompt = made.files.get("prompt_file") or options.prompt
    return " ".join([settings, f"prompt={prompt}", *(f"prompt_for={one}" for one in options.prompt_for)])


def _single_models(options: RunOptions) -> list[Model]:
    hashes = _hashes(options, weights_hash, set(WEIGHTS))
    return [Model(name, Path(getattr(options, name)).name, key) for name, key in hashes.items()]


def _lora(sampling: Sampling) -> list[Model]:
    return [Model("lora", Path(sampling.lora).name, weights_hash(sampling.lora))] if sampling.lora else []


def _hashes(options: RunOptions, of: Callable[[str], str], names: set[str]) -> dict[str, str]:
    return {name: of(path) for name in sorted(names) if (path := getattr(options, name))}
