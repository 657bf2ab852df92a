"""What a window costs the model, against whole frames."""

from __future__ import annotations

# Of the published transformer: width, feed-forward width.
_DIM, _FFN = 5120, 13824


def tokens(size: tuple[int, int], frames: int = 77) -> int:
    """Tokens of a segment: 16x16 pixels each, the reference and a latent frame for the first and every four frames."""
    return (size[0] // 16) * (size[1] // 16) * ((frames - 1) // 4 + 2)


def step_work(size: tuple[int, int], frames: int = 77) -> float:
    """Multiplications and additions of a sampling step's self-attention, projections and feed-forward, for one block.

    Attention grows with the square of the tokens, so that half of them take less than half of the time.
    """
    count = tokens(size, frames)
    dense = 2 * (6 * _DIM**2 + 2 * _DIM * _FFN)  # q, k, v and out; q and out of the cross-attention; feed-forward
    return float(count) * (dense + 4 * count * _DIM)


def same_sharpness(size: tuple[int, int], share: float, frame: tuple[int, int]) -> tuple[int, int]:
    """Size of the whole frame that shows the character as large as a window of this share of its area at ``size``."""
    scale = (size[0] * size[1] / (share * frame[0] * frame[1])) ** 0.5
    width, height = (max(round(side * scale / 16), 1) * 16 for side in frame)
    return width, height
