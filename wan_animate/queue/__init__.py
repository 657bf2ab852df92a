"""Workflows sent to ComfyUI servers, many at once."""
