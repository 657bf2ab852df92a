"""Interpolation and upscaling, frame by frame, against the host's own nodes on the whole clip."""

from fractions import Fraction

import pytest
import torch

from demo.small_frame_models import write_interpolation, write_upscaling

SIZE = 54, 60  # not divisible by what the networks pad to
LARGE = 70, 90  # FILM halves a frame six times


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These networks are so small that a second one costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clip():
    return moving(5, SIZE)


def moving(count, size):
    """Frames of a moving pattern, as IMAGE."""
    rng = torch.Generator().manual_seed(0)
    ground = torch.rand((1, 3, 12, 14), generator=rng)
    large = torch.nn.functional.interpolate(ground, (size[0] + 12, size[1] + 12), mode="bicubic").clamp(0, 1)
    frames = [large[0, :, at : at + size[0], 2 * at : 2 * at + size[1]].movedim(0, -1) for at in range(count)]
    return torch.stack(frames).mul(255).round().div(255)


@pytest.fixture(scope="module")
def rife(pack):
    from pathlib import Path

    import folder_paths
    from comfy_extras.nodes_frame_interpolation import FrameInterpolationModelLoader

    file = write_interpolation(Path(folder_paths.get_folder_paths("frame_interpolation")[0]))
    return FrameInterpolationModelLoader.execute(file.name).result[0]


@pytest.fixture(scope="module")
def film(pack):
    """FILM of few channels, put together as the host's loader does."""
    import comfy.model_management as management
    import comfy.model_patcher
    from comfy_extras.frame_interpolation_models.film_net import FILMNet

    torch.manual_seed(3)
    network = FILMNet(filters=8, flow_filters=(4, 8, 16, 32))
    for value in network.parameters():
        value.data = 0.3 * torch.randn_like(value) / max(value[0].numel(), 1) ** 0.5
    device = management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(network.eval(), load_device=device, offload_device=device)


@pytest.fixture(scope="module", params=[2, 4])
def upscaler(request, pack):
    from pathlib import Path

    import folder_paths
    from comfy_extras.nodes_upscale_model import UpscaleModelLoader

    file = write_upscaling(Path(folder_paths.get_folder_paths("upscale_models")[0]), request.param)
    return UpscaleModelLoader.execute(file.name).result[0]


def whole(model, clip, multiplier):
    from comfy_extras.nodes_frame_interpolation import FrameInterpolate

    with torch.inference_mode():
        return FrameInterpolate.execute(model, clip, multiplier).result[0]


def interpolated(pack_nodes, model, clip, **inputs):
    return pack_nodes["WanAnimateKitInterpolateFrames"].execute(model, clip, **{"fps": 60.0} | inputs).result[0]


def read(source, *ranges):
    return torch.cat([torch.from_numpy(source.read(*one)) for one in ranges])


@pytest.mark.parametrize("name, multiplier", [("rife", 2), ("rife", 3), ("film", 2), ("film", 3)])
def test_frames_between_are_the_hosts_bit_for_bit(pack_nodes, request, name, multiplier):
    model, clip = request.getfixturevalue(name), moving(*(5, SIZE) if name == "rife" else (3, LARGE))
    theirs = whole(model, clip, multiplier)
    frames = interpolated(pack_nodes, model, clip, multiplier=multiplier)
    count = (len(clip) - 1) * multiplier + 1
    assert len(frames) == count == len(theirs) and frames.fps == 30 * multiplier
    assert torch.equal(read(frames, (0, count)), theirs)
    parts = [(at, min(at + 4, count)) for at in range(0, count, 4)]
    assert torch.equal(read(interpolated(pack_nodes, model, clip, multiplier=multiplier), *parts), theirs)
    backwards = torch.cat([read(frames, (at, at + 1)) for at in reversed(range(count))]).flip(0)
    assert torch.equal(backwards, theirs), "in whatever order they are read"
    between = (theirs[1] - theirs[0]).abs().mean()
    assert between > 1e-3, "the network did something"


def test_another_rate_is_the_hosts_at_the_common_multiple(pack_nodes, clip, rife):
    """16 to 30: every eighth of 15 times as many."""
    node = pack_nodes["WanAnimateKitImageToFrames"]
    slow = node.execute(clip, 16.0).result[0]
    frames = interpolated(pack_nodes, rife, slow, fps=30.0)
    theirs = whole(rife, clip, 15)[::8]
    assert len(frames) == len(theirs) == 8 and frames.fps == 30
    ours = read(frames, (0, 8))
    assert (ours - theirs).abs().max() < 2e-6, "but for the batch they are made in"
    assert torch.equal(ours[0], clip[0]) and not torch.equal(ours[1], clip[1])


