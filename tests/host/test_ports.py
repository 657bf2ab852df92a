"""Ours against the host's own nodes: same inputs, same bits."""

import subprocess
import sys

import pytest
import torch

from demo.importing import ROOT

from ..support.mask_rows import host_layout, in_layout
from ..support.moving_pose import moving_pose, shift_of

LENGTH, WIDTH, HEIGHT, FRAMES = 17, 96, 64, 40


@pytest.fixture(scope="module")
def clips():
    """Random frames in blocks of 16 pixels, which the small VAE keeps."""
    generator = torch.Generator().manual_seed(1)

    def blocks(frames, *channels):
        coarse = torch.rand(frames, HEIGHT // 16, WIDTH // 16, *channels, generator=generator)
        return coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)

    # of one value in every latent pixel: which of its 64 the host picks is another than upstream picks
    latents = torch.rand(FRAMES, HEIGHT // 8, WIDTH // 8, generator=generator) > 0.5
    return {
        "pose": blocks(FRAMES, 3) * (blocks(FRAMES) > 0.9)[..., None],
        "background": blocks(FRAMES, 3),
        "mask": latents.repeat_interleave(8, 1).repeat_interleave(8, 2).float(),
        "face": torch.rand(FRAMES, 512, 512, 3, generator=generator),
        "reference": blocks(1, 3),
        "before": blocks(LENGTH, 3),
    }


@pytest.fixture(scope="module")
def vae(comfy, small_models):
    import nodes

    return nodes.VAELoader().load_vae(small_models.vae.name)[0]


@pytest.fixture(scope="module")
def prompt():
    return torch.randn(1, 512, 4096, generator=torch.Generator().manual_seed(2)) * 0.1


def by_host(vae, **given):
    """What WanAnimateToVideo makes of one segment: positive, negative, latent, and three counts."""
    from comfy_extras.nodes_wan import WanAnimateToVideo

    empty = [[torch.zeros(1, 1, 8), {}]]
    size = {"width": WIDTH, "height": HEIGHT, "length": LENGTH, "batch_size": 1}
    return WanAnimateToVideo.execute(positive=empty, negative=empty, vae=vae, **size, **given).args


@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("previous_frames", [1, 5])
def test_conditioning_equals_wan_animate_to_video(pack_module, vae, clips, mode, previous_frames):
    """Every value that WanAnimateToVideo sets, on first and following segments. If the installed host places the
    character mask on other frames than upstream (see ``support/mask_rows.py``), ours is moved first."""
    frames, segments = pack_module("wan_animate.video.frames"), pack_module("wan_animate.chain.segments")
    build = pack_module("wan_animate.chain.conditioning").build_conditioning
    vae_port = pack_module("nodes.host.ports").cached_vae(vae)
    plan = segments.plan_segments(FRAMES, LENGTH, previous_frames)
    padded = [frames.reflected_index(i, FRAMES) for i in range(plan.segments[-1].stop)]
    replace = mode == "replace"
    layout = host_layout(vae) if replace else "causal"  # without a mask the two are equal
    names = ("pose", "face", "background", "mask") if replace else ("pose", "face")
    controls = pack_module("wan_animate.chain.control_sources").Controls(
        *(frames.TensorSource(clips[name]) for name in names)
    )
    offset, before = 0, None
    for segment in plan:
        scene = (
            {"background_video": clips["background"][padded], "character_mask": clips["mask"][padded]}
            if replace
            else {}
        )
        theirs = by_host(
            vae,
            continue_motion_max_frames=previous_frames,
            video_frame_offset=offset,
            reference_image=clips["reference"],
            face_video=clips["face"][padded],
            pose_video=clips["pose"][padded],
            continue_motion=before,
            **scene,
        )
        ours = build(
            segment,
            controls,
            vae_port,
            vae_port.encode(clips["reference"]),
            previous=None if before is None else before[-previous_frames:],
        )
        positive, negative, latent, trim_latent, trim_image, offset = theirs
        values = positive[0][1]
        assert torch.equal(ours.concat_latent, values["concat_latent_image"])
        assert torch.equal(ours.unknown_mask[:, :, :1], values["concat_mask"][:, :, :1])
        made = in_layout(ours.unknown_mask[:, :, 1:], layout, segment)
        assert torch.equal(made, values["concat_mask"][:, :, 1:])
        assert torch.equal(ours.pose_latent, values["pose_video_latent"])
        assert torch.equal(ours.face, values["face_video_pixels"])
        assert torch.equal(torch.full_like(ours.face, -1.0), negative[0][1]["face_video_pixels"])
        assert ours.noise_shape == tuple(latent["samples"].shape)
        assert (trim_latent, trim_image, offset) == (1, segment.previous_frames, segment.stop)
        before = clips["before"]


@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_several_pictures_equal_wan_animate_to_video(pack_module, vae, clips, mode):
    """The latents, mask and shape of the node with the same batch, bit for bit; pose and face come later than there."""
    frames = pack_module("wan_animate.video.frames")
    vae_port = pack_module("nodes.host.ports").cached_vae(vae)
    names = ("pose", "face", "background", "mask") if mode == "replace" else ("pose", "face")
    controls = pack_module("wan_animate.chain.control_sources").Controls(
        *(frames.TensorSource(clips[name]) for name in names)
    )
    first, *more = clips["reference"][0], clips["background"][0], clips["before"][3]
    job = pack_module("wan_animate.chain.job").AnimateJob(first, controls, mode, LENGTH, more_references=tuple(more))
    job.check()
    segment = job.plan().segments[0]
    scene = {"background_video": clips["background"], "character_mask": clips["mask"]} if mode == "replace" else {}
    positive, _, latent, trim_latent, *_ = by_host(
        vae,
        continue_motion_max_frames=1,
        video_frame_offset=0,
        reference_image=torch.stack([first, *[more[0]] * 4, *[more[1]] * 4]),
        face_video=clips["face"],
        pose_video=clips["pose"],
        **scene,
    )
    values = positive[0][1]
    build = pack_module("wan_animate.chain.conditioning").build_conditioning
    ours = build(segment, controls, vae_port, vae_port.encode(job.reference_pixels()))
    assert trim_latent == ours.reference_latents == job.reference_latents == 3
    assert ours.noise_shape == tuple(latent["samples"].shape)
    assert torch.equal(ours.concat_latent, values["concat_latent_image"])
    assert torch.equal(ours.unknown_mask[:, :, :3], values["concat_mask"][:, :, :3])
    made = in_layout(ours.unknown_mask[:, :, 3:], host_layout(vae) if mode == "replace" else "causal", segment)
    assert torch.equal(made, values["concat_mask"][:, :, 3:])
    assert torch.equal(ours.pose_latent[:, :, 2:], values["pose_video_latent"])
    assert torch.equal(ours.face[:, :, 8:], values["face_video_pixels"])


@pytest.mark.parametrize("count", [2])
def test_the_pose_arrives_at_its_frames_where_the_hosts_graph_has_it_early(
    pack_module, pack_nodes, model, vae, prompt, count
):
    """On weights that show the pose: the node with a batch of pictures, and the host's nodes with the same batch."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3
    from comfy_extras.nodes_wan import TrimVideoLatent, WanAnimateToVideo

    import nodes

    pose = moving_pose()
    length, height, width, _ = pose.shape
    positive = [[prompt, {}]]
    sampling = dict(steps=2, cfg=1.0, sampler_name="euler", scheduler="simple")
    batch = torch.full((count, height, width, 3), 0.5)
    given = dict(positive=positive, negative=positive, vae=vae)
    ours = pack_nodes["WanAnimateKitAnimate"].execute(
        model=model, **given, reference_image=batch, pose=pose, mode="animate", seed=3, shift=5.0,
        segment_length=length, guidance_frames=1, fps=0.0, color="off", **sampling,
    )  # fmt: skip
    ours = torch.from_numpy(ours.args[1].read(0, length)).float() / 255
    assert shift_of(ours, pose) == 0

    *conditioned, trim, _, _ = WanAnimateToVideo.execute(
        **given,
        width=width,
        height=height,
        length=length,
        batch_size=1,
        continue_motion_max_frames=1,
        video_frame_offset=0,
        reference_image=torch.full((4 * count - 3, height, width, 3), 0.5),
        pose_video=pose,
    ).args
    shifted = ModelSamplingSD3().patch(pack_module("nodes.host.accelerate").with_face_motion(model), 5.0)[0]
    sampled = nodes.KSampler().sample(shifted, 3, *sampling.values(), *conditioned)[0]
    theirs = nodes.VAEDecode().decode(vae, TrimVideoLatent.execute(sampled, trim).args[0])[0]
    early = shift_of(theirs, pose)
    # early in 0.33.0; a later ComfyUI may move pose and face as well
    assert early in (-4 * (count - 1), 0)


def test_a_preview_is_of_the_middle_of_the_clip(pack_module, model):
    progress = pack_module("wan_animate.chain.generate").Progress
    shown = pack_module("nodes.host.sampling").SamplingProgress(
        model, pack_module("wan_animate.chain.clock").RunClock()
    )
    latent = torch.arange(8.0).reshape(1, 1, 8, 1, 1).expand(1, 16, 8, 4, 4)

    class Previewer:
        def decode_latent_to_preview_image(self, _, given):
            assert given.shape[2] == 1
            return given[0, 0, 0, 0, 0].item()

    shown.previewer = Previewer()
    at = [shown._preview(progress(0, 1, "denoise", 0, 1, latent, reference_latents=count)) for count in (1, 3)]
    assert at == [4, 5], "of frames 1 to 7, and of 3 to 7"


def test_too_many_pictures_are_refused(pack_nodes, model, vae, prompt, clips):
    with pytest.raises(Exception, match="the reference image is 40 pictures, but .* 5 at most are taken"):
        pack_nodes["WanAnimateKitAnimate"].execute(
            model=model, positive=[[prompt, {}]], negative=[[prompt, {}]], vae=vae,
            reference_image=clips["background"], pose=clips["pose"][:5], mode="animate", seed=1, steps=1, cfg=1.0,
            sampler_name="euler", scheduler="simple", shift=5.0, segment_length=5, guidance_frames=1, fps=0.0,
        )  # fmt: skip


def test_chain_equals_the_hosts_own_graph(pack_module, pack_nodes, model, vae, prompt, clips):
    """Two segments with cfg 2 against WanAnimateToVideo -> KSampler -> TrimVideoLatent -> VAE Decode, bit for bit. The
    host's side has the face-motion patch too, or it would take minutes on a CPU."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3
    from comfy_extras.nodes_wan import TrimVideoLatent, WanAnimateToVideo

    import nodes

    length, count, seed = 5, 9, 7
    positive, negative = [[prompt, {}]], [[prompt * 0.5, {}]]
    clip = {"face": clips["face"][:count], "pose": clips["pose"][:count]}
    sampling = dict(steps=2, cfg=2.0, sampler_name="euler", scheduler="simple")
    given = dict(positive=positive, negative=negative, vae=vae, reference_image=clips["reference"])
    settings = dict(mode="animate", seed=seed, shift=5.0, segment_length=length, guidance_frames=1, fps=0.0)
    node = pack_nodes["WanAnimateKitAnimate"]
    ours = node.execute(model=model, **given, **clip, **sampling, **settings, color="off")
    assert len(ours.ui["images"]) == 1, "the boundaries alone: no colours were measured"
    ours = ours.args[1].read(0, count)
    corrected = node.execute(model=model, **given, **clip, **sampling, **settings)
    assert len(corrected.ui["images"]) == 2 and corrected.ui["text"][0].startswith("color: ")
    corrected = corrected.args[1].read(0, count)
    assert (corrected[:length] == ours[:length]).all(), "the first segment sets the colours"

    shifted = ModelSamplingSD3().patch(pack_module("nodes.host.accelerate").with_face_motion(model), 5.0)[0]

    def segment(index, before, offset):
        """(new frames, offset of the next) as the host's nodes make them."""
        *conditioned, trim, overlap, offset = WanAnimateToVideo.execute(
            **given,
            width=WIDTH,
            height=HEIGHT,
            length=length,
            batch_size=1,
            continue_motion_max_frames=1,
            video_frame_offset=offset,
            face_video=clip["face"],
            pose_video=clip["pose"],
            continue_motion=before,
        ).args
        sampled = nodes.KSampler().sample(shifted, seed + index, *sampling.values(), *conditioned)[0]
        decoded = nodes.VAEDecode().decode(vae, TrimVideoLatent.execute(sampled, trim).args[0])[0]
        return decoded[overlap:], offset

    def as_bytes(frames):
        return (frames * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).numpy()

    first, offset = segment(0, None, 0)
    second, _ = segment(1, first, offset)
    theirs = as_bytes(torch.cat((first, second)))
    assert len(theirs) == count and theirs.std() > 1, "the made-up model should make a picture, not a flat field"
    assert (ours == theirs).all()
    other, _ = segment(1, 1 - first, offset)
    assert (ours[length:] != as_bytes(other)).any(), "another last frame should be seen in the second segment"


def test_sound_that_no_clip_can_have_is_refused_before_anything_is_made(pack_nodes, model, vae, prompt, clips):
    """The clip is written segment by segment."""
    from pathlib import Path

    import folder_paths

    unfinished = Path(folder_paths.get_output_directory()) / "wan_animate_kit" / "jobs"
    before = set(unfinished.glob("*/segment_*.mkv"))
    with pytest.raises(Exception, match="audio must have a waveform and a sample_rate"):
        pack_nodes["WanAnimateKitAnimate"].execute(
            model=model,
            positive=[[prompt, {}]],
            negative=[[prompt, {}]],
            vae=vae,
            reference_image=clips["reference"],
            pose=clips["pose"][:5],
            mode="animate",
            seed=1,
            steps=1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            shift=5.0,
            segment_length=5,
            guidance_frames=1,
            fps=0.0,
            audio={"waveform": torch.zeros(1, 1, 8)},
        )
    assert set(unfinished.glob("*/segment_*.mkv")) == before


HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from demo import importing
importing.install()
from wan_animate.chain.store import SegmentStore
with SegmentStore(sys.argv[2]):
    print("working", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def two_processes(pack_module, pack_nodes, model, vae, prompt, clips, monkeypatch):
    """(the node's run of one job, start another process that works on that job)"""
    jobs, keys, running = pack_module("nodes.host.jobs"), [], []
    monkeypatch.setattr(jobs, "model_signature", lambda *_: "one job")
    unfinished = jobs.job_folder
    monkeypatch.setattr(jobs, "job_folder", lambda key: keys.append(key) or unfinished(key))

    def make():
        return pack_nodes["WanAnimateKitAnimate"].execute(
            model=model, positive=[[prompt, {}]], negative=[[prompt, {}]], vae=vae,
            reference_image=clips["reference"], pose=clips["pose"][:5], mode="animate", seed=1, steps=1, cfg=1.0,
            sampler_name="euler", scheduler="simple", shift=5.0, segment_length=5, guidance_frames=1, fps=0.0,
        )  # fmt: skip

    def start():
        command = [sys.executable, "-c", HOLDER, str(ROOT), str(unfinished(keys[0]))]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout.readline() == "working\n"
        return running[-1]

    yield make, start
    for process in running:
        process.kill()
        process.communicate()


def test_the_node_waits_for_another_process_and_finds_its_clip(two_processes, monkeypatch, caplog):
    import threading
    import time

    import comfy.model_management as management
    import comfy.sample

    make, start = two_processes
    first = make().args[1].read(0, 5)
    monkeypatch.setattr(comfy.sample, "sample", None)  # nothing is sampled again
    other = start()
    timer = threading.Timer(1.0, lambda: (other.stdin.write("\n"), other.stdin.flush()))
    timer.start()
    began = time.monotonic()
    video, frames, count = make().args
    assert time.monotonic() - began > 0.8 and other.wait(timeout=60) == 0
    assert (frames.read(0, 5) == first).all() and count == 5 and video.get_duration() > 0
    assert caplog.text.count("another process is making this clip already") == 1

    start()
    timer = threading.Timer(0.5, management.interrupt_current_processing)
    timer.start()
    with pytest.raises(management.InterruptProcessingException):
        make()
    timer.join()


def test_another_models_file_is_refused(pack_module, small_models, comfy):
    """Without its face parts the file is Wan image-to-video."""
    import comfy.sd
    import comfy.utils

    from demo.small_models import TRANSFORMER_NAME

    weights = comfy.utils.load_torch_file(str(small_models.models / "diffusion_models" / TRANSFORMER_NAME))
    parts = ("face_", "motion_encoder.", "pose_patch_embedding.")
    other = comfy.sd.load_diffusion_model_state_dict({k: v for k, v in weights.items() if not k.startswith(parts)})
    with pytest.raises(Exception, match="model input holds Wan 2.1 I2V, but this node needs Wan 2.2 Animate"):
        pack_module("nodes.host.ports").check_model(other)
