"""Small weights in the real files' layout, for the real loading code on any machine.

They are not trained but set so that results can be looked at (:mod:`demo.small_transformer`, :mod:`demo.small_vae`).
The transformer is Wan 2.2 Animate's with width 256 and 5 blocks (most of it the motion encoder, which has one size),
the VAE Wan 2.1's with width 8. Names and shapes are those of ComfyUI's loaders (``comfy/ldm/wan/model_animate.py``,
``comfy/ldm/wan/vae.py``); diffusers' files are written by its ``save_pretrained``. The same on every machine.

    python -m demo.small_models --out DIR
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.importing import ROOT

if TYPE_CHECKING:
    import torch

TRANSFORMER_NAME = "Wan2_2-Animate-small.safetensors"
VAE_NAME = "wan_2.1_vae-small.safetensors"
LORA_NAME = "wan2.2_animate_14B_relight_lora-small.safetensors"
PROMPT_NAME = "small.safetensors"
SEGMENTER_NAME = "sam2.1_hiera-dancer.safetensors"
PROMPT_TEXT = "People in the video are doing actions."

# what they find: the drawn dancer of demo/figure.py; one standing person, whatever the picture shows
DETECTION = {
    "dancer": ("yolov10-small.onnx", "vitpose-small.onnx"),
    "template": ("yolov10-template.onnx", "vitpose-template.onnx"),
}

TEXT_DIM, TEXT_LEN = 4096, 512


@dataclass(frozen=True)
class SmallModels:
    """The files' paths.

    Attributes:
        root: the folder of all.
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
    def lora(self) -> Path:
        return self.models / "loras" / LORA_NAME

    @property
    def prompt(self) -> Path:
        return self.models / "wan_animate_prompts" / PROMPT_NAME

    @property
    def detection(self) -> Path:
        return self.models / "detection"

    @property
    def segmenter(self) -> Path:
        return self.models / "sam2" / SEGMENTER_NAME

    @property
    def diffusers(self) -> Path | None:
        folder = self.root / "diffusers"
        return folder if folder.is_dir() else None

    def copy_to(self, models: Path | str) -> None:
        """Put every file into a ComfyUI's models folder, as a hard link if possible."""
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
    root = Path(out or default_folder()).absolute() / _fingerprint()
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
    """A hash of the code that makes the files."""
    digest = hashlib.sha256()
    for name in (
        "figure.py",
        "small_models.py",
        "small_onnx.py",
        "small_sam2.safetensors",
        "small_transformer.py",
        "small_vae.py",
    ):
        digest.update(Path(__file__).with_name(name).read_bytes())
    digest.update(f"{_has('diffusers')} {_has('onnx')}".encode())
    return digest.hexdigest()[:8]


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


# -- the prompt


def prompt_embedding(seed: int = 0) -> torch.Tensor:
    """Hidden states as umT5-XXL's, ``[1, 512, 4096]`` float32: random for a few tokens, then zeros."""
    import torch

    embedding = torch.zeros(1, TEXT_LEN, TEXT_DIM)
    embedding[:, :9] = torch.randn(1, 9, TEXT_DIM, generator=torch.Generator().manual_seed(seed)) * 0.1
    return embedding


# -- the relighting LoRA


def lora_weights(rank: int = 2, seed: int = 5) -> dict[str, torch.Tensor]:
    """A relighting LoRA for the small transformer, in upstream's names: every layer of the real LoRA, changed so little
    that the picture stays."""
    import torch

    from demo.small_transformer import BLOCKS, WHISPER, transformer_shapes
    from wan_animate.weights.transformer import relighting_layers

    shapes, generator = transformer_shapes(), torch.Generator().manual_seed(seed)
    weights = {}
    for layer in relighting_layers(BLOCKS):
        out, into = shapes[f"{layer}.weight"]
        weights[f"{layer}.lora_A.weight"] = torch.randn(rank, into, generator=generator) * into**-0.5
        weights[f"{layer}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * WHISPER / 10 * rank**-0.5
    return weights


# -- writing


def _write_all(files: SmallModels) -> None:
    from safetensors.torch import save_file

    from demo.small_transformer import transformer_weights
    from demo.small_vae import vae_weights

    for path in (files.transformer, files.vae, files.lora, files.prompt, files.detection / "x", files.segmenter):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_file(transformer_weights(), files.transformer, {"format": "pt"})
    save_file(vae_weights(), files.vae, {"format": "pt"})
    save_file(lora_weights(), files.lora, {"format": "pt"})
    save_file(
        {"cond": prompt_embedding()},
        files.prompt,
        {"format": "pt", "prompt": PROMPT_TEXT, "encoder": "made-up", "kit": "1"},
    )
    shutil.copyfile(Path(__file__).with_name("small_sam2.safetensors"), files.segmenter)
    if _has("onnx"):
        from demo.small_onnx import save_detector, save_pose

        for kind, names in DETECTION.items():
            save_detector(files.detection / names[0], template=kind == "template")
            save_pose(files.detection / names[1], template=kind == "template")
    if _has("diffusers"):
        _write_diffusers(files.root / "diffusers")


def _write_diffusers(folder: Path) -> None:
    """The same weights for diffusers' two classes, except the face's: random, with a motion encoder for 16 pixels in
    place of 512, whose forward takes milliseconds."""
    import torch
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers

    from demo import small_transformer, small_vae

    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        transformer = WanAnimateTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=128, in_channels=36, latent_channels=16,
            out_channels=16, text_dim=TEXT_DIM, freq_dim=256, ffn_dim=512, num_layers=5, image_dim=1280,
            added_kv_proj_dim=256, motion_encoder_size=16, motion_style_dim=8, motion_dim=4, motion_encoder_dim=16,
            motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8}, face_encoder_hidden_dim=16,
            face_encoder_num_heads=2, inject_face_latents_blocks=5,
        )  # fmt: skip
    finally:
        torch.random.set_rng_state(state)
    weights = convert_wan_transformer_to_diffusers(small_transformer.transformer_weights())
    faces = ("motion_encoder.", "face_encoder.")
    weights = {name: tensor.float() for name, tensor in weights.items() if not name.startswith(faces)}
    result = transformer.load_state_dict(weights, strict=False)
    left = [name for name in (*result.missing_keys, *result.unexpected_keys) if not name.startswith(faces)]
    if left:
        raise RuntimeError(f"this diffusers names the transformer's tensors differently: {left[:5]}")
    transformer.save_pretrained(folder / "transformer")
    vae = AutoencoderKLWan(base_dim=small_vae.DIM, z_dim=16, dim_mult=list(small_vae.MULT), num_res_blocks=2)
    vae.load_state_dict(
        {name: tensor.float() for name, tensor in convert_wan_vae_to_diffusers(small_vae.vae_weights()).items()}
    )
    vae.save_pretrained(folder / "vae")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.small_models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=default_folder(), help="where to put them (default: %(default)s)")
    files = make(parser.parse_args(argv).out)
    for path in sorted(files.root.rglob("*")):
        if path.is_file() and path.name != "done":
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
