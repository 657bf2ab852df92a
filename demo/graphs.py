"""Changes to a workflow in API format: which files it reads, and how much it does. Graphs are changed in place."""

from __future__ import annotations

import json
from typing import Any

from demo import small_models as small
from demo.importing import ROOT

KIT = "WanAnimateKit"
Graph = dict[str, dict[str, Any]]  # node id to {"class_type", "inputs", "_meta"}


def load_graph(mode: str) -> Graph:
    """A workflow by its short name: ``workflows/api/animate.json``, ``replace.json``, ..."""
    return json.loads((ROOT / "workflows" / "api" / f"{mode}.json").read_text(encoding="utf-8"))


def nodes_of(graph: Graph, class_type: str) -> list[str]:
    """Ids of the nodes of one class."""
    return [node for node, what in graph.items() if what["class_type"] == class_type]


def node_of(graph: Graph, class_type: str) -> str:
    """Id of the only node of a class."""
    (node,) = nodes_of(graph, class_type)
    return node


def set_inputs(graph: Graph, class_type: str, **inputs: Any) -> None:
    """Set inputs of every node of a class."""
    for node in nodes_of(graph, class_type):
        graph[node]["inputs"].update(inputs)


def add(graph: Graph, class_type: str, title: str = "", **inputs: Any) -> str:
    """Add a node; its id."""
    node = str(max((int(name) for name in graph if name.isdigit()), default=0) + 1)
    graph[node] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": title or class_type}}
    return node


def title(node: dict[str, Any], infos: dict[str, Any]) -> str:
    """What the canvas shows above a node: its own title, else the display name of its class in ``/object_info``."""
    own, kind = node.get("_meta", {}).get("title", ""), node["class_type"]
    return own if own and own != kind else infos.get(kind, {}).get("display_name") or kind


def drop_unused(graph: Graph, class_types: tuple[str, ...]) -> None:
    """Remove nodes of these classes whose outputs are unused."""
    while True:
        used = {value[0] for what in graph.values() for value in what["inputs"].values() if isinstance(value, list)}
        unused = [node for kind in class_types for node in nodes_of(graph, kind) if node not in used]
        if not unused:
            return
        for node in unused:
            del graph[node]


def use_saved_prompt(graph: Graph, file: str) -> None:
    """Load a saved prompt embedding instead of encoding text."""
    for node in nodes_of(graph, f"{KIT}CachedPrompt"):
        title = {"title": "Load Saved Prompt"}
        graph[node] = {"inputs": {"file": file}, "class_type": f"{KIT}LoadPrompt", "_meta": title}
    drop_unused(graph, ("CLIPLoader",))


def use_small_models(graph: Graph, detectors: str, character: str | None) -> None:
    """Use the small weights (:mod:`demo.small_models`) for everything.

    Args:
        detectors: which of the small detectors, a key of :data:`demo.small_models.DETECTION`.
        character: a saved track in the input folder: the pose of the character's picture, in which the small detectors
            find nobody. None: the skeleton keeps the driver's build.
    """
    use_small_sampling(graph)
    use_small_detectors(graph, detectors)
    use_known_character(graph, character)
    set_inputs(graph, f"{KIT}LoadSegmenter", model=small.SEGMENTER_NAME)


def use_small_sampling(graph: Graph) -> None:
    """Use the small transformer, LoRA, VAE and prompt; no text encoder and no CLIP vision."""
    set_inputs(graph, f"{KIT}LoadModel", model=small.TRANSFORMER_NAME)
    for kind in ("RelightLora", "ApplyLora"):
        set_inputs(graph, f"{KIT}{kind}", lora=small.LORA_NAME)
    set_inputs(graph, "VAELoader", vae_name=small.VAE_NAME)
    use_saved_prompt(graph, small.PROMPT_NAME)
    leave_out_clip_vision(graph)


def use_small_detectors(graph: Graph, detectors: str) -> None:
    detector, pose = small.DETECTION[detectors]
    set_inputs(graph, f"{KIT}LoadPoseDetector", detector=detector, pose_model=pose)


def use_known_character(graph: Graph, track: str | None) -> None:
    """Take the character's pose from a saved track in place of a detector; without a track keep the driver's build."""
    if not nodes_of(graph, f"{KIT}RetargetPose"):
        return
    if track is None:
        leave_out_retargeting(graph)
    else:
        use_reference_track(graph, track)


def leave_out_clip_vision(graph: Graph) -> None:
    graph[node_of(graph, f"{KIT}Animate")]["inputs"].pop("clip_vision_output", None)
    drop_unused(graph, ("CLIPVisionEncode", "CLIPVisionLoader"))


