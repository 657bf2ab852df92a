"""The containers that are opened, by FFmpeg's names, and what is refused by name: whatever makes FFmpeg open others."""

from __future__ import annotations

import re

import av

from ..limits import MOST_PIXELS

PROTOCOL = "file"
VIDEOS = (
    "mov", "mp4", "matroska", "webm", "avi", "gif", "apng", "webp", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg",
    "nut", "mxf", "gxf", "ivf", "h264", "hevc", "vvc", "evc", "obu", "m4v", "vc1", "dirac", "h263", "h261", "mjpeg",
    "yuv4mpegpipe", "dv", "rm", "wtv",
)  # fmt: skip
# opened only to say what they are
SOUNDS = ("wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "aiff", "au", "caf", "amr", "wv", "tta", "ape")
PICTURES = tuple(sorted(name for name in av.formats_available if name.endswith("_pipe"))) + ("ico", "tty")

OPEN_SECONDS, READ_SECONDS = 60.0, 60.0
"""Longest that a disk may take to give the beginning of a file, and a packet."""
CONTAINER_OPTIONS = {"protocol_whitelist": PROTOCOL, "format_whitelist": ",".join(VIDEOS + SOUNDS + PICTURES)}
STREAM_OPTIONS = {"max_pixels": str(MOST_PIXELS)}

HEAD_BYTES = 4096
# what names other files: how it begins (or, XML, what is in its beginning)
_LISTS = (
    (re.compile(rb"#EXTM3U|https?://|rtsp://"), "a playlist (M3U)"),
    (re.compile(rb"ffconcat version|file\s+['\"/.\w]"), "a list of files (FFmpeg's concat)"),
    (re.compile(rb"v=\d+\s+(o|s|c)="), "a description of a stream (SDP)"),
    (re.compile(rb"<(\?xml|!|MPD).{0,4000}?<MPD\b|<MPD\b", re.DOTALL), "a description of a stream (DASH)"),
    (re.compile(rb"<(\?xml|!|asx|smil|AssetMap|CompositionPlaylist)", re.IGNORECASE), "a list of files (XML)"),
    (re.compile(rb"\[playlist\]|\[Reference\]", re.IGNORECASE), "a playlist (PLS)"),
)


def names_others(head: bytes) -> str | None:
    """What a file is whose first bytes are ``head``, if it names other files in place of holding pictures."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for mark, what in _LISTS if mark.match(head)), None)
