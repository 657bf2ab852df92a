"""The motion encoder's blur of 4 by 4 taps: Triton on CUDA, else a depthwise convolution."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F

from ..log import get_logger
from . import compile_ahead, triton_modules

KERNELS = "the faces' blur"
TAPS = (4, 4)

log = get_logger(__name__)


_failed: list[str] = []  # why it could not be built or run here


def _kernels() -> ModuleType | None:
    return triton_modules.load("triton_blur", "faces are blurred by PyTorch's convolution.")


def prepare(device: torch.device, dtype: torch.dtype) -> None:
    """Starts compiling the kernel."""
    triton = _kernels() if device.type == "cuda" else None
    if triton is not None and dtype in triton.KINDS:
        compile_ahead.start(KERNELS, device, triton.compilations(dtype))


def blur(maps: torch.Tensor, taps: torch.Tensor, pad: tuple[int, int]) -> torch.Tensor:
    """Each channel by itself, as a cross-correlation; accumulated in float32.

    Args:
        maps: [batch, channels, H, W].
        taps: [h, w]; the kernel takes 4 by 4.
        pad: zeros before and after, on both axes.

    Returns:
        [batch, channels, H + sum(pad) - h + 1, W + sum(pad) - w + 1]
    """
    differentiated = torch.is_grad_enabled() and maps.requires_grad
    if maps.is_cuda and not (_failed or differentiated) and taps.shape == TAPS and not torch.compiler.is_compiling():
        triton = _kernels()
        if triton is not None and maps.dtype in triton.KINDS:
            compile_ahead.finish(KERNELS)
            try:
                return triton.blur(maps, taps.to(maps.device, torch.float32), *pad)
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:
                _failed.append(str(error))
                log.warning("the kernel for the faces' blur does not work here, PyTorch's own is used: %s", error)
    before, after = pad
    channels = maps.shape[1]
    weights = taps.to(maps)[None, None].expand(channels, 1, -1, -1)
    # NCHW as ComfyUI's blur returns: the memory layout decides how the next convolution rounds.
    return F.conv2d(F.pad(maps, (before, after, before, after)).contiguous(), weights, groups=channels).contiguous()
