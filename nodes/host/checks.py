"""Checks of MODEL, VAE, prompt and image features before any work."""

from __future__ import annotations

from typing import Any

import torch

from ...wan_animate.errors import InputError
from ...wan_animate.finite import check_finite
from ...wan_animate.log import get_logger
from ...wan_animate.weights.kinds import TAKE, wan_member

log = get_logger(__name__)


def check_model(model: Any) -> None:
    """Raises InputError unless it is Wan 2.2 Animate."""
    import comfy.model_base

    base = getattr(model, "model", None)
    if isinstance(base, comfy.model_base.WAN22_Animate):
        return
    config = getattr(getattr(base, "model_config", None), "unet_config", None) or {}
    what, remedy = f"a {type(base).__name__} model", TAKE
    if isinstance(base, comfy.model_base.WAN21):
        # the host removes this key from the configuration once it has chosen the class
        causal = {"causal_ar": True} if isinstance(base, comfy.model_base.WAN21_CausalAR) else {}
        member = wan_member(config | causal)
        what, remedy = member.name, member.remedy
    raise InputError(f"the model input holds {what}, but this node needs Wan 2.2 Animate: {remedy}.")


# VAEs whose latents have the same shape, but another meaning: (a part of the class's module name, what it is).
OTHER_VAES = (
    (".cosmos.", "the Cosmos VAE"),
    (".cogvideo.", "the CogVideoX VAE"),
    (".models.autoencoder", "the VAE of another model"),
)


def check_vae(vae: Any) -> None:
    """Raises InputError unless it is Wan 2.1's (16 channels, 8x in space, 4x in time)."""
    network = getattr(vae, "first_stage_model", None)
    channels, dims = getattr(vae, "latent_channels", None), getattr(vae, "latent_dim", None)
    ratio = vae.spacial_compression_encode() if dims == 3 else None
    kind = type(network).__module__
    found = next((what for part, what in OTHER_VAES if part in kind), None)
    if channels != 16 or dims != 3 or ratio != 8:
        found = type(vae if network is None else network).__name__
        found = f"{found} with {channels} latent channels ({'video' if dims == 3 else 'image'})"
    made = (getattr(vae, "output_channels", 3), getattr(vae, "conv_out_channels", None) or 3)
    if found is None and made != (3, 3):
        found = f"a changed Wan VAE that reads {made[0]} and makes {made[1]} channels"
    if found:
        raise InputError(
            f"the vae input holds {found}, but Wan Animate needs the Wan 2.1 VAE with 16: load wan_2.1_vae.safetensors."
        )


def text_width(model: Any) -> int | None:
    """Prompt embedding width (umT5-XXL: 4096); None if unknown."""
    layers = getattr(model.model.diffusion_model, "text_embedding", None)
    return getattr(layers[0], "in_features", None) if isinstance(layers, torch.nn.Sequential) else None


def image_width(model: Any) -> int | None:
    """CLIP vision feature width (ViT-H: 1280); 0 for none, None if unknown."""
    embedding = getattr(model.model.diffusion_model, "img_emb", None)
    if embedding is None:
        return 0
    layers = [layer for layer in embedding.modules() if hasattr(layer, "in_features")]
    return layers[0].in_features if layers else None


def check_prompt(conditioning: Any, name: str, width: int | None) -> None:
    """Raises InputError unless it is one prompt of ``width`` (None: any)."""
    if not conditioning:
        raise InputError(
            f"the {name} input holds no prompt (an empty CONDITIONING): connect Cached Prompt, Load Saved Prompt or "
            "CLIP Text Encode."
        )
    for entry in conditioning:
        embedding = entry[0]
        shape = list(embedding.shape) if isinstance(embedding, torch.Tensor) else None
        if shape is None or len(shape) != 3 or 0 in shape or width not in (None, shape[2]):
            found = "no embedding" if shape is None else f"an embedding of shape {shape}"
            raise InputError(
                f"the {name} input holds {found} where [1, tokens, {width or 'channels'}] is needed: encode the prompt "
                "with the umT5-XXL text encoder (Load CLIP, type wan), another model's does not fit."
            )
        if shape[0] != 1:  # the host would silently take the first
            raise InputError(
                f"the {name} input holds {shape[0]} prompts in one (an embedding of shape {shape}), but a clip is made "
                "from one: connect one prompt, and run once for each."
            )
        check_finite(
            embedding, f"the {name} input", "encode the prompt anew, or load the text encoder in another precision"
        )


def check_negative(negative: Any, cfg: float) -> None:
    """Raises InputError if a negative prompt is needed and not there."""
    if negative is None:
        why = f"cfg is {cfg:g}" if cfg != 1 else "a patch on the model (disable_cfg1_optimization) is on"
        raise InputError(
            f"negative is not connected, but {why}, for which the model also samples a negative prompt: connect Cached "
            "Prompt (an empty text will do) to negative, or set cfg to 1."
        )


def check_image_features(output: Any, width: int | None) -> None:
    """Raises InputError unless ``penultimate_hidden_states`` [1, tokens, C] fit; ``width`` is C, None any, 0 no
    features.
    """
    if width == 0:
        raise InputError(
            "clip_vision_output is connected, but this MODEL has no image embedding to take it: disconnect it."
        )
    features: Any = getattr(output, "penultimate_hidden_states", None)
    shape = list(features.shape) if isinstance(features, torch.Tensor) else None
    if shape is None or len(shape) != 3 or 0 in shape or width not in (None, shape[2]):
        found = "no hidden states" if shape is None else f"features of shape {shape}"
        raise InputError(
            f"clip_vision_output holds {found} where [1, tokens, {width or 'channels'}] is needed: encode the "
            "reference image with CLIP ViT-H (clip_vision_h.safetensors in Load CLIP Vision)."
        )
    if shape[0] > 1:  # as the host does
        log.warning("clip_vision_output holds the features of %d pictures: the first is used.", shape[0])
    check_finite(
        features[:1], "clip_vision_output", "encode the reference image anew, or load CLIP ViT-H in another precision"
    )


def check_steps(sampler_name: str, steps: int) -> None:
    """Raises InputError for uni_pc with one step, of order ``min(3, steps - 1)`` = 0
    (``comfy/extra_samplers/uni_pc.py``).
    """
    if sampler_name.startswith("uni_pc") and steps < 2:
        raise InputError(
            f"steps is {steps}, but {sampler_name} makes nothing but noise of one step: set steps to 2 or more, or "
            "take another sampler_name, as euler."
        )
