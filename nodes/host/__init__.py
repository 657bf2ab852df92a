"""The only code of the pack that reaches into ComfyUI: sampling, offload, progress, folders, the prompt's graph."""
