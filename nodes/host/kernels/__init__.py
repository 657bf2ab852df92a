"""Fused operations in Triton, with PyTorch fallbacks."""
