"""Detection from pixels to keypoints, with graphs whose answer is known, and every wrong file in plain words."""

import logging

import numpy as np
import onnx
import pytest
import torch

from demo.small_onnx import save_detector, save_pose
from wan_animate.detect.detector import PoseDetector
from wan_animate.detect.onnx_model import OnnxModel
from wan_animate.errors import Cancelled, InputError
from wan_animate.people.boxes import decode_yolo, upstream_box
from wan_animate.text import frame_ranges
from wan_animate.video.frames import TensorSource

from ..support.figures import DancerSource, DrawnOnce, dancer_keypoints, shown_whole
from ..support.onnx_graphs import known_answer_files

TIMES = (0.0, 0.4, 0.77)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return known_answer_files(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def detector(files):
    return PoseDetector(*files)


@pytest.mark.parametrize("size", [(1280, 720), (480, 854), (600, 600), (1680, 720), (333, 517)], ids=str)
@pytest.mark.parametrize(
    "place",
    [
        {"center": (0.5, 0.5), "size": 0.84},
        {"center": (0.28, 0.6), "size": 0.5},
        {"center": (0.95, 0.7), "size": 0.9},
        {"center": (0.5, 0.95), "size": 1.3},
    ],
    ids=["middle", "small", "half beyond the right edge", "from the waist up"],
)
def test_every_visible_joint_within_half_a_pixel(detector, size, place):
    keypoints = dancer_keypoints(TIMES, *size, **place)
    track = detector.detect(DancerSource(keypoints, *size), batch=2).track
    visible = np.stack([shown_whole(points, *size) for points in keypoints])
    assert visible.sum() >= 60  # half of the body, or more, in three frames
    error = np.linalg.norm(track.keypoints[..., :2] - keypoints[..., :2], axis=-1)
    assert error[visible].max() <= 0.5
    assert track.keypoints[..., 2][visible].min() > 0.9
    assert (track.boxes[:, 4] > 0.5).all()
    assert (track.width, track.height, len(track)) == (*size, 3)


def test_a_frame_that_went_through_a_camera_codec(detector):
    """Chroma at half resolution and JPEG's quantisation, as a driving video brings them."""
    import cv2

    keypoints = dancer_keypoints(TIMES, 1280, 720)
    frames = DancerSource(keypoints, 1280, 720).read(0, 3)
    coded = [cv2.imdecode(cv2.imencode(".jpg", frame[..., ::-1])[1], 1)[..., ::-1] for frame in frames]
    found = detector.detect(TensorSource(np.stack(coded))).track.keypoints
    visible = np.stack([shown_whole(points, 1280, 720) for points in keypoints])
    assert np.linalg.norm(found[..., :2] - keypoints[..., :2], axis=-1)[visible].max() < 1.5


def test_batches_of_any_kind_agree(detector, tmp_path, files):
    keypoints = dancer_keypoints(np.arange(5) / 10, 320, 400)
    source = DrawnOnce(keypoints)
    expected = detector.detect(source, batch=5).track.keypoints
    for batch in (1, 2):  # graphs that take one image, or exactly two
        fixed = PoseDetector(*known_answer_files(tmp_path, batch=batch))
        assert np.allclose(fixed.detect(source, batch=5).track.keypoints, expected, atol=1e-3)


@pytest.mark.parametrize("batch", [None, 2])
def test_tensors_in_and_out_are_the_same_numbers(tmp_path, batch, monkeypatch):
    """What a card is given and gives, bound to memory of torch's; the processor's here, the numbers are the same."""
    source = DrawnOnce(dancer_keypoints(np.arange(7) / 10, 320, 400))
    files = known_answer_files(tmp_path, **({} if batch is None else {"batch": batch}))
    expected = PoseDetector(*files).detect(source, batch=3).track
    bound = PoseDetector(*files)
    given, real = [], OnnxModel.run

    def run(self, images):
        given.append(real(self, images))
        return given[-1]

    monkeypatch.setattr(OnnxModel, "run", run)
    bound.person_network.device = bound.pose_network.device = torch.device("cpu")
    found = bound.detect(source, batch=3).track
    assert np.array_equal(found.keypoints, expected.keypoints) and np.array_equal(found.boxes, expected.boxes)
    assert sum(isinstance(outputs, torch.Tensor) for outputs in given) >= 4  # all but the first of each network
    bound.pose_network.device = None  # as after the card has failed: tensors come, arrays go
    assert np.array_equal(bound.detect(source, batch=3).track.keypoints, expected.keypoints)


def test_a_card_without_room_for_the_pictures(files, monkeypatch):
    """They are made in memory then, and the network is asked all the same."""
    from wan_animate.detect import inputs

    source = DrawnOnce(dancer_keypoints(np.arange(3) / 10, 320, 400))
    expected = PoseDetector(*files).detect(source).track
    full = PoseDetector(*files)
    full.person_network.device = full.pose_network.device = torch.device("cpu", 0)
    real = inputs.Preprocessor.normalize

    def no_room(self, pixels, device):
        if device == self.device:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return real(self, pixels, device)

    monkeypatch.setattr(inputs.Preprocessor, "normalize", no_room)
    assert np.array_equal(full.detect(source).track.keypoints, expected.keypoints)


def test_a_graph_that_only_claims_to_take_batches(files, tmp_path, caplog, detector):
    """Some exports declare a free batch and reshape to one image inside."""
    model = onnx.load(files[0])
    rows = model.graph.node[-1].input[0]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 300, 6]), "one"))
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Reshape", [rows, "one"], ["single"]))
    model.graph.node[-1].input[0] = "single"
    onnx.save(model, tmp_path / "claims.onnx")
    source = DrawnOnce(dancer_keypoints(np.arange(3) / 10, 320, 400))
    with caplog.at_level(logging.WARNING):
        track = PoseDetector(tmp_path / "claims.onnx", files[1]).detect(source).track
    assert "claims.onnx takes one image at a time" in caplog.text
    assert np.allclose(track.keypoints, detector.detect(source).track.keypoints, atol=1e-3)


