"""Record what Meta's own SAM 2 video predictor gives for small made-up weights.

``python tests/support/record_sam2.py CHECKOUT``, where CHECKOUT is a clone of facebookresearch/sam2, writes
``tests/data/sam2_meta.npz``: the names and shapes of its tensors, and its masks for :func:`frames` and
:data:`PROMPTS`. Neither weights nor frames are stored; both are made again from their names.
"""

from __future__ import annotations

import json
import sys
import types
import zlib
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "data" / "sam2_meta.npz"
SALT = 2  # of the first six tried, the one whose masks show most of the memory
SIDE, WIDTH, HEIGHT, COUNT = 256, 160, 90, 24
ARCHITECTURE = {"heads": [1, 2, 4, 8], "windows": [8, 4, 14, 7], "global_blocks": [4], "image_size": SIDE}
# frame, points, labels, box
PROMPTS = (
    (3, [[50, 40], [60, 50], [70, 20]], [1, 1, 0], None),
    (14, [[80, 40], [30, 50]], [1, 1], [10, 5, 100, 80]),
)


def frames() -> np.ndarray:
    """uint8 ``[COUNT, HEIGHT, WIDTH, 3]``: a soft pattern that slides to the left."""
    rows, columns = np.mgrid[:HEIGHT, : WIDTH + 2 * COUNT].astype(np.float64)
    waves = [
        np.sin(columns / a + rows / b) + np.cos(columns / c - rows / d)
        for a, b, c, d in ((9, 13, 21, 7), (15, 8, 6, 19), (11, 25, 17, 10))
    ]
    picture = np.rint(127.5 + 60 * np.stack(waves, axis=-1)).clip(0, 255).astype(np.uint8)
    return np.stack([picture[:, 2 * at : 2 * at + WIDTH] for at in range(COUNT)])


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """float32 tensors for Meta's keys, each made from its name; large enough that every part shows in the masks."""
    made = {}
    for key, shape in shapes.items():
        values = np.random.default_rng(zlib.crc32(f"{SALT}{key}".encode())).standard_normal(shape)
        values *= (1 / max(np.prod(shape[1:]), 1)) ** 0.5 if len(shape) > 1 else 0.3
        if "norm" in key and key.endswith("weight"):
            values = 1 + values / 3
        if "gaussian" in key:
            values *= 1.4
        if key == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            values += 3  # the object is there
        made[key] = values.astype(np.float32)
    return made


def build(newer: bool):
    """Meta's predictor in a small size, as SAM 2.1 (``newer``) or 2.0."""
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.transformer import RoPEAttention
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    width, hidden = 8, 128

    def places(features):
        return PositionEmbeddingSine(num_pos_feats=features, normalize=True, scale=None, temperature=10000)

    rope = dict(feat_sizes=[SIDE // 16] * 2, embedding_dim=hidden, num_heads=1, downsample_rate=1, dropout=0.1)
    layer = MemoryAttentionLayer(
        activation="relu", dim_feedforward=64, dropout=0.1, pos_enc_at_attn=False, d_model=hidden,
        pos_enc_at_cross_attn_keys=True, pos_enc_at_cross_attn_queries=False,
        self_attention=RoPEAttention(rope_theta=10000.0, **rope),
        cross_attention=RoPEAttention(rope_theta=10000.0, rope_k_repeat=True, kv_in_dim=64, **rope),
    )  # fmt: skip
    return SAM2VideoPredictor(
        image_encoder=ImageEncoder(
            trunk=Hiera(
                embed_dim=width, num_heads=1, stages=(1, 2, 3, 1), global_att_blocks=(4,),
                window_pos_embed_bkg_spatial_size=(7, 7), window_spec=(8, 4, 14, 7),
            ),
            neck=FpnNeck(
                position_encoding=places(hidden), d_model=hidden, backbone_channel_list=[64, 32, 16, 8],
                fpn_top_down_levels=[2, 3], fpn_interp_model="nearest",
            ),
            scalp=1,
        ),
        memory_attention=MemoryAttention(d_model=hidden, pos_enc_at_input=True, layer=layer, num_layers=2),
        memory_encoder=MemoryEncoder(
            out_dim=64, in_dim=hidden, position_encoding=places(64),
            mask_downsampler=MaskDownSampler(kernel_size=3, stride=2, padding=1, embed_dim=hidden),
            fuser=Fuser(CXBlock(dim=hidden, kernel_size=7, padding=3, use_dwconv=True), num_layers=2),
        ),
        num_maskmem=7, image_size=SIDE, sigmoid_scale_for_mem_enc=20.0, sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True, directly_add_no_mem_embed=True, no_obj_embed_spatial=newer,
        use_high_res_features_in_sam=True, multimask_output_in_sam=True, iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True, add_tpos_enc_to_obj_ptrs=newer, proj_tpos_enc_in_obj_ptrs=newer,
        use_signed_tpos_enc_to_obj_ptrs=newer, only_obj_ptrs_in_the_past_for_eval=True, pred_obj_scores=True,
        pred_obj_scores_mlp=True, fixed_no_obj_ptr=True, multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True, multimask_min_pt_num=0, multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True, binarize_mask_from_pts_for_mem_enc=True, fill_hole_area=0,
        sam_mask_decoder_extra_args=dict(
            dynamic_multimask_via_stability=True, dynamic_multimask_stability_delta=0.05,
            dynamic_multimask_stability_thresh=0.98,
        ),
    ).eval()  # fmt: skip


def follow(predictor) -> np.ndarray:
    """bool ``[COUNT, HEIGHT, WIDTH]``, backwards from the first prompt, then forwards."""
    import sam2.sam2_video_predictor as module
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(frames()).movedim(-1, 1)
    pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True).float() / 255
    mean, std = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    module.load_video_frames = lambda **_: ((pixels - mean) / std, HEIGHT, WIDTH)
    masks = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    with torch.inference_mode():
        state = predictor.init_state("made-up")
        for frame, points, labels, box in PROMPTS:
            predictor.add_new_points_or_box(state, frame, 1, points=points, labels=labels, box=box)
        for reverse in (True, False):
            for frame, _, logits in predictor.propagate_in_video(state, PROMPTS[0][0], reverse=reverse):
                masks[frame] = logits[0, 0].numpy() > 0
    return masks


def main(checkout: str) -> None:
    import torch

    sys.path.insert(0, checkout)
    instance = types.SimpleNamespace(is_initialized=lambda: True)
    stand_ins = {  # what its package imports on load and does not use here
        "hydra": {"initialize_config_module": None}, "hydra.core": {},
        "hydra.core.global_hydra": {"GlobalHydra": types.SimpleNamespace(instance=lambda: instance)},
        "iopath": {}, "iopath.common": {}, "iopath.common.file_io": {"g_pathmgr": None},
    }  # fmt: skip
    for name, content in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(content)
    record = {}
    for version, newer in (("2.1", True), ("2.0", False)):
        predictor = build(newer)
        type(predictor).device = property(lambda self: torch.device("cpu"))
        shapes = {key: list(tensor.shape) for key, tensor in predictor.state_dict().items()}
        predictor.load_state_dict({key: torch.from_numpy(value) for key, value in weights(shapes).items()})
        masks = follow(predictor)
        print(version, len(shapes), "tensors;", "area by frame", masks.mean(axis=(1, 2)).round(2).tolist())
        record[f"shapes_{version}"] = np.array(json.dumps(shapes))
        record[f"masks_{version}"] = np.packbits(masks.reshape(COUNT, -1), axis=1)
    np.savez_compressed(TARGET, **record)
    print(f"{TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
