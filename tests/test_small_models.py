"""The made-up weights are taken by the real loading code, whole, and give finite answers."""

import importlib.util
from pathlib import Path

import pytest
import torch
from demo import small_models as small
from safetensors import safe_open
from safetensors.torch import load_file


def test_same_seed_same_numbers(small_models):
    again = small.transformer_weights()
    kept = load_file(small_models.transformer)
    assert set(again) == set(kept) == set(small.transformer_shapes())
    for name in ("blocks.4.ffn.2.weight", "motion_encoder.enc.net_app.convs.5.conv1.0.weight", "head.head.weight"):
        assert torch.equal(again[name], kept[name])
    for name, shape in small.transformer_shapes().items():
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


def test_host_transformer_answers_finite_and_listens_to_the_face(comfy, small_models):
    import comfy.ops
    from comfy.ldm.wan.model_animate import AnimateWanModel

    model = AnimateWanModel(dim=256, ffn_dim=512, num_heads=2, num_layers=5, in_dim=36, dtype=torch.float32, device="cpu",
                            operations=comfy.ops.disable_weight_init)
    model.load_state_dict(load_file(small_models.transformer))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 36, 2, 4, 6, generator=generator)
    pose = torch.randn(1, 16, 1, 4, 6, generator=generator)
    prompt = small.prompt_embedding()
    faces = [torch.full((1, 3, 4, 512, 512), -1.0), torch.rand(1, 3, 4, 512, 512, generator=generator) * 2 - 1]
    with torch.no_grad():
        answers = [
            model(x, torch.tensor([500.0]), prompt, pose_latents=pose, face_pixel_values=face)
            for face in faces
        ]
    for answer in answers:
        assert answer.shape == (1, 16, 2, 4, 6)
        assert torch.isfinite(answer).all() and answer.abs().max() < 50
    assert (answers[0] - answers[1]).abs().max() > 1e-3


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is missing: run make setup")
def test_diffusers_loads_its_own(small_models):
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel

    transformer = WanAnimateTransformer3DModel.from_pretrained(small_models.diffusers / "transformer")
    vae = AutoencoderKLWan.from_pretrained(small_models.diffusers / "vae")
    assert transformer.config.in_channels == 36 and transformer.config.text_dim == 4096
    with torch.no_grad():
        latent = vae.encode(torch.zeros(1, 3, 5, 32, 48)).latent_dist.mode()
        assert latent.shape == (1, 16, 2, 4, 6)
        answer = transformer(
            torch.randn(1, 36, 3, 4, 6), torch.tensor([500]), small.prompt_embedding(),
            pose_hidden_states=torch.randn(1, 16, 2, 4, 6), face_pixel_values=torch.rand(1, 3, 5, 16, 16) * 2 - 1,
        ).sample
    assert answer.shape == (1, 16, 3, 4, 6) and torch.isfinite(answer).all()


def test_the_vae_is_taken_by_the_hosts_loader(comfy, small_models):
    import comfy.sd
    import comfy.utils

    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(small_models.vae)))
    vae.throw_exception_if_invalid()
    assert vae.latent_channels == 16 and vae.first_stage_model.dim == 16
    weights = load_file(small_models.vae)
    assert set(vae.first_stage_model.state_dict()) == set(weights)


def test_paths_inside_the_models_folder(small_models):
    for path in (small_models.transformer, small_models.vae, small_models.prompt):
        assert path.is_file() and Path(small_models.models) in path.parents
