"""The Wan VAE at a small width, with random weights."""

import math

import torch

from demo.small_vae import vae_shapes


def random_vae(dtype=torch.float32, scale=1.0):
    """Random weights: the small VAE's hand-set ones would hide mistakes."""
    import comfy.sd

    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in vae_shapes(8).items():
        random = torch.randn(shape, generator=generator)
        if name.endswith("gamma"):
            weights[name] = 1 + 0.1 * random
        else:
            weights[name] = random * (0.1 if name.endswith("bias") else 1 / math.sqrt(math.prod(shape[1:])))
    return comfy.sd.VAE(sd=weights, dtype=dtype)
