"""A small hub on this machine that answers as the real one does, or as badly as it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Files of one hub, and how it treats those who ask.

    Attributes:
        files: path below ``/<owner>/<repo>/resolve/<revision>/`` -> content.
        faults: taken one by one by the requests for bytes; each one of the methods below ``_Handler.fault_``.
        listed: path -> (sha256, size) where the hub lists something else than what it has; None for no sha256.
        asked: every request: (method, path, value of Range, value of Authorization).
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.faults: list[str] = []
        self.listed: dict[str, tuple[str | None, int]] = {}
        self.status: int | None = None  # of every request for metadata
        self.asked: list[tuple[str, str, str | None, str | None]] = []
        self.stop = threading.Event()
        self.url = ""

    @property
    def fetched(self) -> list[tuple[str, str, str | None, str | None]]:
        """Requests for bytes (the hub's library may ask for other things)."""
        return [one for one in self.asked if one[0] == "GET" and ("/resolve/" in one[1] or one[1].startswith("/cdn/"))]

    def listing(self, path: str) -> tuple[str | None, int]:
        content = self.files[path]
        return self.listed.get(path, (hashlib.sha256(content).hexdigest(), len(content)))


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True).start()
    try:
        yield hub
    finally:
        hub.stop.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Those who ask hang up."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _note(self) -> str:
        headers = self.headers
        self.hub.asked.append((self.command, self.path, headers.get("Range"), headers.get("Authorization")))
        return unquote(urlsplit(self.path).path)

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, path: str) -> str | None:
        """The file of ``/<owner>/<repo>/resolve/main/<file>`` or ``/cdn/<file>``."""
        parts = path.split("/resolve/main/", 1) if "/resolve/main/" in path else path.split("/cdn/", 1)
        return parts[1] if len(parts) == 2 and parts[1] in self.hub.files else None

    def do_HEAD(self) -> None:
        name = self._file(self._note())
        if self.hub.status or name is None:
            code = {"X-Error-Code": "EntryNotFound"} if not self.hub.status else {}
            return self._answer(self.hub.status or 404, code)
        sha256, size = self.hub.listing(name)
        headers = {"X-Repo-Commit": "0" * 40, "ETag": '"small"', "X-Linked-Size": str(size)}
        if sha256:
            headers["X-Linked-ETag"] = f'"{sha256}"'
        self._answer(302, headers | {"Location": f"http://localhost:{self.server.server_port}/cdn/{name}"})

    def do_GET(self) -> None:
        path = self._note()
        name = self._file(path)
        if name is None:
            return self._answer(404)
        if "/cdn/" not in path:  # to another host, as the real one does
            return self._answer(302, {"Location": f"http://localhost:{self.server.server_port}/cdn/{name}"})
        content = self.hub.files[name]
        fault = self.hub.faults.pop(0) if self.hub.faults else "none"
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        getattr(self, f"fault_{fault}")(content, start)

    def _send(self, content: bytes, start: int, count: int, total: int | None = None) -> None:
        """``count`` bytes of an answer that promises all of them."""
        total = len(content) if total is None else total
        if start >= total and start:
            return self._answer(416, {"Content-Range": f"bytes */{total}"})
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.send_header("Content-Disposition", 'attachment; filename="../../elsewhere.safetensors"')
        self.end_headers()
        self.wfile.write(content[start : start + count])
        self.wfile.flush()

    def fault_none(self, content: bytes, start: int) -> None:
        self._send(content, start, len(content))

    def fault_truncate(self, content: bytes, start: int) -> None:
        self._send(content, start, (len(content) - start) // 2)
        self.close_connection = True

    def fault_nothing(self, content: bytes, start: int) -> None:
        self._send(content, start, 0)
        self.close_connection = True

    def fault_stall(self, content: bytes, start: int) -> None:
        self._send(content, start, (len(content) - start) // 3)
        self.hub.stop.wait(60)
        self.close_connection = True

    def fault_silent(self, content: bytes, start: int) -> None:
        self.hub.stop.wait(60)
        self.close_connection = True

    def fault_wrong(self, content: bytes, start: int) -> None:
        self._send(bytes(len(content)), start, len(content))

    def fault_longer(self, content: bytes, start: int) -> None:
        """Chunked, so that no length is told, and without an end."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while not self.hub.stop.is_set():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        except OSError:
            self.close_connection = True

    def fault_other_size(self, content: bytes, start: int) -> None:
        self._send(content + b"more", start, len(content) + 4)

    def fault_no_range(self, content: bytes, start: int) -> None:
        self._send(content, 0, len(content))

    def fault_no_range_truncate(self, content: bytes, start: int) -> None:
        self._send(content, 0, len(content) // 2)
        self.close_connection = True

    def fault_other_range(self, content: bytes, start: int) -> None:
        headers = {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
        self._answer(206, headers, content)

    def fault_gzip(self, content: bytes, start: int) -> None:
        import gzip

        self._answer(200, {"Content-Encoding": "gzip"}, gzip.compress(content, 0))

    def fault_busy(self, content: bytes, start: int) -> None:
        self._answer(503, {"Retry-After": "0"})

    def fault_forbidden(self, content: bytes, start: int) -> None:
        self._answer(403)

    def fault_to_file(self, content: bytes, start: int) -> None:
        self._answer(302, {"Location": "file:///etc/passwd"})

    def fault_to_folder(self, content: bytes, start: int) -> None:
        """To a path that leads elsewhere, where other bytes are."""
        self.hub.files.setdefault("../../elsewhere.safetensors", b"\0" * len(content))
        self._answer(302, {"Location": "/cdn/..%2F..%2Felsewhere.safetensors"})

    def fault_circle(self, content: bytes, start: int) -> None:
        self.hub.faults.insert(0, "circle")
        self._answer(302, {"Location": self.path})
