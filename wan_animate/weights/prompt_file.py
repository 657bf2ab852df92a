"""Encoded prompts in safetensors: ``cond`` float ``[1, L, C]`` (umT5-XXL: C = 4096) and the conditioning's other
tensors, with prompt and encoder as metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..files import make_folder, reading, replacing
from ..finite import check_finite
from ..schema import read_json

Conditioning = list[list[Any]]
"""As ComfyUI's CONDITIONING: one ``[embedding, further values]`` for each part of the prompt."""

REMEDY = "encode it with Cached Prompt or choose another file"
MOST_BYTES = 256 << 20  # umT5's of 512 tokens takes 8 MB
FORMAT = "wan_animate_prompt/1"


def prompt_file_name(text: str, encoder: str) -> str:
    """Readable, different for every text and encoder."""
    digest = hashlib.blake2b(f"{FORMAT}\0{encoder}\0{text}".encode(), digest_size=8).hexdigest()
    words = "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:40].strip("-")
    return f"{words or 'prompt'}-{digest}.safetensors"


def find_prompt(folders: Iterable[str | os.PathLike], text: str) -> Path | None:
    """A saved prompt of this very text, whatever encoded it; None without one."""
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    if (file.metadata() or {}).get("prompt") == text:
                        return path
            except (OSError, SafetensorError):  # not ours, or damaged: as if it were not there
                continue
    return None


def storable(conditioning: Conditioning) -> bool:
    """Whether it is one part of tensors and None."""
    return len(conditioning) == 1 and all(
        value is None or isinstance(value, torch.Tensor) for value in conditioning[0][1].values()
    )


def save_prompt(path: str | os.PathLike, conditioning: Conditioning, text: str, encoder: str) -> None:
    """Writes a :func:`storable` prompt atomically; makes the folder. Raises InputError, also for NaN."""
    path = Path(path)
    embedding, values = conditioning[0]
    check_finite(embedding, "the encoded prompt", "load the text encoder's file anew, or in another precision")
    tensors = {"cond": embedding, **{name: value for name, value in values.items() if value is not None}}
    tensors = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}
    empty = [name for name, value in values.items() if value is None]
    metadata = {"format": FORMAT, "prompt": text, "encoder": encoder, "empty": json.dumps(empty)}
    make_folder(path.parent, "the encoded prompt")
    with replacing(path, "the encoded prompt") as temporary:
        save_file(tensors, temporary, metadata)


def load_prompt(path: str | os.PathLike, channels: int | None = None) -> Conditioning:
    """An encoded prompt; ``channels`` is ``cond``'s C, None for any. Raises InputError."""
    with reading(path, "the saved prompt", REMEDY) as path:
        size = os.path.getsize(path)
        if size > MOST_BYTES:
            raise InputError(f"the saved prompt {path} has {size / 1e9:.3g} GB, which no prompt has: {REMEDY}.")
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
        empty = read_json(metadata.get("empty", "[]"), list[str], f"the saved prompt {path}'s list", REMEDY)
    embedding = tensors.pop("cond", None)
    wanted = f"[1, tokens, {channels or 'channels'}]"
    if embedding is None:
        raise InputError(
            f"the saved prompt {path} holds no tensor named cond (it has {', '.join(sorted(tensors)) or 'nothing'}): "
            "choose a file that Cached Prompt wrote."
        )
    if (
        embedding.ndim != 3
        or embedding.shape[0] != 1
        or channels not in (None, embedding.shape[2])
        or not embedding.is_floating_point()
    ):
        raise InputError(
            f"the saved prompt {path} holds an embedding of shape {list(embedding.shape)} where {wanted} is needed: "
            "encode the prompt with the umT5-XXL text encoder that Wan uses."
        )
    check_finite(embedding, f"the saved prompt {path}", "delete it, and encode the prompt again")
    return [[embedding, {**dict.fromkeys(empty), **tensors}]]
