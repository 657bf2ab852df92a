"""``wan-animate export``: a finished clip in another format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """
Examples:

wan-animate export clip.mp4 --out clip.mov --codec prores_422

... --out clip.mp4 --codec h265 --quality small --audio song.wav --audio-start 12.5

... --out compared.mp4 --driver dance.mp4 --compare wipe

... --out frames --codec png: a folder of pictures, with the sound
"""

app = typer.Typer()
SOUND, BESIDE = "Sound", "Beside the driver"


@app.command("export", epilog=EXAMPLES)
def export(
    clip: Annotated[Path, typer.Argument(help="The finished clip, or any video.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="What to write: .mp4, .mov, .mkv, .gif, .webp, a folder.")],
    codec: Annotated[
        Literal["h264", "h265", "av1", "prores_422", "prores_4444", "ffv1", "png", "gif", "webp"],
        typer.Option(help="ffv1 and png lose nothing; h265 and av1 have 10 bits."),
    ] = "h264",
    quality: Annotated[
        Literal["best", "high", "medium", "small"], typer.Option(help="best: no difference to be seen.")
    ] = "high",
    encoder: Annotated[
        Literal["auto", "software", "hardware"],
        typer.Option(help="auto and hardware: the card's where it works, else software."),
    ] = "auto",
    color_range: Annotated[
        Literal["limited", "full"], typer.Option(help="Players expect limited; full is for h264, h265, av1.")
    ] = "limited",
    fps: Annotated[float, typer.Option(help="Frames a second; 0 for its own. Another changes the speed.")] = 0.0,
    audio: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its sound replaces the clip's.", rich_help_panel=SOUND)
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Without sound.", rich_help_panel=SOUND)] = False,
    audio_start: Annotated[
        float, typer.Option(help="Seconds to leave out at its beginning.", rich_help_panel=SOUND)
    ] = 0.0,
    audio_seconds: Annotated[float, typer.Option(help="Seconds to take; 0 for all.", rich_help_panel=SOUND)] = 0.0,
    driver: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The driving video.", rich_help_panel=BESIDE)
    ] = None,
    compare: Annotated[
        Literal["off", "side by side", "wipe"], typer.Option(help="With --driver.", rich_help_panel=BESIDE)
    ] = "off",
) -> None:
    """Saves a clip in another format, with its sound and the record of how it was made."""
    from .file import export_file
    from .save import ClipFormat

    form = ClipFormat(codec, quality, encoder, color_range, fps, audio_start, audio_seconds)
    with typer.progressbar(length=1, label="export", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        saved = export_file(clip, out, form, audio, no_audio, driver, compare, progress)
    typer.echo(saved.text(), err=True)
    typer.echo(saved.path)
