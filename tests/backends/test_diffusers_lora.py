"""A LoRA on diffusers' transformer: upstream's names, unmerged, the sum of a merged one."""

import pytest
import torch
from safetensors.torch import save_file

from wan_animate.errors import InputError

pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
from wan_animate.backends.diffusers import load  # noqa: E402
from wan_animate.backends.lora import add_lora, upstream_names  # noqa: E402

PARTS = ["self_attn.q", "self_attn.o", "cross_attn.k", "cross_attn.v_img", "ffn.0", "ffn.2"]
THEIRS = ["attn1.to_q", "attn1.to_out.0", "attn2.to_k", "attn2.add_v_proj", "ffn.net.0.proj", "ffn.net.2"]
RANK = 4


@pytest.fixture
def transformer(small_models):
    return load(small_models.diffusers, dtype=torch.float32)[0].double()  # sums of small products and of large ones


def lora(transformer, alpha=None, prefix="", ending=".lora_A.weight .lora_B.weight"):
    """Tensors by upstream's names, for blocks 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    layers, tensors = dict(transformer.named_modules()), {}
    down, up = ending.split()
    for block in (0, 1):
        for ours, theirs in zip(PARTS, THEIRS):
            weight = layers[f"blocks.{block}.{theirs}"].weight
            name = f"{prefix}blocks.{block}.{ours}"
            tensors[name + down] = torch.randn(RANK, weight.shape[1], generator=generator) * 0.1
            tensors[name + up] = torch.randn(weight.shape[0], RANK, generator=generator) * 0.1
            if alpha is not None:
                tensors[name + ".alpha"] = torch.tensor(float(alpha))
    return tensors


def outputs(transformer, block=0):
    layers = dict(transformer.named_modules())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return [
            layer(torch.randn(3, layer.in_features, generator=generator, dtype=torch.float64))
            for layer in (layers[f"blocks.{block}.{name}"] for name in THEIRS)
        ]


@pytest.mark.parametrize("alpha, factor", [(None, 1.0), (RANK, 1.0), (RANK / 2, 0.5)])
@pytest.mark.parametrize(
    "prefix, ending",
    [("", ".lora_A.weight .lora_B.weight"), ("diffusion_model.", ".lora_down.weight .lora_up.weight")],
)
def test_it_is_as_if_it_were_merged(transformer, tmp_path, alpha, factor, prefix, ending):
    tensors = lora(transformer, alpha, prefix, ending)
    save_file(tensors, tmp_path / "relight.safetensors")
    before = outputs(transformer)
    assert add_lora(transformer, tmp_path / "relight.safetensors") == 2 * len(PARTS)
    got = outputs(transformer)
    down, up = ending.split()
    for hook in [module._forward_hooks for module in transformer.modules()]:
        hook.clear()
    with torch.no_grad():
        layers = dict(transformer.named_modules())
        for ours, theirs in zip(PARTS, THEIRS):
            name = f"{prefix}blocks.0.{ours}"
            layers[f"blocks.0.{theirs}"].weight += factor * tensors[name + up] @ tensors[name + down]
    for plain, one, merged in zip(before, got, outputs(transformer)):
        assert not torch.allclose(plain, one, atol=1e-3) and torch.allclose(one, merged, atol=1e-8)


def test_two_halves_are_a_whole_and_none_is_nothing(transformer, tmp_path):
    path = tmp_path / "fast.safetensors"
    save_file(lora(transformer), path)
    plain = outputs(transformer)
    add_lora(transformer, path, 0.0)
    assert all(torch.equal(one, other) for one, other in zip(plain, outputs(transformer)))
    add_lora(transformer, path, 0.5)
    add_lora(transformer, path, 0.5)
    halves = outputs(transformer)
    for hook in [module._forward_hooks for module in transformer.modules()]:
        hook.clear()
    add_lora(transformer, path)
    assert all(torch.allclose(one, other, atol=1e-9) for one, other in zip(halves, outputs(transformer)))


def test_a_pickle_as_upstream_publishes_it(transformer, tmp_path):
    torch.save({"state_dict": lora(transformer)}, tmp_path / "relighting_lora.ckpt")
    assert add_lora(transformer, tmp_path / "relighting_lora.ckpt") == 2 * len(PARTS)


def test_one_for_another_model_changes_nothing(transformer, tmp_path):
    tensors = {f"double_blocks.{name}": tensor for name, tensor in lora(transformer).items()}
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="is a LoRA for another model"):
        add_lora(transformer, tmp_path / "other.safetensors")
    tensors = lora(transformer) | {"blocks.0.self_attn.q.diff_b": torch.zeros(256)}
    save_file(tensors, tmp_path / "more.safetensors")
    with pytest.raises(InputError, match="applies low-rank pairs alone"):
        add_lora(transformer, tmp_path / "more.safetensors")
    assert not any(module._forward_hooks for module in transformer.modules())


def test_every_layer_has_one_name(transformer):
    layers = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    names = upstream_names(layers)
    assert len(names) == len(layers) and names["blocks.0.ffn.2"] == "blocks.0.ffn.net.2" and "head.head" in names
