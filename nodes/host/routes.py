"""What the frontend asks this pack's server part for."""

from __future__ import annotations

from typing import Any

from ...wan_animate.json_text import parse_json
from .progress import last_phases, running_prompts, set_drawing


def register_routes() -> None:
    """``GET /wan_animate_kit/phases?workflow=<id>``: what the nodes of a graph were last doing;
    ``GET /wan_animate_kit/running``: which graph runs; ``POST /wan_animate_kit/previews``: whether a client draws live
    previews itself, ``{"client_id": str, "draws": bool}``."""
    from aiohttp import web
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None:  # a call from Python
        return

    @server.routes.get("/wan_animate_kit/phases")
    async def phases(request: Any) -> Any:
        return web.json_response(last_phases(request.query.get("workflow", "")))

    @server.routes.post("/wan_animate_kit/previews")
    async def previews(request: Any) -> Any:
        try:
            said = parse_json(await request.read())
        except ValueError:
            said = None
        if not isinstance(said, dict) or not isinstance(said.get("client_id"), str):
            return web.Response(status=400, text="client_id is missing")
        set_drawing(said["client_id"][:100], bool(said.get("draws")))
        return web.json_response({})

    @server.routes.get("/wan_animate_kit/running")
    async def running(_: Any) -> Any:
        prompts = running_prompts(server)
        return web.json_response([{"prompt_id": prompt, "workflow": graph} for prompt, graph in prompts.items()])
