"""Several pictures of the character: a latent frame for each, pose and face where they belong."""

import copy

import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser, load
from wan_animate.chain.conditioning import build_conditioning, later
from wan_animate.chain.control_sources import Controls
from wan_animate.chain.generate import generate
from wan_animate.chain.job import MOST_PICTURES, AnimateJob, check_picture_count
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.segments import plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.record.clip_record import record_of
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainDenoiser, PlainVAE
from ..support.moving_pose import moving_pose, shift_of

WIDTH, HEIGHT, LENGTH, COUNT = 48, 32, 9, 21


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def frames(seed: int, *shape: int) -> TensorSource:
    return TensorSource(torch.rand(COUNT, *shape, generator=torch.Generator().manual_seed(seed)), 24)


def job(more: int = 0, mode: str = "animate", **settings) -> AnimateJob:
    scene = {}
    if mode == "replace":
        scene = {"background": frames(3, HEIGHT, WIDTH, 3), "character_mask": frames(4, HEIGHT, WIDTH)}
    controls = Controls(frames(1, HEIGHT, WIDTH, 3), frames(2, 16, 16, 3), **scene)
    pictures = tuple(picture(10 + index) for index in range(more))
    return AnimateJob(picture(9), controls, mode, LENGTH, 5, 7, color="off", more_references=pictures, **settings)


def conditioning(work: AnimateJob, index: int, cached: bool = True):
    vae = CachedVAE(PlainVAE(), LatentCache() if cached else None)
    previous = torch.rand(5, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(8)) if index else None
    segment = work.plan().segments[index]
    return build_conditioning(segment, work.controls, vae, vae.encode(work.reference_pixels()), previous, 16)


def test_each_further_picture_fills_a_latent_frame():
    work = job(2)
    pixels = work.reference_pixels()
    assert pixels.shape == (9, HEIGHT, WIDTH, 3) and work.reference_latents == 3
    for place, one in ((0, picture(9)), (1, picture(10)), (4, picture(10)), (5, picture(11)), (8, picture(11))):
        assert torch.equal(pixels[place], one)
    assert torch.equal(job().reference_pixels(), picture(9)[None])
    other_shape = AnimateJob(picture(9), work.controls, more_references=(picture(1, 32, 16),))
    assert not other_shape.reference_pixels()[1, :, :8].any(), "fitted onto black"


@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("index", [0, 1])
def test_the_rest_of_the_conditioning_stays_what_it_is_with_one(mode, index):
    one, three = conditioning(job(0, mode), index), conditioning(job(2, mode), index)
    assert one.reference_latents == 1 and three.reference_latents == 3
    assert torch.equal(three.concat_latent[:, :, :3], PlainVAE().encode(job(2).reference_pixels()))
    assert torch.equal(three.concat_latent[:, :, 3:], one.concat_latent[:, :, 1:])
    assert torch.equal(three.unknown_mask[:, :, 3:], one.unknown_mask[:, :, 1:])
    assert not three.unknown_mask[:, :, :3].any() and not one.unknown_mask[:, :, :1].any()
    assert torch.equal(three.pose_latent[:, :, 2:], one.pose_latent)
    black = PlainVAE().encode(torch.zeros(1, HEIGHT, WIDTH, 3))
    assert torch.equal(three.pose_latent[:, :, :2], black.expand(-1, -1, 2, -1, -1))
    assert three.face.shape[2] == LENGTH + 8 and torch.equal(three.face[:, :, 8:], one.face)
    assert three.face[:, :, :8].eq(one.face[:, :, :1]).all()
    assert three.noise_shape == (1, 16, 6, HEIGHT // 8, WIDTH // 8)
    uncached = conditioning(job(2, mode), index, cached=False)
    assert torch.equal(uncached.pose_latent, three.pose_latent)


def test_clip_of_several_segments(tmp_path):
    """Every segment has all pictures in front, and what is decoded is without them."""
    work, denoiser = job(2), PlainDenoiser()
    decoded, seen = [], []

    class VAE(PlainVAE):
        def decode(self, latent):
            decoded.append(latent.shape[2])
            return super().decode(latent)

    result = generate(work, denoiser, VAE(), SegmentStore(tmp_path / "job"), seen.append)
    assert len(result) == COUNT and len(work.plan()) == len(denoiser.told) > 2
    assert {told.concat_latent.shape[2] for told in denoiser.told} == {6} and set(decoded) == {3}
    assert {progress.reference_latents for progress in seen if progress.stage == "denoise"} == {3}
    first = generate(job(), PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "one")).read(0, COUNT)
    assert (first != result.read(0, COUNT)).any()


