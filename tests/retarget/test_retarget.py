"""The driver's motion on other bodies: proportions, angles, standing feet, jitter."""

import numpy as np
import pytest

from wan_animate.pose import wholebody as at
from wan_animate.pose.track import PoseTrack
from wan_animate.retarget.retarget import best_frame, retarget, retarget_bodies

from ..support.motion import ADULT, BODIES, LEGS, dance, picture_of, seen, stance, walk, without
from ..support.retarget_measures import (
    LIMBS,
    angle_error,
    jitter,
    leg_size,
    limb_lengths,
    place,
    shaking,
    shares,
    slides,
)

UPPER = tuple(limb for limb in LIMBS if "thigh" not in limb and "shin" not in limb)
WIDTH, HEIGHT, SCALE = 960, 540, 220.0  # of the generated drivers; pixels a metre
MOTIONS = {"walk": lambda: walk(frames=70), "dance": dance}


def driver_of(motion: str, noise: float = 0.0, **camera):
    poses = MOTIONS[motion]()
    standing = np.array([pose.standing for pose in poses])
    return seen(poses, WIDTH, HEIGHT, SCALE, noise=noise, **camera), standing


def limbs_of(name: str):
    return UPPER if name == "upper body only" else tuple(LIMBS)


def true_length(limb: str) -> float:
    """Pixels of an adult's limb seen from the side."""
    part = limb.removeprefix("left ").removeprefix("right ").replace(" ", "_")
    metres = {"shoulders": 2 * ADULT.shoulder, "hips": 2 * ADULT.hip}.get(part)
    if part == "neck":
        metres = ADULT.neck * np.hypot(0.95, 0.31)
    return SCALE * (metres or getattr(ADULT, part))


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("name", BODIES)
def test_generated_motion_on_five_bodies(name, motion, noise):
    driver, standing = driver_of(motion, noise)
    reference = picture_of(name)
    result = retarget(driver, reference, travel="full")

    for limb in limbs_of(name):
        own = float(limb_lengths(reference, limb)[0])
        longest = np.nanmax(limb_lengths(result, limb))
        assert longest <= own * 1.0005, f"{limb} is {longest / own:.4f} of the reference's"
        # as foreshortened as the driver's is, of the reference's own length
        if limb == "neck" or (motion == "walk" and limb in ("shoulders", "hips")):
            continue  # never seen whole by this camera
        assert longest >= own * 0.99, f"{limb} only reaches {longest / own:.4f} of the reference's"
        if noise == 0:
            share, true = shares(result, limb, own), shares(driver, limb, true_length(limb))
            # Arms that swing in depth and bent knees never show their full length to the percent.
            assert np.abs(share - true).max() < 0.03, limb
    assert angle_error(result, driver) <= 1.0
    ours, theirs = slides(result, standing), slides(driver, standing)
    if noise:
        assert ours.max() <= 1.2 * theirs.max() and ours.mean() <= 1.2 * theirs.mean()
    else:
        assert theirs.max() < 1e-4 and ours.max() < 0.004  # of a leg: about a pixel
    assert jitter(result, limbs_of(name)) <= 1.05 * jitter(driver, limbs_of(name))


@pytest.mark.parametrize("name", BODIES)
def test_real_motion_on_five_bodies(examples, name):
    driver = PoseTrack.load(examples / "video_pose.npz")
    _check_real(driver, picture_of(name))


def test_the_example_on_its_own_reference(examples):
    driver = PoseTrack.load(examples / "video_pose.npz")
    result = _check_real(driver, PoseTrack.load(examples / "image_pose.npz"))
    assert shaking(result, range(11)) <= 1.10 * shaking(driver, range(11))


def _check_real(driver: PoseTrack, reference: PoseTrack) -> PoseTrack:
    result = retarget(driver, reference)
    assert (result.width, result.height, len(result)) == (reference.width, reference.height, len(driver))
    for limb in UPPER:
        own, longest = float(limb_lengths(reference, limb)[0]), np.nanmax(limb_lengths(result, limb))
        assert 0.99 * own <= longest <= 1.0005 * own, f"{limb}: {longest / own:.4f} of the reference's"
    assert angle_error(result, driver) <= 1.0
    assert jitter(result, UPPER) <= 1.05 * jitter(driver, UPPER)
    assert (result.keypoints[:, list(LEGS), 2] == 0).all(), "the clip shows no legs"
    return result


