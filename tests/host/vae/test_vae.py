"""Accelerate Video VAE against the host's VAE object."""

import copy
import gc
import weakref

import pytest
import torch

from ...support.random_vae import random_vae

FRAME = 48 * 32 * 8  # numbers of one frame at full size in the small network


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.vae")


@pytest.fixture(scope="module")
def layers(pack_module):
    return pack_module("nodes.host.vae.layers")


@pytest.fixture(scope="module")
def choice(pack_module):
    return pack_module("nodes.host.vae.choice")


@pytest.fixture(scope="module")
def host_vae(comfy):
    return random_vae()


def clip(frames, height=32, width=48, seed=1):
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def relative(ours, theirs):
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def same(fast, host, frames, tolerance=1e-5):
    """Compares encode and decode with the host's."""
    theirs = host.encode(frames)
    ours = fast.encode(frames)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert relative(ours, theirs) < tolerance
    back, wanted = fast.decode(theirs), host.decode(theirs)
    assert back.shape == wanted.shape and back.dtype == wanted.dtype
    assert float((back - wanted).abs().max()) < 10 * tolerance and wanted.std() > 0.05
    return ours, back


@pytest.mark.parametrize(
    "frames, height, width", [(1, 64, 96), (5, 32, 48), (6, 34, 45), (17, 24, 16), (77, 16, 16)], ids=str
)
def test_equal_to_the_host_in_float32(kit, host_vae, frames, height, width):
    """Counts that are not 4n+1 and sizes that are no multiple of 8 too."""
    with torch.inference_mode():
        same(kit.accelerate_vae(host_vae), host_vae, clip(frames, height, width))


@pytest.mark.parametrize("at_once", [1, 3 * FRAME, 100 * FRAME])
@pytest.mark.parametrize("folded", [False, True])
def test_any_chunk_and_either_form_of_convolution_gives_the_same(kit, choice, host_vae, monkeypatch, at_once, folded):
    fast = kit.accelerate_vae(host_vae)
    fast.first_stage_model.chunk_elements = at_once
    monkeypatch.setattr(choice, "folds", lambda *_: folded)
    with torch.inference_mode():
        same(fast, host_vae, clip(9))


def test_bfloat16_is_as_near_to_float32_as_the_host(comfy, kit, host_vae):
    half = random_vae(torch.bfloat16)
    fast = kit.accelerate_vae(half)
    with torch.inference_mode():
        frames = clip(9)
        exact = host_vae.encode(frames)
        ours, theirs = fast.encode(frames), half.encode(frames)
        assert ours.dtype == theirs.dtype
        assert relative(ours, exact) < 1.1 * relative(theirs, exact) < 0.05
        exact, ours, theirs = (vae.decode(exact) for vae in (host_vae, fast, half))
        assert relative(ours, exact) < 1.1 * relative(theirs, exact) < 0.05


@pytest.mark.parametrize("known, at_once", [(0, 4), (1, 4), (5, 1), (20, 4)])
def test_frames_that_stay_the_same_are_computed_once(kit, layers, host_vae, monkeypatch, known, at_once):
    """The same latent from a fraction of the frames."""
    fast, frames = kit.accelerate_vae(host_vae), clip(77, 16, 16)
    fast.first_stage_model.chunk_elements = at_once * 16 * 16 * 8
    moving, seen = frames.clone(), []
    frames[known:] = 0.5
    first = layers.First.__call__

    def counted(self, x):
        seen.append(len(x))
        return first(self, x)

    monkeypatch.setattr(layers.First, "__call__", counted)
    with torch.inference_mode():
        assert relative(fast.encode(frames), host_vae.encode(frames)) < 1e-5
        # ten more than are known go through the first stage, whose five convolutions look two frames back
        assert sum(seen) == known + 1 + 10
        seen.clear()
        fast.encode(moving)
        assert sum(seen) == 77


