"""LoRA files: safetensors, or a pickle opened with ``weights_only``."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import reading
from .header import read_header
from .kinds import file_identity, is_lora
from .pickle_check import TooMuch, check_pickle

if TYPE_CHECKING:
    import torch

DEEPEST = 8  # containers in each other
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# keys under which training frameworks nest the tensors; upstream's relighting LoRA has "state_dict"
CONTAINERS = ("state_dict", "lora_state_dict", "lora", "module", "model")


def read_lora(path: str) -> dict[str, torch.Tensor]:
    """All tensors by name, on the CPU.

    Raises:
        InputError: no LoRA (safetensors: before tensors are read), unreadable, or a pickle of other objects.
    """
    import safetensors.torch

    name = os.path.basename(path)
    if not path.lower().endswith(PICKLES):
        check_lora_file(path)
        with reading(path, "the LoRA", "download it again"):
            return safetensors.torch.load_file(path)
    tensors = _read_pickle(path, name)
    _check(name, tensors)
    return tensors


def check_lora_file(path: str) -> None:
    """Raises InputError unless it is a LoRA, as far as a header tells: a pickle has none."""
    if not path.lower().endswith(PICKLES):
        _check(os.path.basename(path), read_header(path).tensors)


def _check(name: str, names: Collection[str]) -> None:
    if not is_lora(names) and not any(key.endswith((".diff", ".diff_b", ".diff_m")) for key in names):
        identity = file_identity(names)
        other = f" but {identity.what}" if identity is not None else ""
        some = ", ".join(list(names)[:2]) or "none"
        raise InputError(
            f"{name} is no LoRA{other}: none of its {len(names)} tensors ({some} and so on) is one half of a low-rank "
            "pair or a difference. Choose a LoRA file."
        )


def _read_pickle(path: str, name: str) -> dict[str, torch.Tensor]:
    import torch

    with reading(path, "the LoRA", "download it again"):
        size, zipped = os.path.getsize(path), zipfile.is_zipfile(path)
        if zipped:
            _refuse_packed(path, name, size)
        try:
            check_pickle(path, size)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{name} holds more than tensors, which could run code, and is not opened: take the safetensors form "
                "of the LoRA, or save its tensors alone."
            ) from error
        except TooMuch as error:
            raise InputError(f"{name} {error}, which no LoRA needs: take the safetensors form of the LoRA.") from error
        except OSError:
            raise
        except Exception as error:  # torch raises whatever the content leads to
            reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
            raise InputError(f"{name} cannot be read as a PyTorch file ({reason}): download it again.") from error
    for _ in range(DEEPEST):  # a pickle may hold itself
        inner = None
        if isinstance(content, dict):
            inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise InputError(f"{name} holds a {type(content).__name__}, not named tensors: choose a LoRA file.")
    named = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    claimed = sum(value.numel() * value.element_size() for value in named.values())
    if claimed > size:  # a stored number may be seen as any number of them
        raise InputError(
            f"{name} claims {claimed:,} bytes of tensors in a file of {size:,}: it is damaged, download it again."
        )
    return named


def _refuse_packed(path: str, name: str, size: int) -> None:
    """Raises InputError for records that unpack to more than the file: ``torch.save`` packs none."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(record.file_size for record in archive.infolist())
    if unpacked > size:
        raise InputError(
            f"{name} unpacks to {unpacked:,} bytes from {size:,}, which PyTorch does not write: take the safetensors "
            "form of the LoRA."
        )
