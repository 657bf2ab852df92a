"""The Wan 2.2 Animate transformer in a file: size, precision, completeness.

Names and shapes: upstream's ``wan/modules/animate/model_animate.py``, ComfyUI's ``comfy/ldm/wan/model_animate.py``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import InputError
from ..schema import read_json
from .header import Header, TensorInfo
from .kinds import TAKE, Config, foreign_sentence, is_of_its_type, wan_config, wan_member
from .quantized import Quantization, find_quantization, is_extra

# in front of every name: upstream's, ComfyUI's, trainers' exports
PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "module.")
# only Animate has it, in every precision
FACE_KEY = "face_adapter.fuser_blocks.0.k_norm.weight"
WAN_KEY = "head.modulation"
TEXT_DIM, IMAGE_DIM, FREQ_DIM = 4096, 1280, 256
_BLOCK = re.compile(r"blocks\.([0-9]+)\.")
IN_CHANNELS, LATENT_CHANNELS, FACE_HEADS, HEAD_DIM = 36, 16, 4, 128
MOTION_WIDTHS = (32, 64, 128, 256, 512, 512, 512, 512)
MOTION_NET = "motion_encoder.enc.net_app.convs"


@dataclass(frozen=True)
class AnimateFile:
    header: Header
    prefix: str  # in front of every name
    dim: int  # 5120 in 14B
    ffn: int  # 13824
    blocks: int  # 40
    precision: str  # dtype of most weights, safetensors' name
    quantization: Quantization
    blur_kernels: tuple[str, ...]  # constant kernels missing in the file, filled in on loading

    def summary(self) -> str:
        size = "14B" if (self.dim, self.blocks) == (5120, 40) else f"width {self.dim}, {self.blocks} blocks"
        return f"Wan 2.2 Animate {size}, {self.quantization.summary(self.precision)}"


def read_animate(header: Header) -> AnimateFile:
    """Raises InputError for another model, or missing or misshapen tensors."""
    tensors = header.tensors
    prefix = next((start for start in PREFIXES if start + WAN_KEY in tensors and start + FACE_KEY in tensors), None)
    if prefix is None:
        raise InputError(foreign_sentence(header.name, tensors, header.metadata))
    own = {name.removeprefix(prefix): info for name, info in tensors.items() if name.startswith(prefix)}
    member = wan_member(wan_config(own, header.metadata))
    if member.kind != "animate":
        raise InputError(f"{header.name} says of itself that it is {member.name}: {member.remedy}.")
    dim = own[WAN_KEY].shape[-1] if own[WAN_KEY].shape else 0
    blocks = _count_blocks(own, header.name)
    ffn = (own["blocks.0.ffn.0.bias"].shape or (0,))[0] if "blocks.0.ffn.0.bias" in own else 0
    expected = transformer_shapes(dim, ffn, blocks)
    quantization = find_quantization(own, header.metadata, prefix)
    missing = [name for name in expected if name not in own]
    kernels = tuple(name for name in missing if name.endswith(".kernel"))
    missing = [name for name in missing if name not in kernels]
    if missing or blocks % 5 or blocks == 0:
        raise InputError(
            f"{header.name} is a Wan 2.2 Animate model with {len(expected) - len(missing)} of {len(expected)} tensors "
            f"(for instance {(missing or ['blocks'])[0]} is not there): download the complete file."
        )
    for name in kernels:
        del expected[name]
    wrong = [name for name in expected if not _fits(name, own[name], expected[name], quantization)]
    if wrong:
        raise InputError(
            f"{header.name} has tensors of another shape than Wan 2.2 Animate's ({wrong[0]} is "
            f"{list(own[wrong[0]].shape)}, not {list(expected[wrong[0]])}): it is a changed model that ComfyUI cannot "
            "load; choose a published one."
        )
    _check_config(header, dim, ffn, blocks)
    sizes: Counter[str] = Counter()
    for name in expected:
        if name.endswith(".weight") and len(expected[name]) > 1:
            sizes[own[name].dtype] += _count(own[name].shape)
    return AnimateFile(header, prefix, dim, ffn, blocks, sizes.most_common(1)[0][0], quantization, kernels)


def _check_config(header: Header, dim: int, ffn: int, blocks: int) -> None:
    """Raises InputError where the metadata, by which ComfyUI builds the model, contradict the tensors."""
    text = header.metadata.get("config")
    if text is None:
        return
    given = read_json(text, Config, f"the configuration in {header.name}'s metadata", TAKE).transformer
    true = {
        "dim": dim, "ffn_dim": ffn, "num_layers": blocks, "num_heads": dim // HEAD_DIM, "in_dim": IN_CHANNELS,
        "out_dim": LATENT_CHANNELS, "text_dim": TEXT_DIM, "freq_dim": FREQ_DIM,
    }  # fmt: skip
    for name, value in given.items():
        if not is_of_its_type(name, value) or true.get(name, value) != value:
            wanted = f"where its tensors say {true[name]}" if name in true else "which is of another type than that has"
            raise InputError(
                f"{header.name} says in its metadata (config.transformer) that {name} is {json.dumps(value)[:60]}, "
                f"{wanted}: {TAKE}."
            )


def unexpected_keys(file: AnimateFile) -> list[str]:
    """Names (without prefix) that are neither the model's nor scales."""
    expected = transformer_shapes(file.dim, file.ffn, file.blocks)
    own = (name.removeprefix(file.prefix) for name in file.header.tensors if name.startswith(file.prefix))
    return [name for name in own if name not in expected and not is_extra(name, expected)]


