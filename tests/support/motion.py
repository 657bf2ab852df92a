"""People made of numbers: a walk and a dance in space, seen by a camera, for bodies of any proportions.

Feet that bear weight are placed first and really stand still; hips and legs follow from them. Points are metres with
x to the picture's right, y down and z away from the camera, which is far away (no perspective) unless told otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from demo.figure import FACE as FACE_FLAT
from demo.figure import HAND as HAND_FLAT
from wan_animate.pose import wholebody as at
from wan_animate.pose.track import PoseTrack


@dataclass(frozen=True)
class Body:
    """Bone lengths in metres."""

    trunk: float = 0.50
    shoulder: float = 0.19  # half the width
    hip: float = 0.12
    neck: float = 0.20  # to the nose
    head: float = 0.22  # brow to chin and a little more
    upper_arm: float = 0.31
    forearm: float = 0.26
    hand: float = 0.18
    thigh: float = 0.43
    shin: float = 0.43
    foot: float = 0.17

    def times(self, factor: float, **parts: float) -> Body:
        """All bones ``factor`` times as long, single ones by more."""
        return replace(
            self, **{name: getattr(self, name) * factor * parts.get(name, 1) for name in self.__dataclass_fields__}
        )


ADULT = Body()
BODIES = {
    "child": ADULT.times(0.6, head=1.4, neck=1.2, thigh=0.85, shin=0.85, foot=0.95, forearm=0.95, shoulder=0.9),
    "giant": ADULT.times(1.6, shoulder=1.15, head=0.75, hand=1.1),
    "long legs": ADULT.times(1.0, thigh=1.35, shin=1.4),
    "short arms": ADULT.times(1.0, upper_arm=0.6, forearm=0.62, hand=0.8),
    "upper body only": ADULT.times(1.1, upper_arm=1.1, hip=0.9),
}


@dataclass(frozen=True)
class Pose:
    """Joints in space ``[135, 3]`` (as in :mod:`wan_animate.retarget.bones`), and which feet bear weight."""

    joints: np.ndarray
    standing: tuple[bool, bool]


def turn(yaw: float) -> np.ndarray:
    """[3, 3]: about the upright axis; 0 faces the camera, positive turns to the picture's right."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def lean(pitch: float, roll: float) -> np.ndarray:
    """[3, 3]: forward (towards the camera) by ``pitch``, to the person's left by ``roll``."""
    c, s = math.cos(pitch), math.sin(pitch)
    forward = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = math.cos(roll), math.sin(roll)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ forward


def limb(start: np.ndarray, end: np.ndarray, first: float, second: float, bend: np.ndarray) -> np.ndarray:
    """The joint between two bones from ``start`` to ``end``, bent towards ``bend``."""
    reach = end - start
    length = min(np.linalg.norm(reach), (first + second) * 0.9999)
    direction = reach / np.linalg.norm(reach)
    along = (first**2 - second**2 + length**2) / (2 * length)
    side = bend - direction * (bend @ direction)
    side /= np.linalg.norm(side)
    return start + direction * along + side * math.sqrt(max(first**2 - along**2, 0))


