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
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from demo.host import PACK_NAME, Host, HostError, has_accelerator, server_python
from demo.importing import ROOT

FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")


class PromptFailed(HostError):
    """A queued graph ended with an error: at ``node`` (``node_type``), with the message ``text``."""

    def __init__(self, data: dict[str, Any]):
        self.node, self.node_type = data.get("node_id"), data.get("node_type")
        self.text = str(data.get("exception_message", "")).strip()
        self.exception_type = data.get("exception_type", "")
        self.traceback = "".join(data.get("traceback") or [])
        super().__init__(f"{self.node_type} (node {self.node}): {self.text}")


class PromptRejected(HostError):
    """The host refused a graph before running it; ``node_errors`` is its answer by node id."""

    def __init__(self, body: dict[str, Any]):
        error = body.get("error")
        error = error.get("message", "") + " " + error.get("details", "") if isinstance(error, dict) else str(error)
        self.node_errors = body.get("node_errors") or {}
        lines = [
            f"{found.get('class_type')} (node {node}): {one.get('message')} {one.get('details')}"
            for node, found in self.node_errors.items()
            for one in found.get("errors", [])
        ]
        super().__init__("\n".join([error.strip(), *lines]))


class PromptInterrupted(HostError):
    """A queued graph was cancelled."""


class HostServer:
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
            self.port = port
            return

    def _launch(self, command: list[str]) -> None:
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environ["PYTHONUNBUFFERED"] = "1"
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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server is not running"
        return self._process

    def request(
        self, path: str, data: bytes | None = None, headers: dict[str, Any] | None = None, timeout: float = 120
    ) -> bytes:
        """The body of a GET, or of a POST when ``data`` is given.

        Raises:
            urllib.error.HTTPError: the host answered with an error status.
            HostError: the host is gone.
        """
        try:
            request = urllib.request.Request(self.url + path, data=data, headers=headers or {})
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            raise HostError(f"ComfyUI does not answer on {self.url}{path} ({error}):\n{self.log_tail()}") from error

    def get(self, path: str) -> Any:
        """A GET's answer, decoded from JSON."""
        return json.loads(self.request(path))

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """A POST of JSON; the answer decoded from JSON (``{}`` when empty)."""
        answer = self.request(path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.loads(answer) if answer.strip() else {}

    def upload(self, path: Path | str, name: str | None = None) -> str:
        """Put a file into the input folder, replacing any of that name; returns its name in a graph."""
        path = Path(path)
        boundary = uuid.uuid4().hex
        parts = b""
        for key, value in (("overwrite", "true"), ("type", "input")):
            parts += f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        parts += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name or path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body = parts + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(
            self.request("/upload/image", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        )
        return "/".join(part for part in (answer.get("subfolder"), answer["name"]) if part)

    def post_prompt(self, graph: dict[str, Any], client_id: str | None = None) -> str:
        """Queue a graph in API format; returns its prompt id.

        Raises:
            PromptRejected: the host finds the graph, or a part of it, invalid.
        """
        body = {"prompt": graph, **({"client_id": client_id} if client_id else {})}
        try:
            answer = self.post("/prompt", body)
        except urllib.error.HTTPError as error:
            raise PromptRejected(json.loads(error.read())) from error
        if answer.get("node_errors"):  # the host runs what is valid, such as a preview of the pose
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.post("/interrupt", {"prompt_id": answer["prompt_id"]})
            raise PromptRejected({"error": "some nodes are not valid.", "node_errors": answer["node_errors"]})
        return answer["prompt_id"]

    def run(
        self, graph: dict[str, Any], on_message: Callable[[str, Any], None] | None = None, timeout: float = 1800
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
                self.interrupt()
                raise
        finally:
            socket_.close()
        return self._history(prompt)

    def _follow(self, socket_: Any, prompt: str, on_message: Callable[[str, Any], None] | None, end: float) -> None:
        import websocket

        while True:
            if time.monotonic() > end:
                raise HostError(f"the graph was not done in time:\n{self.log_tail()}")
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

    def _history(self, prompt: str) -> dict[str, Any]:
        for _ in range(100):  # the entry is written a moment after the last message
            entry = self.get(f"/history/{prompt}").get(prompt)
            if entry:
                return entry
            time.sleep(0.1)
        raise HostError(f"no history of prompt {prompt}")

    def interrupt(self) -> None:
        """Cancel what is running."""
        self.post("/interrupt", {})

    def is_idle(self) -> bool:
        queue = self.get("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def fetch(self, item: dict[str, Any]) -> bytes:
        """The bytes of one output item (``{"filename", "subfolder", "type"}``)."""
        query = {key: item.get(key, "") for key in ("filename", "subfolder", "type")}
        return self.request("/view?" + urllib.parse.urlencode(query))


def output_items(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Every file that a history entry names, in the order of the nodes."""
    return [
        item
        for node in entry.get("outputs", {}).values()
        for items in node.values()
        if isinstance(items, list)
        for item in items
        if isinstance(item, dict) and "filename" in item
    ]


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
