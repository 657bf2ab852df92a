"""Every node alone, with its defaults, over the real host's API: it says what to connect. And the smallest graphs."""

import pytest

from demo import graphs
from demo import small_models as small
from demo.example import track_beside
from demo.server import PromptFailed, PromptRejected

KIT = graphs.KIT


@pytest.fixture(scope="module")
def infos(host_server):
    found = host_server.get("/object_info")
    return {name: info for name, info in found.items() if name.startswith(KIT)}


def defaults(info: dict) -> tuple[dict, set[str]]:
    """(widgets as a new node has them, required inputs that nothing is in)"""
    values, empty = {}, set()
    for section in ("required", "optional"):
        for name, (kind, options) in info["input"].get(section, {}).items():
            choices = options.get("options") if kind == "COMBO" else None
            value = options.get("default", "" if kind == "STRING" and not options.get("forceInput") else None)
            if value is None and choices:
                value = choices[0]
            if value is not None:
                values[name] = value
            elif section == "required":
                empty.add(name)
    return values, empty


def alone(host_server, name: str, info: dict, **inputs) -> tuple[str, list[str], str]:
    """What comes of a node and something that shows its output: ("ran" | "rejected" | "failed", inputs that are blamed,
    the sentence)."""
    graph = {"1": {"class_type": name, "inputs": inputs, "_meta": {"title": name}}}
    if not info["output_node"]:
        graphs.add(graph, "PreviewAny", source=["1", 0])
    try:
        host_server.run(graph, timeout=120)
    except PromptRejected as error:
        errors = error.node_errors["1"]["errors"]
        return "rejected", sorted(one["extra_info"]["input_name"] for one in errors), str(error)
    except PromptFailed as error:
        assert error.exception_type == "InputError", (name, error.exception_type, error.text)
        return "failed", [], error.text
    return "ran", [], ""


def test_a_node_alone_says_what_to_connect(host_server, infos):
    outcomes = {}
    for name, info in infos.items():
        values, empty = defaults(info)
        outcomes[name], blamed, text = alone(host_server, name, info, **values)
        if empty:
            assert outcomes[name] == "rejected" and set(blamed) == empty, (name, blamed, empty, text)
        sentences = {line.partition(" - ")[2] for line in text.splitlines()} - {""}
        assert len(sentences) <= 1, (name, text)
    assert len(outcomes) == len(infos) > 38
    ran = {name.removeprefix(KIT) for name, outcome in outcomes.items() if outcome == "ran"}
    assert {"LoadModel", "LoadSegmenter", "LoadPoseDetector", "LoadPrompt", "ClipOptions"} <= ran, outcomes


def test_no_video_is_chosen(host_server, infos):
    values, _ = defaults(infos[f"{KIT}LoadVideo"])
    outcome, _, text = alone(host_server, f"{KIT}LoadVideo", infos[f"{KIT}LoadVideo"], **values | {"file": ""})
    assert outcome == "rejected" and "no video was chosen: upload one, or connect video" in text


WRONG = [
    ("LoadModel", "model", "diffusion_models", "VAE"),
    ("LoadSegmenter", "model", "sam2", "VAE"),
    ("ApplyLora", "lora", "loras", "no LoRA"),
]


@pytest.mark.parametrize("node, name, folder, says", WRONG)
def test_a_wrong_file_is_known_on_queueing(host_server, infos, small_models, node, name, folder, says):
    path = host_server.base_dir / "models" / folder / "in_truth_a_vae.safetensors"
    path.write_bytes(small_models.vae.read_bytes())
    try:
        info = infos[f"{KIT}{node}"]
        values = defaults(info)[0] | {name: path.name}
        outcome, blamed, text = alone(host_server, f"{KIT}{node}", info, **values)
    finally:
        path.unlink()
    assert outcome == "rejected" and name in blamed and path.name in text and says in text, text


def test_a_missing_pose_model_is_not_blamed_on_the_detector(host_server, infos):
    info = infos[f"{KIT}LoadPoseDetector"]
    values = defaults(info)[0] | {"pose_model": "vitpose-gone.onnx"}
    outcome, blamed, text = alone(host_server, f"{KIT}LoadPoseDetector", info, **values)
    assert outcome == "rejected" and blamed == ["pose_model"]
    assert "'vitpose-gone.onnx'" in text and "Hugging Face" in text and "detector - " not in text


