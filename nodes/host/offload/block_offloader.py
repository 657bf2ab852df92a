"""Copies offloaded blocks to the device; a computing block's weights are views of a slot."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.log import get_logger
from ....wan_animate.swapped import swapped
from .. import accelerate
from ..patching import weights_stamp
from .copy_queue import CopyQueue, CopyStream, ModuleTensors, Slot
from .memory import PinnedMemory, plain_tensors
from .plan import GB, TOLERANCE, Settings, Sizes, card_bytes, fitting, gigabytes, round_up, slot_bytes, slots, spread

BLOCKS = "diffusion_model.blocks."
FUSERS = "diffusion_model.face_adapter.fuser_blocks."
FACE_BLOCK_EVERY = 5

log = get_logger(__name__)


def modules_of(module: Any) -> tuple[list[ModuleTensors], list[ModuleTensors]]:
    """(transformer blocks, face blocks)"""
    blocks = [ModuleTensors(index, block, f"{BLOCKS}{index}") for index, block in enumerate(module.blocks)]
    fusers = [
        ModuleTensors(number * FACE_BLOCK_EVERY, fuser, f"{FUSERS}{number}")
        for number, fuser in enumerate(module.face_adapter.fuser_blocks)
    ]
    return blocks, fusers


class BlockOffloader:
    """State of one clone's offload.

    Attributes:
        plan: blocks copied in every step.
        resident: blocks kept on the device, by ("block" or "fuser", index).
        available: bytes left by the host for blocks and slots.
        activations: bytes of a step without weights, by what they depend on; shared among clones.
    """

    def __init__(self, settings: Settings, sizes: Sizes, activations: dict[tuple, int] | None = None) -> None:
        self.settings, self.sizes = settings, sizes
        self.activations: dict[tuple, int] = {} if activations is None else activations
        self.available = float("inf")
        self.resident: dict[tuple[str, int], Slot] = {}
        self.plan = self._first_plan()
        self.queues: dict[str, CopyQueue] = {}
        self.copies: CopyStream | None = None
        self._patcher: Callable[[], Any] = lambda: None
        self._modules: dict[str, list[ModuleTensors]] = {}
        self._swapped: list[tuple[ModuleTensors, list[torch.Tensor]]] = []
        self._stamp: tuple | None = None
        self._others: int | None = None  # bytes allocated in a run's first step, without our blocks
        self._needed = 0  # the largest activations of this run
        self._reported: int | None = None

    # -- called by the host's patcher

    def on_model_patcher_clone(self) -> BlockOffloader:
        return BlockOffloader(self.settings, self.sizes, self.activations)

    def belongs_to(self, patcher: Any) -> None:
        self._patcher = weakref.ref(patcher)

    def owns(self, name: str) -> bool:
        return name.startswith((BLOCKS, FUSERS))

    @property
    def size(self) -> int:
        """Bytes on the device without activations."""
        plan = self.plan if self.settings.how == "fit" else self._first_plan()
        return self.sizes.rest + card_bytes(self.sizes, plan)

    @property
    def resident_size(self) -> int:
        return sum(slot.flat.numel() for slot in self.resident.values())

    @property
    def slots(self) -> list[Slot]:
        return [slot for queue in self.queues.values() for slot in queue.slots]

    def drop(self, size: float = float("inf")) -> int:
        """Returns the bytes freed."""
        before = self.resident_size
        if self.resident:
            self.wait()
        for key in list(self.resident):
            if before - self.resident_size >= size:
                break
            del self.resident[key]
        return before - self.resident_size

    def wait(self) -> None:
        if self.copies is not None:
            self.copies.finish()

    def end(self) -> None:
        """Drops slots; resident blocks stay."""
        self._restore()
        self.wait()
        self.queues, self.copies, self._modules, self._others, self._needed = {}, None, {}, None, 0

    def release(self) -> None:
        self.end()
        self.resident.clear()

    # -- a step

    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Hooks blocks within ``forward_orig``, inside every other wrapper."""
        patcher, module = self._patcher(), executor.class_obj
        if patcher is None:
            return executor(x, *args, **kwargs)
        plain = module.forward_orig

        @torch.compiler.disable(recursive=False)
        def forward_orig(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            with self._step(patcher, module, x, kwargs.get("face_pixel_values") is not None):
                # Held by a variable: a step that raises at its end would otherwise free the result while the exception
                # is propagated, and comfy-aimdo, which logs from within a free, then never returns.
                out = plain(x, *args, **kwargs)
            return out

        with swapped(module, "forward_orig", forward_orig):
            return executor(x, *args, **kwargs)

    @contextmanager
    def _step(self, patcher: Any, module: Any, x: torch.Tensor, with_face: bool) -> Iterator[None]:
        hooks: list[Any] = []
        pinned, start = PinnedMemory.count, time.perf_counter()
        try:
            measuring = self._prepare(patcher, module, x, with_face)
            for kind, targets in (("block", module.blocks), ("fuser", module.face_adapter.fuser_blocks)):
                for target, part in zip(targets, self._modules[kind]):
                    hooks.append(target.register_forward_pre_hook(partial(self._before, patcher, kind, part)))
                    hooks.append(target.register_forward_hook(partial(self._after, kind, part)))
            self.queues["block"].begin()
            self.queues["fuser"].begin(fetch=with_face)  # without a face no face block is called
            yield
            if measuring is not None:
                self._measured(*measuring)
        except torch.cuda.OutOfMemoryError as error:
            least = self.plan == self._all_blocks() and not self.resident
            self.release()
            if not least:
                raise
            # The same class: the host handles it as its own out-of-memory error.
            raise type(error)(
                f"this card has no memory for a step of {8 * x.shape[-1]}x{8 * x.shape[-2]} even with every block "
                "offloaded: make the video smaller (width, height or segment_length), or close what else uses the card."
            ) from error
        except BaseException:
            self.release()
            raise
        finally:
            for hook in hooks:
                hook.remove()
        if PinnedMemory.count > pinned:
            log.info(
                "pinned %d regions of host memory (%s in all) in a step of %.0f s.",
                PinnedMemory.count - pinned, gigabytes(PinnedMemory.size), time.perf_counter() - start,
            )  # fmt: skip

    @torch.compiler.disable
    def _before(self, patcher: Any, kind: str, part: ModuleTensors, *_: Any) -> None:
        copies = self.copies
        assert copies is not None  # _prepare() made it
        slot = self.resident.get((kind, part.index))
        if slot is None and part.index not in self.plan:
            slot = self._make_resident(copies, kind, part)
        if slot is None:
            slot = self.queues[kind].slot_of(part)
        elif any(own is not copied for own, copied in zip(part.tensors(), slot.source)):
            copies.done(slot)  # an unmerged LoRA replaced a parameter, or put it back
            copies.start(part, slot)
        if slot.arrived is not None:
            copies.wait(slot)
        self._swapped.append((part, part.tensors()))
        part.put(slot.tensors)
        if not slot.merged:
            self._merge(patcher, part, slot)

    @torch.compiler.disable
    def _after(self, kind: str, part: ModuleTensors, *_: Any) -> None:
        self._restore()
        slot = next((slot for slot in self.queues[kind].slots if slot.module is part), None)
        if slot is not None:
            self.queues[kind].after(part, slot)

    def _restore(self) -> None:
        while self._swapped:
            part, tensors = self._swapped.pop()
            part.put(tensors)

    def _merge(self, patcher: Any, part: ModuleTensors, slot: Slot) -> None:
        slot.merged = True
        for key, tensor in zip(part.keys, slot.tensors):
            if key in patcher.patches:
                merged = patcher.patch_weight_to_device(key, device_to=slot.flat.device, return_weight=True)
                for target, plain in zip(plain_tensors(tensor), plain_tensors(merged)):
                    target.copy_(plain)

    def _make_resident(self, copies: CopyStream, kind: str, part: ModuleTensors) -> Slot | None:
        try:
            slot = copies.new_slot(part.size())
        except torch.cuda.OutOfMemoryError:
            log.warning("no memory on the card for block %d: it is copied in every step.", part.index)
            # until the host loads the model again
            self.available = self.resident_size + slot_bytes(self.sizes, self.plan)
            self._set_plan(self.plan | {part.index})
            return None
        copies.start(part, slot)
        self.resident[kind, part.index] = slot
        return slot

    # -- which blocks are copied

    def _first_plan(self) -> frozenset[int]:
        total = len(self.sizes.blocks)
        return spread(total if self.settings.how == "fit" else self.settings.blocks, total)

    def _all_blocks(self) -> frozenset[int]:
        return frozenset(range(len(self.sizes.blocks)))

    @torch.compiler.disable
    def _prepare(
        self, patcher: Any, module: Any, x: torch.Tensor, with_face: bool = False
    ) -> tuple[tuple, int, torch.device] | None:
        """Set the plan; (key, bytes allocated, device) if this step is measured."""
        device, key = x.device, (tuple(x.shape), x.dtype, with_face, repr(accelerate.settings_of(patcher)))
        if self.copies is None:
            self.copies = CopyStream(device)
            blocks, fusers = modules_of(module)
            self._modules = {"block": blocks, "fuser": fusers}
        stamp = weights_stamp(patcher)
        if stamp != self._stamp:  # the resident blocks have another LoRA merged
            self.drop()
            self._stamp = stamp
        if self.settings.how != "fit":
            plan = fitting(self.sizes, self.available, self.settings.blocks)
            self._set_plan(self._all_blocks() if plan is None else plan)
            return None
        counted = device.type == "cuda"
        if self._others is None:
            self._others = torch.cuda.memory_allocated(device) - self.resident_size if counted else self.sizes.rest
        known = self.activations.get(key)
        if known is None and counted:
            self.drop()
            self._set_plan(self._all_blocks(), pin=False)
            torch.cuda.reset_peak_memory_stats(device)
            slots = sum(slot.flat.numel() for slot in self.slots)
            return key, torch.cuda.memory_allocated(device) - slots, device
        self._fit(patcher.model.memory_required(x.shape) if known is None else known, device)
        return None

    @torch.compiler.disable
    def _measured(self, key: tuple, before: int, device: torch.device) -> None:
        slots = sum(slot.flat.numel() for slot in self.slots)
        self.activations[key] = torch.cuda.max_memory_allocated(device) - before - slots
        self._fit(self.activations[key], device)

    def _fit(self, activations: int, device: torch.device) -> None:
        import comfy.model_management as host

        others = self._others
        assert others is not None  # _prepare() counted them
        # The largest of the run, so that blocks are not moved when steps of several sizes take turns.
        self._needed = activations = max(self._needed, activations)
        budget = self.settings.gigabytes * GB
        least = others + activations + slot_bytes(self.sizes, self._all_blocks())
        if least > budget * TOLERANCE:
            raise InputError(
                f"a step of this size takes {round_up(least)} with every block offloaded "
                f"({gigabytes(activations)} for activations), more than the {self.settings.gigabytes:g} GB asked for: "
                "raise gigabytes, or make a smaller video."
            )
        if device.type == "cuda":
            budget = min(budget, host.get_total_memory(device) - host.extra_reserved_memory())
        available = min(budget - others - activations, self.available)
        plan = fitting(self.sizes, available)
        self._set_plan(self._all_blocks() if plan is None else plan)

    def _set_plan(self, plan: frozenset[int], pin: bool = True) -> None:
        copies, pin = self.copies, pin and self.settings.pinned
        assert copies is not None  # _prepare() made it
        if plan == self.plan and self.queues and all(queue.pin == pin for queue in self.queues.values()):
            return
        if self.queues:
            self.wait()  # a copy to a slot that is dropped may be under way
        self.resident = {key: slot for key, slot in self.resident.items() if key[1] not in plan}
        self.plan, old = plan, self.queues
        counts = {"block": slots(plan), "fuser": 1}
        self.queues = {
            kind: CopyQueue(copies, [part for part in modules if part.index in plan], counts[kind], pin)
            for kind, modules in self._modules.items()
        }
        for kind, queue in old.items():  # take over slots that are large enough
            size = max((part.size() for part in self.queues[kind].modules), default=0)
            fitting_slots = [slot for slot in queue.slots if slot.flat.numel() >= size]
            self.queues[kind].slots = fitting_slots[: self.queues[kind].count]
        copied = len(plan)
        if pin == self.settings.pinned and copied != self._reported:
            self._reported = copied
            log.info(
                "%d of %d blocks in host memory, %s of the model on the card.",
                len(plan), len(self.sizes.blocks), gigabytes(self.size),
            )  # fmt: skip
