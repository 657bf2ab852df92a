"""How strongly pose and face act on what is sampled, by a patch on the MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .types import in_limits, valid

TIMING = "As in ControlNet and ConditioningSetTimestepRange: 0 is the first step, 1 the last."


class PoseFaceStrength(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        from ..wan_animate.chain.strength import HIGHEST

        def strength(name: str, tooltip: str) -> io.Float.Input:
            return io.Float.Input(
                f"{name}_strength",
                display_name=f"{name} strength",
                default=1.0,
                min=0.0,
                max=HIGHEST,
                step=0.05,
                round=0.001,
                tooltip=tooltip,
            )

        def percent(name: str, default: float, tooltip: str) -> io.Float.Input:
            return io.Float.Input(
                name,
                display_name=name.replace("_", " "),
                default=default,
                min=0.0,
                max=1.0,
                step=0.01,
                round=0.001,
                tooltip=f"{tooltip} {TIMING}",
                advanced=True,
            )

        return io.Schema(
            node_id="WanAnimateKitStrength",
            display_name="Pose and Face Strength",
            category="WanAnimateKit",
            description=(
                "How strongly the pose and the face video act in Wan Animate, and in which part of the sampling. Works "
                "for any sampler node, and before or after LoRAs, Accelerate Animate Model and Offload Animate Blocks; "
                "the model that comes in stays as it is."
            ),
            search_aliases=[
                "pose strength",
                "face strength",
                "pose weight",
                "face weight",
                "expression strength",
                "motion strength",
                "control strength",
                "start percent",
                "end percent",
            ],
            inputs=[
                io.Model.Input(
                    "model", display_name="model", tooltip="Wan 2.2 Animate from any loader, with or without LoRAs."
                ),
                strength(
                    "pose",
                    "How strongly the skeleton acts. 1 as trained, bit for bit; less follows it more loosely; 0 leaves "
                    "it out.",
                ),
                strength(
                    "face",
                    "How strongly the face video acts. 1 as trained, bit for bit; less calms the expression and keeps "
                    "more of the reference's own; 0 leaves it out, and its encoder and blocks take no time. In replace "
                    "mode much less than 1 can leave black blocks at the mask's edge.",
                ),
                percent("pose_start_percent", 0.0, "Where in the sampling the pose begins to act."),
                percent("pose_end_percent", 1.0, "Where in the sampling the pose ceases to act."),
                percent("face_start_percent", 0.0, "Where in the sampling the face begins to act."),
                percent("face_end_percent", 1.0, "Where in the sampling the face ceases to act."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The same model with these strengths: for any sampler.")
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        pose_start_percent: float | None = None,
        pose_end_percent: float | None = None,
        face_start_percent: float | None = None,
        face_end_percent: float | None = None,
    ) -> bool | str:
        """A linked value is None here, and is checked when the node runs."""
        from ..wan_animate.chain.strength import Strength
        from .host.strength import check

        def all_parts() -> None:
            in_limits(
                cls,
                pose_start_percent=pose_start_percent,
                pose_end_percent=pose_end_percent,
                face_start_percent=face_start_percent,
                face_end_percent=face_end_percent,
            )
            for name, start, end in (
                ("pose", pose_start_percent, pose_end_percent),
                ("face", face_start_percent, face_end_percent),
            ):
                if start is not None and end is not None:
                    check(name, Strength(1.0, start, end))

        return valid(all_parts)

    @classmethod
    def execute(
        cls,
        model: Any,
        pose_strength: float,
        face_strength: float,
        pose_start_percent: float = 0.0,
        pose_end_percent: float = 1.0,
        face_start_percent: float = 0.0,
        face_end_percent: float = 1.0,
    ) -> io.NodeOutput:
        from ..wan_animate.chain.strength import Strength
        from .host.strength import with_strength

        pose = Strength(pose_strength, pose_start_percent, pose_end_percent)
        face = Strength(face_strength, face_start_percent, face_end_percent)
        return io.NodeOutput(with_strength(model, pose, face))