@pytest.fixture(scope="module")
def smallest(host_server, driving):
    """Eight nodes: video, detector, detection, picture, model, VAE, Animate Character, Save Video."""
    video, image, detectors = driving
    names = [host_server.upload(path) for path in (video, image)]
    detector, pose = small.DETECTION[detectors]
    graph: graphs.Graph = {}
    load = graphs.add(graph, f"{KIT}LoadVideo", file=names[0], width=160, height=96, limit=5)
    finder = graphs.add(graph, f"{KIT}LoadPoseDetector", detector=detector, pose_model=pose, provider="auto")
    found = graphs.add(
        graph, f"{KIT}DetectPose", detector=[finder, 0], frames=[load, 0], batch_size=5, face_scale=1.3,
        missing_face="blend",
    )  # fmt: skip
    model = graphs.add(graph, f"{KIT}LoadModel", model=small.TRANSFORMER_NAME, precision="auto", products="auto")
    animate = graphs.add(
        graph,
        f"{KIT}Animate",
        model=[model, 0],
        vae=[graphs.add(graph, "VAELoader", vae_name=small.VAE_NAME), 0],
        reference_image=[graphs.add(graph, "LoadImage", image=names[1]), 0],
        pose=[found, 0],
        face=[found, 1],
        mode="animate", seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", shift=5.0,
        segment_length=5, guidance_frames=1, fps=0.0,
    )  # fmt: skip
    graphs.add(graph, "SaveVideo", video=[animate, 0], filename_prefix="video/smallest", format="auto", codec="auto")
    return graph


def test_a_clip_from_eight_nodes(host_server, smallest):
    """A track where the drawn pose was, no prompt, no CLIP vision; and without the link to the face."""
    assert len(smallest) == 8
    entry = host_server.run(smallest, timeout=300)
    assert entry["outputs"][graphs.node_of(smallest, "SaveVideo")]["images"]

    wired = smallest[graphs.node_of(smallest, f"{KIT}Animate")]["inputs"]
    face = wired.pop("face")
    wired["driving_video"] = [graphs.node_of(smallest, f"{KIT}LoadVideo"), 0]
    host_server.run(smallest, timeout=300)
    del wired["driving_video"]
    wired["face"] = face


def test_a_forgotten_picture_is_said(host_server, smallest, host):
    """Load Image begins with the host's example.png: the node says so below itself."""
    original = host.path / "input" / "example.png"
    (host_server.base_dir / "input" / "example.png").write_bytes(original.read_bytes())
    load = smallest[graphs.node_of(smallest, "LoadImage")]["inputs"]
    chosen, animate = load["image"], graphs.node_of(smallest, f"{KIT}Animate")
    load["image"] = "example.png"
    try:
        entry = host_server.run(smallest, timeout=300)
    finally:
        load["image"] = chosen
    output = entry["outputs"][animate]
    assert "ComfyUI's own example.png" in " ".join(output["text"])
    assert "ComfyUI's own example.png" in output["wan_animate_kit"][0]["warnings"][0], "on the node, not in a tab"
    entry = host_server.run(smallest, timeout=300)
    assert "example.png" not in str(entry["outputs"].get(animate))


QUEUED = [
    ({"cfg": 2.0}, "negative is not connected, but cfg is 2"),
    ({"mode": "replace"}, "a background (Background without Character) and a character mask"),
    ({"mode": "replace", "background": "face"}, "replace mode needs a character mask"),
    ({"background": "face", "character_mask": "face"}, "set mode to replace, or disconnect them"),
    ({"mode": "both"}, "mode is 'both': choose animate or replace"),
    ({"segment_length": 78}, "segment length is 78, but the model works in 4n+1 frames: use 77 or 81"),
    ({"guidance_frames": 4}, "previous frames is 4, but it must be 4n+1"),
    ({"guidance_frames": 9}, "previous frames (9) must be fewer than the segment length (5)"),
    ({"sampler_name": "uni_pc"}, "makes nothing but noise of one step"),
]


@pytest.mark.parametrize("changed, says", QUEUED, ids=lambda value: "" if isinstance(value, str) else "-".join(value))
def test_what_the_graph_shows_is_told_on_queueing_in_one_sentence(host_server, smallest, changed, says):
    """``"face"`` stands for a link to the face crops."""
    wired = smallest[graphs.node_of(smallest, f"{KIT}Animate")]["inputs"]
    before = dict(wired)
    wired |= {name: before["face"] if value == "face" else value for name, value in changed.items()}
    try:
        with pytest.raises(PromptRejected) as told:
            host_server.run(smallest, timeout=300)
    finally:
        wired.clear()
        wired.update(before)
    (errors,) = [one["errors"] for one in told.value.node_errors.values()]
    assert [one["extra_info"]["input_name"] for one in errors] == ["mode"] and says in errors[0]["details"]


