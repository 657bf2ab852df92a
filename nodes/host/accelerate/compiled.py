"""Transformer blocks through ``torch.compile``, installed as the host's compile node does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ....wan_animate.log import get_logger
from ..patching import static_clone

# The keys of the host's compile node (comfy_api/torch_helpers/torch_compile.py), so that the later of the two replaces
# the other.
KEY = "torch.compile"
OPTIONS = "torch_compile_kwargs"

log = get_logger(__name__)


def compile_blocks(model: Any, backend: str = "inductor") -> Any:
    """A clone with blocks compiled singly, sharing code; uncompiled if that fails.

    Raises:
        InputError: the model needs the host's dynamic loading.
    """
    import comfy.patcher_extension

    clone = static_clone(model, "compile_blocks")
    settings: dict[str, Any] = {"backend": backend, "dynamic": False}
    if backend == "inductor":
        settings["options"] = {"guard_filter_fn": _without_options}
    paths = [f"diffusion_model.blocks.{index}" for index in range(len(clone.model.diffusion_model.blocks))]
    blocks = CompiledBlocks({path: torch.compile(clone.get_model_object(path), **settings) for path in paths})
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    clone.remove_wrappers_with_key(kind, KEY)
    clone.add_wrapper_with_key(kind, KEY, blocks.apply_model)
    clone.remove_callbacks_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY)
    clone.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY, blocks.report)
    clone.model_options[OPTIONS] = settings
    return clone


def without_compiled(clone: Any) -> None:
    import comfy.patcher_extension

    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    if any(isinstance(getattr(one, "__self__", None), CompiledBlocks) for one in clone.get_wrappers(kind, KEY)):
        clone.remove_wrappers_with_key(kind, KEY)
        clone.remove_callbacks_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY)
        clone.model_options.pop(OPTIONS, None)


def _without_options(guards: list[Any]) -> list[bool]:
    """No guards on ``transformer_options``: sigma and block index would recompile every time."""
    return ["transformer_options" not in guard.name for guard in guards]


class CompiledBlocks:
    def __init__(self, blocks: dict[str, Callable]) -> None:
        self.blocks = blocks
        self.failed: str | None = None
        self.breaks = self.graphs = 0
        self._reported: tuple | None = None

    def apply_model(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.failed is not None:
            return executor(*args, **kwargs)
        before = _counts()
        try:
            return self._run(executor, *args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            # A step has no side effects, so it can be run again.
            self.failed = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
            log.warning("blocks cannot be compiled here, running them as they are: %s", self.failed)
        finally:
            self.graphs, self.breaks = (
                had + now - then for had, now, then in zip((self.graphs, self.breaks), _counts(), before)
            )
        return executor(*args, **kwargs)

    def _run(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        import comfy.utils

        owner, originals = executor.class_obj, {}
        try:
            for path, block in self.blocks.items():
                originals[path] = comfy.utils.get_attr(owner, path)
                comfy.utils.set_attr(owner, path, block)
            return executor(*args, **kwargs)
        finally:
            for path, block in originals.items():
                comfy.utils.set_attr(owner, path, block)

    def report(self, *_: Any) -> None:
        if self.failed is None and (self.graphs, self.breaks) != self._reported:
            self._reported = (self.graphs, self.breaks)
            log.info("blocks compiled into %d graphs, %d graph breaks.", self.graphs, self.breaks)


def _counts() -> tuple[int, int]:
    counters = torch._dynamo.utils.counters
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
