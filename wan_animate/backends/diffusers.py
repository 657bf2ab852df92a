"""diffusers as the engine's two ports: ``AutoencoderKLWan`` and ``WanAnimateTransformer3DModel``.

The embedded default where no ComfyUI is installed. Same plan and conditioning as on ComfyUI; what differs is the
latents' scaling (here standardised by the VAE's mean and deviation, as ``WanAnimatePipeline`` prepares them) and the
sampler, which is diffusers' own.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..conditioning import SegmentConditioning
from ..errors import InputError
from ..latents import LatentMemo


class DiffusersVAE:
    """``AutoencoderKLWan`` as the engine's video VAE; latents are standardised to zero mean and unit deviation."""

    def __init__(self, vae):
        self.vae, self.memo = vae, LatentMemo()
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self.mean = torch.tensor(vae.config.latents_mean).view(shape)
        self.deviation = torch.tensor(vae.config.latents_std).view(shape)

    @torch.no_grad()
    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = (frames * 2.0 - 1.0).movedim(-1, 0)[None].to(self.vae.device, self.vae.dtype)
        latent = self.vae.encode(pixels).latent_dist.mode()
        return (latent - self.mean.to(latent)) * (1.0 / self.deviation).to(latent)

    @torch.no_grad()
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        latent = latent.to(self.vae.device, self.vae.dtype)
        latent = latent / (1.0 / self.deviation).to(latent) + self.mean.to(latent)
        pixels = self.vae.decode(latent, return_dict=False)[0]
        return pixels[0].movedim(0, -1).float().add_(1.0).div_(2.0).clamp_(0.0, 1.0).cpu()


class DiffusersDenoiser:
    """``WanAnimateTransformer3DModel`` with a scheduler as the engine's denoiser.

    Args:
        transformer: the model.
        scheduler: a diffusers flow scheduler (its ``shift`` is the schedule's).
        prompt: text embedding ``[1, tokens, 4096]``; negative: the same, used when ``cfg`` is above 1.
        image: CLIP features of the reference ``[1, 257, 1280]`` (last but one layer), or None for a model without.
        steps, cfg: sampling steps, guidance scale (1 = none).
    """

    def __init__(self, transformer, scheduler, prompt, negative=None, image=None, steps: int = 20, cfg: float = 1.0):
        if cfg > 1 and negative is None:
            raise InputError(
                f"cfg is {cfg}, which needs a negative prompt, and none is given: give one, or set cfg to 1."
            )
        self.transformer, self.scheduler = transformer, scheduler
        self.steps, self.cfg = steps, cfg
        self.face_size = transformer.config.motion_encoder_size
        self.prompt, self.negative, self.image = (self._place(value) for value in (prompt, negative, image))

    def _place(self, value):
        return None if value is None else value.to(self.transformer.device, self.transformer.dtype)

    @torch.no_grad()
    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step) -> torch.Tensor:
        transformer = self.transformer
        given = self._place(torch.cat((conditioning.known_mask, conditioning.concat_latent), dim=1))
        pose = self._place(conditioning.pose_latent)
        face = conditioning.face
        if face is None:  # this transformer has no path without a face: the blank that guidance uses
            face = torch.full((1, 3, conditioning.segment.length, self.face_size, self.face_size), -1.0)
        face = self._place(face)

        def predict(latent, timestep, prompt, face):
            return transformer(
                hidden_states=torch.cat((latent.to(given), given), dim=1),
                timestep=timestep.expand(latent.shape[0]),
                encoder_hidden_states=prompt,
                encoder_hidden_states_image=self.image,
                pose_hidden_states=pose,
                face_pixel_values=face,
                return_dict=False,
            )[0]

        self.scheduler.set_timesteps(self.steps, device=transformer.device)
        latent = noise.to(transformer.device)
        for index, timestep in enumerate(self.scheduler.timesteps):
            velocity = predict(latent, timestep, self.prompt, face)
            if self.cfg > 1:
                blank = predict(latent, timestep, self.negative, torch.full_like(face, -1.0))
                velocity = blank + self.cfg * (velocity - blank)
            latent = self.scheduler.step(velocity, timestep, latent, return_dict=False)[0]
            on_step(index + 1, self.steps, None)
        return latent


def check_folder(folder: str | os.PathLike) -> Path:
    """Raises InputError unless a folder has a transformer and a VAE in diffusers' layout."""
    folder = Path(folder)
    for part in ("transformer", "vae"):
        if not (folder / part / "config.json").is_file():
            raise InputError(
                f"the model folder {folder} has no {part}/config.json: give a folder in diffusers' layout, such as a "
                "download of Wan-AI/Wan2.2-Animate-14B-Diffusers."
            )
    return folder


def load(folder: str | os.PathLike, shift: float = 5.0, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"):
    """Transformer, VAE and scheduler from a folder in diffusers' layout (``transformer/``, ``vae/``).

    Returns:
        (transformer, vae port, scheduler)

    Raises:
        InputError: see :func:`check_folder`.
    """
    folder = check_folder(folder)
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanAnimateTransformer3DModel

    transformer = (
        WanAnimateTransformer3DModel.from_pretrained(folder / "transformer", torch_dtype=dtype).to(device).eval()
    )
    vae = AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=torch.float32).to(device).eval()
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
    )
    return transformer, DiffusersVAE(vae), scheduler


@torch.no_grad()
def encode_prompt(folder: str | os.PathLike, text: str, device: str = "cpu", tokens: int = 512) -> torch.Tensor:
    """umT5 embedding of a prompt, ``[1, tokens, 4096]``; positions past the text are 0, as the model was trained.

    Reads ``tokenizer/`` and ``text_encoder/`` of a folder in diffusers' layout; nothing stays loaded.

    Raises:
        InputError: the folder has no text encoder.
    """
    folder = Path(folder)
    if not (folder / "text_encoder" / "config.json").is_file():
        raise InputError(
            f"the model folder {folder} has no text_encoder: give one that has, or a saved prompt (--prompt-"
            f"file) in its place."
        )
    from transformers import AutoTokenizer, UMT5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder", dtype=dtype).to(device).eval()
    given = tokenizer(
        [" ".join(text.split())], padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
    )
    embedding = encoder(given.input_ids.to(device), given.attention_mask.to(device)).last_hidden_state
    return (embedding * given.attention_mask[..., None].to(embedding)).cpu()


@torch.no_grad()
def encode_image(folder: str | os.PathLike, image: torch.Tensor, device: str = "cpu") -> torch.Tensor | None:
    """CLIP ViT-H features of the reference, ``[1, 257, 1280]`` (last but one layer); None for a folder without encoder.

    Args:
        image: ``[H, W, 3]`` float32 RGB in 0..1.
    """
    folder = Path(folder)
    if not (folder / "image_encoder" / "config.json").is_file():
        return None
    from transformers import AutoImageProcessor, CLIPVisionModel

    processor = AutoImageProcessor.from_pretrained(folder / "image_processor")
    encoder = CLIPVisionModel.from_pretrained(folder / "image_encoder").to(device).eval()
    picture = (image * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).numpy()
    pixels = processor(images=picture, return_tensors="pt").to(device)
    return encoder(**pixels, output_hidden_states=True).hidden_states[-2].cpu()
