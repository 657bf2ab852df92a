"""What does not change between the steps of a run, computed in its first step and kept until its end.

Every entry is found by what it was computed from: the content of its input (two 64-bit sums over the raw bits), dtype,
device, and the weights that stood in the model then. So another segment, a blank face in the negative, a context
window or a LoRA that comes on in the middle of a run is a miss, never a wrong hit.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import torch

from ..patching import is_plain, swapped
from .face_motion import content_sums, depthwise_blur

WEIGHTS = "wan_animate_kit_weights"
# Entries of a kind: one for each content that a step may bring (the positive's, the negative's, context windows').
# The host cuts a video of 77 faces into 10 batches; the motion of one is 16 KB.
LIMITS = {"face": 32, "motion": 128, "rope": 8, "pose": 2}
CONTEXTS = 4
LARGEST_CONTEXT = 1 << 25  # elements; a text of 512 tokens has 2.6 million


class StepCache:
    """The kept results of one accelerated MODEL and the wrappers that use them.

    Attributes:
        computed: how often something had to be computed, by kind; :meth:`clear` leaves it.
    """

    def __init__(self, face_motion: bool, reuse: str):
        self.face_motion, self.reuse = face_motion, reuse
        self.computed: dict[str, int] = {}
        self._kept: dict[object, dict[tuple, torch.Tensor]] = {}

    def clear(self, *_) -> None:
        """Lets go of everything kept. The host calls it at the end of a run, Cancel and errors included."""
        self._kept.clear()

    @property
    def kept_bytes(self) -> int:
        kept = [value for entries in self._kept.values() for value in entries.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, options=None, **kwargs):
        """Around the host's ``apply_model``: tells the forward inside which weights are in the model now."""
        patcher = executor.class_obj.current_patcher
        options = {**(options or {}), WEIGHTS: weights_stamp(patcher)}
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    # Not to be traced when the host compiles the whole model: what runs inside still is.
    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor, x, timestep, context, clip_fea=None, concat=None, options=None, **kwargs):
        """Around the model's ``forward``."""
        options = {} if options is None else options
        with self._installed(executor.class_obj, options.get(WEIGHTS)):
            return executor(x, timestep, context, clip_fea, concat, options, **kwargs)

    @contextmanager
    def _installed(self, module, weights):
        """For one forward, the module's methods answer from what is kept."""
        with ExitStack() as stack:

            def swap(owner, name, replacement):
                stack.enter_context(swapped(owner, name, replacement))

            if self.face_motion and all_plain(module.motion_encoder):
                if all_plain(module.face_encoder):
                    swap(module, "after_patch_embedding", self._faces_once(module, weights))
                else:  # a LoRA beside the encoder's weights: what comes before it is most of the work
                    swap(module.motion_encoder, "get_motion", self._motion_once(module, weights))
            if self.reuse != "off" and "rope_encode" not in vars(module):
                swap(module, "rope_encode", self._rope_once(module, weights))
            if self.reuse == "all":
                if is_plain(module.pose_patch_embedding):
                    swap(module.pose_patch_embedding, "forward", self._pose_once(module, weights))
                seen: dict = {}
                for name, linear in context_linears(module):
                    swap(linear, "forward", self._linear_once(name, linear, weights, seen))
            yield

    def _get(self, kind, limit: int, key, compute):
        entries = self._kept.setdefault(kind, {})
        value = entries.pop(key, None)
        if value is None:
            value = compute()
            name = kind if isinstance(kind, str) else "context"
            self.computed[name] = self.computed.get(name, 0) + 1
        entries[key] = value  # in the last place: what was not used for longest goes first
        while len(entries) > limit:
            entries.pop(next(iter(entries)))
        return value

    def _faces_once(self, module, weights):
        plain = module.after_patch_embedding

        def after_patch_embedding(x, pose_latents, face_pixel_values):
            if face_pixel_values is None or torch.compiler.is_compiling():
                return plain(x, pose_latents, face_pixel_values)
            embedded = []

            def encode():
                with depthwise_blur(module.motion_encoder):
                    embedded.extend(plain(x, pose_latents, face_pixel_values))
                return embedded[1]

            key = (x.shape[2], x.dtype, weights, *content_key(face_pixel_values))
            motion = self._get("face", LIMITS["face"], key, encode)
            # A miss has added the pose to x already; a hit still has to.
            return (embedded[0] if embedded else plain(x, pose_latents, None)[0]), motion

        return after_patch_embedding

    def _motion_once(self, module, weights):
        plain = module.motion_encoder.get_motion

        def get_motion(crops):
            if torch.compiler.is_compiling():
                return plain(crops)

            def encode():
                with depthwise_blur(module.motion_encoder):
                    return plain(crops)

            return self._get("motion", LIMITS["motion"], (weights, *content_key(crops)), encode)

        return get_motion

    def _rope_once(self, module, weights):
        plain = module.rope_encode

        def rope_encode(*args, transformer_options=None, **kwargs):
            options = transformer_options or {}
            try:
                scale = tuple(sorted((options.get("rope_options") or {}).items()))
                key = (args, tuple(sorted(kwargs.items(), key=lambda item: item[0])), scale)
                hash(key)
            except TypeError:  # something in there that cannot be compared
                return plain(*args, transformer_options=options, **kwargs)
            if torch.compiler.is_compiling():
                return plain(*args, transformer_options=options, **kwargs)
            return self._get("rope", LIMITS["rope"], key, lambda: plain(*args, transformer_options=options, **kwargs))

        return rope_encode

    def _pose_once(self, module, weights):
        plain = module.pose_patch_embedding.forward

        def forward(latents):
            if torch.compiler.is_compiling():
                return plain(latents)
            return self._get("pose", LIMITS["pose"], (weights, *content_key(latents)), lambda: plain(latents))

        return forward

    def _linear_once(self, name, linear, weights, seen):
        plain = linear.forward

        def forward(context):
            if torch.compiler.is_compiling() or context.numel() > LARGEST_CONTEXT:
                return plain(context)
            # All blocks of a forward get views of one context: its content is summed once, not once a block. Holding
            # it meanwhile keeps its address its own.
            place = (context.data_ptr(), context.shape, context.stride(), context.dtype)
            if place not in seen:
                seen[place] = (content_key(context), context)
            return self._get((name,), CONTEXTS, (weights, seen[place][0]), lambda: plain(context))

        return forward


def content_key(values: torch.Tensor) -> tuple:
    return (tuple(values.shape), values.dtype, str(values.device), *content_sums(values))


def weights_stamp(patcher) -> tuple | None:
    """What tells the weights in a model now from those before: its patches, and the hooks applied with their strengths
    (a hook's keyframes change them in the middle of a run)."""
    if patcher is None:
        return None
    hooks = getattr(patcher, "current_hooks", None)
    applied = () if hooks is None else tuple((id(hook), float(hook.strength)) for hook in hooks.hooks)
    return patcher.patches_uuid, applied


def all_plain(module) -> bool:
    return all(map(is_plain, module.modules()))


def context_linears(module):
    """(name, layer) of every linear layer that only sees text or the reference's CLIP tokens."""
    for index, block in enumerate(module.blocks):
        # A compiled block is left alone: there, swapping parts would compile it again in every step.
        attention = None if hasattr(block, "_orig_mod") else getattr(block, "cross_attn", None)
        for name in ("k", "v", "k_img", "v_img"):
            linear = getattr(attention, name, None)
            if linear is not None and is_plain(linear):
                yield f"{index}.{name}", linear