def test_a_person_on_their_own_body_stays_as_they_are():
    driver, _ = driver_of("dance")
    own = seen([stance(ADULT)], WIDTH, HEIGHT, SCALE)
    result = retarget(driver, own, travel="full")
    shift = result.keypoints[0, at.LEFT_ANKLE] - driver.keypoints[0, at.LEFT_ANKLE]
    error = np.abs(result.keypoints - driver.keypoints - shift)[..., :2]
    body = ADULT.trunk * SCALE
    assert error[:, :23].max() < 0.05 * body
    assert error.max() < 0.06 * body


def test_feet_stand_on_the_references_ground_and_jumps_leave_it():
    driver, standing = driver_of("dance")
    reference = picture_of("long legs")
    result = retarget(driver, reference)
    ground = reference.keypoints[0, [15, 16], 1].max()
    ankles = result.keypoints[:, [15, 16], 1]
    leg = leg_size(reference)
    assert abs(ankles[standing].mean() - ground) < 0.01 * leg
    assert np.abs(ankles[standing] - ground).max() < 0.02 * leg
    assert ankles.max() < ground + 0.02 * leg, "nobody sinks into the ground"
    air = ~standing.any(axis=1)
    height = (ground - ankles.max(axis=1))[air].max() / leg
    drawn = (driver.keypoints[standing[:, 0], 15, 1].mean() - driver.keypoints[:, [15, 16], 1].max(axis=1))[air].max()
    assert height == pytest.approx(drawn / leg_size(driver), rel=0.1)
    assert height > 0.1


@pytest.mark.parametrize("name", ["child", "giant", "long legs", "short arms"])
def test_a_long_walk_stays_on_the_ground(name):
    poses = walk(frames=240)
    standing = np.array([pose.standing for pose in poses])
    reference = picture_of(name)
    result = retarget(seen(poses, WIDTH, HEIGHT, SCALE, noise=0.5), reference, travel="full")
    ground = reference.keypoints[0, [15, 16], 1].max()
    off = np.abs(result.keypoints[:, [15, 16], 1][standing] - ground) / leg_size(reference)
    assert off.max() < 0.025 and off.mean() < 0.008


def test_longer_legs_take_longer_steps():
    driver, _ = driver_of("walk")
    travelled = {}
    for name in ("long legs", "short arms"):
        necks = place(retarget(driver, picture_of(name), travel="full"), "neck")
        travelled[name] = (necks[-1, 0] - necks[0, 0]) / leg_size(picture_of(name))
    own = place(driver, "neck")
    expected = (own[-1, 0] - own[0, 0]) / leg_size(driver)
    for name, legs in travelled.items():
        assert legs == pytest.approx(expected, rel=0.03), name


def test_travel_keeps_the_body_in_the_picture_or_on_the_spot():
    driver, _ = driver_of("walk")
    reference = picture_of("child")
    necks = {
        travel: place(retarget(driver, reference, travel=travel), "neck")[:, 0]
        for travel in ("full", "in picture", "none")
    }
    assert np.ptp(necks["full"]) > reference.width
    assert necks["in picture"].min() > 0.08 * reference.width and necks["in picture"].max() < 0.92 * reference.width
    assert (np.diff(necks["in picture"]) > 0).mean() > 0.95, "it still walks across"
    assert np.ptp(necks["none"]) < 0.1 * reference.width


def test_a_body_that_fits_is_not_shifted():
    driver, _ = driver_of("dance")
    reference = picture_of("short arms")
    full, kept = (retarget(driver, reference, travel=travel) for travel in ("full", "in picture"))
    np.testing.assert_array_equal(full.keypoints, kept.keypoints)
    hips = place(kept, "pelvis")[0]
    assert abs(hips[0] - place(reference, "pelvis")[0, 0]) < 1


