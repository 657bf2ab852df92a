"""Small right files of kinds beside videos and weights, for hypothesis to break; and their readers."""

from __future__ import annotations

import functools
import io
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from wan_animate.mask.track import MaskTrack, pack
from wan_animate.record.clip_record import FORM, TAG, read_record
from wan_animate.video.picture import read_picture
from wan_animate.weights.gguf import read_gguf

RECORD = {
    "form": FORM, "host": "shell", "settings": {"steps": 4}, "clip": {"fps": "30", "mode": "animate"}, "inputs": {},
    "files": {"video": "0" * 32}, "models": [{"part": "vae", "name": "a.safetensors", "hash": "0" * 32}],
    "versions": {"kit": "1"}, "device": "CPU", "segments": ["00"], "frames": "00",
}  # fmt: skip


@functools.lru_cache
def masks() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        MaskTrack((pack(np.eye(12, 16, dtype=np.uint8)),) * 3, (3, 12, 16)).save(Path(folder) / "m.npz")
        return (Path(folder) / "m.npz").read_bytes()


def read_masks(path: Path) -> int:
    track = MaskTrack.load(path)
    track.fingerprint()
    return int(track.read(0, min(len(track), 4)).sum())


@functools.lru_cache
def gguf() -> bytes:
    def text(of: str) -> bytes:
        return struct.pack("<Q", len(of)) + of.encode()

    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("wan"),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("scores") + struct.pack("<IIQ2f", 9, 6, 2, 1.0, 2.0),
        text("count") + struct.pack("<IQ", 10, 7),
    ]
    names = ["face_adapter.a", "motion_encoder.b", "pose_patch_embedding.c"]
    tensors = [text(name) + struct.pack("<I2QIQ", 2, 32, 4, 0, 128 * at) for at, name in enumerate(names)]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries + tensors)


def read_gguf_file(path: Path) -> bool:
    return read_gguf(path).is_animate


@functools.lru_cache
def picture(kind: str) -> bytes:
    from PIL import Image

    made, rows = io.BytesIO(), np.arange(24 * 32 * 3, dtype=np.uint32).reshape(24, 32, 3) % 251
    Image.fromarray(rows.astype(np.uint8)).save(made, kind)
    return made.getvalue()


def read_picture_file(path: Path) -> Any:
    return read_picture(path, "the reference image").shape


def read_record_of(text: str) -> Any:
    """Of a clip whose tag is this text."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mkv"
        with av.open(str(path), "w", format="matroska") as made:
            made.metadata[TAG] = text.replace("\0", "").encode(errors="replace").decode()
            stream = made.add_stream("ffv1", rate=30)
            stream.width = stream.height = 16
            stream.pix_fmt = "bgr0"
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
            made.mux(stream.encode(None))
        return read_record(path).clip
