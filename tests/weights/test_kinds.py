"""Every Wan model that ComfyUI detects is named."""

import json

import pytest
import torch

from wan_animate.errors import InputError
from wan_animate.mask.sam2_weights import read_weights
from wan_animate.weights.header import read_model_header
from wan_animate.weights.kinds import wan_config, wan_member
from wan_animate.weights.lora_file import read_lora
from wan_animate.weights.transformer import read_animate

from ..support.weight_files import animate_header, write_header


def wan(channels: int, *names: str, dim: int = 5120, image: bool = False, out: int = 16) -> dict:
    """The tensors that ComfyUI's detection reads."""
    tensors = {
        "patch_embedding.weight": (dim, channels, 1, 2, 2),
        "head.modulation": (1, 2, dim),
        "head.head.weight": (4 * out, dim),
        "blocks.0.ffn.0.weight": (2 * dim, dim),
        "blocks.0.self_attn.q.weight": (dim, dim),
    }
    if image:
        tensors["img_emb.proj.0.bias"] = (1280,)
    return {name: ("BF16", shape) for name, shape in (tensors | dict.fromkeys(names, (1, 514, 4, 4, 4))).items()}


def said(**transformer) -> dict:
    return {"config": json.dumps({"transformer": transformer})}


I2V = wan(36, image=True)
MEMBERS = {
    "t2v": (wan(16), {}, "Wan 2.1 or 2.2 T2V 14B"),
    "t2v 1.3B": (wan(16, dim=1536), {}, "Wan 2.1 or 2.2 T2V 1.3B"),
    "causal": (wan(16, dim=1536), said(causal_ar=True), "a causal Wan 2.1 T2V 1.3B"),
    "i2v": (I2V, {}, "Wan 2.1 I2V 14B"),
    "fun inp": (wan(36, image=True, dim=1536), {}, "Wan 2.1 Fun InP 1.3B"),
    "flf2v": (wan(36, "img_emb.emb_pos", image=True), {}, "Wan 2.1 FLF2V 14B"),
    "fun control": (wan(48, image=True), {}, "Wan 2.1 Fun Control 14B"),
    "2.2 i2v": (wan(36), {}, "Wan 2.2 I2V 14B"),
    "2.2 fun control": (wan(52, "ref_conv.weight"), {}, "Wan 2.2 Fun Control 14B"),
    "5b": (wan(48, dim=3072, out=48), {}, "Wan 2.2 TI2V 5B"),
    "5b fun control": (wan(100, dim=3072, out=48), {}, "Wan 2.2 Fun Control 5B"),
    "vace": (wan(16, "vace_patch_embedding.weight", "vace_blocks.0.after_proj.weight"), {}, "Wan VACE"),
    "camera": (wan(32, "control_adapter.conv.weight", image=True), {}, "Wan 2.1 Fun Camera"),
    "camera_2.2": (wan(36, "control_adapter.conv.weight"), {}, "Wan 2.2 Fun Camera"),
    "s2v": (wan(16, "casual_audio_encoder.encoder.final_linear.weight"), {}, "Wan 2.2 S2V (sound to video)"),
    "humo": (wan(16, "audio_proj.audio_proj_glob_1.layer.bias"), {}, "HuMo"),
    "scail": (wan(16, "patch_embedding_pose.weight", image=True), {}, "SCAIL"),
    "scail2": (wan(16, "patch_embedding_pose.weight", "patch_embedding_mask.weight", image=True), {}, "SCAIL 2"),
    "wandancer": (wan(36, "patch_embedding_global.weight", image=True), {}, "WanDancer"),
    "flow_rvs": (wan(16), said(model_type="flow_rvs"), "FlowRVS"),
    "animate2": (I2V, said(model_type="animate2"), "Wan Animate 2"),
}


def refusal(path, tensors, metadata) -> str:
    write_header(path, tensors, metadata)
    with pytest.raises(InputError) as found:
        read_animate(read_model_header(str(path)))
    text = str(found.value)
    assert "\n" not in text and text.endswith("."), text
    return text


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_member_of_the_family_is_called_by_its_name(tmp_path, member, prefix):
    tensors, metadata, name = MEMBERS[member]
    tensors = {prefix + key: one for key, one in tensors.items()}
    assert refusal(tmp_path / "w.safetensors", tensors, metadata).startswith(f"w.safetensors is {name}, which has no")


