"""From frames and a track to the control videos in one call, and the same from the shell's options."""

import numpy as np
import pytest

from demo.example import Dancer, write_example
from demo.robot import character_keypoints
from wan_animate.chain.controls import controls
from wan_animate.cli.make import animate_job
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError
from wan_animate.pose import wholebody
from wan_animate.pose.track import PoseTrack

from ..support.onnx_graphs import known_answer_files

SIZE = (320, 176)


@pytest.fixture(scope="module")
def dancer():
    source = Dancer(0.5, SIZE)
    return source, PoseTrack(np.stack([source.keypoints(frame) for frame in range(len(source))]), *SIZE)


def limb(points: np.ndarray, first: int, second: int) -> np.ndarray:
    return np.linalg.norm(points[..., first, :2] - points[..., second, :2], axis=-1)


def test_animate_on_the_characters_body(dancer):
    frames, track = dancer
    robot = PoseTrack(character_keypoints(1024, 1024)[None], 1024, 1024)
    made = controls(frames, track, reference=robot)
    # the picture's shape, with as many pixels as the video
    assert made.pose.width == made.pose.height and abs(made.pose.width**2 / (SIZE[0] * SIZE[1]) - 1) < 0.15
    assert len(made.pose) == len(frames) == len(made.face) and made.character_mask is None
    scale = made.pose.width / 1024
    arms = limb(made.pose.track.keypoints, wholebody.LEFT_SHOULDER, wholebody.LEFT_ELBOW)
    assert arms.max() <= limb(robot.keypoints[0], wholebody.LEFT_SHOULDER, wholebody.LEFT_ELBOW) * scale * 1.01
    assert made.pose.read(3, 4).any() and made.face.read(3, 4).any()


def test_without_a_reference_the_drivers_own_body(dancer):
    frames, track = dancer
    made = controls(frames, track, strength=0)
    assert (made.pose.width, made.pose.height) == SIZE
    assert np.array_equal(made.pose.track.keypoints, track.keypoints)


def test_replace_cleans_and_masks(dancer):
    frames, track = dancer
    shaken = track.replaced(track.keypoints + np.random.default_rng(0).normal(0, (2, 2, 0), track.keypoints.shape))
    made = controls(frames, shaken, mode="replace")
    kept = controls(frames, shaken, mode="replace", strength=0)
    off = [np.abs(one.pose.track.keypoints - track.keypoints)[..., :2].mean() for one in (made, kept)]
    assert off[0] < 0.5 * off[1]
    mask, background = made.character_mask.read(0, 1)[0], made.background.read(0, 1)[0]
    assert mask.any() and not background[mask > 0].any()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    return *write_example(folder), *known_answer_files(folder)


def options(files, *more: str):
    video, image, detector, pose = files
    given = {"image": image, "video": video, "out": image.with_name("x.mp4"), "models": image.parent, "limit": 6}
    given |= {"detector": detector, "pose": pose, "area": SIZE[0] * SIZE[1], "fps": 30}
    return parsed([*(f"--{name}={value}" for name, value in given.items()), *more])


def job_of(given):
    from wan_animate.video.source import VideoSource

    return animate_job(given, VideoSource(given.video, fps=given.fps, max_area=given.area, limit=given.limit))


def test_the_shell_retargets_to_a_saved_pose(files):
    job, signals = job_of(options(files, f"--reference-track={files[1].with_name('robot_pose.npz')}"))
    hips = signals.pose.track.keypoints[:, [wholebody.LEFT_HIP, wholebody.RIGHT_HIP], :2].mean(axis=1)
    assert np.abs(hips[:, 0] - signals.pose.width / 2).max() < 0.15 * signals.pose.width  # where the robot stands
    own, other = job_of(options(files, "--no-retarget", "--person=central"))
    assert other.pose.fingerprint() != signals.pose.fingerprint()
    assert job.key() != own.key()


def test_a_reference_in_which_nobody_is_found(files):
    with pytest.raises(InputError, match="shows no body to retarget the pose to .*--no-retarget"):
        job_of(options(files))


def test_a_person_who_is_not_there(files):
    with pytest.raises(InputError, match="person number 3 was asked for"):
        job_of(options(files, "--no-retarget", "--person=number", "--person-number=3"))


def test_the_shell_cuts_the_person_out_with_sam2(files, small_models):
    _, signals = job_of(options(files, "--mode=replace", f"--sam2={small_models.segmenter}", "--device=cpu"))
    _, drawn = job_of(options(files, "--mode=replace"))
    assert signals.character_mask.fingerprint() != drawn.character_mask.fingerprint()
    one, two = (made.character_mask.source.read(0, 6) > 0 for made in (signals, drawn))  # before they are made blocky
    assert 0.03 < one.mean() < 0.5
    assert (one & two).sum() > 0.5 * (one | two).sum()
