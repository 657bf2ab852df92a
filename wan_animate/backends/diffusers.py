"""The engine's VAE and denoiser ports on diffusers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from einops import rearrange
from pydantic import Field
from safetensors import SafetensorError

from ..chain.latents import CachedVAE, LatentCache, with_still
from ..chain.ports import SegmentConditioning
from ..chain.prompts import FrameRange, prompts_for
from ..chain.segments import Segment
from ..chain.strength import AS_TRAINED, Strength, flow_sigma
from ..errors import InputError
from ..files import reading
from ..finite import check_finite
from ..parallel.roomiest import card_with_room
from ..schema import Schema, read_json
from ..video.frames import as_unit_float
from .face_features import Faces, face_features
from .fp8_linears import AS_LOADED, FP8, Linears, quantize_linears
from .fused_blocks import fuse, prepare
from .placement import place
from .strength import strengths_of

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, SchedulerMixin, UniPCMultistepScheduler, WanAnimateTransformer3DModel

    from ..chain.ports import StepCallback, VideoVAE

LATENT_CHANNELS = 16
Width = Annotated[int, Field(ge=1, le=1 << 20)]


class _Config(Schema):
    """What is read of a part's ``config.json``; the libraries read the rest."""

    class_name: str | None = Field(None, alias="_class_name", max_length=100)
    z_dim: Width | None = None
    d_model: Width | None = None
    hidden_size: Width | None = None
    text_dim: Width | None = None
    image_dim: Width | None = None
    num_attention_heads: Width | None = None
    attention_head_dim: Width | None = None
    num_layers: Width | None = None

    def told(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, exclude_none=True)


class DiffusersVAE:
    """``AutoencoderKLWan``; latents are standardized as in ``WanAnimatePipeline``."""

    def __init__(self, vae: AutoencoderKLWan):
        self.vae = vae
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self.mean = torch.tensor(vae.config.latents_mean).view(shape)
        self.deviation = torch.tensor(vae.config.latents_std).view(shape)

    @torch.no_grad()
    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        pixels = with_still(as_unit_float(frames), still) * 2.0 - 1.0
        pixels = rearrange(pixels, "frames height width rgb -> 1 rgb frames height width")
        pixels = pixels.to(self.vae.device, self.vae.dtype)
        latent = self.vae.encode(pixels).latent_dist.mode()
        return (latent - self.mean.to(latent)) * (1.0 / self.deviation).to(latent)

    @torch.no_grad()
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        latent = latent.to(self.vae.device, self.vae.dtype)
        latent = latent / (1.0 / self.deviation).to(latent) + self.mean.to(latent)
        pixels = self.vae.decode(latent, return_dict=False)[0]
        pixels = rearrange(pixels, "1 rgb frames height width -> frames height width rgb")
        return pixels.float().add_(1.0).div_(2.0).clamp_(0.0, 1.0).cpu()


