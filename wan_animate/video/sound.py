"""The audio track of a video that is being written."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_BITS_A_CHANNEL = 96_000


class SoundTrack:
    """Written as the pictures are, so that neither is buffered.

    Args:
        samples: float32 ``[C, N]`` in -1..1, mono or stereo.
        rate: samples a second; AAC has fixed ones, and others become 48000.
        codec: FFmpeg's name.
    """

    def __init__(self, container: OutputContainer, samples: np.ndarray, rate: int, codec: str = "aac") -> None:
        self._container, self._samples, self._rate, self._at = container, samples, rate, 0
        coded = rate if codec != "aac" or rate in _AAC_RATES else 48000
        layout = "mono" if samples.shape[0] == 1 else "stereo"
        self._stream = cast(av.AudioStream, container.add_stream(codec, rate=coded, layout=layout))
        if codec == "aac":
            self._stream.bit_rate = _BITS_A_CHANNEL * samples.shape[0]

    def write_to(self, seconds: float) -> None:
        """All before this time."""
        stop = min(round(seconds * self._rate), self._samples.shape[1])
        while self._at < stop:
            part = self._samples[:, self._at : min(self._at + 4096, stop)]
            part = np.ascontiguousarray(part)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self._stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
            self._container.mux(self._stream.encode(frame))
            self._at += part.shape[1]

    def finish(self) -> None:
        self.write_to(float("1e9"))
        self._container.mux(self._stream.encode(None))
