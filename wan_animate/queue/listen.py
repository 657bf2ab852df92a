"""What a server tells over its websocket. The truth is asked for over HTTP: this is for progress only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from ..json_text import parse_json
from ..text import duration
from .client import ComfyClient

Heard = Callable[[str, dict[str, Any]], None]
PAUSE = 2.0  # seconds before a broken connection is made again


class Listener:
    """Messages of prompts, to who asked for them, from a thread of its own that comes back when the server does.

    Args:
        client_id: the one that the prompts are queued with.
    """

    def __init__(self, client: ComfyClient, client_id: str):
        self._url = f"{client.url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        self._heard: dict[str, Heard] = {}
        self._lock, self._closed, self._open = Lock(), Event(), Event()
        self._thread = Thread(target=self._run, name=f"listen to {client.url}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Until it is connected; a prompt's first messages would be missed."""
        return self._open.wait(seconds)

    def add(self, prompt: str, heard: Heard) -> None:
        with self._lock:
            self._heard[prompt] = heard

    def remove(self, prompt: str) -> None:
        with self._lock:
            self._heard.pop(prompt, None)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(PAUSE + 5)

    def _run(self) -> None:
        import aiohttp

        while not self._closed.is_set():
            try:
                asyncio.run(self._listen())
            except (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError):
                pass  # the server is down: whoever waits for its prompt finds out over HTTP
            self._open.clear()
            self._closed.wait(PAUSE)

    async def _listen(self) -> None:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(timeout=limits) as session:
            async with session.ws_connect(self._url, max_msg_size=0) as socket:
                self._open.set()
                while not self._closed.is_set() and not socket.closed:
                    try:
                        message = await socket.receive(timeout=0.5)
                    except asyncio.TimeoutError:
                        continue
                    if message.type == aiohttp.WSMsgType.TEXT:
                        self._hear(parse_json(message.data))
                    elif message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR):
                        return

    def _hear(self, message: Any) -> None:
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict):
            return
        with self._lock:
            heard = self._heard.get(str(data.get("prompt_id")))
        if heard is not None:
            heard(str(message.get("type")), data)


class NodeProgress:
    """A prompt's messages as (text, part of it 0 to 1).

    Args:
        titles: node id -> what the canvas shows above it.
        report: gets both, not more often than every ``every`` seconds for one node.
    """

    PHASE = "wan_animate_kit.phase"  # this pack's nodes say there what they do, and the seconds left

    def __init__(self, titles: dict[str, str], report: Callable[[str, float], None], every: float = 0.5):
        self._titles, self._report, self._every = titles, report, every
        self._node, self._phase, self._part, self._told = "", "", 0.0, -1.0

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == self.PHASE:
            self._phase, left = str(data.get("text") or ""), data.get("left")
            if isinstance(left, (int, float)) and left >= 1:
                self._phase += f", {duration(left)} left"
            self._tell(str(data.get("node") or self._node))
        elif kind == "progress_state":
            for node, what in (data.get("nodes") or {}).items():
                if what.get("state") == "running":
                    self._part = float(what.get("value") or 0) / max(float(what.get("max") or 1), 1e-9)
                    self._tell(str(what.get("display_node_id") or node))
        elif kind == "executing" and data.get("node"):
            self._part = 0.0
            self._tell(str(data.get("display_node") or data["node"]))

    def _tell(self, node: str) -> None:
        now = time.monotonic()
        if node != self._node:
            self._node, self._phase = node, self._phase if node == self._node else ""
        elif now - self._told < self._every:
            return
        self._told = now
        name = self._titles.get(node, f"node {node}")
        self._report(f"{name}: {self._phase}" if self._phase else name, min(max(self._part, 0.0), 1.0))