def test_float_images_give_the_same(detector):
    keypoints = dancer_keypoints([0.1], 320, 400)
    frames = DancerSource(keypoints, 320, 400).read(0, 1)
    floats = TensorSource(torch.from_numpy(frames).float() / 255)
    assert np.array_equal(
        detector.detect(floats).track.keypoints, detector.detect(TensorSource(frames)).track.keypoints
    )


def test_frames_are_read_batch_by_batch_and_cancel_stops(detector):
    source = DancerSource(dancer_keypoints(np.arange(7) / 30, 160, 200), 160, 200)
    seen = []
    detector.detect(source, batch=3, progress=lambda done, total: seen.append((done, total)))
    seen = list(dict.fromkeys(seen))  # while a network runs, it is asked again whether to go on
    assert [told for told in seen if told != (0, 7)] == [(3, 7), (6, 7), (7, 7)] and source.longest_read == 3

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        detector.detect(source, batch=3, progress=cancel)


def test_nobody_in_some_frames(detector, caplog):
    source = DancerSource(dancer_keypoints(np.arange(6) / 30, 320, 400), 320, 400, empty=(2, 3))
    with caplog.at_level(logging.WARNING):
        track = detector.detect(source, batch=4).track
    assert "2 of 6 frames (2-3)" in caplog.text
    assert track.body_found.tolist() == [True, True, False, False, True, True]
    assert not track.keypoints[2:4, :, 2].any()
    assert track.boxes[[0, 2, 3, 5], 4].tolist() == [track.boxes[0, 4], 0, 0, track.boxes[5, 4]]
    assert np.allclose(track.boxes[2, :4], track.boxes[1, :4] + (track.boxes[4, :4] - track.boxes[1, :4]) / 3, atol=0.1)


def test_nobody_for_long(detector):
    """More than two seconds, and before the first and after the last detection: everywhere is searched, as upstream
    does."""
    empty = [0, *range(3, 8), 10]
    source = DancerSource(dancer_keypoints(np.arange(11) / 2, 320, 400), 320, 400, empty=empty, fps=2)
    track = detector.detect(source, batch=4).track
    assert [at for at in range(11) if track.boxes[at].tolist() == [0, 0, 320, 400, -1]] == empty
    assert not track.keypoints[empty, :, 2].any() and track.body_found.sum() == 4


def test_a_person_the_detector_misses_is_still_found(files, tmp_path):
    """As upstream: without a box the pose network looks at the whole frame."""
    model = onnx.load(files[0])
    model.graph.node[-1].input[0] = _zeroed(model)
    onnx.save(model, tmp_path / "blind.onnx")
    keypoints = dancer_keypoints([0.2], 320, 400)
    track = PoseDetector(tmp_path / "blind.onnx", files[1]).detect(DancerSource(keypoints, 320, 400)).track
    assert track.boxes[0].tolist() == [0, 0, 320, 400, -1]
    visible = shown_whole(keypoints[0], 320, 400)
    assert np.linalg.norm((track.keypoints - keypoints)[0, visible, :2], axis=-1).max() < 0.5


def _zeroed(model) -> str:
    rows = model.graph.node[-1].input[0]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "nothing"))
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Mul", [rows, "nothing"], ["blind"]))
    return "blind"


def test_nobody_anywhere(detector):
    source = DancerSource(dancer_keypoints([0, 1], 160, 200), 160, 200, empty=(0, 1))
    with pytest.raises(InputError, match="no person was found in any of the clip's 2 frames; use a clip"):
        detector.detect(source)


def test_one_person_gets_upstreams_boxes(files, detector):
    """The networks run by hand, frame by frame, with upstream's choice of the box."""
    import cv2
    import onnxruntime

    source = DancerSource(dancer_keypoints(np.arange(12) / 10, 640, 360), 640, 360)
    track = detector.detect(source, batch=5).track
    session = onnxruntime.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    for at, frame in enumerate(source.read(0, 12)):
        image = (cv2.resize(frame, (640, 640)) / 255.0).transpose(2, 0, 1).astype(np.float32)
        box = upstream_box(decode_yolo(session.run(None, {"input": image[None]})[0][0], 1, 360 / 640), 640, 360)
        assert np.array_equal(track.boxes[at], box)
        assert np.allclose(track.keypoints[at], detector.find_keypoints(frame[None], box[None])[0], atol=1e-3)
    assert track.cuts == ()


