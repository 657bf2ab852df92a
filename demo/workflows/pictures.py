"""The picture of each workflow in Browse Templates.

Drawn from the demo's own dancer and robot with this pack's pose, mask and face code: what goes in and what is found. No
result of a model is shown, for the demo's small weights were never trained.

    python -m demo.workflows.pictures
"""

from __future__ import annotations

import cv2
import numpy as np

from demo.example import FPS, SECONDS, SIZE, Dancer
from demo.figure import draw_figure, figure_keypoints
from demo.importing import ROOT
from demo.robot import character_keypoints, draw_character
from demo.workflows.catalog import APPS, TITLES
from wan_animate.mask.from_pose import silhouette
from wan_animate.pose.draw import draw_pose

WIDTH, HEIGHT, LINE = 480, 270, 4
MOMENTS = (3, 20, 34, 50)
GREEN = np.array([60, 200, 90], np.float32)


def driver(moment: int) -> np.ndarray:
    """A frame of the driving video."""
    return draw_figure(_keypoints(moment), *SIZE, marked=False)


def character(_: int = 0) -> np.ndarray:
    return draw_character(*SIZE)


def pose(moment: int) -> np.ndarray:
    """The skeleton as the model gets it."""
    return _drawn(_keypoints(moment))


def over(base: np.ndarray, moment: int) -> np.ndarray:
    """A skeleton drawn over a picture."""
    drawn = pose(moment)
    return np.where(drawn.max(axis=2, keepdims=True) > 0, drawn, base // 2)


def mask(moment: int) -> np.ndarray:
    """The outline of the pose, green over the frame."""
    frame, inside = driver(moment).astype(np.float32), _inside(moment)[..., None]
    return np.where(inside, 0.45 * frame + 0.55 * GREEN, frame).astype(np.uint8)


def background(moment: int) -> np.ndarray:
    """The frame without the person."""
    return np.where(_inside(moment)[..., None], 0, driver(moment)).astype(np.uint8)


def face(moment: int) -> np.ndarray:
    """The frame cut to the head."""
    points = _keypoints(moment)[23:91, :2]
    (x, y), side = points.mean(axis=0), 1.8 * float(np.ptp(points[:, 1]))
    wide = side * SIZE[0] / SIZE[1]
    top, left = max(0, round(y - side / 2)), max(0, round(x - wide / 2))
    return driver(moment)[top : top + round(side), left : left + round(wide)]


def small_person(moment: int) -> np.ndarray:
    """A small person in a large frame, with the window around them."""
    keypoints = figure_keypoints(moment / FPS, *SIZE, center=(0.55, 0.7), size=0.34)
    frame = draw_figure(keypoints, *SIZE, marked=False)
    seen = keypoints[keypoints[:, 2] > 0.3, :2]
    low, high = seen.min(axis=0) - 16, seen.max(axis=0) + 16
    frame = np.ascontiguousarray(frame)
    cv2.rectangle(frame, (int(low[0]), int(low[1])), (int(high[0]), int(high[1])), (255, 210, 60), 3, cv2.LINE_AA)
    return frame


def _drawn(keypoints: np.ndarray) -> np.ndarray:
    canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    draw_pose(canvas, keypoints)
    return canvas


def _keypoints(moment: int) -> np.ndarray:
    return Dancer(SECONDS, SIZE, FPS).keypoints(moment)


def _inside(moment: int) -> np.ndarray:
    return silhouette(_keypoints(moment), *SIZE) > 0


def tiles(*pictures: np.ndarray) -> np.ndarray:
    """One, two or four pictures on one sheet."""
    across = 1 if len(pictures) == 1 else 2
    down = len(pictures) // across
    width, height = WIDTH // across, HEIGHT // (2 if down == 2 else 1)
    sheet = np.full((HEIGHT, WIDTH, 3), 24, np.uint8)
    for at, picture in enumerate(pictures):
        x, y = at % across * width, at // across * height
        sheet[y : y + height - LINE, x : x + width - LINE] = _fill(picture, width - LINE, height - LINE)
    return sheet


def _fill(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return picture[top : top + height, left : left + width]


def sheets() -> dict[str, np.ndarray]:
    """A picture for every workflow by its short name."""
    a, b, c, d = MOMENTS
    return {
        "animate": tiles(character(), over(character(), b)),
        "replace": tiles(driver(b), mask(b)),
        "replace_crop": tiles(small_person(b), driver(b)),
        "talking_head": tiles(face(a), face(c)),
        "long_clip": tiles(driver(a), driver(b), driver(c), driver(d)),
        "low_vram": tiles(over(character(), a)),
        "four_steps": tiles(pose(a), pose(b), pose(c), pose(d)),
        "edited_pose": tiles(character(), _skeleton_of_character()),
        "host_pose": tiles(pose(c), mask(c)),
        "saved_pose": tiles(pose(d), background(d)),
        "more_frames": tiles(driver(a), driver(b), driver(c), driver(d)),
    }


def _skeleton_of_character() -> np.ndarray:
    drawn = _drawn(character_keypoints(*SIZE))
    return np.where(drawn.max(axis=2, keepdims=True) > 0, drawn, character() // 2)


def write() -> None:
    """``<name>.jpg`` beside every workflow and app."""
    pictures = sheets()
    files = {**TITLES, **{f"{name} app": title for name, title in APPS.items()}}
    for name, title in files.items():
        sheet = pictures[name.removesuffix(" app")]
        done, data = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert done
        (ROOT / "workflows" / f"{title}.jpg").write_bytes(data.tobytes())


if __name__ == "__main__":
    write()
