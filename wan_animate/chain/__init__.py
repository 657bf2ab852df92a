"""Segments, one after the other: plan, condition, denoise, decode, save."""
