"""One file over HTTP: bytes from where the last attempt ended, whatever the server does."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

Result = TypeVar("Result")

CHUNK = 256 << 10  # what a dead connection loses at most
POLL = 0.2  # seconds between two looks at Cancel
REDIRECTS = 8
AGAIN = {408, 425, 429, 500, 502, 503, 504}


class Interrupted(Exception):
    """The bytes ended early, or none came: worth another attempt.

    Attributes:
        after: seconds that the server asks to wait.
    """

    def __init__(self, reason: str, after: float = 0) -> None:
        super().__init__(reason)
        self.after = after


class Refused(Exception):
    """The answer is no, or nothing that another attempt would better."""


@dataclass
class Body:
    """An answer that is being read.

    Attributes:
        start: offset of the first byte in the file; 0 where the server ignored the range.
        total: bytes of the whole file, where the server says so.
    """

    start: int
    total: int | None
    chunks: Iterator[bytes] = field(repr=False)


def waiting(call: Callable[[], Result], look: Callable[[], None]) -> Result:
    """``call()`` in a thread of its own, while ``look`` is asked five times a second and may raise. What the thread
    still does then is nobody's business; it must change nothing."""
    out: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            out.put((True, call()))
        except BaseException as error:
            out.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    while True:
        look()
        with suppress(queue.Empty):
            good, value = out.get(timeout=POLL)
            if good:
                return value
            raise value


def pause(seconds: float, look: Callable[[], None]) -> None:
    """Sleeps, while ``look`` may raise."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        look()
        time.sleep(min(POLL, left))
    look()


def open_body(url: str, start: int, headers: Mapping[str, str], timeout: float, look: Callable[[], None]) -> Body:
    """Asks for the file from byte ``start`` on.

    Args:
        headers: sent to the first host only where they would tell who asks (``authorization``).
        timeout: seconds without a byte, after which the connection counts as dead.
        look: may raise to stop; called five times a second, also while nothing comes.

    Raises:
        Interrupted: the connection failed or the server is busy.
        Refused: another status, a redirect in a circle, to no web address, or from https to http.
    """
    import requests

    try:
        response = waiting(lambda: _get(url, start, headers, timeout), look)
    except requests.RequestException as error:
        raise Interrupted(_reason(error)) from error
    begin, total = _range(response, start)
    return Body(begin, total, _chunks(response, begin, total, timeout, look))


def _get(url: str, start: int, headers: Mapping[str, str], timeout: float) -> requests.Response:
    import requests

    sent = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(REDIRECTS):
        response = requests.get(url, headers=sent, timeout=(10, timeout), stream=True, allow_redirects=False)
        if response.status_code not in (301, 302, 303, 307, 308):
            return response
        response.close()
        url, before = urljoin(url, response.headers.get("Location", "")), url
        new, old = urlsplit(url), urlsplit(before)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            raise Refused(f"{old.netloc} sends to {url[:100]}, which is no safe web address")
        if new.netloc != old.netloc:
            sent = {name: value for name, value in sent.items() if name.lower() not in ("authorization", "cookie")}
    raise Refused(f"{urlsplit(url).netloc} redirects more than {REDIRECTS} times")


def _range(response: requests.Response, start: int) -> tuple[int, int | None]:
    """(offset of the first byte, bytes of the whole file)"""
    status, host = response.status_code, urlsplit(response.url).netloc
    if status == 200 and response.headers.get("Content-Encoding", "identity") == "identity":
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found and int(found[1]) == start:
            return start, None if found[3] == "*" else int(found[3])
    response.close()
    if status == 416:  # nothing is left from there on
        return start, start
    if status in AGAIN:
        after = response.headers.get("Retry-After", "")
        raise Interrupted(f"{host} answers {status}", min(float(after), 60) if after.isdigit() else 0)
    if status in (200, 206):
        raise Refused(f"{host} answers with another part of the file than was asked for, or packed")
    raise Refused(f"{host} answers {status} {response.reason}".strip())


def _chunks(
    response: requests.Response, start: int, total: int | None, timeout: float, look: Callable[[], None]
) -> Iterator[bytes]:
    if response.status_code == 416:
        return
    out: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=16)
    stop = threading.Event()

    def put(item: bytes | Exception | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                out.put(item, timeout=POLL)
                return

    def read() -> None:  # urllib3's own reading: requests would unpack what was asked for as it is
        try:
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                put(chunk)
                if stop.is_set():
                    break
            put(None)
        except Exception as error:
            put(error)
        finally:
            response.close()

    threading.Thread(target=read, daemon=True).start()
    done = start
    try:
        while True:
            look()
            try:
                item = out.get(timeout=POLL)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise Interrupted(f"{_reason(item)}, after {done - start} bytes")
            if item is None:
                break
            done += len(item)
            yield item
    finally:
        stop.set()
    if total is not None and done < total:
        raise Interrupted(f"the connection ended after {done} of {total} bytes")


def _reason(error: Exception) -> str:
    name = type(error).__name__
    if "Timeout" in name or "timed out" in str(error):
        return "nothing came in time"
    return {"ConnectionError": "no connection", "SSLError": "no safe connection"}.get(name, "the connection broke")
