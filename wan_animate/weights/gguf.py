"""What a GGUF file holds, from its header (the format: ggml's docs/gguf.md). Its weights are left to another loader."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import InputError
from ..files import reading

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_ENTRIES, LONGEST_TEXT, LONGEST_LIST = 100_000, 1 << 20, 10_000_000
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
ANIMATE = ("face_adapter.", "motion_encoder.", "pose_patch_embedding.")
"""Parts of a transformer's tensor names that only Wan 2.2 Animate has."""


@dataclass(frozen=True)
class GgufHeader:
    """``architecture`` as ``general.architecture`` names it (empty: not named); names of the tensors."""

    architecture: str
    tensors: tuple[str, ...]

    @property
    def is_animate(self) -> bool:
        return all(any(part in name for name in self.tensors) for part in ANIMATE)


def read_gguf(path: str | os.PathLike) -> GgufHeader:
    """Reads the header alone.

    Raises:
        InputError: no GGUF file, of another version, cut short or damaged.
    """
    name = os.path.basename(path)
    with reading(path, "the file", "choose another"):
        with open(path, "rb") as file:
            if file.read(4) != MAGIC:
                raise InputError(f"{name} is no GGUF file: download it again, or choose another.")
            try:
                return _header(file)
            except (struct.error, ValueError) as error:
                raise InputError(
                    f"{name} has a damaged or unknown GGUF header ({error}): download the file again."
                ) from error


def _header(file: BinaryIO) -> GgufHeader:
    (version,) = _numbers(file, "I")
    if version not in VERSIONS:
        raise ValueError(f"version {version}")
    tensors, entries = _count(file), _count(file)
    architecture = ""
    for _ in range(entries):
        key, (kind,) = _text(file), _numbers(file, "I")
        if key == "general.architecture" and kind == TEXT:
            architecture = _text(file)
        else:
            _skip(file, kind)
    names = []
    for _ in range(tensors):
        names.append(_text(file))
        (dimensions,) = _numbers(file, "I")
        if dimensions > 8:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        _numbers(file, f"{dimensions}QIQ")  # its sides, type and place
    return GgufHeader(architecture, tuple(names))


def _numbers(file: BinaryIO, kinds: str) -> tuple[int, ...]:
    kinds = f"<{kinds}"
    return struct.unpack(kinds, file.read(struct.calcsize(kinds)))


def _count(file: BinaryIO) -> int:
    (count,) = _numbers(file, "Q")
    if count > MOST_ENTRIES:
        raise ValueError(f"{count} entries")
    return count


def _text(file: BinaryIO) -> str:
    (length,) = _numbers(file, "Q")
    if length > LONGEST_TEXT:
        raise ValueError(f"a text of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends too early")
    return data.decode("utf-8", "replace")


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == TEXT:
        _text(file)
    elif kind == LIST:
        (inner,), (length,) = _numbers(file, "I"), _numbers(file, "Q")
        if length > LONGEST_LIST or inner == LIST:
            raise ValueError(f"a list of {length}")
        if inner == TEXT:
            for _ in range(length):
                _text(file)
        else:
            file.seek(length * struct.calcsize(f"<{_number(inner)}"), os.SEEK_CUR)
    else:
        _numbers(file, _number(kind))


def _number(kind: int) -> str:
    if kind not in NUMBERS:
        raise ValueError(f"a value of type {kind}")
    return NUMBERS[kind]


def refuse_gguf(path: str | os.PathLike, loader_here: bool) -> None:
    """Raises InputError, which says what the file is and which node loads it.

    Args:
        loader_here: whether ComfyUI-GGUF is installed.
    """
    header, name = read_gguf(path), os.path.basename(path)
    if not header.is_animate:
        of = f" of {header.architecture!r}" if header.architecture else ""
        raise InputError(
            f"{name} is a GGUF file{of} without the pose and face parts of Wan 2.2 Animate: choose a Wan 2.2 Animate "
            "14B file, and load a GGUF one with Unet Loader (GGUF) of ComfyUI-GGUF."
        )
    first = "" if loader_here else "install ComfyUI-GGUF (ComfyUI-Manager), "
    raise InputError(
        f"{name} is Wan 2.2 Animate as a GGUF file, which this node does not read: {first}load it with Unet Loader "
        "(GGUF) and connect its MODEL in place of this node's, everything after it stays."
    )
