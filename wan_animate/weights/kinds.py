"""What a file that is no Wan 2.2 Animate model is instead, in one sentence, from the names of its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from .header import TensorInfo

LORA_MARKS = (".lora_A", ".lora_B", ".lora_down", ".lora_up", "_lora.up", "_lora.down", ".hada_w1", ".lokr_w1")
TAKE = "choose wan2.2_animate_14B_bf16.safetensors (or an fp8 form of it)"

# Members of the Wan family that carry a tensor of their own; the names are those by which ComfyUI's
# comfy/model_detection.py tells them apart.
WAN_MEMBERS = (
    ("vace_patch_embedding.weight", "Wan VACE"),
    ("vace_blocks.0.after_proj.weight", "a VACE module of Wan"),
    ("control_adapter.conv.weight", "Wan Fun Camera"),
    ("casual_audio_encoder.encoder.final_linear.weight", "Wan 2.2 S2V (sound to video)"),
    ("audio_proj.audio_proj_glob_1.layer.bias", "HuMo"),
    ("patch_embedding_mask.weight", "SCAIL 2"),
    ("patch_embedding_pose.weight", "SCAIL"),
    ("patch_embedding_global.weight", "WanDancer"),
)

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
    ("input_blocks.0.0.weight", "a Stable Diffusion model, not Wan 2.2 Animate", TAKE),
    ("double_blocks.0.", "a Flux or Hunyuan model, not Wan 2.2 Animate", TAKE),
    ("joint_blocks.0.", "a Stable Diffusion 3 model, not Wan 2.2 Animate", TAKE),
)


def is_lora(names) -> bool:
    return any(mark in name for name in names for mark in LORA_MARKS)


def foreign_sentence(name: str, tensors: Mapping[str, TensorInfo]) -> str:
    """One sentence for the file ``name``: what its tensors are, and what to do about it."""
    if not tensors:
        return f"{name} holds no tensors: {TAKE}."
    if is_lora(tensors):
        return f"{name} is a LoRA, not a model: put it into models/loras and use Apply LoRA; here {TAKE}."
    wan = next((one for one in tensors if one.endswith("head.modulation")), None)
    if wan is not None:
        own = {key.removeprefix(wan.removesuffix("head.modulation")): info for key, info in tensors.items()}
        return f"{name} is {_wan_member(own)}, which has no face adapter: {TAKE}."
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


def _wan_member(own: Mapping[str, TensorInfo]) -> str:
    for mark, what in WAN_MEMBERS:
        if mark in own:
            return what
    patch = own.get("patch_embedding.weight")
    channels = patch.shape[1] if patch is not None and len(patch.shape) > 1 else 0
    width = own["head.modulation"].shape[-1]
    if width == 3072:
        return "Wan 2.2 TI2V 5B"
    size = {1536: " 1.3B", 5120: " 14B"}.get(width, "")
    if "img_emb.proj.0.bias" in own:
        return f"Wan 2.1 {'Fun Control' if channels == 48 else 'I2V'}{size}"
    if channels == 36:
        return f"Wan 2.2 I2V{size}"
    return f"Wan 2.1 or 2.2 T2V{size}" if channels == 16 else f"another Wan model ({channels} input channels)"
