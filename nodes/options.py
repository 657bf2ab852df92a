"""What most clips leave alone: seams, shots, parts of a clip, other seeds, and a clip that is continued."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from .types import Options, Track, as_images, frames_input, valid

if TYPE_CHECKING:
    import torch

    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

AT_CUTS = ["start anew", "chain on"]


class ClipOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitClipOptions",
            display_name="Clip Options",
            category="WanAnimateKit",
            description=(
                "For Animate Character: cross-fade between segments, a chain for every shot, go on from a clip, make "
                "some segments only, or make one again with another seed. Segments that are finished, in this or an "
                "earlier run, are not made again."
            ),
            search_aliases=["crossfade", "seam", "continue video", "extend", "segment seed", "shots", "scene cuts"],
            inputs=[
                io.Int.Input(
                    "crossfade",
                    display_name="crossfade frames",
                    default=0,
                    min=-1,
                    max=996,
                    tooltip=(
                        "Frames over which a segment is faded into the next, out of the previous_frames that both "
                        "have. 0: a cut. -1: all of them. With 5 previous_frames a boundary hardly shows."
                    ),
                ),
                io.Boolean.Input(
                    "share_noise",
                    display_name="share noise",
                    default=False,
                    tooltip="The frames that two segments share start from the same noise.",
                    advanced=True,
                ),
                frames_input(
                    "continue_from",
                    "A clip to go on from: its last previous_frames frames. The driving video has to begin with the "
                    "same frames, and the result begins after them.",
                    optional=True,
                ),
                Track.Input(
                    "shots",
                    display_name="shots from pose",
                    optional=True,
                    tooltip="The pose of the driving video (Detect Pose and Face), which knows its cuts.",
                ),
                io.Combo.Input(
                    "at_cuts",
                    display_name="at cuts",
                    options=AT_CUTS,
                    tooltip=(
                        "With shots. start anew: each shot begins from the reference image. chain on: it goes on from "
                        "the shot before."
                    ),
                ),
                io.Int.Input(
                    "first_segment",
                    display_name="first segment",
                    default=1,
                    min=1,
                    max=100_000,
                    tooltip=(
                        "Make the clip from this segment on. Finished ones before it are shown as well; if it goes on "
                        "from one that is not finished, connect continue_from."
                    ),
                ),
                io.Int.Input(
                    "last_segment",
                    display_name="last segment (0: end)",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="Make the clip up to this segment; 0: to its end.",
                ),
                io.String.Input(
                    "segment_seeds",
                    display_name="segment seeds",
                    default="",
                    tooltip=(
                        "Seeds for single segments, as 3:1234, 5:99 (the third and the fifth). A finished clip is "
                        "kept up to there."
                    ),
                ),
                io.Boolean.Input(
                    "keep_rest",
                    display_name="keep what follows",
                    default=False,
                    tooltip=(
                        "With segment_seeds: keep what follows such a segment as well. It fades back into its former "
                        "frames at its end. Off: what follows is made again, from its new last frames."
                    ),
                ),
            ],
            outputs=[
                Options.Output(display_name="options", tooltip="For options of Animate Character and of Plan Clip.")
            ],
        )

    @classmethod
    def validate_inputs(cls, segment_seeds: str | None = None) -> bool | str:
        """Before anything runs; what is linked is None here."""
        from ..wan_animate.chain.options import parse_segment_seeds

        return valid(lambda: parse_segment_seeds(segment_seeds or ""))

    @classmethod
    def execute(
        cls,
        crossfade: int,
        share_noise: bool,
        at_cuts: str,
        first_segment: int,
        last_segment: int,
        segment_seeds: str,
        keep_rest: bool,
        continue_from: FrameSource | torch.Tensor | None = None,
        shots: PoseTrack | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.chain.options import ClipOptions as Options
        from ..wan_animate.chain.options import parse_segment_seeds

        anew = shots if at_cuts == AT_CUTS[0] else None
        return io.NodeOutput(
            Options(
                crossfade=crossfade,
                share_noise=share_noise,
                cuts=() if anew is None else anew.cuts,
                cut_frames=0 if anew is None else len(anew),
                continue_from=None if continue_from is None else as_images(continue_from, "continue_from"),
                first_segment=first_segment - 1,
                last_segment=last_segment - 1,
                segment_seeds=parse_segment_seeds(segment_seeds),
                keep_rest=keep_rest,
            )
        )
