"""The driving video."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from comfy_api.latest import Input, InputImpl, io

from ..wan_animate.log import get_logger
from .below import Shown
from .host.folders import annotated_path, file_stamp, list_input, said
from .types import Frames, fit_input

if TYPE_CHECKING:
    from ..wan_animate.video.frames import FrameSource

log = get_logger(__name__)

# The value of the frontend's upload button. It is saved behind those of all inputs, so that a graph from before there
# was a fit has it in that place.
_UPLOAD = "image"


class LoadVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitLoadVideo",
            display_name="Load Driving Video",
            category="WanAnimateKit/video",
            description=(
                "Opens the video whose motion is taken over. Its frames are read when they are needed, a segment at a "
                "time, so that a long video takes no more memory than a short one."
            ),
            search_aliases=["load video", "driving video", "video frames", "video upload", "reference motion", "vhs"],
            essentials_category="Video Tools",
            inputs=[
                # The frontend gives an upload button and a preview to required inputs only, so a graph that has none of
                # its own (video is connected, or the folder is empty) names the empty file.
                io.Combo.Input(
                    "file",
                    display_name="video file",
                    options=[*list_input(content="video"), ""],
                    upload=io.UploadType.video,
                    tooltip="A video in the input folder, or upload one. Not used when video is connected.",
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps (0: video's own)",
                    optional=True,
                    default=30.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    tooltip=(
                        "Frames a second to work at; frames are left out or repeated to get there. The model was "
                        "trained at 30. 0 keeps the video's own rate."
                    ),
                ),
                io.Int.Input(
                    "width",
                    display_name="area width",
                    optional=True,
                    default=832,
                    min=64,
                    max=8192,
                    step=16,
                    tooltip=(
                        "With height, how many pixels a frame may have: the video keeps its own shape, its sides are "
                        "made divisible by 16. 832 x 480 is quick, 1280 x 720 is the model's best."
                    ),
                ),
                io.Int.Input(
                    "height",
                    display_name="area height",
                    optional=True,
                    default=480,
                    min=64,
                    max=8192,
                    step=16,
                    tooltip=(
                        "With width, how many pixels a frame may have. A portrait video comes out portrait; the order "
                        "does not matter."
                    ),
                ),
                io.Int.Input(
                    "start",
                    display_name="start frame",
                    optional=True,
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="First frame to take, counted from 0 at the rate set by fps.",
                ),
                io.Int.Input(
                    "limit",
                    display_name="limit (0: all)",
                    optional=True,
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="How many frames to take at most; 0 takes all. Try 77 first: that is one segment.",
                ),
                io.Video.Input(
                    "video",
                    display_name="video",
                    optional=True,
                    tooltip="A video from another node (Load Video, Trim Video, Create Video), in place of file.",
                ),
                fit_input(
                    "The video's own shape and sides divisible by 16 differ a little. fill cuts the edges off, a "
                    "fiftieth at 832x480; pad keeps all of the picture between black bars, as Wan's own preprocessing "
                    "does, and they are in the finished clip too.",
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[
                Frames.Output(display_name="frames", tooltip="The video's frames, read when asked for."),
                io.Audio.Output(
                    display_name="audio",
                    tooltip=(
                        "The sound of the frames that were taken. A silent video gives none, and Animate Character "
                        "then writes a silent one."
                    ),
                ),
                io.Float.Output(display_name="fps", tooltip="Frames a second of what comes out of frames."),
                io.Int.Output(display_name="count", tooltip="Number of frames."),
                io.Int.Output(display_name="width", tooltip="Width of the frames in pixels."),
                io.Int.Output(display_name="height", tooltip="Height of the frames in pixels."),
                Frames.Output(
                    display_name="full_size",
                    tooltip=(
                        "The same frames at the video's own size, for Crop to Character, Stitch Character and sharper "
                        "faces from Crop Face."
                    ),
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, file: str | None = None, video: str | None = "not linked", fit: str = "fill"
    ) -> bool | str:
        if fit not in ("fill", "pad", _UPLOAD, None):
            return f"fit is {said(fit)}, but it must be fill or pad."
        # The host passes None for what is linked and leaves out what is not there.
        if file is None or video is None or annotated_path(file):
            return True
        return _not_there(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None, **_others: Any) -> tuple[int, ...] | None:
        return file_stamp(annotated_path(file)) if file else None

    @classmethod
    def execute(
        cls,
        file: str,
        fps: float = 30,
        width: int = 832,
        height: int = 480,
        start: int = 0,
        limit: int = 0,
        video: Input.Video | None = None,
        fit: str = "fill",
    ) -> io.NodeOutput:
        from ..wan_animate.errors import InputError

        fit = "fill" if fit == _UPLOAD else fit
        if isinstance(video, InputImpl.VideoFromComponents):
            source, full, audio = _from_memory(video.get_components(), fps, width * height, start, limit, fit)
        elif video is not None:
            trim = video.get_active_trim_window() if isinstance(video, InputImpl.VideoFromFile) else None
            source, full, audio = _from_file(video.get_stream_source(), fps, width * height, start, limit, fit, trim)
        elif path := annotated_path(file):
            source, full, audio = _from_file(path, fps, width * height, start, limit, fit)
        else:
            raise InputError(_not_there(file))
        for note in source.notes:
            log.info("%s", note)
        shown = Shown(cls, [], warnings=source.notes)
        return io.NodeOutput(
            source, audio, float(source.fps), len(source), source.width, source.height, full, ui=shown.as_dict() or None
        )


def _not_there(file: str) -> str:
    if not file:
        return "no video was chosen: upload one, or connect video."
    return f"there is no video {said(file)} in the input folder: upload one or choose another, or connect video."


def _from_file(
    file: str | IO[bytes],
    fps: float,
    max_area: int,
    start: int,
    limit: int,
    fit: str,
    trim: tuple[float, float] | None = None,
) -> tuple[FrameSource, FrameSource, dict | None]:
    """(Frames, the same at the video's own size, sound)"""
    from ..wan_animate.video.audio import read_audio
    from ..wan_animate.video.source import VideoSource
    from .host.progress import progress_bar

    report = progress_bar()  # Cancel is heard while a long file is looked through
    source = VideoSource(file, fps=fps, max_area=max_area, start=start, limit=limit, trim=trim, fit=fit, report=report)
    return source, source.full_size(), read_audio(file, source.start_seconds or 0.0, float(len(source) / source.fps))


def _from_memory(
    components: Any, fps: float, max_area: int, start: int, limit: int, fit: str
) -> tuple[FrameSource, FrameSource, dict | None]:
    from ..wan_animate.video.derived import SampledSource, at_area, cut_audio
    from ..wan_animate.video.frames import TensorSource

    source = SampledSource(TensorSource(components.images, components.frame_rate), fps, start, limit)
    audio = cut_audio(components.audio, source.start_seconds or 0.0, float(len(source) / source.fps))
    return at_area(source, max_area, fit), source, audio
