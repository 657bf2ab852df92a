"""What a file or a request may claim. Beyond, it is refused in a sentence before anything is allocated for it."""

from __future__ import annotations

MOST_PIXELS = 8192 * 8192
"""Of a frame or picture: more than 8K has."""
MOST_FRAMES = 4_000_000
"""Of a clip: 37 hours at 30 frames a second."""
FARTHEST = 30_000.0
"""Pixels from the frame's corner to a point; OpenCV draws to 32,767."""
RATES = (0.01, 1000.0)
"""Frames a second."""
MOST_PEOPLE = 100
"""Of a frame in keypoints; as many as can be chosen by number."""
MOST_SEGMENT = 1001
"""Frames that are sampled at once, 13 times as many as the model was trained with."""
