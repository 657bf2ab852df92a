"""Chooses the fastest attention backend for a shape by timing, at its first call."""

from __future__ import annotations

import importlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F

from ....wan_animate.errors import InputError
from ....wan_animate.kernels import compile_ahead, gluon_attention
from ....wan_animate.log import get_logger

AUTO, APPROXIMATE, HOST_DEFAULT = "auto (exact)", "auto (approximate too)", "host default"
SDPA = {"sdpa cudnn": "CUDNN_ATTENTION", "sdpa flash": "FLASH_ATTENTION", "sdpa efficient": "EFFICIENT_ATTENTION"}
GLUON = "gluon (Hopper)"
# name -> module with flash_attn_func over [batch, tokens, heads, width]
PACKAGES = {"flash-attn 4": "flash_attn.cute", "flash-attn 3": "flash_attn_interface"}
# name -> (name in the host's register, exact)
REGISTERED = {
    "flash-attn 2": ("flash", True),
    "xformers": ("xformers", True),
    "sage": ("sage", False),
    "sage 3": ("sage3", False),
    "comfy-kitchen int8": ("comfy_kitchen_int8", False),
}
BACKENDS = (*SDPA, GLUON, *PACKAGES, *REGISTERED)
CHOICES = [AUTO, HOST_DEFAULT, *BACKENDS, APPROXIMATE]
REMOVED = {"fp8 (Triton)": APPROXIMATE}  # choices in saved workflows, and their replacements
# Choices that could take a kernel that is gone: a job that began with it must not go on with another.
CHANGED = {**REMOVED, APPROXIMATE: "without fp8 (Triton)"}

LARGEST_ERROR = {True: 0.02, False: 0.1}  # relative L2 against the host's result, exact and approximate
MARGIN = 0.97  # of the host's time, which a backend must beat, so that noise changes nothing
RUNS = 3
# Large shapes are timed with 8 heads only; for small ones, all heads are needed to see more than the launch overhead.
MEASURED_HEADS, SMALL = 8, 1 << 26  # SMALL: queries * keys
COMPARED_TOKENS = 4096

log = get_logger(__name__)


@dataclass(frozen=True)
class Backend:
    """An attention function ``run(q, k, v, heads)`` over tensors [batch, tokens, heads * width]."""

    name: str
    run: Callable
    exact: bool


def available(only: str | None = None) -> dict[str, Backend]:
    """Importable backends by name.

    Args:
        only: import this backend alone: flash-attn 4 takes ten seconds.
    """
    found = {}
    for name in BACKENDS if only is None else (only,):
        function, exact = _find(name)
        if function is not None:
            found[name] = Backend(name, function, exact)
    return found


def current_choice(choice: str) -> str:
    """Replaces a removed choice, and logs it."""
    if choice not in REMOVED:
        return choice
    log.warning("attention %s was removed: %s is used.", choice, REMOVED[choice])
    return REMOVED[choice]


@cache
def import_ahead() -> threading.Thread:
    def work() -> None:
        for name in PACKAGES:
            _find(name)

    thread = threading.Thread(target=work, name="import attention", daemon=True)
    thread.start()
    return thread


def compile_kernel(model: Any, choice: str) -> None:
    """Starts compiling our kernel for a MODEL, where it can run and may be chosen."""
    if choice not in (AUTO, APPROXIMATE, GLUON):
        return
    device, dtype = model.load_device, model.model.get_dtype_inference()
    if dtype in gluon_attention.DTYPES and gluon_attention.missing(device) is None:
        compile_ahead.start(f"{GLUON}, {dtype}", device, gluon_attention.compilations(dtype))


def _find(name: str) -> tuple[Callable | None, bool]:
    """(function, or None if not installed; whether it is exact)"""
    import comfy.ldm.modules.attention as host
    import comfy.model_management

    if name in SDPA:
        return partial(_sdpa, SDPA[name]), True
    if name == GLUON:
        why = gluon_attention.missing(comfy.model_management.get_torch_device())
        if why is not None:
            log.debug("%s", why)
        return (_gluon if why is None else None), True
    if name in REGISTERED:
        registered, exact = REGISTERED[name]
        return host.get_attention_function(registered, None), exact
    try:
        return partial(_packaged, importlib.import_module(PACKAGES[name]).flash_attn_func), True
    except Exception as error:  # absent, or built for another card or torch
        log.debug("%s cannot be imported: %s", name, error)
    return None, True


