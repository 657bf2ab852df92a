"""A ComfyUI server over HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import reading, replacing
from ..json_text import parse_json

BLOCK = 1 << 20  # bytes read or sent at a time
TIMEOUT = 60.0  # seconds: a server answers while it samples, but a loaded machine is slow
BEHIND = (502, 503, 504)
"""What a proxy answers for a server that is not there."""
ADDRESS = "give the address that opens it in a browser"
Graph = dict[str, dict[str, Any]]
"""A workflow in API format: node id -> ``{"class_type", "inputs", "_meta"}``."""


class ServerError(InputError):
    """A server is not what is needed, or refuses."""


class ServerGone(ServerError):
    """A server does not answer, or ended while it did."""


class PromptRejected(ServerError):
    """The host refused a graph before running it; ``node_errors`` is its answer by node id."""

    def __init__(self, body: Any):
        self.node_errors = _node_errors(body)
        super().__init__(_rejection(body))


class PromptFailed(ServerError):
    """A queued graph ended with an error: at ``node`` (``node_type``), with the message ``text``."""

    def __init__(self, data: dict[str, Any]):
        self.node, self.node_type = data.get("node_id"), data.get("node_type")
        self.text = str(data.get("exception_message", "")).strip()
        self.exception_type = data.get("exception_type", "")
        self.traceback = "".join(data.get("traceback") or [])
        super().__init__(f"{self.node_type} (node {self.node}): {self.text}")


class PromptInterrupted(ServerError):
    """A queued graph was cancelled."""


class ComfyClient:
    """Calls to one server. Nothing is kept open between them, so that threads may share it.

    Args:
        url: ``http://127.0.0.1:8188``; a path and ``user:password@`` are kept.

    Raises:
        InputError: ``url`` is no address.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT):
        self.url = url.strip().rstrip("/")
        self._timeout = timeout
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no address of a server: give one such as http://127.0.0.1:8188.")

    # -- requests

    def open(self, path: str, data: Any = None, headers: dict[str, str] | None = None, method: str = "") -> Any:
        """The open answer of a GET, or of a POST when ``data`` is given.

        Raises:
            urllib.error.HTTPError: the host answered with an error status.
            ServerGone: the host is not there.
        """
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method or None)
        try:
            return urllib.request.urlopen(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            if error.code in BEHIND:
                raise self._gone(error) from error
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._gone(error) from error

    def request(self, path: str, data: Any = None, headers: dict[str, str] | None = None) -> bytes:
        """The body of :meth:`open`'s answer."""
        with self.open(path, data, headers) as answer:
            try:
                return answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._gone(error) from error

    def get(self, path: str) -> Any:
        """A GET's answer, decoded from JSON. Raises ServerError: it is none."""
        return self._decoded(self.request(path), object)

    def _get_object(self, path: str) -> dict[str, Any]:
        return self._decoded(self.request(path), dict)

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """A POST of JSON; the answer decoded from JSON (``{}`` when empty)."""
        answer = self.request(path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self._decoded(answer, dict) if answer.strip() else {}

    def _decoded(self, answer: bytes, kind: type) -> Any:
        try:
            found = parse_json(answer)
        except ValueError as error:
            raise ServerError(f"what answers at {self.url} is no ComfyUI: {ADDRESS}.") from error
        if not isinstance(found, kind):
            raise ServerError(f"what answers at {self.url} is no ComfyUI: {ADDRESS}.")
        return found

    def check(self) -> dict[str, Any]:
        """What ``/system_stats`` says.

        Raises:
            ServerGone: nobody answers.
            ServerError: what answers is no ComfyUI.
        """
        try:
            stats = self.get("/system_stats")
            if "comfyui_version" in stats["system"]:
                return stats
        except ServerGone:
            raise
        except (urllib.error.HTTPError, ValueError, KeyError, TypeError):
            pass
        raise ServerError(f"what answers at {self.url} is no ComfyUI: {ADDRESS}.")

    def node_info(self) -> dict[str, Any]:
        """``/object_info``: what each node class takes."""
        return self._get_object("/object_info")

    # -- files

    def upload(self, path: Path | str, name: str | None = None, kind: str = "input", subfolder: str = "") -> str:
        """Put a file into a folder of the server, replacing any of that name; returns its name in a graph.

        Args:
            kind: ``input``, ``output`` or ``temp``.
        """
        path = Path(path)
        boundary = uuid.uuid4().hex
        head = b""
        for key, value in (("overwrite", "true"), ("type", kind), ("subfolder", subfolder)):
            head += f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name or path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        with reading(path, "the input", "name a file that exists"):
            size = path.stat().st_size

        def body() -> Iterator[bytes]:
            yield head
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    yield block
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        try:
            answer = self._decoded(self.request("/upload/image", body(), headers), dict)
        except urllib.error.HTTPError as error:
            hint = ": start it with a larger --max-upload-size" if error.code == 413 else ""
            raise ServerError(f"{self.url} refused {path.name} ({error.code} {error.reason}){hint}.") from error
        return "/".join(part for part in (answer.get("subfolder"), answer["name"]) if part)

    def input_size(self, name: str) -> int | None:
        """Bytes of a file in the input folder; None if there is none."""
        return self.size({"filename": name, "type": "input"})

    def size(self, item: dict[str, Any]) -> int | None:
        """Bytes of one file as :meth:`fetch` takes it; None if there is none."""
        try:
            with self.open(_view(item), method="HEAD") as answer:
                return int(answer.headers.get("Content-Length") or 0)
        except urllib.error.HTTPError:
            return None

    def fetch(self, item: dict[str, Any]) -> bytes:
        """The bytes of one output item (``{"filename", "subfolder", "type"}``)."""
        return self.request(_view(item))

    def save(self, item: dict[str, Any], path: Path | str, what: str) -> int:
        """Write an output item to a file, whole or not at all; returns its bytes. ``what`` names it in errors."""
        done = 0
        try:
            with self.open(_view(item)) as answer, replacing(path, what, durable=True) as temporary:
                total = answer.headers.get("Content-Length")
                with open(temporary, "wb") as file:
                    while block := self._block(answer):
                        done += file.write(block)
                if total is not None and done != int(total):
                    raise ServerGone(
                        f"{self.url} ended while it sent {item['filename']}: {done} of {total} bytes came."
                    )
        except urllib.error.HTTPError as error:
            raise ServerError(f"{self.url} has no file {item['filename']} any more ({error.code}).") from error
        return done

    def _block(self, answer: Any) -> bytes:
        try:
            return answer.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from error

    # -- the queue

    def post_prompt(self, graph: Graph, client_id: str | None = None, prompt_id: str | None = None,
                    extra_data: dict[str, Any] | None = None) -> str:  # fmt: skip
        """Queue a graph in API format; returns its prompt id.

        Args:
            prompt_id: a UUID; None has the server choose one.

        Raises:
            PromptRejected: the host finds the graph, or a part of it, invalid.
        """
        more = {"client_id": client_id, "prompt_id": prompt_id, "extra_data": extra_data}
        body = {"prompt": graph, **{name: value for name, value in more.items() if value is not None}}
        try:
            answer = self.post("/prompt", body)
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                said = parse_json(text)
            except ValueError:
                said = text.decode(errors="replace")[:200]
            raise PromptRejected(said) from error
        if answer.get("node_errors"):  # the host runs what is valid, such as a preview of the pose
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.post("/interrupt", {"prompt_id": answer["prompt_id"]})
            raise PromptRejected({"error": "some nodes are not valid.", "node_errors": answer["node_errors"]})
        return str(answer["prompt_id"])

    def place(self, prompt: str) -> str:
        """``running``, ``pending``, or "" for a prompt that is not in the queue."""
        queue = self._get_object("/queue")
        for name in ("running", "pending"):
            if any(item[1] == prompt for item in queue.get(f"queue_{name}", [])):
                return name
        return ""

    def history(self, prompt: str) -> dict[str, Any] | None:
        """The entry of a prompt that has ended."""
        return self._get_object(f"/history/{prompt}").get(prompt)

    def state(self, prompt: str) -> tuple[str, dict[str, Any] | None]:
        """(``running``, ``pending``, ``done`` or "", the history's entry of one that is done)."""
        place = self.place(prompt)  # first: a prompt that ends in between is then in the history
        entry = self.history(prompt)
        return ("done", entry) if entry is not None else (place, None)

    def cancel(self, prompt: str) -> None:
        """Take a prompt out of the queue, and stop it where it runs."""
        self.post("/queue", {"delete": [prompt]})
        self.post("/interrupt", {"prompt_id": prompt})

    def interrupt(self) -> None:
        """Cancel what is running."""
        self.post("/interrupt", {})

    def is_idle(self) -> bool:
        queue = self._get_object("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def _gone(self, error: BaseException) -> ServerGone:
        reason = getattr(error, "reason", None) or error
        return ServerGone(f"there is no ComfyUI at {self.url} ({reason}): start it, or give its address.")


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


def check_ended_well(entry: dict[str, Any]) -> None:
    """Raises PromptFailed or PromptInterrupted for a history entry that says so."""
    status = entry.get("status") or {}
    if status.get("status_str") == "success":
        return
    for kind, data in status.get("messages", []):
        if kind == "execution_error":
            raise PromptFailed(data)
    raise PromptInterrupted("it was stopped.")


def _view(item: dict[str, Any]) -> str:
    return "/view?" + urllib.parse.urlencode({key: item.get(key, "") for key in ("filename", "subfolder", "type")})


def _node_errors(body: Any) -> dict[str, Any]:
    return (body.get("node_errors") or {}) if isinstance(body, dict) else {}


def _rejection(body: Any) -> str:
    """The host's own words for what is wrong with each node."""
    error = body.get("error") if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = f"{error.get('message', '')} {error.get('details', '')}"
    lines = [
        f"{found.get('class_type')} (node {node}): {one.get('message')} {one.get('details')}"
        for node, found in _node_errors(body).items()
        for one in found.get("errors", [])
    ]
    return "\n".join([str(error or "refused without a reason").strip(), *lines])
