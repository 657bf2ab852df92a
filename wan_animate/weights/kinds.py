"""What a file that is no Wan 2.2 Animate model is instead, in one sentence, from the names of its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .header import TensorInfo

LORA_MARKS = (".lora_A", ".lora_B", ".lora_down", ".lora_up", "_lora.up", "_lora.down", ".hada_w1", ".lokr_w1")
TAKE = "choose wan2.2_animate_14B_bf16.safetensors (or an fp8 form of it)"

# Members of the Wan family that carry a tensor of their own, in the order in which ComfyUI's comfy/model_detection.py
# looks for them: (tensor, its model_type).
WAN_MARKS = (
    ("vace_patch_embedding.weight", "vace"),
    ("control_adapter.conv.weight", "camera"),
    ("casual_audio_encoder.encoder.final_linear.weight", "s2v"),
    ("audio_proj.audio_proj_glob_1.layer.bias", "humo"),
    ("face_adapter.fuser_blocks.0.k_norm.weight", "animate"),
    ("patch_embedding_mask.weight", "scail2"),
    ("patch_embedding_pose.weight", "scail"),
    ("patch_embedding_global.weight", "wandancer"),
)
# What is read of a file's own configuration, which the host takes before what the tensors say.
FIELDS = {
    "model_type": str, "causal_ar": bool, "flf_pos_embed_token_number": int, "dim": int, "in_dim": int, "out_dim": int,
    "ffn_dim": int, "num_heads": int, "num_layers": int, "text_dim": int, "freq_dim": int,
}  # fmt: skip
# The host's model_type -> the name that people know; t2v and i2v stand for several: _plain_name.
WAN_NAMES = {
    "vace": "Wan VACE",
    "camera": "Wan 2.1 Fun Camera",
    "camera_2.2": "Wan 2.2 Fun Camera",
    "s2v": "Wan 2.2 S2V (sound to video)",
    "humo": "HuMo",
    "animate": "Wan 2.2 Animate",
    "animate2": "Wan Animate 2",
    "flow_rvs": "FlowRVS",
    "scail2": "SCAIL 2",
    "scail": "SCAIL",
    "wandancer": "WanDancer",
}
# What to do with one of them where Wan 2.2 Animate is needed, when it is something else than taking that.
WAN_REMEDIES = {
    "animate2": (
        "it takes the driving video itself in place of a drawn pose and face crops, so load it with Load Diffusion "
        f"Model and use ComfyUI's WanAnimate2ToVideo node; or {TAKE}"
    ),
}

# (the text somewhere in a name, what it is, what to do); the first that fits
OTHER_KINDS = (
    (
        "condition_embedder.text_embedder.",
        "a Wan model in diffusers' layout",
        f"ComfyUI does not load that layout; {TAKE}",
    ),
    ("decoder.middle.0.residual.0.gamma", "the Wan VAE, not Wan 2.2 Animate", f"it goes into Load VAE; here {TAKE}"),
    ("decoder.conv_in.weight", "a VAE, not Wan 2.2 Animate", f"it goes into Load VAE; here {TAKE}"),
    (
        "vision_model.embeddings.",
        "a CLIP vision model, not Wan 2.2 Animate",
        f"it goes into Load CLIP Vision; here {TAKE}",
    ),
    ("visual.transformer.", "a CLIP vision model, not Wan 2.2 Animate", f"it goes into Load CLIP Vision; here {TAKE}"),
    (
        "encoder.block.0.layer.0.SelfAttention",
        "a T5 text encoder, not Wan 2.2 Animate",
        f"it goes into Load CLIP; here {TAKE}",
    ),
    ("blocks.0.attn.q.weight", "a umT5 text encoder, not Wan 2.2 Animate", f"it goes into Load CLIP; here {TAKE}"),
    ("text_model.encoder.layers.", "a CLIP text encoder, not Wan 2.2 Animate", f"it goes into Load CLIP; here {TAKE}"),
    ("controlnet_patch_embedding.weight", "Uni3C, a ControlNet for Wan", f"it goes into Load Model Patch; here {TAKE}"),
    ("vace_blocks.0.after_proj.weight", "a VACE module of Wan, not a model by itself", TAKE),
    ("input_blocks.0.0.weight", "a Stable Diffusion model, not Wan 2.2 Animate", TAKE),
    ("double_blocks.0.", "a Flux or Hunyuan model, not Wan 2.2 Animate", TAKE),
    ("joint_blocks.0.", "a Stable Diffusion 3 model, not Wan 2.2 Animate", TAKE),
)


def is_lora(names) -> bool:
    return any(mark in name for name in names for mark in LORA_MARKS)


@dataclass(frozen=True)
class WanMember:
    """A member of the Wan family, as the host tells it.

    Attributes:
        kind: the host's ``model_type``.
        name: as people know it, with its size.
        remedy: what to do where Wan 2.2 Animate is needed.
    """

    kind: str
    name: str
    remedy: str


def wan_member(config: Mapping[str, Any]) -> WanMember:
    """The member of the family that the host builds from this configuration.

    Args:
        config: the host's ``unet_config``; read are ``model_type``, ``in_dim``, ``out_dim``, ``dim``, ``causal_ar``
            and ``flf_pos_embed_token_number``.
    """
    kind = str(config.get("model_type"))
    name = WAN_NAMES.get(kind) or _plain_name(kind, config)
    return WanMember(kind, name, WAN_REMEDIES.get(kind, TAKE))


def wan_config(own: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the host's ``unet_config`` says of a Wan file, as far as :func:`wan_member` reads it.

    Args:
        own: the file's tensors without a prefix, ``head.modulation`` among them.
        metadata: the file's; its ``config.transformer`` goes before what the tensors say. Wan Animate 2 has the very
            tensors of Wan 2.1 I2V and is told by it alone.
    """

    def size(name: str, axis: int) -> int:
        shape = own[name].shape if name in own else ()
        return shape[axis] if len(shape) > max(axis, 0) else 0

    kind = next((kind for mark, kind in WAN_MARKS if mark in own), None)
    image = "img_emb.proj.0.bias" in own
    if kind == "camera" and not image:
        kind = "camera_2.2"
    config: dict[str, Any] = {
        "model_type": kind or ("i2v" if image else "t2v"),
        "in_dim": size("patch_embedding.weight", 1),
        "out_dim": size("head.head.weight", 0) // 4,
        "dim": size("head.modulation", -1),
    }
    if "img_emb.emb_pos" in own:
        config["flf_pos_embed_token_number"] = size("img_emb.emb_pos", 1)
    try:
        given = dict(json.loads(metadata.get("config", "{}")).get("transformer", {}))
    except (ValueError, TypeError, AttributeError):  # not the host's, who would not load the file either
        return config
    return config | {name: value for name, value in given.items() if is_of_its_type(name, value)}


