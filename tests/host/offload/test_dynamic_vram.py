"""Dynamic VRAM, the server's default: weights keep the file's dtype and are cast on use.

Every way to put the MODEL together is held against the host's own result for the same file.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import dynamic_vram
from demo.small_vae import vae_shapes
from wan_animate.chain.ports import SegmentConditioning
from wan_animate.chain.segments import Segment
from wan_animate.errors import InputError
from wan_animate.weights.transformer import relighting_layers

from ...support.lora_files import BLOCKS, pairs, spelled
from ...support.steps import relative, sample
from ...support.weight_files import scaled_weights

FILES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# (loader, file, what it computes in): on a CPU the host's own choice is float32
SOURCES = [
    ("unet", "bf16", None),
    ("animate", "bf16", torch.float16),
    ("animate", "fp16", torch.bfloat16),
    ("animate", "fp8", None),
]
# what stands between loader and sampler, and how far from the host's own that may be
CHAINS = {
    ("offload",): 0, ("accelerate",): 1e-2, ("offload", "accelerate"): 1e-2, ("fp8", "offload"): 0.1,
    ("strength 1",): 0, ("strength 1", "offload"): 0, ("offload", "strength 1"): 0,
}  # fmt: skip
COMPILED = [("compile",), ("host compile", "accelerate")]


@pytest.fixture(scope="module")
def folder(comfy, small_models):
    """The small transformer as bf16, fp16 and scaled fp8 files, and a LoRA."""
    from pathlib import Path

    import folder_paths

    folder = next(Path(one) for one in folder_paths.get_folder_paths("diffusion_models") if Path(one).is_dir())
    weights = {name: one.clamp(-400, 400) for name, one in load_file(small_models.transformer).items()}
    for name in [name for name in weights if name.startswith("blocks.0.")]:
        # the first block's are drawn so that sums cancel, which says nothing of rounding
        weights[name] = weights[name.replace("blocks.0.", "blocks.1.")].clone()
    for name, kind in FILES.items():
        save_file({key: one.to(kind) for key, one in weights.items()}, folder / f"dynamic_{name}.safetensors")
    save_file(scaled_weights(weights, torch.float8_e4m3fn), folder / "dynamic_fp8.safetensors")
    save_file(spelled(pairs(relighting_layers(BLOCKS)), "ComfyUI"), folder / "dynamic_lora.safetensors")
    return folder


@pytest.fixture(scope="module", autouse=True)
def dynamic(folder):
    if not dynamic_vram.start_aimdo():
        pytest.skip("comfy-aimdo, which ComfyUI's requirements bring, cannot start on this system: dynamic VRAM is off")
    with dynamic_vram.on_cpu():
        yield


@pytest.fixture(scope="module")
def part(pack_module):
    return lambda name: pack_module(f"nodes.host.{name}")


@pytest.fixture(scope="module")
def load(folder, part):
    def load(loader, file, compute=None):
        path = str(folder / f"dynamic_{file}.safetensors")
        if loader == "unet":
            import comfy.sd

            model = comfy.sd.load_diffusion_model(path)
        else:
            model = part("model").load_animate(path)[0]
        assert model.is_dynamic()
        if compute is not None:
            model = model.clone()
            model.set_model_compute_dtype(compute)
        return model

    return load


@pytest.fixture(scope="module")
def put(part):
    def put(model, *nodes):
        fast, offload = part("accelerate"), part("offload")
        for node in nodes:
            if node.startswith("strength"):  # of the pose, in all steps but for a noise level of exactly 0
                strength = part("strength").Strength
                model = part("strength").with_strength(model, strength(float(node.split()[1]), 0, 0.999), strength())
            elif node == "offload":
                model = offload.offload(model, offload.Settings("blocks", 3))
            elif node == "host compile":
                from comfy_api.torch_helpers import set_torch_compile_wrapper

                model = model.clone(disable_dynamic=True)
                set_torch_compile_wrapper(model=model, backend="eager")
            else:
                more = {
                    "accelerate": {"fused": True, "reuse": "all"},
                    "fp8": {"fused": True, "matmul": "fp8 (row-wise)"},
                    "compile": {"compile_blocks": True, "backend": "eager"},
                }[node]
                model = fast.accelerate(model, fast.Settings(**more))
        return model

    return put


@pytest.fixture(scope="module", params=SOURCES, ids=lambda one: " ".join(map(str, filter(None, one))))
def source(request, load, faceless):
    """(MODEL, the host's result)"""
    model = load(*request.param)
    theirs = sample(model, faceless, 1)
    yield model, theirs
    assert torch.equal(sample(model, faceless, 1), theirs), "what other nodes made of it left it as it was"


@pytest.mark.parametrize("chain", CHAINS, ids=" + ".join)
def test_every_way_gives_the_hosts_own_result(source, put, faceless, chain):
    model, theirs = source
    ours = sample(put(model, *chain), faceless, 1)
    limit = CHAINS[chain]
    assert torch.equal(ours, theirs) if limit == 0 else relative(ours, theirs) < limit


def test_strengths_before_and_after_other_nodes(source, put, faceless):
    model, plain = source
    ((text, values),), negative = faceless
    poseless = [[text, {name: one for name, one in values.items() if name != "pose_video_latent"}]], negative
    off, strong = sample(model, poseless, 1), sample(put(model, "strength 10"), faceless, 1)
    assert torch.equal(sample(put(model, "strength 0"), faceless, 1), off)
    away = relative(strong, plain)
    assert away > 1e-3
    for chain in (["strength 10", "offload"], ["offload", "strength 10"]):
        assert torch.equal(sample(put(model, *chain), faceless, 1), strong)
    for chain in (["strength 10", "accelerate"], ["accelerate", "strength 10"]):
        assert relative(sample(put(model, *chain), faceless, 1), strong) < away / 2


def test_a_static_model_has_the_types_that_the_host_has_without_dynamic_vram(load, put, folder):
    """The file is read once for all settings."""
    import comfy.memory_management
    import comfy.sd

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.memory_management, "aimdo_enabled", False)
        theirs = comfy.sd.load_diffusion_model(str(folder / "dynamic_bf16.safetensors"), disable_dynamic=True)
    expected = {name: one.dtype for name, one in theirs.model.named_parameters()}
    model = load("unet", "bf16")
    assert {one.dtype for one in model.model.parameters()} == {torch.bfloat16}, "the file's own"
    clones = [put(model, *chain) for chain in (["offload"], ["compile"], ["accelerate", "offload"])]
    # by the host: of what our loader gives, and of what has gone through a node of ours
    for made in (load("animate", "bf16"), put(model, "accelerate")):
        clones.append(made.clone(disable_dynamic=True))
    for clone in clones:
        assert {name: one.dtype for name, one in clone.model.named_parameters()} == expected
        assert clone.model_size() > 0 and not clone.is_dynamic()
    assert clones[0].model is clones[1].model
    assert clones[0].offloader.sizes.total == theirs.model_size() - clones[0].offloader.sizes.rest


