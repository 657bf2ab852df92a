"""Control frames, read while the segment before is sampled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ..errors import Cancelled
from ..video.frames import FrameSource, reading_once
from .control_sources import POSE
from .segments import Segment


class ControlReader:
    """Reads the controls in a thread, one segment ahead, always forwards; frames that two segments share are kept.

    The sources are not thread-safe: close this before they are read elsewhere.

    Args:
        sources: by name, of one length.
        segments: in order.
        needed: names of the sources that a segment needs; None: all.
    """

    def __init__(
        self,
        sources: dict[str, FrameSource],
        segments: Iterable[Segment],
        needed: Callable[[Segment], Iterable[str]] | None = None,
    ) -> None:
        self._sources, self._segments = sources, list(segments)
        self._needed = needed or (lambda segment: sources)
        # as derived sources read, so that frames which several of them are made of are decoded once
        self._at_once = min(source.chunk for source in sources.values())
        self._stopped = threading.Event()
        self._kept: dict[tuple[str, int], np.ndarray] = {}  # only the reading thread's
        self._now: dict[str, Future] = {}
        self._ahead: dict[str, Future] = {}
        self._submitted = False
        self._thread = ThreadPoolExecutor(1, "controls")
        self._next = 0
        self.read_on()

    def begin(self, segment: Segment) -> None:
        """Go to the next segment, whose frames are then taken."""
        if not self._submitted:
            self.read_on()
        self._segment, self._now = segment, self._ahead
        self._ahead, self._submitted = {}, False

    def read_on(self) -> None:
        """Start to read the segment after this one; when this one's frames were taken, so that they are not all in
        memory at a time."""
        self._ahead, self._submitted = {}, True
        self._submit()

    def ahead(self, name: str) -> tuple[Segment, Future] | None:
        """The segment that :meth:`read_on` began, and what will hold the control's frames until they are taken."""
        found = self._ahead.get(name)
        return None if found is None else (self._segments[self._next - 1], found)

    def take(self, name: str) -> np.ndarray:
        """A control's frames in the current segment, ``[L, H, W, 3]`` or ``[L, H, W]``; once each.

        Raises:
            InputError: they cannot be read.
        """
        if name not in self._now:  # its latent was cached and is not any more
            return self._segment.read(self._sources[name])
        return self._now.pop(name).result().pop(name)

    def close(self) -> None:
        """End the thread, within a few frames, and drop what was not taken."""
        self._stopped.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._now, self._ahead = {}, {}
        self._kept.clear()

    def __enter__(self) -> ControlReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self) -> None:
        if self._next == len(self._segments):
            return
        segment = self._segments[self._next]
        self._next += 1
        following = self._segments[self._next] if self._next < len(self._segments) else None
        names = [name for name in self._sources if name in set(self._needed(segment))]
        # The pose is encoded first and made of no other video: it need not wait for the rest.
        for group in ([POSE], [name for name in names if name != POSE]):
            group = [name for name in group if name in names]
            if group:
                done = self._thread.submit(self._read, group, segment, following)
                self._ahead |= dict.fromkeys(group, done)

    def _read(self, names: list[str], segment: Segment, following: Segment | None) -> dict[str, np.ndarray]:
        length = len(self._sources[names[0]])
        places: dict[int, list[int]] = {}  # frame of the clip -> where it is in the segment
        for place, frame in enumerate(segment.driving_frames(length)):
            places.setdefault(frame, []).append(place)
        out: dict[str, np.ndarray] = {}

        def put(name: str, frame: int, pixels: np.ndarray) -> None:
            if name not in out:
                out[name] = np.empty((segment.length, *pixels.shape), pixels.dtype)
            for place in places[frame]:
                out[name][place] = pixels

        missing: dict[int, list[str]] = {}
        for name in names:
            for frame in places:
                kept = self._kept.pop((name, frame), None)
                if kept is None:
                    missing.setdefault(frame, []).append(name)
                else:
                    put(name, frame, kept)
        for start, stop in _runs(missing, self._at_once):
            if self._stopped.is_set():
                raise Cancelled
            with reading_once():
                for name in missing[start]:
                    for frame, pixels in enumerate(self._sources[name].read(start, stop), start):
                        put(name, frame, pixels)
        self._kept = {key: frame for key, frame in self._kept.items() if key[0] not in names}
        if following is not None:
            again = set(following.driving_frames(length)) & set(places)
            self._kept |= {(name, frame): out[name][places[frame][0]].copy() for name in names for frame in again}
        return out


def _runs(missing: dict[int, list[str]], at_once: int) -> Iterable[tuple[int, int]]:
    """Ranges without gaps, up to ``at_once`` long, missing in the same sources."""
    frames = sorted(missing)
    start = 0
    for at in range(1, len(frames) + 1):
        if (
            at == len(frames)
            or at - start == at_once
            or frames[at] != frames[at - 1] + 1
            or missing[frames[at]] != missing[frames[start]]
        ):
            yield frames[start], frames[at - 1] + 1
            start = at