def test_the_hosts_tiled_nodes_take_it(kit, host_vae):
    import nodes

    fast, frames = kit.accelerate_vae(host_vae), clip(5, 32, 96)
    with torch.inference_mode():
        arguments = dict(tile_size=64, overlap=16, temporal_size=64, temporal_overlap=8)
        (ours,), (theirs,) = (nodes.VAEEncodeTiled().encode(vae, frames, **arguments) for vae in (fast, host_vae))
        assert relative(ours["samples"], theirs["samples"]) < 1e-5
        (ours,), (wanted,) = (nodes.VAEDecodeTiled().decode(vae, theirs, **arguments) for vae in (fast, host_vae))
        assert float((ours - wanted).abs().max()) < 1e-4


def test_tiles_where_memory_is_short(kit, host_vae, monkeypatch, caplog, pack_module):
    """The host's own tiling, with tiles of 128x128."""
    memory = pack_module("nodes.host.vae.memory")
    fast, frames = kit.accelerate_vae(host_vae), clip(1, 192, 256)
    monkeypatch.setattr(memory, "WEIGHTS", 0)
    with torch.inference_mode():
        latent = host_vae.encode(frames)
        whole = fast.decode(latent)
        for direction in ("encode", "decode"):
            room = memory.needed(direction, 128, 128, 8, 4, 1)
            monkeypatch.setattr(fast.patcher, "get_free_memory", lambda device, room=room: room)
            caplog.clear()
            with caplog.at_level("INFO"):
                tiled = fast.encode(frames) if direction == "encode" else fast.decode(latent)
            assert f"{direction} of 256x192" in caplog.text and "tiles of 128 pixels" in caplog.text
            if direction == "encode":
                assert relative(tiled, host_vae.encode_tiled(frames, tile_x=128, tile_y=128, overlap=32)) < 1e-5
            else:
                wanted = host_vae.decode_tiled(latent, tile_x=16, tile_y=16, overlap=4)
                assert float((tiled - wanted).abs().max()) < 1e-4 and not torch.equal(tiled, whole)


def test_fewer_frames_at_once_before_tiles(pack_module):
    memory = pack_module("nodes.host.vae.memory")
    for direction in ("encode", "decode"):
        size = (direction, 480, 832, 96, 2)
        least = memory.needed(*size, 1)
        assert memory.budget_for(*size, memory.needed(*size)) == memory.AT_ONCE
        assert memory.budget_for(*size, least + 1) is not None and memory.budget_for(*size, least - 1) is None
        tile = memory.tile_for(*size, least - 1)
        assert 128 <= tile < 832 and memory.needed(direction, min(tile, 480), tile, 96, 2, 1) < least


def test_out_of_memory_in_the_middle_is_tiled(kit, layers, host_vae, monkeypatch, caplog):
    """The device may have less memory than it reports."""
    fast, frames, full = kit.accelerate_vae(host_vae), clip(1, 192, 256), []
    first = layers.First.__call__

    def failing(self, x):
        if x.shape[2] == 256:
            full.append(1)
            raise torch.cuda.OutOfMemoryError("no room")
        return first(self, x)

    monkeypatch.setattr(layers.First, "__call__", failing)
    with torch.inference_mode(), caplog.at_level("INFO"):
        out = fast.encode(frames)
    assert full == [1] and "tiles of" in caplog.text and out.shape == (1, 16, 1, 24, 32)


