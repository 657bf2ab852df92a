"""SAM 2 files in both layouts, and others refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.small_sam2 import ARCHITECTURE, FILE, build
from wan_animate.errors import InputError
from wan_animate.mask.sam2_weights import METADATA, from_meta, read_weights
from wan_animate.mask.segmentation import Segmenter

RECORD = Path(__file__).parents[1] / "data" / "sam2_meta.npz"


def save(path: Path, tensors: dict, metadata: dict | None = None) -> Path:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    "keys, words",
    [
        (["model.diffusion_model.input_blocks.0.weight"], "is a diffusion model"),
        (["patch_embedding.weight", "blocks.0.self_attn.q.weight"], "is a diffusion model"),
        (["image_encoder.blocks.0.attn.qkv.weight"], "first generation"),
        (["image_encoder.trunk.pos_embed", "sam_mask_decoder.iou_token.weight"], "single images"),
        (["detector.backbone.x", "tracker.memory_attention.layers.0.w"], "SAM 3"),
        (["blocks.0.lora_A.weight"], "a LoRA"),
        (["model.22.cv2.0.0.conv.weight"], "YOLO"),
        (["a", "b"], r"2 tensors, such as a, b"),
    ],
)
def test_other_files_are_told_apart(tmp_path, keys, words):
    path = save(tmp_path / "model.safetensors", {key: torch.zeros(2) for key in keys})
    with pytest.raises(InputError, match=words) as error:
        Segmenter(path, "cpu")
    assert "model.safetensors" in str(error.value)


def test_broken_files_are_refused(tmp_path):
    tensors, _ = read_weights(FILE)
    metadata = {METADATA: json.dumps(ARCHITECTURE)}
    one, *rest = sorted(tensors)
    for changed, words in (
        ({key: tensors[key] for key in rest}, f"lacks 1 tensors .*{one}"),
        (tensors | {"memory_attention.more": torch.zeros(1)}, "has unknown 1 .*memory_attention.more"),
        (tensors | {"mask_decoder.iou_token.weight": torch.zeros(1, 3)}, "other shapes for 1 .*iou_token"),
        ({key: value for key, value in tensors.items() if "neck" not in key}, "lacks a part"),
    ):
        with pytest.raises(InputError, match=words):
            Segmenter(save(tmp_path / "broken.safetensors", changed, metadata), "cpu")
    with pytest.raises(InputError, match=r"no published size \(width 8, 1\+1\+2\+1 blocks\)"):
        Segmenter(save(tmp_path / "untold.safetensors", tensors), "cpu")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(FILE.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        Segmenter(cut, "cpu")
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="is a pickle"):
        Segmenter(tmp_path / "model.pt", "cpu")
    with pytest.raises(InputError, match="does not exist"):
        Segmenter(tmp_path / "none.safetensors", "cpu")


def test_twins_saved_once_are_taken_twice(tmp_path):
    """Some transformers releases save the positional matrix under one of its two names."""
    tensors, _ = read_weights(FILE)
    del tensors["prompt_encoder.shared_embedding.positional_embedding"]
    path = save(tmp_path / "one.safetensors", tensors, {METADATA: json.dumps(ARCHITECTURE)})
    again, _ = read_weights(path)
    assert torch.equal(again["prompt_encoder.shared_embedding.positional_embedding"],
                       again["shared_image_embedding.positional_embedding"])  # fmt: skip


def test_the_small_model_is_the_architecture_it_says():
    expected = {key: one.shape for key, one in build().state_dict().items()}
    assert {key: one.shape for key, one in read_weights(FILE)[0].items()} == expected


def test_every_key_of_metas_is_renamed():
    shapes = json.loads(str(np.load(RECORD)["shapes_2.1"]))
    renamed = from_meta({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert len(renamed) == len(shapes) - 3  # four point embeddings become one
    assert not [
        key for key in renamed if key.startswith(("sam_", "image_encoder", "obj_", "maskmem", "no_mem_e", "no_obj_"))
    ]
