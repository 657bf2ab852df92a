"""What the editors of the browser ask this server for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import views

MOST_WAITING = 32
PREFIX = "/wan_animate_kit"

_worker = ThreadPoolExecutor(1, "wan animate editors")  # one frame at a time beside a running job
_waiting = 0


class BusyError(RuntimeError):
    pass


async def _work(call: Callable[..., Any], *args: Any) -> Any:
    global _waiting
    if _waiting >= MOST_WAITING:
        raise BusyError
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_worker, lambda: call(*args))
    finally:
        _waiting -= 1


def find(name: str) -> views.View:
    """Raises GoneError."""
    try:
        return views.NODES.get(name)
    except views.GoneError:
        return views.FILES.get(name)


def register_view_routes() -> None:
    """``clip`` tells of a video in the input folder, ``picture`` is a frame as JPEG, ``track`` numbers as float32.

    Without a server (a host loaded by a script) there is nothing to register at.
    """
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None or not hasattr(server, "routes"):
        return
    from aiohttp import web

    async def answer(call: Callable[..., Any], *args: Any) -> Any:
        """What ``call`` gives, or the response that says why not."""
        from ...wan_animate.errors import InputError

        try:
            return await _work(call, *args)
        except InputError as error:
            return web.json_response({"error": str(error)}, status=400)
        except (views.GoneError, IndexError) as error:
            return web.json_response({"error": str(error)}, status=404)
        except BusyError:
            return web.json_response({"error": "too many frames were asked for at once: wait."}, status=503)

    def bytes_response(data: Any, kind: str) -> web.StreamResponse:
        if isinstance(data, web.StreamResponse):
            return data
        return web.Response(body=data, content_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @server.routes.get(f"{PREFIX}/clip")
    async def clip(request: web.Request) -> web.StreamResponse:
        query = request.query
        try:
            size = int(query.get("width", 832)), int(query.get("height", 480))
            part = int(query.get("start", 0)), int(query.get("limit", 0))
            rate = float(query.get("fps", 30))
        except ValueError:
            return web.json_response({"error": "width, height, start, limit and fps must be numbers."}, status=400)
        fit = "pad" if query.get("fit") == "pad" else "fill"
        found = await answer(lambda: views.file_view(query.get("file", ""), rate, *size, *part, fit))
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    @server.routes.get(PREFIX + r"/view/{view:[0-9a-f]{16}}/picture/{layer:[a-z]{1,16}}/{frame:\d{1,8}}")
    async def picture(request: web.Request) -> web.StreamResponse:
        asked, given = request.match_info, request.query.get("side", "")
        side = int(given) if given.isdecimal() and len(given) < 6 else 1024
        data = await answer(lambda: find(asked["view"]).picture(asked["layer"], int(asked["frame"]), side))
        return bytes_response(data, "image/jpeg")

    @server.routes.get(PREFIX + r"/view/{view:[0-9a-f]{16}}/track/{track:[a-z]{1,16}}/{start:\d{1,8}}")
    async def track(request: web.Request) -> web.StreamResponse:
        asked = request.match_info
        start = int(asked["start"])
        data = await answer(lambda: find(asked["view"]).numbers(asked["track"], start, start + views.AT_ONCE))
        return bytes_response(data, "application/octet-stream")
