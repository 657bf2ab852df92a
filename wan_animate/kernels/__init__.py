"""Fused operations and attention in Triton, with PyTorch fallbacks."""
