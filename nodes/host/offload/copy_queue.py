"""Copies the next block to the device while the current computes.

On CUDA a copy waits for the block that used its slot, a block for its copy.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from .memory import layout, pack, plain_tensors, region_of, register, views


class ModuleTensors:
    """Tensors of a module, copied as a whole.

    Attributes:
        index: of the transformer block that it is or follows.
        places: (dictionary, name) of every tensor.
        keys: the host's patch keys, or None.
    """

    def __init__(self, index: int, module: torch.nn.Module, prefix: str) -> None:
        self.index = index
        self.places: list[tuple[dict, str]] = []
        self.keys: list[str | None] = []
        module = getattr(module, "_orig_mod", module)  # of a compiled block
        for path, part in module.named_modules():
            leaf = not list(part.children())
            for held in (part._parameters, part._buffers):
                for name in held:
                    if held[name] is not None:
                        self.places.append((held, name))
                        self.keys.append(".".join(filter(None, (prefix, path, name))) if leaf else None)

    def tensors(self) -> list[torch.Tensor]:
        return [held[name] for held, name in self.places]

    def put(self, tensors: list[torch.Tensor]) -> None:
        for (held, name), tensor in zip(self.places, tensors):
            held[name] = tensor

    def size(self) -> int:
        return layout(self.tensors())[1]

    def pin(self) -> bool:
        """Moves the tensors into pinned memory; False if there is none."""
        flat = region_of(self.tensors())
        if flat is None:
            own = self.tensors()
            # all in the mode they were made in: moving a quantized tensor fails on a mixture
            with torch.inference_mode(own[0].is_inference()), torch.no_grad():
                try:
                    self.put(pack(own))
                except (OSError, MemoryError):
                    return False
            flat = region_of(self.tensors())
        return flat is not None and register(flat)


@dataclass(eq=False)
class Slot:
    """A buffer on the device.

    Attributes:
        flat: uint8.
        tensors: views of ``flat`` as ``module``'s weights.
        source: tensors that were copied.
        merged: LoRAs are added.
        arrived, used: CUDA events.
    """

    flat: torch.Tensor
    module: ModuleTensors | None = None
    tensors: list[torch.Tensor] = field(default_factory=list)
    source: list[torch.Tensor] = field(default_factory=list)
    merged: bool = False
    arrived: Any = None
    used: Any = None


class CopyStream:
    """Copies to slots, on their own stream on CUDA."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def new_slot(self, size: int) -> Slot:
        slot = Slot(torch.empty(size, dtype=torch.uint8, device=self.device))
        if self.stream is not None:  # work queued on this memory has to end first
            slot.used = torch.cuda.current_stream(self.device).record_event()
        return slot

    def start(self, module: ModuleTensors, slot: Slot) -> None:
        """Asynchronous from pinned memory."""
        tensors = module.tensors()
        slot.module, slot.source, slot.merged = module, tensors, False
        slot.tensors = views(tensors, slot.flat)
        flat = region_of(tensors)
        offsets, size = layout(tensors)
        at = iter(offsets)
        if self.stream is not None:
            self.stream.wait_event(slot.used)
        with torch.cuda.stream(self.stream) if self.stream is not None else nullcontext():
            if flat is not None and flat.numel() >= size:
                slot.flat[:size].copy_(flat[:size], non_blocking=True)
            for tensor, target in zip(tensors, slot.tensors):
                for plain, to in zip(plain_tensors(tensor), plain_tensors(target)):
                    offset = next(at)
                    if flat is None or plain.data_ptr() != flat.data_ptr() + offset:  # a tensor outside of the region
                        to.copy_(plain, non_blocking=True)
            if self.stream is not None:
                slot.arrived = self.stream.record_event()

    def wait(self, slot: Slot) -> None:
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_event(slot.arrived)

    def done(self, slot: Slot) -> None:
        """Queued work is the last to use the slot."""
        if self.stream is not None:
            slot.used = torch.cuda.current_stream(self.device).record_event()

    def finish(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()


class CopyQueue:
    """Copied modules of one kind, in order, and their slots."""

    def __init__(self, copies: CopyStream, modules: list[ModuleTensors], slots: int, pin: bool) -> None:
        self.copies, self.modules, self.count, self.pin = copies, modules, min(slots, len(modules)), pin
        self.slots: list[Slot] = []
        self.turn = 0

    @torch.compiler.disable
    def begin(self, fetch: bool = True) -> None:
        """Weights may have changed since the last step. ``fetch`` starts the first copy."""
        for slot in self.slots:
            slot.module = None
        self.turn = 0
        if fetch and self.modules:
            self._fetch(self.modules[0])

    def slot_of(self, module: ModuleTensors) -> Slot:
        """Starts the copy if the module comes out of order."""
        slot = next((one for one in self.slots if one.module is module), None) or self._fetch(module)
        self.copies.wait(slot)
        return slot

    def after(self, module: ModuleTensors, slot: Slot) -> None:
        self.copies.done(slot)
        slot.module = None
        following = self.modules.index(module) + 1
        if following < len(self.modules) and not any(one.module is self.modules[following] for one in self.slots):
            self._fetch(self.modules[following])

    def _fetch(self, module: ModuleTensors) -> Slot:
        if len(self.slots) < self.count:
            size = max(one.size() for one in self.modules)
            self.slots += [self.copies.new_slot(size) for _ in range(self.count - len(self.slots))]
        slot = self.slots[self.turn % self.count]
        self.turn += 1
        if self.pin:
            module.pin()
        self.copies.start(module, slot)
        return slot
