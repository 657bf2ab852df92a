"""VAE latents kept from job to job: with another seed, prompt or number of steps most are the same."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch

from .ports import VideoVAE

_MAPPED = 1 << 20
LIMIT = 256 << 20
"""Bytes, of files: about 30 segments of 77 frames at 832x480, 13 at 1280x720."""


class LatentCache:
    """Latents by key, in mapped temporary files, whose pages the system takes back where RAM is short; in RAM where no
    file can be made. The least recently used is dropped first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[str, tuple[torch.Tensor, torch.device]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """A copy of the latent under ``key`` on its device; else ``make()``, which is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                latent, device = self._kept[key]
                return latent.to(device, copy=True)
        latent = make()
        kept = _mapped(latent.detach()) if latent.nbytes <= self.limit else None
        with self._lock:
            if kept is not None and key not in self._kept:
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


def _mapped(latent: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU in a mapped file that is gone with it."""
    plain = latent.to("cpu").contiguous()
    if plain.nbytes < _MAPPED:  # a file each would be too many
        return latent.to("cpu", copy=True)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, plain.nbytes)  # a page without a place on the disk is a SIGBUS
            pages = np.memmap(file, np.uint8, "r+", shape=(plain.nbytes,))
    except (OSError, ValueError):
        return latent.to("cpu", copy=True)
    kept = torch.from_numpy(pages).view(plain.dtype).view(plain.shape)
    return kept.copy_(plain)


class CachedVAE:
    """A :class:`.ports.VideoVAE` that keeps what it encoded.

    Args:
        cache: None keeps nothing.
        variant: a prefix of every key, for VAEs that share a cache (weights, dtype, device).
        beside: whether it may encode in another thread while the denoiser samples, as one with a card of its own.
    """

    def __init__(
        self, vae: VideoVAE, cache: LatentCache | None = None, variant: str = "", beside: bool = False
    ) -> None:
        self.vae, self.cache, self.variant, self.beside = vae, cache, variant, beside

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        return self.vae.encode(frames, still)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(latent)

    def encode_once(self, key: str | None, read: Callable[[], torch.Tensor], still: int = 0) -> torch.Tensor:
        """:meth:`encode` of ``read()``, which is not called for a latent that is kept.

        Args:
            key: equal for equal frames and ``still``; None for frames that come once.
        """
        if self.cache is None or key is None:
            return self.encode(read(), still)
        return self.cache.get(self.variant + key, lambda: self.encode(read(), still))

    def __contains__(self, key: str | None) -> bool:
        """Whether the latent of this key is kept."""
        return self.cache is not None and key is not None and self.variant + key in self.cache


def with_still(frames: torch.Tensor, still: int) -> torch.Tensor:
    """Frames ``[n, H, W, C]`` with the last one repeated ``still`` times."""
    return torch.cat((frames, frames[-1:].expand(still, *frames.shape[1:]))) if still else frames


def picture_key(picture: torch.Tensor) -> str:
    """A cache key of a picture's (or a few frames') pixel values."""
    digest = hashlib.blake2b(picture.detach().float().cpu().contiguous().numpy().data, digest_size=16)
    return f"picture:{tuple(picture.shape)}:{digest.hexdigest()}"