def test_the_first_frame_need_not_show_the_arms():
    poses = dance()
    frontal = seen(poses, WIDTH, HEIGHT, SCALE)
    end_on = np.argmin(limb_lengths(frontal, "left upper arm") + limb_lengths(frontal, "right forearm"))
    late = frontal.slice(int(end_on), len(frontal))
    assert limb_lengths(late, "left upper arm")[0] < 0.8 * true_length("left upper arm")
    _, bodies = retarget_bodies(late, picture_of("short arms"))
    for bone, limb in ((7, "left upper arm"), (10, "right forearm"), (13, "left thigh")):
        assert bodies.driver.bones[bone] == pytest.approx(true_length(limb), rel=0.025), limb
    best = best_frame(late)
    assert best > 0 and limb_lengths(late, "left upper arm")[best] > 0.9 * true_length("left upper arm")


def test_a_reference_from_the_side_gets_ordinary_widths():
    driver, _ = driver_of("dance")
    body = BODIES["short arms"]
    tall = 620 / (body.thigh + body.shin + body.trunk + body.neck + body.head)
    frontal, side = (seen([stance(body, yaw)], 480, 832, tall, ground=0.9) for yaw in (0.0, 1.4))
    assert limb_lengths(side, "shoulders")[0] < 0.3 * limb_lengths(frontal, "shoulders")[0]
    results = [retarget(driver, reference) for reference in (frontal, side)]
    for limb in LIMBS:
        wide, narrow = (np.nanmax(limb_lengths(result, limb)) for result in results)
        assert narrow == pytest.approx(wide, rel=0.12 if limb in ("shoulders", "hips", "neck") else 0.07), limb
    assert angle_error(results[1], driver) <= 1.0


def test_an_arm_of_the_reference_towards_the_camera_takes_the_other_ones_length():
    driver, _ = driver_of("dance")
    reference = picture_of("giant", stance(BODIES["giant"], arms=((0.3, 1.2, 0.3, 1.3), (0.3, 0.0, 0.3, 0.0))))
    plain = picture_of("giant")
    assert limb_lengths(reference, "left forearm")[0] < 0.5 * limb_lengths(plain, "left forearm")[0]
    result = retarget(driver, reference)
    for limb in ("left upper arm", "left forearm"):
        assert np.nanmax(limb_lengths(result, limb)) == pytest.approx(limb_lengths(plain, limb)[0], rel=0.01)


def test_legs_the_reference_does_not_show_end_below_its_picture():
    driver, _ = driver_of("dance")
    reference = picture_of("upper body only")
    result = retarget(driver, reference)
    assert (result.keypoints[:, [15, 16], 1] > reference.height).all()
    assert (result.keypoints[:, [15, 16], 2] > 0).all()
    trunk = np.nanmax(limb_lengths(result, "trunk"))
    assert 1.3 < leg_size(result) / trunk < 2.1
    assert place(result, "neck")[0, 0] == pytest.approx(place(reference, "neck")[0, 0], abs=0.5)
    assert place(result, "neck")[best_frame(driver), 1] == pytest.approx(place(reference, "neck")[0, 1], abs=0.5)


def test_limbs_the_driver_does_not_show_stay_away():
    driver, _ = driver_of("dance")
    half = without(driver, 11, 12, *LEGS)
    result = retarget(half, picture_of("child"))
    assert (result.keypoints[:, [11, 12, *LEGS]] == 0).all()
    assert (result.keypoints[:, [0, 5, 6, 7, 8, 9, 10], 2] == 1).all()
    assert angle_error(result, half) <= 1.0


