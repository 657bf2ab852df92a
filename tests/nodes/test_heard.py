"""What is logged as a warning while a node runs is shown on the canvas, once."""

import functools

import numpy as np
import torch

from ..support.figures import DancerSource, dancer_keypoints
from ..support.onnx_graphs import known_answer_files


def test_frames_without_the_person_are_said_below_the_detector(pack_nodes, pack_module, tmp_path):
    there = DancerSource(dancer_keypoints((0.0,), 320, 180), 320, 180).read(0, 1)[0]
    frames = np.stack([there] * 6 + [np.full_like(there, 60)] + [there] * 3)
    detector = pack_module("wan_animate.detect.detector").PoseDetector(*known_answer_files(tmp_path))
    detect = pack_nodes["WanAnimateKitDetectPose"].execute
    options = dict(batch_size=4, face_scale=1.3, missing_face="hold")
    shown = detect(detector, torch.from_numpy(frames).float() / 255, **options).ui.as_dict()
    (said,) = shown["wan_animate_kit"][0]["warnings"]
    assert "the person was not detected in 1 of 10 frames (6)" in said and said in shown["text"][0] and shown["images"]
    whole = detect(detector, torch.from_numpy(frames[:6]).float() / 255, **options).ui.as_dict()
    assert "wan_animate_kit" not in whole


def test_each_warning_is_shown_once(pack_module):
    below, log = pack_module("nodes.below"), pack_module("wan_animate.log")
    from comfy_api.latest import io

    logger = log.get_logger("wan_animate.anything")

    @functools.partial(below.warned, but=(log.SEGMENT_MASK,))
    def execute(ui):
        for text in ("one", "one", "in the text"):
            logger.warning(text)
        logger.warning("node: %s", "the words", extra=log.about("the words"))
        logger.warning("one segment's mask", extra=log.about(kind=log.SEGMENT_MASK))
        logger.info("no warning")
        assert log.heard_now() == ["one", "in the text", "the words"]
        return io.NodeOutput(1, ui=ui)

    given = {"text": ("in the text",), "wan_animate_kit": [{"warnings": ["the words"], "clip": 5}]}
    shown = execute(given).ui
    assert shown["wan_animate_kit"] == [{"warnings": ["one", "the words"], "clip": 5}]
    assert shown["text"] == ("one\nin the text",)
    assert execute(None).ui["wan_animate_kit"] == [{"warnings": ["one", "in the text", "the words"]}]
    assert log.heard_now() == [] and below.with_notes(None, []) is None


def test_what_is_warned_of_reaches_the_node_while_it_runs(pack_module):
    from types import SimpleNamespace

    from comfy.latent_formats import Wan21

    model = SimpleNamespace(load_device=torch.device("cpu"), model=SimpleNamespace(latent_format=Wan21()))
    clock = pack_module("wan_animate.chain.clock").RunClock()
    progress = pack_module("nodes.host.sampling").SamplingProgress(model, clock)
    sent, said = [], []
    progress.tell.send = sent.append
    progress.warnings = lambda: list(said)
    at = pack_module("wan_animate.chain.generate").Progress
    progress(at(0, 1, "encode", 0, 2))
    said.append("the mask is white")
    for stage in ("load", "denoise"):
        progress(at(0, 1, stage, 0, 2))
    assert sent == [{"warnings": []}, {"warnings": ["the mask is white"]}]
