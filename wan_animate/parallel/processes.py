"""Processes that compute one clip together: the first leads, the others do what it sends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from ..errors import InputError

STEP = timedelta(minutes=10)  # in which an exchange within a step must come
IDLE = timedelta(days=30)  # a leader reads, decodes and saves while the others wait


@dataclass
class Group:
    """This process's place.

    Attributes:
        control: the gloo group for messages, which may be waited for long.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None

    def send(self, what: str, values: Mapping[str, Any]) -> None:
        """From the leader to all others; tensors go by the device's own way."""
        import torch.distributed as dist

        tensors = {name: one for name, one in values.items() if isinstance(one, torch.Tensor)}
        shapes = {name: (tuple(one.shape), one.dtype) for name, one in tensors.items()}
        plain = {name: one for name, one in values.items() if name not in tensors}
        dist.broadcast_object_list([(what, plain, shapes)], src=0, group=self.control)
        for one in tensors.values():
            dist.broadcast(one.to(self.device).contiguous(), src=0)

    def receive(self) -> tuple[str, dict[str, Any]]:
        """The leader's next message."""
        import torch.distributed as dist

        message: list[Any] = [None]
        dist.broadcast_object_list(message, src=0, group=self.control)
        what, values, shapes = message[0]
        for name, (shape, dtype) in shapes.items():
            values[name] = torch.empty(shape, dtype=dtype, device=self.device)
            dist.broadcast(values[name], src=0)
        return what, values

    def leave(self) -> None:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def is_follower() -> bool:
    """Whether torchrun or a leader started this process to help another."""
    return int(os.environ.get("RANK", 0)) > 0 and in_group()


def in_group() -> bool:
    """Whether this process is one of several that were started together."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1 and "MASTER_ADDR" in os.environ


def join(device: str) -> Group:
    """Meets the others of ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` (as torchrun sets them).

    Args:
        device: ``"cuda"`` (this process's card by ``LOCAL_RANK``) or ``"cpu"``.

    Raises:
        InputError: fewer cards than processes on this machine, or no PyTorch for several.
    """
    import torch.distributed as dist

    rank, size, local = (int(os.environ.get(name, 0)) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if not dist.is_available():
        raise InputError("this PyTorch is built without torch.distributed: use one card (--gpus 1).")
    kind = torch.device(device).type
    if kind == "cuda":
        check_cards(local + 1)
        torch.cuda.set_device(local)
        own = torch.device("cuda", local)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=STEP, device_id=own)
    else:
        own = torch.device(kind)
        dist.init_process_group("cpu:gloo", timeout=STEP)  # the name that diffusers looks for
    return Group(rank, size, own, dist.new_group(backend="gloo", timeout=IDLE))


def check_cards(count: int) -> None:
    """Raises InputError if there are fewer."""
    there = torch.cuda.device_count()
    if count > there:
        raise InputError(f"--gpus asks for {count} cards, but PyTorch finds {there} here: give --gpus {max(there, 1)}.")
