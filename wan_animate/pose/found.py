"""The warning for a pose found in too few frames."""

from __future__ import annotations

from ..log import about, get_logger
from ..text import found_too_little
from .track import PoseTrack

log = get_logger(__name__)


def warn_if_rarely_found(track: PoseTrack, who: str) -> str | None:
    """Logs and returns :func:`..text.found_too_little`."""
    words = found_too_little(track.body_found)
    if words:
        log.warning("%s: %s", who, words, extra=about(words))
    return words
