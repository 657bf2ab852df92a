"""Content hashes of files: whole ones of inputs; of weights sampled ones for records, and thorough ones for keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

import numpy as np
import torch

from ..json_text import parse_json

WHOLE = 128 << 20
"""Bytes up to which :func:`content_identity` reads all of a file, in a tenth of a second."""
_BLOCK = 4096
_BLOCKS = 64
# of content_identity
_ENDS = 1 << 20
_SPREAD = 2048  # blocks of the file
_TENSOR_WHOLE, _TENSOR_SPREAD = 128 << 10, 8  # bytes; blocks of a larger one
_HEADER = 100 << 20


def content_hash(path: str | os.PathLike) -> str:
    """BLAKE2b of a whole file, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def picture_hash(picture: torch.Tensor) -> str:
    """BLAKE2b of a picture's values, 32 hex digits."""
    values = np.ascontiguousarray(picture.float().cpu().numpy())
    return hashlib.blake2b(f"{values.shape}".encode() + values.tobytes(), digest_size=16).hexdigest()


def text_hash(text: str) -> str:
    """BLAKE2b, 32 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def weights_hash(path: str | os.PathLike) -> str:
    """BLAKE2b of a file's size and 64 blocks (256 KiB), 32 hex digits: the same for a copy, fast for 30 GB.

    Raises:
        OSError: the file cannot be read.
    """
    stat = os.stat(path)
    return _weights_hash(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _weights_hash(path: str, size: int, _mtime: int) -> str:
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        if size <= _BLOCK * _BLOCKS:
            digest.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def content_identity(path: str | os.PathLike) -> str:
    """BLAKE2b by which a changed file is told from what it was, 32 hex digits; the same for a copy.

    Of all bytes up to 128 MiB. Of a larger file: its size and ends, 2,048 blocks of 4 KiB, and of safetensors the
    header, every tensor up to 128 KiB whole and 8 blocks of every other.

    Raises:
        OSError: the file cannot be read.
    """
    stat = os.stat(path)
    # The time of a content's change may be set back, that of the inode's not.
    return _content_identity(os.fspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=1024)
def _content_identity(path: str, size: int, *_stamps: int) -> str:
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        for start, length in [(0, size)] if size <= WHOLE else sorted(set(_seen(file, size))):
            file.seek(start)
            while length > 0 and (data := file.read(min(length, 4 << 20))):
                digest.update(data)
                length -= len(data)
    return digest.hexdigest()


def _seen(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(first byte, count) of what :func:`content_identity` reads of a large file."""
    yield from ((0, _ENDS), (size - _ENDS, _ENDS))
    yield from _blocks(0, size, _SPREAD)
    for start, length in _tensors(file, size):
        if length <= _TENSOR_WHOLE:
            yield start, length
        else:
            yield from _blocks(start, length, _TENSOR_SPREAD)


def _blocks(start: int, length: int, count: int) -> Iterator[tuple[int, int]]:
    for index in range(count):
        yield start + (length - _BLOCK) * index // (count - 1), _BLOCK


def _tensors(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(first byte, count) of a safetensors file's header and tensors; nothing of another file."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= min(_HEADER, size - 8):
        return
    try:
        header = parse_json(file.read(length))
        spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        found = [(8 + length + int(first), int(last) - int(first)) for first, last in spans]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return
    yield 8, length
    yield from ((first, count) for first, count in found if first >= 0 and 0 < count <= size - first)
