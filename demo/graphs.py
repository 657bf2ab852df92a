"""Changes to a workflow in API format: which files it reads, and how much it does. Graphs are changed in place."""

from __future__ import annotations

import json

from .importing import ROOT

KIT = "WanAnimateKit"


def load_graph(mode: str) -> dict:
    """``workflows/api/animate.json`` or ``replace.json``."""
    return json.loads((ROOT / "workflows" / "api" / f"{mode}.json").read_text(encoding="utf-8"))


def nodes_of(graph: dict, class_type: str) -> list[str]:
    """Ids of the nodes of one class."""
    return [node for node, what in graph.items() if what["class_type"] == class_type]


def node_of(graph: dict, class_type: str) -> str:
    """Id of the only node of a class."""
    (node,) = nodes_of(graph, class_type)
    return node


def set_inputs(graph: dict, class_type: str, **inputs) -> None:
    """Set inputs of every node of a class."""
    for node in nodes_of(graph, class_type):
        graph[node]["inputs"].update(inputs)


def add(graph: dict, class_type: str, title: str = "", **inputs) -> str:
    """Add a node; its id."""
    node = str(max((int(name) for name in graph if name.isdigit()), default=0) + 1)
    graph[node] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": title or class_type}}
    return node


def drop_unused(graph: dict, class_types: tuple[str, ...]) -> None:
    """Take out nodes of these classes to which nothing is connected any more."""
    found = True
    while found:
        used = {value[0] for what in graph.values() for value in what["inputs"].values() if isinstance(value, list)}
        found = [node for kind in class_types for node in nodes_of(graph, kind) if node not in used]
        for node in found:
            del graph[node]


def use_saved_prompt(graph: dict, file: str) -> None:
    """Read the prompts from a saved embedding in place of a text encoder."""
    for node in nodes_of(graph, f"{KIT}CachedPrompt"):
        title = {"title": "Load Saved Prompt"}
        graph[node] = {"inputs": {"file": file}, "class_type": f"{KIT}LoadPrompt", "_meta": title}
    drop_unused(graph, ("CLIPLoader",))


def leave_out_clip_vision(graph: dict) -> None:
    graph[node_of(graph, f"{KIT}Animate")]["inputs"].pop("clip_vision_output", None)
    drop_unused(graph, ("CLIPVisionEncode", "CLIPVisionLoader"))


def use_track(graph: dict, file: str, width: int, height: int) -> None:
    """Read the pose from a saved track in place of detecting it; skeleton and mask are drawn at the frames' size, and
    the face is cropped by the track."""
    detect = node_of(graph, f"{KIT}DetectPose")
    inputs = graph[detect]["inputs"]
    track = add(graph, f"{KIT}LoadPoseTrack", "Load Pose Track", file=file)
    face = add(
        graph,
        f"{KIT}CropFace",
        "Crop Face",
        frames=inputs["frames"],
        pose=[track, 0],
        face_scale=inputs["face_scale"],
        missing_face=inputs["missing_face"],
    )
    for what in graph.values():
        for name, value in what["inputs"].items():
            if isinstance(value, list) and value[0] == detect:
                what["inputs"][name] = [track, 0] if value[1] == 0 else [face, 0]
    drop_unused(graph, (f"{KIT}DetectPose", f"{KIT}LoadPoseDetector"))
    for kind in ("DrawPose", "MaskFromPose"):
        set_inputs(graph, f"{KIT}{kind}", width=width, height=height)


def save_signals(graph: dict, fps: float) -> dict[str, str]:
    """Also save, as video files, what the model is shown; label -> id of the saving node."""
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
