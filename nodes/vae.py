"""The VAE made faster, as an object of the same kind."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


class AccelerateVae(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitAccelerateVae",
            display_name="Accelerate Video VAE",
            category="WanAnimateKit",
            description=(
                "Makes encoding and decoding with the Wan 2.1 VAE faster on an NVIDIA card, without a loss in quality, "
                "and tiles by itself where a clip does not fit. For any VAE Encode and VAE Decode node, tiled or not; "
                "the VAE that comes in stays as it is. Animate Character does this by itself."
            ),
            search_aliases=["faster vae", "speed up vae", "vae decode", "vae encode", "channels last", "optimize vae"],
            inputs=[
                io.Vae.Input(
                    "vae",
                    display_name="vae",
                    tooltip="The Wan 2.1 VAE (wan_2.1_vae.safetensors); another one is refused.",
                )
            ],
            outputs=[
                io.Vae.Output(
                    display_name="vae",
                    tooltip="The same VAE, faster: for VAE Encode, VAE Decode, WanAnimateToVideo and other nodes.",
                )
            ],
        )

    @classmethod
    def execute(cls, vae: Any) -> io.NodeOutput:
        from .host.vae import accelerate_vae

        return io.NodeOutput(accelerate_vae(vae))