def test_beyond_a_missing_elbow_the_hand_stays_in_reach():
    driver, _ = driver_of("dance")
    keypoints = driver.keypoints.copy()
    keypoints[40:60, at.LEFT_ELBOW] = 0
    gap = driver.replaced(keypoints)
    reference = picture_of("long legs")
    whole, result = retarget(driver, reference), retarget(gap, reference)
    assert (result.keypoints[40:60, at.LEFT_ELBOW] == 0).all()
    assert (result.keypoints[40:60, at.LEFT_WRIST, 2] == 1).all()
    away = np.linalg.norm((whole.keypoints - result.keypoints)[40:60, at.LEFT_WRIST, :2], axis=1)
    arm = limb_lengths(reference, "left upper arm")[0] + limb_lengths(reference, "left forearm")[0]
    assert away.max() < 0.15 * arm
    np.testing.assert_allclose(whole.keypoints[:40], result.keypoints[:40], atol=0.01 * arm)


def test_a_reference_without_an_arm_has_the_other_ones():
    driver, _ = driver_of("dance")
    reference = without(picture_of("short arms"), at.LEFT_ELBOW, at.LEFT_WRIST, *range(91, 112))
    whole, result = retarget(driver, picture_of("short arms")), retarget(driver, reference)
    np.testing.assert_allclose(result.keypoints[:, :11], whole.keypoints[:, :11], atol=1)


def test_hands_and_face_are_carried_whole():
    driver, _ = driver_of("dance", noise=0.5)
    result = retarget(driver, picture_of("child"))
    for joint, part in ((9, range(91, 112)), (10, range(112, 133)), (0, range(23, 91))):
        before, after = (
            (track.keypoints[:, part, :2] - track.keypoints[:, [joint], :2]).astype(np.float64)
            for track in (driver, result)
        )
        scale = (before * after).sum(axis=(1, 2)) / (before**2).sum(axis=(1, 2))
        np.testing.assert_allclose(scale, scale[0], rtol=1e-3)
        np.testing.assert_allclose(after, before * scale[0], atol=0.01 * np.abs(after).max())
    # the child's head is 1.4 times a grown-up's for its size
    face = [
        np.linalg.norm(np.ptp(track.keypoints[:, 23:91, :2], axis=1), axis=1) for track in (picture_of("child"), result)
    ]
    assert np.median(face[1]) == pytest.approx(face[0][0], rel=0.06)


def test_depth_is_followed_or_taken_out():
    poses = walk(frames=120, heading=0.0)
    driver = seen(poses, WIDTH, HEIGHT, 150.0, ground=0.7, distance=6.0)
    reference = picture_of("giant")
    own = float(limb_lengths(reference, "shoulders")[0])
    near = limb_lengths(driver, "shoulders")
    assert near.max() > 1.6 * near.min()
    follow, level = (limb_lengths(retarget(driver, reference, follow_depth=on), "shoulders") for on in (True, False))
    np.testing.assert_allclose(follow / follow.max(), near / near.max(), atol=0.05)
    assert follow.max() <= own * 1.0005 and follow.max() > 0.9 * own
    assert level.min() > 0.75 * own and level.max() <= own * 1.0005


def test_every_shot_is_placed_on_its_own():
    poses = dance(frames=90)
    far = seen(poses, WIDTH, HEIGHT, 110.0, x=0.2)
    near = seen(poses, WIDTH, HEIGHT, 220.0, x=0.7)
    both = PoseTrack(np.concatenate([near.keypoints, far.keypoints]), WIDTH, HEIGHT, 30, cuts=(90,))
    reference = picture_of("child")
    result = retarget(both, reference)
    assert result.cuts == (90,)
    np.testing.assert_allclose(result.keypoints[:90], result.keypoints[90:], atol=2)
    np.testing.assert_allclose(result.keypoints[:90], retarget(near, reference).keypoints, atol=2)


def test_a_close_up_after_a_whole_figure_is_placed_by_its_neck():
    poses = dance(frames=60)
    wide, close = seen(poses, WIDTH, HEIGHT, 220.0), seen(poses, WIDTH, HEIGHT, 500.0, ground=1.6)
    close = without(close, 11, 12, *LEGS)
    both = PoseTrack(np.concatenate([wide.keypoints, close.keypoints]), WIDTH, HEIGHT, 30, cuts=(60,))
    reference = picture_of("long legs")
    result, bodies = retarget_bodies(both, reference)
    assert bodies.on_feet
    necks = place(result, "neck")
    off = necks[60:] - place(reference, "neck")[0]
    assert abs(off[0, 0]) < 1 and np.abs(off[:, 1]).max() < 0.2 * np.nanmax(limb_lengths(result, "trunk"))
    widths = [np.nanmax(limb_lengths(result, "shoulders")[part]) for part in (slice(0, 60), slice(60, 120))]
    assert widths[1] == pytest.approx(widths[0], rel=0.03)


