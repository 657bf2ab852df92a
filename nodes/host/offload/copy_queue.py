"""Blocks on their way to the card: the next one is copied while this one computes.

A lane is the blocks of one kind in the order in which they run, and the slots on the card that they are copied to. On
CUDA copies have a stream of their own: a copy waits until the block that used the slot before has computed, a block
until its copy is there. Elsewhere the same happens in the order of the calls.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from .memory import layout, pack, plain_tensors, region_of, register, views


class ModuleTensors:
    """A module that is copied as a whole.

    Attributes:
        index: of the transformer block that it is, or belongs to.
        places: (dictionary, name) of every tensor in the module, in the order of its mapping.
        keys: the host's names for them, where the host would merge a LoRA into them, else None.
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
        """Move the tensors into locked host memory, unless they are there. False if there is none to be had."""
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
        return register(flat)


@dataclass(eq=False)
class Slot:
    """A place on the card.

    Attributes:
        flat: its bytes.
        module: whose weights are in it, or on their way.
        tensors: views of ``flat`` as that module's weights.
        source: the module's own tensors that were copied.
        merged: a LoRA's product has been added to them.
        arrived, used: CUDA events: the copy is there; the block that was in it has computed.
    """

    flat: torch.Tensor
    module: ModuleTensors | None = None
    tensors: list[torch.Tensor] = field(default_factory=list)
    source: list[torch.Tensor] = field(default_factory=list)
    merged: bool = False
    arrived: Any = None
    used: Any = None


class CopyStream:
    """CopyStream from host memory to slots, on a stream of their own where the device has such."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def new_slot(self, size: int) -> Slot:
        slot = Slot(torch.empty(size, dtype=torch.uint8, device=self.device))
        if self.stream is not None:  # work queued on this memory has to end first
            slot.used = torch.cuda.current_stream(self.device).record_event()
        return slot

    def start(self, module: ModuleTensors, slot: Slot) -> None:
        """Begin to copy; returns before it is done where host memory is locked."""
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
        """What is computed from here on finds the copy done."""
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_event(slot.arrived)

    def done(self, slot: Slot) -> None:
        """The slot may be written to when what has been started until here is computed."""
        if self.stream is not None:
            slot.used = torch.cuda.current_stream(self.device).record_event()

    def finish(self) -> None:
        """No copy is under way any more: host memory may change, slots may go."""
        if self.stream is not None:
            self.stream.synchronize()


class CopyQueue:
    """The modules of one kind that are copied in every step, and their slots."""

    def __init__(self, copies: CopyStream, modules: list[ModuleTensors], slots: int, pin: bool) -> None:
        self.copies, self.modules, self.count, self.pin = copies, modules, min(slots, len(modules)), pin
        self.slots: list[Slot] = []
        self.turn = 0

    @torch.compiler.disable
    def begin(self) -> None:
        """At the start of a step. What a slot holds is from an earlier step, and weights may have changed since."""
        for slot in self.slots:
            slot.module = None
        self.turn = 0
        if self.modules:
            self._fetch(self.modules[0])

    def slot_of(self, module: ModuleTensors) -> Slot:
        """The slot with a module's weights: on their way since the module before, or (out of turn) from now on."""
        slot = next((one for one in self.slots if one.module is module), None) or self._fetch(module)
        self.copies.wait(slot)
        return slot

    def after(self, module: ModuleTensors, slot: Slot) -> None:
        """A module has computed: the next one may come."""
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
