"""One sampling of a split MODEL: the members' patchers, threads and forwards."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.log import get_logger
from ....wan_animate.parallel.team import Team
from ....wan_animate.parallel.ulysses import Member
from ..lora.branch import KEY as LORA
from ..patching import weights_stamp
from .replicas import KEY, follow_hooks, forget, member_patchers, own_wrappers
from .shard import sharded

log = get_logger(__name__)


@dataclass(frozen=True)
class Settings:
    """How members work together.

    Attributes:
        groups: of a member's heads: one is exchanged while another computes. With more there is less waiting, and less
            work for a card at a time. None: 2 on two cards (one run on H200s at 832x480: 1.54, 1.55 and 1.74 s a step
            in one, two and four groups; in four, 1.57 s on another host), else 4.
        timeout: seconds for which a member is waited for.
    """

    groups: int | None = None
    timeout: float = 600.0

    def groups_on(self, members: int) -> int:
        return self.groups or (2 if members == 2 else 4)


class Split:
    """The wrappers of a split MODEL and its clones."""

    def __init__(self, devices: tuple[torch.device, ...], settings: Settings) -> None:
        self.devices, self.settings = devices, settings
        self._runs: dict[int, Run] = {}  # by the transformer's id, while it is sampled
        # Of the last sampling: the next segment's is with the same patcher, and what its members hold stays.
        self._kept: tuple[Callable[[], Any], Any, list[Any]] | None = None

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        import comfy.patcher_extension

        guider = executor.class_obj
        patcher, module = guider.model_patcher, guider.model_patcher.model.diffusion_model
        if id(module) in self._runs:  # a sampling within a sampling
            return executor(*args, **kwargs)
        if guider.model_options is not None:
            _innermost(guider.model_options, comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL)
        run = Run(patcher, self._members(patcher), self.devices, self.settings)
        patcher.set_additional_models(KEY, run.patchers)  # the host loads them with the first
        self._runs[id(module)] = run
        try:
            return executor(*args, **kwargs)
        finally:
            del self._runs[id(module)]
            patcher.additional_models.pop(KEY, None)
            if not run.close():
                self._kept = None

    def _members(self, patcher: Any) -> list[Any]:
        kept = self._kept
        if kept is None or kept[0]() is not patcher or kept[1] != patcher.patches_uuid:
            kept = weakref.ref(patcher), patcher.patches_uuid, member_patchers(patcher, self.devices)
        self._kept = kept
        return kept[2]

    # If the host compiles the whole model, this is not traced, but what it calls is.
    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        run = self._runs.get(id(executor.class_obj))
        return executor(x, *args, **kwargs) if run is None else run.forward(executor, x, *args, **kwargs)


def _innermost(model_options: dict[str, Any], kind: str) -> None:
    """Wrappers of others, which may change inputs or leave a step out, are called once: around all members."""
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {}).get(kind, {})
    if KEY in wrappers:
        wrappers[KEY] = wrappers.pop(KEY)


class Run:
    """
    Args:
        patcher: of the first device, with all its patches.
        patchers: of the others.
    """

    def __init__(
        self, patcher: Any, patchers: list[Any], devices: tuple[torch.device, ...], settings: Settings
    ) -> None:
        import comfy.model_management as host

        self.patcher, self.patchers = patcher, patchers
        self.groups = settings.groups_on(len(devices))
        passed = (InputError, host.InterruptProcessingException, *_kinds(host.OOM_EXCEPTION))
        self.team = Team(devices, settings.timeout, passed)
        check = host.throw_exception_if_processing_interrupted
        self.members = [
            Member(rank, devices, self.team.meeting, None if rank else check) for rank in range(len(devices))
        ]
        self._started = False
        self._weights: Any = None

    def forward(
        self,
        executor: Any,
        x: torch.Tensor,
        timestep: torch.Tensor,
        context: torch.Tensor,
        clip_fea: torch.Tensor | None = None,
        concat: torch.Tensor | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """A forward of all members, called as the transformer; the first member's is ``executor``'s."""
        options = {} if options is None else options
        if not self._started:
            self._started = True
            for patcher in self.patchers:
                follow_hooks(patcher, self.patcher)
                patcher.pre_run()
        self._follow_hooks()
        given = (x, timestep, context, clip_fea, concat, options)

        def first() -> torch.Tensor:
            with sharded(executor.class_obj, self.members[0], self.groups):
                return executor(*given, **kwargs)

        tasks: list[Callable] = [first]
        for patcher, member in zip(self.patchers, self.members[1:]):
            tasks.append(self._task(patcher, member, *(moved(one, member.device) for one in (given, kwargs))))
        return self.team.run(tasks)[0]

    def _task(self, patcher: Any, member: Member, given: tuple, kwargs: dict[str, Any]) -> Callable[[], None]:
        import comfy.patcher_extension as host

        kinds = host.WrappersMP
        *args, options = given
        options["wrappers"] = {kinds.DIFFUSION_MODEL: own_wrappers(patcher, kinds.DIFFUSION_MODEL)}
        switches = own_wrappers(patcher, kinds.APPLY_MODEL).get(LORA, [])
        module = patcher.model.diffusion_model

        def forward(*_: Any) -> torch.Tensor:
            return module(*args, options, **kwargs)

        def task() -> None:
            with sharded(module, member, self.groups):
                # LoRAs beside the weights, which are switched by the noise level
                executor = host.WrapperExecutor.new_class_executor(forward, patcher.model, switches)
                executor.execute(args[0], options.get("sigmas"))

        return task

    def _follow_hooks(self) -> None:
        """The host changes weights by hooks while it samples; so do the members."""
        stamp = weights_stamp(self.patcher)
        if stamp == self._weights:
            return
        self._weights = stamp
        for patcher in self.patchers:
            if self.patcher.hook_patches or patcher.current_hooks is not None:
                patcher.clear_cached_hook_weights()
                patcher.current_hooks = None
                patcher.patch_hooks(self.patcher.current_hooks)

    def close(self) -> bool:
        """Whether the members can be used again."""
        ended = self.team.close()
        if not ended:
            forget(self.patcher)  # a thread that hangs still uses the others' modules
        if self._started:
            for patcher in self.patchers:
                patcher.cleanup()
        return ended


def moved(value: Any, device: torch.device) -> Any:
    """Tensors on ``device``; containers are new ones."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if type(value) is dict:
        return {key: moved(one, device) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(moved(one, device) for one in value)
    return value


def _kinds(given: Any) -> tuple[type[BaseException], ...]:
    return tuple(given) if isinstance(given, tuple) else (given,)
