"""Self-attention of a segment on a Hopper card: our Gluon kernel against PyTorch's cuDNN attention.

40 heads of width 128 over the tokens of 77 frames, float16, random normal. Both take turns, after a warm-up of a second
(a card at its power limit slows down): the medians of a call. With them, the relative L2 distance of both from
attention in float32 (two heads), and TFLOPS (4 * tokens^2 * 128 a head).

    python benchmarks/attention.py                  # 832x464 and 1280x720, needs an H100 or H200 with 8 GB free
    python benchmarks/attention.py --sizes 480p
    python benchmarks/attention.py --small          # says whether the kernel can run here; writes nothing

Writes ``results/attention_480p.json`` and ``attention_720p.json``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from wan_animate.kernels import gluon_attention  # noqa: E402

Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]
TOKENS = {"480p": 52 * 29 * 21, "720p": 80 * 45 * 21}  # 832x464 and 1280x720: patches of 16 pixels, 21 latent frames
HEADS, WIDTH, ROUNDS, CHECKED = 40, 128, 15, 2
WARM = 1.0  # seconds


def cudnn(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def in_float32(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """``[1, tokens, CHECKED * WIDTH]``: the first heads."""
    heads = []
    for at in range(0, CHECKED * WIDTH, WIDTH):
        q32, k32, v32 = (part[..., at : at + WIDTH].float() for part in (q, k, v))
        rows = [(some @ k32.mT * WIDTH**-0.5).softmax(-1) @ v32 for some in q32.split(4096, 1)]
        heads.append(torch.cat(rows, 1))
    return torch.cat(heads, -1)


def milliseconds(attend: Attend, given: Given) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    attend(*given, HEADS)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def compare(ours: Attend, size: str) -> dict[str, Any]:
    """Writes ``attention_<size>.json``."""
    tokens, generator = TOKENS[size], torch.Generator("cuda").manual_seed(0)
    shape = (1, tokens, HEADS * WIDTH)

    def random() -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda", dtype=torch.float16)

    given = random(), random(), random()
    sides, exact = {"ours": ours, "peer": cudnn}, in_float32(*given)
    errors = {}
    for name, attend in sides.items():  # the first call compiles
        off = attend(*given, HEADS)[..., : CHECKED * WIDTH].float() - exact
        errors[name] = round(float(off.norm() / exact.norm()), 6)
    torch.cuda.synchronize()
    warm = time.perf_counter() + WARM
    while time.perf_counter() < warm:
        for attend in sides.values():
            milliseconds(attend, given)
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, attend in sides.items():
            took[name].append(milliseconds(attend, given))
    medians = {name: statistics.median(one) for name, one in took.items()}
    return results.record_on_host(
        f"attention_{size}",
        medians["ours"],
        medians["peer"],
        None,
        unit="milliseconds",
        digits=2,
        peer_name="PyTorch's cuDNN attention, same run",
        tokens=tokens,
        tflops={name: round(4 * tokens**2 * WIDTH * HEADS / one / 1e9, 1) for name, one in medians.items()},
        from_float32=errors,
        noise={name: round(max(one) / min(one) - 1, 3) for name, one in took.items()},
    )


def main(arguments: argparse.Namespace) -> None:
    missing = gluon_attention.missing(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if arguments.small or missing is not None:
        print(missing or "the kernel can run here")
        return
    with torch.inference_mode():
        for size in arguments.sizes.split(","):
            compare(gluon_attention.attend, size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="480p,720p")
    parser.add_argument("--small", action="store_true", help="say whether the kernel can run here")
    main(parser.parse_args())
