"""A ComfyUI whose models folder has every file that a shipped workflow names, small."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo import graphs
from demo import small_models as small

KIT = graphs.KIT
CLIP_VISION_WIDTH, CLIP_VISION_LAYERS = 1280, 32


def put_in_place(models: Path, files: small.SmallModels, graph: graphs.Graph, detectors: str = "template") -> None:
    """Small weights under the names of a shipped workflow in API format. Text encoders, which have no small form, are
    there as names alone: their prompts must be saved (:func:`save_prompts`)."""
    detector, pose = small.DETECTION[detectors]
    sources = {
        ("diffusion_models", f"{KIT}LoadModel", "model"): files.transformer,
        ("loras", f"{KIT}ApplyLora", "lora"): files.lora,
        ("loras", f"{KIT}RelightLora", "lora"): files.lora,
        ("vae", "VAELoader", "vae_name"): files.vae,
        ("detection", f"{KIT}LoadPoseDetector", "detector"): files.detection / detector,
        ("detection", f"{KIT}LoadPoseDetector", "pose_model"): files.detection / pose,
        ("sam2", f"{KIT}LoadSegmenter", "model"): files.segmenter,
    }
    for (folder, kind, widget), source in sources.items():
        for node in graphs.nodes_of(graph, kind):
            _place(source, models / folder / graph[node]["inputs"][widget])
    for node in graphs.nodes_of(graph, "CLIPVisionLoader"):
        write_clip_vision(models / "clip_vision" / graph[node]["inputs"]["clip_name"])
    for node in graphs.nodes_of(graph, "CLIPLoader"):
        path = models / "text_encoders" / graph[node]["inputs"]["clip_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def save_prompts(folder: Path, graph: graphs.Graph, encoder_of: Callable[[graphs.Graph, str], str]) -> None:
    """What Cached Prompt has on disk once its texts were encoded: it loads no text encoder.

    Args:
        folder: ``models/wan_animate_prompts``.
        encoder_of: the encoder's name by graph and node.
    """
    from wan_animate.weights.prompt_file import prompt_file_name, save_prompt

    for number, node in enumerate(graphs.nodes_of(graph, f"{KIT}CachedPrompt")):
        text, encoder = graph[node]["inputs"]["text"], encoder_of(graph, node)
        embedding = small.prompt_embedding(number)
        save_prompt(folder / prompt_file_name(text, encoder), [[embedding, {"pooled_output": None}]], text, encoder)


def write_clip_vision(path: Path) -> None:
    """CLIP ViT-H, which has one size, with zeros for weights, as a file with a hole (1.3 GB that take no room)."""
    shapes = clip_vision_shapes()
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def clip_vision_shapes() -> dict[str, list[int]]:
    """Of ``clip_vision_h.safetensors``."""
    width = CLIP_VISION_WIDTH
    top = "vision_model"
    shapes = {
        f"{top}.embeddings.class_embedding": [width],
        f"{top}.embeddings.patch_embedding.weight": [width, 3, 14, 14],
        f"{top}.embeddings.position_embedding.weight": [257, width],
        "visual_projection.weight": [1024, width],
    }
    for layer in range(CLIP_VISION_LAYERS):
        block = f"{top}.encoder.layers.{layer}"
        linear = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, (out, into) in linear.items():
            shapes |= {f"{block}.{name}.weight": [out, into], f"{block}.{name}.bias": [out]}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{block}.{name}.weight": [width], f"{block}.{name}.bias": [width]}
    for name in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{top}.{name}.weight": [width], f"{top}.{name}.bias": [width]}
    return shapes


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
