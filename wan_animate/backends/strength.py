"""What pose and face add in diffusers' transformer, scaled or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..swapped import swapped

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel


@contextmanager
def scaled(transformer: WanAnimateTransformer3DModel, pose: float, face: float) -> Iterator[None]:
    """Multiplies the pose embedding and the face blocks' outputs in the ``with``.

    At 0 the part is not computed, of the face its encoders neither; the transformer still wants a face video, of which
    one frame is enough.
    """
    with ExitStack() as stack:

        def swap(module: torch.nn.Module, forward: Callable) -> None:
            stack.enter_context(swapped(module, "forward", forward))

        for factor, modules in ((pose, [transformer.pose_patch_embedding]), (face, transformer.face_adapter)):
            for module in modules:
                if factor != 1:
                    swap(module, _times(factor, module.forward) if factor else _zero)
        if face == 0:
            swap(transformer.motion_encoder, lambda crops: crops.new_zeros(len(crops), 1))
            swap(transformer.face_encoder, lambda motion: motion)
        yield


def strengths_of(transformer: Any, pose: float, face: float) -> AbstractContextManager[None]:
    """:func:`scaled`, or a transformer's own."""
    return transformer.scaled(pose, face) if hasattr(transformer, "scaled") else scaled(transformer, pose, face)


def _times(factor: float, forward: Callable) -> Callable:
    return lambda *args, **kwargs: forward(*args, **kwargs) * factor


def _zero(given: torch.Tensor, *_: Any) -> torch.Tensor:
    return given.new_zeros(())
