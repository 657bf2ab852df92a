"""On ``PYTHONPATH``: denies this process and those it starts every address that is not this machine.

What was tried is a line in the file ``OFFLINE_LOG``. Audit hooks hear every socket of Python's; a library's own are
seen by ``benchmarks/offline.py`` with strace.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

HERE = {"", "localhost", "localhost.localdomain", "0.0.0.0", "::"}
HEARD = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}


def is_here(host: Any) -> bool:
    """Whether a host as a socket takes it is this machine."""
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return name in HERE or ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        return name == os.uname().nodename if hasattr(os, "uname") else False


def deny(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in HEARD or not (log := os.environ.get("OFFLINE_LOG")):
        return
    address = arguments[0] if event.startswith("socket.get") else arguments[1]
    host = address[0] if isinstance(address, tuple) else address
    if address is None or event[7:10] != "get" and not isinstance(address, tuple) or is_here(host):  # a socket file
        return
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{event} {address} by {sys.argv[:1]}\n")
    raise OSError(101, f"denied by a test: {event} {address}")


sys.addaudithook(deny)
