"""What the faster VAE says in the log, with one prefix."""

from __future__ import annotations

import logging


def say(text: str, *values: object) -> None:
    logging.info("Wan VAE: " + text, *values)
