"""A robot with known joints: the demo's character."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from demo.figure import capsule, ellipse, fill


def character_keypoints(width: int, height: int) -> np.ndarray:
    """The joints of :func:`draw_character`'s robot, float32 ``[133, 3]``; it has no face landmarks."""
    s = 0.86 * min(height, 0.95 * width)
    points = np.zeros((133, 3), np.float32)

    def put(joint: int, x: float, y: float) -> None:
        points[joint] = width / 2 + x * s, height / 2 + (y - 0.5) * s, 0.95

    put(0, 0, 0.125)
    for number, side in enumerate((1, -1)):  # its left is on the right of the picture
        body = ((0.045, 0.1), (0.165, 0.125), (0.15, 0.34), (0.28, 0.335), (0.4, 0.33), (0.08, 0.6), (0.098, 0.76))
        for pair, (x, y) in enumerate((*body, (0.1, 0.93))):
            put(1 + 2 * pair + number, side * x, y)
        for toe, (x, y) in enumerate(((0.17, 0.965), (0.16, 0.97), (0.09, 0.96))):
            put(17 + 3 * number + toe, side * x, y)
        hand = 91 + 21 * number
        put(hand, side * 0.41, 0.33)
        for finger, angle in enumerate((-1.1, -0.7, -0.2, 0.25, 0.7)):
            for joint in range(4):
                reach = 0.02 + 0.013 * joint
                put(
                    hand + 1 + 4 * finger + joint,
                    side * (0.43 + reach * math.cos(angle)),
                    0.33 + reach * math.sin(angle),
                )
    return points


def draw_character(width: int, height: int) -> np.ndarray:
    """The reference picture, uint8 ``[height, width, 3]`` RGB: a robot, arms out, on a colour that is nowhere in the
    dancer's room."""
    image = np.empty((height, width, 3), np.uint8)
    glow = np.hypot((np.arange(width) - width / 2) / width, (np.arange(height)[:, None] - height / 2) / height)[
        ..., None
    ]
    image[:] = np.clip(np.array([86, 116, 170]) - glow * np.array([66, 76, 80]), 0, 255)
    s = 0.86 * min(height, 0.95 * width)
    steel, dark, trim, light = (214, 120, 84), (92, 66, 62), (246, 214, 150), (250, 246, 236)

    def at(x: float, y: float) -> np.ndarray:
        return np.array([width / 2 + x * s, height / 2 + (y - 0.5) * s])

    ellipse(image, at(0, 0.985), 0.24 * s, 0.03 * s, 0, (52, 70, 112))
    for side in (-1, 1):
        capsule(image, at(side * 0.08, 0.6), at(side * 0.1, 0.93), 0.034 * s, 0.034 * s, dark)
        capsule(image, at(side * 0.09, 0.62), at(side * 0.095, 0.72), 0.052 * s, 0.046 * s, steel)
        capsule(image, at(side * 0.098, 0.8), at(side * 0.1, 0.9), 0.046 * s, 0.054 * s, steel)
        capsule(image, at(side * 0.1, 0.955), at(side * 0.15, 0.965), 0.032 * s, 0.026 * s, trim)
        capsule(image, at(side * 0.15, 0.34), at(side * 0.4, 0.33), 0.026 * s, 0.026 * s, dark)
        capsule(image, at(side * 0.17, 0.34), at(side * 0.25, 0.337), 0.046 * s, 0.04 * s, steel)
        capsule(image, at(side * 0.31, 0.333), at(side * 0.39, 0.33), 0.04 * s, 0.044 * s, steel)
        for angle in (-0.7, -0.2, 0.25, 0.7):
            tip = at(side * (0.43 + 0.055 * math.cos(angle)), 0.33 + 0.055 * math.sin(angle))
            capsule(image, at(side * 0.43, 0.33), tip, 0.02 * s, 0.011 * s, trim)
        capsule(image, at(side * 0.15, 0.34), at(side * 0.15, 0.341), 0.05 * s, 0.05 * s, trim)
    capsule(image, at(0, 0.22), at(0, 0.3), 0.03 * s, 0.03 * s, dark)
    fill(
        image,
        cv2.convexHull(np.array([at(-0.14, 0.3), at(0.14, 0.3), at(0.1, 0.6), at(-0.1, 0.6)], np.float32))[:, 0],
        steel,
    )
    for a, b in (((-0.13, 0.32), (0.13, 0.32)), ((-0.09, 0.58), (0.09, 0.58))):
        capsule(image, at(*a), at(*b), 0.045 * s, 0.045 * s, steel)
    capsule(image, at(-0.06, 0.4), at(0.06, 0.4), 0.04 * s, 0.04 * s, light)
    for x, color in ((-0.05, (120, 176, 150)), (0, trim), (0.05, (208, 104, 90))):
        ellipse(image, at(x, 0.4), 0.016 * s, 0.016 * s, 0, color)
    capsule(image, at(0, 0.0), at(0, 0.05), 0.006 * s, 0.006 * s, dark)
    ellipse(image, at(0, 0.0), 0.018 * s, 0.018 * s, 0, trim)
    capsule(image, at(-0.075, 0.12), at(0.075, 0.12), 0.085 * s, 0.085 * s, steel)
    for side in (-1, 1):
        capsule(image, at(side * 0.165, 0.1), at(side * 0.165, 0.15), 0.016 * s, 0.016 * s, trim)
    capsule(image, at(-0.06, 0.115), at(0.06, 0.115), 0.06 * s, 0.06 * s, light)
    for side in (-1, 1):
        ellipse(image, at(side * 0.045, 0.1), 0.024 * s, 0.024 * s, 0, dark)
        ellipse(image, at(side * 0.045 + 0.007, 0.093), 0.008 * s, 0.008 * s, 0, light)
    smile = [at(0.05 * math.cos(a), 0.13 + 0.025 * math.sin(a)) for a in np.linspace(0.15, math.pi - 0.15, 12)]
    for left, right in pairwise(smile):
        capsule(image, left, right, 0.006 * s, 0.006 * s, dark)
    return image
