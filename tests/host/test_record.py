"""The record of a node's clip: weights by their base names, none of the user's files, nothing on request."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from wan_animate.record.identity import weights_hash
from wan_animate.video.frames import TensorSource

from ..support.chain import make_job

GRAPH = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": None, "weight_dtype": "default"}},
    "2": {"class_type": "VAELoader", "inputs": {"vae_name": None}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "jane-doe.png"}},
    "4": {"class_type": "CLIPVisionEncode", "inputs": {"image": ["3", 0], "model": ["1", 0]}},
    "5": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["1", 0], "lora_name": None, "strength_model": 1.0}},
    "6": {"class_type": "WanAnimateKitAnimate", "inputs": {"model": ["5", 0], "vae": ["2", 0],
                                                          "clip_vision_output": ["4", 0], "positive": ["9", 0]}},
    "9": {"class_type": "CLIPTextEncode", "inputs": {"text": "jane.doe dances.\n", "clip": ["1", 0]}},
}  # fmt: skip


@pytest.fixture
def graph(comfy, small_models):
    """With a picture of the user's in the input folder."""
    import folder_paths
    from PIL import Image

    Image.new("RGB", (8, 8)).save(f"{folder_paths.get_input_directory()}/jane-doe.png")
    given = {name: {**node, "inputs": dict(node["inputs"])} for name, node in GRAPH.items()}
    given["1"]["inputs"]["unet_name"] = small_models.transformer.name
    given["2"]["inputs"]["vae_name"] = small_models.vae.name
    given["5"]["inputs"]["lora_name"] = small_models.lora.name
    return given


def record(pack_module, graph):
    job = make_job(torch.zeros(16, 16, 3), pose=TensorSource(torch.zeros(5, 16, 16, 3)), segment_length=5)
    sampling = SimpleNamespace(steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", shift=5.0)
    hidden = SimpleNamespace(prompt=graph, unique_id="6", dynprompt=None)
    names = ["model", "vae", "clip_vision_output", "positive"]
    return pack_module("nodes.host.record").node_record(job, sampling, hidden, names, "Card")


def test_weights_are_named_and_pictures_are_not(pack_module, graph, small_models):
    made = record(pack_module, graph)
    found = {(model.part, model.name): model.hash for model in made.models}
    transformer, vae, lora = small_models.transformer, small_models.vae, small_models.lora
    assert found == {
        ("model", transformer.name): weights_hash(transformer),
        ("model", lora.name): weights_hash(lora),
        ("vae", vae.name): weights_hash(vae),
        ("clip_vision_output", transformer.name): weights_hash(transformer),
        ("positive", transformer.name): weights_hash(transformer),
    }
    (text,) = made.tags().values()
    assert "jane" not in text and "/" not in text.replace('"fps": "30"', "")
    assert (made.settings["steps"], made.settings["sampler_name"], made.device) == (4, "euler", "Card")
    assert made.versions["comfyui"] == "0.33.0"


def test_a_weight_file_in_a_folder_of_its_own_is_named_alone(pack_module, graph, small_models):
    import folder_paths

    folder = f"{folder_paths.get_folder_paths('loras')[0]}/of-jane-doe"
    os.makedirs(folder, exist_ok=True)
    shutil.copy(small_models.lora, f"{folder}/style.safetensors")
    folder_paths.filename_list_cache.pop("loras", None)
    graph["5"]["inputs"]["lora_name"] = "of-jane-doe/style.safetensors"
    made = record(pack_module, graph)
    assert ("model", "style.safetensors") in {(model.part, model.name) for model in made.models}
    assert "jane" not in str(made.tags())
    shutil.rmtree(folder)


def test_a_weight_file_that_cannot_be_read_is_left_out(pack_module, graph, small_models, monkeypatch):
    """Its path would be in every clip."""
    graphs = pack_module("nodes.host.graph")
    read = graphs.weights_hash

    def unreadable(path):
        if os.path.basename(path) == small_models.lora.name:
            raise PermissionError(13, "Permission denied", path)
        return read(path)

    monkeypatch.setattr(graphs, "weights_hash", unreadable)
    made = record(pack_module, graph)
    names = {model.name for model in made.models}
    assert names == {small_models.transformer.name, small_models.vae.name}
    assert "unreadable" not in str(made.tags()) and "/" not in str([model.hash for model in made.models])


def test_a_server_without_metadata_writes_none(pack_module, graph, monkeypatch):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_metadata", True)
    assert record(pack_module, graph) is None


def test_a_call_from_python_names_no_models(pack_module, graph):
    module = pack_module("nodes.host.record")
    job = make_job(torch.zeros(16, 16, 3), pose=TensorSource(torch.zeros(5, 16, 16, 3)), segment_length=5)
    sampling = SimpleNamespace(steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", shift=5.0)
    assert module.node_record(job, sampling, None, ["model"], "CPU").models == ()
