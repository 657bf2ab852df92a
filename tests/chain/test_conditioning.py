"""Conditioning: masks by hand-written rule, and latents against diffusers' own pipeline."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wan_animate.chain.conditioning import build_conditioning, face_pixels, unknown_mask
from wan_animate.chain.control_sources import Controls
from wan_animate.chain.latents import CachedVAE
from wan_animate.chain.segments import plan_segments
from wan_animate.video.frames import TensorSource, reflected_index

LENGTH, WIDTH, HEIGHT, FRAMES = 21, 64, 48, 40


def cells(small: torch.Tensor) -> torch.Tensor:
    """A mask in whole latent cells, of which every way of scaling it down makes the same."""
    return small.float().repeat_interleave(8, 1).repeat_interleave(8, 2)


@pytest.fixture(scope="module")
def clips():
    generator = torch.Generator().manual_seed(0)
    return {
        "pose": torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=generator),
        "background": torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=generator),
        "mask": cells(torch.rand(FRAMES, HEIGHT // 8, WIDTH // 8, generator=generator) > 0.5),
        "face": torch.rand(FRAMES, 16, 16, 3, generator=generator),
        "reference": torch.rand(1, HEIGHT, WIDTH, 3, generator=generator),
        "before": torch.rand(LENGTH, HEIGHT, WIDTH, 3, generator=generator),
    }


def test_animate_mask_knows_the_previous_frames_only():
    for previous_frames in (1, 5):
        first, second = plan_segments(FRAMES, LENGTH, previous_frames).segments[:2]
        assert unknown_mask(first, 3, 4).eq(1).all()
        mask = unknown_mask(second, 3, 4)
        assert mask.shape == (1, 4, 6, 3, 4)
        known = (previous_frames + 3) // 4
        assert mask[:, :, :known].eq(0).all() and mask[:, :, known:].eq(1).all()


@pytest.mark.parametrize("previous_frames", [1, 5])
@pytest.mark.parametrize("index", [0, 1])
def test_replace_mask_follows_the_vaes_frame_groups(previous_frames, index):
    """Latent frame 0 is frame 0 four times; channel k of latent frame j is frame 4j + k - 3."""
    segment = plan_segments(FRAMES, LENGTH, previous_frames).segments[index]
    character = (torch.rand(LENGTH, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    mask = unknown_mask(segment, HEIGHT // 8, WIDTH // 8, character)
    for latent in range(segment.latent_frames):
        for channel in range(4):
            frame = max(4 * latent + channel - 3, 0)
            wanted = (
                torch.zeros(HEIGHT // 8, WIDTH // 8) if frame < segment.previous_frames else character[frame, ::8, ::8]
            )
            assert torch.equal(mask[0, channel, latent], wanted), (latent, channel)


@pytest.fixture(scope="module")
def diffusers_vae():
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("previous_frames", [1, 5])
def test_equals_what_diffusers_prepares(clips, diffusers_vae, mode, previous_frames):
    """The latents and masks of ``WanAnimatePipeline``'s own prepare methods, bit for bit, on every segment."""
    from diffusers import WanAnimatePipeline

    from wan_animate.backends.diffusers import DiffusersVAE

    class Preparing(WanAnimatePipeline):
        """The pipeline with only the parts that its prepare methods use."""

        def __init__(self):
            self.__dict__.update(vae=diffusers_vae, vae_scale_factor_temporal=4, vae_scale_factor_spatial=8)

    pipeline, port = Preparing(), DiffusersVAE(diffusers_vae)
    replace = mode == "replace"
    names = ("pose", "face", "background", "mask") if replace else ("pose", "face")
    controls = Controls(*(TensorSource(clips[name]) for name in names))

    def video(frames):
        return (frames * 2 - 1).movedim(-1, 0)[None]

    for segment in plan_segments(FRAMES, LENGTH, previous_frames):
        tail = clips["before"][-previous_frames:] if segment.index else None
        covered = [reflected_index(i, FRAMES) for i in range(segment.start, segment.stop)]
        with torch.no_grad():
            reference = pipeline.prepare_reference_image_latents(video(clips["reference"])[:, :, 0], 1, device="cpu")
            given = pipeline.prepare_prev_segment_cond_latents(
                None if tail is None else video(tail),
                video(clips["background"][covered]) if replace else None,
                clips["mask"][covered][None, None] if replace else None,
                segment_frame_length=LENGTH, start_frame=segment.start, height=HEIGHT, width=WIDTH,
                prev_segment_cond_frames=previous_frames, task=mode, dtype=torch.float32, device="cpu",
            )  # fmt: skip
            pose = pipeline.prepare_pose_latents(video(clips["pose"][covered]), device="cpu")
        theirs = torch.cat((reference, given), dim=2)
        ours = build_conditioning(
            segment, controls, CachedVAE(port), port.encode(clips["reference"]), previous=tail, face_size=16
        )
        assert torch.equal(ours.known_mask, theirs[:, :4])
        assert torch.equal(ours.concat_latent, theirs[:, 4:])
        assert torch.equal(ours.pose_latent, pose)
        assert torch.equal(ours.face, video(clips["face"][covered]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [16, 8])
def test_face_pixels_are_the_crops_from_minus_one_to_one(dtype, size):
    crops = np.random.default_rng(0).permutation(np.arange(9 * 16 * 16 * 3) % 256).astype(np.uint8)
    crops = crops.reshape(9, 16, 16, 3)
    pixels = torch.from_numpy(crops).permute(3, 0, 1, 2).float() / 255.0
    if size != 16:
        pixels = F.interpolate(pixels, size=(size, size), mode="area")
    expected = (pixels * 2.0 - 1.0).to(dtype)[None]
    made = face_pixels(crops, size, dtype)
    assert made.dtype == dtype and torch.equal(made, expected)
    strided = np.ascontiguousarray(crops[:, :, ::-1])[:, :, ::-1]
    assert torch.equal(face_pixels(strided, size, dtype), expected)
    with torch.inference_mode():
        assert torch.equal(face_pixels(crops, size, dtype), expected)
