"""What a node shows below itself: pictures, text and warnings (drawn by ``js/panel.js``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..wan_animate.log import heard

if TYPE_CHECKING:
    import numpy as np
    import torch

KEY = "wan_animate_kit"


def as_image(picture: np.ndarray) -> torch.Tensor:
    """A picture, uint8 ``[H, W, 3]``, as IMAGE."""
    import torch

    return torch.from_numpy(picture)[None].float() / 255


class Shown(ui.PreviewImage):
    """Pictures and text of a node.

    Args:
        pictures: uint8 ``[H, W, 3]``, of any sizes.
        lines: of text.
        warnings: sentences that must be seen.
        more: what else this pack's frontend shows; what JSON can hold.
    """

    def __init__(
        self,
        cls: type[io.ComfyNode],
        pictures: Sequence[np.ndarray],
        lines: Sequence[str] = (),
        warnings: Sequence[str] = (),
        **more: Any,
    ) -> None:
        self.values = []
        self.animated = False
        for picture in pictures:
            self.values += ui.PreviewImage(as_image(picture), cls=cls).values
        self._lines, self._more = lines, {"warnings": list(warnings), **more} if warnings or more else {}

    def as_dict(self) -> dict:
        out: dict = super().as_dict() if self.values else {}
        if self._lines:
            out |= ui.PreviewText("\n".join(self._lines)).as_dict()
        if self._more:
            out[KEY] = [self._more]
        return out


def preview(cls: type[io.ComfyNode], picture: np.ndarray, warnings: Sequence[str] = ()) -> Shown:
    """A picture, uint8 ``[H, W, 3]``, below a node."""
    return Shown(cls, [picture], warnings=warnings)


def below(
    cls: type[io.ComfyNode],
    pictures: Sequence[np.ndarray],
    lines: Sequence[str],
    warnings: Sequence[str] = (),
    **more: Any,
) -> dict | None:
    """As :class:`Shown`; None without any."""
    return Shown(cls, pictures, lines, warnings, **more).as_dict() or None


def with_notes(shown: dict | None, notes: Sequence[str]) -> dict | None:
    """What a node shows, with sentences before its text and its warnings; those that are there already are left out."""
    shown = shown or {}
    (own,) = shown.get(KEY) or [{}]
    warnings, text = list(own.get("warnings", ())), "\n".join(shown.get("text", ()))
    notes = [note for note in notes if note not in text and note not in warnings]
    if not notes:
        return shown or None
    return {
        **shown,
        "text": ("\n".join(filter(None, [*notes, text])),),
        KEY: [{**own, "warnings": [*notes, *warnings]}],
    }


class _Merged(ui.PreviewText):
    def __init__(self, shown: dict) -> None:
        self._shown = shown

    def as_dict(self) -> dict:
        return self._shown


def warned(execute: Callable[..., io.NodeOutput], but: Collection[str] = ()) -> Callable[..., io.NodeOutput]:
    """For a node's ``execute``: what is logged as a warning meanwhile, but of the kinds ``but``, is shown below the
    node, or as a message where it has no room for that (``js/panel.js``)."""

    @functools.wraps(execute)
    def executed(*args: Any, **inputs: Any) -> io.NodeOutput:
        with heard(but) as said:
            output = execute(*args, **inputs)
        if said:
            drawn = hasattr(output.ui, "as_dict")
            shown = with_notes(output.ui.as_dict() if drawn else output.ui, said)
            output.ui = _Merged(shown or {}) if drawn else shown
        return output

    return executed
