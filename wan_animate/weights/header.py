"""Headers of safetensors files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from safetensors import SafetensorError, safe_open

from ..errors import InputError
from ..files import reading
from ..json_text import parse_json

HEADER_LIMIT = 100 << 20  # 20 times the largest known; safetensors itself refuses more
SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<ending>safetensors|sft)$")


@dataclass(frozen=True)
class TensorInfo:
    """``dtype`` as safetensors names it (``F32 BF16 F8_E4M3 I8``)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """Of a file, or of all shards of a model; tensors in the files' order."""

    paths: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return os.path.basename(self.paths[0])


def read_header(path: str) -> Header:
    """Of one safetensors file.

    Raises:
        InputError: another format (GGUF, a pickle, a web page, a git pointer), cut short, damaged or unreadable.
    """
    name = os.path.basename(path)
    with reading(path, "the file", "choose another"):
        with open(path, "rb") as file:  # by hand: safetensors does not say what a file of another format is
            start = file.read(512)
        length = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{" or length > HEADER_LIMIT:  # else its length may look like the start of another format
            _refuse_other_formats(name, start)
        if len(start) < 8 or length > HEADER_LIMIT or start[8:9] not in (b"{", b""):
            raise InputError(
                f"{name} is no safetensors file (it starts with {start[:8]!r}): download it again, or choose another."
            )
        try:
            with safe_open(path, "np") as file:
                slices = {key: file.get_slice(key) for key in file.offset_keys()}
                tensors = {key: TensorInfo(item.get_dtype(), tuple(item.get_shape())) for key, item in slices.items()}
                return Header((path,), tensors, file.metadata() or {})
        except SafetensorError as error:
            _refuse_cut_short(path, name)
            raise InputError(f"{name} has a damaged safetensors header ({error}): download the file again.") from error


def read_model_header(path: str) -> Header:
    """Of a model in one file, or in shards of which ``path`` is any (diffusers' ``<stem>-00001-of-00004.safetensors``).

    Raises:
        InputError: as :func:`read_header`; shards missing, or two with the same tensor.
    """
    paths = shard_paths(path)
    headers = [read_header(shard) for shard in paths]
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for header in headers:
        twice = tensors.keys() & header.tensors.keys()
        if twice:
            raise InputError(
                f"{header.name} holds {sorted(twice)[0]!r}, which another shard beside it holds too: the folder mixes "
                "files of two models, keep those of one."
            )
        tensors |= header.tensors
        metadata |= header.metadata
    return Header(tuple(paths), tensors, metadata)


def shard_paths(path: str) -> list[str]:
    """All files of ``path``'s model. Raises InputError if a shard is missing."""
    folder, name = os.path.split(path)
    match = SHARD.match(name)
    if match is None:
        return [path]
    count = int(match["count"])
    names = [f"{match['stem']}-{number:05d}-of-{match['count']}.{match['ending']}" for number in range(1, count + 1)]
    missing = [shard for shard in names if not os.path.isfile(os.path.join(folder, shard))]
    if missing or not 1 <= int(match["number"]) <= count:
        raise InputError(
            f"{name} is one of {count} files that make up a model, and {len(missing)} of them are not beside it "
            f"({', '.join(missing[:3])}): download the rest into the same folder."
        )
    return [os.path.join(folder, shard) for shard in names]


def is_later_shard(name: str) -> bool:
    match = SHARD.match(os.path.basename(name))
    return match is not None and int(match["number"]) > 1


def _refuse_cut_short(path: str, name: str) -> None:
    """Raises InputError. By hand: safetensors does not count missing bytes."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length)
    wanted = 8 + length
    if len(text) == length:
        try:
            entries = parse_json(text)
            entries.pop("__metadata__", None)
            wanted += max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):  # damaged, not cut
            return
    if size < wanted:
        raise InputError(
            f"{name} is incomplete: {size:,} of {wanted:,} bytes are there, so the download stopped too early; "
            "download it again."
        )


def _refuse_other_formats(name: str, start: bytes) -> None:
    if not start:
        raise InputError(f"{name} is empty: download it again.")
    if start.startswith(b"GGUF"):
        raise InputError(
            f"{name} is a GGUF file: load it with a GGUF loader node (for instance Unet Loader (GGUF) of "
            "ComfyUI-GGUF) and connect its MODEL, which samples with the nodes of this pack too."
        )
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{name} is only a git-lfs pointer, not the weights: download the file itself.")
    if start.lstrip()[:1] == b"<":
        raise InputError(f"{name} is a web page, not weights: the link asked for a login; download the file again.")
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise InputError(
            f"{name} is a PyTorch pickle, which can run code when it is opened: take the safetensors file of the "
            "same model."
        )
