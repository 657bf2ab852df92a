"""Hostile weights: safetensors headers, LoRA pickles, ONNX graphs; and what reads them."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wan_animate.weights.transformer import transformer_shapes

# ------------------------------------------------------------------------------------------------ weights


def tensors(
    shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, kind: str = "F8_E4M3"
) -> Callable[[Path], Path]:
    """A safetensors file whose data is a hole."""

    def make(folder: Path) -> Path:
        path = folder / "weights.safetensors"
        write_tensors(path, shapes, metadata, kind)
        return path

    return make


def write_tensors(
    path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, kind: str = "F8_E4M3"
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * {"F8_E4M3": 1, "F32": 4, "U8": 1}[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def raw_header(text: bytes, data: int = 0) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "weights.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
        return path

    return make


def small_animate(metadata: dict[str, str] | None = None, **changed: tuple[int, ...] | None) -> Callable[[Path], Path]:
    """A transformer of 5 blocks with these tensors changed; None leaves one out."""
    shapes: dict[str, Any] = {
        **transformer_shapes(8, 16, 5),
        **{name.replace("__", "."): of for name, of in changed.items()},
    }
    return tensors({name: shape for name, shape in shapes.items() if shape is not None}, metadata)


def read_animate(path: Path) -> Any:
    from wan_animate.weights.header import read_model_header
    from wan_animate.weights.transformer import read_animate, unexpected_keys

    return len(unexpected_keys(read_animate(read_model_header(str(path)))))


def read_header(path: Path) -> Any:
    from wan_animate.weights.header import read_model_header
    from wan_animate.weights.kinds import foreign_sentence

    header = read_model_header(str(path))
    return foreign_sentence(header.name, header.tensors, header.metadata)


def read_segmenter(path: Path) -> Any:
    from wan_animate.mask.sam2_weights import read_weights

    return read_weights(path, shapes_only=True)[1].name


SAM2_SHAPES: dict[str, tuple[int, ...]] = {
    "memory_attention.layers.0.linear1.weight": (8, 8),
    "memory_attention.layers.4000000.linear1.weight": (8, 8),
    "vision_encoder.backbone.blocks.0.layer_norm2.weight": (8,),
    "vision_encoder.backbone.blocks.0.mlp.proj_in.weight": (8, 8),
    "vision_encoder.backbone.pos_embed_window": (1, 8, 8, 8),
    "vision_encoder.backbone.pos_embed": (1, 8, 8, 8),
    "vision_encoder.neck.convs.0.weight": (8, 8, 1, 1),
    "memory_encoder.projection.weight": (8, 8),
    "prompt_encoder.mask_embed.conv2.weight": (8, 8),
    "mask_decoder.transformer.layers.0.mlp.proj_in.weight": (8, 8),
    "mask_decoder.mask_tokens.weight": (8, 8),
    "mask_decoder.iou_prediction_head.proj_in.weight": (8, 8),
    "memory_temporal_positional_encoding": (8, 1, 1, 8),
    "memory_encoder.mask_downsampler.final_conv.weight": (8, 8),
    "memory_encoder.memory_fuser.layers.0.pointwise_conv1.weight": (8, 8),
}


def sam2(declared: Any = None, **changed: tuple[int, ...]) -> Callable[[Path], Path]:
    declared = {"heads": [1], "windows": [8], "global_blocks": [0]} if declared is None else declared
    text = declared if isinstance(declared, str) else json.dumps(declared)
    return tensors(
        {**SAM2_SHAPES, **{name.replace("__", "."): of for name, of in changed.items()}}, {"sam2_architecture": text}
    )


def read_lora(path: Path) -> Any:
    from wan_animate.weights.lora_file import read_lora

    return len(read_lora(str(path)))


def lora_pickle(content: Callable[[], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import torch

        torch.save(content(), folder / "lora.ckpt")
        return folder / "lora.ckpt"

    return make


def holds_itself() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    return content


def one_stored_many_seen() -> dict[str, Any]:
    import torch

    return {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1).expand(1 << 33)}


def packed_pickle(folder: Path) -> Path:
    """A PyTorch file whose records are compressed, the pickle from 400 MB of zeros."""
    path = folder / "lora.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        with packed.open("lora/data.pkl", "w", force_zip64=True) as file:
            file.write(pickle.PROTO + b"\x02" + pickle.BINUNICODE + struct.pack("<I", 400_000_000))
            for _ in range(40):
                file.write(bytes(10_000_000))
            file.write(b".")
        packed.writestr("lora/version", "3\n")
        packed.writestr("lora/byteorder", "little")
    return path


def nested_json(depth: int = 100_000) -> str:
    return "[" * depth + "]" * depth


# ------------------------------------------------------------------------------------------------ ONNX


def onnx_graph(body: Callable[[Any], tuple[list[Any], list[Any]]]) -> Callable[[Path], Path]:
    """A pose network by its input and output, with other nodes in it."""

    def make(folder: Path) -> Path:
        import onnx

        helper = onnx.helper
        nodes, initializers = body(helper)
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 256, 192])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 133, 64, 48])],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "net.onnx")
        return folder / "net.onnx"

    return make


def endless_loop(helper: Any) -> tuple[list[Any], list[Any]]:
    import onnx

    inner = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["still"]), helper.make_node("Add", ["s", "s"], ["t"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("more", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None),
        ],
    )
    yes = helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    return [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=inner)], [yes]


def huge_constant(helper: Any) -> tuple[list[Any], list[Any]]:
    import onnx

    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [4_000_000_000])
    return [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ], [shape]


def huge_result(helper: Any) -> tuple[list[Any], list[Any]]:
    """As :func:`huge_constant`, but of a size that only the run knows."""
    import onnx

    times = helper.make_tensor("times", onnx.TensorProto.INT64, [4], [30_000, 1, 1, 1])
    return [helper.make_node("Tile", ["x", "times"], ["t"]), helper.make_node("ReduceMax", ["t"], ["y"])], [times]


def read_onnx(path: Path) -> Any:
    from wan_animate.detect import onnx_model
    from wan_animate.detect.model_checks import check_pose

    onnx_model.RUN_SECONDS = 2.0
    network = onnx_model.OnnxModel(path, "cpu", "pose model")
    check_pose(network)
    return network.run(np.zeros((1, 3, 256, 192), np.float32)).shape
