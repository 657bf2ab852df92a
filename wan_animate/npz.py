"""Named arrays in a file (NumPy's ``.npz``), without pickle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import make_folder, reading, replacing

# zeros are packed a thousandfold: an array beyond UNPACKED bytes must not be packed more than PACKED times
UNPACKED, PACKED = 64 << 20, 50
KINDS = "fiub"  # numpy.dtype.kind of numbers


def save_npz(path: str | os.PathLike, arrays: dict[str, np.ndarray], what: str) -> None:
    """Writes arrays atomically."""
    path = Path(path)
    make_folder(path.parent, what)
    with replacing(path, what) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # mypy matches ** with allow_pickle as well


def load_npz(
    path: str | os.PathLike, keys: Collection[str], what: str, others: Collection[str] = (), packed: int = PACKED
) -> dict[str, np.ndarray]:
    """The arrays ``keys``, and of ``others`` those that are there; nothing else in the file is read.

    Args:
        packed: how many times a large array may be packed.

    Raises:
        InputError: no such file, ``keys`` missing, no numbers, or an array that claims more than the file can hold.
    """
    remedy = "give the path of a saved .npz file"
    with reading(path, what, remedy) as path, zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        missing = [key for key in keys if key not in members]
        if missing:
            some = ", ".join(sorted(members)[:8]) or "nothing"
            raise InputError(f"{what}: {path} has no {', '.join(missing)} (it has {some}).")
        return {
            key: _array(archive, members[key], f"{what} {path}", packed) for key in (*keys, *others) if key in members
        }


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str, packed: int) -> np.ndarray:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        claimed = dtype.itemsize
        for side in shape:
            claimed *= int(side)
        if dtype.kind not in KINDS:
            raise InputError(f"{what} holds {name} of {dtype}, where numbers are needed: save it again.")
        if claimed > member.file_size or (claimed > UNPACKED and claimed > packed * member.compress_size):
            raise InputError(
                f"{what} claims {claimed / 1e6:,.0f} MB of {name} in {member.compress_size / 1e6:,.3g}: it is damaged; "
                "save it again."
            )
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
