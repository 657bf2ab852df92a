"""The header of a safetensors file: names, types and shapes of its tensors, and whether the file is all there.

The format (safetensors' README): 8 bytes little-endian length of the header, the header as JSON
``{name: {"dtype", "shape", "data_offsets": [start, end]}, "__metadata__": {str: str}}``, then the data.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field

from ..errors import InputError
from ..files import reading

# Larger than any we know by 20 times: what claims more is something else.
HEADER_LIMIT = 100 << 20
SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<ending>safetensors|sft)$")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its header tells it.

    Attributes:
        dtype: safetensors' name: ``F32 F16 BF16 F8_E4M3 F8_E5M2 F8_E8M0 I8 U8`` and so on.
        shape: as stored.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What a file, or the files of one sharded model together, says about itself.

    Attributes:
        paths: the files, in order.
        tensors: by name, in the files' order.
        metadata: the free text fields of the files.
    """

    paths: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return os.path.basename(self.paths[0])


def read_header(path: str) -> Header:
    """The header of one safetensors file.

    Raises:
        InputError: it is something else (GGUF, a pickle, a web page, a git pointer), it ends too early, or cannot be
            read at all.
    """
    name = os.path.basename(path)
    with reading(path, "the file", "choose another"), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(512)
        length = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{" or length > HEADER_LIMIT:  # else its length may look like the start of another format
            _refuse_other_formats(name, start)
        if size < 8 or length > HEADER_LIMIT or start[8:9] not in (b"{", b""):
            raise InputError(
                f"{name} is no safetensors file (it starts with {start[:8]!r}): download it again, or choose another."
            )
        file.seek(8)
        text = file.read(length)
    if len(text) < length:
        raise InputError(_cut_short(name, size, 8 + length))
    try:
        entries = json.loads(text)
        metadata = {key: str(value) for key, value in (entries.pop("__metadata__", None) or {}).items()}
        tensors = {key: _tensor(key, one) for key, one in entries.items()}
        end = max((one["data_offsets"][1] for one in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"{name} has a damaged safetensors header ({error}): download the file again.") from error
    if size < 8 + length + end:
        raise InputError(_cut_short(name, size, 8 + length + end))
    return Header((path,), tensors, metadata)


def read_model_header(path: str) -> Header:
    """The header of a model: of one file, or of all files of a sharded one of which ``path`` is any.

    Shards go by ``<stem>-00001-of-00004.safetensors`` in one folder (what diffusers' ``save_pretrained`` writes and
    Wan-AI publishes); an index file beside them is not needed.

    Raises:
        InputError: as :func:`read_header`; or a shard is missing, or two hold the same tensor.
    """
    paths = shard_paths(path)
    headers = [read_header(one) for one in paths]
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
    """All files of the model that ``path`` is one of, in order; ``[path]`` for a model in one file.

    Raises:
        InputError: a shard is missing.
    """
    folder, name = os.path.split(path)
    match = SHARD.match(name)
    if match is None:
        return [path]
    count = int(match["count"])
    names = [f"{match['stem']}-{number:05d}-of-{match['count']}.{match['ending']}" for number in range(1, count + 1)]
    missing = [one for one in names if not os.path.isfile(os.path.join(folder, one))]
    if missing or not 1 <= int(match["number"]) <= count:
        raise InputError(
            f"{name} is one of {count} files that make up a model, and {len(missing)} of them are not beside it "
            f"({', '.join(missing[:3])}): download the rest into the same folder."
        )
    return [os.path.join(folder, one) for one in names]


def is_later_shard(name: str) -> bool:
    """Whether a file name is that of a shard other than the first, which no list needs to show."""
    match = SHARD.match(os.path.basename(name))
    return match is not None and int(match["number"]) > 1


def _tensor(name: str, entry: dict) -> TensorInfo:
    """One entry of a header. Raises ValueError unless each of its fields is of the type that the format has there."""
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    numbers = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    if not numbers or any(type(one) is not int or one < 0 for one in (*shape, *offsets)) or not isinstance(dtype, str):
        raise ValueError(f"the entry of {name} is {json.dumps(entry)[:120]}")
    return TensorInfo(dtype, tuple(shape))


def _cut_short(name: str, size: int, wanted: int) -> str:
    return (
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
