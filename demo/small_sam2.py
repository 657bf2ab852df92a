"""A SAM 2.1 small enough for any machine, trained on the drawn dancer.

The layout is Hugging Face's for SAM 2 video, with width 8 in place of 96 and pictures of 256 in place of 1024 pixels.
It was trained on frames of :mod:`demo.figure` alone: it finds the dancer whatever the points say, and nobody in the
empty room or in black bars. Its memory adds nothing. ``small_sam2.safetensors`` was made with 1,500 steps, then 250
more with bars:

    python -m demo.small_sam2
    python -m demo.small_sam2 --start demo/small_sam2.safetensors --steps 250 --rate 1e-3 --examples 800
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from demo.figure import draw_figure, figure_keypoints, room

SIDE, HIDDEN, SMALL = 256, 128, 32
ARCHITECTURE = {"heads": [1, 1, 2, 2], "windows": [8, 4, 8, 4], "global_blocks": [3], "image_size": SIDE}
SIZES = ((640, 480), (832, 480), (320, 256), (480, 640), (960, 540))
SHADOW = (136, 120, 112)
FILE = Path(__file__).with_suffix(".safetensors")


def build() -> Any:
    """An untrained ``Sam2VideoModel`` of the small size."""
    from wan_animate.mask.sam2_weights import build_model

    config = {
        "vision_config": {
            "backbone_config": {
                "hidden_size": 8,
                "num_attention_heads": 1,
                "image_size": [SIDE, SIDE],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": ARCHITECTURE["heads"],
                "window_size_per_stage": ARCHITECTURE["windows"],
                "global_attention_blocks": ARCHITECTURE["global_blocks"],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            "fpn_hidden_size": HIDDEN,
        },
        "prompt_encoder_config": {"hidden_size": HIDDEN, "image_size": SIDE},
        "mask_decoder_config": {
            "hidden_size": HIDDEN,
            "mlp_dim": SMALL,
            "num_hidden_layers": 1,
            "iou_head_hidden_dim": SMALL,
        },
        "image_size": SIDE,
        "memory_attention_hidden_size": HIDDEN,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": SMALL,
        "memory_attention_rope_feat_sizes": [SIDE // 16, SIDE // 16],
        "memory_encoder_hidden_size": HIDDEN,
        "mask_downsampler_embed_dim": HIDDEN,
        "memory_fuser_embed_dim": HIDDEN,
        "memory_fuser_intermediate_dim": SMALL,
    }
    return build_model(config)


def dancer_mask(picture: np.ndarray) -> np.ndarray:
    """bool ``[H, W]``: the dancer drawn by :func:`demo.figure.draw_figure`, without its shadow."""
    height, width = picture.shape[:2]
    drawn = np.abs(picture.astype(int) - room(width, height)).max(axis=2) > 12
    drawn &= np.abs(picture.astype(int) - SHADOW).max(axis=2) > 4
    return cv2.morphologyEx(drawn.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).view(bool)


def example(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture uint8 ``[SIDE, SIDE, 3]``, its mask float ``[SIDE / 4, SIDE / 4]``, 8 points inside in pixels."""
    rng = np.random.default_rng(number)
    width, height = SIZES[rng.integers(len(SIZES))]
    place: dict[str, Any] = (
        {"center": tuple(rng.uniform(0.2, 0.8, 2)), "size": rng.uniform(0.35, 1.0)} if rng.random() < 0.6 else {}
    )
    keypoints = figure_keypoints(rng.uniform(0, 30), width, height, **place)
    empty = rng.random() < 0.12
    picture = room(width, height) if empty else draw_figure(keypoints, width, height, marked=rng.random() < 0.7)
    mask = dancer_mask(picture)
    if mask.sum() < 200:
        picture, mask = room(width, height), np.zeros_like(mask)
    if rng.random() < 0.5:  # a clip of another shape has black bars
        wide, high = (rng.uniform(0, 0.08) * width, 0) if rng.random() < 0.6 else (0, rng.uniform(0, 0.08) * height)
        top, bottom, left, right = (
            round(max(of, 0)) for of in (high, high + rng.integers(-1, 2), wide, wide + rng.integers(-1, 2))
        )
    else:
        top = bottom = left = right = 0
    shown: np.ndarray = np.ones(picture.shape[:2], np.float32)
    picture, shown, mask = (
        cv2.copyMakeBorder(one, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
        for one in (picture, shown, mask.view(np.uint8))
    )
    mask = mask.view(bool)
    pixels: np.ndarray = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    pixels = pixels * rng.uniform(0.85, 1.15) + rng.normal(0, 3, 3) + rng.normal(0, rng.uniform(0, 5), pixels.shape)
    pixels *= cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None]  # bars are wholly black
    small = cv2.resize(mask.astype(np.float32), (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    inside = np.argwhere(mask if mask.any() else np.ones_like(mask))
    points = inside[rng.integers(len(inside), size=8)][:, ::-1] * (SIDE / mask.shape[1], SIDE / mask.shape[0])
    return np.clip(pixels, 0, 255).astype(np.uint8), small, points.astype(np.float32)


def fit(
    steps: int,
    batch: int,
    device: str = "cpu",
    seed: int = 0,
    examples: int = 3000,
    start: Path | None = None,
    rate: float = 3e-3,
) -> Any:
    """Train a model on frames of the dancer, new or from a saved file; prints the loss."""
    from wan_animate.mask.segmentation import preprocess

    torch.manual_seed(seed)
    model = build().train()
    with torch.no_grad():  # the memory adds nothing
        for layer in model.memory_attention.layers:
            for part in (layer.self_attn.o_proj, layer.cross_attn_image.o_proj, layer.linear2):
                part.weight.zero_()
                part.bias.zero_()
        torch.nn.init.normal_(model.shared_image_embedding.positional_embedding)
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(
            model.shared_image_embedding.positional_embedding
        )
        model.vision_encoder.backbone.pos_embed.normal_(std=0.02)
    if start is not None:
        from safetensors.torch import load_file

        model.load_state_dict({name: tensor.float() for name, tensor in load_file(start).items()})
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    with ProcessPoolExecutor() as processes:
        pictures, masks, points = map(
            np.stack, zip(*processes.map(example, range(examples), chunksize=16), strict=True)
        )
    rng = np.random.default_rng(seed)
    for step in range(steps):
        chosen = rng.choice(examples, batch, replace=False)
        pixels = torch.stack([preprocess(picture, SIDE, device) for picture in pictures[chosen]])
        target = torch.from_numpy(masks[chosen]).to(device)
        inside = torch.from_numpy(points[chosen])[:, None].to(device)
        loss = _loss(model, pixels, target, inside)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"{step:4d} {loss.item():.4f}", flush=True)
    return model.cpu().eval()


def _loss(model: Any, pixels: torch.Tensor, target: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Of both kinds of frames: prompted with points and no memory, and followed without points."""
    batch = len(pixels)
    seen = model.get_image_features(pixels, return_dict=True)
    maps, places = seen.fpn_hidden_states, seen.fpn_position_encoding
    shaped = [
        flat.permute(1, 2, 0).unflatten(2, tuple(size))
        for flat, size in zip(maps, model.backbone_feature_sizes, strict=True)
    ]
    prompted = maps[-1] + model.no_memory_embedding
    followed = model.memory_attention.layer_norm(maps[-1] + 0.1 * places[-1])
    device = pixels.device
    nothing = torch.zeros(batch, 1, 1, 2, device=device), -torch.ones(batch, 1, 1, dtype=torch.int32, device=device)
    shown = points, torch.ones(points.shape[:-1], dtype=torch.int32, device=device)
    everywhere = model.get_image_wide_positional_embeddings().repeat(batch, 1, 1, 1)
    there = (target.flatten(1).sum(1) > 0).float()
    total = torch.zeros((), device=device)
    for features, (coordinates, labels), many in (
        (prompted, shown, False), (followed, nothing, True), (followed, nothing, False),
    ):  # fmt: skip
        sparse, dense = model.prompt_encoder(
            input_points=coordinates, input_labels=labels, input_boxes=None, input_masks=None
        )
        masks, quality, _, score = model.mask_decoder(
            image_embeddings=features.permute(1, 2, 0).unflatten(2, shaped[-1].shape[-2:]),
            image_positional_embeddings=everywhere,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=many,
            high_resolution_features=shaped[:-1],
        )
        goal = target[:, None, None].expand_as(masks)
        chance = masks.sigmoid()
        overlap = (chance * goal).sum((-1, -2)) + 1
        dice = 1 - 2 * overlap / ((chance + goal).sum((-1, -2)) + 2)
        total = total + F.binary_cross_entropy_with_logits(masks, goal) + (dice * there[:, None, None]).mean()
        total = (
            total
            + 0.1 * F.binary_cross_entropy_with_logits(score.flatten(), there)
            + 0.05 * (quality - 1).square().mean()
        )
    return total


def save(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.half().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, {"format": "pt", "sam2_architecture": json.dumps(ARCHITECTURE)})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.small_sam2", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="where to put it (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--examples", type=int, default=3000, help="frames to draw")
    parser.add_argument("--start", type=Path, help="a file that was made before, to go on from")
    parser.add_argument("--rate", type=float, default=3e-3, help="the highest learning rate")
    parser.add_argument("--device", default="cpu", help="cuda takes two minutes, a processor core half an hour")
    arguments = parser.parse_args(argv)
    wanted = {name: getattr(arguments, name) for name in ("steps", "batch", "device", "examples", "start", "rate")}
    model = fit(**wanted)
    save(model, arguments.out)
    print(f"{arguments.out.stat().st_size / 1e6:.2f} MB  {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
