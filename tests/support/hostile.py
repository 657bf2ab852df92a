"""Small hostile files, and what reads them: each gives a result or one InputError sentence, soon, in little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .hostile_media import (
    CONCAT,
    PLAYLIST,
    PLAYLISTS,
    archive,
    bad_picture,
    bomb,
    claim,
    claimed_picture,
    crowd,
    frame_of,
    from_memory,
    huge_frame,
    many_samples,
    person,
    read_keypoints,
    read_picture,
    read_track,
    read_video,
    text_file,
    write_clip,
)
from .hostile_pickles import PICKLES, STORED, opcodes
from .hostile_weights import (
    endless_loop,
    holds_itself,
    huge_constant,
    huge_result,
    lora_pickle,
    nested_json,
    one_stored_many_seen,
    onnx_graph,
    packed_pickle,
    raw_header,
    read_animate,
    read_header,
    read_lora,
    read_onnx,
    read_segmenter,
    sam2,
    small_animate,
)

Case = tuple[Callable[[Path], Any], Callable[[Any], Any]]
"""(makes a file or value in a folder, reads it)"""


# ------------------------------------------------------------------------------------------------ JSON


def read_prompts(text: Any) -> Any:
    from wan_animate.mask.prompts import read_prompts

    return len(read_prompts(text))


def read_edits(text: Any) -> Any:
    from wan_animate.pose.edits import read_edits

    return bool(read_edits(text))


CLAIMS = ("png", "bmp", "tiff")
CANVAS = {"canvas_width": 64, "canvas_height": 48}


def clip_at(*stamps: int) -> Callable[[Path], Path]:
    """A video of frames at these milliseconds."""
    return lambda folder: write_clip(folder / "a.mkv", list(stamps))


def value(of: Any) -> Callable[[Path], Any]:
    return lambda _folder: of


def read_json_file(read: str) -> Callable[[Path], Any]:
    def call(path: Path) -> Any:
        from wan_animate.backends.diffusers import check_folder
        from wan_animate.models.manifest import read_manifest
        from wan_animate.queue.jobs import read_table
        from wan_animate.queue.workflow import load_workflow

        readers = {"manifest": read_manifest, "workflow": load_workflow, "table": read_table, "folder": check_folder}
        return readers[read](path)

    return call


def written(name: str, text: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        return folder / name

    return make


def model_folder(transformer: str, vae: str = "{}") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        written("transformer/config.json", transformer)(folder)
        written("vae/config.json", vae)(folder)
        return folder

    return make


CASES: dict[str, Case] = {
    **{f"video: {name}": (text_file(*of), read_video()) for name, of in PLAYLISTS.items()},
    "video: a concat list in memory": (text_file("a.mp4", CONCAT), from_memory(read_video())),
    "video: a playlist in memory": (text_file("a.mp4", PLAYLIST), from_memory(read_video())),
    "video: last stamp at 3e7 s": (clip_at(0, 33, 66, 30_000_000_000), read_video()),
    "video: last stamp at 3e7 s, 77 frames": (
        clip_at(0, 33, 30_000_000_000),
        read_video(77),
    ),
    "video: last stamp at 2e9 s, 77 frames": (
        clip_at(0, 33, 2_000_000_000_000),
        read_video(77),
    ),
    "video: a gap of 1e6 s": (clip_at(0, 33, 1_000_000_000), read_video()),
    "video: a gap of 1e6 s, 77 frames": (clip_at(0, 33, 1_000_000_000), read_video(77)),
    "video: a gap of 1e6 s, its own rate": (
        clip_at(0, 33, 1_000_000_000),
        read_video(0, 0),
    ),
    "video: a table of 1e8 frames": (many_samples, read_video(77)),
    "video: a frame of 16,000 x 16,000": (huge_frame, read_video(77)),
    "picture: 9,000 x 9,000 in a few kB": (bad_picture(9_000), read_picture),
    **{f"picture: 16 x 16 and 64 million claimed, {kind}": (claimed_picture(kind), read_picture) for kind in CLAIMS},
    "track: 400 MB for a key nobody asked for": (bomb("more", (100_000_000,)), read_track),
    "track: 400 MB of keypoints in 2 MB": (bomb("keypoints", (250_000, 133, 3)), read_track),
    "track: 400 MB of cuts": (bomb("cuts", (50_000_000,), "<i8"), read_track),
    "track: a header without data": (claim, read_track),
    "track: rate 0": (archive(fps=0.0), read_track),
    "track: rate -30": (archive(fps=-30.0), read_track),
    "track: rate NaN": (archive(fps=np.nan), read_track),
    "track: rate 30/0": (archive(fps_ratio=np.array([30, 0])), read_track),
    "track: rate of three numbers": (archive(fps_ratio=np.array([30, 1, 1])), read_track),
    "track: width of a million": (archive(width=10**6, height=10**6), read_track),
    "track: width of text": (archive(width="wide"), read_track),
    "track: keypoints of text": (archive(keypoints=np.full((4, 133, 3), "x")), read_track),
    "track: complex keypoints": (archive(keypoints=np.ones((4, 133, 3), complex)), read_track),
    "track: cuts of a matrix": (archive(cuts=np.ones((2, 2))), read_track),
    "track: cuts of fractions": (archive(cuts=np.array([1.5, np.nan])), read_track),
    "track: picture of two numbers": (archive(picture=np.array([1.0, 2.0])), read_track),
    "track: picture without height": (archive(picture=np.array([0.0, 0.0, 64.0, 0.0])), read_track),
    "track: a start of several numbers": (archive(start_seconds=np.array([1.0, 2.0])), read_track),
    "track: a start at infinity": (archive(start_seconds=np.inf), read_track),
    "track: a point at 1e5 pixels": (archive(keypoints=np.full((4, 133, 3), 1e5, np.float32)), read_track),
    "track: a point at 1e30 pixels": (archive(keypoints=np.full((4, 133, 3), 1e30, np.float32)), read_track),
    "track: no numbers": (written("track.npz", b"PK\x03\x04" + bytes(400)), read_track),
    "keypoints: 100 people in 10 frames": (crowd(100, 10), read_keypoints),
    "keypoints: 10,000 people": (crowd(10_000, 1), read_keypoints),
    "keypoints: a point at 1e5 pixels": (frame_of(person(1e5, 1e5)), read_keypoints),
    "keypoints: numbers of 1e30": (frame_of(person(1e30, 1e30)), read_keypoints),
    "keypoints: a number of 400 digits": (frame_of({"pose_keypoints_2d": [10**400] * 54}), read_keypoints),
    "keypoints: a body of objects": (frame_of({"pose_keypoints_2d": [{}] * 54}), read_keypoints),
    "keypoints: a body of lists": (frame_of({"pose_keypoints_2d": [[1]] * 53 + [1]}), read_keypoints),
    "keypoints: people is a number": (
        value([{"people": 7, **CANVAS}]),
        read_keypoints,
    ),
    "keypoints: people by name": (
        value([{"people": {"a": 1}, **CANVAS}]),
        read_keypoints,
    ),
    "keypoints: a canvas of lists": (frame_of(person(), canvas_width=[64]), read_keypoints),
    "keypoints: a canvas of NaN": (frame_of(person(), canvas_width=float("nan")), read_keypoints),
    "keypoints: a canvas without end": (frame_of(person(), canvas_width=float("inf")), read_keypoints),
    "keypoints: a canvas of a million": (frame_of(person(), canvas_width=10**6, canvas_height=10**6), read_keypoints),
    "keypoints: nested text": (value(nested_json()), read_keypoints),
    "keypoints: bytes that are no text": (value(b"\xff\xfe\x00["), read_keypoints),
    "weights: blocks.10000000": (small_animate(**{"blocks__10000000__norm3__weight": (8,)}), read_animate),
    "weights: blocks.<5,000 digits>": (small_animate(**{f"blocks__{'9' * 5000}__norm3__weight": (8,)}), read_animate),
    "weights: blocks.²": (small_animate(**{"blocks__²__norm3__weight": (8,)}), read_animate),
    "weights: blocks.": (small_animate(**{"blocks__": (8,)}), read_animate),
    "weights: modulation without a shape": (small_animate(**{"head__modulation": ()}), read_animate),
    "weights: nested config": (small_animate({"config": nested_json()}), read_animate),
    "weights: config of a list": (small_animate({"config": "[1]"}), read_animate),
    "weights: a transformer of pairs": (small_animate({"config": '{"transformer": [1, 2]}'}), read_animate),
    "weights: a number of 5,000 digits": (
        small_animate({"config": '{"transformer": {"dim": %s}}' % ("9" * 5000)}),
        read_animate,
    ),
    "weights: config of half a surrogate": (
        small_animate({"config": '{"transformer": {"dim": "\\ud800"}}'}),
        read_animate,
    ),
    "weights: nested quantization": (small_animate({"_quantization_metadata": nested_json()}), read_animate),
    "weights: layers of a list": (small_animate({"_quantization_metadata": '{"layers": [1]}'}), read_animate),
    "weights: layers of numbers": (small_animate({"_quantization_metadata": '{"layers": {"a": 5}}'}), read_animate),
    "weights: layers of pairs": (small_animate({"_quantization_metadata": '{"layers": {"a": ["bc"]}}'}), read_animate),
    "weights: a scale without a shape": (small_animate(**{"blocks__0__ffn__0__scale_weight": (0,)}), read_animate),
    "weights: a scaled layer without a shape": (
        small_animate(**{"blocks__0__ffn__0__scale_weight": (1,), "blocks__0__ffn__0__weight": ()}),
        read_animate,
    ),
    "weights: a nested header": (raw_header(b'{"a":' + nested_json().encode() + b"}"), read_header),
    "weights: offsets of one": (raw_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4), read_header),
    "weights: offsets without end": (
        raw_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}'),
        read_header,
    ),
    "weights: a shape of 2^70": (
        raw_header(b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}}' % 2**70, 4),
        read_header,
    ),
    "weights: a shape that overflows": (
        raw_header(b'{"a":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,0]}}' % (2**40, 2**40)),
        read_header,
    ),
    "weights: bytes that are no text": (raw_header(b'{"a\xff":1}'), read_header),
    "weights: an empty name": (raw_header(b'{"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4), read_header),
    "weights: a dtype of numbers": (raw_header(b'{"a":{"dtype":5,"shape":[],"data_offsets":[0,4]}}', 4), read_header),
    "segmenter: 4,000,000 layers": (sam2(), read_segmenter),
    "segmenter: nested metadata": (sam2(nested_json()), read_segmenter),
    "segmenter: metadata of half a surrogate": (sam2('{"heads": "\\ud800"}'), read_segmenter),
    "segmenter: a heads of no size": (sam2({"heads": [0], "windows": [0], "global_blocks": [0]}), read_segmenter),
    "segmenter: a negative picture": (
        sam2({"heads": [1], "windows": [8], "global_blocks": [0], "image_size": -1}),
        read_segmenter,
    ),
    "segmenter: a picture of 1e9": (
        sam2({"heads": [1], "windows": [8], "global_blocks": [0], "image_size": 10**9}),
        read_segmenter,
    ),
    "segmenter: a norm without a shape": (
        sam2(vision_encoder__backbone__blocks__0__layer_norm2__weight=()),
        read_segmenter,
    ),
    "segmenter: a width of 0": (sam2(vision_encoder__backbone__blocks__0__layer_norm2__weight=(0,)), read_segmenter),
    "lora: a pickle that holds itself": (lora_pickle(holds_itself), read_lora),
    "lora: a tensor of 32 GB in 1 kB": (lora_pickle(one_stored_many_seen), read_lora),
    "lora: a packed pickle": (packed_pickle, read_lora),
    **{f"lora: {name}": (opcodes(body), read_lora) for name, body in PICKLES.items()},
    **{f"lora: {name}, before 1.6": (opcodes(body, False), read_lora) for name, body in PICKLES.items()},
    "lora: 4 TB claimed": (opcodes(STORED + b"tQ"), read_lora),
    "lora: 4 TB claimed, before 1.6": (opcodes(STORED + b"NtQ", False), read_lora),
    "lora: a list": (lora_pickle(lambda: [1, 2]), read_lora),
    "lora: names of tuples": (lora_pickle(lambda: {(("a",),): 1}), read_lora),
    "lora: no zip": (written("a.ckpt", b"PK\x03\x04" + bytes(100)), read_lora),
    "lora: a short pickle": (written("a.ckpt", b"\x80\x02}"), read_lora),
    "lora: an alpha of text": (written("a.pt", b"\x80\x02X\xff\xff\xff\xff"), read_lora),
    "lora: a nested header": (raw_header(b'{"a":' + nested_json().encode() + b"}"), read_lora),
    "onnx: an endless loop": (onnx_graph(endless_loop), read_onnx),
    "onnx: a constant of 16 GB": (onnx_graph(huge_constant), read_onnx),
    "onnx: a result of 16 GB": (onnx_graph(huge_result), read_onnx),
    "onnx: no graph": (written("net.onnx", b"\x08\x08"), read_onnx),
    "prompts: nested": (value(nested_json()), read_prompts),
    "prompts: a size of nothing": (value('[{"frame": 0, "size": []}]'), read_prompts),
    "prompts: a size by name": (value('[{"frame": 0, "size": {"a": 1}}]'), read_prompts),
    "prompts: a frame of 1e400": (value('[{"frame": 1e400}]'), read_prompts),
    "prompts: a frame of 5,000 digits": (value(f'[{{"frame": {"9" * 5000}}}]'), read_prompts),
    "prompts: a point of NaN": (value('[{"frame": 0, "positive": [{"x": NaN, "y": 3}]}]'), read_prompts),
    "prompts: a box of text": (value('[{"frame": 0, "box": "abcd"}]'), read_prompts),
    "prompts: a box by name": (value('[{"frame": 0, "box": {"x": []}}]'), read_prompts),
    "prompts: a box of itself": (value('[{"frame": 0, "box": [[[[]]]]}]'), read_prompts),
    "prompts: a box of NaN": (value('[{"frame": 0, "box": [NaN, NaN, NaN, NaN]}]'), read_prompts),
    "prompts: half a surrogate": (value('["\ud800"]'), read_prompts),
    "prompts: a number": (value("5"), read_prompts),
    "edits: nested": (value(nested_json()), read_edits),
    "edits: a joint of 5,000 digits": (value(f'{{"keys": {{"{"9" * 5000}": [[0, 1, 1]]}}}}'), read_edits),
    "edits: half a surrogate": (value('{"keys": {"\ud800": 1}}'), read_edits),
    "edits: no height": (value('{"keys": {}, "width": 5}'), read_edits),
    "manifest: nested": (written("m.json", nested_json()), read_json_file("manifest")),
    "manifest: bytes that are no text": (written("m.json", b"\xff\xfe"), read_json_file("manifest")),
    "manifest: an entry of a list": (written("m.json", '{"models": [[1]]}'), read_json_file("manifest")),
    "manifest: a source of a list": (
        written("m.json", '{"models": [{"name": "a", "source": [1]}]}'),
        read_json_file("manifest"),
    ),
    "workflow: nested": (written("w.json", nested_json()), read_json_file("workflow")),
    "workflow: a number": (written("w.json", "7"), read_json_file("workflow")),
    "table: nested": (written("t.jsonl", nested_json()), read_json_file("table")),
    "table: a NUL": (written("t.csv", "a\0,b\n1,2\n"), read_json_file("table")),
    "folder: nested": (model_folder(nested_json()), read_json_file("folder")),
    "folder: a list": (model_folder("[1, 2]"), read_json_file("folder")),
    "folder: a z_dim by name": (model_folder("{}", '{"z_dim": {}}'), read_json_file("folder")),
}
