"""SAM 2 against Meta's and transformers' own results, and where it fails."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from demo.figure import draw_figure, room
from demo.small_sam2 import FILE, dancer_mask
from wan_animate.errors import Cancelled, InputError
from wan_animate.mask.character import segment_character
from wan_animate.mask.prompts import Prompt, prompts_from_pose
from wan_animate.mask.sam2_weights import METADATA, VARIANTS, _infer, build_model, read_weights
from wan_animate.mask.segmentation import KEY_FRAMES, Segmenter, ShotTracker, preprocess
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource

from ..support import record_sam2
from ..support.figures import DancerSource, dancer_track

RECORD = Path(__file__).parents[1] / "data" / "sam2_meta.npz"
WIDTH, HEIGHT = 320, 240


def prompt(frame, points, labels, box) -> Prompt:
    return Prompt(frame, np.float32(points), np.array(labels), box)


@pytest.fixture(scope="module")
def meta_file(tmp_path_factory):
    """The random weights of the recorded Meta predictor, in Meta's layout, by version."""
    from safetensors.torch import save_file

    folder, record = tmp_path_factory.mktemp("meta"), np.load(RECORD)

    def make(version: str) -> Path:
        path = folder / f"{version}.safetensors"
        if not path.exists():
            shapes = json.loads(str(record[f"shapes_{version}"]))
            tensors = {key: torch.from_numpy(value) for key, value in record_sam2.weights(shapes).items()}
            save_file(tensors, path, {METADATA: json.dumps(record_sam2.ARCHITECTURE)})
        return path

    return make


@pytest.fixture(scope="module")
def fitted():
    return Segmenter(FILE, "cpu")


@pytest.mark.parametrize("version", ["2.1", "2.0"])
def test_masks_are_metas_own(meta_file, version):
    segmenter = Segmenter(meta_file(version), "cpu")
    assert segmenter.name.startswith(f"SAM {version}") and segmenter.architecture.layout == "meta"
    clip = record_sam2.frames()
    masks = segmenter.segment(TensorSource(clip), [prompt(*one) for one in record_sam2.PROMPTS]).read(0, len(clip))
    packed = np.load(RECORD)[f"masks_{version}"]
    theirs = np.unpackbits(packed, axis=1)[:, : masks[0].size].reshape(masks.shape)
    assert 0.3 < theirs.mean() < 0.8
    # torch builds differ in the last bits, which shows where a logit is all but zero
    assert (masks != theirs).mean() < 1e-4


def test_masks_are_those_of_a_session_over_the_whole_clip(meta_file, tmp_path):
    """transformers' documented loop, all frames and outputs held."""
    pytest.importorskip("torchvision", reason="torchvision, which transformers' own video processor needs, is missing")
    from safetensors.torch import save_file
    from transformers import Sam2VideoVideoProcessor
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    tensors, architecture = read_weights(meta_file("2.1"))
    model = build_model(architecture.config)
    model.load_state_dict(tensors)
    path = tmp_path / "hf.safetensors"
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}  # older releases tie two of them
    save_file(state, path, {METADATA: json.dumps(record_sam2.ARCHITECTURE)})
    segmenter = Segmenter(path, "cpu")
    assert segmenter.architecture.layout == "huggingface"

    clip = np.concatenate([record_sam2.frames(), record_sam2.frames()[::-1]])
    prompts = [prompt(*one) for one in record_sam2.PROMPTS]
    ours = segmenter.segment(TensorSource(clip), prompts).read(0, len(clip))

    side = record_sam2.SIDE
    processor = Sam2VideoVideoProcessor(size={"height": side, "width": side})
    pixels = processor(videos=list(clip), return_tensors="pt").pixel_values_videos[0]
    assert max(float((one - preprocess(frame, side)).abs().max()) for one, frame in zip(pixels, clip)) == 0
    session = Sam2VideoInferenceSession(pixels, record_sam2.HEIGHT, record_sam2.WIDTH, dtype=torch.float32)
    scale = torch.tensor([side / record_sam2.WIDTH, side / record_sam2.HEIGHT])
    index = session.obj_id_to_idx(1)
    for one in prompts:
        points, labels = torch.from_numpy(one.points), torch.from_numpy(one.labels)
        if one.box is not None:
            points = torch.cat([torch.tensor(one.box).float().reshape(2, 2), points])
            labels = torch.cat([torch.tensor([2, 3]), labels])
        inputs = {"point_coords": (points * scale)[None, None], "point_labels": labels.int()[None, None]}
        session.add_point_inputs(index, one.frame, inputs)
        session.obj_with_new_inputs = [1]
        model(session, frame_idx=one.frame)
    first, found = prompts[0].frame, {}
    for reverse in (True, False):
        for output in model.propagate_in_video_iterator(session, start_frame_idx=first, reverse=reverse):
            found[output.frame_idx] = output.pred_masks
    size = (record_sam2.HEIGHT, record_sam2.WIDTH)
    theirs = np.stack([(F.interpolate(found[at], size, mode="bilinear")[0, 0] > 0).numpy() for at in range(len(clip))])
    assert np.array_equal(ours, theirs)