def _sdpa(kernel: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (_split(part, heads).transpose(1, 2) for part in (q, k, v))  # [batch, heads, tokens, width]
    with sdpa_kernel([getattr(SDPBackend, kernel)]):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _gluon(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    compile_ahead.finish(f"{GLUON}, {q.dtype}")
    return gluon_attention.attend(q, k, v, heads)


def _packaged(function: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    out = function(*(_split(part, heads) for part in (q, k, v)))
    return (out[0] if isinstance(out, tuple) else out).flatten(2)


def _split(part: torch.Tensor, heads: int) -> torch.Tensor:
    return part.reshape(part.shape[0], part.shape[1], heads, -1)  # [batch, tokens, heads * width] split


class Attention:
    """The attention override in ``transformer_options``.

    Args:
        choice: one of :data:`CHOICES`.
        before: another pack's override, called with our attention.
    """

    def __init__(self, choice: str, before: Callable | None = None) -> None:
        if choice not in CHOICES:
            raise InputError(f"attention is {choice!r}, but it must be one of: {', '.join(CHOICES)}.")
        self.choice, self.before = choice, before
        self.measured = choice in (AUTO, APPROXIMATE, HOST_DEFAULT)
        if self.measured:
            import_ahead()
        else:
            here = available(choice)
            if choice not in here:
                others = ", ".join(available())
                raise InputError(
                    f"attention is {choice}, but that is not installed here: take {AUTO}, or one of {others}."
                )
            self.candidates = here

    @cached_property
    def candidates(self) -> dict[str, Backend]:
        """Listed at the first attention: this imports the packages."""
        return {name: backend for name, backend in available().items() if backend.exact or self.choice == APPROXIMATE}

    def __call__(self, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.before is not None:
            return self.before(partial(self.attend, func), *args, **kwargs)
        return self.attend(func, *args, **kwargs)

    def attend(
        self,
        func: Callable,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        mask: torch.Tensor | None = None,
        attn_precision: torch.dtype | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        unusual = ("skip_reshape", "skip_output_reshape", "enable_gqa", "scale")
        if mask is not None or attn_precision is not None or q.ndim != 3 or any(kwargs.get(name) for name in unusual):
            return func(q, k, v, heads, mask=mask, attn_precision=attn_precision, **kwargs)
        precise = kwargs.get("low_precision_attention", True) is False
        if torch.compiler.is_compiling():
            return torch.ops.wan_animate_kit.attention(q, k, v, heads, self.choice, precise)
        return self.compute(partial(func, **kwargs), q, k, v, heads, precise)

    def compute(
        self, host: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, precise: bool = False
    ) -> torch.Tensor:
        """By the chosen backend; by the host's if that fails."""
        candidates = [backend for backend in self.candidates.values() if backend.exact or not precise]
        if not candidates:
            return host(q, k, v, heads)
        shape = (str(q.device), q.dtype, tuple(q.shape), tuple(k.shape), heads)
        key = (*shape, *(backend.name for backend in candidates))
        with _lock:
            if self.measured and _brought and key not in _looked_up:
                _look_up(key)
            if key not in _winners:
                agreed = _agreed.get(repr(key))
                if self.measured and agreed in (HOST_DEFAULT, *(backend.name for backend in candidates)):
                    _winners[key] = agreed
                elif self.measured:
                    _winners[key] = measure(host, q, k, v, heads, candidates)
                else:
                    _winners[key] = candidates[0].name
        winner = self.candidates.get(_winners[key])
        if winner is None:
            return host(q, k, v, heads)
        try:
            return winner.run(q, k, v, heads)
        except Exception as error:
            import comfy.model_management

            if isinstance(error, comfy.model_management.OOM_EXCEPTION):
                raise  # the host unloads something and runs the node again
            log.warning("%s cannot do %s (%s): the host's attention is used.", winner.name, shape, error)
            _winners[key] = HOST_DEFAULT
            return host(q, k, v, heads)


# Fastest backend by shape, for the life of the process.
_winners: dict[tuple, str] = {}
_agreed: dict[str, str] = {}  # shape in words -> what another server took for it
# Of the newest job: what it brought along of another server, the shapes it was asked for, those it says nothing of.
_brought: dict[str, str] = {}
_looked_up: set[tuple] = set()
_unmatched: list[str] = []
_lock = threading.RLock()


def forget_winners() -> None:
    for kept in (_winners, _agreed, _brought, _looked_up, _unmatched):
        kept.clear()


def winners() -> dict[str, str]:
    """Backend by shape, in words that mean the same on another server with the same kind of card and packages."""
    with _lock:
        return {repr(key): name for key, name in _winners.items()}


def agree(others: Any) -> None:
    """Takes what another server took (:func:`winners`) from now on, in place of timing; what is none is ignored.

    It stays for the life of the process: a later job with the same shape has it too, and what an earlier one chose by
    timing or brought along is replaced. None: the job that begins brings nothing.
    """
    known = others if isinstance(others, dict) else {}
    taken = {shape: name for shape, name in known.items() if isinstance(name, str) and name in CHOICES}
    with _lock:
        for kept in (_brought, _looked_up, _unmatched):
            kept.clear()
        _brought.update(taken)
        _agreed.update(taken)
        for key in [key for key, name in _winners.items() if _agreed.get(repr(key), name) != name]:
            del _winners[key]


def unmatched() -> list[str]:
    """Shapes, in words, that the newest job brought no choice for, though it brought some: another kind of card or
    other packages chose them, and this server's own choice was taken."""
    with _lock:
        return list(_unmatched)


def _look_up(key: tuple) -> None:
    _looked_up.add(key)
    if repr(key) in _brought:
        return
    if not _unmatched:
        log.warning(
            "the attention that another server chose for this clip is for another kind of card or other packages "
            "than here: this server's own choice is taken, and its frames may differ in their last bits."
        )
    _unmatched.append(repr(key))


def measure(
    host: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, candidates: list[Backend]
) -> str:
    """The fastest backend's name; HOST_DEFAULT if none beats the host by MARGIN.

    Measures fewer heads if memory is short.
    """
    import comfy.model_management

    few = heads if q.shape[1] * k.shape[1] < SMALL else min(heads, MEASURED_HEADS)
    parts: list[torch.Tensor] = []
    while few:
        try:
            parts = [tensor[..., : few * (tensor.shape[-1] // heads)].contiguous() for tensor in (q, k, v)]
            return _measure(host, parts, heads, few, candidates)
        except comfy.model_management.OOM_EXCEPTION:
            few //= 4
            parts = []
            comfy.model_management.soft_empty_cache()
    log.info("no memory to measure attention over %d x %d tokens in.", q.shape[1], k.shape[1])
    return HOST_DEFAULT


def _measure(host: Callable, parts: list[torch.Tensor], heads: int, few: int, candidates: list[Backend]) -> str:
    import comfy.ldm.modules.attention

    q, k, v = parts
    reference = comfy.ldm.modules.attention.attention_pytorch(q, k, v, few)
    all_exact = all(backend.exact for backend in candidates)
    seconds: dict[str, float] = {}
    said: list[str] = []
    for backend in (Backend(HOST_DEFAULT, host, all_exact), *candidates):
        try:
            error = _relative_error(backend.run(q, k, v, few), reference)  # the first call may compile
            if not error <= LARGEST_ERROR[backend.exact]:
                said.append(f"{backend.name} out ({error:.1%} off)")
                continue
            seconds[backend.name] = _time(partial(backend.run, q, k, v, few), q.device)
        except Exception as failure:  # not supported on this card or for this shape, or not enough memory
            log.debug("%s out: %s", backend.name, failure)
            continue
        said.append(f"{backend.name} {seconds[backend.name] * 1e3:.2f}{'' if error < 0.005 else f' ({error:.1%} off)'}")
    best = min(seconds, key=lambda name: seconds[name], default=HOST_DEFAULT)
    if seconds.get(HOST_DEFAULT, math.inf) * MARGIN < seconds.get(best, math.inf):
        best = HOST_DEFAULT
    log.info(
        "attention over %d x %d tokens in %s on %s, ms for %d of %d heads: %s. Taken: %s.",
        q.shape[1], k.shape[1], str(q.dtype).removeprefix("torch."), device_name(q.device), few, heads,
        ", ".join(said), best,
    )  # fmt: skip
    return best


def _relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative L2 error, in chunks to bound the float32 copies."""
    if out.shape != reference.shape:
        raise ValueError(f"gave {list(out.shape)} in place of {list(reference.shape)}")
    sums = torch.zeros(2, dtype=torch.float64, device=out.device)
    for mine, theirs in zip(out.split(COMPARED_TOKENS, dim=1), reference.split(COMPARED_TOKENS, dim=1)):
        theirs = theirs.float()
        sums += torch.stack([(mine.float() - theirs).square().sum(), theirs.square().sum()])
    return float((sums[0] / sums[1]).sqrt())


def _time(call: Callable, device: torch.device) -> float:
    taken = []
    for _ in range(RUNS):
        _synchronize(device)
        start = time.perf_counter()
        call()
        _synchronize(device)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[RUNS // 2]


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


_override_of = cache(Attention)  # by choice


# In a compiled block attention is one custom operation, so that choosing a backend does not break the graph. It takes
# the choice's name, so that torch's compile cache on disk is found again after a restart.
@torch.library.custom_op("wan_animate_kit::attention", mutates_args=())
def _attention_op(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, choice: str, precise: bool
) -> torch.Tensor:
    import comfy.ldm.modules.attention as host

    plain = partial(host.optimized_attention, low_precision_attention=not precise)
    return _override_of(choice).compute(plain, q, k, v, heads, precise).contiguous()


@_attention_op.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, choice: str, precise: bool) -> torch.Tensor:
    return q.new_empty(q.shape)
