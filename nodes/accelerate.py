"""The MODEL made faster, by patches that come off again."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


class Accelerate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        from .host.accelerate import REUSE
        from .host.accelerate.attention import CHOICES
        from .host.accelerate.fp8_linears import CHOICES as LINEARS

        return io.Schema(
            node_id="WanAnimateKitAccelerate",
            display_name="Accelerate Animate Model",
            category="WanAnimateKit",
            description=(
                "Makes sampling with a Wan Animate model faster without changing what it makes: the face is encoded "
                "once instead of in every step, the fastest exact attention of this card is found by measuring, the "
                "blocks' small operations are joined, and what stays the same between steps is kept for the run. By "
                "choice the linear layers are multiplied in fp8. Works for any sampler node and with LoRAs; the model "
                "that comes in stays as it is."
            ),
            search_aliases=[
                "speed up",
                "faster sampling",
                "face motion cache",
                "attention",
                "sage attention",
                "flash attention",
                "torch compile",
                "fp8",
                "fast fp8 matmul",
                "triton",
                "optimize",
            ],
            inputs=[
                io.Model.Input(
                    "model", display_name="model", tooltip="Wan 2.2 Animate from any loader, with or without LoRAs."
                ),
                io.Combo.Input(
                    "attention",
                    display_name="attention",
                    options=CHOICES,
                    advanced=True,
                    tooltip=(
                        "auto (exact): in the first step, time the exact kernels that are installed (cuDNN, flash, "
                        "flash-attn 2 to 4, xformers, our own in Gluon on H100 and H200) on this card and size and "
                        "keep the fastest; the log says which. "
                        "auto (approximate too): sage and int8 kernels as well, 1 to 2% off. host default: leave it to "
                        "ComfyUI. Or one kernel by name."
                    ),
                ),
                io.Boolean.Input(
                    "face_motion",
                    display_name="encode face once",
                    default=True,
                    advanced=True,
                    tooltip=(
                        "Encode the face video once a segment instead of in every step. Takes about a megabyte, saves "
                        "a quarter of a step at 480p."
                    ),
                ),
                io.Combo.Input(
                    "reuse",
                    display_name="keep between steps",
                    options=list(REUSE),
                    default="small",
                    advanced=True,
                    tooltip=(
                        "What is kept between the steps of a run. small: rotary tables, no extra memory at the peak. "
                        "all: also keys and values of text and reference image (0.63 GB a prompt with the 14B model) "
                        "and the pose embedding (0.33 GB at 832x480, 0.76 GB at 1280x720), for well under 1% of the "
                        "time. off: nothing."
                    ),
                ),
                io.Boolean.Input(
                    "compile_blocks",
                    display_name="torch.compile",
                    default=False,
                    advanced=True,
                    tooltip=(
                        "Compile the transformer blocks with torch.compile, in place of fused: the first step after a "
                        "start takes much longer, the others about as long as with fused. Off for models that are "
                        "partly offloaded. If it does not work here, the run goes on without."
                    ),
                ),
                io.Combo.Input(
                    "products",
                    display_name="linear layers",
                    options=list(LINEARS),
                    default=LINEARS[0],
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "How the large linear layers of the blocks are computed. as loaded: as the model file and the "
                        "loader say. fp8 (row-wise): matrix multiplications in fp8 with a scale for each token and "
                        "each row of the weights, on cards that have them (RTX 40, H100 and later): 10 to 18% of a "
                        "step less, the output 4 to 5% off; the log says how far a layer is off here. Takes bf16, fp16 "
                        "and fp8 files, with LoRAs, and keeps nothing in memory."
                    ),
                ),
                io.Boolean.Input(
                    "fused",
                    display_name="fused kernels",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Join norm and modulation, norm and rotation, residuals and fp8 rounding into kernels that "
                        "go over the memory once (with Triton). The same numbers within bf16 rounding."
                    ),
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The same model, faster: for any sampler.")],
        )

    @classmethod
    def validate_inputs(cls, attention: str | None = None) -> bool | str:
        """Older versions' choices pass. A linked value is None here; ``execute`` checks it."""
        from .host.accelerate.attention import CHOICES, REMOVED

        if attention is None or attention in CHOICES or attention in REMOVED:
            return True
        return f"attention is {attention!r}, but it must be one of: {', '.join(CHOICES)}."

    @classmethod
    def execute(
        cls,
        model: Any,
        attention: str,
        face_motion: bool,
        reuse: str,
        compile_blocks: bool = False,
        products: str = "as loaded",
        fused: bool = True,
    ) -> io.NodeOutput:
        from .host.accelerate import Settings, accelerate

        settings = Settings(attention, face_motion, reuse, compile_blocks, matmul=products, fused=fused)
        return io.NodeOutput(accelerate(model, settings))