def test_wan_animate_2_is_told_what_to_use(tmp_path):
    text = refusal(tmp_path / "w.safetensors", *MEMBERS["animate2"][:2])
    assert "load it with Load Diffusion Model and use ComfyUI's WanAnimate2ToVideo node" in text
    assert "I2V" not in text and "choose wan2.2_animate_14B" in text


def test_metadata_of_others_changes_nothing(tmp_path):
    for config in ("{", "3", "[]", '{"transformer": 3}', '{"transformer": [["model_type", "i2v"]]}', "{}"):
        assert "is Wan 2.1 I2V 14B," in refusal(tmp_path / "w.safetensors", I2V, {"config": config})
    write_header(tmp_path / "a.safetensors", animate_header(), said(model_type="animate"))
    assert read_animate(read_model_header(str(tmp_path / "a.safetensors"))).blocks == 5
    text = refusal(tmp_path / "a.safetensors", animate_header(), said(model_type="animate2"))
    assert text.startswith("a.safetensors says of itself that it is Wan Animate 2: it takes the driving video")


def test_models_beside_the_family_that_are_made_for_it(tmp_path):
    for key, says in (
        ("controlnet_patch_embedding.weight", "is Uni3C, a ControlNet for Wan: it goes into Load Model Patch"),
        ("vace_blocks.0.after_proj.weight", "is a VACE module of Wan, not a model by itself"),
    ):
        assert says in refusal(tmp_path / "w.safetensors", {key: ("BF16", (4, 4))}, {})


def test_the_host_tells_them_apart_the_same_way(comfy):
    """Against ComfyUI's detection, for all models of the family that it knows."""
    import comfy.model_detection as detection
    import comfy.supported_models as supported

    seen = set()
    for tensors, metadata, name in MEMBERS.values():
        weights = {key: torch.empty(shape, device="meta") for key, (_, shape) in tensors.items()}
        found = detection.detect_unet_config(weights, "", metadata=metadata)
        infos = {key: type("Info", (), {"shape": shape}) for key, (_, shape) in tensors.items()}
        ours = wan_config(infos, metadata)
        assert {key: found.get(key) for key in ours} == ours, name
        assert wan_member(found).name == wan_member(ours).name == name
        seen.add(found["model_type"])
    known = [one.unet_config for one in supported.models if one.unet_config.get("image_model") == "wan2.1"]
    assert {one["model_type"] for one in known} - {"animate"} == seen


@pytest.mark.parametrize(
    "tensor, what",
    [
        ("decoder.middle.0.residual.0.gamma", "the Wan VAE"),
        ("encoder.block.0.layer.0.SelfAttention.k.weight", "a T5 text encoder"),
        ("memory_attention.layers.0.linear1.weight", "a SAM 2 video model"),
        ("model.22.cv2.0.0.conv.weight", "a YOLO detector"),
    ],
)
def test_a_file_has_the_same_name_for_every_loader(tmp_path, tensor, what):
    path = tmp_path / "w.safetensors"
    assert refusal(path, {tensor: ("F32", (2,))}, {}).startswith(f"w.safetensors is {what}, not Wan 2.2 Animate: ")
    with pytest.raises(InputError, match=f"^w.safetensors is no LoRA but {what}: none of its 1 tensors"):
        read_lora(str(path))
    if "SAM 2" not in what:
        with pytest.raises(InputError, match=f"w.safetensors is {what}( .*)?; choose a SAM 2"):
            read_weights(path)


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x3C20])  # as a pickle begins, and a web page behind a space
def test_a_header_whose_length_looks_like_another_format(tmp_path, length):
    path = tmp_path / "a.safetensors"
    text = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(length.to_bytes(8, "little") + text.ljust(length) + bytes(4))
    assert list(read_model_header(str(path)).tensors) == ["a"]
