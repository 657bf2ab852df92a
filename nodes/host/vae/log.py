"""Log messages of the faster VAE."""

from __future__ import annotations

import logging


def say(text: str, *values: object) -> None:
    logging.info("Wan VAE: " + text, *values)
