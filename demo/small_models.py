"""Small made-up weights in the real files' layout, so that the real loading code can be run anywhere.

Nothing here is trained. The transformer is Wan 2.2 Animate's with width 256 and 5 blocks (the motion encoder has one
size, and is most of the file), the VAE Wan 2.1's with width 16. Names and shapes are those that ComfyUI's own loaders
take (``comfy/ldm/wan/model_animate.py``, ``comfy/ldm/wan/vae.py``); diffusers' counterparts are written by its own
``save_pretrained``. The same seed gives the same numbers on every machine.

    python -m demo.small_models --out DIR
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .importing import ROOT

VERSION = "2"  # part of the cache's name: raise it when the numbers change
TRANSFORMER_NAME = "Wan2_2-Animate-small.safetensors"
VAE_NAME = "wan_2.1_vae-small.safetensors"
PROMPT_NAME = "small.safetensors"
PROMPT_TEXT = "People in the video are doing actions."

DIM, FFN, BLOCKS, TEXT_DIM, TEXT_LEN, IMAGE_DIM, FREQ_DIM = 256, 512, 5, 4096, 512, 1280, 256
IN_CHANNELS, LATENT_CHANNELS, FACE_HEADS = 36, 16, 4
MOTION_WIDTHS = (32, 64, 128, 256, 512, 512, 512, 512)


@dataclass(frozen=True)
class SmallModels:
    """Where the files lie.

    Attributes:
        root: the folder of all of it.
        models: laid out as ComfyUI's ``models/`` folder.
        diffusers: ``transformer/`` and ``vae/`` as ``from_pretrained`` takes them, or None without diffusers.
    """

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def transformer(self) -> Path:
        return self.models / "diffusion_models" / TRANSFORMER_NAME

    @property
    def vae(self) -> Path:
        return self.models / "vae" / VAE_NAME

    @property
    def prompt(self) -> Path:
        return self.models / "wan_animate_prompts" / PROMPT_NAME

    @property
    def detection(self) -> Path:
        return self.models / "detection"

    @property
    def diffusers(self) -> Path | None:
        folder = self.root / "diffusers"
        return folder if folder.is_dir() else None

    def copy_to(self, models: Path | str) -> None:
        """Put every file under ``models`` (a ComfyUI's models folder), by hard link where the disk allows."""
        for source in self.models.rglob("*"):
            if source.is_file():
                target = Path(models) / source.relative_to(self.models)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    try:
                        os.link(source, target)
                    except OSError:
                        shutil.copyfile(source, target)


def default_folder() -> Path:
    """``WAN_ANIMATE_SMALL_MODELS``, else ``.cache/small`` in this repository."""
    return Path(os.environ.get("WAN_ANIMATE_SMALL_MODELS") or ROOT / ".cache" / "small").absolute()


def make(out: Path | str | None = None) -> SmallModels:
    """Make the files under ``out`` (:func:`default_folder`), or use those already there.

    The folder appears whole or not at all.
    """
    root = Path(out or default_folder()) / f"v{VERSION}-{_fingerprint()}"
    if not (root / "done").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=root.parent))
        try:
            _write_all(SmallModels(making))
            (making / "done").touch()
            try:
                os.replace(making, root)
            except OSError:
                if not (root / "done").exists():  # another process was quicker, with the same numbers
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return SmallModels(root)


def _fingerprint() -> str:
    """Changes when the code that makes the files does."""
    digest = hashlib.sha256()
    for name in ("small_models.py", "small_onnx.py", "small_vae.py"):
        path = Path(__file__).with_name(name)
        if path.exists():
            digest.update(path.read_bytes())
    digest.update(str(_has("diffusers")).encode())
    return digest.hexdigest()[:8]


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


# -- the transformer, in the host's key layout


