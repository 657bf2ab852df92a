"""The two commands' own tools: finding a ComfyUI, made-up weights, the demo run. Not part of what users install."""