def test_no_frame_is_made_over_a_cut(pack_module, clip, rife):
    modelled, host = pack_module("wan_animate.video.modelled"), pack_module("nodes.host.frame_models")
    frames = pack_module("wan_animate.video.frames").TensorSource(clip, 24)
    made = modelled.InterpolatedSource(frames, host.HostInterpolator(rife), 72, cuts=(3,))
    ours = read(made, (0, len(made)))
    assert torch.equal(ours[7], clip[2]) and torch.equal(ours[8], clip[3])
    assert torch.equal(ours[:7], whole(rife, clip, 3)[:7])


@pytest.mark.parametrize("tile", [512, 64])
def test_larger_frames_are_the_hosts_bit_for_bit(pack_nodes, clip, upscaler, tile, monkeypatch, pack_module):
    import comfy_extras.nodes_upscale_model as theirs_module

    tiled = theirs_module.comfy.utils.tiled_scale

    def small(*args, **options):
        return tiled(
            *args, **options | {"tile_x": min(tile, options["tile_x"]), "tile_y": min(tile, options["tile_y"])}
        )

    monkeypatch.setattr(theirs_module.comfy.utils, "tiled_scale", small)  # so that these small frames have tiles too
    with torch.inference_mode():
        theirs = theirs_module.ImageUpscaleWithModel.execute(upscaler, clip).result[0]
    frames, width, height = pack_nodes["WanAnimateKitUpscaleFrames"].execute(upscaler, clip, 0).result
    scale = int(upscaler.scale)
    assert (height, width) == (SIZE[0] * scale, SIZE[1] * scale) == theirs.shape[1:3]
    assert torch.equal(read(frames, (0, 2), (2, 3), (3, 5)), theirs)
    assert torch.equal(read(frames, (4, 5)), theirs[4:5])


def test_480p_becomes_1080p_in_its_own_shape(pack_nodes, pack_module, upscaler):
    clip = torch.rand(2, 48, 83, 3)
    frames, width, height = pack_nodes["WanAnimateKitUpscaleFrames"].execute(upscaler, clip, 108).result
    assert (width, height) == (186, 108) and frames.read(0, 2).shape == (2, 108, 186, 3)
    assert pack_module("wan_animate.video.modelled").upright_size(832, 480, 1080) == (1872, 1080)
    assert pack_module("wan_animate.video.modelled").upright_size(480, 832, 1080) == (1080, 1872)


def test_what_runs_a_network_is_made_once_for_nodes_with_threads(pack_nodes, pack_module, clip, rife, upscaler):
    """Frames that another node reads ahead in a thread come from a file, equal but for 8 bits, made in this thread."""
    slow = interpolated(pack_nodes, rife, clip, multiplier=2)
    frames = pack_nodes["WanAnimateKitUpscaleFrames"].execute(upscaler, slow, 0).result[0]
    assert frames.by_network and not pack_module("nodes.types").as_frames(clip).by_network
    kept = pack_module("nodes.types").as_images(frames, "frames")
    assert not kept.by_network and len(kept) == len(frames) and kept.fps == frames.fps == Fraction(60)
    made = torch.from_numpy(kept.read(0, 9))
    assert made.dtype == torch.uint8
    assert torch.equal(made, (read(frames, (0, 9)) * 255 + 0.5).to(torch.uint8))
    image = pack_nodes["WanAnimateKitFramesToImage"].execute(frames, 3, 4).result[0]
    assert torch.equal(image, read(frames, (3, 7)))


def test_cancel_stops_a_clip_that_a_network_makes(pack_nodes, pack_module, clip, rife, interrupt):
    import comfy.model_management as management

    frames = interpolated(pack_nodes, rife, clip, fps=77.0)
    interrupt()
    with pytest.raises(management.InterruptProcessingException):
        pack_module("nodes.types").as_images(frames, "frames")
    from pathlib import Path

    import folder_paths

    left = list((Path(folder_paths.get_temp_directory()) / "wan_animate_kit" / "frames").glob("*.part*"))
    assert not left


def test_what_cannot_be_interpolated_or_upscaled(pack_nodes, pack_module, clip, rife):
    error = pack_module("wan_animate.errors").InputError
    node, larger = pack_nodes["WanAnimateKitInterpolateFrames"], pack_nodes["WanAnimateKitUpscaleFrames"]
    for sentence, call in [
        ("there is one", lambda: node.execute(rife, clip[:1], 60.0)),
        ("24 are asked for", lambda: node.execute(rife, clip, 24.0)),
        ("interp_model is not the host's", lambda: node.execute(object(), clip, 60.0)),
        ("upscale_model is not the host's", lambda: larger.execute(object(), clip, 1080)),
        ("masks", lambda: node.execute(rife, clip[..., 0], 60.0)),
    ]:
        with pytest.raises(error, match=sentence):
            call()
