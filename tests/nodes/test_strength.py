"""Pose and Face Strength on a running server: before ComfyUI's own sampler and before Animate Character."""

import io

import numpy as np
import pytest

from demo import graphs
from demo.server import PromptRejected
from demo.small_models import PROMPT_NAME

KIT = graphs.KIT
WIDTH, HEIGHT, LENGTH = 96, 64, 5


@pytest.fixture(scope="module")
def driver(host_server, driving):
    video, image, _ = driving
    return host_server.upload(video), host_server.upload(image)


class Drawn(dict):
    """A graph whose pose and face are pictures of the driving video: what they show is not looked at."""

    def __init__(self, small_models, driver):
        video, image = driver
        self.model = self.link("UNETLoader", unet_name=small_models.transformer.name, weight_dtype="default")
        size = dict(width=WIDTH, height=HEIGHT, upscale_method="area", crop="disabled")
        loaded = self.link(f"{KIT}LoadVideo", file=video, fps=30, limit=LENGTH)
        frames = self.link(f"{KIT}FramesToImage", frames=loaded, start=0, limit=0)
        self.controls = {
            "pose": self.link("ImageScale", image=frames, **size),
            "face": self.link("ImageScale", image=frames, **size | {"width": 512, "height": 512}),
        }
        prompt = self.link(f"{KIT}LoadPrompt", file=PROMPT_NAME)
        self.given = {
            "positive": prompt, "negative": prompt, "vae": self.link("VAELoader", vae_name=small_models.vae.name),
            "reference_image": self.link("ImageScale", image=self.link("LoadImage", image=image), **size),
        }  # fmt: skip

    def link(self, kind, slot=0, **inputs):
        return [graphs.add(self, kind, **inputs), slot]

    def strength(self, pose=1.0, face=1.0, start=0.0, end=1.0):
        spans = {f"{name}_start_percent": start for name in ("pose", "face")}
        spans |= {f"{name}_end_percent": end for name in ("pose", "face")}
        return self.link(f"{KIT}Strength", model=self.model, pose_strength=pose, face_strength=face, **spans)

    def host(self, model, **controls):
        """The pictures of the host's own nodes."""
        made = graphs.add(
            self, "WanAnimateToVideo", **self.given, width=WIDTH, height=HEIGHT, length=LENGTH, batch_size=1,
            continue_motion_max_frames=1, video_frame_offset=0, **controls,
        )  # fmt: skip
        latent = self.link(
            "KSampler", model=model, seed=1, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
            positive=[made, 0], negative=[made, 1], latent_image=[made, 2],
        )  # fmt: skip
        trimmed = self.link("TrimVideoLatent", samples=latent, trim_amount=[made, 3])
        return self.saved(self.link("VAEDecode", samples=trimmed, vae=self.given["vae"]))

    def ours(self, model):
        """The pictures of Animate Character."""
        made = graphs.add(
            self, f"{KIT}Animate", model=model, **self.given, **self.controls, mode="animate", seed=1, steps=1, cfg=1.0,
            sampler_name="euler", scheduler="simple", shift=5.0, segment_length=LENGTH, guidance_frames=1, fps=0.0,
        )  # fmt: skip
        return self.saved(self.link(f"{KIT}FramesToImage", frames=[made, 1], start=0, limit=0))

    def saved(self, images):
        return graphs.add(self, "SaveImage", images=images, filename_prefix="strength")


def pictures(server, graph, nodes):
    from PIL import Image

    entry = server.run(graph, timeout=500)
    return [
        np.stack([
            np.asarray(Image.open(io.BytesIO(server.fetch(item))).convert("RGB"))
            for item in entry["outputs"][node]["images"]
        ])
        for node in nodes
    ]  # fmt: skip


def test_before_the_hosts_own_nodes(host_server, small_models, driver):
    graph = Drawn(small_models, driver)
    pose = graph.controls["pose"]
    # one crop: the host's encoder takes seconds for each in every step
    face = graph.link("ImageFromBatch", image=graph.controls["face"], batch_index=0, length=1)
    plain, one, faceless, off, half = pictures(host_server, graph, [
        graph.host(graph.model, pose_video=pose, face_video=face),
        graph.host(graph.strength(), pose_video=pose, face_video=face),
        graph.host(graph.model, pose_video=pose),
        graph.host(graph.strength(face=0.0), pose_video=pose, face_video=face),
        graph.host(graph.strength(pose=0.3, face=0.0), pose_video=pose, face_video=face),
    ])  # fmt: skip
    assert len(plain) == LENGTH and np.array_equal(one, plain) and np.array_equal(off, faceless)
    assert not np.array_equal(off, plain) and not np.array_equal(half, off)


def test_before_animate_character(host_server, small_models, driver):
    """Each is a job of its own: nothing of another's is taken for it."""
    graph = Drawn(small_models, driver)
    plain, one, off, late = pictures(host_server, graph, [
        graph.ours(graph.model), graph.ours(graph.strength()), graph.ours(graph.strength(0.0, 0.0)),
        graph.ours(graph.strength(start=0.9)),
    ])  # fmt: skip
    assert np.array_equal(one, plain) and not np.array_equal(off, plain)
    assert np.array_equal(late, off), "the only step is at the beginning"


def test_a_part_that_is_none_is_refused_before_the_run(host_server, small_models, driver):
    graph = Drawn(small_models, driver)
    graph.host(graph.strength(start=0.5, end=0.5))
    with pytest.raises(PromptRejected, match="pose_start_percent to pose_end_percent is 0.5 to 0.5, but it must be"):
        host_server.run(graph)
