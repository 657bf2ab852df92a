"""The other processes of ``--gpus``, which this one starts and leads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .progress import line_end

GRACE = 15.0  # seconds in which this process notices by itself that another ended


@contextmanager
def followers(count: int, device: str) -> Iterator[None]:
    """Starts ``count - 1`` processes, and has this one be the first; all have ended afterwards.

    If one of them dies, this process says so and ends: it may be within an exchange that never comes.
    """
    place = {
        "WORLD_SIZE": str(count), "RANK": "0", "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in place}
    os.environ.update(place)
    command = [sys.executable, "-m", "wan_animate.cli.follow", device]
    running = [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdin=subprocess.DEVNULL)
        for rank in range(1, count)
    ]
    ended = threading.Event()
    threading.Thread(target=_watch, args=(running, ended), name="watch followers", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        end(running)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def end(running: list[subprocess.Popen]) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def _watch(running: list[subprocess.Popen], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        for number, process in enumerate(running, 2):
            code = process.poll()
            if code:
                if ended.wait(GRACE):
                    return
                line_end(
                    f"wan-animate: the process of card {number} ended (code {code}): run the same command again to go "
                    "on from the last finished segment, or give fewer --gpus."
                )
                end(running)
                os._exit(1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
