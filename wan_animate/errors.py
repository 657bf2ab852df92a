"""Errors for the user."""

from __future__ import annotations

import re

# what names from files and requests may hold: line ends, other controls, halves of surrogates
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class InputError(ValueError):
    """Invalid input, raised before long work.

    The message, shown without a traceback, names the input, what was found and what to do in one or two sentences, on
    one line.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_UNSHOWN.sub(" ", message))


class Cancelled(Exception):
    """Stops the work when raised from a progress callback."""
