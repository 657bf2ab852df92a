"""The next segment's pose, encoded while this one is sampled, where the VAE has a card of its own.

It is all of the VAE's work that can go ahead: the scene begins with the frames that the segment before ends with, and
the decoder, which is causal, makes these last.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import torch

from .conditioning import latent_keys
from .control_reader import ControlReader
from .control_sources import POSE, Controls
from .latents import CachedVAE
from .segments import Segment


class PoseAhead:
    """Does nothing unless the VAE is :attr:`.latents.CachedVAE.beside`."""

    def __init__(self, reader: ControlReader, vae: CachedVAE, controls: Controls) -> None:
        self._reader, self._vae, self._controls = reader, vae, controls
        self._thread = ThreadPoolExecutor(1, "pose ahead") if vae.beside else None
        self._segment: Segment | None = None
        self._latent: Future | None = None
        self._given_up = threading.Event()  # of the last that was begun
        self._encoding = threading.Lock()

    def begin(self) -> None:
        """Start with the segment that the reader reads ahead; when the VAE has nothing else to do."""
        self._segment = self._latent = None
        found = self._reader.ahead(POSE)
        if self._thread is not None and found is not None:
            self._segment, frames = found
            self._given_up = threading.Event()
            self._latent = self._thread.submit(self._encode, self._segment, frames, self._given_up)

    def wait(self) -> None:
        """Until the VAE is free again; an error is raised by :meth:`take`. What has no frames yet is given up."""
        self._given_up.set()
        with self._encoding:
            pass

    def take(self, segment: Segment) -> torch.Tensor | None:
        """The latent of the segment's pose; None if it was not made."""
        latent, self._latent = self._latent, None
        return None if latent is None or segment is not self._segment else latent.result()

    def close(self) -> None:
        """End the thread; what it encodes is done first, what it would encode is not waited for."""
        self._given_up.set()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    @torch.no_grad()
    def _encode(self, segment: Segment, frames: Future, given_up: threading.Event) -> torch.Tensor | None:
        key = None if self._vae.cache is None else latent_keys(segment, self._controls)[0]
        while not wait([frames], 0.1).done:
            if given_up.is_set():
                return None
        with self._encoding:
            if given_up.is_set():
                return None
            pixels = frames.result()[POSE]
            return self._vae.encode_once(key, lambda: torch.from_numpy(np.ascontiguousarray(pixels)))