def test_proportions_between_driver_and_reference():
    driver, _ = driver_of("dance")
    reference = picture_of("long legs")

    def legs_to_trunk(track):
        return leg_size(track) / np.nanmax(limb_lengths(track, "trunk"))

    own, theirs = legs_to_trunk(driver), legs_to_trunk(reference)
    got = [legs_to_trunk(retarget(driver, reference, proportions=part)) for part in (0, 0.5, 1)]
    assert got == pytest.approx([own, np.sqrt(own * theirs), theirs], rel=0.01)


def test_edited_pictures_tell_the_bones():
    driver, _ = driver_of("dance")
    body = BODIES["short arms"]
    plain = picture_of("short arms")
    # the reference points both forearms at the camera; the edit shows it frontally, at 0.7 of the size
    hidden = picture_of("short arms", stance(body, arms=((0.3, 0.2, 0.2, 1.4), (0.3, 0.2, 0.2, 1.4))))
    edit = seen([stance(body)], 640, 480, 0.7 * 620 / (body.thigh + body.shin + body.trunk + body.neck + body.head))
    helped = retarget(driver, hidden, reference_edit=edit)
    for limb in LIMBS:
        assert np.nanmax(limb_lengths(helped, limb)) == pytest.approx(limb_lengths(plain, limb)[0], rel=0.03), limb
    # a driver who never shows the whole arm, and an edit of one frame that does
    short = walk(frames=60)
    arms_away = seen(short, WIDTH, HEIGHT, SCALE)
    edited = seen([stance(ADULT)], 500, 700, 1.5 * SCALE)
    _, bodies = retarget_bodies(arms_away, plain, driver_edit=edited)
    assert bodies.driver.bones[at.LEFT_SHOULDER] == pytest.approx(ADULT.shoulder * SCALE, rel=0.03)
    assert bodies.driver.bones[at.LEFT_WRIST] == pytest.approx(ADULT.forearm * SCALE, rel=0.03)


@pytest.mark.parametrize("align, joint", [("hips", "pelvis"), ("neck", "neck")])
def test_alignment_puts_the_joint_where_the_reference_has_it(align, joint):
    driver, _ = driver_of("dance")
    reference = picture_of("giant")
    result = retarget(driver, reference, align=align, travel="full")
    assert place(result, joint)[0, 0] == pytest.approx(place(reference, joint)[0, 0], abs=0.5)
    best = best_frame(driver)
    assert place(result, joint)[best, 1] == pytest.approx(place(reference, joint)[0, 1], abs=0.5)


def test_one_frame_and_gaps_of_nobody():
    driver, _ = driver_of("dance")
    reference = picture_of("child")
    one = retarget(driver.slice(0, 1), reference)
    assert len(one) == 1 and np.isfinite(one.keypoints).all()
    assert one.keypoints[0, [15, 16], 1].max() == pytest.approx(reference.keypoints[0, [15, 16], 1].max(), abs=1)
    keypoints = driver.keypoints.copy()
    keypoints[50:60] = 0
    gap = retarget(driver.replaced(keypoints), reference)
    assert (gap.keypoints[50:60] == 0).all()
    assert (gap.keypoints[:50, :17, 2] == 1).all()


def test_the_inputs_are_left_alone():
    driver, _ = driver_of("dance")
    reference = picture_of("child")
    before = driver.keypoints.copy(), reference.keypoints.copy()
    retarget(driver, reference)
    np.testing.assert_array_equal(driver.keypoints, before[0])
    np.testing.assert_array_equal(reference.keypoints, before[1])
