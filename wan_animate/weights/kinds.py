"""What model a weight file holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from ..errors import InputError
from ..schema import Schema, read_json
from .header import TensorInfo

LORA_MARKS = (".lora_A", ".lora_B", ".lora_down", ".lora_up", "_lora.up", "_lora.down", ".hada_w1", ".lokr_w1")
TAKE = "choose wan2.2_animate_14B_bf16.safetensors (or an fp8 form of it)"

# (tensor, model_type) of Wan models with a tensor of their own, in the order of ComfyUI's comfy/model_detection.py
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
# what is read of a file's config.transformer, which ComfyUI prefers to the tensors
FIELDS = {
    "model_type": str, "causal_ar": bool, "flf_pos_embed_token_number": int, "dim": int, "in_dim": int, "out_dim": int,
    "ffn_dim": int, "num_heads": int, "num_layers": int, "text_dim": int, "freq_dim": int,
}  # fmt: skip


class Config(Schema):
    """A file's ``config`` in the metadata; what is read of it is checked field by field (:data:`FIELDS`)."""

    transformer: dict[str, Any] = Field(default_factory=dict)


# ComfyUI's model_type -> published name; t2v and i2v stand for several: _plain_name
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
# model_type -> what to do with it other than TAKE
WAN_REMEDIES = {
    "animate2": (
        "it takes the driving video itself in place of a drawn pose and face crops, so load it with Load Diffusion "
        f"Model and use ComfyUI's WanAnimate2ToVideo node; or {TAKE}"
    ),
}


@dataclass(frozen=True)
class FileIdentity:
    what: str  # "a VAE" and the like
    note: str = ""  # a clause on it
    part_of_wan: bool = False  # a part or a layout of a Wan transformer
    into: str = ""  # the node, or folder and node, that it is for

    @property
    def place(self) -> str:
        """A clause: where it goes, or what is to be known of it."""
        return f"it goes into {self.into}" if self.into else self.note


SAM2_VIDEO = FileIdentity("a SAM 2 video model", into="Load Segmenter")
# (texts of which one is in some tensor's name, what the file is); the first that fits
IDENTITIES: tuple[tuple[tuple[str, ...], FileIdentity], ...] = (
    (LORA_MARKS, FileIdentity("a LoRA", into="models/loras and Apply LoRA")),
    (
        ("detector.", "tracker.", "geometry_encoder."),
        FileIdentity("a SAM 3 model", "its masks come in through Mask to Frames"),
    ),
    (("memory_attention.",), SAM2_VIDEO),
    (
        ("image_encoder.trunk.", "vision_encoder.backbone."),
        FileIdentity("a SAM 2 model for single images, without the memory that follows a person through a video"),
    ),
    (
        ("image_encoder.blocks.", "vision_encoder.layers.", "image_encoder.neck."),
        FileIdentity("a SAM model of the first generation"),
    ),
    (
        ("condition_embedder.text_embedder.",),
        FileIdentity("a Wan model in diffusers' layout", "ComfyUI does not load that layout", True),
    ),
    (("decoder.middle.0.residual.0.gamma",), FileIdentity("the Wan VAE", into="Load VAE")),
    (("decoder.conv_in", "decoder.conv1", "encoder.down_blocks"), FileIdentity("a VAE", into="Load VAE")),
    (
        ("vision_model.embeddings.", "visual.transformer."),
        FileIdentity("a CLIP vision model", into="Load CLIP Vision"),
    ),
    (("encoder.block.0.layer.0.SelfAttention",), FileIdentity("a T5 text encoder", into="Load CLIP")),
    (("blocks.0.attn.q.weight",), FileIdentity("a umT5 text encoder", into="Load CLIP")),
    (("text_model.encoder.layers.",), FileIdentity("a CLIP text encoder", into="Load CLIP")),
    (
        ("controlnet_patch_embedding.weight",),
        FileIdentity("Uni3C, a ControlNet for Wan", part_of_wan=True, into="Load Model Patch"),
    ),
    (("vace_blocks.0.after_proj.weight",), FileIdentity("a VACE module of Wan, not a model by itself", "", True)),
    (("input_blocks.0.0.weight",), FileIdentity("a Stable Diffusion model")),
    (("double_blocks.0.",), FileIdentity("a Flux or Hunyuan model")),
    (("joint_blocks.0.",), FileIdentity("a Stable Diffusion 3 model")),
    (
        ("model.diffusion_model.", "patch_embedding.", "transformer_blocks.", "double_blocks.", "head.modulation"),
        FileIdentity("a diffusion model"),
    ),
    (("cv2.0.0.conv", ".m.0.cv1.", "model.22."), FileIdentity("a YOLO detector")),
    (("text_model.", "token_embedding", "shared.weight"), FileIdentity("a text encoder", into="Load CLIP")),
)


