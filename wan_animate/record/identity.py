"""Content hashes of files: whole ones of inputs, sampled ones of weights."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

import numpy as np
import torch

_BLOCK = 4096
_BLOCKS = 64


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
