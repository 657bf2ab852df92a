"""Still images to RGB."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InputError
from ..files import reading
from ..limits import MOST_PIXELS

if TYPE_CHECKING:
    from PIL import Image, ImageFile

BACKGROUND = (0.0, 0.0, 0.0)
"""Shown behind transparent pixels; black like letterboxing."""

_TAKEN = "name a PNG, JPEG or WebP file"


def read_picture(path: str | os.PathLike, what: str = "the picture") -> torch.Tensor:
    """An image as float32 RGB ``[H, W, 3]`` in 0..1, upright by its EXIF orientation.

    Takes all Pillow modes; composites alpha over :data:`BACKGROUND`; of an animation the first frame.

    Raises:
        InputError: missing, damaged, no image, above 67 million pixels, or of unknown scale.
    """
    from PIL import Image, UnidentifiedImageError

    with reading(path, what, _TAKEN) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about large images and unreadable metadata
        try:
            with Image.open(path) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                if file.width * file.height > _pixels_a_byte(file) * os.path.getsize(path):
                    raise InputError(
                        f"{what} {path} is damaged (no {file.width}x{file.height} pixels are in a file of its size): "
                        f"{_TAKEN}."
                    )
                stored = _stored(file)
                return _to_rgb(_upright(file), stored, what, path)
        except Image.DecompressionBombError as error:
            raise InputError(
                f"{what} {path} has more than {MOST_PIXELS // 1_000_000} million pixels: scale it down to a few "
                "thousand a side."
            ) from error
        except UnidentifiedImageError as error:
            raise InputError(f"{what} {path} is no picture that can be read: {_TAKEN}.") from error


def over_background(picture: torch.Tensor) -> torch.Tensor:
    """Composites RGBA ``[..., 4]`` in 0..1 (straight alpha) over :data:`BACKGROUND`; RGB unchanged."""
    if picture.shape[-1] != 4:
        return picture
    alpha = picture[..., 3:].clamp(0.0, 1.0)
    return picture[..., :3] * alpha + torch.tensor(BACKGROUND).to(picture) * (1.0 - alpha)


def _pixels_a_byte(file: ImageFile.ImageFile) -> float:
    """At most so many, where the coding has such a bound: Pillow has room for all before it reads one."""
    if file.tile and all(tile[0] == "raw" for tile in file.tile):
        return 8
    # deflate packs 1032 to 1, of 8 pixels a byte; JPEG and GIF less
    return 10_000 if file.format in ("PNG", "JPEG", "GIF") else float("inf")


def _upright(file: Image.Image) -> Image.Image:
    from PIL import ImageOps

    file.load()
    try:
        return ImageOps.exif_transpose(file)
    except Exception:  # damaged EXIF
        return file


def _stored(file: ImageFile.ImageFile) -> str:
    """Pillow's raw mode of a PNG (``"L;4"``, ``"RGB;16B"``), else ""."""
    args = file.tile[0][3] if file.format == "PNG" and file.tile else ""
    return args if isinstance(args, str) else ""


def _to_rgb(picture: Image.Image, stored: str, what: str, path: Path) -> torch.Tensor:
    key = picture.info.get("transparency")
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture)
        grey = torch.from_numpy(_scaled_grey(values, picture.mode, what, path))
        return _but_for_key(grey[..., None].repeat(1, 1, 3), None if key is None else values == key)
    # A PNG's transparent colour (tRNS) is in the file's bit depth, but Pillow converts pixels to 8 bits.
    if isinstance(key, int) and stored in ("L;2", "L;4"):
        return _but_for_key(
            _floats(picture.convert("RGB")), np.asarray(picture) == key * (85 if stored == "L;2" else 17)
        )
    if isinstance(key, tuple) and stored == "RGB;16B":
        values = np.asarray(picture).astype(np.uint16) << 8 | _low_bytes(path)
        return _but_for_key(_floats(picture.convert("RGB")), (values == np.array(key, np.uint16)).all(axis=2))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or key is not None:
        return over_background(_floats(picture.convert("RGBA")))
    return _floats(picture.convert("RGB"))


def _but_for_key(rgb: torch.Tensor, hidden: np.ndarray | None) -> torch.Tensor:
    if hidden is not None:
        rgb[torch.from_numpy(hidden)] = torch.tensor(BACKGROUND)
    return rgb.contiguous()


def _low_bytes(path: Path) -> np.ndarray:
    """Low bytes of a 16-bit RGB PNG, uint8 ``[H, W, 3]``, upright: Pillow keeps the high ones, so bytes are swapped."""
    from PIL import Image

    with Image.open(path) as file:
        codec, extents, offset, _ = file.tile[0]
        file.tile = [(codec, extents, offset, "RGB;16L")]  # type: ignore[list-item]  # a plain tuple before Pillow 11
        return np.asarray(_upright(file))


def _floats(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).float().div_(255.0)


def _scaled_grey(values: np.ndarray, mode: str, what: str, path: Path) -> np.ndarray:
    """16-bit (32 in some Pillow modes) or float grey to float32 0..1."""
    low, high = float(values.min()), float(values.max())
    full = 1.0 if mode == "F" else 65535.0
    if not (low >= 0.0 and high <= full):
        raise InputError(
            f"{what} {path} holds grey values from {low:g} to {high:g}, whose black and white are not known: save it "
            "with 8 or 16 bits."
        )
    return (values.astype(np.float32) / np.float32(full)).astype(np.float32)
