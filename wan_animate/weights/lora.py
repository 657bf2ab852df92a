"""Maps a LoRA's tensors to the model's layers, by names and shapes.

Published spellings:

- upstream's relighting LoRA, peft: ``blocks.0.self_attn.q.lora_A.weight``, some with ``base_model.model.`` in front or
  ``.default`` inside; ComfyUI maps none ("lora key not loaded");
- repacks: ``diffusion_model.``, ``lora_A``/``lora_B`` or ``lora_down``/``lora_up`` with ``alpha``; some add ``diff``,
  ``diff_b`` (bias) and ``diff_m`` (modulation);
- kohya: ``lora_unet_blocks_0_self_attn_q.lora_down.weight``; Wan Fun: two underscores;
- diffusers (``loaders/lora_conversion_utils.py``): ``transformer.blocks.0.attn1.to_q.lora_A.weight``; LyCORIS: with
  underscores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InputError

PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "pipe.dit.", "module.",
    "_orig_mod.", "model.", "unet.", "lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_",
)  # fmt: skip
DOWN, UP = ".lora_down.weight", ".lora_up.weight"
ENDINGS = {
    ".lora_A.weight": DOWN, ".lora_A.default.weight": DOWN, ".lora_A": DOWN, ".lora.down.weight": DOWN,
    ".lora_down": DOWN, ".lora_linear_layer.down.weight": DOWN,
    ".lora_B.weight": UP, ".lora_B.default.weight": UP, ".lora_B": UP, ".lora.up.weight": UP,
    ".lora_up": UP, ".lora_linear_layer.up.weight": UP,
}  # fmt: skip
# endings that change a layer in comfy/lora.py and comfy/weight_adapter; COMPANIONS only accompany one of them
CHANGES = frozenset((
    DOWN, UP, ".diff", ".diff_b", ".set_weight", ".w_norm", ".oft_blocks",
    ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b",
    ".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b",
    ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight",
))  # fmt: skip
MIDDLE, SCALE = ".lora_mid.weight", ".dora_scale"
COMPANIONS = frozenset((
    ".alpha", SCALE, MIDDLE, ".b_norm", ".reshape_weight", ".rescale", ".hada_t1", ".hada_t2", ".lokr_t2",
))  # fmt: skip
# endings that ComfyUI needs together (else a KeyError)
TOGETHER = (
    (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b"), (".hada_t1", ".hada_t2"),
    (".lokr_w1_a", ".lokr_w1_b"), (".lokr_w2_a", ".lokr_w2_b"),
    (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"),
)  # fmt: skip
# parameters of any adapter of peft, LyCORIS and kohya's trainers, read by ComfyUI or not
_ADAPTER = re.compile(
    r"[._](?:(?:lora|boft|oft|hada|lokr|glora|ia3|dora|vera|randlora|hra|road|delora|waveft|c3a|shira|bone|miss|diag)"
    r"_\w+|(?:lora|oft|boft|bone|miss|diff|bias_diff)|on_input|scalar)(?:\..*)?$"
)
# longest first, so that the rest is the layer
_ALL_ENDINGS = sorted((*ENDINGS, *CHANGES, *COMPANIONS, ".diff_m"), key=len, reverse=True)
# diffusers' first LoRAs: to_q_lora.up.weight
_OLD_PAIR = re.compile(r"_lora\.(up|down)\.weight$")
# upstream's name of a layer -> diffusers'; the first match counts
TO_DIFFUSERS = (
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("head.head", "proj_out"),
    ("cross_attn.k_img", "attn2.add_k_proj"),
    ("cross_attn.v_img", "attn2.add_v_proj"),
    ("cross_attn.norm_k_img", "attn2.norm_added_k"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
) + tuple(
    (f"{ours}.{part}", f"{theirs}.{to}")
    for ours, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2"))
    for part, to in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))
)


@dataclass
class LoraFit:
    names: dict[str, str] = field(default_factory=dict)  # name in the file -> <layer><ending> in ComfyUI's spelling
    layers: list[str] = field(default_factory=list)  # layers of the model that it changes
    layers_in_file: int = 0
    unknown: list[str] = field(default_factory=list)  # layers that the model does not have
    misfits: list[str] = field(default_factory=list)  # layers of another shape, each as a clause
    unread: list[str] = field(default_factory=list)  # tensors of changed layers that ComfyUI ignores
    rank: int | None = None  # of most layers

    def left_out(self) -> str:
        parts = [f"{len(self.misfits)} of another shape ({self.misfits[0]})"] if self.misfits else []
        if self.unknown:
            parts.append(f"{len(self.unknown)} that the model does not have (for instance {self.unknown[0]})")
        if self.unread:
            parts.append(f"{len(self.unread)} tensors of a kind that ComfyUI does not apply ({self.unread[0]})")
        return " and ".join(parts)


def fit_lora(shapes: Mapping[str, tuple[int, ...]], model: Mapping[str, tuple[int, ...]]) -> LoraFit:
    """Maps all tensors of a LoRA to layers of the model (without ``diffusion_model.``)."""
    aliases = layer_aliases(model)
    fit = LoraFit()
    found: dict[str, dict[str, str]] = {}
    unknown: dict[str, None] = {}
    for name in shapes:
        layer, ending = _place(name, aliases)
        if layer is None:
            unknown[_strip(_unknown_layer(name))] = None
        else:
            found.setdefault(layer, {})[ending] = name
    fit.unknown = list(unknown)
    fit.layers_in_file = len(found) + len(unknown)
    ranks: Counter[int] = Counter()
    for layer, parts in found.items():
        wrong = _misfit(layer, {ending: shapes[name] for ending, name in parts.items()}, model)
        if wrong:
            fit.misfits.append(wrong)
            continue
        fit.layers.append(layer)
        read = {ending: name for ending, name in parts.items() if ending in CHANGES or ending in COMPANIONS}
        fit.names |= {name: layer + ending for ending, name in read.items()}
        fit.unread += [name for ending, name in parts.items() if ending not in read]
        if DOWN in parts:
            ranks[shapes[parts[DOWN]][0]] += 1
    fit.rank = ranks.most_common(1)[0][0] if ranks else None
    return fit


def check_fit(fit: LoraFit, name: str, expected: Iterable[str] = (), what: str = "") -> None:
    """Raises InputError if less than half of the layers fit, or not all the ``expected`` layers of ``what``."""
    count = len(fit.layers)
    if fit.layers_in_file == 0:
        raise InputError(f"{name} holds no LoRA tensors: choose a LoRA file.")
    if 2 * count < fit.layers_in_file:
        raise InputError(
            f"{name} is a LoRA for another model: {count} of its {fit.layers_in_file} layers fit this one; left are "
            f"{fit.left_out()}. Choose one for Wan 2.1 or 2.2 14B."
        )
    expected = list(expected)
    missing = sorted(set(expected) - set(fit.layers))
    if missing:
        raise InputError(
            f"{name} is not {what}: it changes {len(expected) - len(missing)} of the {len(expected)} layers that one "
            f"does ({missing[0]} is not among them). Use Apply LoRA for it, or choose another file."
        )


def layer_aliases(model: Iterable[str]) -> dict[str, str]:
    """Spelling -> name, of every layer and lone tensor."""
    aliases: dict[str, str] = {}
    for tensor in model:
        layer = tensor.removesuffix(".weight").removesuffix(".bias")
        if layer in aliases:
            continue
        other = layer
        for ours, theirs in TO_DIFFUSERS:
            if other == ours or other.endswith("." + ours):
                other = other.removesuffix(ours) + theirs
                break
        for spelling in (layer, other, layer.replace(".", "_"), other.replace(".", "_")):
            aliases.setdefault(spelling, layer)
    return aliases


def _place(name: str, aliases: Mapping[str, str]) -> tuple[str | None, str]:
    """(layer or None, ending in ComfyUI's spelling)"""
    if name.endswith(".diff_m"):
        name = name.removesuffix(".diff_m") + ".modulation.diff"
    name = _OLD_PAIR.sub(r".lora.\1.weight", name)
    dots = [match.start() for match in re.finditer(r"\.", name)]
    for at in reversed(dots):
        layer = aliases.get(_strip(name[:at]))
        if layer is not None:
            return layer, ENDINGS.get(name[at:], name[at:])
    return None, ""


def _unknown_layer(name: str) -> str:
    name = _OLD_PAIR.sub(r".lora.\1.weight", name)
    for ending in _ALL_ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    shorter = _ADAPTER.sub("", name)
    return shorter if shorter != name else re.sub(r"\.(?:weight|bias)$", "", name)


def _strip(path: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if path.startswith(prefix):
                path, stripped = path.removeprefix(prefix), True
                break
    return path


def _misfit(layer: str, parts: Mapping[str, tuple[int, ...]], model: Mapping[str, tuple[int, ...]]) -> str:
    """What does not fit, or "". Adapters other than low-rank pairs are left to ComfyUI."""
    shape = model.get(f"{layer}.weight", model.get(layer))
    up, down = parts.get(UP), parts.get(DOWN)
    if not CHANGES & parts.keys():
        return f"{layer} has {', '.join(sorted(parts))} and nothing that it belongs to"
    if (up is None) != (down is None):
        return f"{layer} has one half of a pair"
    for together in TOGETHER:
        missing = [ending for ending in together if ending not in parts]
        if 0 < len(missing) < len(together):
            return f"{layer} has a part of an adapter, without {missing[0]}"
    factors = [any(f".lokr_w{n}{end}" in parts for end in ("", "_a")) for n in (1, 2)]
    if any(factors) and not all(factors):
        return f"{layer} has one factor of a LoKr"
    if ".oft_blocks" in parts and len(parts[".oft_blocks"]) not in (3, 4):
        return f"{layer}.oft_blocks is {list(parts['.oft_blocks'])}, which ComfyUI reads with 3 or 4 axes"
    if MIDDLE in parts:  # ComfyUI applies it to 2-D convolutions only
        if shape is None or len(shape) != 4 or len(parts[MIDDLE]) != 4:
            return f"{layer} has a middle factor, which ComfyUI applies to 2-D convolutions only"
    elif up is not None and down is not None and shape is not None:
        made = (up[0], math.prod(down[1:]))
        if made != (shape[0], math.prod(shape[1:])) or up[1] != down[0]:
            return f"{layer} is {made[0]}x{made[1]}, the model's is {shape[0]}x{math.prod(shape[1:])}"
    bias = model.get(f"{layer}.bias")
    for ending, owner in ((".diff", shape), (".set_weight", shape), (".w_norm", shape), (".diff_b", bias),
                          (".b_norm", bias)):  # fmt: skip
        if ending in parts and parts[ending] != owner:
            return f"{layer}{ending} is {list(parts[ending])}, the model's is {list(owner) if owner else 'not there'}"
    if math.prod(parts.get(".alpha", ())) != 1:
        return f"{layer}.alpha is {list(parts['.alpha'])}, not one number"
    scale = parts.get(SCALE)
    if scale is not None and shape is not None:  # a row or a column of factors; a 1-D scale would broadcast over both
        if len(scale) != len(shape) or any(given not in (1, size) for given, size in zip(scale, shape)):
            return f"{layer}{SCALE} is {list(scale)}, which does not fit the model's {list(shape)}"
    return ""


# -- blocks


def parse_blocks(text: str, count: int) -> set[int] | None:
    """Block numbers of ``0-19, 25``; None for all (empty or ``all``). Raises InputError."""
    text = text.strip().lower()
    if text in ("", "all", "*"):
        return None
    numbers: set[int] = set()
    for part in text.replace(";", ",").split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
        if match is None:
            raise InputError(
                f"blocks is {text[:60]!r}: write numbers and ranges, for instance 0-19, 25; empty means all."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= count:
            raise InputError(f"blocks names {part.strip()}, but the model has blocks 0 to {count - 1}.")
        numbers |= set(range(first, last + 1))
    return numbers


def block_of(layer: str) -> int | None:
    """The layer's block; face adapter i, which runs after block 5 i, belongs to that."""
    match = re.match(r"(face_adapter\.fuser_)?blocks\.(\d+)\.", layer)
    return None if match is None else int(match[2]) * (5 if match[1] else 1)


def in_blocks(layer: str, blocks: set[int] | None) -> bool:
    """``blocks`` None takes all layers, also those outside blocks."""
    return blocks is None or block_of(layer) in blocks
