"""A cartoon dancer with known joints, and its room: a driving clip without a camera.

The dancer wears shaded balls of 24 hues at its joints, like motion-capture markers; :mod:`demo.small_onnx` finds the
joints by these hues. All 133 COCO-WholeBody keypoints follow from the 24: face, hands and feet move rigidly with their
balls, jaw and lips with a ball on the lower lip.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

# Keypoints that wear a ball: 17 of the body, big toes and heels, lower lip, both middle fingertips.
LOWER_LIP, LEFT_TIP, RIGHT_TIP = 80, 103, 124
MARKS = (*range(17), 17, 19, 20, 22, LOWER_LIP, LEFT_TIP, RIGHT_TIP)
HEAD_MARKS = (0, 1, 2, 3, 4)
BALL = 0.022  # radius of a ball, in heights of the dancer
SMALL_BALL = 0.016  # on head and feet
RIM = 0.4  # brightness at a ball's rim; 1 at its centre


def _palette() -> np.ndarray:
    steps, colors = (0, 51, 106, 170), []  # equal angles of 11 degrees
    for high in range(3):
        rising = (high + 1) % 3
        for brighter, darker in ((high, rising), (rising, high)):
            for step in steps if brighter == high else (255, *steps[:0:-1]):
                color = [0, 0, 0]
                color[brighter], color[darker] = 255, step
                colors.append(color)
    return np.array(colors, np.float64)


PALETTE = _palette()  # [24, 3] RGB 0..255; one for each of MARKS


def _face_template() -> np.ndarray:
    """complex [68]: the face at rest in heights of the dancer, origin between the eyes, imaginary part down."""
    jaw = [-0.098 * math.cos(math.pi * i / 16) + 1j * (0.005 + 0.135 * math.sin(math.pi * i / 16)) for i in range(17)]
    brow = [
        (-0.075 + 0.015 * i) - 1j * (0.027 + 0.002 * i + 0.007 * math.sin(math.pi * (i + 0.5) / 5)) for i in range(5)
    ]
    brows = brow + [-point.conjugate() for point in reversed(brow)]
    nose = [1j * 0.0133 * i for i in range(4)] + [0.009 * i + 1j * (0.05 - 0.002 * abs(i)) for i in range(-2, 3)]
    around = (180, 240, 300, 0, 60, 120)
    eyes = [
        side * 0.045 + 0.018 * math.cos(math.radians(a)) + 0.010j * math.sin(math.radians(a))
        for side in (-1, 1)
        for a in around
    ]
    mouth = []
    for points, rx, ry in ((12, 0.034, 0.012), (8, 0.026, 0.004)):
        for i in range(points):
            angle = math.pi + 2 * math.pi * i / points
            mouth.append(rx * math.cos(angle) + 1j * (0.078 + ry * math.sin(angle)))
    return np.array(jaw + brows + nose + eyes + mouth)


def _hand_template() -> np.ndarray:
    """complex [21]: an open left hand, wrist 0, middle fingertip 1, the thumb towards negative imaginary."""
    fingers = [(-62, 0.62), (-24, 0.92), (0, 1.0), (19, 0.93), (38, 0.78)]
    points = [0j]
    for degrees, length in fingers:
        direction = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        points += [direction * length * part for part in (0.45, 0.66, 0.84, 1.0)]
    return np.array(points)


FACE = _face_template()
HAND = _hand_template()
# nose, left eye, right eye, left ear, right ear in the head's own coordinates
HEAD = np.array([0.04j, 0.045, -0.045, 0.108 + 0.015j, -0.108 + 0.015j])
# big toe, small toe, heel of the left foot, seen from the ankle
FOOT = np.array([0.058 + 0.052j, 0.098 + 0.034j, 0.008 + 0.046j])
# How far a face point follows the lower lip's own motion.
LIP_PULL = {55: 0.6, 56: 0.9, 57: 1.0, 58: 0.9, 59: 0.6, 65: 0.9, 66: 1.0, 67: 0.9}
JAW_PULL = {4: 0.08, 5: 0.2, 6: 0.4, 7: 0.65, 8: 0.8, 9: 0.65, 10: 0.4, 11: 0.2, 12: 0.08}


@lru_cache(maxsize=1)
def mark_weights() -> np.ndarray:
    """complex ``[133, 24]``: with positions as x + iy, every keypoint = weights @ marks.

    Rigid parts are the least-squares similarity through the balls on them.
    """
    weights = np.zeros((133, len(MARKS)), np.complex128)
    for column, keypoint in enumerate(MARKS):
        weights[keypoint, column] = 1
    head = np.array([MARKS.index(keypoint) for keypoint in HEAD_MARKS])
    centred = HEAD - HEAD.mean()

    def similarity(points: np.ndarray) -> np.ndarray:
        return 1 / len(HEAD) + np.outer(points - HEAD.mean(), centred.conjugate()) / (np.abs(centred) ** 2).sum()

    rigid = np.zeros((68, len(MARKS)), np.complex128)
    rigid[:, head] = similarity(FACE)
    face = rigid.copy()
    lip = np.zeros(len(MARKS))
    lip[MARKS.index(LOWER_LIP)] = 1
    for point, pull in (LIP_PULL | JAW_PULL).items():
        face[point] += pull * (lip - rigid[LOWER_LIP - 23])
    weights[23:91] = face
    small_toe = (FOOT[1] - FOOT[2]) / (FOOT[0] - FOOT[2])
    for toe, part in ((17, small_toe), (20, small_toe.conjugate())):
        weights[toe + 1, MARKS.index(toe)] = part
        weights[toe + 1, MARKS.index(toe + 2)] = 1 - part
    for start, wrist, tip, template in ((91, 9, LEFT_TIP, HAND), (112, 10, RIGHT_TIP, HAND.conjugate())):
        weights[start : start + 21] = 0
        weights[start : start + 21, MARKS.index(tip)] = template
        weights[start : start + 21, MARKS.index(wrist)] = 1 - template
    return weights


def _elbow(a: complex, b: complex, first: float, second: float, side: float) -> complex:
    """The joint between two bones of given length from ``a`` to ``b``, bent towards ``side``."""
    reach = min(abs(b - a), (first + second) * 0.999)
    along = (first**2 - second**2 + reach**2) / (2 * reach)
    out = math.sqrt(max(first**2 - along**2, 0))
    direction = (b - a) / abs(b - a)
    return a + direction * along + direction * -1j * side * out


def figure_keypoints(
    t: float, width: int, height: int, center: tuple[float, float] = (0.5, 0.5), size: float = 0.84
) -> np.ndarray:
    """The dancer's joints at a time.

    Args:
        t: time in seconds.
        width, height: the picture.
        center: middle of the dancer, as fractions of the picture.
        size: height of the dancer over the smaller of the picture's height and 0.95 of its width.

    Returns:
        float32 ``[133, 3]``: x, y in pixels, confidence 1; 0 for points outside the picture.
    """
    scale = size * min(height, 0.95 * width)
    origin = complex(center[0] * width, center[1] * height) - 0.5j * scale
    beat = 2 * math.pi * t * 0.9
    hips = complex(0.028 * math.sin(beat), 0.575 + 0.012 * math.cos(2 * beat))
    lean = math.radians(5) * math.sin(beat + 0.6)
    up = complex(math.sin(lean), -math.cos(lean))  # from hips to neck
    across = up * 1j  # towards the person's left, the picture's right
    neck = hips + 0.27 * up
    joints: dict[int, complex] = {}
    for side, shoulder, elbow, wrist, tip, phase in ((1, 5, 7, 9, LEFT_TIP, 0.0), (-1, 6, 8, 10, RIGHT_TIP, 2.2)):
        joints[shoulder] = neck + across * 0.118 * side
        upper = math.radians(72 + 38 * math.sin(beat + phase))
        lower = upper + math.radians(28 + 30 * math.sin(beat + phase + 0.9))
        hand = lower + math.radians(14 * math.sin(2 * beat + phase))

        def pointing(angle: float, side: int = side) -> complex:
            return complex(side * math.sin(angle), math.cos(angle))

        joints[elbow] = joints[shoulder] + 0.15 * pointing(upper)
        joints[wrist] = joints[elbow] + 0.135 * pointing(lower)
        joints[tip] = joints[wrist] + 0.1 * pointing(hand)
    for side, hip, knee, ankle, toe, phase in ((1, 11, 13, 15, 17, 0.0), (-1, 12, 14, 16, 20, math.pi)):
        joints[hip] = hips + across * 0.072 * side
        lift = 0.05 * max(math.sin(beat + phase), 0) ** 2
        joints[ankle] = complex(side * (0.105 + lift * 0.5), 0.915 - lift)
        joints[knee] = _elbow(joints[hip], joints[ankle], 0.18, 0.178, side)
        for keypoint, point in ((toe, FOOT[0]), (toe + 2, FOOT[2])):
            joints[keypoint] = joints[ankle] + complex(side * point.real, point.imag)
    tilt = up * complex(math.cos(a := math.radians(7) * math.sin(beat + 1.3)), math.sin(a))
    turn = tilt * 1j  # the head's own x axis
    eyes = neck + 0.185 * tilt
    for keypoint, point in zip(HEAD_MARKS, HEAD, strict=True):
        joints[keypoint] = eyes + turn * point
    open_mouth = 0.012 + 0.012 * math.sin(2 * math.pi * t * 2.3)
    joints[LOWER_LIP] = eyes + turn * (FACE[57] + 1j * open_mouth)

    marks = origin + scale * np.array([joints[keypoint] for keypoint in MARKS])
    points = mark_weights() @ marks
    inside = (points.real >= 0) & (points.real <= width - 1) & (points.imag >= 0) & (points.imag <= height - 1)
    return np.stack([points.real, points.imag, inside], axis=1).astype(np.float32)


def figure_scale(keypoints: np.ndarray) -> float:
    """Height of the dancer in pixels."""
    left, right = keypoints[5, :2], keypoints[6, :2]
    return float(np.linalg.norm(left - right)) / (2 * 0.118)


# --- drawing -----------------------------------------------------------------------------------------------------

SKIN, SKIN_SHADE, HAIR = (236, 198, 170), (214, 168, 140), (74, 52, 44)
SHIRT, SHIRT_SHADE, TROUSERS, SHOE = (126, 152, 150), (104, 130, 130), (70, 72, 92), (226, 222, 214)
SHIFT = 4


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.int32(np.rint(np.asarray(points, np.float64) * (1 << SHIFT)))


def fill(image: np.ndarray, points: np.ndarray, color: tuple[int, ...]) -> None:
    """A polygon (float pixels) with soft edges."""
    cv2.fillPoly(image, [_fixed(points)], color, cv2.LINE_AA, SHIFT)


def capsule(image: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float, color: tuple[int, ...]) -> None:
    """A limb from ``a`` (radius ``ra``) to ``b`` (radius ``rb``)."""
    ring = np.stack([np.cos(angle := np.linspace(0, 2 * np.pi, 33)), np.sin(angle)], axis=1)
    points = np.concatenate([np.asarray(a) + ra * ring, np.asarray(b) + rb * ring]).astype(np.float32)
    fill(image, cv2.convexHull(points).reshape(-1, 2), color)


def ellipse(image: np.ndarray, at: np.ndarray, rx: float, ry: float, angle: float, color: tuple[int, ...]) -> None:
    """A filled ellipse; ``angle`` in radians."""
    turn = np.linspace(0, 2 * np.pi, 65)
    x, y = rx * np.cos(turn), ry * np.sin(turn)
    cos, sin = math.cos(angle), math.sin(angle)
    fill(image, np.stack([at[0] + x * cos - y * sin, at[1] + x * sin + y * cos], axis=1), color)


@lru_cache(maxsize=2)
def room(width: int, height: int) -> np.ndarray:
    """The dancer's room, uint8 RGB: wall, window, plant, rug, and a grain that never moves."""
    unit = min(width, height)
    image = np.empty((height, width, 3), np.uint8)
    floor = int(height * 0.8)
    shade = np.linspace(0, 1, floor)[:, None, None]
    image[:floor] = np.array([196, 190, 180]) * (1 - 0.12 * shade) + np.array([8, 4, 0]) * shade
    image[floor:] = np.array([150, 132, 116])
    for index, y in enumerate(np.linspace(floor, height, 7)[:-1] ** 1.0):
        cv2.line(image, (0, int(y)), (width, int(y)), (132, 116, 102), max(unit // 400, 1))
        for x in range((index % 2) * unit // 5, width, int(unit / 2.5)):
            cv2.line(image, (x, int(y)), (x, int(y + (height - floor) / 6)), (132, 116, 102), max(unit // 400, 1))
    cv2.rectangle(image, (0, floor - unit // 40), (width, floor), (214, 208, 198), -1)
    left, top, side = int(width * 0.07), int(height * 0.12), int(unit * 0.34)
    cv2.rectangle(image, (left, top), (left + side, top + side), (176, 194, 206), -1)
    cv2.rectangle(image, (left, top + side * 2 // 3), (left + side, top + side), (146, 160, 134), -1)
    for x in (left, left + side // 2, left + side):
        cv2.line(image, (x, top), (x, top + side), (222, 216, 208), max(unit // 60, 2))
    for y in (top, top + side):
        cv2.line(image, (left, y), (left + side, y), (222, 216, 208), max(unit // 60, 2))
    pot = np.array([width * 0.9, floor - unit * 0.01])
    capsule(image, pot - (0, unit * 0.08), pot, unit * 0.05, unit * 0.036, (158, 124, 106))
    for angle in np.linspace(-1.1, 1.1, 7):
        tip = pot + unit * 0.24 * np.array([math.sin(angle), -math.cos(angle)]) - (0, unit * 0.08)
        capsule(image, pot - (0, unit * 0.1), tip, unit * 0.006, unit * 0.018, (110, 134, 104))
    ellipse(image, np.array([width / 2, height * 0.92]), unit * 0.5, unit * 0.065, 0, (168, 150, 146))
    grain = np.random.default_rng(5).normal(0, 2.5, (height, width, 1))
    image = np.clip(image + grain, 0, 255).astype(np.uint8)
    image.flags.writeable = False
    return image


def draw_figure(keypoints: np.ndarray, width: int, height: int, marked: bool = True) -> np.ndarray:
    """The dancer in its room.

    Args:
        keypoints: ``[133, 3]`` from :func:`figure_keypoints`, in pixels of the picture.
        marked: with the coloured balls; without, with a face.

    Returns:
        uint8 ``[height, width, 3]`` RGB.
    """
    image = room(width, height).copy()
    points = keypoints[:, :2].astype(np.float64)
    s = figure_scale(keypoints)
    hips, neck = points[[11, 12]].mean(axis=0), points[[5, 6]].mean(axis=0)
    ellipse(image, np.array([hips[0], points[15:17, 1].mean() + 0.06 * s]), 0.2 * s, 0.025 * s, 0, (136, 120, 112))
    for hip, knee, ankle, toe in ((11, 13, 15, 17), (12, 14, 16, 20)):
        capsule(image, points[hip], points[knee], 0.058 * s, 0.044 * s, TROUSERS)
        capsule(image, points[knee], points[ankle], 0.044 * s, 0.032 * s, TROUSERS)
        capsule(image, points[toe + 2], points[[toe, toe + 1]].mean(axis=0), 0.026 * s, 0.03 * s, SHOE)
        capsule(image, points[ankle], points[toe + 2], 0.03 * s, 0.026 * s, SHOE)
    capsule(image, neck, points[3:5].mean(axis=0), 0.036 * s, 0.036 * s, SKIN_SHADE)
    corners = np.concatenate([points[[5, 6]], points[[11, 12]]]).astype(np.float32)
    for a, b in ((5, 12), (6, 11), (5, 6), (11, 12)):
        capsule(image, points[a], points[b], (0.046 if a < 11 else 0.05) * s, 0.05 * s, SHIRT)
    fill(image, cv2.convexHull(corners).reshape(-1, 2), SHIRT)
    capsule(image, hips + (points[11] - hips) * 0.9, hips + (points[12] - hips) * 0.9, 0.055 * s, 0.055 * s, TROUSERS)
    for shoulder, elbow, wrist, hand in ((5, 7, 9, 91), (6, 8, 10, 112)):
        capsule(image, points[shoulder], points[elbow], 0.047 * s, 0.037 * s, SHIRT_SHADE)
        capsule(image, points[elbow], points[wrist], 0.036 * s, 0.026 * s, SHIRT_SHADE)
        _draw_hand(image, points[hand : hand + 21], s)
    _draw_head(image, points, s, marked)
    if marked:
        for index, keypoint in enumerate(MARKS):
            small = keypoint < 5 or 15 <= keypoint < 91
            draw_ball(image, points[keypoint], (SMALL_BALL if small else BALL) * s, PALETTE[index])
    return image


def _draw_hand(image: np.ndarray, hand: np.ndarray, s: float) -> None:
    palm = hand[[0, 1, 5, 9, 13, 17]].astype(np.float32)
    fill(image, cv2.convexHull(palm).reshape(-1, 2), SKIN)
    capsule(image, hand[0], hand[9], 0.02 * s, 0.024 * s, SKIN)
    for finger in range(5):
        bones = hand[1 + 4 * finger : 5 + 4 * finger]
        for a, b in pairwise(bones):
            capsule(image, a, b, 0.0095 * s, 0.008 * s, SKIN)


def _draw_head(image: np.ndarray, points: np.ndarray, s: float, marked: bool) -> None:
    face = points[23:91]
    turn = points[1] - points[2]
    angle = math.atan2(turn[1], turn[0])
    right = turn / np.linalg.norm(turn)
    down = np.array([-right[1], right[0]])
    eyes = points[[1, 2]].mean(axis=0)
    ellipse(image, eyes - 0.02 * s * down, 0.122 * s, 0.118 * s, angle, HAIR)
    for ear in points[3:5]:
        ellipse(image, ear, 0.02 * s, 0.03 * s, angle, SKIN_SHADE)
    skull = eyes + np.stack([np.cos(a := np.linspace(np.pi, 2 * np.pi, 20)), np.sin(a)], 1) @ np.stack(
        [right * 0.098 * s, down * 0.075 * s]
    )
    fill(image, np.concatenate([face[:17], skull[::-1]]), SKIN)
    fringe = [
        eyes + s * (x * right + y * down) for x, y in ((-0.11, -0.05), (-0.06, -0.064), (0.03, -0.07), (0.11, -0.05))
    ]
    top = [eyes + s * (x * right + y * down) for x, y in ((0.1, -0.09), (0.05, -0.125), (-0.05, -0.125), (-0.1, -0.09))]
    fill(image, np.array(fringe + top), HAIR)
    if marked:
        return
    for start in (36, 42):
        at = face[start : start + 6].mean(axis=0)
        ellipse(image, at, 0.022 * s, 0.015 * s, angle, (250, 248, 244))
        ellipse(image, at, 0.011 * s, 0.0125 * s, angle, (66, 88, 104))
        ellipse(image, at, 0.006 * s, 0.007 * s, angle, (24, 24, 28))
    for start in (17, 22):
        brow = face[start : start + 5]
        for a, b in pairwise(brow):
            capsule(image, a, b, 0.0045 * s, 0.0045 * s, HAIR)
    capsule(image, face[32], face[34], 0.006 * s, 0.006 * s, SKIN_SHADE)
    for cheek in (face[3] * 0.7 + face[31] * 0.3, face[13] * 0.7 + face[35] * 0.3):
        ellipse(image, cheek, 0.016 * s, 0.01 * s, angle, (236, 180, 156))
    fill(image, face[48:60], (176, 98, 92))
    fill(image, face[60:68], (84, 40, 42))


def draw_ball(image: np.ndarray, at: np.ndarray, radius: float, color: np.ndarray) -> None:
    """A ball brightest at its exact centre, darker towards the rim, with a dark line around it, in place."""
    height, width = image.shape[:2]
    reach = radius * 1.25 + 1
    x1, x2 = max(int(at[0] - reach), 0), min(int(at[0] + reach) + 2, width)
    y1, y2 = max(int(at[1] - reach), 0), min(int(at[1] + reach) + 2, height)
    if x1 >= x2 or y1 >= y2:
        return
    distance = np.hypot(np.arange(x1, x2) - at[0], np.arange(y1, y2)[:, None] - at[1])[..., None]
    ball = color * (1 - (1 - RIM) * np.minimum(distance / radius, 1))
    line = np.clip(distance - radius + 0.5, 0, 1)
    cover = np.clip(radius * 1.2 - distance + 0.5, 0, 1)
    patch = image[y1:y2, x1:x2]
    shown = ball * (1 - line) + np.array([38, 38, 42]) * line
    patch[:] = np.rint(patch * (1 - cover) + shown * cover)
