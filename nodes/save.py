"""Finished clips as files."""

from __future__ import annotations

import os
from typing import Any

from comfy_api.latest import io, ui

from .types import as_images, frames_input, in_limits, some_frames, valid

CATEGORY = "WanAnimateKit/video"
# ComfyUI's numbering: a name, the number, an underscore
NUMBERED = "_{:05}_"
CODECS = ["h264", "h265", "av1", "prores_422", "prores_4444", "ffv1", "png", "gif", "webp"]
QUALITIES = ["best", "high", "medium", "small"]
COMPARISONS = ["off", "side by side", "wipe"]


class SaveClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitSaveClip",
            display_name="Save Clip",
            category=CATEGORY,
            description=(
                "Saves frames and sound in the output folder: H.264, H.265, AV1, ProRes, FFV1, PNG pictures, GIF or "
                "WebP. A few frames are in memory at a time, of any clip. The file is there whole or not at all."
            ),
            search_aliases=[
                "save video", "export", "video combine", "prores", "h265", "hevc", "av1", "ffv1", "lossless", "gif",
                "webp", "image sequence", "png sequence", "side by side", "wipe", "compare video", "vhs",
            ],
            inputs=[
                frames_input("frames", "The clip: frames of Animate Character or any other, a mask (white on black), or an IMAGE."),
                io.Audio.Input(
                    "audio",
                    display_name="audio",
                    optional=True,
                    tooltip=(
                        "Its sound, usually the driving video's, cut or padded with silence to the clip. Another sound "
                        "replaces it; without any the clip is silent."
                    ),
                ),
                io.String.Input(
                    "filename_prefix",
                    display_name="file name",
                    default="video/WanAnimateKit",
                    tooltip="Below the output folder; a number and the ending are added. %width% and %year% work.",
                ),
                io.Combo.Input(
                    "codec",
                    display_name="format",
                    options=CODECS,
                    default="h264",
                    tooltip=(
                        "h264 (mp4) plays everywhere. h265 and av1 (mp4, 10 bits) are smaller. prores_422 and "
                        "prores_4444 (mov) are for editing. ffv1 (mkv) and png (a folder of pictures, the sound in it) "
                        "lose nothing. gif and webp are for short clips, without sound."
                    ),
                ),
                io.Combo.Input(
                    "quality",
                    display_name="quality",
                    options=QUALITIES,
                    default="high",
                    tooltip=(
                        "best: no difference to be seen, large. high: for showing. small: for sending. ffv1 and png "
                        "lose nothing at any."
                    ),
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps (0: frames' own)",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames a second. 0 takes the frames' own (an IMAGE has 30); others change its speed.",
                ),
                io.Combo.Input(
                    "encoder",
                    display_name="encoder",
                    options=["auto", "software", "hardware"],
                    default="auto",
                    advanced=True,
                    tooltip=(
                        "auto and hardware: the card's encoder (NVENC, Quick Sync, AMF, VAAPI, VideoToolbox) where it "
                        "works, else software. The report says which."
                    ),
                ),
                io.Combo.Input(
                    "color_range",
                    display_name="colour range",
                    options=["limited", "full"],
                    default="limited",
                    advanced=True,
                    tooltip="limited is what players and editors expect of BT.709; full is for h264, h265 and av1.",
                ),
                io.Float.Input(
                    "audio_start",
                    display_name="audio from second",
                    default=0.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Seconds of the sound to leave out at its beginning.",
                ),
                io.Float.Input(
                    "audio_seconds",
                    display_name="audio seconds (0: all)",
                    default=0.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Seconds of the sound to take; 0 takes all. The rest of the clip is silent.",
                ),
                io.Combo.Input(
                    "compare",
                    display_name="compare with driver",
                    options=COMPARISONS,
                    default="off",
                    advanced=True,
                    tooltip=(
                        "With driver. side by side: the driver left, the result right. wipe: a line goes over the "
                        "picture and back in 4 seconds, left of it the driver."
                    ),
                ),
                frames_input("driver", "For compare: the driving video, of any size and rate.", optional=True),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The file, or the folder of pictures, on the server."),
                io.String.Output(display_name="report", tooltip="Codec, encoder, size, frames, rate, in a line."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, filename_prefix: str | None = None, codec: str | None = None, color_range: str | None = None
    ) -> bool | str:
        """Before anything runs; what is linked or not there is None here."""
        from ..wan_animate.export.save import ClipFormat
        from .host.folders import check_prefix

        def all_inputs() -> None:
            in_limits(cls, codec=codec, color_range=color_range)
            if filename_prefix is not None:
                check_prefix(filename_prefix, f"{NUMBERED}.webp")
            if codec is not None:
                ClipFormat(codec, color_range=color_range or "limited").check()

        return valid(all_inputs)

    @classmethod
    def execute(
        cls,
        frames: Any,
        filename_prefix: str,
        codec: str,
        quality: str,
        fps: float,
        encoder: str = "auto",
        color_range: str = "limited",
        audio_start: float = 0.0,
        audio_seconds: float = 0.0,
        compare: str = "off",
        audio: dict | None = None,
        driver: Any = None,
    ) -> io.NodeOutput:
        from ..wan_animate.export.compare import compared
        from ..wan_animate.export.save import ClipFormat, save_clip
        from .host.folders import numbered_path, temporary_path
        from .host.progress import progress_bar
        from .host.record import workflow_tags

        form = ClipFormat(codec, quality, encoder, color_range, fps, audio_start, audio_seconds)
        kind = form.check()
        source = some_frames(frames, "frames", 30, lazily=True)
        beside = None if driver is None else as_images(driver, "driver", float(source.fps), lazily=True)
        source = compared(source, beside, compare)
        path, name = numbered_path(filename_prefix, f"{NUMBERED}{kind.ending}", source.width, source.height)
        preview = None if kind.shown else temporary_path(f"{NUMBERED}.mp4")
        tags = workflow_tags(cls.hidden) | (source.tags or {})
        try:
            saved = save_clip(
                path, source, form, audio, tags, progress_bar(len(source)), None if preview is None else preview[0]
            )
        finally:
            source.close()
        shown = [_result(name, io.FolderType.output)] if preview is None else [_result(preview[1], io.FolderType.temp)]
        below = ui.PreviewVideo(shown).as_dict() | ui.PreviewText(saved.text()).as_dict()
        if preview is not None:  # what was saved, for whoever fetches it
            below["files"] = [_result(name, io.FolderType.output)]
        return io.NodeOutput(str(saved.path), saved.text(), ui=below)


def _result(name: str, folder: io.FolderType) -> ui.SavedResult:
    return ui.SavedResult(os.path.basename(name), os.path.dirname(name), folder)
