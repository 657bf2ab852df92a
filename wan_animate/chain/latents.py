"""Latents that are kept for the next job: no frames go through the VAE twice while their latent is remembered.

Within one job only the reference is in every segment. But whoever starts the job again with another seed, prompt or
number of steps has the same reference, the same pose in every segment and the same first scene (grey, or the
background): three of four latents of a two-segment job.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import torch

LIMIT = 256 << 20
"""Bytes that a memo keeps: about 30 segments of 77 frames at 832x480, 13 at 1280x720."""


class LatentMemo:
    """Latents of one VAE by what they were made from, in RAM; the one asked for longest ago goes first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[str, tuple[torch.Tensor, torch.device]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The latent kept under ``key``, bit for bit, on the device that it was made on; else ``make()``, now kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                latent, device = self._kept[key]
                return latent.to(device, copy=True)
        latent = make()
        kept = latent.detach().to("cpu", copy=True)
        with self._lock:
            if kept.nbytes <= self.limit and key not in self._kept:
                self._kept[key] = kept, latent.device
                self.bytes += kept.nbytes
            while self.bytes > self.limit:
                self.bytes -= self._kept.popitem(last=False)[1][0].nbytes
        return latent

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)


def with_still(frames: torch.Tensor, still: int) -> torch.Tensor:
    """Frames ``[n, H, W, C]`` with the last one shown ``still`` times more."""
    return torch.cat((frames, frames[-1:].expand(still, *frames.shape[1:]))) if still else frames


def encode_once(vae, name: str | None, read: Callable[[], torch.Tensor], still: int = 0) -> torch.Tensor:
    """The latent of the frames that ``read()`` gives (``[n, H, W, 3]``, uint8 or float in 0..1).

    Args:
        vae: a :class:`wan_animate.chain.ports.VideoVAE`; one without a memo encodes every time.
        still: as for :meth:`wan_animate.chain.ports.VideoVAE.encode`.
        name: equal for two calls exactly when their frames are; None for frames that never come again.
    """
    memo = getattr(vae, "memo", None)
    if memo is None or name is None:
        return vae.encode(read(), still)
    return memo.get(name, lambda: vae.encode(read(), still))


def picture_name(picture: torch.Tensor) -> str:
    """The name of a picture or a few frames, from their numbers."""
    digest = hashlib.blake2b(picture.detach().float().cpu().contiguous().numpy().data, digest_size=16)
    return f"picture:{tuple(picture.shape)}:{digest.hexdigest()}"
