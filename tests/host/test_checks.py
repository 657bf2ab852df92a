"""Inputs that do not belong together are refused before any work."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

SENTENCE = {"prompt": "encode the prompt with the umT5-XXL text encoder", "image": "with CLIP ViT-H"}


def prompt(width: int = 4096, tokens: int = 8) -> list:
    return [[torch.zeros(1, tokens, width), {}]]


def features(width: int = 1280, tokens: int = 257):
    return SimpleNamespace(penultimate_hidden_states=torch.zeros(1, tokens, width))


@pytest.fixture(scope="module")
def ports(pack_module):

    return pack_module("nodes.host.ports")


@pytest.fixture(scope="module")
def checks(pack_module):

    return pack_module("nodes.host.checks")


@pytest.fixture(scope="module")
def denoiser(ports, model):
    def made(positive=None, negative=None, image=None, cfg=1.0, model=model):
        positive, negative = (prompt() if one is None else one for one in (positive, negative))
        return ports.HostDenoiser(model, positive, negative, image, 2, cfg, "euler", "simple", 5.0, 0)

    return made


def sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and "mat1" not in text, text
    return text


def test_widths_are_read_off_the_model(checks, model):
    network = model.model.diffusion_model
    assert checks.text_width(model) == network.text_embedding[0].weight.shape[1] == 4096
    assert checks.image_width(model) == network.img_emb.proj[1].weight.shape[1] == 1280


def test_what_fits_is_taken(denoiser):
    assert denoiser(image=features()).steps == 2
    assert denoiser(prompt(tokens=77), prompt(tokens=512), features(tokens=514), cfg=3.0).cfg == 3.0
    assert denoiser(negative=prompt(768)) is not None, "at cfg 1 the host leaves the negative out"
    assert denoiser(negative=[]) is not None


@pytest.mark.parametrize("width", [768, 1024, 1280, 2048, 3584])
def test_a_prompt_of_another_text_encoder(denoiser, width):
    for name, given in (
        ("positive", {"positive": prompt(width)}),
        ("negative", {"negative": prompt(width), "cfg": 2.0}),
    ):
        with pytest.raises(ValueError) as error:
            denoiser(**given)
        text = sentence(error)
        assert text.startswith(
            f"the {name} input holds an embedding of shape [1, 8, {width}] where [1, tokens, 4096] is"
        )
        assert SENTENCE["prompt"] in text
    with pytest.raises(ValueError, match="the positive input"):
        denoiser(prompt() + prompt(width))  # Conditioning Combine of two encoders


def test_the_negative_counts_where_the_host_uses_it(denoiser, model):
    always = model.clone()
    always.model_options["disable_cfg1_optimization"] = True
    with pytest.raises(ValueError, match="the negative input holds"):
        denoiser(negative=prompt(768), model=always)
    assert [denoiser(model=given).passes for given in (model, always)] == [1, 2], "a step takes twice as long"


@pytest.mark.parametrize("given, says", [
    ([], "holds no prompt (an empty CONDITIONING)"),
    (None, "holds no prompt"),
    ([[None, {}]], "holds no embedding"),
    ([[torch.zeros(1, 0, 4096), {}]], "of shape [1, 0, 4096]"),
    ([[torch.zeros(8, 4096), {}]], "of shape [8, 4096]"),
])  # fmt: skip
def test_a_prompt_that_is_none(checks, given, says):
    with pytest.raises(ValueError) as error:
        checks.check_prompt(given, "positive", 4096)
    assert says in sentence(error)


@pytest.mark.parametrize("width", [768, 1024, 1152, 1536, 1664])
def test_features_of_another_image_encoder(denoiser, width):
    with pytest.raises(ValueError) as error:
        denoiser(image=features(width, 730))
    text = sentence(error)
    assert text.startswith(f"clip_vision_output holds features of shape [1, 730, {width}] where [1, tokens, 1280] is")
    assert SENTENCE["image"] in text


def test_image_features_and_a_model_that_takes_none(denoiser, checks, model):
    blind = SimpleNamespace(model=SimpleNamespace(diffusion_model=SimpleNamespace(img_emb=None)))
    assert checks.image_width(blind) == 0
    with pytest.raises(ValueError) as error:
        checks.check_image_features(features(), 0)
    assert "has no image embedding to take it: disconnect it" in sentence(error)
    for output in (SimpleNamespace(), SimpleNamespace(penultimate_hidden_states=None)):
        with pytest.raises(ValueError) as error:
            denoiser(image=output)
        assert "holds no hidden states" in sentence(error)


def test_the_host_ends_in_the_middle_of_a_step_where_ours_says_it_first(model):
    """Why the check is there."""
    from ..support import steps

    positive, negative = steps.conditioning(face=False)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        steps.sample(model, ([[positive[0][0][..., :768], positive[0][1]]], negative), steps=1)


def test_models_are_called_by_their_names(comfy, checks):
    """Every class of the family, by the host's own detection."""
    import comfy.model_base as base

    def said(kind: str, **config) -> str:
        other = object.__new__(getattr(base, kind))
        torch.nn.Module.__init__(other)
        other.model_config = SimpleNamespace(unet_config=config)
        with pytest.raises(ValueError) as error:
            checks.check_model(SimpleNamespace(model=other))
        return sentence(error)

    text = said("WAN_Animate2", image_model="wan2.1", model_type="animate2", dim=5120, in_dim=36)
    assert text.startswith("the model input holds Wan Animate 2, but this node needs Wan 2.2 Animate: it takes the ")
    assert "use ComfyUI's WanAnimate2ToVideo node; or choose wan2.2_animate_14B" in text
    for kind, config, name in (
        ("WAN21", {"model_type": "i2v", "dim": 5120, "in_dim": 36}, "Wan 2.1 I2V 14B"),
        ("WAN21", {"model_type": "t2v", "dim": 1536, "in_dim": 16}, "Wan 2.1 or 2.2 T2V 1.3B"),
        ("WAN21_CausalAR", {"model_type": "t2v", "dim": 1536, "in_dim": 16}, "a causal Wan 2.1 T2V 1.3B"),
        ("WAN22", {"model_type": "t2v", "dim": 3072, "in_dim": 48, "out_dim": 48}, "Wan 2.2 TI2V 5B"),
        ("WAN22_S2V", {"model_type": "s2v"}, "Wan 2.2 S2V (sound to video)"),
        ("WAN21_SCAIL2", {"model_type": "scail2"}, "SCAIL 2"),
        ("Flux", {}, "a Flux model"),
    ):
        assert said(kind, **config).startswith(f"the model input holds {name}, but this node needs Wan 2.2 Animate: ")
    with pytest.raises(ValueError, match="holds a NoneType model"):
        checks.check_model(None)


