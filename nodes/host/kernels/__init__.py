"""Fused operations in Triton, with PyTorch's own where there is no Triton."""