def file_identity(names: Collection[str]) -> FileIdentity | None:
    """From tensor names; None if unknown."""
    return next((kind for marks, kind in IDENTITIES if any(mark in name for name in names for mark in marks)), None)


def is_lora(names: Iterable[str]) -> bool:
    return any(mark in name for name in names for mark in LORA_MARKS)


@dataclass(frozen=True)
class WanMember:
    kind: str  # ComfyUI's model_type
    name: str  # published, with its size
    remedy: str  # what to do where Wan 2.2 Animate is needed


def wan_member(config: Mapping[str, Any]) -> WanMember:
    kind = str(config.get("model_type"))
    name = WAN_NAMES.get(kind) or _plain_name(kind, config)
    return WanMember(kind, name, WAN_REMEDIES.get(kind, TAKE))


def wan_config(own: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The part of ComfyUI's ``unet_config`` that :func:`wan_member` reads.

    Args:
        own: a Wan file's tensors without prefix, ``head.modulation`` among them.
        metadata: ``config.transformer`` overrides the tensors (Wan Animate 2 has those of Wan 2.1 I2V).
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
        given = read_json(metadata.get("config", "{}"), Config, "config", "").transformer
    except InputError:  # ComfyUI would not load the file either
        return config
    return config | {name: value for name, value in given.items() if is_of_its_type(name, value)}


def is_of_its_type(name: str, value: Any) -> bool:
    """Whether a ``config.transformer`` field has its type, if it is read."""
    wanted = FIELDS.get(name)
    if name == "flf_pos_embed_token_number" and value is None:  # ComfyUI's default
        return True
    return wanted is None or type(value) is wanted  # True is an int to isinstance


def foreign_sentence(name: str, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None = None) -> str:
    """What file ``name`` is instead of Wan 2.2 Animate, and what to do."""
    if not tensors:
        return f"{name} holds no tensors: {TAKE}."
    if is_lora(tensors):
        return f"{name} is a LoRA, not a model: put it into models/loras and use Apply LoRA; here {TAKE}."
    wan = next((key for key in tensors if key.endswith("head.modulation")), None)
    if wan is not None:
        own = {key.removeprefix(wan.removesuffix("head.modulation")): info for key, info in tensors.items()}
        member = wan_member(wan_config(own, metadata or {}))
        return f"{name} is {member.name}, which has no face adapter: {member.remedy}."
    if any(key.startswith(("face_adapter.", "motion_encoder.", "blocks.0.self_attn.")) for key in tensors):
        return (
            f"{name} is a part of a Wan model ({len(tensors)} tensors, without the last layer): put all its files "
            "into one folder under their published names (…-00001-of-00004.safetensors) and choose the first."
        )
    identity = file_identity(tensors)
    if identity is not None:
        other = "" if identity.part_of_wan else ", not Wan 2.2 Animate"
        here = "here " if identity.into else ""
        return f"{name} is {identity.what}{other}: {identity.place + '; ' if identity.place else ''}{here}{TAKE}."
    some = ", ".join(list(tensors)[:2])
    return f"{name} is not Wan 2.2 Animate (its {len(tensors)} tensors are {some} and so on): {TAKE}."


def _plain_name(kind: str, config: Mapping[str, Any]) -> str:
    channels, width = config.get("in_dim", 0), config.get("dim", 0)
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
