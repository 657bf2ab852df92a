"""SAM 2 video weights: variant (by tensor shapes) and transformers' keys.

Layouts: Hugging Face (``facebook/sam2.1-hiera-*``) and Meta's as safetensors (``Kijai/sam2-safetensors``). Sources:
facebookresearch/sam2 and ``transformers/models/sam2_video``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from ..errors import InputError
from ..files import reading
from ..schema import Schema, read_json, read_values
from ..weights.kinds import SAM2_VIDEO, file_identity

WHAT = "segmenter"
WANTED = "choose a SAM 2 or 2.1 video model such as sam2.1_hiera_large.safetensors"

# What shapes do not tell: (width of the first stage, blocks of the four stages) -> name, attention heads and window
# sizes of the stages, blocks with global attention.
VARIANTS: dict[tuple[int, tuple[int, ...]], tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    (96, (1, 2, 7, 2)): ("tiny", (1, 2, 4, 8), (8, 4, 14, 7), (5, 7, 9)),
    (96, (1, 2, 11, 2)): ("small", (1, 2, 4, 8), (8, 4, 14, 7), (7, 10, 13)),
    (112, (2, 3, 16, 3)): ("base plus", (2, 4, 8, 16), (8, 4, 14, 7), (12, 16, 20)),
    (144, (2, 6, 36, 4)): ("large", (2, 4, 8, 16), (8, 4, 16, 8), (23, 33, 43)),
}
# A model of another size declares the same in its safetensors metadata under this key, as JSON:
# {"heads": [...], "windows": [...], "global_blocks": [...], "image_size": 1024}
METADATA = "sam2_architecture"
MOST_LAYERS = 256  # five times the largest


Heads = Annotated[int, Field(ge=1, le=256)]


class _Size(Schema):
    heads: Annotated[list[Heads], Field(min_length=1, max_length=MOST_LAYERS)]
    windows: Annotated[list[Annotated[int, Field(ge=0, le=256)]], Field(max_length=MOST_LAYERS)]
    global_blocks: Annotated[list[Annotated[int, Field(ge=0, le=MOST_LAYERS)]], Field(max_length=MOST_LAYERS)]
    image_size: Annotated[int, Field(ge=32, le=8192)] = 1024


@dataclass(frozen=True)
class Architecture:
    name: str  # "SAM 2.1 large" and the like
    layout: str  # "huggingface" or "meta"
    config: dict  # arguments of transformers' Sam2VideoConfig, parts as nested dicts


def read_weights(path: str | os.PathLike, shapes_only: bool = False) -> tuple[dict[str, torch.Tensor], Architecture]:
    """(tensors by transformers' names, architecture); on the meta device with ``shapes_only``.

    Raises:
        InputError: missing, no safetensors file, or another model.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix.lower() in (".pt", ".pth", ".ckpt", ".bin"):
        raise InputError(
            f"{WHAT}: {path.name} is a pickle, which can run code when it is opened; use the same model as "
            ".safetensors (facebook/sam2.1-hiera-large or Kijai/sam2-safetensors have them)."
        )
    with reading(path, WHAT, "give the path of a SAM 2 .safetensors file"):
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                keys = list(file.keys())
                _refuse_other_models(path.name, keys)  # before gigabytes of something else are read
                if shapes_only:
                    tensors = {key: torch.empty(file.get_slice(key).get_shape(), device="meta") for key in keys}
                else:
                    tensors = {key: file.get_tensor(key) for key in keys}
        except SafetensorError as error:
            size = path.stat().st_size
            raise InputError(
                f"{WHAT}: {path.name} ({size:,} bytes) cannot be read as safetensors ({error}); download it again, and "
                "mind that a link page or a pointer file may have been saved in its place."
            ) from error
        declared = check_declared_size(metadata.get(METADATA, "{}"), path.name)
    layout = "meta" if any(key.startswith("image_encoder.trunk.") for key in tensors) else "huggingface"
    if layout == "meta":
        tensors = from_meta(tensors)
    twins = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
    for saved, shared in (twins, twins[::-1]):  # one tensor under two names; some transformers releases save only one
        if saved in tensors and shared not in tensors:
            tensors[shared] = tensors[saved]
    try:
        config, name = _infer(tensors, declared)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{WHAT}: {path.name} lacks a part of a SAM 2 video model ({error.args[0]}); download it again whole."
        ) from error
    except ValueError as error:
        raise InputError(f"{WHAT}: {path.name} holds {error}; {WANTED}.") from error
    return tensors, Architecture(name, layout, config)


