"""The blocks of one MODEL that live in host memory, for as long as the MODEL is sampled with.

Between steps every weight is where the host keeps it. While a block computes, its module holds views of a slot on the
card (or of a copy that stays there), and its own tensors again afterwards, however the block ended.
"""

from __future__ import annotations

import time
import weakref
from contextlib import contextmanager
from functools import partial

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.log import get_logger
from ..patching import swapped
from .copy_queue import Copies, CopyQueue, Slot, Unit
from .memory import Registered, pieces
from .plan import GB, TOLERANCE, Sizes, card_bytes, fitting, gigabytes, slot_bytes, slots, spread, up

BLOCKS = "diffusion_model.blocks."
FUSERS = "diffusion_model.face_adapter.fuser_blocks."
EVERY = 5  # a face block comes after every fifth block

log = get_logger(__name__)


def units_of(module) -> tuple[list[Unit], list[Unit]]:
    """(transformer blocks, the face blocks that follow some of them)"""
    blocks = [Unit(index, block, f"{BLOCKS}{index}") for index, block in enumerate(module.blocks)]
    fusers = [Unit(at * EVERY, one, f"{FUSERS}{at}") for at, one in enumerate(module.face_adapter.fuser_blocks)]
    return blocks, fusers


class BlockOffloader:
    """State of one clone's offload.

    Attributes:
        settings: what the node was asked for.
        sizes: of the model's weights.
        plan: blocks that are copied in every step.
        kept: blocks on the card between steps, by ("block" or "fuser", index).
        room: bytes that the host leaves for blocks on the card.
        activations: what a step takes beside weights, by what it was measured with; shared among clones.
    """

    def __init__(self, settings, sizes: Sizes, activations: dict | None = None):
        self.settings, self.sizes = settings, sizes
        self.activations = {} if activations is None else activations
        self.room = float("inf")
        self.kept: dict[tuple[str, int], Slot] = {}
        self.plan = self._first_plan()
        self.lanes: dict[str, CopyQueue] = {}
        self.copies: Copies | None = None
        self._patcher = lambda: None
        self._units: dict[str, list[Unit]] = {}
        self._swapped: list[tuple[Unit, list[torch.Tensor]]] = []
        self._stamp: tuple | None = None
        self._others: int | None = None  # on the card in a run's first step, beside our blocks
        self._needed = 0  # by the steps of this run
        self._said: int | None = None

    # -- what the host asks

    def on_model_patcher_clone(self) -> BlockOffloader:
        return BlockOffloader(self.settings, self.sizes, self.activations)

    def belongs_to(self, patcher) -> None:
        self._patcher = weakref.ref(patcher)

    def owns(self, name: str) -> bool:
        """Whether the host is to leave a module alone."""
        return name.startswith((BLOCKS, FUSERS))

    @property
    def size(self) -> int:
        """Bytes that the MODEL is to take on the card, other than activations."""
        plan = self.plan if self.settings.how == "fit" else self._first_plan()
        return self.sizes.rest + card_bytes(self.sizes, plan)

    @property
    def kept_size(self) -> int:
        return sum(slot.flat.numel() for slot in self.kept.values())

    @property
    def slots(self) -> list[Slot]:
        return [slot for lane in self.lanes.values() for slot in lane.slots]

    def drop(self, size: float = float("inf")) -> int:
        """Take blocks off the card until so many bytes are free; how many that were."""
        before = self.kept_size
        if self.kept:
            self.wait()
        for key in list(self.kept):
            if before - self.kept_size >= size:
                break
            del self.kept[key]
        return before - self.kept_size

    def wait(self) -> None:
        if self.copies is not None:
            self.copies.finish()

    def end(self) -> None:
        """The end of a run, however it came about: slots and stream go, blocks that were to stay do."""
        self._restore()
        self.wait()
        self.lanes, self.copies, self._units, self._others, self._needed = {}, None, {}, None, 0

    def release(self) -> None:
        self.end()
        self.kept.clear()

    # -- a step

    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor, x, *args, **kwargs):
        """Around the model's ``forward``: what is put on its blocks goes on inside of every other wrapper, which find
        the blocks as they are."""
        patcher, module = self._patcher(), executor.class_obj
        if patcher is None:
            return executor(x, *args, **kwargs)
        plain = module.forward_orig

        @torch.compiler.disable(recursive=False)
        def forward_orig(x, *given, **named):
            with self._step(patcher, module, x):
                # In a variable: a step that is refused at its end would otherwise free the result while its exception
                # is on the way, and comfy-aimdo, which logs from within a free, then never returns.
                out = plain(x, *given, **named)
            return out

        with swapped(module, "forward_orig", forward_orig):
            return executor(x, *args, **kwargs)

    @contextmanager
    def _step(self, patcher, module, x):
        hooks, locked, start = [], Registered.count, time.perf_counter()
        try:
            measuring = self._prepare(patcher, module, x)
            for kind, targets in (("block", module.blocks), ("fuser", module.face_adapter.fuser_blocks)):
                for target, unit in zip(targets, self._units[kind]):
                    hooks.append(target.register_forward_pre_hook(partial(self._before, patcher, kind, unit)))
                    hooks.append(target.register_forward_hook(partial(self._after, kind, unit)))
            for lane in self.lanes.values():
                lane.begin()
            yield
            if measuring is not None:
                self._measured(x, *measuring)
        except torch.cuda.OutOfMemoryError as error:
            least = self.plan == self._every() and not self.kept
            self.release()
            if not least:
                raise
            # the same class: the host then frees what it can, as after its own
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
        if Registered.count > locked:
            log.info(
                "locked %d pieces of host memory (%s in all) in a step of %.0f s.",
                Registered.count - locked, gigabytes(Registered.size), time.perf_counter() - start,
            )  # fmt: skip

    @torch.compiler.disable
    def _before(self, patcher, kind: str, unit: Unit, *_) -> None:
        slot = self.kept.get((kind, unit.index))
        if slot is None and unit.index not in self.plan:
            slot = self._keep(kind, unit)
        if slot is None:
            slot = self.lanes[kind].slot_of(unit)
        elif any(own is not copied for own, copied in zip(unit.tensors(), slot.given)):
            self.copies.done(slot)  # something stands in front of its own weights now, or no longer does
            self.copies.start(unit, slot)
        if slot.arrived is not None:
            self.copies.wait(slot)
        self._swapped.append((unit, unit.tensors()))
        unit.put(slot.tensors)
        if not slot.merged:
            self._merge(patcher, unit, slot)

    @torch.compiler.disable
    def _after(self, kind: str, unit: Unit, *_) -> None:
        self._restore()
        slot = next((one for one in self.lanes[kind].slots if one.unit is unit), None)
        if slot is not None:
            self.lanes[kind].after(unit, slot)

    def _restore(self) -> None:
        while self._swapped:
            unit, tensors = self._swapped.pop()
            unit.put(tensors)

    def _merge(self, patcher, unit: Unit, slot: Slot) -> None:
        """Add the MODEL's patches to the weights on the card, as the host does when it loads them there."""
        slot.merged = True
        for key, tensor in zip(unit.keys, slot.tensors):
            if key in patcher.patches:
                made = patcher.patch_weight_to_device(key, device_to=slot.flat.device, return_weight=True)
                for to, piece in zip(pieces(tensor), pieces(made)):
                    to.copy_(piece)

    def _keep(self, kind: str, unit: Unit) -> Slot | None:
        """Copy a block to the card to stay there; None where there is no memory for it."""
        try:
            slot = self.copies.new_slot(unit.size())
        except torch.cuda.OutOfMemoryError:
            log.warning("no memory on the card for block %d: it is copied in every step.", unit.index)
            self.room = self.kept_size + slot_bytes(self.sizes, self.plan)  # until the host loads the model again
            self._set_plan(self.plan | {unit.index})
            return None
        self.copies.start(unit, slot)
        self.kept[kind, unit.index] = slot
        return slot

    # -- how many blocks

    def _first_plan(self) -> frozenset[int]:
        total = len(self.sizes.blocks)
        return spread(total if self.settings.how == "fit" else self.settings.blocks, total)

    def _every(self) -> frozenset[int]:
        return frozenset(range(len(self.sizes.blocks)))

    @torch.compiler.disable
    def _prepare(self, patcher, module, x):
        """Decide what is copied; (bytes allocated before the step, device) where this step is to be measured."""
        device = x.device
        if self.copies is None:
            self.copies = Copies(device)
            blocks, fusers = units_of(module)
            self._units = {"block": blocks, "fuser": fusers}
        stamp = weights_stamp(patcher)
        if stamp != self._stamp:  # what stays on the card has another LoRA merged into it
            self.drop()
            self._stamp = stamp
        if self.settings.how != "fit":
            plan = fitting(self.sizes, self.room, self.settings.blocks)
            self._set_plan(self._every() if plan is None else plan)
            return None
        counted = device.type == "cuda"
        if self._others is None:
            self._others = torch.cuda.memory_allocated(device) - self.kept_size if counted else self.sizes.rest
        known = self.activations.get(self._key(x))
        if known is None and counted:
            self.drop()
            self._set_plan(self._every(), lock=False)
            torch.cuda.reset_peak_memory_stats(device)
            slots = sum(slot.flat.numel() for slot in self.slots)
            return torch.cuda.memory_allocated(device) - slots, device
        self._fit(patcher.model.memory_required(x.shape) if known is None else known, device)
        return None

    @torch.compiler.disable
    def _measured(self, x, before: int, device) -> None:
        slots = sum(slot.flat.numel() for slot in self.slots)
        self.activations[self._key(x)] = torch.cuda.max_memory_allocated(device) - before - slots
        self._fit(self.activations[self._key(x)], device)

    def _fit(self, activations: int, device) -> None:
        import comfy.model_management as host

        # the largest of a run, whose steps may be of several sizes: what is on the card is not to come and go
        self._needed = activations = max(self._needed, activations)
        budget = self.settings.gigabytes * GB
        least = self._others + activations + slot_bytes(self.sizes, self._every())
        if least > budget * TOLERANCE:
            raise InputError(
                f"a step of this size takes {up(least)} with every block offloaded ({gigabytes(activations)} for its "
                f"own numbers), more than the {self.settings.gigabytes:g} GB asked for: raise gigabytes, or make a "
                "smaller video."
            )
        if device.type == "cuda":
            budget = min(budget, host.get_total_memory(device) - host.extra_reserved_memory())
        room = min(budget - self._others - activations, self.room)
        plan = fitting(self.sizes, room)
        self._set_plan(self._every() if plan is None else plan)

    def _key(self, x) -> tuple:
        from ..accelerate import settings_of

        patcher = self._patcher()
        return tuple(x.shape), x.dtype, repr(settings_of(patcher))

    def _set_plan(self, plan: frozenset[int], lock: bool = True) -> None:
        lock = lock and self.settings.locked
        if plan == self.plan and self.lanes and all(lane.lock == lock for lane in self.lanes.values()):
            return
        if self.lanes:
            self.wait()  # a slot that goes may still be copied to
        self.kept = {key: slot for key, slot in self.kept.items() if key[1] not in plan}
        self.plan, old = plan, self.lanes
        counts = {"block": slots(plan), "fuser": 1}
        self.lanes = {
            kind: CopyQueue(self.copies, [unit for unit in units if unit.index in plan], counts[kind], lock)
            for kind, units in self._units.items()
        }
        for kind, lane in old.items():  # the slots that there are
            size = max((unit.size() for unit in self.lanes[kind].units), default=0)
            fitting_slots = [slot for slot in lane.slots if slot.flat.numel() >= size]
            self.lanes[kind].slots = fitting_slots[: self.lanes[kind].count]
        said = len(plan)
        if lock == self.settings.locked and said != self._said:
            self._said = said
            log.info(
                "%d of %d blocks in host memory, %s of the model on the card.",
                len(plan), len(self.sizes.blocks), gigabytes(self.size),
            )  # fmt: skip


def weights_stamp(patcher) -> tuple:
    """What tells the weights in a model now from those before: its patches, and hooks with their strengths."""
    hooks = patcher.current_hooks
    applied = () if hooks is None else tuple((id(hook), float(hook.strength)) for hook in hooks.hooks)
    return patcher.patches_uuid, applied