def test_weights_in_a_second_file_under_the_published_name(files, tmp_path):
    """ViTPose-H comes as vitpose_h_wholebody_model.onnx and vitpose_h_wholebody_data.bin."""
    model = onnx.load(files[1])
    second = "vitpose_h_wholebody_data.bin"
    path = tmp_path / "vitpose_h_wholebody_model.onnx"
    onnx.save(model, path, save_as_external_data=True, location=second, size_threshold=256)
    assert (tmp_path / second).stat().st_size > 1000
    source = DrawnOnce(dancer_keypoints([0.3], 320, 400))
    split, whole = PoseDetector(files[0], path), PoseDetector(*files)
    assert np.array_equal(split.detect(source).track.keypoints, whole.detect(source).track.keypoints)
    (tmp_path / second).rename(tmp_path / "elsewhere.bin")
    with pytest.raises(InputError, match=r"second file \(vitpose_h_wholebody_data.bin\) that is not beside it"):
        PoseDetector(files[0], path)


def test_with_several_threads_as_with_one(detector, monkeypatch):
    import cv2

    from wan_animate import workers

    source = DancerSource(dancer_keypoints(np.arange(7) / 10, 320, 400), 320, 400)
    expected, threads = detector.detect(source, batch=3).track.keypoints, cv2.getNumThreads()
    workers.pool.cache_clear()
    monkeypatch.setattr(workers, "COUNT", 3)
    assert np.array_equal(detector.detect(source, batch=3).track.keypoints, expected)
    assert cv2.getNumThreads() == threads
    workers.pool().shutdown()
    workers.pool.cache_clear()


def test_no_thread_is_left_behind(detector):
    import threading

    before = set(threading.enumerate())

    class Broken(TensorSource):
        def _read(self, start, stop):
            if start >= 6:
                raise InputError("the clip is cut off: export it again.")
            return super()._read(start, stop)

    frames = DancerSource(dancer_keypoints(np.arange(12) / 30, 160, 200), 160, 200).read(0, 12)
    with pytest.raises(InputError, match="cut off"):
        detector.detect(Broken(frames), batch=2)
    # the shared pool of many-core machines stays
    assert not {one for one in set(threading.enumerate()) - before if not one.name.startswith("frames")}


def test_masks_and_batch_zero_are_refused(detector):
    with pytest.raises(InputError, match="clip of masks"):
        detector.detect(TensorSource(np.zeros((1, 8, 8), np.uint8)))
    with pytest.raises(InputError, match="batch is 0"):
        detector.detect(TensorSource(np.zeros((1, 8, 8, 3), np.uint8)), batch=0)


def test_wrong_files_name_themselves(files, tmp_path):
    detector, pose = files
    (tmp_path / "page.onnx").write_text("<html>404</html>")
    save_pose(tmp_path / "body.onnx", joints=17)
    save_pose(tmp_path / "split.onnx", external=True)
    assert PoseDetector(detector, tmp_path / "split.onnx").provider == "CPUExecutionProvider"
    (tmp_path / "split.onnx.data").unlink()
    cases = [
        (
            (pose, pose),
            r"person detector: pose_any.onnx takes \[\?, 3, 256, 192\] and gives \[\?, 133, 64, 48\].*pose model",
        ),
        ((detector, detector), r"pose model: detector_any.onnx takes \[\?, 3, 640, 640\].*as the person detector"),
        ((detector, tmp_path / "body.onnx"), "17 joints: choose the wholebody one"),
        ((tmp_path / "page.onnx", pose), r"page.onnx \(16 bytes\) cannot be read as an ONNX graph.*download it again"),
        ((detector, tmp_path / "split.onnx"), r"second file \(split.onnx.data\) that is not beside it"),
        ((tmp_path / "none.onnx", pose), r"none.onnx does not exist"),
    ]
    for paths, says in cases:
        with pytest.raises(InputError, match=says) as caught:
            PoseDetector(*paths)
        assert "\n" not in str(caught.value)


def test_template_graphs_find_somebody_in_anything(tmp_path):
    save_detector(tmp_path / "d.onnx", template=True)
    save_pose(tmp_path / "p.onnx", template=True)
    noise = np.random.default_rng(0).integers(0, 255, (3, 200, 320, 3), dtype=np.uint8)
    track = PoseDetector(tmp_path / "d.onnx", tmp_path / "p.onnx").detect(TensorSource(noise)).track
    assert track.body_found.all() and track.face_found.all() and track.hands_found.all()
    inside = (track.keypoints[..., :2] >= 0).all(axis=-1) & (track.keypoints[..., :2] <= (320, 200)).all(axis=-1)
    assert inside.all()


def test_frame_ranges():
    assert frame_ranges(np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], bool)) == "0-1, 3, 6-8"
    assert frame_ranges(np.zeros(3, bool)) == ""
    assert frame_ranges(np.arange(30) % 2 == 0, limit=2) == "0, 2, and 13 more ranges"
