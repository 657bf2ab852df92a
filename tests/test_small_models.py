"""The made-up weights are taken by the real loading code, whole, and do what they were set up to do."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

from demo import small_models as small
from demo.small_transformer import POSE_LIMIT, transformer_shapes, transformer_weights


def test_same_seed_same_numbers(small_models):
    again = transformer_weights()
    kept = load_file(small_models.transformer)
    assert set(again) == set(kept) == set(transformer_shapes())
    for name in ("blocks.4.ffn.2.weight", "motion_encoder.enc.net_app.convs.5.conv1.0.weight", "head.head.weight"):
        assert torch.equal(again[name], kept[name])
    for name, shape in transformer_shapes().items():
        assert tuple(kept[name].shape) == shape


def test_kept_files_are_used_again(small_models):
    before = {path: path.stat().st_mtime_ns for path in small_models.root.rglob("*")}
    assert small.make().root == small_models.root
    assert {path: path.stat().st_mtime_ns for path in small_models.root.rglob("*")} == before


def test_a_broken_off_making_leaves_nothing(tmp_path, monkeypatch):
    def fail(files):
        (files.root / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(small, "_write_all", fail)
    with pytest.raises(KeyboardInterrupt):
        small.make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_prompt_file_has_the_format_of_a_saved_prompt(small_models):
    with safe_open(small_models.prompt, "pt") as file:
        assert file.metadata()["prompt"] == small.PROMPT_TEXT
        assert file.metadata()["kit"] == "1"
        assert tuple(file.get_slice("cond").get_shape()) == (1, 512, 4096)


def test_host_loads_the_transformer_whole(comfy, small_models):
    import comfy.model_detection
    import comfy.ops
    import comfy.sd
    from comfy.ldm.wan.model_animate import AnimateWanModel

    weights = load_file(small_models.transformer)
    config = comfy.model_detection.detect_unet_config(weights, "")
    assert config["model_type"] == "animate"
    assert (config["dim"], config["ffn_dim"], config["num_heads"], config["num_layers"]) == (256, 512, 2, 5)
    assert config["in_dim"] == 36

    model = AnimateWanModel(**config, dtype=torch.bfloat16, device="cpu", operations=comfy.ops.disable_weight_init)
    result = model.load_state_dict(weights, strict=False)
    assert result.missing_keys == [] and result.unexpected_keys == []
    assert type(comfy.sd.load_diffusion_model(str(small_models.transformer)).model).__name__ == "WAN22_Animate"


def known_case():
    """Inputs of a transformer and the latent it should predict: reference, one guided frame, a scene known on the right
    half, and a bright patch in the pose."""
    generator = torch.Generator().manual_seed(1)
    frames, height, width, half = 4, 8, 12, 6

    def colours(count):
        latent = torch.rand(1, 16, count, height, width, generator=generator) * 2 - 1
        latent[:, 12:] = 0
        return latent

    conditioning, mask = torch.zeros(1, 16, frames, height, width), torch.zeros(1, 4, frames, height, width)
    conditioning[:, :, :2], mask[:, :, :2] = colours(2), 1
    conditioning[..., 2:, :, half:], mask[..., half:] = colours(frames - 2)[..., half:], 1
    pose = -torch.ones(1, 16, frames - 1, height, width)
    pose[:, 12:] = 0
    pose[:, :12, :, 2:6, 2:4] = 0.5
    clean = conditioning.clone()
    clean[:, :, 2:, :, :half] = conditioning[:, :, :1, :, :half]
    clean[:, :12, 2:, 2:6, 2:4] += POSE_LIMIT
    noise = torch.randn(clean.shape, generator=generator)
    return torch.cat([mask, conditioning], 1), pose, clean, noise


@pytest.mark.parametrize("sigma", [1.0, 0.4])
def test_host_transformer_predicts_reference_scene_and_pose(animate_model, sigma):
    given, pose, clean, noise = known_case()
    x = (1 - sigma) * clean + sigma * noise
    with torch.no_grad():
        flow = animate_model(
            torch.cat([x, given], 1),
            torch.tensor([1000 * sigma]),
            small.prompt_embedding()[:, :16],
            pose_latents=pose,
            face_pixel_values=None,
        )
    error = (x - sigma * flow - clean)[:, :, 1:].abs()
    assert error.mean() < 0.05 and error.max() < 0.3


def test_host_transformer_listens_to_face_and_text(animate_model):
    given, pose, clean, noise = known_case()
    generator = torch.Generator().manual_seed(2)
    face = torch.rand(1, 3, 1, 512, 512, generator=generator) * 2 - 1  # one is enough: its encoder takes seconds
    prompt, other_prompt = small.prompt_embedding()[:, :16], torch.randn(1, 16, 4096, generator=generator)
    x = torch.cat([noise, given], 1)
    with torch.no_grad():
        plain, with_face, other_text = (
            animate_model(x, torch.tensor([1000.0]), text, pose_latents=pose, face_pixel_values=pixels)
            for text, pixels in ((prompt, None), (prompt, face), (other_prompt, None))
        )
    assert 1e-3 < (plain - with_face)[:, :, 1].abs().max() < 0.5
    assert 1e-3 < (plain - other_text).abs().max() < 0.5


@pytest.fixture(scope="module")
def animate_model(comfy, small_models):
    import comfy.ops
    from comfy.ldm.wan.model_animate import AnimateWanModel

    model = AnimateWanModel(
        dim=256,
        ffn_dim=512,
        num_heads=2,
        num_layers=5,
        in_dim=36,
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    model.load_state_dict(load_file(small_models.transformer))
    return model


needs_diffusers = pytest.mark.skipif(
    importlib.util.find_spec("diffusers") is None, reason="diffusers is missing: run make setup"
)


@needs_diffusers
def test_diffusers_transformer_predicts_the_same(small_models):
    from diffusers import WanAnimateTransformer3DModel

    transformer = WanAnimateTransformer3DModel.from_pretrained(small_models.diffusers / "transformer")
    given, pose, clean, noise = known_case()
    x = 0.6 * clean + 0.4 * noise
    with torch.no_grad():
        flow = transformer(
            torch.cat([x, given], 1),
            torch.tensor([400.0]),
            small.prompt_embedding()[:, :16],
            pose_hidden_states=pose,
            face_pixel_values=torch.rand(1, 3, 9, 16, 16) * 2 - 1,
        ).sample
    error = (x - 0.4 * flow - clean)[:, :, 1:].abs()
    assert error.mean() < 0.06 and error.max() < 0.4


def clip_of_changing_colours() -> torch.Tensor:
    """[9, 48, 64, 3] in 0..1: every frame another colour, with a dark square that moves by 8 pixels a frame."""
    frames = torch.empty(9, 48, 64, 3)
    for i, colour in enumerate(np.random.default_rng(0).uniform(0.3, 1, (9, 3))):
        frames[i] = torch.tensor(colour, dtype=torch.float32)
        frames[i, 16:32, 8 * (i % 6) : 8 * (i % 6) + 16] = 0.05
    return frames


def assert_same_at_an_eighth(came: torch.Tensor, sent: torch.Tensor) -> None:
    """Every frame in its place, as sharp as 1/8 of the size (and smoothed, which mixes neighbouring cells)."""
    assert came.shape == sent.shape
    got, want = (F.avg_pool2d(clip.detach().movedim(-1, 1), 8).flatten(1) for clip in (came, sent))
    apart = torch.cdist(got, want, p=1) / got.shape[1]
    assert (apart.argmin(1) == torch.arange(len(sent))).all()
    assert apart.diagonal().max() < 0.08
    assert (came[:, 40:, 48:] - sent[:, 40:, 48:])[[0, 1, 2, 6, 7, 8]].abs().max() < 0.02  # far from the square


@needs_diffusers
def test_diffusers_vae_keeps_every_frame(small_models):
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan.from_pretrained(small_models.diffusers / "vae")
    frames = clip_of_changing_colours()
    with torch.no_grad():
        latent = vae.encode((frames * 2 - 1).movedim(-1, 0)[None]).latent_dist.mode()
        back = (vae.decode(latent).sample[0].movedim(0, -1) + 1) / 2
    assert latent.shape == (1, 16, 3, 6, 8)
    assert_same_at_an_eighth(back, frames)


def test_host_loads_the_vae_and_it_keeps_every_frame(comfy, small_models):
    import comfy.latent_formats
    import comfy.sd
    import comfy.utils

    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(small_models.vae)))
    vae.throw_exception_if_invalid()
    assert set(vae.first_stage_model.state_dict()) == set(load_file(small_models.vae))
    frames = clip_of_changing_colours()
    latent = vae.encode(frames)
    assert latent.shape == (1, 16, 3, 6, 8)
    assert_same_at_an_eighth(vae.decode(latent)[0], frames)
    seen = comfy.latent_formats.Wan21().process_in(latent)
    assert torch.allclose(seen[0, :3, 0, 5, 7], frames[0, -1, -1] * 2 - 1, atol=0.02)  # the colour itself
    assert seen[:, 12:].abs().max() < 0.02


def test_paths_inside_the_models_folder(small_models):
    for path in (small_models.transformer, small_models.vae, small_models.prompt):
        assert path.is_file() and Path(small_models.models) in path.parents