def test_ranges_are_still_the_hosts_to_check(host_server, smallest, infos):
    outside = {"segment_length": 2000, "guidance_frames": 0, "cfg": 30.0, "steps": 0, "sampler_name": "no such"}
    animate = graphs.node_of(smallest, f"{KIT}Animate")
    before = dict(smallest[animate]["inputs"])
    smallest[animate]["inputs"] |= outside
    smallest["98"] = {
        "class_type": f"{KIT}PlanClip",
        "inputs": defaults(infos[f"{KIT}PlanClip"])[0] | {"frames": before["pose"], "segment_length": 1001 + 4},
    }
    try:
        with pytest.raises(PromptRejected) as told:
            host_server.run(smallest, timeout=300)
        smallest["98"]["inputs"]["segment_length"] = 10
        smallest[animate]["inputs"] |= before
        with pytest.raises(PromptRejected, match="segment length is 10, but the model") as plan:
            host_server.run(smallest, timeout=300)
    finally:
        del smallest["98"]
        smallest[animate]["inputs"] |= before
    found = {error["extra_info"]["input_name"]: error["type"] for error in told.value.node_errors[animate]["errors"]}
    assert found == {
        "segment_length": "value_bigger_than_max",
        "guidance_frames": "value_smaller_than_min",
        "cfg": "value_bigger_than_max",
        "steps": "value_smaller_than_min",
        "sampler_name": "value_not_in_list",
    }
    assert [one["type"] for one in told.value.node_errors["98"]["errors"]] == ["value_bigger_than_max"]
    assert [len(one["errors"]) for one in plan.value.node_errors.values()] == [1]


def test_the_sentence_of_no_prompt_at_all(host_server, smallest):
    """The one saved prompt is put aside; there is no text encoder."""
    path = host_server.base_dir / "models" / "wan_animate_prompts" / small.PROMPT_NAME
    path.rename(path.with_suffix(".aside"))
    try:
        with pytest.raises(PromptRejected, match="positive is not connected, and there is neither a text encoder"):
            host_server.run(smallest, timeout=300)
    finally:
        path.with_suffix(".aside").rename(path)


def test_a_track_is_drawn_as_draw_pose_draws_it(pack_nodes, pack_module, driving, tmp_path):
    import numpy as np

    types, tracks = pack_module("nodes.types"), pack_module("wan_animate.pose.track")
    beside = track_beside(driving[1])
    track = tracks.PoseTrack.load(beside).placed(640, 352) if beside else None
    if track is None:
        points = np.random.default_rng(3).uniform(0, 1, (6, 133, 3)).astype(np.float32) * (160, 96, 1)
        track = tracks.PoseTrack(points, 160, 96)
    drawn = pack_nodes[f"{KIT}DrawPose"].execute(track, True, True, 0.5, 0, 0).args[0]
    taken = types.as_drawn(track, "pose")
    assert len(taken) == len(drawn) == len(track) and taken.fingerprint() == drawn.fingerprint()
    assert np.array_equal(taken.read(0, len(track)), drawn.read(0, len(track))) and drawn.read(0, 1).any()


def test_faces_by_the_track_are_those_of_crop_face(pack_nodes, pack_module):
    import numpy as np

    face, tracks = pack_module("nodes.face"), pack_module("wan_animate.pose.track")
    frames_module = pack_module("wan_animate.video.frames")
    import torch

    video = frames_module.TensorSource(torch.rand(4, 96, 160, 3), 30)
    points = np.random.default_rng(5).uniform(0.2, 0.8, (4, 133, 3)).astype(np.float32) * (160, 96, 1)
    track = tracks.PoseTrack(points, 160, 96, boxes=np.tile(np.float32([0, 0, 160, 96, 1]), (4, 1)))
    crops = pack_nodes[f"{KIT}CropFace"].execute(video, track).args[0]
    assert np.array_equal(face.face_of(None, track, video).read(0, 4), crops.read(0, 4))
    assert face.face_of(None, track, None) is None and face.face_of(crops, track, video) is crops
    with pytest.raises(ValueError, match="not a pose track"):
        face.face_of(None, video, video)
    with pytest.raises(ValueError, match="retargeted"):
        face.face_of(None, tracks.PoseTrack(points, 160, 96), video)
