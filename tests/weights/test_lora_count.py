"""Layers of a LoRA are counted once, in the model and outside it."""

import pytest
import torch

from wan_animate.errors import InputError
from wan_animate.weights.lora import CHANGES, COMPANIONS, check_fit, fit_lora
from wan_animate.weights.transformer import relighting_layers

from ..support.lora_files import SHAPES

OUT, INTO, RANK = 256, 256, 4
LAYER = "blocks.0.self_attn.q"
KINDS = {
    "pair": {".lora_down.weight": (RANK, INTO), ".lora_up.weight": (OUT, RANK)},
    "peft pair": {".lora_A.weight": (RANK, INTO), ".lora_B.weight": (OUT, RANK)},
    "diffusers pair": {".lora.down.weight": (RANK, INTO), ".lora.up.weight": (OUT, RANK)},
    "difference": {".diff": (OUT, INTO)},
    "difference of the bias": {".diff_b": (OUT,)},
    "both differences": {".diff": (OUT, INTO), ".diff_b": (OUT,)},
    "weight": {".set_weight": (OUT, INTO)},
    "LoHa": {f".hada_w{n}_{side}": (OUT, RANK) if side == "a" else (RANK, INTO) for n in "12" for side in "ab"},
    "LoKr": {".lokr_w1": (4, 4), ".lokr_w2": (OUT // 4, INTO // 4)},
    "LoKr of pairs": {
        ".lokr_w1_a": (4, 2), ".lokr_w1_b": (2, 4), ".lokr_w2_a": (OUT // 4, 2), ".lokr_w2_b": (2, INTO // 4),
    },
    "OFT": {".oft_blocks": (8, OUT // 8, OUT // 8)},
    "GLoRA": {
        ".a1.weight": (RANK, INTO), ".a2.weight": (INTO, RANK), ".b1.weight": (RANK, INTO), ".b2.weight": (OUT, RANK),
    },
}  # fmt: skip
EXTRAS = {".alpha": (), ".dora_scale": (OUT, 1)}


def counts(known: dict, unknown: dict, extras: dict) -> tuple[int, int, int]:
    """(fitting layers, layers in the file, unknown layers) of a LoRA on 3 layers of the model and 4 others."""
    layers = [f"blocks.{block}.self_attn.q" for block in range(3)]
    others = [f"blocks.{block}.controller.proj" for block in range(4)]
    tensors = {layer + end: shape for layer in layers for end, shape in (known | extras).items()}
    tensors |= {layer + end: shape for layer in others for end, shape in (unknown | extras).items()}
    fit = fit_lora({f"diffusion_model.{name}": shape for name, shape in tensors.items()}, SHAPES)
    assert not fit.misfits, fit.misfits
    assert fit.unknown == others[: len(fit.unknown)]
    return len(fit.layers), fit.layers_in_file, len(fit.unknown)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extras", [(), (".alpha",), (".alpha", ".dora_scale")])
def test_each_layer_counts_once(kind, extras):
    extras = {name: EXTRAS[name] for name in extras}
    assert counts(KINDS["pair"], KINDS[kind], extras) == (3, 7, 4)
    assert counts(KINDS[kind], KINDS["pair"], extras) == (3, 7, 4)


@pytest.mark.parametrize(
    "ends",
    [{".w_norm": (8,), ".b_norm": (8,)}, {".diff_m": (1, 6, 8)}, {".lora_mid.weight": (4, 4)}, {".rescale": ()}],
    ids=" ".join,
)
def test_an_unknown_layer_with_any_of_its_endings_counts_once(ends):
    assert counts(KINDS["pair"], KINDS["pair"] | ends, {}) == (3, 7, 4)


def test_a_lora_with_alphas_on_layers_of_another_model_is_taken_as_without_them():
    pair, alpha = KINDS["pair"], {".alpha": ()}
    tensors = {f"{layer}{end}": shape for layer in relighting_layers(5)[:3]
               for end, shape in (pair | alpha).items()}  # fmt: skip
    tensors |= {f"other.{n}{end}": shape for n in range(3) for end, shape in (pair | alpha).items()}
    fit = fit_lora(tensors, SHAPES)
    check_fit(fit, "file")
    assert (len(fit.layers), fit.layers_in_file) == (3, 6)
    assert fit.left_out() == "3 that the model does not have (for instance other.0)"
    tensors |= {f"other.{n}{end}": shape for n in range(3, 5) for end, shape in (pair | alpha).items()}
    with pytest.raises(
        InputError, match="file is a LoRA for another model: 3 of its 8 layers fit this one; left are 5"
    ):
        check_fit(fit_lora(tensors, SHAPES), "file")


@pytest.mark.parametrize(
    "parts, says",
    [
        ({".alpha": ()}, "has .alpha and nothing that it belongs to"),
        ({".dora_scale": (OUT, 1)}, "has .dora_scale and nothing that it belongs to"),
        ({".weight": (OUT, INTO)}, "has .weight and nothing that it belongs to"),
        (KINDS["pair"] | {".dora_scale": (OUT,)}, r"dora_scale is [256], which does not fit the model's [256, 256]"),
        (KINDS["pair"] | {".alpha": (OUT,)}, ".alpha is [256], not one number"),
        (KINDS["pair"] | {".lora_mid.weight": (RANK, RANK)}, "has a middle factor, which ComfyUI applies to 2-D conv"),
        ({".set_weight": (OUT, 8)}, ".set_weight is [256, 8], the model's is [256, 256]"),
    ],
)
def test_what_would_do_nothing_or_something_else_is_left_out(parts, says):
    fit = fit_lora({LAYER + end: shape for end, shape in parts.items()}, SHAPES)
    assert not fit.layers and fit.layers_in_file == 1 and len(fit.misfits) == 1 and says in fit.misfits[0]
    with pytest.raises(InputError, match="0 of its 1 layers fit"):
        check_fit(fit, "file")


def test_norms_fit_by_their_own_names():
    fit = fit_lora({"blocks.0.norm3.w_norm": (256,), "blocks.0.norm3.b_norm": (256,)}, SHAPES)
    assert fit.layers == ["blocks.0.norm3"] and len(fit.names) == 2 and not fit.left_out()
    fit = fit_lora({"blocks.0.norm3.w_norm": (128,)}, SHAPES)
    assert fit.misfits == ["blocks.0.norm3.w_norm is [128], the model's is [256]"]


def test_what_the_host_has_no_use_for_is_said():
    tensors = {LAYER + end: shape for end, shape in KINDS["peft pair"].items()}
    tensors[f"{LAYER}.lora_magnitude_vector"] = (OUT,)
    fit = fit_lora(tensors, SHAPES)
    assert fit.layers == [LAYER] and len(fit.names) == 2
    assert fit.left_out() == f"1 tensors of a kind that ComfyUI does not apply ({LAYER}.lora_magnitude_vector)"


def test_the_host_reads_the_same_endings(comfy):
    """ComfyUI makes a patch of every CHANGES, and none of a COMPANION alone."""
    import comfy.lora

    def patches(parts: dict) -> dict:
        tensors = {LAYER + end: torch.zeros(shape) for end, shape in parts.items()}
        fit = fit_lora({name: tuple(one.shape) for name, one in tensors.items()}, SHAPES)
        renamed = {place: tensors[name] for name, place in fit.names.items()}
        return comfy.lora.load_lora(renamed, {LAYER: f"{LAYER}.weight"}, log_missing=False)

    for kind, parts in KINDS.items():
        assert patches(parts), kind
    tried = {end for parts in KINDS.values() for end in parts}
    assert CHANGES - tried == {".w_norm"} and comfy.lora.load_lora({f"{LAYER}.w_norm": torch.zeros(8)}, {LAYER: "a"})
    for ending in COMPANIONS:
        assert not comfy.lora.load_lora({LAYER + ending: torch.zeros(())}, {LAYER: "a.weight"}), ending