def is_of_its_type(name: str, value: Any) -> bool:
    """Whether a field of the metadata's ``config.transformer`` is of the type that this pack reads there; one that it
    does not read is."""
    wanted = FIELDS.get(name)
    if name == "flf_pos_embed_token_number" and value is None:  # the host's own default
        return True
    return wanted is None or type(value) is wanted  # True is an int to isinstance


def foreign_sentence(name: str, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None = None) -> str:
    """One sentence for the file ``name``: what its tensors are, and what to do about it."""
    if not tensors:
        return f"{name} holds no tensors: {TAKE}."
    if is_lora(tensors):
        return f"{name} is a LoRA, not a model: put it into models/loras and use Apply LoRA; here {TAKE}."
    wan = next((one for one in tensors if one.endswith("head.modulation")), None)
    if wan is not None:
        own = {key.removeprefix(wan.removesuffix("head.modulation")): info for key, info in tensors.items()}
        member = wan_member(wan_config(own, metadata or {}))
        return f"{name} is {member.name}, which has no face adapter: {member.remedy}."
    if any(one.startswith(("face_adapter.", "motion_encoder.", "blocks.0.self_attn.")) for one in tensors):
        return (
            f"{name} is a part of a Wan model ({len(tensors)} tensors, without the last layer): put all its files "
            "into one folder under their published names (…-00001-of-00004.safetensors) and choose the first."
        )
    for part, what, todo in OTHER_KINDS:
        if any(part in one for one in tensors):
            return f"{name} is {what}: {todo}."
    some = ", ".join(list(tensors)[:2])
    return f"{name} is not Wan 2.2 Animate (its {len(tensors)} tensors are {some} and so on): {TAKE}."


def _plain_name(kind: str, config: Mapping[str, Any]) -> str:
    channels, width = config.get("in_dim"), config.get("dim")
    size = {1536: " 1.3B", 3072: " 5B", 5120: " 14B"}.get(width, "")
    if width == 3072 or config.get("out_dim") == 48:
        return f"Wan 2.2 {'Fun Control' if channels == 100 else 'TI2V'}{size}"
    if kind == "i2v":
        if config.get("flf_pos_embed_token_number") is not None:
            return f"Wan 2.1 FLF2V{size}"
        name = {48: "Fun Control", 36: "Fun InP" if width == 1536 else "I2V"}.get(channels)
        return f"Wan 2.1 {name}{size}" if name else f"another Wan model ({channels} input channels)"
    if kind == "t2v":
        if config.get("causal_ar"):
            return f"a causal Wan 2.1 T2V{size}"
        name = {16: "Wan 2.1 or 2.2 T2V", 36: "Wan 2.2 I2V", 52: "Wan 2.2 Fun Control"}.get(channels)
        return f"{name}{size}" if name else f"another Wan model ({channels} input channels)"
    return f"a Wan model of the kind {kind!r}"