@pytest.mark.parametrize("module, kind, channels, dims, ratio, says", [
    ("comfy.ldm.wan.vae2_2", "WanVAE", 48, 3, 16, "holds WanVAE with 48 latent channels (video)"),
    ("comfy.ldm.cosmos.vae", "CausalContinuousVideoTokenizer", 16, 3, 8, "holds the Cosmos VAE, but"),
    ("comfy.ldm.cogvideo.vae", "AutoencoderKLCogVideoX", 16, 3, 8, "holds the CogVideoX VAE, but"),
    ("comfy.ldm.models.autoencoder", "AutoencoderKL", 16, 3, 8, "holds the VAE of another model, but"),
    ("comfy.ldm.models.autoencoder", "AutoencoderKL", 4, 2, 8, "holds AutoencoderKL with 4 latent channels (image)"),
])  # fmt: skip
def test_vaes_whose_latents_mean_something_else(comfy, checks, module, kind, channels, dims, ratio, says):
    """Three of them have latents of Wan 2.1's shape."""
    import importlib

    network = object.__new__(getattr(importlib.import_module(module), kind))
    vae = SimpleNamespace(first_stage_model=network, latent_channels=channels, latent_dim=dims, output_channels=3)
    vae.spacial_compression_encode = lambda: ratio
    with pytest.raises(ValueError) as error:
        checks.check_vae(vae)
    assert says in sentence(error) and "load wan_2.1_vae.safetensors" in sentence(error)


def test_changed_wan_vaes(comfy, checks):
    import comfy.ldm.wan.vae

    network = object.__new__(comfy.ldm.wan.vae.WanVAE)
    vae = SimpleNamespace(first_stage_model=network, latent_channels=16, latent_dim=3, output_channels=3)
    vae.spacial_compression_encode = lambda: 8
    checks.check_vae(vae)
    vae.conv_out_channels = 12  # as those that decode to twice the size
    with pytest.raises(ValueError, match="a changed Wan VAE that reads 3 and makes 12 channels"):
        checks.check_vae(vae)


# -- through the node


@pytest.fixture(scope="module")
def animate(pack_nodes, model, small_models):
    import nodes

    vae = nodes.VAELoader().load_vae(small_models.vae.name)[0]

    def run(**changes):
        given = dict(
            model=model, positive=prompt(), negative=prompt(), vae=vae, reference_image=torch.rand(1, 48, 64, 3),
            pose=torch.rand(5, 48, 64, 3), mode="animate", seed=0, steps=1, cfg=1.0,
            sampler_name="euler", scheduler="simple", shift=5.0, segment_length=5, guidance_frames=1, fps=0.0,
        )  # fmt: skip
        return pack_nodes["WanAnimateKitAnimate"].execute(**given | changes)

    return run


