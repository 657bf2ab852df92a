"""Face motion encoded once a segment instead of once a step, with the encoder's blur as a depthwise convolution.

The host's AnimateWanModel runs its motion encoder over every face crop in every sampling step, though the crops never
change within a segment: 1.3 of 5.2 seconds of a step on an H100, 40 of 41 with a small model on a CPU. The blur in
that encoder reshapes each map to a one-channel image; as a depthwise convolution it gives the same bits on a CPU, and
the same within rounding on a card (where the library may sum in another order), 13 times faster on an H100. Both are
done by a wrapper around the diffusion model's forward, so a patched MODEL is a clone that composes with other
patches, and nothing of it is left on the module between calls.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
import torch.nn.functional as F

WRAPPER_KEY = "wan_animate_kit_face_motion"


def patch_face_motion(model):
    """A clone of a Wan Animate MODEL that encodes each face video once.

    The clone's cache lives in the wrapper: it goes when the clone goes, or with :meth:`FaceMotionCache.clear`.

    Returns:
        (clone, cache)
    """
    import comfy.patcher_extension

    cache = FaceMotionCache()
    clone = model.clone()
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    clone.remove_wrappers_with_key(kind, WRAPPER_KEY)
    clone.add_wrapper_with_key(kind, WRAPPER_KEY, cache.wrapper)
    return clone, cache


class FaceMotionCache:
    """Motion vectors by the content of the face video that they were made from.

    ``limit`` batches are kept, the one used longest ago goes first. The host cuts a video of 77 faces into 10 batches,
    and with guidance a step has two videos (the face and its blank); a batch's motion vectors are 16 KB.
    """

    def __init__(self, limit: int = 128):
        self.limit = limit
        self.encoded = 0
        self._kept: dict[tuple, torch.Tensor] = {}

    def clear(self) -> None:
        self._kept.clear()

    def wrapper(self, executor, x, timestep, context, *args, **kwargs):
        module = executor.class_obj
        faces = kwargs.get("face_pixel_values")
        if faces is None or not hasattr(module, "motion_encoder"):
            return executor(x, timestep, context, *args, **kwargs)
        with self._encoder_of(module):
            return executor(x, timestep, context, *args, **kwargs)

    @contextmanager
    def _encoder_of(self, module):
        """For one forward, ``motion_encoder.get_motion`` answers from the cache.

        The host calls it with batches of 8 crops in order; the batch is looked up by its own content, so a change in
        how the host cuts them costs at most a miss.
        """
        encoder = module.motion_encoder
        encode = encoder.get_motion

        def get_motion(crops):
            key = (tuple(crops.shape), crops.dtype, str(crops.device), *content_sums(crops))
            motion = self._kept.pop(key, None)
            if motion is None:
                with depthwise_blur(encoder):
                    motion = encode(crops)
                self.encoded += len(crops)
            self._kept[key] = motion
            while len(self._kept) > self.limit:
                self._kept.pop(next(iter(self._kept)))
            return motion

        encoder.get_motion = get_motion
        try:
            yield
        finally:
            del encoder.get_motion


def content_sums(values: torch.Tensor) -> tuple[int, int]:
    """Two 64-bit sums over the raw bits of a tensor, one of them weighted by position: equal for equal content, and a
    changed element changes them. Runs where the tensor is; one crop at a time, so no large temporary is made."""
    bits = {2: torch.int16, 4: torch.int32, 1: torch.int8}[values.element_size()]
    plain = weighted = torch.zeros((), dtype=torch.int64, device=values.device)
    weights = None
    for index, item in enumerate(values):
        flat = item.contiguous().view(bits).flatten().to(torch.int64)
        if weights is None:
            # Odd multipliers (splitmix's constant) modulo 2**64: neighbours never share a weight.
            weights = torch.arange(1, flat.numel() + 1, device=values.device) * -7046029254386353131 | 1
        plain = plain + flat.sum() * (2 * index + 1)
        weighted = weighted + (flat * weights).sum() * (2 * index + 1)
    return int(plain), int(weighted)


@contextmanager
def depthwise_blur(encoder):
    """While open, every ``Blur`` in the motion encoder runs as one depthwise convolution."""
    blurs = [module for module in encoder.modules() if type(module).__name__ == "Blur" and hasattr(module, "kernel")]
    for blur in blurs:
        blur.forward = _DepthwiseBlur(blur.kernel, blur.pad)
    try:
        yield
    finally:
        for blur in blurs:
            del blur.forward


class _DepthwiseBlur:
    def __init__(self, kernel: torch.Tensor, pad: tuple[int, int]):
        self.kernel, self.pad = kernel, pad

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        before, after = self.pad
        channels = maps.shape[1]
        kernel = torch.flip(self.kernel.to(maps), (0, 1))[None, None].expand(channels, 1, -1, -1)
        # The host's way gives NCHW whatever comes in; the layout decides how the next convolution rounds.
        return F.conv2d(F.pad(maps, (before, after, before, after)).contiguous(), kernel, groups=channels).contiguous()