def test_a_layer_that_another_pack_has_replaced_keeps_its_weights(load, part):
    clone = load("unet", "bf16").clone(disable_dynamic=True)
    layer, other = clone.model.diffusion_model.blocks[0].ffn[0], clone.model.diffusion_model.blocks[0].ffn[2]
    layer.forward = lambda x: x
    part("patching").cast_to_model_types(clone)
    assert layer.weight.dtype == torch.bfloat16 and other.weight.dtype == torch.float32


@pytest.mark.parametrize("chain", COMPILED, ids=" + ".join)
def test_compiled_blocks_and_the_hosts_compile_node(load, put, faceless, chain):
    """The host's compile node alone fails with such a file."""
    torch._dynamo.reset()
    model = load("unet", "bf16")
    assert relative(sample(put(model, *chain), faceless, 1), sample(model, faceless, 1)) < 1e-4


def test_a_lora_merged_into_offloaded_weights(load, put, part, folder, faceless):
    """The host's bits without dynamic VRAM."""
    import comfy.memory_management

    path = str(folder / "dynamic_lora.safetensors")
    lora = part("lora.apply").apply_lora
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.memory_management, "aimdo_enabled", False)
        static = part("model")._load(str(folder / "dynamic_bf16.safetensors"), "auto", "auto", disable_dynamic=True)
        theirs = sample(lora(static, path, mode="merge")[0], faceless, 1)
    model = load("animate", "bf16")
    ours = sample(put(lora(model, path, mode="merge")[0], "offload", "accelerate"), faceless, 1)
    assert relative(ours, theirs) < 1e-4 < 0.01 < relative(theirs, sample(model, faceless, 1))
    assert torch.equal(sample(put(lora(model, path, mode="merge")[0], "offload"), faceless, 1), theirs)


@pytest.mark.parametrize("file, compute", [("bf16", None), ("fp8", torch.bfloat16)], ids=str)
def test_a_lora_beside_weights_that_are_cast_on_use(load, put, part, folder, faceless, file, compute):
    path = str(folder / "dynamic_lora.safetensors")
    model = part("lora.apply").apply_lora(load("animate", file, compute), path, mode="beside")[0]
    theirs = sample(model, faceless, 1)
    for chain in (["accelerate"], ["offload"], ["offload", "accelerate"]):
        assert relative(sample(put(model, *chain), faceless, 1), theirs) < 1e-2, chain
    assert relative(theirs, sample(load("animate", file, compute), faceless, 1)) > 0.01


def test_weights_that_dynamic_vram_keeps_in_fp8_get_a_lora_beside_them(part, folder):
    """What counts is the dtype that the host will keep them in."""
    model = part("model").load_animate(str(folder / "dynamic_bf16.safetensors"), "fp8_e4m3fn")[0]
    report = part("lora.apply").apply_lora(model, str(folder / "dynamic_lora.safetensors"))[1]
    assert "beside the weights" in report


def test_a_lora_that_comes_on_by_a_hook(load, put, folder, faceless):
    """The host makes a static MODEL for it during sampling."""
    import comfy.hooks

    lora = load_file(folder / "dynamic_lora.safetensors")
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=0.0)
    hooked = [comfy.hooks.set_hooks_for_conditioning(one, hooks) for one in faceless]
    for model in (load("animate", "bf16"), put(load("unet", "bf16"), "accelerate")):
        assert relative(sample(model, hooked, 1), sample(model, faceless, 1)) > 0.01


