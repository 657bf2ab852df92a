"""Detection where memory runs out, or a card or a provider is not there or fails."""

import logging
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from wan_animate.detect.detector import PoseDetector
from wan_animate.detect.onnx_model import PROVIDERS, OnnxModel
from wan_animate.errors import InputError

from ..support.figures import DrawnOnce, dancer_keypoints
from ..support.onnx_graphs import known_answer_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return known_answer_files(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def detector(files):
    return PoseDetector(*files)


def _hungry(path, target, most: int):
    """The graph, asking for memory nobody has when it is given more than ``most`` images."""
    model = onnx.load(path)
    graph, numpy_helper = model.graph, onnx.numpy_helper
    result = graph.node[-1].input[0]
    for name, value in (("hungry_most", most), ("hungry_no", 0), ("hungry_vast", 1 << 44), ("hungry_one", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "hungry_zero"))
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["input"], ["hungry_count"], start=0, end=1),
        make("Sub", ["hungry_count", "hungry_most"], ["hungry_over"]),
        make("Max", ["hungry_over", "hungry_no"], ["hungry_more"]),
        make("Mul", ["hungry_more", "hungry_vast"], ["hungry_extra"]),
        make("Add", ["hungry_extra", "hungry_one"], ["hungry_size"]),
        make("ConstantOfShape", ["hungry_size"], ["hungry_block"]),
        make("ReduceMax", ["hungry_block"], ["hungry_sum"], keepdims=0),
        make("Mul", ["hungry_sum", "hungry_zero"], ["hungry_nothing"]),
        make("Add", [result, "hungry_nothing"], ["hungry_result"]),
    ]
    last = graph.node.pop()
    last.input[0] = "hungry_result"
    graph.node.extend([*nodes, last])
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("which", [0, 1], ids=["person detector", "pose model"])
def test_out_of_memory_halves_the_batch_and_says_so(files, tmp_path, caplog, detector, which):
    paths = list(files)
    paths[which] = _hungry(files[which], tmp_path / "hungry.onnx", most=2)
    source = DrawnOnce(dancer_keypoints(np.arange(10) / 10, 320, 400))
    with caplog.at_level(logging.WARNING):
        track = PoseDetector(*paths).detect(source, batch=8).track
    assert "not enough memory for 8 frames at once; going on with 4" in caplog.text
    assert "going on with 2" in caplog.text and "going on with 1" not in caplog.text
    assert np.allclose(track.keypoints, detector.detect(source).track.keypoints, atol=1e-3)
    paths[which] = _hungry(files[which], tmp_path / "starved.onnx", most=0)
    with pytest.raises(InputError, match="not enough memory to run starved.onnx on 1 frame"):
        PoseDetector(*paths).detect(source, batch=4)


class _Onnxruntime:
    """onnxruntime where ``card`` stands for CUDA: (session of the CPU) -> session, or it raises.

    Attributes:
        opened: the number of the card of every session that was asked for.
    """

    def __init__(self, card):
        self.card, self.opened = card, []

    def __getattr__(self, name):
        return getattr(onnxruntime, name)

    def get_available_providers(self):
        return [PROVIDERS["cuda"], PROVIDERS["cpu"]]

    def InferenceSession(self, path, options, providers):  # noqa: N802
        session = onnxruntime.InferenceSession(path, options, providers=[PROVIDERS["cpu"]])
        name, asked = providers[0] if isinstance(providers[0], tuple) else (providers[0], {})
        if name != PROVIDERS["cuda"]:
            return session
        self.opened.append(asked.get("device_id", 0))
        return self.card(session)


class _Card:
    """A card's session, in truth the CPU's: notes how many images it is given, and raises ``message`` if any."""

    def __init__(self, session, runs, message=""):
        self._session, self._runs, self._message = session, runs, message

    def __getattr__(self, name):
        return getattr(self._session, name)

    def get_providers(self):
        return [PROVIDERS["cuda"]]

    def run(self, outputs, inputs, options=None):
        self._runs.append(len(*inputs.values()))
        if self._message:
            raise RuntimeError(self._message)
        return self._session.run(outputs, inputs)


