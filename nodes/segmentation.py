"""Character masks from SAM 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from .below import preview
from .host.folders import SAM2, chosen, file_stamp, list_models, model_path, said
from .types import Frames, Segmenter, Track, as_images, frames_input, valid

if TYPE_CHECKING:
    from ..wan_animate.mask.character import CharacterMask
    from ..wan_animate.mask.segmentation import Segmenter as SAM2Segmenter
    from ..wan_animate.mask.track import MaskTrackSource
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/mask"
Box = io.Custom("BBOX")
HostBox = io.Custom("BOUNDING_BOX")
FILLS = {"pose outline": "pose", "masks around": "between", "nothing": "leave"}
MOST_LOST = 1000  # frames told to the editor
PROMPTS_WIDGET = "WAN_ANIMATE_KIT_PROMPTS"  # js/editors.js
CARD_MEMORY = 3 << 30  # SAM 2.1 large took 1.4 GB in bf16; fp32 takes more


class LoadSegmenter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list_models(SAM2, ".safetensors")
        return io.Schema(
            node_id="WanAnimateKitLoadSegmenter",
            display_name="Load Segmenter (SAM2)",
            category=CATEGORY,
            description=(
                "Loads the model that cuts the person out of the video: SAM 2 or SAM 2.1 (tiny, small, base plus or "
                "large), a safetensors file in models/sam2."
            ),
            search_aliases=["sam2", "sam 2", "segment anything", "sam 2.1 video model loader", "mask model"],
            inputs=[
                io.Combo.Input(
                    "model",
                    display_name="model",
                    options=names,
                    default=next((name for name in names if "large" in name), None),
                    tooltip=(
                        "A SAM 2 or 2.1 video model in models/sam2, for instance sam2.1_hiera_large.safetensors. "
                        "Larger ones follow hair and clothes better and take longer."
                    ),
                ),
                io.Combo.Input(
                    "precision",
                    display_name="precision",
                    options=["auto", "bf16", "fp16", "fp32"],
                    advanced=True,
                    tooltip="auto takes bf16 on cards that compute in it, fp16 on other CUDA cards, fp32 elsewhere.",
                ),
            ],
            outputs=[Segmenter.Output(display_name="segmenter", tooltip="The model, for Segment Character.")],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        path = model_path(SAM2, model)
        if model is not None and path is None:
            return (
                f"model {said(model)} is not in models/{SAM2}: download it there (its link is in the help of this "
                "node), press R and choose it."
            )
        return path is None or valid(lambda: check_segmenter(path))

    @classmethod
    def fingerprint_inputs(cls, model: str, precision: str) -> tuple[int, ...] | None:
        return file_stamp(model_path(SAM2, model))

    @classmethod
    def execute(cls, model: str, precision: str) -> io.NodeOutput:
        from ..wan_animate.mask import segmentation
        from .host.device import compute_device

        path = chosen(model_path(SAM2, model), model, "model")
        return io.NodeOutput(segmentation.Segmenter(path, compute_device(), precision))


def check_segmenter(path: str) -> None:
    """Raises InputError unless the file's header is that of a SAM 2 video model."""
    from ..wan_animate.mask.sam2_weights import read_weights

    read_weights(path, shapes_only=True)


class SegmentCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitSegmentCharacter",
            display_name="Segment Character",
            category=CATEGORY,
            description=(
                "Cuts the person out of every frame. The pose shows the model where the person is, so nobody has to "
                "click; points and a box from an editor can be added. Frames in which the model loses the person are "
                "named and filled. Shows the mask over some frames."
            ),
            search_aliases=[
                "sam2",
                "mask person",
                "person mask",
                "character mask",
                "points editor",
                "video segmentation",
                "track person",
                "rotoscope",
                "matte",
            ],
            essentials_category="Video Tools",
            inputs=[
                Segmenter.Input("segmenter", display_name="segmenter", tooltip="From Load Segmenter."),
                frames_input("frames", tooltip="The driving video."),
                Track.Input(
                    "pose",
                    display_name="pose",
                    optional=True,
                    tooltip=(
                        "The pose of this video, from Detect Pose and Face. It says where the person is, where the "
                        "video is cut, and whether the model lost the person."
                    ),
                ),
                _points_input("points_positive", "on the person"),
                _points_input("points_negative", "not on the person: on somebody else, or on the background"),
                io.MultiType.Input(
                    "bbox",
                    [Box, HostBox],
                    display_name="box",
                    optional=True,
                    tooltip="A box around the person on one frame, x1, y1, x2, y2 in pixels. Of several, the first.",
                ),
                io.Int.Input(
                    "point_frame",
                    display_name="point frame",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="The frame that the points and the box are for; 0 is the first.",
                ),
                io.Combo.Input(
                    "points_do",
                    display_name="points",
                    options=["add to the pose", "replace the pose"],
                    tooltip=(
                        "Whether points and box come on top of what the pose shows, or stand alone: then the pose is "
                        "still used for cuts and for the check."
                    ),
                ),
                io.Combo.Input(
                    "fill_lost",
                    display_name="fill lost frames with",
                    options=list(FILLS),
                    advanced=True,
                    tooltip=(
                        "What goes into frames in which the model lost the person: the outline of the pose, a shape "
                        "between the good masks before and after, or nothing."
                    ),
                ),
                io.String.Input(
                    "prompts",
                    display_name="points and boxes",
                    default="",
                    optional=True,
                    tooltip=(
                        "Points and boxes on any frames, set with Edit points on this node. Without it JSON: "
                        '[{"frame": 0, "positive": [{"x": 320, "y": 200}], "negative": [], "box": [x1, y1, x2, y2]}], '
                        "pixels of the frame."
                    ),
                    extra_dict={"widgetType": PROMPTS_WIDGET},
                ),
            ],
            outputs=[
                Frames.Output(
                    display_name="mask",
                    tooltip="One mask a frame; the character is 1. Usually goes through Shape Mask next.",
                ),
                io.Int.Output(display_name="lost", tooltip="In how many frames the model lost the person."),
                io.String.Output(display_name="report", tooltip="Which frames these are, and what to do about them."),
            ],
            is_output_node=True,
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompts: str | None = None) -> bool | str:
        """Before anything runs; what is linked is None here."""
        from ..wan_animate.mask.prompts import read_prompts

        return valid(lambda: read_prompts(prompts))

    @classmethod
    def execute(
        cls,
        segmenter: SAM2Segmenter,
        frames: Any,
        point_frame: int = 0,
        points_do: str = "add to the pose",
        fill_lost: str = "pose outline",
        pose: PoseTrack | None = None,
        points_positive: str | None = None,
        points_negative: str | None = None,
        bbox: Any = None,
        prompts: str = "",
    ) -> io.NodeOutput:
        from ..wan_animate.mask.character import segment_character
        from ..wan_animate.mask.prompts import prompt_from_editor, read_prompts
        from ..wan_animate.mask.track import MaskTrackSource
        from .host import views
        from .host.device import card_with_room, make_room, release
        from .host.progress import progress_bar, tell_phase

        given, frames = frames, as_images(frames, "frames")
        size = frames.width, frames.height
        linked = prompt_from_editor(point_frame, points_positive, points_negative, bbox, size)
        own = [*([linked] if linked is not None else []), *read_prompts(prompts, size)]
        tell_phase("loading the model")
        segmenter.move(card_with_room("SAM 2"))
        make_room(CARD_MEMORY, segmenter.device)
        try:
            found = segment_character(
                segmenter, frames, pose, own,
                replace=points_do == "replace the pose", fill=FILLS[fill_lost],
                progress=progress_bar(len(frames), "Following the person"),
            )  # fmt: skip
        finally:
            segmenter.close()  # free the card for sampling
            release()
        mask = MaskTrackSource(found.masks)
        layers = {"frame": given, "mask": mask}
        view = views.shown(cls, frames.fps, size, len(frames), layers, more={"lost": found.lost[:MOST_LOST]})
        shown = _preview(cls, frames, mask, found).as_dict() | view
        return io.NodeOutput(mask, len(found.lost), found.report, ui=shown)


def _points_input(id: str, where: str) -> io.String.Input:
    return io.String.Input(
        id,
        display_name=id.replace("_", " "),
        optional=True,
        force_input=True,
        tooltip=f'Points {where}, as a points editor gives them: JSON, pixels of the frame, [{{"x": 320, "y": 200}}].',
    )


def _preview(
    cls: type[io.ComfyNode], frames: FrameSource, mask: MaskTrackSource, found: CharacterMask
) -> ui.PreviewImage:
    from ..wan_animate.preview.canvas import with_warnings
    from ..wan_animate.preview.moments import moments_picture

    warnings = [found.report] if found.lost else []
    return preview(cls, with_warnings(moments_picture(mask, frames), warnings), warnings)
