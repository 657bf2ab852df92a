"""What the frontend asks this pack's server part for."""

from __future__ import annotations

from typing import Any

from .progress import last_phases


def register_routes() -> None:
    """``GET /wan_animate_kit/phases?workflow=<id>``: what the nodes of a graph were last doing."""
    from aiohttp import web
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None:  # a call from Python
        return

    @server.routes.get("/wan_animate_kit/phases")
    async def phases(request: Any) -> Any:
        return web.json_response(last_phases(request.query.get("workflow", "")))
