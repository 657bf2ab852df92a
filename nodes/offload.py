"""The MODEL's blocks in host memory."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


class OffloadBlocks(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitOffloadBlocks",
            display_name="Offload Animate Blocks",
            category="WanAnimateKit",
            description=(
                "Samples Wan Animate on a card that cannot hold all of it: transformer blocks live in host memory, and "
                "the next one is copied to the card while this one computes. What is sampled stays the same, bit for "
                "bit. Works for any sampler node, with LoRAs, quantized weights and Accelerate Animate Model; the "
                "model that comes in stays as it is."
            ),
            search_aliases=["block swap", "low vram", "lowvram", "offload", "blocks to swap", "cpu offload", "memory"],
            inputs=[
                io.Model.Input(
                    "model", display_name="model", tooltip="Wan 2.2 Animate from any loader, with or without LoRAs."
                ),
                io.Combo.Input(
                    "how",
                    display_name="offload by",
                    options=["fit", "blocks"],
                    tooltip=(
                        "fit: as few blocks as it takes to stay within gigabytes; what a step of this size takes is "
                        "measured in its first step. blocks: the number given below."
                    ),
                ),
                io.Float.Input(
                    "gigabytes",
                    display_name="card memory (GB)",
                    default=12.0,
                    min=1.0,
                    max=1000.0,
                    step=0.5,
                    tooltip=(
                        "fit: what sampling may take on the card (1 GB = 1,000,000,000 bytes). Leave CUDA itself and "
                        "the desktop about half a gigabyte. If a step cannot be made with so little, it says how much "
                        "it needs."
                    ),
                ),
                io.Int.Input(
                    "blocks",
                    display_name="blocks offloaded",
                    default=40,
                    min=0,
                    max=40,
                    tooltip="blocks: how many of the 40 transformer blocks live in host memory (0.8 GB each in bf16).",
                ),
                io.Boolean.Input(
                    "lock_memory",
                    display_name="lock memory",
                    default=True,
                    tooltip=(
                        "Lock (pin) the blocks' host memory, so that they are copied while the card computes. Takes "
                        "some seconds, once for a model. Off, or where it is refused: slower copies."
                    ),
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The same model, in less memory: for any sampler.")],
        )

    @classmethod
    def execute(cls, model: Any, how: str, gigabytes: float, blocks: int, lock_memory: bool = True) -> io.NodeOutput:
        from .host.offload import Settings, offload

        return io.NodeOutput(offload(model, Settings(how, blocks, gigabytes, lock_memory)))