def check_declared_size(text: str, name: str) -> dict:
    """The size in a file's metadata, ``{}`` of a published one. Raises InputError for another form."""
    what = f"{WHAT}: the size in {name}'s metadata ({METADATA})"
    given = read_json(text, dict[str, Any], what, "download it again")
    return read_values(given, _Size, what, "download it again").model_dump() if given else {}


def _refuse_other_models(name: str, keys: list[str]) -> None:
    identity = file_identity(keys)
    if identity is None:
        some = ", ".join(sorted(keys)[:2])
        what = f"something else ({len(keys)} tensors, such as {some})" if keys else "empty"
    elif identity is SAM2_VIDEO:
        return
    else:
        what = identity.what + (f" ({identity.place})" if identity.place else "")
    raise InputError(f"{WHAT}: {name} is {what}; {WANTED}.")


# -- Meta's layout

_THREE_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_TWO_LAYERS = {"0": "proj_in", "1": "proj_out"}
_MASK_EMBED = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_UPSCALE = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_TOP = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
}
# the first pattern that matches the whole key rewrites it
_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), rewrite)
    for pattern, rewrite in (
        (rf"({'|'.join(_TOP)})", lambda m: _TOP[m[1]]),
        (r"obj_ptr_tpos_proj\.(.+)", r"temporal_positional_encoding_projection_layer.\1"),
        (r"obj_ptr_proj\.layers\.(\d)\.(.+)", lambda m: f"object_pointer_proj.{_THREE_LAYERS[m[1]]}.{m[2]}"),
        (r"(mask_downsample\..+)", r"\1"),
        (r"image_encoder\.neck\.convs\.(\d)\.conv\.(.+)", r"vision_encoder.neck.convs.\1.\2"),
        (r"image_encoder\.trunk\.patch_embed\.proj\.(.+)", r"vision_encoder.backbone.patch_embed.projection.\1"),
        (
            r"image_encoder\.trunk\.(blocks\.\d+\.mlp)\.layers\.(\d)\.(.+)",
            lambda m: f"vision_encoder.backbone.{m[1]}.{_TWO_LAYERS[m[2]]}.{m[3]}",
        ),
        (r"image_encoder\.trunk\.(blocks\.\d+)\.norm(\d\..+)", r"vision_encoder.backbone.\1.layer_norm\2"),
        (r"image_encoder\.trunk\.(blocks\.\d+\.(?:attn\.(?:qkv|proj)|proj)\..+)", r"vision_encoder.backbone.\1"),
        (r"image_encoder\.trunk\.(pos_embed(?:_window)?)", r"vision_encoder.backbone.\1"),
        (
            r"sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
            "prompt_encoder.shared_embedding.positional_embedding",
        ),
        (
            r"sam_prompt_encoder\.mask_downscaling\.(\d)\.(.+)",
            lambda m: f"prompt_encoder.mask_embed.{_MASK_EMBED[m[1]]}.{m[2]}",
        ),
        (r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight", r"prompt_encoder.point_embed.\1"),
        (r"sam_prompt_encoder\.(not_a_point_embed|no_mask_embed)\.weight", r"prompt_encoder.\1.weight"),
        (r"sam_mask_decoder\.output_upscaling\.(\d)\.(.+)", lambda m: f"mask_decoder.{_UPSCALE[m[1]]}.{m[2]}"),
        (
            r"sam_mask_decoder\.(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head)"
            r"\.layers\.(\d)\.(.+)",
            lambda m: f"mask_decoder.{m[1]}.{_THREE_LAYERS[m[2]]}.{m[3]}",
        ),
        (
            r"sam_mask_decoder\.(transformer\.layers\.\d\.mlp)\.layers\.(\d)\.(.+)",
            lambda m: f"mask_decoder.{m[1]}.{_TWO_LAYERS[m[2]]}.{m[3]}",
        ),
        (r"sam_mask_decoder\.(.+)", lambda m: "mask_decoder." + _attention(m[1])),
        (r"(memory_attention\..+)", lambda m: _attention(m[1])),
        (r"memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(.+)", lambda m: _downsampler(int(m[1]), m[2])),
        (r"memory_encoder\.pix_feat_proj\.(.+)", r"memory_encoder.feature_projection.\1"),
        (r"memory_encoder\.out_proj\.(.+)", r"memory_encoder.projection.\1"),
        (r"memory_encoder\.fuser\.(layers\.\d)\.gamma", r"memory_encoder.memory_fuser.\1.scale"),
        (r"memory_encoder\.fuser\.(layers\.\d)\.dwconv\.(.+)", r"memory_encoder.memory_fuser.\1.depthwise_conv.\2"),
        (r"memory_encoder\.fuser\.(layers\.\d)\.pwconv(\d\..+)", r"memory_encoder.memory_fuser.\1.pointwise_conv\2"),
        (r"memory_encoder\.fuser\.(layers\.\d)\.norm\.(.+)", r"memory_encoder.memory_fuser.\1.layer_norm.\2"),
    )
]


