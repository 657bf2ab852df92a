"""The shipped workflows with small weights; networks of ComfyUI that have none are stood in for by ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo import graphs, small_frame_models
from demo import small_models as small

KIT = graphs.KIT
# what a stand-in leaves unused
NETWORKS = (
    "SDPoseKeypointExtractor", "SAM3_TrackToMask", "SAM3_VideoTrack", "CheckpointLoaderSimple", f"{KIT}FramesToMask",
    f"{KIT}FramesToImage", "VAEDecode", "KSampler", "VAEEncode", "TextEncodeQwenImageEditPlus", "FluxKontextImageScale",
    "CFGNorm", "ModelSamplingAuraFlow", "UNETLoader", "VAELoader", "CLIPLoader",
)  # fmt: skip


def make_small(graph: graphs.Graph, files: dict[str, str], detectors: str, **sizes: Any) -> None:
    """Point a workflow at small weights and small inputs.

    Args:
        files: names in the input folder: ``image``, ``video``, ``track``.
        detectors: a key of :data:`demo.small_models.DETECTION`.
        sizes: inputs of Load Driving Video.
    """
    for node in graphs.nodes_of(graph, f"{KIT}LoadMediaPipe"):
        graph[node] |= {"class_type": f"{KIT}LoadPoseDetector", "inputs": {"provider": "auto"}}
    stand_in_edit(graph)
    stand_in_pose(graph, detectors)
    graphs.use_small_sampling(graph)
    graphs.use_small_detectors(graph, detectors)
    graphs.set_inputs(graph, f"{KIT}LoadSegmenter", model=small.SEGMENTER_NAME)
    graphs.set_inputs(graph, "LoadImage", image=files["image"])
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file=files["video"], **sizes)
    graphs.set_inputs(graph, f"{KIT}LoadPoseTrack", file=files["track"])
    graphs.set_inputs(graph, f"{KIT}LoadPrompt", file=small.PROMPT_NAME)


def stand_in_edit(graph: graphs.Graph) -> None:
    """The edited pictures are the unedited ones."""
    edited = [node for node in graphs.nodes_of(graph, "VAEDecode") if graph[node]["inputs"]["samples"]]
    for node in edited:
        sampler = graph[node]["inputs"]["samples"][0]
        latent = graph[sampler]["inputs"]["latent_image"][0]
        scaled = graph[latent]["inputs"]["pixels"][0]
        graphs.relink(graph, node, {0: graph[scaled]["inputs"]["image"]})
    graphs.drop_unused(graph, NETWORKS)


def stand_in_pose(graph: graphs.Graph, detectors: str) -> None:
    """SDPose's keypoints are our detector's, SAM 3's mask is the outline of the pose in every frame."""
    for node in graphs.nodes_of(graph, "SDPoseKeypointExtractor"):
        load = graphs.node_of(graph, f"{KIT}LoadVideo")
        detector, pose = small.DETECTION[detectors]
        loaded = graphs.add(graph, f"{KIT}LoadPoseDetector", detector=detector, pose_model=pose, provider="auto")
        options = dict(batch_size=8, face_scale=1.3, missing_face="blend")
        found = graphs.add(graph, f"{KIT}DetectPose", detector=[loaded, 0], frames=[load, 0], **options)
        keypoints = graphs.add(graph, f"{KIT}PoseToKeypoints", pose=[found, 0])
        graphs.relink(graph, node, {0: [keypoints, 0]})
    for node in graphs.nodes_of(graph, "SAM3_TrackToMask"):
        outline = graphs.node_of(graph, f"{KIT}FramesToMask")
        graphs.set_inputs(graph, f"{KIT}FramesToMask", limit=0)
        graphs.relink(graph, node, {0: [outline, 0]})
    graphs.drop_unused(graph, NETWORKS)


def small_graph(name: str, files: dict[str, str], frames: int) -> graphs.Graph:
    """A shipped workflow that two cores finish in seconds: one step, 160x96, the first ``frames`` frames."""
    graph = graphs.load_graph(name)
    graphs.set_inputs(graph, "FrameInterpolationModelLoader", model_name=small_frame_models.INTERPOLATION)
    graphs.set_inputs(graph, "UpscaleModelLoader", model_name=small_frame_models.UPSCALING.format(2))
    graphs.set_inputs(graph, f"{KIT}UpscaleFrames", short_side=0)
    if name == "more_frames":  # the only one without Animate Character
        graphs.set_inputs(graph, f"{KIT}LoadVideo", file=files["video"], width=160, height=96, limit=frames)
        return graph
    shrink(graph, files, frames)
    return graph


def shrink(graph: graphs.Graph, files: dict[str, str], frames: int) -> None:
    """:func:`small_graph` of a graph with Animate Character, as it is."""
    # the small dancer's detectors find nobody in the drawn robot, which retargeting measures
    detectors = "template" if graphs.nodes_of(graph, f"{KIT}RetargetPose") else "dancer"
    make_small(graph, files, detectors, width=160, height=96, limit=frames, start=0)
    settings: dict[str, Any] = dict(segment_length=5, guidance_frames=1, steps=1, sampler_name="euler")
    graphs.set_inputs(graph, f"{KIT}Animate", **settings)
    graphs.set_inputs(graph, f"{KIT}ClipOptions", crossfade=0)
    graphs.set_inputs(graph, f"{KIT}CropToCharacter", width=160, height=96)
    graphs.set_inputs(graph, f"{KIT}PlanClip", segment_length=5, previous_frames=1)
    graphs.set_inputs(graph, f"{KIT}PromptForFrames", first_frame=3)


def upload_example(server: Any, folder: Path) -> dict[str, str]:
    """Our own drawn clip and picture, and the dancer's true pose as a saved track, in a server's input folder."""
    import numpy as np

    from demo.example import FPS, SECONDS, SIZE, Dancer, write_example
    from wan_animate.pose.track import PoseTrack

    video, image = write_example(folder)
    dancer = Dancer(SECONDS, SIZE, FPS)
    models = server.base_dir / "models"
    small_frame_models.write_interpolation(models / "frame_interpolation")
    small_frame_models.write_upscaling(models / "upscale_models")
    track = folder / "dancer_pose.npz"
    keypoints = np.stack([dancer.keypoints(at) for at in range(len(dancer))])
    PoseTrack(keypoints, *SIZE, fps=FPS).save(track)
    return {"video": server.upload(video), "image": server.upload(image), "track": server.upload(track)}
