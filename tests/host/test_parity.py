"""Ours against the host's own nodes, on the host's own loaders: same inputs, same bits."""

import pytest
import torch

LENGTH, WIDTH, HEIGHT, FRAMES = 17, 96, 64, 40


@pytest.fixture(scope="module")
def clips():
    generator = torch.Generator().manual_seed(1)
    return {
        "pose": torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=generator),
        "background": torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=generator),
        "mask": (torch.rand(FRAMES, HEIGHT, WIDTH, generator=generator) > 0.5).float(),
        "face": torch.rand(FRAMES, 512, 512, 3, generator=generator),
        "reference": torch.rand(1, HEIGHT, WIDTH, 3, generator=generator),
        "before": torch.rand(LENGTH, HEIGHT, WIDTH, 3, generator=generator),
    }


@pytest.fixture(scope="module")
def vae(comfy, small_models):
    import nodes

    return nodes.VAELoader().load_vae(small_models.vae.name)[0]


@pytest.fixture(scope="module")
def model(comfy, small_models):
    import nodes

    return nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]


@pytest.fixture(scope="module")
def prompt():
    return torch.randn(1, 512, 4096, generator=torch.Generator().manual_seed(2)) * 0.1


def engine(pack, module: str):
    import importlib

    return importlib.import_module(f"{pack.__name__}.{module}")


@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("guidance", [1, 5])
def test_conditioning_equals_wan_animate_to_video(pack, vae, clips, mode, guidance):
    """Every value that WanAnimateToVideo sets, its trims and its offsets, on first and following segments.

    In replace mode the host lays the character mask three frames ahead of the picture; ours follows upstream (see
    ``generate_mask``), so the bits are compared with the timing set as the host has it.
    """
    from comfy_extras.nodes_wan import WanAnimateToVideo

    frames, segments = engine(pack, "wan_animate.frames"), engine(pack, "wan_animate.segments")
    build = engine(pack, "wan_animate.conditioning").build_conditioning
    port = engine(pack, "nodes.host.ports").HostVAE(vae)
    plan = segments.plan_segments(FRAMES, LENGTH, guidance)
    padded = [frames.reflected_index(i, FRAMES) for i in range(plan.padded_count)]
    replace = mode == "replace"
    offset, before = 0, None
    for segment in plan:
        scene = {"background_video": clips["background"][padded], "character_mask": clips["mask"][padded]} if replace else {}
        theirs = WanAnimateToVideo.execute(
            positive=[[torch.zeros(1, 1, 8), {}]], negative=[[torch.zeros(1, 1, 8), {}]], vae=vae, width=WIDTH, height=HEIGHT,
            length=LENGTH, batch_size=1, continue_motion_max_frames=guidance, video_frame_offset=offset,
            reference_image=clips["reference"], face_video=clips["face"][padded], pose_video=clips["pose"][padded],
            continue_motion=before, **scene,
        ).args  # fmt: skip
        ours = build(
            segment, port, port.encode(clips["reference"]), frames.TensorSource(clips["pose"]), frames.TensorSource(clips["face"]),
            frames.TensorSource(clips["background"]) if replace else None, frames.TensorSource(clips["mask"]) if replace else None,
            guidance_frames=None if before is None else before[-guidance:], mask_timing="comfyui",
        )  # fmt: skip
        positive, negative, latent, trim_latent, trim_image, offset = theirs
        values = positive[0][1]
        assert torch.equal(ours.concat_latent, values["concat_latent_image"])
        assert torch.equal(ours.generate_mask, values["concat_mask"])
        assert torch.equal(ours.pose_latent, values["pose_video_latent"])
        assert torch.equal(ours.face, values["face_video_pixels"])
        assert torch.equal(torch.full_like(ours.face, -1.0), negative[0][1]["face_video_pixels"])
        assert ours.noise_shape == tuple(latent["samples"].shape)
        assert (trim_latent, trim_image, offset) == (1, segment.guidance, segment.stop)
        before = clips["before"]


def test_segment_equals_the_hosts_own_graph(pack, pack_nodes, model, vae, prompt, clips, tmp_path):
    """One segment through our node and through WanAnimateToVideo -> KSampler -> TrimVideoLatent -> VAE Decode, with
    guidance (cfg 2), the model not patched by us on the host's side: the same frames, bit for bit."""
    import nodes
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3
    from comfy_extras.nodes_wan import TrimVideoLatent, WanAnimateToVideo

    length = 5
    positive, negative = [[prompt, {}]], [[prompt * 0.5, {}]]
    pose, face = clips["pose"][:length], clips["face"][:length]
    output = pack_nodes["WanAnimateKitAnimate"].execute(
        model=model, positive=positive, negative=negative, vae=vae, reference_image=clips["reference"], pose=pose, face=face,
        mode="animate", seed=7, steps=2, cfg=2.0, sampler_name="euler", scheduler="simple", shift=5.0,
        segment_length=length, guidance_frames=1, fps=0.0,
    ).args  # fmt: skip
    ours = output[1].read(0, length)

    conditioned = WanAnimateToVideo.execute(
        positive=positive, negative=negative, vae=vae, width=WIDTH, height=HEIGHT, length=length, batch_size=1,
        continue_motion_max_frames=1, video_frame_offset=0, reference_image=clips["reference"], face_video=face, pose_video=pose,
    ).args  # fmt: skip
    shifted = ModelSamplingSD3().patch(model, 5.0)[0]
    sampled = nodes.KSampler().sample(shifted, 7, 2, 2.0, "euler", "simple", *conditioned[:3])[0]
    trimmed = TrimVideoLatent.execute(sampled, conditioned[3]).args[0]
    decoded = nodes.VAEDecode().decode(vae, trimmed)[0]
    theirs = (decoded * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).numpy()
    assert theirs.std() > 1, "the made-up model should make a picture, not a flat field"
    assert (ours == theirs).all()


def test_face_motion_is_encoded_once_and_leaves_nothing_behind(pack, model, clips):
    """Cached and depthwise, bit for bit the encoder's own answer; after the forward the module is as it was."""
    import comfy.model_management

    motion = engine(pack, "nodes.host.face_motion")
    comfy.model_management.load_models_gpu([model])
    module = model.model.diffusion_model
    crops = (clips["face"][:3].movedim(-1, 1) * 2 - 1).to(next(module.motion_encoder.parameters()).dtype)
    with torch.no_grad():
        theirs = module.motion_encoder.get_motion(crops)
        clone, cache = motion.patch_face_motion(model)
        before = {name: set(vars(part)) for name, part in module.named_modules()}
        with cache._encoder_of(module):
            first = module.motion_encoder.get_motion(crops)
            again = module.motion_encoder.get_motion(crops.clone())
            changed = crops.clone()
            changed[1, 2, 300, 40] += 0.5
            other = module.motion_encoder.get_motion(changed)
    assert torch.equal(first, theirs) and torch.equal(again, theirs)
    assert not torch.equal(other, theirs)
    assert cache.encoded == 6, "the second call with the same crops must not encode again"
    assert {name: set(vars(part)) for name, part in module.named_modules()} == before
    cache.clear()
    assert not cache._kept
    assert not model.wrappers.get("diffusion_model", {}).get(motion.WRAPPER_KEY), "the MODEL passed in must stay as it was"
    assert clone is not model
