"""The Wan VAE's work on one segment over several cards, a band of every frame each (:mod:`.bands`).

All cards take part, since none has anything else to do: while a split MODEL samples they all compute, so that the next
segment's pose, encoded meanwhile on one of them, would hold the others up; and the next segment begins with this one's
last frames, which a causal decoder makes last. A card gets a copy of the weights for each run (160 MB in half
precision, with what patches them), and the host makes the room that the run needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import comfy.model_management as host
import torch
from einops import rearrange

from ....wan_animate.errors import InputError
from ....wan_animate.log import get_logger
from ....wan_animate.parallel.team import Team
from ....wan_animate.video.frames import as_unit_float
from . import memory
from .bands import MARGIN, bands, plan, run_band, sees_whole
from .layers import Weights
from .network import Stage, Still, decoder, encoder, frames_in, whole
from .transfer import drain
from .wan import pixels, without_repeats

log = get_logger(__name__)
FEWEST = 5  # frames: one picture is not worth it

Check = Callable[[], None]


class CopiedWeights(Weights):
    """Copies of ``first``'s, on another device."""

    def __init__(self, first: Weights, device: torch.device) -> None:
        super().__init__(device, first.dtype)
        self.first = first

    def of(self, module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight, bias = self.first.of(module)
        return weight.to(self.device), None if bias is None else bias.to(self.device)


def decode(vae: Any, latent: torch.Tensor) -> torch.Tensor | None:
    """As ``decode_whole``.

    Args:
        vae: an :class:`.host_object.AcceleratedVAE` with ``devices``, the first of them its own.
        latent: ``[1, 16, t, h, w]``.

    Returns:
        ``[1, T, 8h, 8w, C]``; None where one card should do it, as that memory is short.

    Raises:
        MemberError: a card failed.
    """
    height, width = latent.shape[-2:]
    axis = longer_axis(height, width)
    size = latent.shape[axis + 2]
    parts = bands(size, len(vae.devices))
    if len(latent) != 1 or 4 * latent.shape[2] - 3 < FEWEST or len(parts) < 2:
        return None
    budget = _make_room(vae, "decode", 8 * height, 8 * width, axis, parts)
    stages = None if budget is None else _built(vae, decoder, len(parts))
    if budget is None or stages is None:
        return None
    shown = [range(8 * part.start, 8 * part.stop) for part in parts]
    lines = [plan(stages[0], wanted, size) for wanted in shown]
    dtype, channels = vae.vae_output_dtype(), stages[0][-1].layers[-1].conv.out_channels
    shape = (1, 4 * latent.shape[2] - 3, 8 * height, 8 * width, channels)
    out = torch.empty(shape, dtype=dtype, device=vae.output_device)

    def task(rank: int, check: Check) -> None:
        own, device = lines[rank][0], vae.devices[rank]
        given = latent[0].narrow(axis + 1, own.start, len(own)).to(device, vae.vae_dtype)
        stream = [rearrange(given, "c t h w -> t h w c").contiguous()]
        made = run_band(stages[rank], stream, lines[rank], axis, budget, check)
        done = (vae.process_output(part.to(dtype, copy=True)) for part in made)
        drain(done, out[0].narrow(axis, shown[rank].start, len(shown[rank])))

    return None if _run(vae, "decoding", task, len(parts)) is None else out


def encode(vae: Any, frames: torch.Tensor, still: int) -> torch.Tensor | None:
    """As ``encode_frames``; see :func:`decode`.

    Args:
        frames: ``[T, H, W, C]``, uint8 or 0..1.
        still: repeats of the last frame; 0 looks for them.

    Returns:
        Mean ``[1, 16, t, H/8, W/8]`` on the VAE's device, or None.
    """
    count = 1 + (len(frames) + still - 1) // 4 * 4
    frames, still = without_repeats(frames[:count], min(still, max(0, count - len(frames))))
    height, width = frames.shape[1:3]
    axis = longer_axis(height, width)
    size = frames.shape[axis]
    parts = bands(size // 8, len(vae.devices))
    if len(frames) < FEWEST or len(parts) < 2:
        return None
    budget = _make_room(vae, "encode", height, width, axis, parts)
    stages = None if budget is None else _built(vae, encoder, len(parts))
    if budget is None or stages is None:
        return None
    cut = next(number for number, stage in enumerate(stages[0]) if sees_whole(stage))
    lines = [plan(stages[0][:cut], wanted, size) for wanted in parts]

    def task(rank: int, check: Check) -> list[Any]:
        own, device = lines[rank][0], vae.devices[rank]
        given = frames.narrow(axis, own.start, len(own))
        at_once = frames_in(budget, given.shape[1], given.shape[2], vae.first_stage_model.dim)
        source = pixels(given, at_once, lambda part: _prepared(vae, part), device, still)
        made = list(run_band(stages[rank][:cut], source, lines[rank], axis, budget, check))
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # before another card reads them
        return made

    made = _run(vae, "encoding", task, len(parts))
    if made is None:
        return None
    repeats = [part for part in made[0] if isinstance(part, Still)]
    joined = [torch.cat([part.to(vae.device) for part in some if not isinstance(part, Still)]) for some in made]
    del made
    stream: Iterator = itertools.chain([torch.cat(joined, axis)], repeats)
    del joined
    for stage in stages[0][cut:]:
        stream = stage.run(stream, budget, host.throw_exception_if_processing_interrupted)
    mean = whole(stream).chunk(2, dim=-1)[0]
    return rearrange(mean, "t h w c -> 1 c t h w").contiguous()


def longer_axis(height: int, width: int) -> int:
    """Of ``[n, H, W, C]``: its bands have the least margin."""
    return 1 if height > width else 2


def _prepared(vae: Any, part: torch.Tensor) -> torch.Tensor:
    return vae.process_input(as_unit_float(part)).to(vae.vae_dtype)


def _make_room(vae: Any, direction: str, height: int, width: int, axis: int, parts: Sequence[range]) -> int | None:
    """Elements at once, when the host has made room on every card; None where a frame's band does not fit on one."""
    lines = 8 * (max(map(len, parts)) + 2 * MARGIN)
    height, width = (min(height, lines), width) if axis == 1 else (height, min(width, lines))
    size = direction, height, width, vae.first_stage_model.dim, vae.vae_dtype.itemsize
    need = memory.needed(*size)
    host.load_models_gpu([vae.patcher], memory_required=need, force_full_load=vae.disable_offload)
    devices = vae.devices[: len(parts)]
    for device in devices[1:]:
        if device.type != "cpu":
            host.free_memory(need + host.extra_reserved_memory(), device)
    budget = memory.budget_for(*size, min(vae.patcher.get_free_memory(device) for device in devices))
    if budget is None:
        log.info("a card has too little free memory for its part of the VAE's %s: one card does it", direction)
    return budget and (vae.first_stage_model.chunk_elements or budget)


def _built(vae: Any, build: Callable, count: int) -> list[list[Stage]] | None:
    """Stages for each card; None for a network that is not known."""
    network, first = vae.first_stage_model, Weights(vae.device, vae.vae_dtype)
    own = network.stages(build, vae.device, vae.vae_dtype)
    if own is None:
        return None
    return [own, *(build(CopiedWeights(first, device), network) for device in vae.devices[1:count])]


def _run(vae: Any, work: str, task: Callable[[int, Check], Any], count: int) -> list[Any] | None:
    """The results of ``task(rank, check)`` of every card; None if one has too little memory."""
    kinds = host.OOM_EXCEPTION if isinstance(host.OOM_EXCEPTION, tuple) else (host.OOM_EXCEPTION,)
    team = Team(vae.devices[:count], passed=(InputError, host.InterruptProcessingException, *kinds), work=work)

    def check() -> None:
        host.throw_exception_if_processing_interrupted()
        team.meeting.check()

    def part(rank: int) -> Callable[[], Any]:
        return lambda: task(rank, check)

    try:
        return team.run([part(rank) for rank in range(count)])
    except Exception as error:
        host.raise_non_oom(error)
        log.info("a card has too little memory for its part of the VAE's %s: one card does it", work)
        return None
    finally:
        team.close()
