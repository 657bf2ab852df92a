"""Finished segments to disk and into the clip's mp4, in the background, while the next segment is made."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fractions import Fraction

import numpy as np
import torch

from ..errors import Cancelled
from ..video.frames import FrameSource, TensorSource, as_uint8
from ..workers import lower_priority
from .segments import Segment
from .store import SegmentStore

READ_AT_ONCE = 8
POLL = 0.1  # seconds between two looks at Cancel while something is waited for


class GrowingVideo:
    """An mp4 that is written in a thread of its own (:func:`..video.write.write_frames`) as its frames come.

    Args:
        path: the mp4; it appears when the last frame is in it, and never when this is closed before.
        size: ``(width, height)``.
        count: frames that will come.
        fps: frames a second.
        audio: as for :func:`..video.write.write_video`.
    """

    def __init__(
        self, path: str | os.PathLike, size: tuple[int, int], count: int, fps: Fraction, audio: dict | None = None
    ):
        self._path, self._size, self._count, self._fps, self._audio = path, size, count, fps, audio
        self._pieces: queue.SimpleQueue[Callable[[], FrameSource] | None] = queue.SimpleQueue()
        self._stopped, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._work, name="video", daemon=True)
        self._thread.start()

    def add(self, piece: Callable[[], FrameSource]) -> None:
        """The next frames, opened by calling ``piece`` when their turn comes. Returns at once."""
        self._pieces.put(piece)

    @property
    def behind(self) -> bool:
        """Whether frames are waiting; what is added then should not be held in memory."""
        return not self._pieces.empty()

    def check(self) -> None:
        """Raises what ended the writing, if anything did."""
        if self._error is not None:
            raise self._error

    def finish(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until the file is there; ``waiting`` is called meanwhile and may raise to stop."""
        while self._thread.is_alive():
            self._thread.join(POLL)
            waiting()
        self.check()

    def close(self) -> None:
        """Stop where it stands: unless the file is whole, nothing of it stays."""
        self._stopped.set()
        self._pieces.put(None)
        self._thread.join()

    def _work(self) -> None:
        from ..video.write import write_frames

        lower_priority()  # the encoder's own threads take it over
        try:
            write_frames(self._path, self._chunks(), self._size, self._count, self._fps, self._audio)
        except BaseException as error:
            self._error = error

    def _chunks(self) -> Iterator[np.ndarray]:
        left = self._count
        while left:
            piece = self._pieces.get()
            if piece is None or self._stopped.is_set():
                raise Cancelled
            source = piece()
            del piece
            for _, _, frames in source.batches(READ_AT_ONCE):
                if self._stopped.is_set():
                    raise Cancelled
                yield as_uint8(frames)
            left -= len(source)
            source.close()
            del source


class SegmentSaver:
    """Keeps finished segments, each while the next one is made, and hands their frames to the clip's mp4.

    Args:
        store: where they go.
        fps: frames a second.
        video: the clip, or None.
    """

    def __init__(self, store: SegmentStore, fps: Fraction, video: GrowingVideo | None = None):
        self._store, self._fps, self._video = store, fps, video
        self._thread = ThreadPoolExecutor(1, "saver", initializer=lower_priority)
        self._saving: Future | None = None

    def resume(self, finished: list[Segment]) -> None:
        """The segments that are in the store already go into the clip."""
        if self._video is not None:
            for segment in finished:
                self._add_stored(segment)

    def save(
        self,
        segment: Segment,
        frames: torch.Tensor,
        tail: torch.Tensor | None,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep a segment. Returns as soon as the one before it is on disk.

        Args:
            segment: which.
            frames: its new frames, float ``[keep, H, W, 3]`` in 0..1; nobody else may write into them any more.
            tail: the frames that guide the next, as :meth:`.store.SegmentStore.save` takes them.
            waiting: called while this waits; may raise to stop.

        Raises:
            InputError: one before could not be written.
        """
        self._wait(waiting)
        self._saving = self._thread.submit(self._save, segment, [frames], tail)

    def check(self) -> None:
        """Raises what went wrong in the background, if anything did."""
        if self._saving is not None and self._saving.done():
            self._saving.result()
        if self._video is not None:
            self._video.check()

    def finish(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until all is on disk, the clip included."""
        self._wait(waiting)
        if self._video is not None:
            self._video.finish(waiting)

    def close(self) -> None:
        """End the threads. A segment that is being written is written to its end, the clip is not."""
        if self._video is not None:
            self._video.close()
        self._thread.shutdown(wait=True)

    def __enter__(self) -> SegmentSaver:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _wait(self, waiting: Callable[[], None]) -> None:
        while self._saving is not None and not wait([self._saving], POLL).done:
            waiting()
        self.check()

    def _save(self, segment: Segment, held: list[torch.Tensor], tail: torch.Tensor | None) -> None:
        frames = to_uint8(held.pop())  # the float frames are gone from here on
        in_memory = self._video is not None and not self._video.behind
        if in_memory:
            self._video.add(lambda: TensorSource(frames, self._fps))
        self._store.save(segment.index, frames, tail, self._fps)
        if self._video is not None and not in_memory:
            self._add_stored(segment)

    def _add_stored(self, segment: Segment) -> None:
        self._video.add(lambda: self._store.clip([segment], self._fps))


def to_uint8(frames: torch.Tensor) -> np.ndarray:
    """Float frames in 0..1 to uint8, rounded to nearest, a few at a time so that no second float copy is made."""
    out = np.empty(tuple(frames.shape), np.uint8)
    for start in range(0, len(frames), 8):
        out[start : start + 8] = frames[start : start + 8].mul(255.0).add_(0.5).clamp_(0, 255).to(torch.uint8).numpy()
    return out