@pytest.mark.parametrize("changes, says", [
    ({"positive": prompt(768)}, "the positive input holds an embedding of shape [1, 8, 768]"),
    ({"positive": []}, "the positive input holds no prompt"),
    ({"negative": prompt(2048), "cfg": 2.0}, "the negative input holds an embedding of shape [1, 8, 2048]"),
    ({"clip_vision_output": features(1664)}, "clip_vision_output holds features of shape [1, 257, 1664]"),
    ({"reference_image": torch.zeros(0, 48, 64, 3)}, "reference_image needs a picture, but its shape is [0, 48, 64"),
    ({"reference_image": torch.zeros(1, 48, 64)}, "reference_image needs a picture, but its shape is [1, 48, 64]"),
    ({"pose": torch.zeros(0, 48, 64, 3)}, "pose carries no frames (an empty batch)"),
    ({"face": torch.zeros(0, 512, 512, 3)}, "face carries no frames"),
])  # fmt: skip
def test_the_node_says_it_before_any_work(animate, monkeypatch, changes, says):
    import comfy.sample
    import comfy.sd

    for owner, work in ((comfy.sample, "sample"), (comfy.sd.VAE, "encode")):
        monkeypatch.setattr(owner, work, lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ValueError) as error:
        animate(**changes)
    assert says in sentence(error)


def test_a_full_disk_while_a_segment_is_saved_keeps_the_finished_ones(animate, monkeypatch):
    """The second segment does not fit; the same graph goes on from the first."""
    from pathlib import Path

    import folder_paths

    from ..test_files import limited

    monkeypatch.setattr("wan_animate_kit_pack.nodes.host.jobs.model_signature", lambda *_: "one graph")
    unfinished = Path(folder_paths.get_output_directory()) / "wan_animate_kit" / "jobs"
    before = set(unfinished.glob("*"))
    pose = torch.rand(9, 48, 64, 3, generator=torch.Generator().manual_seed(1))
    given = {"pose": pose, "reference_image": torch.full((1, 48, 64, 3), 0.5)}

    from wan_animate_kit_pack.wan_animate.chain.store import SegmentStore

    whole = SegmentStore.save

    def save(self, index, *rest):
        if index == 0:
            return whole(self, index, *rest)
        with limited(1000):
            return whole(self, index, *rest)

    monkeypatch.setattr(SegmentStore, "save", save)
    with pytest.raises(ValueError) as error:
        animate(**given)
    assert "free space there and run" in sentence(error)
    (job,) = set(unfinished.glob("*")) - before
    # the clip's own file had room here, and had all frames already
    names = {path.name for path in job.iterdir()} - {"clip.mp4", "segments.json"}
    assert names == {"segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"}

    saved = []
    monkeypatch.setattr(
        SegmentStore, "save", lambda self, index, *rest: saved.append(index) or whole(self, index, *rest)
    )
    assert animate(**given).result[2] == 9 and saved == [1] and (job / "clip.mp4").exists()


def test_a_clip_in_which_the_old_person_shows_says_so_at_its_end(animate, pack_module, caplog):
    from ..support.figures import dancer_track

    keypoints = dancer_track(5, 96, 64).keypoints
    track = pack_module("wan_animate.pose.track").PoseTrack(keypoints, 96, 64)
    drawn = pack_module("wan_animate.pose.draw").DrawnPoseSource(track)
    mask = torch.from_numpy(pack_module("wan_animate.mask.from_pose").PoseMaskSource(track).read(0, 5) / 255).float()
    given = dict(pose=drawn, mode="replace", background=torch.rand(5, 64, 96, 3), character_mask=mask)
    with caplog.at_level("WARNING"):
        whole = animate(**given).ui or {}
        assert "old person" not in str(whole.get("text")) and "the mask" not in caplog.text
        cut = mask.clone()
        cut[3, :32] = 0
        made = animate(**given | {"character_mask": cut, "seed": 1})
    assert len(made.result[1]) == 5 and "the mask" in str(made.ui["text"])
    assert len(made.ui["images"]) == len(whole.get("images", ())) + 1
    assert "animate character: the mask" in caplog.text and "in 1 of 5 frames" in caplog.text


def test_saved_prompts_name_the_width_that_they_have(pack_nodes, comfy):
    import folder_paths
    from safetensors.torch import save_file

    folder = folder_paths.get_folder_paths("wan_animate_prompts")[0]
    for width in (768, 2048):
        save_file({"cond": torch.zeros(1, 77, width)}, f"{folder}/other.safetensors", {"empty": json.dumps([])})
        with pytest.raises(ValueError, match=rf"\[1, 77, {width}\] where \[1, tokens, 4096\] is needed"):
            pack_nodes["WanAnimateKitLoadPrompt"].execute("other.safetensors")