class DiffusersDenoiser:
    """``WanAnimateTransformer3DModel`` with a flow scheduler.

    Args:
        prompt, negative: text embeddings ``[1, tokens, 4096]``; ``cfg`` above 1 needs a negative.
        image: CLIP features of the reference ``[1, 257, 1280]`` (last but one layer), or None.
        pose_strength, face_strength: also of the negative prompt's blank face.

    Raises:
        InputError: a negative is missing, a width is wrong, or a strength out of range.
    """

    def __init__(
        self,
        transformer: WanAnimateTransformer3DModel,
        scheduler: SchedulerMixin,
        prompt: torch.Tensor,
        negative: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
        steps: int = 20,
        cfg: float = 1.0,
        pose_strength: Strength = AS_TRAINED,
        face_strength: Strength = AS_TRAINED,
    ):
        pose_strength.check("the pose strength", "its part of the sampling")
        face_strength.check("the face strength", "its part of the sampling")
        if cfg > 1 and negative is None:
            raise InputError(
                f"cfg is {cfg}, which needs a negative prompt, and none is given: give one, or set cfg to 1."
            )
        remedy = "encode the prompt with the umT5-XXL text encoder that Wan uses"
        for name, given in (("prompt", prompt), ("negative prompt", negative if cfg > 1 else None)):
            check_embedding(given, getattr(transformer.config, "text_dim", None), f"the {name}", remedy)
        width = getattr(transformer.config, "image_dim", None)
        check_embedding(image, width, "the image embedding", "encode the reference image with CLIP ViT-H")
        self.transformer, self.scheduler = transformer, scheduler
        self.steps, self.cfg = steps, cfg
        self.pose_strength, self.face_strength = pose_strength, face_strength
        self.face_size, self.face_dtype = transformer.config.motion_encoder_size, transformer.dtype
        self.prompt = self._place(prompt)
        self.negative = None if negative is None else self._place(negative)
        self.image = None if image is None else self._place(image)
        self._prompts: list[tuple[FrameRange, torch.Tensor]] = []
        self._frame_count = 1

    def set_prompts(self, prompts: Sequence[tuple[FrameRange, torch.Tensor]], frame_count: int) -> None:
        """Other prompts for some of a clip's frames.

        Args:
            prompts: (first and last driving frame, text embedding).
            frame_count: of the clip.
        """
        self._prompts = [(frames, self._place(embedding)) for frames, embedding in prompts]
        self._frame_count = frame_count

    def _prompt_of(self, segment: Segment) -> torch.Tensor:
        ranges = [None, *(frames for frames, _ in self._prompts)]
        chosen = prompts_for(segment, ranges, self._frame_count)[0]
        return self._prompts[chosen - 1][1] if chosen else self.prompt

    def _place(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.transformer.device, self.transformer.dtype)

    def _strengths(self, step: int) -> tuple[float, float]:
        """Factors of pose and face in a step."""
        config = self.scheduler.config
        shift = config.get("flow_shift", config.get("shift")) or 1.0
        sigma = self.scheduler.sigmas[step]
        pose, face = (
            one.value if one.acts(sigma, lambda fraction: flow_sigma(fraction, shift)) else 0.0
            for one in (self.pose_strength, self.face_strength)
        )
        return pose, face

    @torch.no_grad()
    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        transformer = self.transformer
        # [1, 4, T, H/8, W/8] and [1, 16, T, H/8, W/8] -> [1, 20, T, H/8, W/8]
        given = self._place(torch.cat((conditioning.known_mask, conditioning.concat_latent), dim=1))
        pose = self._place(conditioning.pose_latent)
        face = conditioning.face
        if face is None:  # the transformer needs a face: that of the unconditional pass
            face = torch.full((1, 3, 4 * pose.shape[2] - 3, self.face_size, self.face_size), -1.0)
        face = self._place(face)
        faces = face_features(transformer, face)
        blank_faces = face_features(transformer, torch.full_like(face, -1.0)) if self.cfg > 1 else None

        def predict(
            latent: torch.Tensor, timestep: torch.Tensor, prompt: torch.Tensor, faces: Faces, strength: float
        ) -> torch.Tensor:
            with faces.once() if strength else nullcontext():
                return transformer(
                    hidden_states=torch.cat((latent.to(given), given), dim=1),  # [1, 36, T, H/8, W/8]
                    timestep=timestep.expand(latent.shape[0]),
                    encoder_hidden_states=prompt,
                    encoder_hidden_states_image=self.image,
                    pose_hidden_states=pose,
                    face_pixel_values=faces.video if strength else face[:, :, :1],
                    return_dict=False,
                )[0]

        self.scheduler.set_timesteps(self.steps, device=transformer.device)
        latent = noise.to(transformer.device)
        prompt = self._prompt_of(conditioning.segment)
        for index, timestep in enumerate(self.scheduler.timesteps):
            strengths = self._strengths(index)
            with strengths_of(transformer, *strengths):
                velocity = predict(latent, timestep, prompt, faces, strengths[1])
                if blank_faces is not None and self.negative is not None:
                    blank = predict(latent, timestep, self.negative, blank_faces, strengths[1])
                    velocity = blank + self.cfg * (velocity - blank)
            latent = self.scheduler.step(velocity, timestep, latent, return_dict=False)[0]
            on_step(index + 1, self.steps, None)
        return latent


