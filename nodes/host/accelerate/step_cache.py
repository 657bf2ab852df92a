"""Results that stay the same between the steps of a run.

Keys: content sums, shape, dtype, device and the model's patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ....wan_animate.kernels.plain_module import is_plain
from ....wan_animate.swapped import swapped
from ..patching import weights_stamp
from .face_motion import content_sums, fast_blur

WEIGHTS = "wan_animate_kit_weights"
# Entries per kind: a step may bring several contents (positive, negative, context windows). The host encodes 77 faces
# in 10 batches; the motion of one batch is 16 KB.
LIMITS = {"face": 32, "motion": 128, "rope": 8, "pose": 2}
CONTEXTS = 4
LARGEST_CONTEXT = 1 << 25  # elements; a text of 512 tokens has 2.6 million


class StepCache:
    """One MODEL's cache and wrappers.

    Attributes:
        computed: number of results by kind.
    """

    def __init__(self, face_motion: bool, reuse: str) -> None:
        self.face_motion, self.reuse = face_motion, reuse
        self.computed: dict[str, int] = {}
        self._entries: dict[object, dict[tuple, torch.Tensor]] = {}

    def clear(self, *_: Any) -> None:
        """Called by the host after a run, Cancel and errors included."""
        self._entries.clear()

    @property
    def cached_bytes(self) -> int:
        return sum(tensor.nbytes for entries in self._entries.values() for tensor in entries.values())

    def apply_model(
        self,
        executor: Any,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: torch.Tensor | None = None,
        c_crossattn: torch.Tensor | None = None,
        control: Any = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        patcher = executor.class_obj.current_patcher
        options = {**(options or {}), WEIGHTS: weights_stamp(patcher)}
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    # If the host compiles the whole model, this is not traced, but what it calls is.
    @torch.compiler.disable(recursive=False)
    def diffusion_model(
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
        options = {} if options is None else options
        with self._installed(executor.class_obj, options.get(WEIGHTS)):
            return executor(x, timestep, context, clip_fea, concat, options, **kwargs)

    @contextmanager
    def _installed(self, module: Any, weights: tuple | None) -> Iterator[None]:
        with ExitStack() as stack:

            def swap(owner: Any, name: str, replacement: Callable) -> None:
                stack.enter_context(swapped(owner, name, replacement))

            if self.face_motion and all_plain(module.motion_encoder):
                if all_plain(module.face_encoder):
                    swap(module, "after_patch_embedding", self._cached_faces(module, weights))
                else:  # an unmerged LoRA on the encoder: the motion before it is most of the work
                    swap(module.motion_encoder, "get_motion", self._cached_motion(module, weights))
            if self.reuse != "off" and "rope_encode" not in vars(module):
                swap(module, "rope_encode", self._cached_rope(module))
            if self.reuse == "all":
                if is_plain(module.pose_patch_embedding):
                    swap(module.pose_patch_embedding, "forward", self._cached_pose(module, weights))
                seen: dict = {}
                for name, linear in context_linears(module):
                    swap(linear, "forward", self._cached_linear(name, linear, weights, seen))
            yield

    def _get(self, kind: str | tuple, limit: int, key: tuple, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        entries = self._entries.setdefault(kind, {})
        value = entries.pop(key, None)
        if value is None:
            value = compute()
            name = kind if isinstance(kind, str) else "context"
            self.computed[name] = self.computed.get(name, 0) + 1
        entries[key] = value  # moved to the end: the least recently used entry goes first
        while len(entries) > limit:
            entries.pop(next(iter(entries)))
        return value

    def _cached_faces(self, module: Any, weights: tuple | None) -> Callable:
        plain = module.after_patch_embedding

        def after_patch_embedding(
            x: torch.Tensor, pose_latents: torch.Tensor | None, face_pixel_values: torch.Tensor | None
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            if face_pixel_values is None or torch.compiler.is_compiling():
                return plain(x, pose_latents, face_pixel_values)
            embedded: list[torch.Tensor] = []

            def encode() -> torch.Tensor:
                with fast_blur(module.motion_encoder):
                    embedded.extend(plain(x, pose_latents, face_pixel_values))
                return embedded[1]

            key = (x.shape[2], x.dtype, weights, *content_key(face_pixel_values))
            motion = self._get("face", LIMITS["face"], key, encode)
            # On a miss the pose has been added to x already.
            return (embedded[0] if embedded else plain(x, pose_latents, None)[0]), motion

        return after_patch_embedding

    def _cached_motion(self, module: Any, weights: tuple | None) -> Callable:
        plain = module.motion_encoder.get_motion

        def get_motion(crops: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_compiling():
                return plain(crops)

            def encode() -> torch.Tensor:
                with fast_blur(module.motion_encoder):
                    return plain(crops)

            return self._get("motion", LIMITS["motion"], (weights, *content_key(crops)), encode)

        return get_motion

    def _cached_rope(self, module: Any) -> Callable:
        plain = module.rope_encode

        def rope_encode(*args: Any, transformer_options: dict | None = None, **kwargs: Any) -> torch.Tensor:
            options = transformer_options or {}
            try:
                scale = tuple(sorted((options.get("rope_options") or {}).items()))
                key = (args, tuple(sorted(kwargs.items(), key=lambda item: item[0])), scale)
                hash(key)
            except TypeError:  # an argument that is not hashable
                return plain(*args, transformer_options=options, **kwargs)
            if torch.compiler.is_compiling():
                return plain(*args, transformer_options=options, **kwargs)
            return self._get("rope", LIMITS["rope"], key, lambda: plain(*args, transformer_options=options, **kwargs))

        return rope_encode

    def _cached_pose(self, module: Any, weights: tuple | None) -> Callable:
        plain = module.pose_patch_embedding.forward

        def forward(latents: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_compiling():
                return plain(latents)
            return self._get("pose", LIMITS["pose"], (weights, *content_key(latents)), lambda: plain(latents))

        return forward

    def _cached_linear(self, name: str, linear: Any, weights: tuple | None, seen: dict) -> Callable:
        plain = linear.forward

        def forward(context: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_compiling() or context.numel() > LARGEST_CONTEXT:
                return plain(context)
            # All blocks get views of one context, which is summed once a forward. Holding a reference keeps its address
            # from being used again.
            place = (context.data_ptr(), context.shape, context.stride(), context.dtype)
            if place not in seen:
                seen[place] = (content_key(context), context)
            return self._get((name,), CONTEXTS, (weights, seen[place][0]), lambda: plain(context))

        return forward


def content_key(values: torch.Tensor) -> tuple:
    return (tuple(values.shape), values.dtype, str(values.device), *content_sums(values))


def all_plain(module: torch.nn.Module) -> bool:
    return all(map(is_plain, module.modules()))


def context_linears(module: Any) -> Iterator[tuple[str, Any]]:
    """(name, layer) of the linear layers that see only text or CLIP tokens."""
    for index, block in enumerate(module.blocks):
        # Not in a compiled block: another forward would compile it again in every step.
        attention = None if hasattr(block, "_orig_mod") else getattr(block, "cross_attn", None)
        for name in ("k", "v", "k_img", "v_img"):
            linear = getattr(attention, name, None)
            if linear is not None and is_plain(linear):
                yield f"{index}.{name}", linear