def figure(
    body: Body,
    pelvis: np.ndarray,
    yaw: float,
    trunk: tuple[float, float],
    arms: list[tuple[float, float, float, float]],
    ankles: np.ndarray,
    foot_pitch: tuple[float, float] = (0.0, 0.0),
    foot_yaw: tuple[float, float] | None = None,
    standing: tuple[bool, bool] = (True, True),
    head_yaw: float = 0.0,
    shoulder_yaw: float = 0.0,
) -> Pose:
    """A whole person.

    Args:
        pelvis: ``[3]`` where it is.
        yaw: where the hips face; ``shoulder_yaw`` and ``head_yaw`` come on top.
        trunk: pitch and roll.
        arms: for left and right: how far the upper arm is raised sideways and forwards, and the forearm likewise.
        ankles: ``[2, 3]``.
        foot_pitch: how far a heel is raised about the toes.
    """
    out = np.zeros((135, 3))
    hips, chest = turn(yaw), turn(yaw + shoulder_yaw) @ lean(*trunk)
    out[134] = pelvis
    out[133] = neck = pelvis + chest @ (0, -body.trunk, 0)
    foot_yaw = (yaw, yaw) if foot_yaw is None else foot_yaw
    for i, side in enumerate((1, -1)):
        hip, knee, ankle = 11 + i, 13 + i, 15 + i
        out[hip] = pelvis + hips @ (side * body.hip, 0, 0)
        out[ankle] = ankles[i]
        out[knee] = limb(out[hip], out[ankle], body.thigh, body.shin, turn(foot_yaw[i]) @ (0.1 * side, 0, -1))
        pitch = foot_pitch[i]
        flat = turn(foot_yaw[i]) @ np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)],
                                             [0, math.sin(pitch), math.cos(pitch)]])  # fmt: skip
        for j, (x, y, z) in enumerate(((0.15, 0.35, -0.9), (0.45 * side, 0.38, -0.75), (0, 0.4, 0.3))):
            out[17 + 3 * i + j] = out[ankle] + flat @ (np.array([x * (side if j == 0 else 1), y, z]) * body.foot)
        out[5 + i] = neck + chest @ (side * body.shoulder, 0, 0)
        out_up, forward, out_low, forward_low = arms[i]

        def pointing(sideways: float, ahead: float, side: int = side) -> np.ndarray:
            flat = np.array([side * math.sin(sideways), math.cos(sideways), 0]) * math.cos(ahead)
            return chest @ (flat + np.array([0, 0, -math.sin(ahead)]))

        out[7 + i] = out[5 + i] + pointing(out_up, forward) * body.upper_arm
        lower = pointing(out_low, forward_low)
        out[9 + i] = out[7 + i] + lower * body.forearm
        across = np.cross(lower, chest @ (0, 0, 1.0))
        across /= np.linalg.norm(across)
        for j, point in enumerate(HAND_FLAT):
            out[91 + 21 * i + j] = out[9 + i] + (lower * point.real + across * side * point.imag) * body.hand
    skull = turn(yaw + shoulder_yaw + head_yaw) @ lean(trunk[0] * 0.3, trunk[1] * 0.5)
    nose = out[0] = neck + skull @ (0, -body.neck * 0.95, -body.neck * 0.31)
    size = body.head * 3.6  # the flat face is 0.2 wide: 16 cm on an adult
    depth = 0.25 * body.head
    for j, (x, y, z) in enumerate(
        ((0.045, -0.04, 0.4), (-0.045, -0.04, 0.4), (0.108, -0.025, 2.0), (-0.108, -0.025, 2.0))
    ):
        out[1 + j] = nose + skull @ (x * size, y * size, z * depth)
    for j, point in enumerate(FACE_FLAT):
        round_off = 1.5 * min((point.real / 0.1) ** 2, 1.2)
        out[23 + j] = nose + skull @ (point.real * size, (point.imag - 0.04) * size, (0.3 + round_off) * depth)
    return Pose(out, standing)


def stance(body: Body, yaw: float = 0.0, arms=((0.35, 0.0, 0.25, 0.0),) * 2, wide: float = 1.1) -> Pose:
    """Standing upright, feet under the hips, ground at y = 0."""
    ankles = np.array([turn(yaw) @ (side * body.hip * wide, 0, 0) for side in (1, -1)])
    ankles[:, 1] = -0.4 * body.foot
    pelvis = np.array([0, -0.4 * body.foot - 0.995 * (body.thigh + body.shin), 0])
    return figure(body, pelvis, yaw, (0.0, 0.0), list(arms), ankles)