def test_what_is_kept_does_not_grow_with_the_shot(fitted):
    track = dancer_track(60, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    prompts = [Prompt(at, track.keypoints[at, [0, 5, 6], :2], np.ones(3, np.int64)) for at in (20, 25, 32, 41, 47, 55)]
    shot = ShotTracker(fitted.load(), fitted.device, frames, 0, 60, prompts)
    order, most = [], 0
    with torch.inference_mode():
        for frame, mask in shot.follow():
            order.append(frame)
            assert mask.shape == (HEIGHT, WIDTH) and mask.any()
            kept = shot.outputs["non_cond_frame_outputs"]
            most = max(most, len(kept))
            assert sum("maskmem_features" in one for one in kept.values()) <= 3 * shot.memories + 1
            assert not any({"pred_masks", "high_res_masks"} & one.keys() for one in kept.values())
            assert len(shot.outputs["cond_frame_outputs"]) <= KEY_FRAMES and not list(shot.held)
            assert len(shot.session.frames_tracked_per_obj[0]) <= 3 * shot.pointers + 1
    assert order == [*range(19, -1, -1), *range(20, 60)]
    assert most <= 3 * shot.pointers + 1
    assert frames.longest_read <= 8


@pytest.mark.parametrize("width, blocks", VARIANTS)
def test_published_sizes_are_told_by_their_shapes(width, blocks):
    name, heads, windows, whole = VARIANTS[width, blocks]
    channels = [width * 2**stage for stage in range(4)]
    window = [14, 14] if name == "base plus" else [7, 7]
    backbone = {
        "hidden_size": width, "embed_dim_per_stage": channels, "num_attention_heads_per_stage": list(heads),
        "blocks_per_stage": list(blocks), "global_attention_blocks": list(whole),
        "window_size_per_stage": list(windows), "window_positional_embedding_background_size": window,
    }  # fmt: skip
    for newer in (True, False):
        with torch.device("meta"):
            model = build_model(
                {
                    "vision_config": {"backbone_config": backbone, "backbone_channel_list": channels[::-1]},
                    "enable_occlusion_spatial_embedding": newer,
                    "enable_temporal_pos_encoding_for_object_pointers": newer,
                }
            )
            config, found = _infer(model.state_dict(), {})
            assert found == f"SAM {'2.1' if newer else '2.0'} {name}"
            again = build_model(config)
        assert {key: one.shape for key, one in again.state_dict().items()} == {
            key: one.shape for key, one in model.state_dict().items()
        }
        ours, theirs = again.config.to_dict(), model.config.to_dict()
        # not read where the list by stage is given
        for config in (ours, theirs):
            config["vision_config"]["backbone_config"].pop("num_attention_heads")
        assert ours == theirs


def test_the_dancer_is_followed(fitted):
    track = dancer_track(24, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    calls = []
    found = segment_character(fitted, frames, track, progress=lambda *call: calls.append(call))
    masks = found.masks.read(0, 24) > 0
    true = np.stack([dancer_mask(frame) for frame in frames.read(0, 24)])
    overlap = (masks & true).sum(axis=(1, 2)) / (masks | true).sum(axis=(1, 2))
    assert overlap.min() > 0.9
    assert found.lost == () and "all 24 frames" in found.report
    assert calls[-1] == (24, 24) and [done for done, _ in calls[:24]] == list(range(1, 25))


def test_shots_are_followed_by_themselves(fitted):
    one = dancer_track(10, WIDTH, HEIGHT, center=(0.35, 0.5), size=0.6)
    other = dancer_track(8, WIDTH, HEIGHT, center=(0.65, 0.5), size=0.8)
    track = PoseTrack(np.concatenate([one.keypoints, other.keypoints]), WIDTH, HEIGHT, cuts=(10,))
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    together = segment_character(fitted, frames, track).masks
    for start, stop in track.shots:
        clip = TensorSource(frames.read(start, stop))
        alone = segment_character(fitted, clip, track.slice(start, stop)).masks
        assert together.packed[start:stop] == alone.packed


def lost_clip():
    """No dancer in frames 7 to 11, where the pose has one."""
    track = dancer_track(20, WIDTH, HEIGHT)
    return DancerSource(track.keypoints, WIDTH, HEIGHT, empty=range(7, 12)), track


def test_lost_frames_are_named_and_filled(fitted, caplog):
    from wan_animate.mask.from_pose import silhouette

    frames, track = lost_clip()
    found = segment_character(fitted, frames, track)
    assert found.lost == (7, 8, 9, 10, 11)
    assert "5 of 20 frames (7-11)" in found.report and "pose's outline" in found.report
    assert "point_frame 9" in found.report and found.report in caplog.text
    filled = found.masks.read(7, 12)
    assert np.array_equal(filled[2], silhouette(track.keypoints[9], WIDTH, HEIGHT))

    between = segment_character(fitted, frames, track, fill="between")
    assert between.lost == found.lost and "masks around" in between.report
    before, after = between.masks.read(6, 7)[0], between.masks.read(12, 13)[0]
    middle = between.masks.read(9, 10)[0]
    assert min(before.sum(), after.sum()) * 0.7 < middle.sum() < max(before.sum(), after.sum()) * 1.3
    assert (middle & (before | after)).sum() > 0.9 * middle.sum()

    left = segment_character(fitted, frames, track, fill="leave")
    assert left.lost == found.lost and not left.masks.read(7, 12).any()


def test_points_by_hand(fitted):
    """Without a pose, added to it, and in its place."""
    track = dancer_track(12, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    own = Prompt(5, track.keypoints[5, [0, 5, 6], :2], np.ones(3, np.int64))
    alone = segment_character(fitted, frames, own=own)
    assert alone.lost == () and alone.masks.read(0, 12).any(axis=(1, 2)).all()
    replaced = segment_character(fitted, frames, track, own=own, replace=True)
    assert replaced.masks.packed == alone.masks.packed
    away = Prompt(3, np.float32([[5, 5]]), np.zeros(1, np.int64))  # no key frame of the pose
    for added in (own, away):
        assert segment_character(fitted, frames, track, own=added).lost == ()
    with pytest.raises(InputError, match="nothing says where it is on frame 3"):
        segment_character(fitted, frames, track, own=away, replace=True)
    empty = DancerSource(track.keypoints, WIDTH, HEIGHT, empty=range(12))
    with pytest.raises(InputError, match="found nobody in any of the 12 frames"):
        segment_character(fitted, empty, own=own)


def test_bad_inputs_are_refused_before_the_model_is_loaded():
    segmenter = Segmenter(FILE, "cpu")
    track = dancer_track(6, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    nobody = track.replaced(track.keypoints * np.float32([1, 1, 0]))
    own = Prompt(6, np.float32([[1, 1]]), np.ones(1, np.int64))
    for arguments, words in (
        (dict(), "connect the pose of this clip"),
        (dict(pose=nobody), "three sure joints"),
        (dict(pose=track.slice(0, 5)), "it has 5 frames and there are 6 pictures; detect"),
        (dict(pose=track, own=own), "point_frame is 6, but the clip has frames 0 to 5"),
        (dict(pose=track, fill="magic"), "fill is 'magic'"),
    ):
        with pytest.raises(InputError, match=words):
            segment_character(segmenter, frames, **arguments)
    with pytest.raises(InputError, match="clip of masks"):
        segmenter.segment(TensorSource(np.zeros((2, 8, 8), np.uint8)), [own])
    with pytest.raises(InputError, match="precision is 'fp8'"):
        Segmenter(FILE, "cpu", "fp8")
    assert not segmenter.loaded


def test_cancel_ends_the_work_and_its_thread(fitted):
    track = dancer_track(40, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    threads = set(threading.enumerate())

    def cancel(done, total):
        if done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        segment_character(fitted, frames, track, progress=cancel)
    assert not {one for one in set(threading.enumerate()) - threads if not one.name.startswith("frames")}
    fitted.close()
    assert not fitted.loaded
    assert segment_character(fitted, TensorSource(frames.read(0, 3)), track.slice(0, 3)).lost == ()


def test_key_frames_have_points_in_the_body():
    track = dancer_track(60, WIDTH, HEIGHT)
    track = PoseTrack(track.keypoints, WIDTH, HEIGHT, cuts=(40,), boxes=boxes_of(track))
    prompts = prompts_from_pose(track)
    frames = [one.frame for one in prompts]
    assert frames == sorted(set(frames))
    assert [sum(start <= at < stop for at in frames) for start, stop in track.shots] == [2, 1]
    for one in prompts:
        body = dancer_mask(draw_figure(track.keypoints[one.frame], WIDTH, HEIGHT))
        x, y = one.points.round().astype(int).T
        assert body[y, x].mean() > 0.9 and len(one.points) >= 9 and (one.labels == 1).all()
        assert one.box == pytest.approx(tuple(track.boxes[one.frame, :4]))
    long = dancer_track(900, WIDTH, HEIGHT)
    assert len(prompts_from_pose(long)) == 9


def boxes_of(track: PoseTrack) -> np.ndarray:
    points = track.keypoints[..., :2]
    return np.concatenate(
        [points.min(axis=1) - 4, points.max(axis=1) + 4, np.full((len(points), 1), 0.9)], axis=1
    ).clip(0, (WIDTH, HEIGHT, WIDTH, HEIGHT, 1))


def test_points_by_hand_come_on_top_of_the_poses():
    given = []

    class Looking(Segmenter):
        def segment(self, frames, prompts, cuts=(), progress=None):
            given[:] = prompts
            return super().segment(frames, prompts, cuts, progress)

    track = dancer_track(6, WIDTH, HEIGHT)
    frames = DancerSource(track.keypoints, WIDTH, HEIGHT)
    (key,) = prompts_from_pose(track)
    for at in (key.frame, (key.frame + 1) % 6):
        own = Prompt(at, np.float32([[160, 90], [5, 5]]), np.array([1, 0]), (10, 10, 300, 230))
        segment_character(Looking(FILE, "cpu"), frames, track, own=own)
        mixed = next(one for one in given if one.frame == at)
        assert len(given) == 1 + (at != key.frame) and mixed.box == own.box
        assert mixed.labels.tolist() == [1] * (len(mixed.labels) - 1) + [0] and len(mixed.labels) > 9
        assert mixed.points[-2:].tolist() == own.points.tolist()


def test_unsure_frames_are_not_shown():
    keypoints = dancer_track(20, WIDTH, HEIGHT).keypoints.copy()
    keypoints[:, :, 2] *= 0.4
    keypoints[13, :, 2] = 0.9
    keypoints[13, 0, :2] = -5, 50  # the nose is out of the picture
    (only,) = prompts_from_pose(PoseTrack(keypoints, WIDTH, HEIGHT))
    assert only.frame == 13 and (only.points >= 0).all() and only.box is None


def test_empty_room_has_nobody(fitted):
    clip = TensorSource(np.repeat(room(WIDTH, HEIGHT)[None], 3, axis=0))
    masks = fitted.segment(clip, [Prompt(0, np.float32([[160, 120]]), np.ones(1, np.int64))])
    assert not masks.read(0, 3).any()


def test_it_moves_between_clips_only():
    segmenter = Segmenter(FILE, "cpu")
    segmenter.move(torch.device("meta"))
    assert next(segmenter.load().parameters()).device.type == "meta"
    segmenter.move(torch.device("cpu"))
    assert segmenter.device.type == "meta", "its weights are there"
    segmenter.close()
    segmenter.move(torch.device("cpu"))
    assert next(segmenter.load().parameters()).device.type == "cpu"