def check_folder(folder: str | os.PathLike) -> dict[str, dict]:
    """Configurations in a diffusers folder, by part (``transformer``, ``vae``, encoders).

    Raises:
        InputError: a part is missing or another model's, or widths differ.
    """
    folder = Path(folder)
    parts = {}
    for part in ("transformer", "vae", "text_encoder", "image_encoder"):
        path = folder / part / "config.json"
        if path.is_file():
            with reading(path, "the configuration", "download it again") as path:
                text = path.read_bytes()
            parts[part] = read_json(text, _Config, f"the configuration {path}", "download it again").told()
        elif part in ("transformer", "vae"):
            raise InputError(
                f"the model folder {folder} has no {part}/config.json: give a folder in diffusers' layout, such as a "
                "download of Wan-AI/Wan2.2-Animate-14B-Diffusers."
            )
    for part, wanted in (("transformer", "WanAnimateTransformer3DModel"), ("vae", "AutoencoderKLWan")):
        found = parts[part].get("_class_name", wanted)
        if found != wanted:
            raise InputError(
                f"the {part} in {folder} is {found}, but Wan 2.2 Animate has {wanted}: give a download of "
                "Wan-AI/Wan2.2-Animate-14B-Diffusers."
            )
    channels = parts["vae"].get("z_dim", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        raise InputError(
            f"the vae in {folder} has {channels} latent channels, but Wan 2.2 Animate needs the Wan 2.1 VAE with "
            f"{LATENT_CHANNELS}: take the one of Wan-AI/Wan2.2-Animate-14B-Diffusers."
        )
    for part, key, width in (("text_encoder", "d_model", "text_dim"), ("image_encoder", "hidden_size", "image_dim")):
        made, taken = parts.get(part, {}).get(key), parts["transformer"].get(width)
        if made is not None and taken is not None and made != taken:
            raise InputError(
                f"the {part} in {folder} makes embeddings {made} wide, but its transformer takes {taken}: the folder "
                "mixes two models, take all parts from Wan-AI/Wan2.2-Animate-14B-Diffusers."
            )
    return parts


def check_parts(folder: str | os.PathLike, text: bool) -> None:
    """Raises InputError unless a diffusers folder has what :func:`encode_prompt` (if ``text``) and
    :func:`encode_image` read beside the configuration."""
    folder = Path(folder)
    if text:
        check_text_encoder(folder)
        _check_part(folder, "tokenizer")
    if (folder / "image_encoder" / "config.json").is_file():
        _check_part(folder, "image_processor")


def check_text_encoder(folder: Path) -> None:
    """Raises InputError where there is none."""
    if not (folder / "text_encoder" / "config.json").is_file():
        raise InputError(
            f"the model folder {folder} has no text_encoder: give one that has, or saved prompts alone (--prompt-file) "
            "in place of texts."
        )


def _check_part(folder: Path, part: str) -> None:
    if not (folder / part).is_dir():
        raise InputError(
            f"the model folder {folder} has no folder {part}: take all parts from Wan-AI/Wan2.2-Animate-14B-Diffusers."
        )


def check_embedding(embedding: torch.Tensor | None, width: int | None, what: str, remedy: str) -> None:
    """Raises InputError unless ``[1, tokens, width]`` (``width`` None: any) or None."""
    if embedding is None:
        return
    shape = list(embedding.shape)
    if len(shape) != 3 or 0 in shape or shape[0] != 1 or width not in (None, shape[2]):
        raise InputError(f"{what} is of shape {shape} where [1, tokens, {width or 'channels'}] is needed: {remedy}.")
    check_finite(embedding, what, remedy)


_HERE: dict[str, Any] = {"local_files_only": True}


@contextmanager
def _loading(folder: Path, part: str) -> Iterator[Path]:
    # absolute, and there: to the libraries a name of one or two parts that is no folder is a repository of a model hub
    path = (folder / part).absolute()
    _check_part(folder, part)
    try:
        yield path
    except torch.cuda.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(f"the {part} in {folder} cannot be loaded ({reason}): download it again.") from error


def load(
    folder: str | os.PathLike,
    shift: float = 5.0,
    dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
    offload: str = "off",
    needed: float = 0.0,
    linears: Linears = AS_LOADED,
) -> tuple[WanAnimateTransformer3DModel, VideoVAE, UniPCMultistepScheduler]:
    """(transformer, VAE port, scheduler) from a diffusers folder; ``offload`` and ``needed`` as in
    :func:`.placement.place`; ``linears`` as in :mod:`.fp8_linears`. With ``"cuda"`` and several cards the VAE goes to
    another where that has more room, and ``needed``. Raises InputError."""
    transformer = load_transformer(folder, dtype)
    if linears == FP8:
        quantize_linears(transformer, device)
    place(transformer, device, needed, offload)
    prepare(transformer)
    vae_device = str(card_with_room(device, "The VAE", int(needed)))
    return transformer, load_vae(folder, vae_device, beside=vae_device != device), flow_scheduler("unipc", shift)


def load_transformer(folder: str | os.PathLike, dtype: torch.dtype) -> WanAnimateTransformer3DModel:
    """On the CPU, its blocks fused where they can be. Raises InputError."""
    check_folder(folder)
    from diffusers import WanAnimateTransformer3DModel

    with _loading(Path(folder), "transformer") as path:
        transformer = WanAnimateTransformer3DModel.from_pretrained(path, torch_dtype=dtype, **_HERE).eval()
    fuse(transformer)
    return transformer


def load_vae(folder: str | os.PathLike, device: str = "cpu", beside: bool = False) -> VideoVAE:
    """``beside``: as :class:`..chain.latents.CachedVAE`. Raises InputError."""
    check_folder(folder)
    from diffusers import AutoencoderKLWan

    with _loading(Path(folder), "vae") as path:
        vae = AutoencoderKLWan.from_pretrained(path, torch_dtype=torch.float32, **_HERE)
    return CachedVAE(DiffusersVAE(vae.to(device).eval()), LatentCache(), beside=beside)


def flow_scheduler(solver: str, shift: float) -> SchedulerMixin:
    """``"unipc"`` or ``"dpm++"``, upstream's two."""
    from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

    kind = {"unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}[solver]
    return kind(prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift)


@torch.no_grad()
def encode_prompt(folder: str | os.PathLike, text: str, device: str = "cpu", tokens: int = 512) -> torch.Tensor:
    """umT5 embedding ``[1, tokens, 4096]``, 0 past the text as in training. Nothing stays loaded. Raises InputError."""
    folder = Path(folder)
    check_text_encoder(folder)
    from transformers import AutoTokenizer, UMT5EncoderModel

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with _loading(folder, "tokenizer") as path:
        tokenizer = AutoTokenizer.from_pretrained(path, **_HERE)
    with _loading(folder, "text_encoder") as path:
        encoder = UMT5EncoderModel.from_pretrained(path, dtype=dtype, **_HERE)
    encoder = encoder.to(device).eval()
    given = tokenizer(
        [" ".join(text.split())], padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
    )
    embedding = encoder(given.input_ids.to(device), given.attention_mask.to(device)).last_hidden_state
    mask = rearrange(given.attention_mask, "1 tokens -> 1 tokens 1")
    return (embedding * mask.to(embedding)).cpu()


@torch.no_grad()
def encode_image(folder: str | os.PathLike, image: torch.Tensor, device: str = "cpu") -> torch.Tensor | None:
    """CLIP ViT-H features ``[1, 257, 1280]`` (last but one layer) of RGB ``[H, W, 3]`` in 0..1; None without an
    encoder.
    """
    folder = Path(folder)
    if not (folder / "image_encoder" / "config.json").is_file():
        return None
    from transformers import AutoImageProcessor, CLIPVisionModel

    with _loading(folder, "image_processor") as path:
        processor = AutoImageProcessor.from_pretrained(path, **_HERE)
    with _loading(folder, "image_encoder") as path:
        encoder = CLIPVisionModel.from_pretrained(path, **_HERE)
    encoder = encoder.to(device).eval()
    picture = (image * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).numpy()
    pixels = processor(images=picture, return_tensors="pt").to(device)
    return encoder(**pixels, output_hidden_states=True).hidden_states[-2].cpu()
