"""LoRAs on the transformer, and the relighting LoRA."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io

from .below import warned
from .host.folders import chosen, file_stamp, model_path, said
from .types import valid

FOLDER = "loras"
MODES = ["auto", "merge", "beside"]


def _inputs(default_part: str, tooltip: str) -> list[io.Input]:
    names = folder_paths.get_filename_list(FOLDER)
    return [
        io.Model.Input(
            "model", display_name="model", tooltip="From Load Animate Model or any other loader; LoRAs stack."
        ),
        io.Combo.Input(
            "lora",
            display_name="lora",
            options=names,
            default=next((name for name in names if default_part and default_part in name.lower()), None),
            tooltip=tooltip,
        ),
        io.Float.Input(
            "strength",
            display_name="strength",
            default=1.0,
            min=-10.0,
            max=10.0,
            step=0.05,
            tooltip="How much of it. 0 leaves the model exactly as it is.",
        ),
        io.Float.Input(
            "start",
            display_name="start percent",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="From which part of the sampling it is on: 0 is the first step. Measured as ControlNet's start is.",
        ),
        io.Float.Input(
            "end",
            display_name="end percent",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Up to which part of the sampling it is on: 1 is through the last step, 0.5 the first half.",
        ),
        io.String.Input(
            "blocks",
            display_name="blocks",
            default="",
            advanced=True,
            tooltip=(
                "Which of the model's blocks it changes, for instance 0-19, 25. Empty means all, and then also what "
                "lies outside the blocks."
            ),
        ),
        io.Combo.Input(
            "apply",
            display_name="how to apply",
            options=MODES,
            advanced=True,
            tooltip=(
                "merge adds it to the weights once: no time in sampling, but quantized weights are rounded again. "
                "beside computes it next to the weights, which stay as they are: a little slower, and it can be on for "
                "a part of the sampling. auto merges into bf16, fp16 and fp32 weights and goes beside others."
            ),
        ),
    ]


def _outputs() -> list[io.Output]:
    return [
        io.Model.Output(
            display_name="model", tooltip="The model with the LoRA on it; the one that came in stays without."
        ),
        io.String.Output(
            display_name="report", tooltip="How many layers it changes, how, and what of the file was left out."
        ),
    ]


def check_lora(path: str) -> None:
    """Raises InputError where the file's header is not a LoRA's."""
    from ..wan_animate.weights.lora_file import check_lora_file

    check_lora_file(path)


class ApplyLora(io.ComfyNode):
    RELIGHTING = False

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitApplyLora",
            display_name="Apply LoRA",
            category="WanAnimateKit",
            description=(
                "Applies a LoRA to Wan 2.2 Animate, in any spelling of its names (peft, ComfyUI, kohya, diffusers, "
                "LyCORIS), and says how many layers it changed. One that fits the model in less than half of its "
                "layers is refused."
            ),
            search_aliases=["lora loader", "load lora", "lightx2v", "distill lora", "lora stack", "wan lora"],
            inputs=_inputs(
                "", "A file in models/loras: safetensors, or a pickle (.ckpt, .pt) that holds only tensors."
            ),
            outputs=_outputs(),
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        path = model_path(FOLDER, lora)
        if lora is not None and path is None:
            return f"lora {said(lora)} is not in models/{FOLDER}: put the file there, press R and choose it."
        return path is None or valid(lambda: check_lora(path))

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: Any) -> tuple[int, ...] | None:
        return file_stamp(model_path(FOLDER, lora))

    @classmethod
    @warned
    def execute(
        cls,
        model: Any,
        lora: str,
        strength: float = 1.0,
        start: float = 0.0,
        end: float = 1.0,
        blocks: str = "",
        apply: str = "auto",
    ) -> io.NodeOutput:
        from .host.lora.apply import apply_lora

        path = chosen(model_path(FOLDER, lora), lora, "lora")
        return io.NodeOutput(*apply_lora(model, path, strength, start, end, blocks, apply, cls.RELIGHTING))


class RelightLora(ApplyLora):
    RELIGHTING = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitRelightLora",
            display_name="Apply Relighting LoRA",
            category="WanAnimateKit",
            description=(
                "Applies upstream's relighting LoRA, which lights the character as the scene of the driving video is "
                "lit (replace mode): its .ckpt as published, or a safetensors form of it. A file that does not change "
                "all the layers that this LoRA does is refused."
            ),
            search_aliases=["relight", "wan animate relight", "replace lighting", "WanAnimate_relight_lora", "lora"],
            inputs=_inputs(
                "relight",
                "Upstream's relighting_lora.ckpt or WanAnimate_relight_lora_fp16.safetensors, in models/loras.",
            ),
            outputs=_outputs(),
        )
