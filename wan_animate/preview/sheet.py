"""Contact sheets: moments of several clips side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from ..errors import InputError
from ..files import replacing
from ..mask.track import binary, overlay
from ..video.derived import DerivedSource
from ..video.frames import FrameSource, read_uint8
from ..video.resample import letterbox
from .canvas import Color

_THUMB_HEIGHT = 180
_GAP = 8
_HEADER = 40
_GUTTER = 96
_PAPER, _INK, _FAINT, _FRAME = (24, 24, 27), (235, 235, 235), (150, 150, 155), (60, 60, 64)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_EDGE = (60, 200, 90)


class MaskShown(DerivedSource):
    """A mask of any size, or its edge (``outline``), tinted over frames."""

    kind = "image"

    def __init__(self, frames: FrameSource, mask: FrameSource, outline: bool = False) -> None:
        super().__init__(frames, mask)
        self.mask, self.outline = mask, outline

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.stack([self._shown(at) for at in range(start, stop)])

    def _shown(self, at: int) -> np.ndarray:
        frame = read_uint8(self.source, at, at + 1)[0]
        if at >= len(self.mask):
            return frame
        mask = read_uint8(self.mask, at, at + 1)[0]
        mask = mask if mask.ndim == 2 else mask.max(axis=2)
        mask = cv2.resize(mask, (self.width, self.height), interpolation=cv2.INTER_NEAREST)
        if not self.outline:
            return overlay(frame, mask)
        edges, _ = cv2.findContours(binary(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return cv2.drawContours(frame.copy(), edges, -1, _EDGE, max(round(self.height / _THUMB_HEIGHT), 1))

    def fingerprint(self) -> str:
        return f"mask shown:{self.outline}:({self.source.fingerprint()})({self.mask.fingerprint()})"


def contact_sheet(path_png: str | os.PathLike, columns: Sequence[tuple[str, FrameSource]], rows: int = 6) -> None:
    """Writes a PNG grid: a column per ``(label, clip)``, a row for each of up to ``rows`` frames. Raises InputError."""
    if not columns or rows < 1:
        raise InputError("a contact sheet needs at least one clip and one row.")
    length = max(len(source) for _, source in columns)
    moments = sorted({round(i * (length - 1) / max(rows - 1, 1)) for i in range(rows)})
    widths = [_thumb_width(label, source) for label, source in columns]
    sheet = np.empty(
        (
            _HEADER + len(moments) * (_THUMB_HEIGHT + _GAP),
            _GUTTER + sum(widths) + _GAP * len(widths),
            3,
        ),
        np.uint8,
    )
    sheet[:] = _PAPER
    rate = columns[0][1].fps
    for row, moment in enumerate(moments):
        top = _HEADER + row * (_THUMB_HEIGHT + _GAP)
        middle = top + _THUMB_HEIGHT // 2
        _text_right(sheet, str(moment), _GUTTER - 12, middle, 0.62, _INK)
        _text_right(sheet, f"{float(moment / rate):.2f} s", _GUTTER - 12, middle + 24, 0.44, _FAINT)
    left = _GUTTER
    for (label, source), width in zip(columns, widths, strict=True):
        _text_middle(sheet, label, left + width // 2, 26, width)
        for row, moment in enumerate(moments):
            top = _HEADER + row * (_THUMB_HEIGHT + _GAP)
            cell = sheet[top : top + _THUMB_HEIGHT, left : left + width]
            if moment < len(source):
                cell[:] = _thumb(source, moment, width)
            cv2.rectangle(sheet, (left - 1, top - 1), (left + width, top + _THUMB_HEIGHT), _FRAME, 1)
        left += width + _GAP
    coded, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not coded:
        raise InputError(f"the contact sheet of {sheet.shape[1]}x{sheet.shape[0]} pixels could not be coded as PNG.")
    with replacing(path_png, "the contact sheet") as temporary, open(temporary, "wb") as file:
        file.write(data.tobytes())


def _thumb_width(label: str, source: FrameSource) -> int:
    width = round(_THUMB_HEIGHT * source.width / source.height)
    text = cv2.getTextSize(label, _FONT, 0.62, 1)[0][0] + 8
    return max(min(width, 3 * _THUMB_HEIGHT), min(text, 2 * _THUMB_HEIGHT), 48)


def _thumb(source: FrameSource, moment: int, width: int) -> np.ndarray:
    image = read_uint8(source, moment, moment + 1)[0]
    if image.ndim == 2:
        # A mask may be 0/1 or 0/255 in bytes; shown so that foreground is light either way.
        image = image * 255 if image.size and image.max() == 1 else image
        image = np.repeat((image // 2 + image // 4 + 20)[..., None], 3, axis=2)
    return letterbox(np.ascontiguousarray(image), width, _THUMB_HEIGHT)


def _text_right(sheet: np.ndarray, text: str, right: int, base: int, scale: float, colour: Color) -> None:
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    cv2.putText(sheet, text, (right - width, base), _FONT, scale, colour, 1, cv2.LINE_AA)


def _text_middle(sheet: np.ndarray, text: str, middle: int, base: int, max_width: int) -> None:
    while len(text) > 1 and cv2.getTextSize(text, _FONT, 0.62, 1)[0][0] > max_width:
        text = text[:-1]
    width = cv2.getTextSize(text, _FONT, 0.62, 1)[0][0]
    cv2.putText(sheet, text, (middle - width // 2, base), _FONT, 0.62, _INK, 1, cv2.LINE_AA)