def leave_out_lora(graph: Graph, kind: str = f"{KIT}RelightLora") -> None:
    """Sample without the relighting LoRA, or without another kind of LoRA node."""
    lora = node_of(graph, kind)
    relink(graph, lora, {0: graph[lora]["inputs"]["model"]})
    drop_unused(graph, (kind,))


def leave_out_speed_lora(graph: Graph) -> None:
    """Sample without the LoRA for few steps, with the steps and the sampler that the model needs then."""
    for _ in nodes_of(graph, f"{KIT}ApplyLora"):
        leave_out_lora(graph, f"{KIT}ApplyLora")
        set_inputs(graph, f"{KIT}Animate", steps=20, sampler_name="uni_pc")


def driver_detect(graph: Graph) -> str:
    """The Detect Pose node of the driving video."""
    load = node_of(graph, f"{KIT}LoadVideo")
    (node,) = [at for at in nodes_of(graph, f"{KIT}DetectPose") if graph[at]["inputs"]["frames"][0] == load]
    return node


def reference_detect(graph: Graph) -> str:
    """The Detect Pose node of the character's picture."""
    load = node_of(graph, "LoadImage")
    (node,) = [at for at in nodes_of(graph, f"{KIT}DetectPose") if graph[at]["inputs"]["frames"][0] == load]
    return node


def relink(graph: Graph, node: str, outputs: dict[int, list[Any]]) -> None:
    """Replace the links from outputs of a node by others."""
    for what in graph.values():
        for name, value in what["inputs"].items():
            if isinstance(value, list) and value[0] == node and value[1] in outputs:
                what["inputs"][name] = outputs[value[1]]


def use_track(graph: Graph, file: str, width: int, height: int) -> None:
    """Read the driver's pose from a saved track; skeleton and mask are drawn at ``width`` x ``height``."""
    detect = driver_detect(graph)
    inputs = graph[detect]["inputs"]
    track = add(graph, f"{KIT}LoadPoseTrack", "Load Pose Track", file=file)
    options = {name: inputs[name] for name in ("face_scale", "missing_face", "face_steady")}
    face = add(graph, f"{KIT}CropFace", "Crop Face", frames=inputs["frames"], pose=[track, 0], **options)
    relink(graph, detect, {0: [track, 0], 1: [face, 0]})
    drop_unused(graph, (f"{KIT}DetectPose", f"{KIT}LoadPoseDetector"))
    sized = ("RetargetPose",) if nodes_of(graph, f"{KIT}RetargetPose") else ("DrawPose", "MaskFromPose")
    for kind in sized:
        set_inputs(graph, f"{KIT}{kind}", width=width, height=height)


def use_reference_track(graph: Graph, file: str) -> None:
    """Read the character's pose from a saved track."""
    detect = reference_detect(graph)
    relink(graph, detect, {0: [add(graph, f"{KIT}LoadPoseTrack", "Load Pose Track (your character)", file=file), 0]})
    drop_unused(graph, (f"{KIT}DetectPose", f"{KIT}LoadPoseDetector"))


def leave_out_retargeting(graph: Graph) -> None:
    """Draw the driver's own skeleton."""
    retarget = node_of(graph, f"{KIT}RetargetPose")
    relink(graph, retarget, {0: graph[retarget]["inputs"]["pose"]})
    drop_unused(graph, (f"{KIT}RetargetPose", f"{KIT}DetectPose", f"{KIT}LoadPoseDetector"))


def save_signals(graph: Graph, fps: float) -> dict[str, str]:
    """Save pose, face and mask as videos too; label -> id of the saving node."""
    animate = graph[node_of(graph, f"{KIT}Animate")]["inputs"]
    saved = {}
    for label, name in (("pose", "pose"), ("face", "face"), ("mask", "character_mask")):
        if name not in animate:
            continue
        if label == "mask":
            mask = add(graph, f"{KIT}FramesToMask", frames=animate[name], channel="luma", start=0, limit=0)
            images = add(graph, "MaskToImage", mask=[mask, 0])
        else:
            images = add(graph, f"{KIT}FramesToImage", frames=animate[name], start=0, limit=0)
        video = add(graph, "CreateVideo", images=[images, 0], fps=fps)
        saved[label] = add(
            graph,
            "SaveVideo",
            f"Save {label}",
            video=[video, 0],
            filename_prefix=f"video/{label}",
            format="auto",
            codec="auto",
            **{"format.codec": "auto"},
        )
    return saved
