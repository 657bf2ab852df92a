"""Prompts: encoded once, then read from disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..wan_animate.log import get_logger
from .host.folders import PROMPTS, chosen, file_stamp, list_models, model_path, said
from .host.graph import graph_signature
from .host.loaded import loaded_from
from .types import in_limits, valid

log = get_logger(__name__)

CATEGORY = "WanAnimateKit/prompt"
WAN_TEXT_CHANNELS = 4096


def _cached_file(text: str, encoder: str) -> Path:
    """In the first folder that has it, else a new name in the first folder."""
    from ..wan_animate.weights.prompt_file import prompt_file_name

    name = prompt_file_name(text, encoder)
    found = folder_paths.get_full_path(PROMPTS, name)
    return Path(found or os.path.join(folder_paths.get_folder_paths(PROMPTS)[0], name))


class CachedPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCachedPrompt",
            display_name="Cached Prompt",
            category=CATEGORY,
            description=(
                "Encodes a prompt and keeps the result on disk. The next time the same text meets the same text "
                "encoder, the result is read back and the encoder (11 GB for Wan) is not loaded at all."
            ),
            search_aliases=["clip text encode", "cache text encoder", "umt5", "t5", "text embedding", "prompt cache"],
            inputs=[
                io.String.Input(
                    "text",
                    display_name="prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip=(
                        "What the result should show. For Wan Animate a short sentence on the character and the scene "
                        "is enough."
                    ),
                ),
                io.Clip.Input(
                    "clip",
                    display_name="clip",
                    lazy=True,
                    tooltip=(
                        "The text encoder: Load CLIP with type wan. It is loaded only when this text has not been "
                        "encoded with it before."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="The encoded prompt, the same as CLIP Text Encode gives."
                ),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def _encoder(cls, clip: Any = None) -> str:
        return graph_signature(cls.hidden.dynprompt, cls.hidden.unique_id, "clip", loaded=loaded_from(clip))

    @classmethod
    def check_lazy_status(cls, text: str, clip: Any = None) -> list[str]:
        return ["clip"] if _read(_cached_file(text, cls._encoder()))[0] is None else []

    @classmethod
    def execute(cls, text: str, clip: Any = None) -> io.NodeOutput:
        from ..wan_animate.errors import InputError
        from ..wan_animate.weights.prompt_file import save_prompt, storable

        encoder = cls._encoder(clip)
        path = _cached_file(text, encoder)
        # the file comes first even when clip is loaded, for another prompt
        conditioning, damage = _read(path)
        if conditioning is not None:
            return io.NodeOutput(conditioning)
        if damage is not None:
            log.warning("%s It is encoded anew now.", damage)
        if clip is None:
            raise InputError("clip gave nothing: connect the CLIP output of Load CLIP (type wan) to Cached Prompt.")
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        if storable(conditioning):
            try:
                save_prompt(path, conditioning, text, encoder)
            except InputError as error:  # the run can go on; only the next one will have to encode again
                log.warning("%s", error)
        return io.NodeOutput(conditioning)


def _read(path: Path) -> tuple[list[list[Any]] | None, Exception | None]:
    from ..wan_animate.errors import InputError
    from ..wan_animate.weights.prompt_file import load_prompt

    if not path.is_file():
        return None, None
    try:
        return load_prompt(path), None
    except InputError as error:
        return None, error


class LoadPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitLoadPrompt",
            display_name="Load Saved Prompt",
            category=CATEGORY,
            description=(
                "Reads a prompt that Cached Prompt has encoded, with no text encoder in the graph. Use it on a machine "
                "that has no text encoder, or to reuse an embedding somebody gave you."
            ),
            search_aliases=["load embedding", "text embeds", "precomputed prompt", "load conditioning"],
            inputs=[
                io.Combo.Input(
                    "file",
                    display_name="file",
                    options=list_models(PROMPTS, ".safetensors"),
                    tooltip=(
                        "A file in models/wan_animate_prompts. Cached Prompt writes them; the name starts with the "
                        "prompt's first words."
                    ),
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="The saved prompt, ready for Animate Character."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        if file is None or model_path(PROMPTS, file):
            return True
        return (
            f"there is no saved prompt {said(file)} in models/{PROMPTS}: run Cached Prompt once, or put the file there "
            "and refresh."
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> tuple[int, ...] | None:
        return file_stamp(model_path(PROMPTS, file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..wan_animate.weights.prompt_file import load_prompt

        return io.NodeOutput(load_prompt(chosen(model_path(PROMPTS, file), file, "file"), WAN_TEXT_CHANNELS))


class PromptForFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitPromptForFrames",
            display_name="Prompt for Frames",
            category=CATEGORY,
            description=(
                "A prompt for a part of the clip, for Animate Character. Chain several by others. Each segment is made "
                "with the prompt that covers most of its new frames; one without frames holds wherever no other does."
            ),
            search_aliases=["prompt schedule", "prompt travel", "prompt per segment", "timed prompt"],
            inputs=[
                io.Conditioning.Input(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="The prompt, from Cached Prompt or CLIP Text Encode.",
                ),
                io.Int.Input(
                    "first_frame",
                    display_name="first frame",
                    default=0,
                    min=0,
                    max=1_000_000_000,
                    tooltip="Of the driving video, from 0.",
                ),
                io.Int.Input(
                    "last_frame",
                    display_name="last frame (-1: end)",
                    default=-1,
                    min=-1,
                    max=1_000_000_000,
                    tooltip="Included; -1: to the end.",
                ),
                io.Conditioning.Input(
                    "others",
                    display_name="others",
                    optional=True,
                    tooltip="Other prompts: of Prompt for Frames, or one for the rest.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="All of them, for positive or negative of Animate Character."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, first_frame: int | None = None, last_frame: int | None = None) -> bool | str:
        """Before anything runs; what is linked is None here."""
        from ..wan_animate.chain.prompts import check_range

        if first_frame is None or last_frame is None:
            return valid(lambda: in_limits(cls, first_frame=first_frame, last_frame=last_frame))

        def both() -> None:
            in_limits(cls, first_frame=first_frame, last_frame=last_frame)
            check_range((first_frame, last_frame))

        return valid(both)

    @classmethod
    def execute(cls, conditioning: Any, first_frame: int, last_frame: int, others: Any = None) -> io.NodeOutput:
        from ..wan_animate.chain.prompts import check_range
        from .host.prompts import for_frames

        check_range((first_frame, last_frame))
        return io.NodeOutput([*(others or []), *for_frames(conditioning, (first_frame, last_frame))])
