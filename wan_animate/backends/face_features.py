"""A segment's face features, computed in its first step only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F

from ..kernels.blur import blur
from ..swapped import swapped

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel


class Faces(Protocol):
    """A face video whose features are computed once."""

    @property
    def video(self) -> torch.Tensor: ...

    def once(self) -> AbstractContextManager[None]: ...


def face_features(transformer: Any, video: torch.Tensor) -> Faces:
    """:class:`FaceFeatures`, or a transformer's own."""
    own = getattr(transformer, "face_features", None)
    return FaceFeatures(transformer, video) if own is None else own(video)


class FaceFeatures:
    """What motion and face encoder make of a face video, which diffusers' transformer computes in every pass.

    They depend on neither latent nor timestep, so the later steps get the first one's, bit for bit.

    Args:
        video: float ``[1, 3, frames, size, size]``, -1 to 1.
    """

    def __init__(self, transformer: WanAnimateTransformer3DModel, video: torch.Tensor) -> None:
        self._transformer, self._video = transformer, video
        self._features: torch.Tensor | None = None

    @property
    def video(self) -> torch.Tensor:
        """What the transformer is to be given: one frame once the features are there."""
        return self._video if self._features is None else self._video[:, :, :1]

    @contextmanager
    def once(self) -> Iterator[None]:
        """In the ``with`` the transformer computes the features, or gets those of the first time."""
        encoder, features = self._transformer.face_encoder, self._features
        encode = encoder.forward

        def keep(motion: torch.Tensor) -> torch.Tensor:
            self._features = encode(motion)
            return self._features

        with ExitStack() as stack:
            if features is None:
                stack.enter_context(swapped(encoder, "forward", keep))
                stack.enter_context(fast_blur(self._transformer.motion_encoder))
            else:
                no_motion = torch.zeros_like
                stack.enter_context(swapped(self._transformer.motion_encoder, "forward", lambda face: no_motion(face)))
                stack.enter_context(swapped(encoder, "forward", lambda _: features))
            yield


@contextmanager
def fast_blur(encoder: torch.nn.Module) -> Iterator[None]:
    """diffusers' motion encoder with the blur of :mod:`..kernels.blur`."""
    with ExitStack() as stack:
        for module in encoder.modules():
            if type(module).__name__ == "MotionConv2d" and getattr(module, "blur", False):
                if "forward" not in vars(module):  # hooks of others (offload) stay
                    stack.enter_context(swapped(module, "forward", partial(_blurred, module)))
        yield


def _blurred(conv: Any, x: torch.Tensor, channel_dim: int = 1) -> torch.Tensor:
    before, after = conv.blur_padding  # of rows and of columns, each on both sides
    if before != after:
        return type(conv).forward(conv, x, channel_dim)
    x = blur(x, conv.blur_kernel, (before, after)).to(conv.weight.dtype)
    x = F.conv2d(x, conv.weight * conv.scale, bias=conv.bias, stride=conv.stride, padding=conv.padding)
    return conv.act_fn(x, channel_dim=channel_dim) if conv.use_activation else x