@pytest.mark.parametrize("error", [InterruptedError, RuntimeError])
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_nothing_stays_after_a_run_or_in_its_middle(kit, layers, host_vae, monkeypatch, direction, error, pack_module):
    """After Cancel and errors too."""

    def attributes():
        parts = host_vae.first_stage_model.named_modules()
        return {name: (type(part), set(vars(part)), len(part._forward_pre_hooks)) for name, part in parts}

    fast, made = kit.accelerate_vae(host_vae), []
    wan = pack_module("nodes.host.vae.wan")

    class Watched(layers.Weights):
        def of(self, module):
            weight, bias = super().of(module)
            made.append(weakref.ref(weight))
            return weight, bias

    monkeypatch.setattr(wan, "Weights", Watched)
    frames, calls = clip(9), []
    fast.first_stage_model.chunk_elements = 2 * FRAME
    with torch.inference_mode():
        latent = host_vae.encode(frames)
        before = attributes()

        def go():
            return fast.encode(frames) if direction == "encode" else fast.decode(latent)

        def stop():
            calls.append(1)
            if len(calls) == 12:
                raise error("stop")

        with monkeypatch.context() as patch:
            patch.setattr(wan, "check", stop)
            with pytest.raises(error):
                go()
        gc.collect()
        assert len(made) > 20 and not [one for one in made if one() is not None]
        assert attributes() == before
        wanted = host_vae.encode(frames) if direction == "encode" else host_vae.decode(latent)
        assert float((go() - wanted).abs().max()) < 1e-4
    gc.collect()
    assert not [one for one in made if one() is not None] and attributes() == before


@pytest.mark.parametrize("shown, still", [(17, 0), (14, 3), (1, 16), (6, 27), (5, 2)])
def test_levels_and_a_count_of_still_frames_encode_to_the_same_bits(kit, host_vae, shown, still):
    """uint8 and a repeat count against all frames as floats."""
    fast, levels = kit.accelerate_vae(host_vae), (clip(shown) * 255).to(torch.uint8)
    pixels = levels.float() / 255
    every = torch.cat((pixels, pixels[-1:].expand(still, -1, -1, -1)))
    with torch.inference_mode():
        wanted = fast.encode(every)
        assert torch.equal(fast.encode(levels, still), wanted)
        assert torch.equal(fast.encode(pixels, still), wanted)
        assert relative(wanted, host_vae.encode(every)) < 1e-5


def test_the_hosts_cancel_is_seen(kit, host_vae, interrupt):
    import comfy.model_management

    fast = kit.accelerate_vae(host_vae)
    interrupt()
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        fast.encode(clip(5))
    assert not comfy.model_management.processing_interrupted()


def test_one_model_for_the_hosts_memory_manager(kit, pack_nodes, host_vae):
    """The same weights and the same patcher."""
    import comfy.ldm.wan.vae
    import comfy.sd

    (fast,) = pack_nodes["WanAnimateKitAccelerateVae"].execute(host_vae).args
    assert type(host_vae) is comfy.sd.VAE and type(host_vae.first_stage_model) is comfy.ldm.wan.vae.WanVAE
    assert isinstance(fast, comfy.sd.VAE) and isinstance(fast.first_stage_model, comfy.ldm.wan.vae.WanVAE)
    assert fast.patcher is host_vae.patcher and fast.first_stage_model.encoder is host_vae.first_stage_model.encoder
    assert kit.accelerate_vae(fast) is fast
    assert fast.memory_used_decode((1, 16, 20, 60, 104), torch.bfloat16) > 0
    assert set(fast.first_stage_model.state_dict()) == set(host_vae.first_stage_model.state_dict())


def test_patched_weights_count(kit, comfy):
    """A patch that the host applies when the model loads."""
    import comfy.model_management

    vae = random_vae()
    fast, frames = kit.accelerate_vae(vae), clip(5)
    with torch.inference_mode():
        plain = fast.encode(frames)
        name = "encoder.conv1.weight"
        vae.patcher.add_patches({name: (torch.ones_like(vae.first_stage_model.state_dict()[name]),)}, 0.1)
        comfy.model_management.unload_all_models()
        theirs, ours = vae.encode(frames), fast.encode(frames)
        assert relative(ours, theirs) < 1e-5 and relative(ours, plain) > 1e-3


def test_another_vae_is_refused(kit, pack_nodes, host_vae):
    class Image:
        first_stage_model = torch.nn.Identity()

    with pytest.raises(Exception, match="holds Identity, but Accelerate Video VAE knows the Wan 2.1 VAE only"):
        pack_nodes["WanAnimateKitAccelerateVae"].execute(Image())
    replaced = copy.copy(host_vae)
    replaced.first_stage_model = torch.nn.Identity()
    assert not kit.can_accelerate(replaced) and kit.can_accelerate(host_vae)