def _attention(key: str) -> str:
    return key.replace(".out_proj.", ".o_proj.").replace(".norm", ".layer_norm")


def _downsampler(index: int, rest: str) -> str:
    # each step is convolution, norm, activation; the projection comes last
    layer, part = divmod(index, 3)
    name = f"layers.{layer}.{('conv', 'layer_norm')[part]}" if layer < 4 else "final_conv"
    return f"memory_encoder.mask_downsampler.{name}.{rest}"


def from_meta(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Meta's keys as transformers'; others are kept."""
    renamed = {}
    for key, tensor in tensors.items():
        for pattern, rewrite in _RULES:
            if match := pattern.fullmatch(key):
                key = rewrite(match) if callable(rewrite) else match.expand(rewrite)
                break
        renamed[key] = tensor
    points = [f"prompt_encoder.point_embed.{index}" for index in range(4)]
    if all(key in renamed for key in points):
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([renamed.pop(key) for key in points])
    return renamed


# -- the architecture


def build_model(config: dict) -> torch.nn.Module:
    """transformers' ``Sam2VideoModel``. Raises InputError if transformers is missing or older than 4.56."""
    try:
        from transformers import (
            Sam2HieraDetConfig,
            Sam2VideoConfig,
            Sam2VideoMaskDecoderConfig,
            Sam2VideoModel,
            Sam2VideoPromptEncoderConfig,
            Sam2VisionConfig,
        )
    except ImportError as error:
        raise InputError(
            f"{WHAT}: it needs the package transformers, 4.56 or newer; run `pip install -U transformers` in the "
            "Python that runs this."
        ) from error
    vision = dict(config["vision_config"])
    vision["backbone_config"] = Sam2HieraDetConfig(**vision["backbone_config"])
    parts = {  # some releases turn a dict for the mask decoder into another part's config
        "vision_config": Sam2VisionConfig(**vision),
        "prompt_encoder_config": Sam2VideoPromptEncoderConfig(**config.get("prompt_encoder_config", {})),
        "mask_decoder_config": Sam2VideoMaskDecoderConfig(**config.get("mask_decoder_config", {})),
    }
    return Sam2VideoModel(Sam2VideoConfig(**{**config, **parts})).eval()


def _infer(tensors: dict[str, torch.Tensor], declared: dict) -> tuple[dict, str]:
    """(transformers' config, name) from shapes. Raises KeyError or ValueError for unknown sizes."""

    def shape(key: str) -> tuple[int, ...]:
        return tuple(tensors[key].shape)

    def count(prefix: str) -> int:
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        found = {match[1] for match in map(pattern.match, tensors) if match}
        if len(found) > MOST_LAYERS or any(str(number) not in found for number in range(len(found))):
            raise ValueError(f"{len(found)} layers of {prefix} that do not follow each other")
        return len(found)

    trunk = "vision_encoder.backbone."
    widths = [shape(f"{trunk}blocks.{index}.layer_norm2.weight")[0] for index in range(count(f"{trunk}blocks"))]
    dims = list(dict.fromkeys(widths))
    blocks = tuple(widths.count(dim) for dim in dims)
    window = shape(f"{trunk}pos_embed_window")[-1]
    if declared:
        name, heads = "of its own size", declared["heads"]
        windows, global_blocks = declared["windows"], declared["global_blocks"]
    elif (dims[0], blocks) in VARIANTS:
        name, heads, windows, global_blocks = VARIANTS[dims[0], blocks]
    else:
        raise ValueError(f"a SAM 2 model of no published size (width {dims[0]}, {'+'.join(map(str, blocks))} blocks)")
    side = int(declared.get("image_size", 1024))
    neck = [shape(f"vision_encoder.neck.convs.{index}.weight") for index in range(len(dims))]
    hidden, memory = neck[0][0], shape("memory_encoder.projection.weight")[0]
    newer = "occlusion_spatial_embedding_parameter" in tensors
    vision = {
        "backbone_config": {
            "hidden_size": dims[0],
            "num_attention_heads": heads[0],
            "image_size": [side, side],
            "window_positional_embedding_background_size": list(shape(f"{trunk}pos_embed")[-2:]),
            "blocks_per_stage": list(blocks),
            "embed_dim_per_stage": dims,
            "num_attention_heads_per_stage": list(heads),
            "window_size_per_stage": [window, *windows[1:]],
            "global_attention_blocks": list(global_blocks),
            "mlp_ratio": shape(f"{trunk}blocks.0.mlp.proj_in.weight")[0] / dims[0],
        },
        "backbone_channel_list": [channels for _, channels, *_ in neck],
        "backbone_feature_sizes": [[side // step, side // step] for step in (4, 8, 16)],
        "fpn_hidden_size": hidden,
    }
    memory_layer, decoder = "memory_attention.layers.0.", "mask_decoder."
    config = {
        "vision_config": vision,
        "prompt_encoder_config": {
            "hidden_size": hidden,
            "image_size": side,
            "mask_input_channels": shape("prompt_encoder.mask_embed.conv2.weight")[0],
        },
        "mask_decoder_config": {
            "hidden_size": hidden,
            "mlp_dim": shape(f"{decoder}transformer.layers.0.mlp.proj_in.weight")[0],
            "num_hidden_layers": count(f"{decoder}transformer.layers"),
            "num_multimask_outputs": shape(f"{decoder}mask_tokens.weight")[0] - 1,
            "iou_head_hidden_dim": shape(f"{decoder}iou_prediction_head.proj_in.weight")[0],
        },
        "image_size": side,
        "num_maskmem": shape("memory_temporal_positional_encoding")[0],
        "enable_occlusion_spatial_embedding": newer,
        "enable_temporal_pos_encoding_for_object_pointers": "temporal_positional_encoding_projection_layer.weight"
        in tensors,
        "memory_attention_hidden_size": hidden,
        "memory_attention_num_layers": count("memory_attention.layers"),
        "memory_attention_feed_forward_hidden_size": shape(f"{memory_layer}linear1.weight")[0],
        "memory_attention_rope_feat_sizes": [side // 16, side // 16],
        "memory_encoder_hidden_size": hidden,
        "memory_encoder_output_channels": memory,
        "mask_downsampler_embed_dim": shape("memory_encoder.mask_downsampler.final_conv.weight")[0],
        "memory_fuser_num_layers": count("memory_encoder.memory_fuser.layers"),
        "memory_fuser_embed_dim": hidden,
        "memory_fuser_intermediate_dim": shape("memory_encoder.memory_fuser.layers.0.pointwise_conv1.weight")[0],
    }
    return config, f"SAM {'2.1' if newer else '2.0'} {name}"