def test_a_model_that_only_its_loader_can_load(load, put):
    model = load("unet", "bf16").clone()
    model.cached_patcher_init = None
    for node, name in (("offload", "Offload Animate Blocks"), ("compile", "compile_blocks")):
        with pytest.raises(Exception, match=f"{name} needs a model that is loaded without") as raised:
            put(model, node)
        assert type(raised.value).__name__ == InputError.__name__


def test_the_vae(comfy, part):
    """Its weights stay in the file's type too."""
    import math

    import comfy.sd

    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in vae_shapes(8).items():
        one = torch.randn(shape, generator=generator)
        gain = 1 + 0.1 * one if name.endswith("gamma") else one / math.sqrt(math.prod(shape[1:]) or 1)
        weights[name] = (0.1 * one if name.endswith("bias") else gain).to(torch.bfloat16)
    vae = comfy.sd.VAE(sd=weights, dtype=torch.float32)
    assert vae.patcher.is_dynamic()
    assert {one.dtype for one in vae.first_stage_model.parameters()} == {torch.bfloat16}
    fast, frames = part("vae").accelerate_vae(vae), torch.rand(5, 32, 48, 3, generator=generator)
    latent = vae.encode(frames)
    assert relative(fast.encode(frames), latent) < 1e-5
    assert relative(fast.decode(latent), vae.decode(latent)) < 1e-5


@pytest.fixture(scope="module")
def segment():
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    latent = random(1, 16, 3, 6, 8)
    conditioning = SegmentConditioning(
        Segment(0, 0, 5, 0, 5), latent, torch.ones(1, 4, *latent.shape[2:]), random(1, 16, 2, 6, 8), None
    )
    return conditioning, [[random(1, 512, 4096) * 0.1, {}]], random(*latent.shape)


@pytest.fixture
def denoiser(part, segment):
    def denoiser(model, shift):
        conditioning, prompt, noise = segment
        made = part("ports").HostDenoiser(model, prompt, prompt, None, 2, 1.0, "euler", "simple", shift, 0)
        return made, lambda: made.denoise(conditioning, noise, lambda *_: None)

    return denoiser


def test_every_segment_is_sampled_with_the_shift_that_was_asked_for(load, denoiser):
    """The host restores the schedule of the first run."""
    model = load("unet", "bf16")

    def segments(shift, count=2):
        _, denoise = denoiser(model, shift)
        return [denoise() for _ in range(count)]

    (theirs,), found = segments(0, 1), segments(3)
    assert torch.equal(*found) and relative(found[0], theirs) > 1e-3
    assert torch.equal(segments(0, 1)[0], theirs)


def halved(weight):
    return weight / 2


def sample_a_clone(model, denoiser):
    clone = model.clone()
    clone.add_weight_wrapper("diffusion_model.blocks.1.ffn.0.weight", halved)
    denoiser(clone, 3)[1]()


def unload_all(model, denoiser):
    import comfy.model_management

    comfy.model_management.unload_all_models()


def load_it_elsewhere(model, denoiser):
    import comfy.model_management

    comfy.model_management.load_models_gpu([model.clone()])


BETWEEN = {
    "nothing": (lambda model, denoiser: None, 1),
    "a clone with other patches": (sample_a_clone, 3),
    "the same loaded by another node": (load_it_elsewhere, 3),
    "all unloaded": (unload_all, 2),
    "its small weights unloaded": (lambda model, denoiser: model.restore_loaded_backups(), 2),
    "another dtype": (lambda model, denoiser: model.set_model_compute_dtype(torch.float16), 2),
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("shift", [0, 3])
def test_a_clip_prepares_its_model_once_unless_something_changed_it(load, denoiser, monkeypatch, between, shift):
    import comfy.model_patcher

    kind = comfy.model_patcher.ModelPatcherDynamic
    plain, loads = kind.load, []

    def load_counted(self, *args, **kwargs):
        loads.append(self)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(kind, "load", load_counted)
    change, count = BETWEEN[between]
    made, denoise = denoiser(load("unet", "bf16"), shift)
    first = denoise()
    change(made.model, denoiser)
    second, third = denoise(), denoise()
    assert len(loads) == count
    _, anew = denoiser(made.model, shift)
    assert torch.equal(second, anew()) and torch.equal(third, second)
    if between != "another dtype":
        assert torch.equal(first, second)


def test_a_model_with_hooks_is_prepared_for_every_sampling(load, denoiser, monkeypatch):
    import comfy.hooks
    import comfy.model_patcher

    kind = comfy.model_patcher.ModelPatcherDynamic
    plain, loads = kind.load, []
    monkeypatch.setattr(kind, "load", lambda self, *args, **kwargs: (loads.append(self), plain(self, *args, **kwargs)))
    made, denoise = denoiser(load("unet", "bf16"), 3)
    made.model.forced_hooks = comfy.hooks.HookGroup()
    denoise(), denoise()
    assert len(loads) == 2
