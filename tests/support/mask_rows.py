"""How the installed host's WanAnimateToVideo lays the character mask onto the mask channels, found out by asking it.

Row r of the mask channels is channel r % 4 of latent frame r // 4. Two layouts are known:

- ``"causal"``: frame 0 fills rows 0 to 3, frame f > 0 is row f + 3, as the VAE groups frames. Upstream's
  (``wan/animate.py: get_i2v_mask``), ours, and the host's from Comfy-Org/ComfyUI#16406 on.
- ``"plain"``: frame f is row f, three frames ahead of the picture, and the last three rows stay free (0.33.0).
"""

from __future__ import annotations

import torch


def host_layout(vae) -> str:
    """``"causal"`` or ``"plain"``.

    Args:
        vae: the host's VAE, for WanAnimateToVideo's encodings.
    """
    from comfy_extras.nodes_wan import WanAnimateToVideo

    length, side = 9, 32
    frames = torch.arange(1, length + 1) / 16  # each frame's mask has a value of its own
    positive = WanAnimateToVideo.execute(
        positive=[[torch.zeros(1, 1, 8), {}]],
        negative=[[torch.zeros(1, 1, 8), {}]],
        vae=vae,
        width=side,
        height=side,
        length=length,
        batch_size=1,
        continue_motion_max_frames=1,
        video_frame_offset=0,
        character_mask=frames[:, None, None].expand(length, side, side),
    ).args[0]
    rows = as_rows(positive[0][1]["concat_mask"][:, :, 1:])[:, 0, 0]
    known = {
        "causal": torch.cat((frames[:1].repeat(3), frames)),
        "plain": torch.cat((frames, torch.ones(3))),
    }
    (found,) = [name for name, expected in known.items() if torch.equal(rows.float(), expected)] or [None]
    assert found, f"WanAnimateToVideo lays the mask's frames in an unknown way: {(rows * 16 - 1).tolist()}"
    return found


def as_rows(mask: torch.Tensor) -> torch.Tensor:
    """``[1, 4, T, h, w]`` -> ``[4T, h, w]``."""
    return mask.transpose(1, 2).flatten(0, 2)


def in_layout(mask: torch.Tensor, layout: str, segment) -> torch.Tensor:
    """Our mask channels in the host's layout.

    Args:
        mask: ``[1, 4, T, h, w]``, ours, which are causal, without the reference frame.
        segment: the :class:`wan_animate.chain.segments.Segment` that they are for.
    """
    if layout == "causal":
        return mask
    ours = as_rows(mask)
    frames = ours[3:]  # row f + 3 is frame f, frame 0 included
    rows = torch.ones_like(ours)
    rows[: 4 * segment.previous_latents] = 0.0
    rows[segment.previous_frames : segment.length] = frames[segment.previous_frames :]
    return rows.unflatten(0, (-1, 4))[None].transpose(1, 2)
