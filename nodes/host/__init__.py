"""The only code of the pack that imports ComfyUI."""
