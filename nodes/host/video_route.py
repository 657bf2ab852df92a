"""What Load Driving Video makes of a file, for the line on the node."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any

from ...wan_animate.errors import InputError
from .folders import annotated_path

ROUTE = "/wan_animate_kit/video"


def frames_of(file: str, fps: float, width: int, height: int, start: int, limit: int, fit: str) -> dict[str, Any]:
    """Size, frames, rate and notes, as :class:`...wan_animate.video.source.VideoSource` gives them.

    Raises:
        InputError: as the node would.
    """
    from ...wan_animate.video.source import VideoSource

    path = annotated_path(file) if file else None
    if path is None:
        raise InputError("no such video in the input folder.")
    source = VideoSource(path, fps=fps, max_area=width * height, start=start, limit=limit, fit=fit)
    full = source.full_size()
    return {
        "width": source.width, "height": source.height, "frames": len(source), "fps": float(source.fps),
        "from": [full.width, full.height], "notes": list(source.notes),
    }  # fmt: skip


def asked(query: Any) -> dict[str, Any]:
    """The numbers of a request. Raises InputError for what is none."""
    try:
        values = {name: int(query[name]) for name in ("width", "height", "start", "limit")}
        fps = float(query["fps"])
    except (KeyError, ValueError) as error:
        raise InputError(f"not a number: {error}.") from error
    sides = all(64 <= values[name] <= 8192 for name in ("width", "height"))
    if not (sides and 0 <= min(values["start"], values["limit"]) and math.isfinite(fps) and 0 <= fps <= 240):
        raise InputError("width, height, start, limit or fps is out of its range.")
    return {"file": str(query.get("file", "")), "fps": fps, "fit": str(query.get("fit", "fill")), **values}


def register_video_route() -> None:
    """Without a server (a host loaded by a script) there is nothing to register at."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or not hasattr(server, "routes"):
        return
    from aiohttp import web

    one_at_a_time = asyncio.Semaphore(1)

    @server.routes.get(ROUTE)
    async def video(request: Any) -> Any:
        try:
            async with one_at_a_time:
                found = await asyncio.to_thread(lambda: frames_of(**asked(request.query)))
        except InputError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(found)
