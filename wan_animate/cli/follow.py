"""A process that helps another make its clip: ``python -m wan_animate.cli.follow DEVICE``."""

from __future__ import annotations

import signal
import sys


def follow(device: str) -> None:
    """Joins the group of the environment and computes what its leader sends, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the leader's, which ends all
    from ..backends.several import serve
    from ..parallel.processes import join

    group = join(device)
    serve(group)
    group.leave()


if __name__ == "__main__":
    follow(sys.argv[1])
