"""Face boxes without jitter: constant size within a shot, following the head."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

from ..errors import InputError
from ..flags import runs_of
from ..pose import rigid_fit, wholebody
from ..pose.repair import mistaken
from ..pose.track import PoseTrack
from ..time_series import fill_in, gaussian_mean

MIN_FACE_PIXELS = 8  # less shows nothing to the motion encoder
MISSING = ("blend", "hold", "blank")

MARGIN = 0.02  # of the box, around the face points
DEAD_BAND = 0.01  # of the box: smaller motion of the head does not move it
SETTLE, ZOOM = 0.04, 0.5  # seconds (sigma) over which the box's path and size are smoothed
SAME_SIZE = 0.22  # a head whose size stays within this ratio is shown at one size


def stabilize_boxes(
    points: np.ndarray, keypoints: np.ndarray, found: np.ndarray, scale: float, fps: float, blend: bool
) -> np.ndarray:
    """Boxes of one shot, float64 ``[T, 4]``, may leave the frame.

    Upstream's size and shape for the median face, larger where a face would not fit. The position comes from a rigid
    fit of all 68 points, so an opening mouth moves nothing; a dead band of a few percent stops jitter without lag.

    Args:
        points: float ``[T, 68, 2]`` in pixels.
        keypoints: ``[T, 133, 3]``; the shoulders lead the box where no face was found.
        found: bool ``[T]``, at least one True.
        scale: growth of the area.
        blend: interpolate frames without a face, else take the nearest box.
    """
    low, high = (_without_spikes(edge, found) for edge in (points.min(axis=1), points.max(axis=1)))
    extent = high - low
    typical = np.median(extent[found], axis=0)
    grown = typical * np.sqrt(scale)
    # As upstream, three quarters of the added height lie above the face.
    above = (grown[1] - typical[1]) * 0.25
    fit = rigid_fit.rigid_fit(
        points[..., 0] + 1j * points[..., 1], np.repeat(found[:, None], 68, axis=1).astype(float), True
    )
    size = np.log(np.maximum(np.abs(fit.turn), 1e-3))
    size = gaussian_mean(_bridge(size[:, None], found, False), 3.0)[:, 0]
    size = size - np.median(size[found])
    need = np.where(found, np.log((np.maximum(extent, 1e-3) / (grown * (1 - 2 * MARGIN))).max(axis=1)), -np.inf)
    factor = np.exp(_one_size(size, need, found, ZOOM * fps))
    box = grown * factor[:, None]

    middle = (low + high) / 2 - np.array([0, above])
    centre = np.stack([fit.centre.real, fit.centre.imag], axis=1)
    # The offset from the head's centre to the box's changes slowly, as the head turns.
    offset = _average(_bridge(middle - centre, found, False), fps)
    centre = _follow_body(centre, keypoints, found, blend)
    target = centre + offset
    path = np.stack([_dead_band(target[:, axis], DEAD_BAND * box[:, axis]) for axis in (0, 1)], axis=1)
    path = _average(path, SETTLE * fps)
    inner = box * (0.5 - MARGIN)
    held = np.clip(path, np.minimum(high - inner, low + inner), np.maximum(high - inner, low + inner))
    path = np.where(found[:, None], held, path)
    return np.concatenate([path - box / 2, path + box / 2], axis=1)


def _without_spikes(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Median of three frames where all are known."""
    out = values.copy()
    three = found[:-2] & found[1:-1] & found[2:]
    out[1:-1] = np.where(three[:, None], median_filter(values, size=(3, 1))[1:-1], out[1:-1])
    return out


def _one_size(size: np.ndarray, need: np.ndarray, found: np.ndarray, spread: float) -> np.ndarray:
    """Log of the relative size: constant if the head keeps its size, else a slow zoom."""
    if np.ptp(size[found]) <= np.log(1 + SAME_SIZE) or found.sum() < 3:
        return np.full(len(size), max(0.0, float(need.max())))
    slow = _average(size[:, None], spread)[:, 0]
    return slow + max(0.0, float((need - slow)[found].max()))


def _average(values: np.ndarray, spread: float) -> np.ndarray:
    """Gaussian mean of ``[T, n]``; odd reflection at the ends keeps trends."""
    spread = max(spread, 0.5)
    reach = min(int(np.ceil(3 * spread)), len(values) - 1)
    if reach == 0:
        return values
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_mean(padded, spread)[reach : reach + len(values)]


def _bridge(values: np.ndarray, found: np.ndarray, blend: bool) -> np.ndarray:
    if blend:
        return fill_in(values, np.repeat(found[:, None], values.shape[1], axis=1))
    return values[nearest(found)]


def nearest(found: np.ndarray) -> np.ndarray:
    """Nearest found frame for every frame; the earlier of two."""
    at = np.flatnonzero(found)
    frames = np.arange(len(found))
    after = np.searchsorted(at, frames).clip(max=len(at) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(frames - at[before]) <= np.abs(at[after] - frames), at[before], at[after])


