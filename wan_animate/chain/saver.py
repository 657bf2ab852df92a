"""Saves finished segments and writes the clip's mp4 in threads, while the next segment is made."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..buffers import give_back
from ..errors import Cancelled
from ..record.frame_hashes import FrameHashes
from ..video.frames import FrameSource, TensorSource, as_uint8
from ..workers import lower_priority, submit
from .seams import FrameDifferences
from .segments import Segment
from .store import SegmentStore

if TYPE_CHECKING:
    from ..record.clip_record import ClipRecord

READ_AT_ONCE = 8
POLL = 0.1  # seconds between two calls of ``waiting``


class GrowingVideo:
    """An mp4 that a thread writes (:func:`..video.write.write_parts`) as its frames come.

    Args:
        path: appears when the mp4 is whole.
        size: width and height.
        count: frames in all.
        audio, audio_start: as for :func:`..video.write.write_parts`.
        record: kept in the mp4, with the hashes of its frames.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        count: int,
        fps: Fraction,
        audio: dict | None = None,
        audio_start: float = 0.0,
        record: ClipRecord | None = None,
    ) -> None:
        self._path, self._size, self._count, self._fps = path, size, count, fps
        self._audio, self._audio_start = audio, audio_start
        self._record, self._hashes = record, FrameHashes()
        self._pieces: queue.SimpleQueue[Callable[[], FrameSource] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="video", daemon=True)
        self._thread.start()

    def add(self, piece: Callable[[], FrameSource]) -> None:
        """Append frames; ``piece`` is called for them when they are written."""
        self._pieces.put(piece)

    @property
    def behind(self) -> bool:
        """Whether frames wait to be written."""
        return not self._pieces.empty()

    def check(self) -> None:
        """Raises the error that ended the writing, if any."""
        if self._error is not None:
            raise self._error

    def finish(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait for the file; ``waiting`` is called meanwhile and may raise to stop."""
        while self._thread.is_alive():
            self._thread.join(POLL)
            waiting()
        self.check()

    def close(self) -> None:
        """Stop writing; a file that is not whole is removed."""
        self._stopped.set()
        self._pieces.put(None)
        self._thread.join()

    def _work(self) -> None:
        from ..video.write import write_parts

        try:
            lower_priority()  # inherited by the encoder's threads
            record = self._record
            write_parts(
                self._path, self._parts(), self._size, self._count, self._fps, self._audio,
                metadata=None if record is None else record.tags(),
                final=None if record is None else lambda: record.tags(self._hashes),
                audio_start=self._audio_start,
            )  # fmt: skip
        except BaseException as error:
            self._error = error

    def _parts(self) -> Iterator[Iterator[np.ndarray]]:
        left = self._count
        while left:
            piece = self._pieces.get()
            if piece is None or self._stopped.is_set():
                raise Cancelled
            source = piece()
            del piece
            left -= len(source)
            yield self._chunks(source)
            source.close()
            del source

    def _chunks(self, source: FrameSource) -> Iterator[np.ndarray]:
        hashed = None  # of the chunk before, while it is encoded
        for _, _, frames in source.batches(READ_AT_ONCE):
            if self._stopped.is_set():
                raise Cancelled
            pixels = as_uint8(frames)
            if self._record is not None:
                if hashed is not None:
                    hashed.result()
                hashed = submit(self._hashes.add, pixels)
            yield pixels
        if hashed is not None:
            hashed.result()
        self._hashes.end_segment()


class SegmentSaver:
    """Saves a segment while the next is made, and appends its frames to the mp4, if any.

    Args:
        differences: gets the frames as they are saved.
    """

    def __init__(
        self,
        store: SegmentStore,
        fps: Fraction,
        video: GrowingVideo | None = None,
        differences: FrameDifferences | None = None,
    ) -> None:
        self._store, self._fps, self._video, self._differences = store, fps, video, differences
        self._thread = ThreadPoolExecutor(1, "saver", initializer=lower_priority)
        # Starts the thread: one that Ctrl-C finds while it starts is not known to its executor, and not waited for.
        with suppress(RuntimeError):  # no thread to be had: told by the first save, which leaves nothing open
            self._thread.submit(lambda: None)
        self._saving: Future | None = None
        self._converted = threading.Event()
        self._converted.set()

    def resume(self, finished: Iterable[Segment], waiting: Callable[[], None] = lambda: None) -> None:
        """Append the segments of the store to the mp4, after those that were saved."""
        self._wait(waiting)
        for segment in finished:
            self._add_stored(segment)

    def save(
        self,
        segment: Segment,
        frames: torch.Tensor,
        tail: torch.Tensor | None,
        waiting: Callable[[], None] = lambda: None,
        state: dict[str, torch.Tensor] | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        """Start to save a segment; returns when the one before is on disk.

        Args:
            frames: float ``[keep, H, W, 3]`` in 0..1; not to be changed any more.
            tail, state, record: as for :meth:`.store.SegmentStore.save`.
            waiting: called meanwhile; may raise to stop, then :meth:`close` waits until this segment is on disk too.

        Raises:
            InputError: a segment could not be written.
        """
        try:
            self._wait(waiting)
        except BaseException:
            self.keep(segment, frames, tail, state, record)
            raise
        self._begin(segment, frames, tail, state, record)

    def keep(
        self,
        segment: Segment,
        frames: torch.Tensor,
        tail: torch.Tensor | None,
        state: dict[str, torch.Tensor] | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        """:meth:`save` for a run that ends: :meth:`close` waits for it. Nothing where one before could not be
        written."""
        if self._saving is None or not self._saving.done() or self._saving.exception() is None:
            self._begin(segment, frames, tail, state, record)

    def wait_converted(self) -> None:
        """Wait until the frames that are being saved are uint8, and their floats, four times as large, are freed."""
        self._converted.wait()

    def check(self) -> None:
        """Raises the error of a thread, if any."""
        if self._saving is not None and self._saving.done():
            self._saving.result()
        if self._video is not None:
            self._video.check()

    def wait_saved(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until the segments are on disk."""
        self._wait(waiting)

    def finish(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until segments and mp4 are on disk."""
        self._wait(waiting)
        if self._video is not None:
            self._video.finish(waiting)

    def close(self) -> None:
        """End the threads; a segment being written is finished, the mp4 is not."""
        if self._video is not None:
            self._video.close()
        self._thread.shutdown(wait=True)

    def __enter__(self) -> SegmentSaver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, segment: Segment, frames: torch.Tensor, *more: Any) -> None:
        self._converted.clear()
        self._saving = self._thread.submit(self._save, segment, [frames], *more)

    def _wait(self, waiting: Callable[[], None]) -> None:
        while self._saving is not None and not wait([self._saving], POLL).done:
            waiting()
        self.check()

    def _save(
        self,
        segment: Segment,
        held: list[torch.Tensor],
        tail: torch.Tensor | None,
        state: dict[str, torch.Tensor] | None,
        record: dict[str, Any] | None,
    ) -> None:
        try:
            frames = as_uint8(held.pop().numpy())  # frees the float frames
        finally:
            self._converted.set()
        if self._differences is not None:
            self._differences.add(segment.first, frames)
        in_memory = self._video is not None and not self._video.behind
        if self._video is not None and in_memory:
            self._video.add(lambda: TensorSource(frames, self._fps))
        self._store.save(segment.index, frames, tail, self._fps, state, record)
        if not in_memory:
            self._add_stored(segment)
        give_back()

    def _add_stored(self, segment: Segment) -> None:
        if self._video is not None:
            self._video.add(lambda: self._store.clip([segment], self._fps))