def relighting_layers(blocks: int) -> list[str]:
    """The relighting LoRA's layers (rank 128, alpha 128): 12 linear layers a block, 480 in 14B.

    Source: ``wan/modules/animate/animate_utils.py: get_loraconfig``.
    """
    names = [f"self_attn.{name}" for name in "qkvo"]
    names += [f"cross_attn.{name}" for name in ("q", "k", "v", "o", "k_img", "v_img")] + ["ffn.0", "ffn.2"]
    return [f"blocks.{block}.{name}" for block in range(blocks) for name in names]


def is_linear(name: str) -> bool:
    """Whether it is a linear layer's; the motion encoder scales its own."""
    return name.endswith(".weight") and not any(
        part in name for part in ("motion_encoder.", "patch_embedding", ".conv", "norm", "img_emb.proj.0", "proj.4")
    )


def transformer_shapes(dim: int, ffn: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    for name, channels in (("patch_embedding", IN_CHANNELS), ("pose_patch_embedding", LATENT_CHANNELS)):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (dim, channels, 1, 2, 2), (dim,)
    for name, out, into in (
        ("text_embedding.0", dim, TEXT_DIM),
        ("text_embedding.2", dim, dim),
        ("time_embedding.0", dim, FREQ_DIM),
        ("time_embedding.2", dim, dim),
        ("time_projection.1", 6 * dim, dim),
        ("head.head", 4 * LATENT_CHANNELS, dim),
        ("img_emb.proj.1", IMAGE_DIM, IMAGE_DIM),
        ("img_emb.proj.3", dim, IMAGE_DIM),
        ("face_encoder.out_proj", dim, 1024),
    ):
        linear(name, out, into)
    for name, width in (("img_emb.proj.0", IMAGE_DIM), ("img_emb.proj.4", dim)):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    shapes["head.modulation"] = (1, 2, dim)
    for layer in relighting_layers(blocks):
        sizes = {"ffn.0": (ffn, dim), "ffn.2": (dim, ffn)}
        linear(layer, *sizes.get(layer.split(".", 2)[2], (dim, dim)))
    for block in (f"blocks.{index}" for index in range(blocks)):
        shapes[f"{block}.modulation"] = (1, 6, dim)
        shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (dim,)
        for norm in ("self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k"):
            shapes[f"{block}.{norm}.weight"] = (dim,)
        shapes[f"{block}.cross_attn.norm_k_img.weight"] = (dim,)
    for fuser in (f"face_adapter.fuser_blocks.{index}" for index in range(blocks // 5)):
        linear(f"{fuser}.linear1_kv", 2 * dim, dim)
        linear(f"{fuser}.linear1_q", dim, dim)
        linear(f"{fuser}.linear2", dim, dim)
        shapes[f"{fuser}.q_norm.weight"] = shapes[f"{fuser}.k_norm.weight"] = (HEAD_DIM,)
    for name, out, into in (("conv1_local", 1024 * FACE_HEADS, 512), ("conv2", 1024, 1024), ("conv3", 1024, 1024)):
        shapes[f"face_encoder.{name}.conv.weight"] = (out, into, 3)
        shapes[f"face_encoder.{name}.conv.bias"] = (out,)
    shapes["face_encoder.padding_tokens"] = (1, 1, 1, dim)
    return shapes | _motion_shapes()


def _motion_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    shapes[f"{MOTION_NET}.0.0.weight"], shapes[f"{MOTION_NET}.0.1.bias"] = (32, 3, 1, 1), (1, 32, 1, 1)
    for index, (into, out) in enumerate(zip(MOTION_WIDTHS[:-1], MOTION_WIDTHS[1:]), 1):
        block = f"{MOTION_NET}.{index}"
        shapes[f"{block}.conv1.0.weight"], shapes[f"{block}.conv1.1.bias"] = (into, into, 3, 3), (1, into, 1, 1)
        shapes[f"{block}.conv2.0.kernel"] = shapes[f"{block}.skip.0.kernel"] = (4, 4)
        shapes[f"{block}.conv2.1.weight"], shapes[f"{block}.conv2.2.bias"] = (out, into, 3, 3), (1, out, 1, 1)
        shapes[f"{block}.skip.1.weight"] = (out, into, 1, 1)
    shapes[f"{MOTION_NET}.8.weight"] = (512, 512, 4, 4)
    for index in range(5):
        shapes[f"motion_encoder.enc.fc.{index}.weight"] = (512 if index < 4 else 20, 512)
        shapes[f"motion_encoder.enc.fc.{index}.bias"] = (512 if index < 4 else 20,)
    shapes["motion_encoder.dec.direction.weight"] = (512, 20)
    return shapes


def _fits(name: str, info: TensorInfo, shape: tuple[int, ...], quantization: Quantization) -> bool:
    """Packed formats hold several values per element; ComfyUI checks those."""
    return info.shape == shape or quantization.packed and name.removesuffix(".weight") in quantization.layers


def _count_blocks(names: Collection[str] | Mapping[str, object], file: str) -> int:
    """Raises InputError if one is missing: a name is a claim, and everything after takes memory by it."""
    found = {match[1] for name in names if (match := _BLOCK.match(name))}
    lost = next((number for number in range(len(found)) if str(number) not in found), None)
    if lost is not None:
        last = max(found, key=lambda number: (len(number), number))
        raise InputError(
            f"{file} has tensors of block {last[:20]}, but none of block {lost}: it is damaged, download it again."
        )
    return len(found)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