def transformer_shapes(dim: int = DIM, ffn: int = FFN, blocks: int = BLOCKS) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Wan 2.2 Animate checkpoint of this width, name -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    for name, channels in (("patch_embedding", IN_CHANNELS), ("pose_patch_embedding", LATENT_CHANNELS)):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (dim, channels, 1, 2, 2), (dim,)
    linear("text_embedding.0", dim, TEXT_DIM)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, FREQ_DIM)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    for i in range(blocks):
        block = f"blocks.{i}"
        shapes[f"{block}.modulation"] = (1, 6, dim)
        for attention, names in (("self_attn", "qkvo"), ("cross_attn", ("q", "k", "v", "o", "k_img", "v_img"))):
            for name in names:
                linear(f"{block}.{attention}.{name}", dim, dim)
            for name in ("norm_q", "norm_k") + (("norm_k_img",) if attention == "cross_attn" else ()):
                shapes[f"{block}.{attention}.{name}.weight"] = (dim,)
        shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (dim,)
        linear(f"{block}.ffn.0", ffn, dim)
        linear(f"{block}.ffn.2", dim, ffn)
    shapes["head.modulation"] = (1, 2, dim)
    linear("head.head", 4 * LATENT_CHANNELS, dim)
    for index, width in ((0, IMAGE_DIM), (4, dim)):
        shapes[f"img_emb.proj.{index}.weight"] = shapes[f"img_emb.proj.{index}.bias"] = (width,)
    linear("img_emb.proj.1", IMAGE_DIM, IMAGE_DIM)
    linear("img_emb.proj.3", dim, IMAGE_DIM)

    for i in range(blocks // 5):
        fuser = f"face_adapter.fuser_blocks.{i}"
        linear(f"{fuser}.linear1_kv", 2 * dim, dim)
        linear(f"{fuser}.linear1_q", dim, dim)
        linear(f"{fuser}.linear2", dim, dim)
        shapes[f"{fuser}.q_norm.weight"] = shapes[f"{fuser}.k_norm.weight"] = (128,)
    for name, out, into in (("conv1_local", 1024 * FACE_HEADS, 512), ("conv2", 1024, 1024), ("conv3", 1024, 1024)):
        shapes[f"face_encoder.{name}.conv.weight"] = (out, into, 3)
        shapes[f"face_encoder.{name}.conv.bias"] = (out,)
    linear("face_encoder.out_proj", dim, 1024)
    shapes["face_encoder.padding_tokens"] = (1, 1, 1, dim)

    net = "motion_encoder.enc.net_app.convs"
    shapes[f"{net}.0.0.weight"], shapes[f"{net}.0.1.bias"] = (32, 3, 1, 1), (1, 32, 1, 1)
    for i, (into, out) in enumerate(zip(MOTION_WIDTHS[:-1], MOTION_WIDTHS[1:]), 1):
        shapes[f"{net}.{i}.conv1.0.weight"], shapes[f"{net}.{i}.conv1.1.bias"] = (into, into, 3, 3), (1, into, 1, 1)
        shapes[f"{net}.{i}.conv2.0.kernel"] = shapes[f"{net}.{i}.skip.0.kernel"] = (4, 4)
        shapes[f"{net}.{i}.conv2.1.weight"], shapes[f"{net}.{i}.conv2.2.bias"] = (out, into, 3, 3), (1, out, 1, 1)
        shapes[f"{net}.{i}.skip.1.weight"] = (out, into, 1, 1)
    shapes[f"{net}.8.weight"] = (512, 512, 4, 4)
    for i in range(5):
        linear(f"motion_encoder.enc.fc.{i}", 512 if i < 4 else 20, 512)
    shapes["motion_encoder.dec.direction.weight"] = (512, 20)
    return shapes


def _blur_kernel():
    import torch

    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = row[None, :] * row[:, None]
    return kernel / kernel.sum()


def transformer_weights(seed: int = 0) -> dict:
    """The transformer's tensors in bfloat16: random, scaled so that activations keep their size through the layers."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in transformer_shapes().items():
        if name.endswith(".kernel"):
            tensor = _blur_kernel()
        elif "norm" in name and name.endswith("weight") or name in ("img_emb.proj.0.weight", "img_emb.proj.4.weight"):
            tensor = torch.ones(shape)
        elif name.endswith("bias"):
            tensor = torch.zeros(shape)
        elif name.startswith("motion_encoder.enc"):
            tensor = torch.randn(shape, generator=generator)  # its layers scale by 1/sqrt(fan-in) themselves
        elif name.endswith("modulation") or name.endswith("padding_tokens"):
            tensor = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        elif name.endswith("direction.weight"):
            tensor = torch.linalg.qr(torch.randn(shape, generator=generator))[0]
        else:
            tensor = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
        weights[name] = tensor.to(torch.bfloat16).contiguous()
    return weights


# -- the prompt


def prompt_embedding(seed: int = 0):
    """Hidden states of the size umT5-XXL gives for a sentence, ``[1, 512, 4096]`` float32: a few words, then zeros."""
    import torch

    embedding = torch.zeros(1, TEXT_LEN, TEXT_DIM)
    embedding[:, :9] = torch.randn(1, 9, TEXT_DIM, generator=torch.Generator().manual_seed(seed)) * 0.1
    return embedding


# -- writing


def _write_all(files: SmallModels) -> None:
    from safetensors.torch import save_file

    from .small_vae import vae_weights

    for path in (files.transformer, files.vae, files.prompt, files.detection / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_file(transformer_weights(), files.transformer, {"format": "pt"})
    save_file(vae_weights(), files.vae, {"format": "pt"})
    save_file({"cond": prompt_embedding()}, files.prompt,
              {"format": "pt", "prompt": PROMPT_TEXT, "encoder": "made-up", "kit": "1"})
    if Path(__file__).with_name("small_onnx.py").exists():
        from .small_onnx import make as make_onnx

        make_onnx(files.detection)
    if _has("diffusers"):
        _write_diffusers(files.root / "diffusers")


def _write_diffusers(folder: Path) -> None:
    """diffusers' two classes, tiny: its motion encoder takes any size, so a forward is a matter of milliseconds."""
    import torch
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel

    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        transformer = WanAnimateTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=36, latent_channels=16,
            out_channels=16, text_dim=TEXT_DIM, freq_dim=32, ffn_dim=48, num_layers=5, image_dim=16, added_kv_proj_dim=24,
            motion_encoder_size=16, motion_style_dim=8, motion_dim=4, motion_encoder_dim=16,
            motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8}, face_encoder_hidden_dim=16,
            face_encoder_num_heads=2, inject_face_latents_blocks=5,
        )
        transformer.save_pretrained(folder / "transformer")
        vae = AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
        vae.save_pretrained(folder / "vae")
    finally:
        torch.random.set_rng_state(state)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.small_models", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=default_folder(), help="where to put them (default: %(default)s)")
    files = make(parser.parse_args(argv).out)
    for path in sorted(files.root.rglob("*")):
        if path.is_file() and path.name != "done":
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
