"""WanAnimateKit: Wan 2.2 Animate for ComfyUI. Registers the nodes and the folder with their help pages."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """What ComfyUI calls to get the extension; imported here so that this module alone needs no host."""
    from .nodes import WanAnimateKit

    return WanAnimateKit()
