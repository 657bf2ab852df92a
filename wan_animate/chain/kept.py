"""Frames that take long to make, kept in a lossless file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..video.derived import DerivedSource
from ..video.frames import FrameSource, as_uint8
from .segment_files import LosslessSource, write_lossless


class KeptSource(DerivedSource):
    """A source's frames as 8 bits, read from a file that :func:`keep` wrote; the source itself is not read."""

    def __init__(self, source: FrameSource, file: Path) -> None:
        self._kept = LosslessSource([(file, 0, None)], source.fps)
        super().__init__(source)
        self.kind, self.picture, self.native_size = source.kind, source.picture, source.native_size
        self.start_seconds, self.tags = source.start_seconds, source.tags

    @property
    def by_network(self) -> bool:
        return False

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self._kept.read(start, stop)

    def fingerprint(self) -> str:
        return f"kept:{self.source.fingerprint()}"

    def close(self) -> None:
        super().close()
        self._kept.close()


def keep(source: FrameSource, file: Path, progress: Callable[[int, int], None] | None = None) -> KeptSource:
    """Writes the frames, unless the file is there.

    Args:
        file: its name stands for the source's fingerprint.
        progress: called with (frames written, total); may raise to stop.

    Raises:
        InputError: it cannot be written.
    """
    if not file.exists():

        def images() -> Iterator[np.ndarray]:
            for _, stop, frames in source.batches(source.chunk):
                yield from as_uint8(frames)
                if progress is not None:
                    progress(stop, len(source))

        write_lossless(file, images(), source.fps)
        source.close()
    return KeptSource(source, file)
