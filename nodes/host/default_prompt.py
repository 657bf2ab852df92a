"""The prompt of a clip that is given none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths

from ...wan_animate.chain.prompts import DEFAULT_PROMPT
from ...wan_animate.errors import InputError
from ...wan_animate.log import get_logger
from ...wan_animate.parallel.roomiest import PROMPT
from ...wan_animate.weights.prompt_file import find_prompt, load_prompt, prompt_file_name, save_prompt
from .device import card_with_room, compute_device
from .folders import PROMPTS

log = get_logger(__name__)

NO_PROMPT = (
    "positive is not connected, and there is neither a text encoder to encode the usual prompt with nor a saved one: "
    "put umt5_xxl_fp8_e4m3fn_scaled.safetensors into models/text_encoders, or connect Cached Prompt or Load Saved "
    "Prompt to positive."
)


def check_default_prompt() -> None:
    """Raises InputError where :func:`default_prompt` would find neither."""
    if not _encoders() and find_prompt(_folders(), DEFAULT_PROMPT) is None:
        raise InputError(NO_PROMPT)


def default_prompt() -> Any:
    """CONDITIONING of :data:`DEFAULT_PROMPT`: a saved one, else encoded by the umT5 in models/text_encoders and saved.

    Raises:
        InputError: neither is there, or the file is no text encoder.
    """
    folders = _folders()
    saved = find_prompt(folders, DEFAULT_PROMPT)
    if saved is not None:
        return load_prompt(saved)
    names = _encoders()
    if not names:
        raise InputError(NO_PROMPT)
    log.info("Animate Character: no prompt is connected; %r is encoded with %s.", DEFAULT_PROMPT, names[0])
    conditioning = _encode(folder_paths.get_full_path_or_raise("text_encoders", names[0]), names[0])
    try:
        save_prompt(folders[0] / prompt_file_name(DEFAULT_PROMPT, names[0]), conditioning, DEFAULT_PROMPT, names[0])
    except InputError as error:  # the run can go on; only the next one will have to encode again
        log.warning("%s", error)
    return conditioning


def _folders() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(PROMPTS)]


def _encoders() -> list[str]:
    return [name for name in folder_paths.get_filename_list("text_encoders") if "umt5" in name.lower()]


def load_options(path: str) -> dict[str, Any]:
    """The host's model options of a text encoder: the load device, where that is another card than its own choice."""
    import comfy.model_management as management

    own = management.text_encoder_device()
    if own != compute_device() or own == management.text_encoder_offload_device():  # --lowvram, --cpu; --gpu-only
        return {}
    device = card_with_room("The text encoder", needed=os.path.getsize(path) + PROMPT)
    return {} if device == own else {"load_device": device}


def _encode(path: str, name: str) -> Any:
    import comfy.sd

    embeddings = folder_paths.get_folder_paths("embeddings")
    try:
        clip = comfy.sd.load_clip([path], embeddings, comfy.sd.CLIPType.WAN, load_options(path))
    except (RuntimeError, KeyError, ValueError) as error:  # what the host raises of a file that is something else
        raise InputError(
            f"text_encoders/{name} cannot be loaded as Wan's text encoder ({error}): download it again, or connect a "
            "prompt to positive."
        ) from error
    return clip.encode_from_tokens_scheduled(clip.tokenize(DEFAULT_PROMPT))
