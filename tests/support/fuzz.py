"""What hypothesis feeds to every reader of files and values: near to right, and wrong somewhere."""

from __future__ import annotations

import functools
import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from wan_animate.errors import InputError
from wan_animate.weights.transformer import transformer_shapes

from . import fuzz_files, hostile_media, hostile_weights
from .fuzz_jobs import job_folders, read_job
from .hostile import read_edits, read_json_file, read_prompts

NUMBERS = st.one_of(
    st.integers(-3, 40), st.integers(), st.floats(width=64), st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1e308])
)
TEXTS = st.text(st.characters(), max_size=12)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES, lambda of: st.lists(of, max_size=4) | st.dictionaries(TEXTS, of, max_size=4), max_leaves=8
)


def dumped(value: Any) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # an int of more digits than Python writes
        return "9" * 5000


@st.composite
def mutated_bytes(draw: Any, whole: bytes, most: int = 12) -> bytes:
    """A file with some bytes changed, a part doubled or left out, or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.integers(0, 5))
        if how <= 2:
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 3:
            data[at : at + 4] = struct.pack(draw(st.sampled_from(["<I", ">I"])), draw(st.integers(0, 2**32 - 1)))
        elif how == 4:
            del data[at : at + draw(st.integers(1, 40))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data if draw(st.integers(0, 9)) else data[: draw(st.integers(0, len(data)))])


def mutated_text(whole: str) -> st.SearchStrategy[str]:
    return mutated_bytes(whole.encode()).map(lambda text: text.decode(errors="replace"))


@st.composite
def mutated_values(draw: Any, right: Any) -> Any:
    """A right value with parts replaced, left out or renamed."""
    if draw(st.integers(0, 7)) == 0:
        return draw(VALUES)
    if isinstance(right, dict):
        out = {}
        for key, value in right.items():
            choice = draw(st.integers(0, 11))
            if choice:
                out[draw(TEXTS) if choice == 1 else key] = draw(mutated_values(value))
        return out
    if isinstance(right, list):
        kept = [draw(mutated_values(value)) for value in right[:6]] + right[6:]
        return kept[: draw(st.integers(0, len(kept)))] if draw(st.integers(0, 7)) == 0 else kept
    return right


@functools.lru_cache
def clip(ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return hostile_media.write_clip(Path(folder) / f"a.{ending}", range(0, 400, 33)).read_bytes()


@functools.lru_cache
def track() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return hostile_media.archive(boxes=np.ones((4, 5), np.float32), cuts=np.array([2]))(Path(folder)).read_bytes()


@st.composite
def arrays(draw: Any) -> dict[str, np.ndarray]:
    """Of a track, some of another kind or shape."""
    right = {
        "keypoints": np.ones((4, 133, 3), np.float32), "fps": np.float64(30), "width": np.int64(64),
        "height": np.int64(48), "fps_ratio": np.array([30, 1]), "boxes": np.ones((4, 5), np.float32),
        "cuts": np.array([2]), "picture": np.array([0.0, 0, 64, 48]), "start_seconds": np.float64(1),
        "pictures": np.ones((4, 4)),
    }  # fmt: skip
    kinds = ["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "S2", "M8[s]"]
    for name in draw(st.lists(st.sampled_from(sorted(right)), max_size=4)):
        if draw(st.booleans()):
            right.pop(name, None)
            continue
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
        if name == "keypoints" and draw(st.booleans()):
            shape = (draw(st.integers(0, 3)), 133, 3)
        number = draw(st.one_of(st.integers(-3, 200), st.floats(width=32)))
        with np.errstate(all="ignore"):
            try:
                right[name] = np.full(shape, number).astype(draw(st.sampled_from(kinds)))
            except (ValueError, OverflowError):
                right[name] = np.zeros(shape)
    return right


def packed(content: dict[str, np.ndarray]) -> bytes:
    made = io.BytesIO()
    np.savez(made, **content)  # type: ignore[arg-type]
    return made.getvalue()


PERSON = {"pose_keypoints_2d": [10.0, 10.0, 0.9] * 18, "face_keypoints_2d": [5, 5, 1] * 70}
FRAMES = [{"people": [PERSON], "canvas_width": 64, "canvas_height": 48}] * 2
PROMPTS = [{"frame": 2, "positive": [{"x": 3, "y": 4}], "negative": [[1, 2]], "box": [1, 2, 30, 40], "size": [64, 48]}]
EDITS = {"width": 64, "height": 48, "fps": 30, "start": 0.0, "keys": {"9": [[1, 2.5, 3]]}, "hidden": {"10": [[0, 2]]}}
SOURCE = {"repo": "a/b", "path": "c.onnx", "revision": "main"}
MANIFEST = {
    "models": [
        {
            "name": "c.onnx", "role": "person_detector", "folder": "detection", "licence": "MIT", "source": SOURCE,
            "optional": False, "size": 5, "sha256": "0" * 64, "evidence": "hub", "beside": [],
        }
    ]
}  # fmt: skip
WORKFLOW = {"1": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "t"}}}
CONFIG = {"_class_name": "WanAnimateTransformer3DModel", "text_dim": 8, "image_dim": 8}
METADATA = {
    "config": {"transformer": {"dim": 8, "ffn_dim": 16, "model_type": "animate", "num_layers": 5}},
    "_quantization_metadata": {"layers": {"blocks.0.ffn.0": {"format": "float8_e4m3fn"}}},
    "sam2_architecture": {"heads": [1], "windows": [8], "global_blocks": [0], "image_size": 64},
}


@st.composite
def headers(draw: Any, shapes: dict[str, tuple[int, ...]], kinds: list[str], lora: bool = False) -> bytes:
    """A safetensors file whose tensors and metadata are nearly right."""
    shapes = dict(shapes)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(shapes)) if shapes else TEXTS)
        shape = shapes.pop(name, ())
        how = draw(st.integers(0, 4))
        if how == 0:
            shapes[name] = tuple(draw(st.lists(st.integers(0, 6), max_size=4)))
        elif how == 1:
            shapes[name.replace("0", draw(st.sampled_from(["7", "99999999", "²", "-1", ""])), 1)] = shape
        elif how == 2:
            shapes[name + draw(st.sampled_from([".comfy_quant", ".scale_weight", ".weight_scale", "x"]))] = (1,)
            shapes[name] = shape
    kind = draw(st.sampled_from(kinds))
    entries: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * {"F8_E4M3": 1, "F32": 4, "U8": 1, "BF16": 2}[kind]
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    told = {key: dumped(draw(mutated_values(METADATA[key]))) for key in METADATA if draw(st.integers(0, 3)) == 0}
    if told:
        entries["__metadata__"] = told
    text = json.dumps(entries if draw(st.integers(0, 5)) else draw(mutated_values(entries)), default=str).encode()
    if draw(st.integers(0, 7)) == 0:
        text = draw(mutated_bytes(text))
    off = draw(st.integers(-3, 3)) if draw(st.integers(0, 7)) == 0 else 0
    return struct.pack("<Q", max(len(text) + off, 0)) + text + bytes(min(at, 1 << 22))


LORA = {f"blocks.{n}.self_attn.q.lora_{half}.weight": (2, 4) for n in range(2) for half in "AB"}
Plain = st.recursive(
    st.one_of(LEAVES, st.binary(max_size=9), st.builds(lambda *of: np.ones(of), st.integers(0, 3))),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(TEXTS, of, max_size=3) | st.tuples(of),
    max_leaves=6,
)


def saved(content: Any) -> bytes:
    import torch

    made = io.BytesIO()
    try:
        torch.save(content, made)
    except (OverflowError, RuntimeError, UnicodeError):
        torch.save([], made)
    return made.getvalue()


@functools.lru_cache
def lora_pickle(zipped: bool) -> bytes:
    import torch

    made = io.BytesIO()
    torch.save({name: torch.ones(shape) for name, shape in LORA.items()}, made, _use_new_zipfile_serialization=zipped)
    return made.getvalue()


def from_file(name: str, read: Callable[[Path], Any]) -> Callable[[Any], Any]:
    def call(content: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
            return read(path)

    return call


def _segments(path: Path) -> Any:
    from wan_animate.chain.segment_files import LosslessSource

    source = LosslessSource([(path, 0, None)], 30)
    return len(source.read(0, min(len(source), 4)))


def _prompt(path: Path) -> Any:
    from wan_animate.weights.prompt_file import load_prompt

    return load_prompt(path)


def _folder(path: Path) -> Any:
    (path.parent.parent / "vae").mkdir()
    (path.parent.parent / "vae" / "config.json").write_text("{}")
    return hostile_folder(path.parent.parent)


hostile_folder = read_json_file("folder")
TRANSFORMER = transformer_shapes(8, 16, 5)
WEIGHTS = ["F8_E4M3", "F32", "U8", "BF16"]

Reader = tuple[st.SearchStrategy[Any], Callable[[Any], Any]]
READERS: dict[str, Reader] = {
    "video mkv": (mutated_bytes(clip("mkv")), from_file("a.mkv", hostile_media.read_video(77))),
    "video mp4": (mutated_bytes(clip("mp4")), from_file("a.mp4", hostile_media.read_video(77))),
    "video ts": (mutated_bytes(clip("ts")), from_file("a.ts", hostile_media.read_video(77))),
    "video whole": (mutated_bytes(clip("mkv"), 4), from_file("a.mkv", hostile_media.read_video())),
    "segments": (mutated_bytes(clip("mkv")), from_file("a.mkv", _segments)),
    "track": (arrays().map(packed), from_file("a.npz", hostile_media.read_track)),
    "track bytes": (mutated_bytes(track()), from_file("a.npz", hostile_media.read_track)),
    "keypoints": (mutated_values(FRAMES), hostile_media.read_keypoints),
    "keypoints text": (mutated_values(FRAMES).map(dumped), hostile_media.read_keypoints),
    "transformer": (headers(TRANSFORMER, WEIGHTS), from_file("a.safetensors", hostile_weights.read_animate)),
    "header": (headers({"a": (2,), "b": ()}, WEIGHTS), from_file("a.safetensors", hostile_weights.read_header)),
    "segmenter": (
        headers(hostile_weights.SAM2_SHAPES, WEIGHTS),
        from_file("a.safetensors", hostile_weights.read_segmenter),
    ),
    "prompt file": (headers({"cond": (1, 2, 4)}, WEIGHTS), from_file("a.safetensors", _prompt)),
    "lora": (headers(LORA, WEIGHTS), from_file("a.safetensors", hostile_weights.read_lora)),
    "lora objects": (Plain.map(saved), from_file("a.ckpt", hostile_weights.read_lora)),
    "lora pickle": (
        st.booleans().flatmap(lambda zipped: mutated_bytes(lora_pickle(zipped), 3)),
        from_file("a.ckpt", hostile_weights.read_lora),
    ),
    "prompts": (mutated_values(PROMPTS).map(dumped), read_prompts),
    "prompts text": (mutated_text(json.dumps(PROMPTS)), read_prompts),
    "edits": (mutated_values(EDITS).map(dumped), read_edits),
    "edits text": (mutated_text(json.dumps(EDITS)), read_edits),
    "manifest": (mutated_values(MANIFEST).map(dumped), from_file("m.json", read_json_file("manifest"))),
    "workflow": (mutated_values(WORKFLOW).map(dumped), from_file("w.json", read_json_file("workflow"))),
    "table": (
        st.lists(VALUES.map(dumped), max_size=4).map("\n".join),
        from_file("t.jsonl", read_json_file("table")),
    ),
    "masks": (mutated_bytes(fuzz_files.masks()), from_file("m.npz", fuzz_files.read_masks)),
    "gguf": (mutated_bytes(fuzz_files.gguf()), from_file("a.gguf", fuzz_files.read_gguf_file)),
    "picture": (
        st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF"]).flatmap(
            lambda kind: mutated_bytes(fuzz_files.picture(kind))
        ),
        from_file("a.png", fuzz_files.read_picture_file),
    ),
    "clip record": (mutated_values(fuzz_files.RECORD).map(dumped), fuzz_files.read_record_of),
    "job folder": (job_folders(mutated_bytes, mutated_values, dumped), read_job),
    "folder": (mutated_values(CONFIG).map(dumped), from_file("transformer/config.json", _folder)),
}


def attempt(read: Callable[[Any], Any], content: Any) -> None:
    """Reads; an InputError is one sentence. Raises whatever else the reader raises."""
    try:
        read(content)
    except InputError as error:
        text = str(error)
        if "\n" in text or not text.endswith(".") or len(text) > 800:
            raise AssertionError(f"not one sentence: {text!r}") from error