def test_a_host_with_other_layers_goes_its_own_way(kit, host_vae, monkeypatch, caplog):
    network = host_vae.first_stage_model
    for part in (network.encoder.middle[1], network.decoder.middle[1]):
        monkeypatch.setattr(part, "norm", torch.nn.Identity())
    fast, frames = kit.accelerate_vae(host_vae), clip(5)
    with torch.inference_mode(), caplog.at_level("INFO"):
        latent = host_vae.encode(frames)
        assert torch.equal(fast.encode(frames), latent)
        assert torch.equal(fast.decode(latent), host_vae.decode(latent))
    assert "not the one known here" in caplog.text


def test_animate_leaves_the_hosts_way_on_a_cpu(pack_module, host_vae):
    ports = pack_module("nodes.host.ports")
    assert ports.HostVAE(host_vae).vae is host_vae


def test_latents_are_kept_with_the_weights_that_made_them(pack_module):
    """Another VAE, or a patch on this one, encodes anew."""
    ports = pack_module("nodes.host.ports")
    read, frames = [], clip(1)

    def encoded(vae):
        with torch.inference_mode():
            return ports.cached_vae(vae).encode_once("these", lambda: read.append(1) or frames)

    vae, other = random_vae(), random_vae()
    first = encoded(vae)
    assert torch.equal(encoded(vae), first) and len(read) == 1
    with torch.inference_mode():
        assert torch.equal(first, vae.encode(frames))
    encoded(other)
    assert len(read) == 2
    weight = vae.first_stage_model.state_dict()["encoder.conv1.weight"]
    vae.patcher.add_patches({"encoder.conv1.weight": (torch.ones_like(weight),)}, 0.1)
    encoded(vae)
    assert len(read) == 3
    cache = weakref.ref(ports.latent_cache(other))
    assert len(cache()) == 1
    del other
    gc.collect()
    assert cache() is None


@pytest.mark.parametrize("still", [160, 244])
def test_a_long_segment_that_stays_the_same(comfy, kit, still):
    """Its end repeats even past the last layer."""
    vae, frames = random_vae(), clip(5, 8, 16)
    with torch.inference_mode():
        theirs = vae.encode(torch.cat((frames, frames[-1:].expand(still, -1, -1, -1))))
        assert relative(kit.accelerate_vae(vae).encode(frames, still), theirs) < 1e-5


def test_every_kernel_that_is_launched_is_known_before(kit, small_models, comfy, monkeypatch):
    import nodes

    kernels, seen = kit.kernels, set()

    def noted(name, of):
        plain = getattr(kernels, name)

        def call(*args, **kwargs):
            seen.add((name, *of(*args, **kwargs)))
            return plain(*args, **kwargs)

        monkeypatch.setattr(kernels, name, call)

    noted("norm_silu", lambda x, gain, bias, out, silu=True: (x.shape[-1], bias is not None, silu))
    noted("norm_silu_folded", lambda x, gain, bias, out, past: (x.shape[-1], bias is not None, None))
    noted("add", lambda x, bias, residual: (x.shape[-1], bias is not None, residual is not None))
    noted(
        "upsample",
        lambda x, bias, out, pairs=False: (x.shape[-1] // (2 if pairs else 1), bias is not None, pairs),
    )
    vae = nodes.VAELoader().load_vae(small_models.vae.name)[0]
    fast = kit.accelerate_vae(vae)
    with torch.inference_mode():
        fast.decode(fast.encode(torch.rand(9, 32, 32, 3)))
    seen -= {one for one in seen if one[0] == "add" and not any(one[2:])}  # nothing to add: nothing is launched
    assert len(seen) > 12
    known = set(kernels.launches(vae.first_stage_model.dim))
    assert seen <= known, seen - known
