"""Every kind of adapter is counted by layers, also those that ComfyUI ignores."""

import pytest
import torch

from wan_animate.errors import InputError
from wan_animate.weights.lora import TOGETHER, check_fit, fit_lora

from ..support.lora_files import SHAPES
from .test_lora_count import INTO, KINDS, LAYER, OUT, RANK, counts

PAIR = KINDS["pair"]
# names as peft's and LyCORIS's modules have them
UNREAD = {
    "OFT of peft": {".oft_R.weight": (8, 120)},
    "OFT of peft, named": {".oft_R.default.weight": (8, 120)},
    "older OFT": {".oft_r": (8, 16, 16), ".oft_s": (OUT, 1)},
    "BOFT of peft": {".boft_R": (2, 8, 16, 16), ".boft_s": (OUT, 1)},
    "BOFT of peft, named": {".boft_R.default": (2, 8, 16, 16), ".boft_s.default": (OUT, 1)},
    "IA3": {".ia3_l": (OUT, 1)},
    "IA3 of LyCORIS": {".on_input": (1,)},
    "VeRA": {".vera_lambda_b": (OUT,), ".vera_lambda_d": (RANK,)},
    "LoHa of peft, named": {f".hada_w{n}_{side}.default": (RANK, RANK) for n in "12" for side in "ab"},
    "LoKr of peft, named": {".lokr_w1.default": (4, 4), ".lokr_w2.default": (64, 64)},
    "a pair of another name": {".lora_A.second.weight": (RANK, INTO), ".lora_B.second.weight": (OUT, RANK)},
    "magnitudes": PAIR | {".lora_magnitude_vector.default.weight": (OUT,)},
    "a bias of a half": PAIR | {".lora_B.bias": (OUT,)},
    "a whole layer": {".weight": (OUT, INTO), ".bias": (OUT,)},
}
READ = {
    "BOFT": {".oft_blocks": (2, 8, 16, 16), ".rescale": (OUT, 1)},
    "diffusers' first": {"_lora.down.weight": (RANK, INTO), "_lora.up.weight": (OUT, RANK)},
}


@pytest.mark.parametrize("kind", UNREAD | READ)
def test_unknown_layers_count_once_whatever_their_adapter(kind):
    assert counts(PAIR, (UNREAD | READ)[kind], {}) == (3, 7, 4)
    assert counts(PAIR, (UNREAD | READ)[kind], {".alpha": ()}) == (3, 7, 4)


@pytest.mark.parametrize("kind", [kind for kind, parts in UNREAD.items() if not PAIR.items() <= parts.items()])
def test_known_layers_whose_adapter_comfyui_does_not_read_are_left_out_once(kind):
    fit = fit_lora({LAYER + end: shape for end, shape in UNREAD[kind].items()}, SHAPES)
    assert not fit.layers and fit.layers_in_file == 1 and len(fit.misfits) == 1 and not fit.unknown
    with pytest.raises(InputError, match="0 of its 1 layers fit"):
        check_fit(fit, "file")


@pytest.mark.parametrize("kind", READ)
def test_what_the_host_reads_is_applied(kind, comfy):
    import comfy.lora

    tensors = {LAYER + end: torch.zeros(shape) for end, shape in READ[kind].items()}
    fit = fit_lora({name: tuple(one.shape) for name, one in tensors.items()}, SHAPES)
    assert fit.layers == [LAYER] and not fit.left_out()
    renamed = {place: tensors[name] for name, place in fit.names.items()}
    assert comfy.lora.load_lora(renamed, {LAYER: f"{LAYER}.weight"}, log_missing=False)


@pytest.mark.parametrize("kind", ["LoHa", "GLoRA", "LoKr of pairs"])
def test_a_part_of_an_adapter_is_said(kind):
    for left_out in KINDS[kind]:
        parts = {end: shape for end, shape in KINDS[kind].items() if end != left_out}
        fit = fit_lora({LAYER + end: shape for end, shape in parts.items()}, SHAPES)
        assert not fit.layers and fit.misfits == [f"{LAYER} has a part of an adapter, without {left_out}"]


@pytest.mark.parametrize("parts, says", [
    ({".lokr_w1": (4, 4)}, "has one factor of a LoKr"),
    ({".lokr_w2_a": (4, 4), ".lokr_w2_b": (4, 4)}, "has one factor of a LoKr"),
    ({".oft_blocks": (16, 16)}, "oft_blocks is [16, 16], which ComfyUI reads with 3 or 4 axes"),
])  # fmt: skip
def test_what_the_host_would_stumble_over_or_pass_by(parts, says):
    fit = fit_lora({LAYER + end: shape for end, shape in parts.items()}, SHAPES)
    assert not fit.layers and says in fit.misfits[0]


def test_the_host_ends_with_its_own_error_at_a_part_of_an_adapter(comfy):
    """Which is why parts are refused."""
    import comfy.lora

    for together in (TOGETHER[0], TOGETHER[-1]):
        with pytest.raises(KeyError):
            comfy.lora.load_lora({LAYER + together[0]: torch.zeros(4, 4)}, {LAYER: f"{LAYER}.weight"})