@pytest.fixture
def card(monkeypatch):
    """``card(session -> session)`` gives onnxruntime that card; PyTorch has none, also where there is one."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def put(made):
        found = _Onnxruntime(made)
        monkeypatch.setitem(sys.modules, "onnxruntime", found)
        return found

    return put


@pytest.mark.parametrize("message", ["CUDNN_STATUS_NOT_INITIALIZED", "CUDA failure 2: out of memory"])
def test_a_card_that_starts_but_cannot_run_gives_way_to_the_cpu(files, caplog, detector, card, message):
    """As one whose driver or libraries do not fit: the session fails, what is done about it is real."""
    source, runs = DrawnOnce(dancer_keypoints(np.arange(5) / 10, 320, 400)), []
    card(lambda session: _Card(session, runs, message))
    broken = PoseDetector(*files, "cuda")
    assert broken.provider == "CUDAExecutionProvider"
    with caplog.at_level(logging.WARNING):
        track = broken.detect(source, batch=4).track
    assert broken.provider == "CPUExecutionProvider" and 2 <= len(runs) <= 6
    assert caplog.text.count("CUDAExecutionProvider cannot run") == 2
    assert "going on on the CPU" in caplog.text and message.split(":")[0] in caplog.text
    assert np.allclose(track.keypoints, detector.detect(source).track.keypoints, atol=1e-3)


def test_on_a_card_a_shorter_batch_is_filled_up(files, card):
    images, sizes = np.random.default_rng(0).random((5, 3, 256, 192), np.float32), []
    plain = OnnxModel(files[1], "cpu", "pose model")
    card(lambda session: _Card(session, sizes))
    on_card = OnnxModel(files[1], "cuda", "pose model")
    for count in (2, 5, 3, 1):
        assert np.allclose(on_card.run(images[:count]), plain.run(images[:count]), atol=1e-5)
    assert sizes == [2, 5, 5, 5]
    on_card.begin()  # the next clip goes in smaller batches
    on_card.run(images[:2])
    assert sizes[-1] == 2


def test_a_provider_that_does_not_start(files, caplog, card):
    """onnxruntime offers it, and then raises on opening the session with it."""

    def refusing(_session):
        raise RuntimeError("no CUDA-capable device")

    card(refusing)
    with caplog.at_level(logging.WARNING):
        model = OnnxModel(files[1], "cuda", "pose model")
    assert model.provider == "CPUExecutionProvider"
    assert "CUDAExecutionProvider failed to start (no CUDA-capable device); running on the CPU" in caplog.text


def test_provider_that_is_not_there_falls_back_and_says_so(files, caplog):
    available = onnxruntime.get_available_providers()
    missing = next(name for name, known in PROVIDERS.items() if known not in available)  # no build has them all
    with caplog.at_level(logging.WARNING):
        assert PoseDetector(*files, provider=missing).provider == "CPUExecutionProvider"
    assert f"no {missing} provider" in caplog.text
    with pytest.raises(InputError, match="provider is 'tpu'"):
        PoseDetector(*files, provider="tpu")


def test_both_networks_go_to_the_card_that_is_chosen_with_every_clip(files, card, detector):
    source, chosen = DrawnOnce(dancer_keypoints(np.arange(5) / 10, 320, 400)), [1, 0, 2]
    cards = card(lambda session: _Card(session, []))
    moving = PoseDetector(*files, "cuda", chosen.pop)
    assert cards.opened == [2, 2]
    found = moving.detect(source).track
    assert cards.opened == [2, 2] and chosen == [1, 0], "loaded networks stay where they are"
    for card_number in (0, 1):
        moving.close()
        assert np.array_equal(moving.detect(source).track.keypoints, found.keypoints)
        assert cards.opened[-2:] == [card_number, card_number]
        assert moving.person_network.card == moving.pose_network.card == card_number
    assert np.allclose(found.keypoints, detector.detect(source).track.keypoints, atol=1e-3)


def test_tensors_are_made_on_the_chosen_card(files, card, monkeypatch):
    card(lambda session: _Card(session, []))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    chosen = [3, 1]
    model = OnnxModel(files[1], "cuda", "pose model", chosen.pop)
    assert str(model.device) == "cuda:1"
    model.close()
    model.open()
    assert str(model.device) == "cuda:3"


@pytest.mark.parametrize("raises", [True, False], ids=["raises", "gives the CPU"])
def test_a_card_that_does_not_start_gives_way_to_the_first(files, caplog, card, raises):
    def only_the_first(session):
        if cards.opened[-1] == 0:
            return _Card(session, [])
        if raises:
            raise RuntimeError("no kernel image is available")
        return session

    cards = card(only_the_first)
    with caplog.at_level(logging.WARNING):
        model = OnnxModel(files[1], "cuda", "pose model", lambda: 1)
    assert cards.opened == [1, 0] and model.provider == PROVIDERS["cuda"] and model.card == 0
    assert "CUDAExecutionProvider does not start on card 1" in caplog.text and "on the CPU" not in caplog.text


def test_a_card_that_fails_on_its_way_leaves_the_other_network_its_choice(files, caplog, card):
    """The person detector on the CPU says nothing of where the pose network should be."""
    source, sessions = DrawnOnce(dancer_keypoints(np.arange(5) / 10, 320, 400)), []

    def first_fails(session):
        sessions.append(_Card(session, [], "CUDA failure 2: out of memory" if not sessions else ""))
        return sessions[-1]

    cards = card(first_fails)
    detector = PoseDetector(*files, "cuda", lambda: 1)
    detector.detect(source, batch=4)
    assert detector.person_network.card == 0 and not detector.person_network.on_card
    detector.close()
    detector.detect(source, batch=4)
    assert cards.opened == [1, 1, 1] and detector.pose_network.on_card


def test_the_card_is_not_asked_for_where_the_cpu_runs_it(files):
    def never():
        raise AssertionError("asked")

    source = DrawnOnce(dancer_keypoints(np.arange(2) / 10, 320, 400))
    detector = PoseDetector(*files, "cpu", never)
    detector.close()
    detector.detect(source)