def _follow_body(centre: np.ndarray, keypoints: np.ndarray, found: np.ndarray, blend: bool) -> np.ndarray:
    """The head's path; shoulders that are seen throughout lead it over gaps."""
    shoulders = keypoints[:, [wholebody.LEFT_SHOULDER, wholebody.RIGHT_SHOULDER]]
    seen = np.all(shoulders[..., 2] >= 0.3, axis=1)
    middle = shoulders[..., :2].mean(axis=1)
    if not blend or not (seen & found).any():
        return _bridge(centre, found, blend)
    along = _bridge(centre - middle, found & seen, True) + middle
    apart = _bridge(centre, found, True)
    out = centre.copy()
    for start, stop in runs_of(~found):
        whole = seen[max(start - 1, 0) : stop + 1].all()
        out[start:stop] = (along if whole else apart)[start:stop]
    return out


def _dead_band(target: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Moves only when ``target`` is over ``band`` away; forward and backward lag cancel."""
    low, high = (target - band).tolist(), (target + band).tolist()
    forth, back = [0.0] * len(low), [0.0] * len(low)
    for out, order in ((forth, range(len(low))), (back, range(len(low) - 1, -1, -1))):
        at = float(np.median(target[: 2 * 15 + 1] if order[0] == 0 else target[-(2 * 15 + 1) :]))
        for frame in order:
            at = min(max(at, low[frame]), high[frame])
            out[frame] = at
    return (np.array(forth) + np.array(back)) / 2


def face_boxes(
    track: PoseTrack, scale: float = 1.3, steady: float = 1.0, missing: str = "blend"
) -> tuple[np.ndarray, np.ndarray]:
    """The face box of every frame.

    ``steady`` 0 is upstream's (``preprocess/utils.py: get_face_bboxes``): extent of the 68 points, area grown by
    ``scale``, three quarters of the added height above, clipped, whole pixels. 1 is :func:`stabilize_boxes`; between, a
    mix.

    No face: mean confidence below 0.3, box below 8 pixels, or (``steady`` above 0) half of the points
    :func:`..pose.repair.mistaken`. Its box is interpolated (``missing`` "blend", ``steady`` above 0), else the nearest.

    Returns:
        boxes ``[T, 4]`` (x1, y1, x2, y2 in pixels, ends exclusive; 0 without any face), int64 inside the frame for
        ``steady`` 0, else float64 that may leave it; and found, bool ``[T]``.

    Raises:
        InputError: an option is outside its range.
    """
    if not scale >= 1:
        raise InputError(
            f"face box: scale is {scale}, but it must be at least 1 (1.3 is what the model was trained with)."
        )
    if not 0 <= steady <= 1:
        raise InputError(f"face box: steady is {steady}, but it must lie between 0 (as upstream) and 1.")
    if missing not in MISSING:
        raise InputError(f"face box: missing is {missing!r}, but it must be one of {', '.join(MISSING)}.")
    size = np.array([track.width, track.height], np.float64)
    # Through float32 fractions of the frame, as upstream: it decides the last pixel of a box.
    points = (track.keypoints[:, wholebody.FACE, :2] / size.astype(np.float32)) * size
    low, high = points.min(axis=1), points.max(axis=1)
    width, height = (high - low).T
    with np.errstate(divide="ignore", invalid="ignore"):
        area = width * height * scale
        grow_x = (np.sqrt(area * (width / height)) - width) / 2
        grow_y = (np.sqrt(area * (height / width)) - height) / 4
    edges = np.stack(
        [
            np.maximum(low[:, 0] - grow_x, 0),
            np.maximum(low[:, 1] - 3 * grow_y, 0),
            np.minimum(high[:, 0] + grow_x, track.width),
            np.minimum(high[:, 1] + grow_y, track.height),
        ],
        axis=1,
    )
    boxes = np.nan_to_num(edges).astype(np.int64)
    extent = boxes[:, 2:] - boxes[:, :2]
    found = track.face_found & (extent >= MIN_FACE_PIXELS).all(axis=1)
    keypoints = track.keypoints
    if steady > 0:  # neighbouring frames may rule a face out
        wrong = mistaken(track)
        found &= wrong[:, wholebody.FACE].mean(axis=1) < 0.5
        keypoints = keypoints * np.stack([np.ones_like(wrong), np.ones_like(wrong), ~wrong], axis=2)
    boxes = boxes[nearest(found)] if found.any() else np.zeros_like(boxes)
    if steady == 0 or not found.any():
        return boxes, found
    out = boxes.astype(np.float64)
    for start, stop in track.shots:
        shot = slice(start, stop)
        if found[shot].any():
            calm = stabilize_boxes(
                points[shot], keypoints[shot], found[shot], scale, float(track.fps), missing == "blend"
            )
            out[shot] += steady * (calm - out[shot])
    return out, found
