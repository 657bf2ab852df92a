"""A headless ComfyUI server with its own base folder and this repository as a custom node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from demo.host import PACK_NAME, Host, HostError, has_accelerator, server_python
from demo.importing import ROOT
from wan_animate.queue.client import (
    ComfyClient,
    PromptFailed,
    PromptInterrupted,
    PromptRejected,
    ServerGone,
    output_items,
)

__all__ = ["HostServer", "PromptFailed", "PromptInterrupted", "PromptRejected", "output_items"]

FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")


class HostEnded(HostError, ServerGone):
    """The server that was started here does not answer."""


class HostServer(ComfyClient):
    """A ComfyUI server that runs inside ``with``.

    Args:
        host: which ComfyUI (:func:`demo.host.find_host`).
        base_dir: for its models, input, output, temp and user folders (default: a temporary one).
        port: 0 picks a free one.
        extra_args: appended to the command line.
        extra_models: model folders (laid out as ComfyUI's ``models/``) to search besides ``base_dir/models``.
        startup_timeout: seconds until ``/system_stats`` must answer.
    """

    def __init__(
        self,
        host: Host,
        base_dir: Path | str | None = None,
        port: int = 0,
        extra_args: tuple[str, ...] = (),
        extra_models: tuple[Path, ...] = (),
        startup_timeout: float = 240,
    ):
        super().__init__("http://127.0.0.1", timeout=120)  # the port is known when it runs
        self.host = host
        self._own_base = base_dir is None
        self.base_dir = Path(base_dir or tempfile.mkdtemp(prefix="wan-animate-server-")).absolute()
        self.port = port
        self.log_path = self.base_dir / "server.log"
        self._extra_args, self._extra_models = tuple(extra_args), tuple(extra_models)
        self._startup_timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> HostServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    # -- its life

    def start(self) -> None:
        for name in FOLDERS:
            (self.base_dir / name).mkdir(parents=True, exist_ok=True)
        _place_pack(self.base_dir / "custom_nodes" / PACK_NAME)
        python = server_python(self.host)
        command = [str(python), str(self.host.path / "main.py"), "--listen", "127.0.0.1",
                   "--base-directory", str(self.base_dir), "--disable-auto-launch", "--disable-api-nodes",
                   "--database-url", f"sqlite:///{(self.base_dir / 'user' / 'server.db').as_posix()}",
                   "--max-upload-size", "4096"]  # fmt: skip
        if not has_accelerator(python):
            command.append("--cpu")
        if self._extra_models:
            command += ["--extra-model-paths-config", str(self._write_extra_models())]
        for attempt in range(3):
            port = self.port or _free_port()
            self._launch([*command, "--port", str(port), *self._extra_args])
            try:
                self._wait_until_up(port)
            except HostError:
                # another process can take the free port before the host does
                if self.port or attempt == 2 or "address already in use" not in self.log_tail(200).lower():
                    raise
                continue
            self.port, self.url = port, f"http://127.0.0.1:{port}"
            return

    def _launch(self, command: list[str]) -> None:
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environ["PYTHONUNBUFFERED"] = environ["PYTHONFAULTHANDLER"] = "1"
        group: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            group = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        with open(self.log_path, "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.base_dir, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environ,
                **group,
            )  # fmt: skip

    def _wait_until_up(self, port: int) -> None:
        end = time.monotonic() + self._startup_timeout
        while time.monotonic() < end:
            if (code := self._running.poll()) is not None:
                raise HostError(f"ComfyUI ended while starting (exit {code}):\n{self.log_tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise HostError(f"ComfyUI did not answer within {self._startup_timeout:.0f} s:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the server (SIGTERM, then SIGKILL to its process group); remove a temporary base folder."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            _signal(process, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
                process.wait(10)
        if self._own_base:
            _remove_pack(self.base_dir / "custom_nodes" / PACK_NAME)
            shutil.rmtree(self.base_dir, ignore_errors=True)

    def _write_extra_models(self) -> Path:
        path = self.base_dir / "extra_models.yaml"
        names = (
            "diffusion_models", "unet", "vae", "text_encoders", "clip", "clip_vision", "loras", "detection",
            "wan_animate_prompts",
        )  # fmt: skip
        blocks = []
        for number, folder in enumerate(self._extra_models):
            lines = [f"extra_{number}:", f"  base_path: {json.dumps(str(folder))}"]
            keys = {"unet": "diffusion_models", "clip": "text_encoders"}
            found: dict[str, list[str]] = {}
            for name in names:
                if (Path(folder) / name).is_dir():
                    found.setdefault(keys.get(name, name), []).append(name)
            for key, folders in found.items():
                lines += [f"  {key}: |", *(f"    {one}" for one in folders)]
            blocks.append("\n".join(lines))
        path.write_text("\n".join(blocks) + "\n", encoding="utf-8")
        return path

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    # -- HTTP

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server is not running"
        return self._process

    def _end_hung(self) -> None:
        """What every thread does goes to the log; the next call fails at once, not after a timeout of its own."""
        if self._process is not None and self._process.poll() is None:
            _signal(self._process, signal.SIGABRT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                _signal(self._process, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _gone(self, error: BaseException) -> HostEnded:
        if isinstance(getattr(error, "reason", error), TimeoutError):
            self._end_hung()
        return HostEnded(f"ComfyUI does not answer on {self.url} ({error}):\n{self.log_tail()}")

    def run(
        self, graph: dict[str, Any], on_message: Callable[[str, Any], None] | None = None, timeout: float = 900
    ) -> dict[str, Any]:
        """Queue a graph, follow it on the websocket, and return its history entry.

        ``on_message(type, data)`` gets every message of this prompt (``progress_state``, ``executing``, ...), a binary
        one as ``("preview", bytes)``. If it raises, the prompt is interrupted.

        Raises:
            PromptRejected, PromptFailed, PromptInterrupted: as their names say.
            HostError: it took longer than ``timeout`` seconds, or the host is gone.
        """
        import websocket  # websocket-client

        client = uuid.uuid4().hex
        end = time.monotonic() + timeout
        socket_ = websocket.create_connection(f"ws://127.0.0.1:{self.port}/ws?clientId={client}", timeout=30)
        try:
            prompt = self.post_prompt(graph, client)
            try:
                self._follow(socket_, prompt, on_message, end)
            except (PromptFailed, PromptInterrupted):
                raise
            except BaseException:
                if self._running.poll() is None:
                    self.interrupt()
                raise
        finally:
            socket_.close()
        return self._entry(prompt)

    def forget(self) -> None:
        """Has the idle server let go of models and results, and waits until it has: a node runs again then.

        Raises:
            HostError: it did not within a minute.
        """
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }

        def runs() -> bool:
            ran: list[Any] = []
            self.run(graph, lambda kind, data: ran.append(data["node"]) if kind == "executing" else None)
            return "1" in ran

        runs()
        self.post("/free", {"unload_models": True, "free_memory": True})
        end = time.monotonic() + 60
        while not runs():
            if time.monotonic() > end:
                raise HostError("the server keeps what it holds")
            time.sleep(0.2)

    def _follow(self, socket_: Any, prompt: str, on_message: Callable[[str, Any], None] | None, end: float) -> None:
        import websocket

        while True:
            if time.monotonic() > end:
                self._end_hung()
                raise HostError(f"the graph was not done in time:\n{self.log_tail(200)}")
            try:
                message = socket_.recv()
            except websocket.WebSocketTimeoutException:
                if self._running.poll() is not None:
                    raise HostError(f"ComfyUI ended during the run:\n{self.log_tail()}") from None
                continue
            except (websocket.WebSocketException, OSError) as error:
                raise HostError(f"ComfyUI closed the connection ({error}):\n{self.log_tail()}") from error
            if isinstance(message, bytes):
                if on_message:
                    on_message("preview", message)
                continue
            message = json.loads(message)
            kind, data = message["type"], message.get("data") or {}
            if data.get("prompt_id") != prompt:
                continue
            if on_message:
                on_message(kind, data)
            if kind == "execution_error":
                raise PromptFailed(data)
            if kind == "execution_interrupted":
                raise PromptInterrupted(f"cancelled in {data.get('node_type')} (node {data.get('node_id')})")
            if kind == "execution_success":
                return

    def _entry(self, prompt: str) -> dict[str, Any]:
        for _ in range(100):  # it is written a moment after the last message
            entry = self.history(prompt)
            if entry:
                return entry
            time.sleep(0.1)
        raise HostError(f"no history of prompt {prompt}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        if os.name == "nt":
            process.terminate()
        else:
            os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _place_pack(target: Path) -> None:
    """This repository as a custom node: a link, or a copy where links cannot be made."""
    _remove_pack(target)
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        if sys.platform == "win32":
            import _winapi

            _winapi.CreateJunction(str(ROOT), str(target))
        else:
            shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "out"))


def _remove_pack(target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        try:
            os.rmdir(target)  # a junction: removes the link, never what it points to
        except OSError:
            shutil.rmtree(target)
