"""Masks: shaped as upstream's, compressed, taken from frames and skeletons."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.mask.background import BackgroundSource
from wan_animate.mask.convert import MaskFromImages
from wan_animate.mask.from_pose import PoseMaskSource, silhouette
from wan_animate.mask.lost import find_lost
from wan_animate.mask.prompts import prompt_from_editor, prompts_from_pose
from wan_animate.mask.shape import ShapedMaskSource, shape_mask
from wan_animate.mask.specks import without_specks
from wan_animate.mask.track import MaskTrack, MaskTrackSource
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource

from ..support.figures import dancer_track
from ..support.record_upstream import SHAPES, blobs

UPSTREAM = Path(__file__).parents[1] / "data" / "upstream_preprocess.npz"


@pytest.mark.parametrize("number", range(4))
def test_shapes_equal_upstreams(number):
    record, mask = np.load(UPSTREAM), blobs()[number]
    for shape, options in enumerate(SHAPES):
        before = mask.copy()
        shaped = shape_mask(mask, *options)
        assert np.array_equal(np.packbits(shaped), record[f"mask_{number}_{shape}"])
        assert np.array_equal(mask, before)


def test_shapes_upstream_fails_on():
    empty = np.zeros((20, 30), np.uint8)
    assert not shape_mask(empty).any()
    dot = empty.copy()
    dot[5, 6] = 1
    assert np.array_equal(shape_mask(dot, k=1, w_len=10, h_len=20), dot)
    shaped = shape_mask(dot, iterations=1, k=3, w_len=50, h_len=50)  # blocks smaller than a pixel
    assert shaped.sum() == 9 and shaped[4:7, 5:8].all()
    with pytest.raises(InputError, match=r"w_len \(0\)"):
        ShapedMaskSource(TensorSource(np.zeros((1, 8, 8), np.uint8)), w_len=0)


def test_shaped_source_is_the_function_frame_by_frame():
    masks = np.stack(blobs())
    source = ShapedMaskSource(TensorSource(masks.astype(np.float32)), w_len=4, h_len=3)
    read = source.read(1, 4)
    assert read.dtype == np.uint8 and set(np.unique(read)) == {0, 255}
    for mask, shaped in zip(masks[1:4], read, strict=True):
        assert np.array_equal(shaped // 255, shape_mask(mask, w_len=4, h_len=3))


def test_extras_off_is_upstreams():
    masks = TensorSource(np.stack(blobs()) * np.uint8(255))
    plain, off = ShapedMaskSource(masks, w_len=3), ShapedMaskSource(masks, w_len=3, stabilize=0, feather=0)
    assert np.array_equal(plain.read(0, 4), off.read(0, 4)) and plain.fingerprint() == off.fingerprint()
    with pytest.raises(InputError, match=r"steady \(17\)"):
        ShapedMaskSource(masks, stabilize=17)
    with pytest.raises(InputError, match=r"feather \(-1\)"):
        ShapedMaskSource(masks, feather=-1)


def moving_disc(count: int, height: int = 120, width: int = 200, step: float = 3.0) -> np.ndarray:
    """A disc with a thin arm whose tip moves by 12 pixels a frame."""
    masks = np.zeros((count, height, width), np.uint8)
    for at, mask in enumerate(masks):
        centre = np.array([60 + step * at, 60])
        tip = centre + 45 * np.array([np.cos(0.1 * at), np.sin(0.1 * at)])
        cv2.circle(mask, tuple(int(one) for one in centre), 22, 1, -1)
        cv2.line(mask, tuple(int(one) for one in centre), tuple(int(one) for one in tip), 1, 4)
    return masks


def test_steadying_takes_out_flicker_and_leaves_motion():
    def steadied(masks: np.ndarray) -> ShapedMaskSource:
        return ShapedMaskSource(TensorSource(masks * np.uint8(255)), iterations=0, stabilize=2)

    true = moving_disc(16)
    steady = steadied(true).read(0, 16) // 255
    assert (steady >= true).all() and (steady > true).sum() < 0.01 * true.sum()  # motion is no flicker
    flicker = true.copy()
    flicker[5, 5:25, 150:190] = 1  # a blob far away, for one frame
    flicker[9, 50:66, 70:100] = 0  # a hole in the body, for one frame
    assert flicker[9].sum() < true[9].sum() - 100
    source = steadied(flicker)
    steady = source.read(0, 16) // 255
    assert not steady[5, :30, 145:].any()
    assert (steady[9] != true[9]).sum() < 0.15 * (flicker[9] != true[9]).sum()
    for start, stop in ((4, 6), (9, 10), (0, 3), (14, 16)):  # a read is the same whatever is read with it
        assert np.array_equal(source.read(start, stop) // 255, steady[start:stop])


def test_steadying_stops_at_a_cut():
    first, second = moving_disc(6) * np.uint8(255), moving_disc(6)[:, ::-1, ::-1] * np.uint8(255)
    clip = np.concatenate([first, second])
    steady = ShapedMaskSource(TensorSource(clip), iterations=0, stabilize=3).read(0, 12) // 255
    for start, stop in ((0, 6), (6, 12)):
        alone = ShapedMaskSource(TensorSource(clip[start:stop]), iterations=0, stabilize=3).read(0, 6) // 255
        assert np.array_equal(steady[start:stop], alone)


def test_feather_keeps_the_outline_at_half():
    masks = np.stack(blobs()) * np.uint8(255)
    hard = ShapedMaskSource(TensorSource(masks), w_len=8, h_len=8).read(0, 4)
    soft = ShapedMaskSource(TensorSource(masks), w_len=8, h_len=8, feather=9).read(0, 4)
    assert np.array_equal(soft >= 128, hard > 0) and len(np.unique(soft)) > 8
    square = np.zeros((1, 60, 60), np.uint8)
    square[0, 20:40, 20:40] = 255
    row = ShapedMaskSource(TensorSource(square), iterations=0, feather=8).read(0, 1)[0, 30].astype(int)
    assert (np.diff(row[:30]) >= 0).all() and row[15] == 0 and row[16] > 0 and row[24] == 255 and row[23] < 255
    assert row[19] + row[20] == 255  # the outline runs in the middle
    frames = np.full((4, 90, 150, 3), 200, np.uint8)
    cut = [BackgroundSource(TensorSource(frames), TensorSource(one)).read(0, 4) for one in (hard, soft)]
    assert np.array_equal(*cut)


def test_masks_that_are_not_the_person_are_found():
    track = dancer_track(6, 320, 240)
    masks = PoseMaskSource(track).read(0, 6) // 255
    masks[1] = 0
    masks[2] = np.roll(masks[2], 140, axis=1)  # somebody else
    masks[3] = 1  # everything
    masks[4, :165] = 0  # the lower legs alone
    lost = find_lost(MaskTrack.from_source(TensorSource(masks * np.uint8(255))), track)
    assert lost.tolist() == [False, True, True, True, True, False]
    unsure = track.replaced(track.keypoints * np.float32([1, 1, 0.1]))
    assert not find_lost(MaskTrack.from_source(TensorSource(masks * np.uint8(255))), unsure).any()
    alone = find_lost(MaskTrack.from_source(TensorSource(masks * np.uint8(255))), None)
    assert alone.tolist() == [False, True, False, False, False, False]


def test_specks_are_dropped_and_hands_kept():
    masks = np.zeros((10, 120, 160), np.uint8)
    masks[:, 20:100, 40:100] = 1
    whole = masks.copy()
    masks[3, 2:5, 2:5] = 1  # 9 pixels beside 4,800
    whole[4, 60:70, 130:140] = masks[4, 60:70, 130:140] = 1  # 100: a hand
    masks[5] = whole[5] = 0
    track = without_specks(MaskTrack.from_source(TensorSource(masks * np.uint8(255))))
    assert np.array_equal(track.read(0, 10), whole)


def test_the_real_presenter_is_not_lost(examples):
    """The example clip's published masks hold its published pose."""
    masks = MaskTrack.load(examples / "video_mask.npz")
    pose = PoseTrack.load(examples / "video_pose.npz").scaled(masks.shape[2], masks.shape[1])
    assert not find_lost(masks, pose).any()
    prompts = prompts_from_pose(pose)
    assert len(prompts) == min(4, -(-len(pose) // 25))
    for prompt in prompts:
        x, y = prompt.points.astype(int).T
        assert masks.read(prompt.frame, prompt.frame + 1)[0][y, x].all()


def test_points_and_boxes_of_an_editor():
    text = '[{"x": 10, "y": 20.5}, {"x": 30, "y": 40}]'
    prompt = prompt_from_editor(4, text, "[[1, 2]]", [[5, 6, 50, 60], [0, 0, 1, 1]], (64, 64))
    assert prompt.frame == 4 and prompt.points.tolist() == [[10, 20.5], [30, 40], [1, 2]]
    assert prompt.labels.tolist() == [1, 1, 0] and prompt.box == (5, 6, 50, 60)
    assert prompt_from_editor(0, "", None) is None and prompt_from_editor(0, "[]", "[]", []) is None
    host = prompt_from_editor(0, None, None, {"x": 1, "y": 2, "width": 10, "height": 20})
    assert host.box == (1, 2, 11, 22) and len(host.points) == 0
    assert prompt_from_editor(0, None, "[[1, 1]]").labels.tolist() == [0]
    assert prompt_from_editor(0, None, None, [(1, 2, 3, 4)]).box == (1, 2, 3, 4)
    for arguments, words in (
        (("[{x: 1}]", None), "points_positive must be a JSON list"),
        (('[{"x": 1}]', None), "points_positive must be a JSON list"),
        (("3", None), "points_positive must be a JSON list"),
        (("[[" + "9" * 400 + ", 3]]", None), "points_positive must be a JSON list"),
        (("[" * 100_000, None), "points_positive must be a JSON list"),
        (('[{"x": 64, "y": 1}]', None), "64, 1, outside the 64x64 frame"),
        ((None, None, [1, 2, 3]), "bbox must be four numbers"),
        ((None, None, (5, 5, 5, 9)), "bbox is 5, 5, 5, 9"),
        ((None, None, {"x": 1}), "bbox must be four numbers"),
    ):
        with pytest.raises(InputError, match=words):
            prompt_from_editor(0, *arguments, **({} if len(arguments) > 2 else {"size": (64, 64)}))


def test_tracks_keep_every_bit_in_little_space(tmp_path):
    masks = PoseMaskSource(dancer_track(12, 640, 360))
    progress = []
    track = MaskTrack.from_source(masks, lambda done, total: progress.append((done, total)))
    assert progress == [(8, 12), (12, 12)]
    assert sum(map(len, track.packed)) / 12 < 3000
    source = MaskTrackSource(track)
    assert np.array_equal(source.read(0, 12), masks.read(0, 12))
    track.save(tmp_path / "mask.npz")
    again = MaskTrack.load(tmp_path / "mask.npz")
    assert again.fingerprint() == track.fingerprint() and again.fps == Fraction(30)
    half = MaskTrackSource(track, width=320, height=180).read(3, 4)[0]
    assert half.shape == (180, 320) and set(np.unique(half)) == {0, 255}
    assert (half == masks.read(3, 4)[0][::2, ::2]).mean() > 0.99
    with pytest.raises(InputError, match="clip of images"):
        MaskTrack.from_source(TensorSource(np.zeros((1, 4, 4, 3), np.uint8)))


def test_plain_bits_load_as_the_published_masks_come(tmp_path):
    masks = np.stack(blobs())
    np.savez(
        tmp_path / "bits.npz", packed=np.packbits(masks.reshape(4, -1), axis=1), shape=np.array(masks.shape), fps=24.0
    )
    track = MaskTrack.load(tmp_path / "bits.npz")
    assert np.array_equal(track.read(0, 4), masks) and track.fps == 24
    np.savez(tmp_path / "bad.npz", packed=np.zeros((4, 5), np.uint8), shape=np.array(masks.shape))
    with pytest.raises(InputError, match="do not fit"):
        MaskTrack.load(tmp_path / "bad.npz")


def test_background_is_the_frame_where_nobody_is():
    frames = np.random.default_rng(0).integers(1, 255, (12, 40, 60, 3), dtype=np.uint8)
    masks = np.zeros((12, 40, 60), np.float32)
    masks[:, 10:20, 5:50] = 1
    masks[3] = 0.49  # below half: background
    for clip in (frames, frames / np.float32(255)):
        cut = BackgroundSource(TensorSource(clip), TensorSource(masks)).read(1, 11)
        assert cut.dtype == clip.dtype
        assert np.array_equal(cut, clip[1:11] * (masks[1:11, ..., None] < 0.5))
    with pytest.raises(InputError, match="12 frames and 11 masks"):
        BackgroundSource(TensorSource(frames), TensorSource(masks[:11]))
    with pytest.raises(InputError, match="60x40 and masks 30x40"):
        BackgroundSource(TensorSource(frames), TensorSource(masks[:, :, :30]))
    with pytest.raises(InputError, match="masks and images"):
        BackgroundSource(TensorSource(masks), TensorSource(frames))


def test_channels():
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    frames[..., 1] = 200
    source = TensorSource(frames)
    assert MaskFromImages(source, "green").read(0, 2).tolist() == np.full((2, 4, 4), 200).tolist()
    assert not MaskFromImages(source, "red").read(0, 2).any()
    assert MaskFromImages(source, "luma").read(0, 1)[0, 0, 0] == round(0.587 * 200)
    with pytest.raises(InputError, match="channel is 'alpha'"):
        MaskFromImages(source, "alpha")


def test_silhouette_covers_the_drawn_person_and_not_the_room():
    """The person is what differs from the empty room, with its shadow."""
    from demo.figure import draw_figure, room

    track = dancer_track(20, 640, 480)
    masks = PoseMaskSource(track).read(0, 20) > 0
    for keypoints, mask in zip(track.keypoints[::5], masks[::5], strict=True):
        person = np.abs(draw_figure(keypoints, 640, 480, marked=False).astype(int) - room(640, 480)).max(axis=2) > 12
        floor = int(keypoints[15:23, 1].max()) - 10
        person[floor:] = False  # the shadow on the rug
        assert mask[person].mean() > 0.97
        assert mask.sum() < 2.2 * person.sum()


def test_silhouette_covers_the_real_presenter(examples):
    track = PoseTrack.load(examples / "video_pose.npz").scaled(960, 540)
    person = MaskTrack.load(examples / "video_mask.npz").read(0, 106)[::7] > 0
    mask = PoseMaskSource(track).read(0, 106)[::7] > 0
    assert (mask & person).sum() / person.sum() > 0.97
    assert mask.sum() < 1.3 * person.sum()


def test_silhouettes_of_little_or_nobody():
    nobody = np.zeros((133, 3), np.float32)
    assert not silhouette(nobody, 64, 48).any()
    keypoints = dancer_track(1, 320, 240).keypoints[0].copy()
    keypoints[13:17, 2] = 0  # knees and ankles not found
    head_and_shoulders = keypoints.copy()
    head_and_shoulders[7:23, 2] = head_and_shoulders[91:, 2] = 0
    assert silhouette(keypoints, 320, 240).any() and silhouette(head_and_shoulders, 320, 240).any()
    small, large = (silhouette(keypoints, 320, 240, grow=grow).sum() for grow in (0.7, 1.5))
    assert 1.3 * small < large
    with pytest.raises(InputError, match="grow is 0"):
        PoseMaskSource(dancer_track(1, 64, 64), grow=0)
