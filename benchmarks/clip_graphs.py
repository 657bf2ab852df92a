"""The two graphs of :mod:`benchmarks.clip`, and the clips they are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import graphs, small_models

if TYPE_CHECKING:
    import numpy as np

KIT = graphs.KIT
CLIP_VISION = "random_clip_vision_h.safetensors"


@dataclass
class Inputs:
    """The files of a job, as the server names them, and the size of its result."""

    image: str
    video: str
    track: str
    character: str
    frames: int
    area: tuple[int, int]
    size: tuple[int, int]
    model: str
    vae: str
    steps: int
    length: int


def long_clip(folder: Path, frames: int, out: Path, size: tuple[int, int] | None = None) -> tuple[Path, Path]:
    """The example played back and forth until it has ``frames`` frames: (video, track)."""
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.derived import ResizedSource
    from wan_animate.video.frames import FrameSource, reflected_index
    from wan_animate.video.source import VideoSource
    from wan_animate.video.write import write_video

    source: FrameSource = VideoSource(folder / "video.mp4", fps=0)
    track = PoseTrack.load(folder / "video_pose.npz")
    order = [reflected_index(at, min(len(source), len(track))) for at in range(frames)]
    if size is not None:
        source = ResizedSource(source, *size)

    class Played(FrameSource):
        kind, width, height, fps = "image", source.width, source.height, source.fps

        def __len__(self) -> int:
            return frames

        def _read(self, start: int, stop: int) -> np.ndarray:
            import numpy as np

            return np.concatenate([source.read(at, at + 1) for at in order[start:stop]])

        def fingerprint(self) -> str:
            return "played"

    video, pose = out / f"clip_{frames}.mp4", out / f"clip_{frames}_pose.npz"
    if not video.exists():
        write_video(video, Played(), fps=source.fps)
    PoseTrack(track.keypoints[order], track.width, track.height, fps=track.fps).save(pose)
    return video, pose


def our_graph(inputs: Inputs, seed: int) -> dict[str, Any]:
    """The shipped animate workflow with saved prompt and pose."""
    graph = graphs.load_graph("animate")
    graphs.leave_out_speed_lora(graph)
    graphs.set_inputs(graph, f"{KIT}LoadModel", model=inputs.model)
    graphs.set_inputs(graph, "VAELoader", vae_name=inputs.vae)
    graphs.use_saved_prompt(graph, small_models.PROMPT_NAME)
    if inputs.model == small_models.TRANSFORMER_NAME:
        graphs.leave_out_clip_vision(graph)
    else:
        graphs.set_inputs(graph, "CLIPVisionLoader", clip_name=CLIP_VISION)
    graphs.set_inputs(graph, "LoadImage", image=inputs.image)
    width, height = inputs.area
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file=inputs.video, fps=30, width=width, height=height, limit=0)
    graphs.use_track(graph, inputs.track, *inputs.size)
    graphs.use_reference_track(graph, inputs.character)
    settings = dict(steps=inputs.steps, seed=seed, sampler_name="euler", segment_length=inputs.length)
    graphs.set_inputs(graph, f"{KIT}Animate", **settings)
    return graph


def host_graph(inputs: Inputs, seed: int) -> dict[str, Any]:
    """The same clip by the host's own nodes, wired once a segment."""
    graph = our_graph(inputs, seed)
    animate = graphs.node_of(graph, f"{KIT}Animate")
    wired = graph[animate]["inputs"]
    pose, face = (
        [graphs.add(graph, f"{KIT}FramesToImage", frames=wired[name], start=0, limit=0), 0] for name in ("pose", "face")
    )
    loader = graphs.add(graph, "UNETLoader", unet_name=inputs.model, weight_dtype="default")
    model = [graphs.add(graph, "ModelSamplingSD3", model=[loader, 0], shift=5.0), 0]
    width, height = inputs.size
    before: list[object] | None = None
    offset: object = 0
    parts = []
    seen = {"clip_vision_output": wired["clip_vision_output"]} if "clip_vision_output" in wired else {}
    for number in range(segments(inputs)):
        more = seen | ({"continue_motion": before} if before else {})
        conditioned = graphs.add(
            graph, "WanAnimateToVideo", **{name: wired[name] for name in ("positive", "negative", "vae")},
            reference_image=wired["reference_image"], width=width, height=height, length=inputs.length, batch_size=1,
            continue_motion_max_frames=1, video_frame_offset=offset, face_video=face, pose_video=pose, **more,
        )  # fmt: skip
        sampled = graphs.add(
            graph, "KSampler", model=model, seed=seed + number, steps=inputs.steps, cfg=1.0, sampler_name="euler",
            scheduler="simple", positive=[conditioned, 0], negative=[conditioned, 1], latent_image=[conditioned, 2],
            denoise=1.0,
        )  # fmt: skip
        trimmed = graphs.add(graph, "TrimVideoLatent", samples=[sampled, 0], trim_amount=[conditioned, 3])
        part = [graphs.add(graph, "VAEDecode", samples=[trimmed, 0], vae=wired["vae"]), 0]
        if before:
            part = [
                graphs.add(graph, "ImageFromBatch", image=part, batch_index=[conditioned, 4], length=inputs.length), 0
            ]  # fmt: skip
        before, offset = part, [conditioned, 5]
        parts.append(part)
    images = parts[0]
    for part in parts[1:]:
        images = [graphs.add(graph, "ImageBatch", image1=images, image2=part), 0]
    video = graphs.add(graph, "CreateVideo", images=images, fps=30.0)
    codec = {"format": "auto", "codec": "auto", "format.codec": "auto"}
    graphs.add(graph, "SaveVideo", video=[video, 0], filename_prefix="video/host", **codec)
    for node in (animate, *graphs.nodes_of(graph, "SaveVideo")[:1]):
        del graph[node]
    graphs.drop_unused(graph, (f"{KIT}Accelerate", f"{KIT}LoadModel"))
    return graph


def segments(inputs: Inputs) -> int:
    return max(1, -(-(inputs.frames - 1) // (inputs.length - 1)))