def _smooth(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


def walk(body: Body = ADULT, frames: int = 120, fps: float = 30, heading: float = math.pi / 2, pace: float = 1.0):
    """A walk: heel strike, flat foot, rolling off over toes that stand still; from the picture's middle leftwards or
    rightwards by ``heading`` (pi/2: to the right; 0: towards the camera)."""
    leg = body.thigh + body.shin
    stride, period = 1.3 * leg, 1.1 / pace
    ahead, aside = turn(heading) @ (0, 0, -1.0), turn(heading) @ (1.0, 0, 0)
    rest = 0.4 * body.foot
    poses = []
    for frame in range(frames):
        now = frame / fps / period
        pelvis = ahead * stride * (now - frames / fps / period / 2)
        ankles, pitches, standing = [], [], []
        for side, phase in ((1, 0.0), (-1, 0.5)):
            step, part = divmod(now + phase, 1.0)
            # a foot strikes half a contact ahead of the pelvis and stands for 0.62 of the cycle
            spot = (step - phase + 0.31 - frames / fps / period / 2) * stride
            pitch = 0.0
            if part < 0.62:
                standing.append(part < 0.42)
                pitch = 0.75 * _smooth((part - 0.42) / 0.2)
                along, up = spot, 0.0
            else:
                standing.append(False)
                swing = (part - 0.62) / 0.38
                along = spot + stride * _smooth(swing)
                pitch = 0.75 * (1 - _smooth(swing * 1.6))
                up = 0.10 * leg * math.sin(math.pi * swing) ** 2
            # the ankle turns about the toes
            back, high = 0.85 * body.foot, rest
            angle = math.atan2(high, back) + pitch
            radius = math.hypot(back, high)
            along += back - radius * math.cos(angle)
            ankles.append(
                ahead * along + aside * side * body.hip * 0.8 + np.array([0, -radius * math.sin(angle) - up, 0])
            )
            pitches.append(pitch)
        beat = 2 * math.pi * now
        pelvis = pelvis + np.array([0, -rest - 0.90 * leg + 0.012 * leg * math.cos(2 * beat), 0])
        swing = 0.45 * math.sin(beat)
        arms = [(0.12, -swing * s, 0.08, -swing * s + 0.35) for s in (1, -1)]
        poses.append(
            figure(body, pelvis, heading + 0.08 * math.sin(beat), (0.05, 0.0), arms, np.array(ankles), tuple(pitches),
                   (heading, heading), tuple(standing), shoulder_yaw=-0.2 * math.sin(beat))
        )  # fmt: skip
    return poses


def dance(body: Body = ADULT, frames: int = 180, fps: float = 30):
    """A dance on the spot: swaying on two feet, side steps, arms towards the camera, a turn to the side and back, and a
    jump in the fourth second."""
    leg, rest = body.thigh + body.shin, 0.4 * body.foot
    poses = []
    for frame in range(frames):
        t = frame / fps
        beat = 2 * math.pi * t * 0.75
        # side steps: left foot out at 1 s, right follows at 1.5 s, back at 2.25 and 2.75 s
        feet = np.array([[body.hip * 1.3, -rest, 0], [-body.hip * 1.3, -rest, 0]])
        standing = [True, True]
        for i, begin, shift in ((0, 1.0, 0.30), (1, 1.5, 0.30), (1, 2.25, -0.30), (0, 2.75, -0.30)):
            part = (t - begin) / 0.4
            feet[i, 0] += shift * leg * _smooth(part)
            if 0 < part < 1:
                feet[i, 1] -= 0.12 * leg * math.sin(math.pi * part) ** 2
                standing[i] = False
        # a jump: crouch, fly, land, on the same spots
        jump = t - 3.6
        crouch, flight = 0.0, 0.0
        if -0.35 < jump < 0.85:
            crouch = 0.12 * (math.exp(-(((jump + 0.12) / 0.12) ** 2)) + math.exp(-(((jump - 0.55) / 0.12) ** 2)))
        if 0 < jump < 0.42:
            flight = 0.5 * 9.81 * jump * (0.42 - jump) * (leg / 0.86)
            standing = [False, False]
        feet[:, 1] -= flight
        yaw = 0.25 * math.sin(beat * 0.5) + 1.1 * _smooth((t - 4.4) / 0.5) - 1.1 * _smooth((t - 5.2) / 0.5)
        pelvis = feet.mean(axis=0) + np.array(
            [0.05 * leg * math.sin(beat), -leg * (0.93 - 0.03 * math.sin(2 * beat) ** 2 - crouch), 0.0]
        )
        arms = [
            (0.9 + 0.7 * math.sin(beat + p), 0.9 * math.sin(0.8 * beat + p), 1.4 + 0.8 * math.sin(beat + p + 0.8),
             0.9 * math.sin(0.8 * beat + p + 0.5))
            for p in (0.0, 2.1)
        ]  # fmt: skip
        poses.append(
            figure(body, pelvis, yaw, (0.08 + 0.1 * math.sin(beat), 0.1 * math.sin(beat + 0.5)), arms, feet,
                   (0.0, 0.0), (0.3, -0.3), tuple(standing), head_yaw=0.3 * math.sin(beat * 0.7),
                   shoulder_yaw=0.3 * math.sin(beat + 1))
        )  # fmt: skip
    return poses


def seen(
    poses, width: int, height: int, scale: float, ground: float = 0.92, x: float = 0.5, fps: float = 30,
    distance: float = 0.0, noise: float = 0.0, seed: int = 0,
) -> PoseTrack:  # fmt: skip
    """What the camera sees.

    Args:
        scale: pixels a metre.
        ground, x: where the origin is, as fractions of the picture.
        distance: metres from the camera to the origin; 0 for no perspective.
        noise: standard deviation in pixels of every point.
    """
    points = np.stack([pose.joints for pose in poses])
    size = np.full(points.shape[:2], scale)
    if distance:
        size = scale * distance / (distance + points[..., 2])
    out = np.ones((len(points), 133, 3), np.float32)
    out[..., 0] = (x * width + points[..., 0] * size)[:, :133]
    out[..., 1] = (ground * height + points[..., 1] * size)[:, :133]
    if noise:
        out[..., :2] += np.random.default_rng(seed).normal(0, noise, out[..., :2].shape)
    return PoseTrack(out, width, height, fps)


def without(track: PoseTrack, *joints: int) -> PoseTrack:
    """The track with these keypoints not found."""
    keypoints = track.keypoints.copy()
    keypoints[:, list(joints)] = 0
    return track.replaced(keypoints)


LEGS = (13, 14, 15, 16, 17, 18, 19, 20, 21, 22)


def picture_of(name: str, pose: Pose | None = None) -> PoseTrack:
    """A reference picture of one of :data:`BODIES`, 480 x 832, standing; of "upper body only" without legs."""
    body = BODIES[name]
    if name == "upper body only":
        track = seen([pose or stance(body)], 640, 640, 420.0, ground=1.45)
        assert at.LEFT_KNEE == LEGS[0]
        return without(track, *LEGS)
    tall = body.thigh + body.shin + body.trunk + body.neck + body.head
    return seen([pose or stance(body)], 480, 832, 620 / tall, ground=0.9, x=0.45)