@pytest.mark.parametrize("more", [0, 2])
def test_shared_noise_is_that_of_the_frames(more):
    work = job(more, options=ClipOptions(share_noise=True))
    count = 1 + more
    shape = (1, 16, count + 3, 4, 6)
    first, second = (work.noise(segment, shape) for segment in work.plan().segments[:2])
    assert torch.equal(second[:, :, count : count + 2], first[:, :, -2:]), "5 previous frames are 2 latent frames"
    assert not (second[:, :, :count] == first[:, :, :count]).any() and (second[:, :, -1] != first[:, :, -1]).any()


def test_key_and_record_know_every_picture():
    keys = [job(more).key() for more in range(4)]
    swapped = job(2)
    swapped.more_references = swapped.more_references[::-1]
    assert len({*keys, swapped.key(), *job(2).segment_keys(), *job().segment_keys()}) == 5 + 2 * len(job().plan())
    inputs = record_of(job(2), "shell", {}).inputs
    assert {"reference image", "reference image 2", "reference image 3"} <= inputs.keys()
    assert "more_references" not in record_of(job(2), "shell", {}).settings
    assert "reference image 2" not in record_of(job(), "shell", {}).inputs


def test_pictures_that_cannot_be_taken_are_refused_before_any_work():
    check_picture_count(MOST_PICTURES)
    with pytest.raises(InputError, match="reference image is 81 pictures, but each makes .* 5 at most are taken: give"):
        job(80).check()
    damaged = job(1)
    damaged.more_references[0][0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="the reference image 2 holds"):
        damaged.check()
    with pytest.raises(InputError, match="the reference image 2 must be one RGB picture, but its shape is"):
        AnimateJob(picture(9), job().controls, more_references=(torch.zeros(2, 4, 4, 3),)).check()


@pytest.fixture(scope="module")
def parts(small_models):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    return load(small_models.diffusers, dtype=torch.float32)


def test_every_frame_keeps_its_face_feature(parts):
    """With blank faces in front the first latent frame would show the blank one: the encoder looks back 8 frames."""
    transformer = parts[0]
    size = transformer.config.motion_encoder_size
    face = torch.rand(1, 3, LENGTH, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def features(face):
        motion = transformer.motion_encoder(face[0].transpose(0, 1))
        return transformer.face_encoder(motion[None])

    with torch.no_grad():
        one, three = features(face), features(later(face, 2))
        blank = features(torch.cat((torch.full_like(face[:, :, :8], -1.0), face), dim=2))
    size = one.abs().mean()
    assert torch.allclose(three[:, 2:], one, atol=1e-5)
    assert (blank[:, 2] - one[:, 0]).abs().mean() > 0.05 * size


@pytest.mark.parametrize("more", [2])
def test_the_pose_arrives_at_its_frames(parts, small_models, more):
    """On small weights that show the pose, in diffusers' transformer."""
    from demo.small_models import prompt_embedding

    transformer, vae, scheduler = parts
    pose, pictures = moving_pose(), torch.full((1 + more, *moving_pose().shape[1:]), 0.5)
    segment = plan_segments(len(pose), len(pose), 1).segments[0]

    def made(references, faces):
        controls = Controls(TensorSource(pose), TensorSource(faces) if faces is not None else None)
        work = AnimateJob(pictures[0], controls, segment_length=len(pose), more_references=tuple(references))
        given = build_conditioning(segment, controls, vae, vae.encode(work.reference_pixels()), face_size=16)
        denoiser = DiffusersDenoiser(transformer, copy.deepcopy(scheduler), prompt_embedding()[:, :16], steps=2)
        latent = denoiser.denoise(given, work.noise(segment, given.noise_shape), lambda *_: None)
        return vae.decode(latent[:, :, given.reference_latents :])

    faces = torch.rand(len(pose), 16, 16, 3, generator=torch.Generator().manual_seed(5))
    assert shift_of(made([], None), pose) == shift_of(made(pictures[1:], None), pose) == 0
    assert shift_of(made(pictures[1:], faces), pose) == 0
