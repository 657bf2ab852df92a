"""What the editors of the browser look at: frames and keypoints of nodes that ran, and of videos to come.

Few are kept, the oldest given up first. Files are read again; pictures in memory stay the host's: when it gives them
up, they are gone here too.
"""

from __future__ import annotations

import math
import secrets
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .folders import annotated_path, file_stamp

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np

    from ...wan_animate.video.frames import FrameSource

MOST_VIEWS, MOST_FILES = 24, 2
OF_A_NODE = 3  # two graphs may have a node of the same number, and the host answers from its cache
SIDES = (64, 1536)  # of a picture that is sent
MOST_PIXELS = 1 << 25  # of a frame that is read
AT_ONCE = 256  # frames of keypoints that are sent
QUALITY = 85
UI = "wan_animate_kit_view"  # what onExecuted finds it under


class GoneError(LookupError):
    """The view, or its pictures, are not kept any more."""


@dataclass
class View:
    """Frames (``layers`` by name) and numbers by frame (``tracks`` by name, float32 ``[T, ...]``)."""

    count: int
    layers: dict[str, Any] = field(default_factory=dict)
    tracks: dict[str, np.ndarray] = field(default_factory=dict)

    def picture(self, layer: str, frame: int, side: int) -> bytes:
        """JPEG of a frame, its longer side at most ``side``; of a mask its outline and tint on the frame.

        Raises:
            GoneError: nothing is kept under that name.
            IndexError: outside the clip.
        """
        import cv2

        from ...wan_animate.mask.track import overlay
        from ...wan_animate.video.frames import read_uint8
        from ...wan_animate.video.opened import close_opened_later

        close_opened_later()
        source = self._source(layer)
        at = min(frame, len(source) - 1) if layer == "reference" else frame
        shown = read_uint8(source, at, at + 1)[0]
        if source.kind == "mask":
            shown = overlay(read_uint8(self._source("frame"), frame, frame + 1)[0], shown)
        height, width = shown.shape[:2]
        scale = min(max(SIDES[0], min(side, SIDES[1])) / max(height, width), 1.0)
        if scale < 1:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise GoneError(f"frame {frame} could not be made a JPEG")
        return data.tobytes()

    def numbers(self, track: str, start: int, stop: int) -> bytes:
        """Little-endian float32 of the frames ``start`` to ``stop``, at most :data:`AT_ONCE`."""
        if track not in self.tracks:
            raise GoneError(f"there is no {track} here")
        stop = min(stop, start + AT_ONCE, self.count)
        if not 0 <= start < stop:
            raise IndexError(f"frames {start} to {stop} of {self.count}")
        return self.tracks[track][start:stop].astype("<f4").tobytes()

    def _source(self, layer: str) -> FrameSource:
        from ...wan_animate.video.frames import FrameSource, TensorSource

        value = self.layers.get(layer)
        if isinstance(value, weakref.ref):
            value = value()
        if value is None:
            raise GoneError("the pictures are no longer in memory: run the node again")
        return value if isinstance(value, FrameSource) else TensorSource(value)


class Views:
    """The last views by id; a node's own older ones go first."""

    def __init__(self, most: int, of_a_key: int) -> None:
        self._most, self._of_a_key = most, of_a_key
        self._lock = threading.Lock()
        self._views: OrderedDict[str, tuple[str, View]] = OrderedDict()  # by id: node or file, view

    def add(self, key: str, view: View) -> str:
        """Its id."""
        name = secrets.token_hex(8)
        with self._lock:
            own = [one for one, (of, _) in self._views.items() if of == key]
            for old in own[: max(len(own) - self._of_a_key + 1, 0)]:
                del self._views[old]
            self._views[name] = (key, view)
            while len(self._views) > self._most:
                self._views.popitem(last=False)
        return name

    def known(self, key: str) -> tuple[str, View] | None:
        with self._lock:
            for name, (of, view) in self._views.items():
                if of == key:
                    self._views.move_to_end(name)
                    return name, view
        return None

    def get(self, name: str) -> View:
        """Raises GoneError."""
        with self._lock:
            if name not in self._views:
                raise GoneError("this run is no longer kept: run the node again")
            self._views.move_to_end(name)
            return self._views[name][1]


NODES, FILES = Views(MOST_VIEWS, OF_A_NODE), Views(MOST_FILES, 1)


def shown(
    cls: type[io.ComfyNode],
    fps: Fraction | float,
    size: tuple[int, int],
    count: int,
    layers: dict[str, Any],
    tracks: dict[str, np.ndarray] | None = None,
    more: dict[str, Any] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Keeps a view for the node's editor; what to add to the node's ``ui``.

    Args:
        layers: FRAMES, IMAGE or MASK by name, what a node was given; None is left out.
        tracks: float32 ``[count, ...]`` by name.
        more: told to the editor as well.
    """
    kept = {name: _kept(value) for name, value in layers.items() if value is not None}
    view = View(count, kept, dict(tracks or {}))
    name = NODES.add(str(getattr(cls.hidden, "unique_id", None) or secrets.token_hex(8)), view)
    return {UI: [described(name, view, fps, size) | (more or {})]}


def described(name: str, view: View, fps: Fraction | float, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "view": name,
        "frames": view.count,
        "fps": float(fps),
        "width": size[0],
        "height": size[1],
        "layers": sorted(view.layers),
        "tracks": {name: list(values.shape[1:]) for name, values in view.tracks.items()},
    }


def _kept(value: Any) -> Any:
    """A video file with a decoder of its own, packed masks and small arrays as they are, the host's tensors weakly."""
    import numpy as np

    from ...wan_animate.mask.track import MaskTrackSource
    from ...wan_animate.video.source import VideoSource

    if isinstance(value, VideoSource):
        return value.apart()
    return value if isinstance(value, (MaskTrackSource, np.ndarray)) else weakref.ref(value)


def file_view(
    file: str, fps: float = 30, width: int = 832, height: int = 480, start: int = 0, limit: int = 0, fit: str = "fill"
) -> dict[str, Any]:
    """The frames of *Load Driving Video* with these settings, before it ran.

    Raises:
        InputError: no such video in its folder, or a setting out of range.
    """
    from ...wan_animate.errors import InputError
    from ...wan_animate.video.source import VideoSource

    path = annotated_path(file)
    if path is None:
        raise InputError(f"there is no video {file[:80]!r} in the input folder: upload one or choose another.")
    if not 0 < width * height <= MOST_PIXELS or min(width, height) < 1 or not math.isfinite(fps):
        raise InputError(f"{width}x{height} at {fps} frames a second cannot be shown: choose a smaller size.")
    key = repr((path, file_stamp(path), fps, width, height, start, limit, fit))
    found = FILES.known(key)
    if found is None:
        source = VideoSource(path, fps=fps, max_area=width * height, start=start, limit=limit, fit=fit)
        view = View(len(source), {"frame": source})
        found = FILES.add(key, view), view
    name, view = found
    source = view.layers["frame"]
    return described(name, view, source.fps, (source.width, source.height))
