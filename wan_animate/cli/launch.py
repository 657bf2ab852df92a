"""The processes that make one clip on several cards: those of ``--gpus``, which this one starts, or torchrun's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..errors import InputError
from ..parallel.processes import Group, check_cards, in_group, is_follower, join
from .options import RunOptions
from .progress import line_end

NOTICED = 3.0  # seconds after an error in which another process may turn out to have caused it
GRACE = 15.0  # seconds in which this process notices by itself that another ended


def by_torchrun(options: RunOptions) -> None:
    """Processes that torchrun started are as many as its ``--nproc-per-node`` says, whatever ``--gpus`` does."""
    if in_group():
        options.gpus = int(os.environ["WORLD_SIZE"])


def helps(options: RunOptions) -> bool:
    """Whether this is one of torchrun's other processes; it has then done its part."""
    if not is_follower():
        return False
    from .follow import follow

    follow(options.device)
    return True


@contextmanager
def together(options: RunOptions) -> Iterator[Group | None]:
    """This process as the first of several; None with one card.

    Raises:
        InputError: fewer cards, or another process ended.
    """
    if options.gpus == 1:
        yield None
        return
    if options.offload == "on":
        raise InputError(
            "--offload on is for one card: with several, --shard-weights leaves each a part of the weights."
        )
    from ..backends.several import end

    with ExitStack() as stack:
        if not in_group():
            if options.device.startswith("cuda"):
                check_cards(options.gpus)
            stack.enter_context(followers(options.gpus, options.device))
        group = join(options.device)
        yield group
        # Not after an error: the others may be within a step, and are ended from outside.
        end(group)
        group.leave()


@contextmanager
def followers(count: int, device: str) -> Iterator[None]:
    """Starts ``count - 1`` processes, and has this one be the first; all have ended afterwards.

    Raises:
        InputError: one of them ended.
    """
    place = {
        "WORLD_SIZE": str(count), "RANK": "0", "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in place}
    os.environ.update(place)
    command = [sys.executable, "-m", "wan_animate.cli.follow", device]
    running = [
        subprocess.Popen(
            command, env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdin=subprocess.DEVNULL
        )
        for rank in range(1, count)
    ]
    ended = threading.Event()
    threading.Thread(target=_watch, args=(running, ended), name="watch followers", daemon=True).start()
    try:
        yield
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    except InputError:
        raise
    except Exception as error:
        until = time.monotonic() + NOTICED
        while (found := _failed(running)) is None and time.monotonic() < until:
            time.sleep(0.1)
        if found is None:
            raise
        raise InputError(found) from error
    finally:
        ended.set()
        _kill(running)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _failed(running: list[subprocess.Popen]) -> str | None:
    """A sentence about a process that failed."""
    for number, process in enumerate(running, 2):
        if code := process.poll():
            return (
                f"the process of card {number} of {len(running) + 1} ended (code {code}): run the same command again "
                "to go on from the last finished segment, or give fewer --gpus."
            )
    return None


def _kill(running: list[subprocess.Popen]) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def _watch(running: list[subprocess.Popen], ended: threading.Event) -> None:
    """Ends this process if another failed and it does not notice: it may wait in an exchange that never comes."""
    while not ended.wait(0.5):
        found = _failed(running)
        if found is not None and not ended.wait(GRACE):
            line_end(f"wan-animate: {found}")
            _kill(running)
            os._exit(1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
