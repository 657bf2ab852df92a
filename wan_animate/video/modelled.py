"""Frames that a network makes of others when they are read: between them, or larger."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

import numpy as np
import torch

from ..errors import InputError
from .derived import DerivedSource
from .frames import FrameSource, read_float
from .resample import as_rate

_FASTEST = 1000


class Interpolator(Protocol):
    """A network that makes frames between two."""

    def fingerprint(self) -> str:
        """Equal for equal weights."""

    def between(self, first: torch.Tensor, second: torch.Tensor, number: int, times: list[float]) -> torch.Tensor:
        """Frames between two, float32 ``[n, H, W, 3]`` in 0..1.

        Args:
            first, second: float32 ``[H, W, 3]`` in 0..1.
            number: of ``first`` in its clip: what is known of ``second`` serves for the next pair.
            times: 0..1 between the two, without both.
        """

    def close(self) -> None:
        """Frees what is kept for the next pair."""


class Upscaler(Protocol):
    """A network that makes frames larger, each by itself."""

    @property
    def scale(self) -> float: ...

    def fingerprint(self) -> str:
        """Equal for equal weights."""

    def upscale(self, frames: torch.Tensor) -> torch.Tensor:
        """float32 ``[n, H, W, 3]`` to ``[n, scale H, scale W, 3]``, in 0..1."""

    def close(self) -> None: ...


class ModelledSource(DerivedSource):
    """Base: float32 frames, read in order and in the thread that runs networks."""

    def __init__(self, source: FrameSource, model: Interpolator | Upscaler) -> None:
        super().__init__(source)
        self.kind, self._network = "image", model
        self.native_size, self.start_seconds = source.native_size, source.start_seconds

    @property
    def by_network(self) -> bool:
        return True

    @property
    def chunk(self) -> int:
        return max(super().chunk // 4, 1)  # a float takes four bytes

    def close(self) -> None:
        super().close()
        self._network.close()


class InterpolatedSource(ModelledSource):
    """A clip at another rate: frames of the source where their times meet, and a network's between them.

    At a whole multiple the frames are those of ComfyUI's Run Frame Interpolation Model: the source's last frame is the
    last. No frame is made over ``cuts``: there the nearer one stays.

    Args:
        source: images, two frames or more.
        fps: frames a second, at least the source's.
        cuts: numbers of the frames that begin a shot.

    Raises:
        InputError: masks, a single frame, or a rate that is too low or high.
    """

    def __init__(
        self, source: FrameSource, model: Interpolator, fps: Fraction | float, cuts: tuple[int, ...] = ()
    ) -> None:
        super().__init__(source, model)
        rate = as_rate(fps)
        if source.kind != "image":
            raise InputError("frames are made between images, and this is a mask: connect a video or an IMAGE.")
        if len(source) < 2:
            raise InputError("frames are made between two, and there is one: connect a clip of two frames or more.")
        if not source.fps <= rate <= _FASTEST:
            raise InputError(
                f"the clip has {float(source.fps):g} frames a second and {float(rate):g} are asked for: ask for more, "
                f"up to {_FASTEST}, or set a lower rate in Load Driving Video."
            )
        self.fps, self.picture = rate, source.picture
        self._step = source.fps / rate  # frames of the source for each of this
        if source.part_of is not None:
            self.part_of = round(source.part_of[0] / self._step), round(source.part_of[1] / self._step)
        self._model, self._cuts = model, frozenset(cuts)
        self._made: tuple[int, dict[Fraction, np.ndarray]] = (-1, {})

    def __len__(self) -> int:
        return int((len(self.source) - 1) / self._step) + 1

    def place(self, number: int) -> tuple[int, Fraction]:
        """(frame of the source, time 0..1 from it to the next) of a frame."""
        at = number * self._step
        return int(at), at - int(at)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width, 3), np.float32)
        kept = _Kept(self.source)
        for at, number in enumerate(range(start, stop)):
            first, time = self.place(number)
            if time and first + 1 not in self._cuts:
                out[at] = self._between(first, kept)[time]
            else:
                out[at] = kept.read(first + (time >= Fraction(1, 2)))
        return out

    def _between(self, first: int, kept: _Kept) -> dict[Fraction, np.ndarray]:
        """All frames between two, by their times: the batch, and so the bits, do not depend on how they are read."""
        if self._made[0] != first:
            low = int(first / self._step)
            places = [self.place(number) for number in range(low, int((first + 1) / self._step) + 1)]
            times = [time for pair, time in places if pair == first and time]
            made = self._model.between(kept.read(first), kept.read(first + 1), first, [float(time) for time in times])
            self._made = first, dict(zip(times, made.numpy()))
        return self._made[1]

    def fingerprint(self) -> str:
        cuts = ",".join(map(str, sorted(self._cuts)))
        return f"interpolated:{self.fps}:{cuts}:{self._model.fingerprint()}:{self.source.fingerprint()}"


class _Kept:
    """The last two frames that were read of a source, float32 0..1."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._frames: dict[int, torch.Tensor] = {}

    def read(self, number: int) -> torch.Tensor:
        if number not in self._frames:
            if len(self._frames) > 1:
                del self._frames[min(self._frames)]
            self._frames[number] = read_float(self._source, number, number + 1)[0]
        return self._frames[number]


class UpscaledSource(ModelledSource):
    """A clip at ``model.scale`` times its size, a frame at a time.

    Raises:
        InputError: masks.
    """

    def __init__(self, source: FrameSource, model: Upscaler) -> None:
        super().__init__(source, model)
        if source.kind != "image":
            raise InputError("an upscaling model takes images, and this is a mask: connect a video or an IMAGE.")
        self._model = model
        self.width, self.height = round(source.width * model.scale), round(source.height * model.scale)
        if source.picture is not None:
            left, top, width, height = (side * model.scale for side in source.picture)
            self.picture = left, top, width, height

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width, 3), np.float32)
        for at, number in enumerate(range(start, stop)):
            out[at] = self._model.upscale(read_float(self.source, number, number + 1))[0].numpy()
        return out

    def fingerprint(self) -> str:
        return f"upscaled:{self._model.fingerprint()}:{self.source.fingerprint()}"


def upright_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height), even, in this shape with this short side: 832x480 at 1080 is 1872x1080."""
    scale = short_side / min(width, height)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2
