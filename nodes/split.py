"""One clip over several cards."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .below import Shown


class SplitModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitSplitModel",
            display_name="Split Animate over GPUs",
            category="WanAnimateKit",
            description=(
                "Samples one Wan Animate clip on several cards of this computer at once: each computes a part of the "
                "video in every step, and they exchange attention heads. What is sampled is the same but for rounding. "
                "For any sampler node, with LoRAs, Accelerate and Offload; the model that comes in stays as it is. "
                "With one card nothing is changed."
            ),
            search_aliases=[
                "multi gpu",
                "multigpu",
                "several cards",
                "sequence parallel",
                "context parallel",
                "ulysses",
                "xdit",
                "raylight",
                "distributed",
            ],
            inputs=[
                io.Model.Input(
                    "model", display_name="model", tooltip="Wan 2.2 Animate, with or without LoRAs and other patches."
                ),
                io.Int.Input(
                    "cards",
                    display_name="cards",
                    default=0,
                    min=0,
                    max=40,
                    tooltip=(
                        "How many cards, the model's own included; 0 takes all. If there are fewer, those are taken. "
                        "2, 4, 5 and 8 share the 40 attention heads evenly, others nearly so."
                    ),
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model on several cards: for any sampler.")],
        )

    @classmethod
    def execute(cls, model: Any, cards: int = 0) -> io.NodeOutput:
        from .host.parallel import devices_for, split

        devices, line = devices_for(model, cards)
        return io.NodeOutput(split(model, devices), ui=Shown(cls, [], [line]))
