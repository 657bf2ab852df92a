"""Small hostile files, and what reads them: each gives a result or one InputError sentence, soon, in little memory."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from wan_animate.weights.transformer import transformer_shapes

Case = tuple[Callable[[Path], Any], Callable[[Any], Any]]
"""(makes a file or value in a folder, reads it)"""


# ------------------------------------------------------------------------------------------------ videos


def write_clip(path: Path, stamps: list[int] | range = range(12), size: tuple[int, int] = (64, 48)) -> Path:
    """MPEG-4 frames at these milliseconds."""
    ending = path.suffix.lstrip(".")
    with av.open(str(path), "w", format={"mkv": "matroska", "mp4": "mp4", "ts": "mpegts"}[ending]) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for at, stamp in enumerate(stamps):
            picture = np.full((size[1], size[0], 3), 20 * at % 255, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def neighbour(folder: Path) -> Path:
    """A video that nobody asked for, in a folder beside."""
    beside = folder / "beside"
    beside.mkdir(exist_ok=True)
    return write_clip(beside / "secret.ts", range(0, 400, 33))


def text_file(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        beside = neighbour(folder)
        (folder / name).write_text(text.format(beside=beside, name=name, folder=folder))
        return folder / name

    return make


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{beside}\n#EXT-X-ENDLIST\n"
LIVE = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{beside}\n"
CONCAT = "ffconcat version 1.0\nfile 'beside/secret.ts'\n"
NESTED = "ffconcat version 1.0\n" + "file '{name}'\n" * 50
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{beside}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
PLAYLISTS = {
    "a playlist": ("a.m3u8", PLAYLIST),
    "a playlist under another ending": ("a.mp4", PLAYLIST),
    "a live playlist": ("a.ts", LIVE),
    "a concat list": ("a.ffconcat", CONCAT),
    "a concat list under another ending": ("a.mp4", CONCAT),
    "a concat list of itself": ("a.mkv", NESTED),
    "an SDP": ("a.sdp", SDP),
    "an SDP under another ending": ("a.mp4", SDP),
    "a DASH list": ("a.mpd", DASH),
    "a DASH list under another ending": ("a.mp4", DASH),
}


def many_samples(folder: Path) -> Path:
    """An mp4 whose table says that a hundred million frames of one byte lie in its file."""
    path = write_clip(folder / "table.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"stsz")
    data[at + 8 : at + 16] = struct.pack(">II", 1, 100_000_000)
    at = data.index(b"stsc")
    count = struct.unpack(">I", data[at + 8 : at + 12])[0]
    data[at + 8 + 4 + 12 * (count - 1) + 4 : at + 8 + 4 + 12 * (count - 1) + 8] = struct.pack(">I", 100_000_000)
    at = data.index(b"stts")
    data[at + 12 : at + 16] = struct.pack(">I", 100_000_000)
    path.write_bytes(data)
    return path


def _video(limit: int = 0, fps: float = 30) -> Callable[[Any], Any]:
    def read(path: Any) -> Any:
        from wan_animate.video.audio import read_audio
        from wan_animate.video.source import VideoSource

        source = VideoSource(path, fps=fps, limit=limit)
        source.read(0, min(len(source), 8))
        read_audio(path, 0.0, 1.0)
        return len(source)

    return read


def _read_bytes(read: Callable[[Any], Any]) -> Callable[[Path], Any]:
    return lambda path: read(io.BytesIO(path.read_bytes()))


def bad_picture(side: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        Image.new("1", (side, side)).save(folder / "bomb.png", optimize=True)
        return folder / "bomb.png"

    return make


def huge_frame(folder: Path) -> Path:
    """A video of one frame of 16,000 x 16,000 pixels in a few hundred kB."""
    from PIL import Image

    made = io.BytesIO()
    Image.new("L", (16_000, 16_000)).save(made, "png")
    path = folder / "huge.mov"
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = 16_000, 16_000, "gray"
        for at in range(3):
            packet = av.Packet(made.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, at, at, Fraction(1, 30)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def _picture(path: Path) -> Any:
    from wan_animate.video.picture import read_picture

    return read_picture(path).shape


# ------------------------------------------------------------------------------------------------ tracks


def archive(**values: Any) -> Callable[[Path], Path]:
    """An npz of a small track with these arrays in place of its own; None leaves one out."""
    given = {"keypoints": np.ones((4, 133, 3), np.float32), "fps": 30.0, "width": 64, "height": 48, **values}

    def make(folder: Path) -> Path:
        path = folder / "track.npz"
        np.savez_compressed(path, **{name: value for name, value in given.items() if value is not None})
        return path

    return make


def bomb(key: str, shape: tuple[int, ...], kind: str = "<f4") -> Callable[[Path], Path]:
    """A track with an array of zeros that takes a thousandth of its size on disk."""

    def make(folder: Path) -> Path:
        path = archive(**{key: None} if key == "keypoints" else {})(folder)
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
        left = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
        with (
            zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed,
            packed.open(f"{key}.npy", "w", force_zip64=True) as file,
        ):
            file.write(head.getvalue())
            zeros = bytes(16 << 20)
            while left > 0:
                file.write(zeros[: min(left, len(zeros))])
                left -= len(zeros)
        return path

    return make


def claim(folder: Path) -> Path:
    """A header that says a trillion keypoints, and no data."""
    path = archive(keypoints=None)(folder)
    head = io.BytesIO()
    shape = (10**9, 133, 3)
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("keypoints.npy", head.getvalue())
    return path


def _track(path: Path) -> Any:
    from wan_animate.mask.from_pose import PoseMaskSource
    from wan_animate.pose.draw import DrawnPoseSource
    from wan_animate.pose.track import PoseTrack

    track = PoseTrack.load(path)
    PoseMaskSource(track).read(0, 1)
    DrawnPoseSource(track).read(0, 1)
    return len(track)


def person(x: float = 30.0, y: float = 20.0, confidence: float = 0.9, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    points = random.normal((x, y), (8, 12), (18, 2))
    body = np.concatenate([points, np.full((18, 1), confidence)], axis=1)
    return {"pose_keypoints_2d": body.ravel().tolist()}


def crowd(people: int, frames: int) -> Callable[[Path], Any]:
    """People at random places, others in every frame."""

    def make(_folder: Path) -> Any:
        random = np.random.default_rng(0)
        return [
            {
                "people": [
                    person(*random.uniform(0, (1920, 1080)), seed=int(n)) for n in random.integers(0, 99, people)
                ],
                "canvas_width": 1920,
                "canvas_height": 1080,
            }
            for _ in range(frames)
        ]

    return make


def frame_of(*people: Any, **more: Any) -> Callable[[Path], Any]:
    return lambda _folder: [{"people": list(people), "canvas_width": 64, "canvas_height": 48, **more}]


def _keypoints(frames: Any) -> Any:
    from wan_animate.mask.from_pose import PoseMaskSource
    from wan_animate.pose.openpose import from_openpose

    track = from_openpose(frames)
    PoseMaskSource(track).read(0, 1)
    return len(track)


# ------------------------------------------------------------------------------------------------ weights


def tensors(
    shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, kind: str = "F8_E4M3"
) -> Callable[[Path], Path]:
    """A safetensors file whose data is a hole."""

    def make(folder: Path) -> Path:
        path = folder / "weights.safetensors"
        write_tensors(path, shapes, metadata, kind)
        return path

    return make


def write_tensors(
    path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, kind: str = "F8_E4M3"
) -> None:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=np.int64)) * {"F8_E4M3": 1, "F32": 4, "U8": 1}[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def raw_header(text: bytes, data: int = 0) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "weights.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
        return path

    return make


def small_animate(metadata: dict[str, str] | None = None, **changed: tuple[int, ...] | None) -> Callable[[Path], Path]:
    """A transformer of 5 blocks with these tensors changed; None leaves one out."""
    shapes: dict[str, Any] = {
        **transformer_shapes(8, 16, 5),
        **{name.replace("__", "."): of for name, of in changed.items()},
    }
    return tensors({name: shape for name, shape in shapes.items() if shape is not None}, metadata)


def _animate(path: Path) -> Any:
    from wan_animate.weights.header import read_model_header
    from wan_animate.weights.transformer import read_animate, unexpected_keys

    return len(unexpected_keys(read_animate(read_model_header(str(path)))))


def _header(path: Path) -> Any:
    from wan_animate.weights.header import read_model_header
    from wan_animate.weights.kinds import foreign_sentence

    header = read_model_header(str(path))
    return foreign_sentence(header.name, header.tensors, header.metadata)


def _segmenter(path: Path) -> Any:
    from wan_animate.mask.sam2_weights import read_weights

    return read_weights(path, shapes_only=True)[1].name


SAM2_SHAPES: dict[str, tuple[int, ...]] = {
    "memory_attention.layers.0.linear1.weight": (8, 8),
    "memory_attention.layers.4000000.linear1.weight": (8, 8),
    "vision_encoder.backbone.blocks.0.layer_norm2.weight": (8,),
    "vision_encoder.backbone.blocks.0.mlp.proj_in.weight": (8, 8),
    "vision_encoder.backbone.pos_embed_window": (1, 8, 8, 8),
    "vision_encoder.backbone.pos_embed": (1, 8, 8, 8),
    "vision_encoder.neck.convs.0.weight": (8, 8, 1, 1),
    "memory_encoder.projection.weight": (8, 8),
    "prompt_encoder.mask_embed.conv2.weight": (8, 8),
    "mask_decoder.transformer.layers.0.mlp.proj_in.weight": (8, 8),
    "mask_decoder.mask_tokens.weight": (8, 8),
    "mask_decoder.iou_prediction_head.proj_in.weight": (8, 8),
    "memory_temporal_positional_encoding": (8, 1, 1, 8),
    "memory_encoder.mask_downsampler.final_conv.weight": (8, 8),
    "memory_encoder.memory_fuser.layers.0.pointwise_conv1.weight": (8, 8),
}


def sam2(declared: Any = None, **changed: tuple[int, ...]) -> Callable[[Path], Path]:
    declared = {"heads": [1], "windows": [8], "global_blocks": [0]} if declared is None else declared
    text = declared if isinstance(declared, str) else json.dumps(declared)
    return tensors(
        {**SAM2_SHAPES, **{name.replace("__", "."): of for name, of in changed.items()}}, {"sam2_architecture": text}
    )


def _lora(path: Path) -> Any:
    from wan_animate.weights.lora_file import read_lora

    return len(read_lora(str(path)))


def lora_pickle(content: Callable[[], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import torch

        torch.save(content(), folder / "lora.ckpt")
        return folder / "lora.ckpt"

    return make


def holds_itself() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    return content


def one_stored_many_seen() -> dict[str, Any]:
    import torch

    return {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(1).expand(1 << 33)}


def packed_pickle(folder: Path) -> Path:
    """A PyTorch file whose records are compressed, the pickle from 2 GB of zeros."""
    path = folder / "lora.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        with packed.open("lora/data.pkl", "w", force_zip64=True) as file:
            file.write(pickle.PROTO + b"\x02" + pickle.BINUNICODE + struct.pack("<I", 2_000_000_000))
            for _ in range(200):
                file.write(bytes(10_000_000))
            file.write(b".")
        packed.writestr("lora/version", "3\n")
        packed.writestr("lora/byteorder", "little")
    return path


def nested_json(depth: int = 100_000) -> str:
    return "[" * depth + "]" * depth


# ------------------------------------------------------------------------------------------------ ONNX


def onnx_graph(body: Callable[[Any], tuple[list[Any], list[Any]]]) -> Callable[[Path], Path]:
    """A pose network by its input and output, with other nodes in it."""

    def make(folder: Path) -> Path:
        import onnx

        helper = onnx.helper
        nodes, initializers = body(helper)
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 256, 192])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 133, 64, 48])],
            initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "net.onnx")
        return folder / "net.onnx"

    return make


def endless_loop(helper: Any) -> tuple[list[Any], list[Any]]:
    import onnx

    inner = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["still"]), helper.make_node("Add", ["s", "s"], ["t"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("more", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None),
        ],
    )
    yes = helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
    return [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=inner)], [yes]


def huge_constant(helper: Any) -> tuple[list[Any], list[Any]]:
    import onnx

    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [1], [4_000_000_000])
    return [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ], [shape]


def huge_result(helper: Any) -> tuple[list[Any], list[Any]]:
    """As :func:`huge_constant`, but of a size that only the run knows."""
    import onnx

    times = helper.make_tensor("times", onnx.TensorProto.INT64, [4], [30_000, 1, 1, 1])
    return [helper.make_node("Tile", ["x", "times"], ["t"]), helper.make_node("ReduceMax", ["t"], ["y"])], [times]


def _onnx(path: Path) -> Any:
    from wan_animate.detect import onnx_model
    from wan_animate.detect.model_checks import check_pose

    onnx_model.RUN_SECONDS = 2.0
    network = onnx_model.OnnxModel(path, "cpu", "pose model")
    check_pose(network)
    return network.run(np.zeros((1, 3, 256, 192), np.float32)).shape


# ------------------------------------------------------------------------------------------------ JSON


def _prompts(text: Any) -> Any:
    from wan_animate.mask.prompts import read_prompts

    return len(read_prompts(text))


def _edits(text: Any) -> Any:
    from wan_animate.pose.edits import read_edits

    return bool(read_edits(text))


def value(of: Any) -> Callable[[Path], Any]:
    return lambda _folder: of


def _json_file(read: str) -> Callable[[Path], Any]:
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


BODY = "blocks.0.self_attn.q.lora_A.weight"
CASES: dict[str, Case] = {
    **{f"video: {name}": (text_file(*of), _video()) for name, of in PLAYLISTS.items()},
    "video: a concat list in memory": (text_file("a.mp4", CONCAT), _read_bytes(_video())),
    "video: a playlist in memory": (text_file("a.mp4", PLAYLIST), _read_bytes(_video())),
    "video: last stamp at 3e7 s": (lambda f: write_clip(f / "a.mkv", [0, 33, 66, 30_000_000_000]), _video()),
    "video: last stamp at 3e7 s, 77 frames": (lambda f: write_clip(f / "a.mkv", [0, 33, 30_000_000_000]), _video(77)),
    "video: last stamp at 2e9 s, 77 frames": (
        lambda f: write_clip(f / "a.mkv", [0, 33, 2_000_000_000_000]),
        _video(77),
    ),
    "video: a gap of 1e6 s": (lambda f: write_clip(f / "a.mkv", [0, 33, 1_000_000_000]), _video()),
    "video: a gap of 1e6 s, 77 frames": (lambda f: write_clip(f / "a.mkv", [0, 33, 1_000_000_000]), _video(77)),
    "video: a gap of 1e6 s, its own rate": (lambda f: write_clip(f / "a.mkv", [0, 33, 1_000_000_000]), _video(0, 0)),
    "video: a table of 1e8 frames": (many_samples, _video(77)),
    "video: a frame of 16,000 x 16,000": (huge_frame, _video(77)),
    "picture: 12,000 x 12,000 in a few kB": (bad_picture(12_000), _picture),
    "picture: 30,000 x 30,000": (bad_picture(30_000), _picture),
    "track: 5 GB for a key nobody asked for": (bomb("more", (1_250_000_000,)), _track),
    "track: 5 GB of keypoints in 5 MB": (bomb("keypoints", (3_000_000, 133, 3)), _track),
    "track: 2 GB of cuts": (bomb("cuts", (250_000_000,), "<i8"), _track),
    "track: a header without data": (claim, _track),
    "track: rate 0": (archive(fps=0.0), _track),
    "track: rate -30": (archive(fps=-30.0), _track),
    "track: rate NaN": (archive(fps=np.nan), _track),
    "track: rate 30/0": (archive(fps_ratio=np.array([30, 0])), _track),
    "track: rate of three numbers": (archive(fps_ratio=np.array([30, 1, 1])), _track),
    "track: width of a million": (archive(width=10**6, height=10**6), _track),
    "track: width of text": (archive(width="wide"), _track),
    "track: keypoints of text": (archive(keypoints=np.full((4, 133, 3), "x")), _track),
    "track: complex keypoints": (archive(keypoints=np.ones((4, 133, 3), complex)), _track),
    "track: cuts of a matrix": (archive(cuts=np.ones((2, 2))), _track),
    "track: cuts of fractions": (archive(cuts=np.array([1.5, np.nan])), _track),
    "track: picture of two numbers": (archive(picture=np.array([1.0, 2.0])), _track),
    "track: picture without height": (archive(picture=np.array([0.0, 0.0, 64.0, 0.0])), _track),
    "track: a start of several numbers": (archive(start_seconds=np.array([1.0, 2.0])), _track),
    "track: a start at infinity": (archive(start_seconds=np.inf), _track),
    "track: a point at 1e5 pixels": (archive(keypoints=np.full((4, 133, 3), 1e5, np.float32)), _track),
    "track: a point at 1e30 pixels": (archive(keypoints=np.full((4, 133, 3), 1e30, np.float32)), _track),
    "track: no numbers": (written("track.npz", b"PK\x03\x04" + bytes(400)), _track),
    "keypoints: 100 people in 10 frames": (crowd(100, 10), _keypoints),
    "keypoints: 10,000 people": (crowd(10_000, 1), _keypoints),
    "keypoints: a point at 1e5 pixels": (frame_of(person(1e5, 1e5)), _keypoints),
    "keypoints: numbers of 1e30": (frame_of(person(1e30, 1e30)), _keypoints),
    "keypoints: a number of 400 digits": (frame_of({"pose_keypoints_2d": [10**400] * 54}), _keypoints),
    "keypoints: a body of objects": (frame_of({"pose_keypoints_2d": [{}] * 54}), _keypoints),
    "keypoints: a body of lists": (frame_of({"pose_keypoints_2d": [[1]] * 53 + [1]}), _keypoints),
    "keypoints: people is a number": (lambda _f: [{"people": 7, "canvas_width": 64, "canvas_height": 48}], _keypoints),
    "keypoints: people by name": (
        lambda _f: [{"people": {"a": 1}, "canvas_width": 64, "canvas_height": 48}],
        _keypoints,
    ),
    "keypoints: a canvas of lists": (frame_of(person(), canvas_width=[64]), _keypoints),
    "keypoints: a canvas of NaN": (frame_of(person(), canvas_width=float("nan")), _keypoints),
    "keypoints: a canvas without end": (frame_of(person(), canvas_width=float("inf")), _keypoints),
    "keypoints: a canvas of a million": (frame_of(person(), canvas_width=10**6, canvas_height=10**6), _keypoints),
    "keypoints: nested text": (value(nested_json()), _keypoints),
    "keypoints: bytes that are no text": (value(b"\xff\xfe\x00["), _keypoints),
    "weights: blocks.10000000": (small_animate(**{"blocks__10000000__norm3__weight": (8,)}), _animate),
    "weights: blocks.<5,000 digits>": (small_animate(**{f"blocks__{'9' * 5000}__norm3__weight": (8,)}), _animate),
    "weights: blocks.²": (small_animate(**{"blocks__²__norm3__weight": (8,)}), _animate),
    "weights: blocks.": (small_animate(**{"blocks__": (8,)}), _animate),
    "weights: modulation without a shape": (small_animate(**{"head__modulation": ()}), _animate),
    "weights: nested config": (small_animate({"config": nested_json()}), _animate),
    "weights: config of a list": (small_animate({"config": "[1]"}), _animate),
    "weights: a transformer of pairs": (small_animate({"config": '{"transformer": [1, 2]}'}), _animate),
    "weights: a number of 5,000 digits": (
        small_animate({"config": '{"transformer": {"dim": %s}}' % ("9" * 5000)}),
        _animate,
    ),
    "weights: config of half a surrogate": (small_animate({"config": '{"transformer": {"dim": "\\ud800"}}'}), _animate),
    "weights: nested quantization": (small_animate({"_quantization_metadata": nested_json()}), _animate),
    "weights: layers of a list": (small_animate({"_quantization_metadata": '{"layers": [1]}'}), _animate),
    "weights: layers of numbers": (small_animate({"_quantization_metadata": '{"layers": {"a": 5}}'}), _animate),
    "weights: layers of pairs": (small_animate({"_quantization_metadata": '{"layers": {"a": ["bc"]}}'}), _animate),
    "weights: a scale without a shape": (small_animate(**{"blocks__0__ffn__0__scale_weight": (0,)}), _animate),
    "weights: a scaled layer without a shape": (
        small_animate(**{"blocks__0__ffn__0__scale_weight": (1,), "blocks__0__ffn__0__weight": ()}),
        _animate,
    ),
    "weights: a nested header": (raw_header(b'{"a":' + nested_json().encode() + b"}"), _header),
    "weights: offsets of one": (raw_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4), _header),
    "weights: offsets without end": (
        raw_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}'),
        _header,
    ),
    "weights: a shape of 2^70": (
        raw_header(b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,4]}}' % 2**70, 4),
        _header,
    ),
    "weights: a shape that overflows": (
        raw_header(b'{"a":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,0]}}' % (2**40, 2**40)),
        _header,
    ),
    "weights: bytes that are no text": (raw_header(b'{"a\xff":1}'), _header),
    "weights: an empty name": (raw_header(b'{"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4), _header),
    "weights: a dtype of numbers": (raw_header(b'{"a":{"dtype":5,"shape":[],"data_offsets":[0,4]}}', 4), _header),
    "segmenter: 4,000,000 layers": (sam2(), _segmenter),
    "segmenter: nested metadata": (sam2(nested_json()), _segmenter),
    "segmenter: metadata of half a surrogate": (sam2('{"heads": "\\ud800"}'), _segmenter),
    "segmenter: a heads of no size": (sam2({"heads": [0], "windows": [0], "global_blocks": [0]}), _segmenter),
    "segmenter: a negative picture": (
        sam2({"heads": [1], "windows": [8], "global_blocks": [0], "image_size": -1}),
        _segmenter,
    ),
    "segmenter: a picture of 1e9": (
        sam2({"heads": [1], "windows": [8], "global_blocks": [0], "image_size": 10**9}),
        _segmenter,
    ),
    "segmenter: a norm without a shape": (
        sam2(vision_encoder__backbone__blocks__0__layer_norm2__weight=()),
        _segmenter,
    ),
    "segmenter: a width of 0": (sam2(vision_encoder__backbone__blocks__0__layer_norm2__weight=(0,)), _segmenter),
    "lora: a pickle that holds itself": (lora_pickle(holds_itself), _lora),
    "lora: a tensor of 32 GB in 1 kB": (lora_pickle(one_stored_many_seen), _lora),
    "lora: a packed pickle": (packed_pickle, _lora),
    "lora: a list": (lora_pickle(lambda: [1, 2]), _lora),
    "lora: names of tuples": (lora_pickle(lambda: {(("a",),): 1}), _lora),
    "lora: no zip": (written("a.ckpt", b"PK\x03\x04" + bytes(100)), _lora),
    "lora: a short pickle": (written("a.ckpt", b"\x80\x02}"), _lora),
    "lora: an alpha of text": (written("a.pt", b"\x80\x02X\xff\xff\xff\xff"), _lora),
    "lora: a nested header": (raw_header(b'{"a":' + nested_json().encode() + b"}"), _lora),
    "onnx: an endless loop": (onnx_graph(endless_loop), _onnx),
    "onnx: a constant of 16 GB": (onnx_graph(huge_constant), _onnx),
    "onnx: a result of 16 GB": (onnx_graph(huge_result), _onnx),
    "onnx: no graph": (written("net.onnx", b"\x08\x08"), _onnx),
    "prompts: nested": (value(nested_json()), _prompts),
    "prompts: a size of nothing": (value('[{"frame": 0, "size": []}]'), _prompts),
    "prompts: a size by name": (value('[{"frame": 0, "size": {"a": 1}}]'), _prompts),
    "prompts: a frame of 1e400": (value('[{"frame": 1e400}]'), _prompts),
    "prompts: a frame of 5,000 digits": (value(f'[{{"frame": {"9" * 5000}}}]'), _prompts),
    "prompts: a point of NaN": (value('[{"frame": 0, "positive": [{"x": NaN, "y": 3}]}]'), _prompts),
    "prompts: a box of text": (value('[{"frame": 0, "box": "abcd"}]'), _prompts),
    "prompts: a box by name": (value('[{"frame": 0, "box": {"x": []}}]'), _prompts),
    "prompts: a box of itself": (value('[{"frame": 0, "box": [[[[]]]]}]'), _prompts),
    "prompts: a box of NaN": (value('[{"frame": 0, "box": [NaN, NaN, NaN, NaN]}]'), _prompts),
    "prompts: half a surrogate": (value('["\ud800"]'), _prompts),
    "prompts: a number": (value("5"), _prompts),
    "edits: nested": (value(nested_json()), _edits),
    "edits: a joint of 5,000 digits": (value(f'{{"keys": {{"{"9" * 5000}": [[0, 1, 1]]}}}}'), _edits),
    "edits: half a surrogate": (value('{"keys": {"\ud800": 1}}'), _edits),
    "edits: no height": (value('{"keys": {}, "width": 5}'), _edits),
    "manifest: nested": (written("m.json", nested_json()), _json_file("manifest")),
    "manifest: bytes that are no text": (written("m.json", b"\xff\xfe"), _json_file("manifest")),
    "manifest: an entry of a list": (written("m.json", '{"models": [[1]]}'), _json_file("manifest")),
    "manifest: a source of a list": (
        written("m.json", '{"models": [{"name": "a", "source": [1]}]}'),
        _json_file("manifest"),
    ),
    "workflow: nested": (written("w.json", nested_json()), _json_file("workflow")),
    "workflow: a number": (written("w.json", "7"), _json_file("workflow")),
    "table: nested": (written("t.jsonl", nested_json()), _json_file("table")),
    "table: a NUL": (written("t.csv", "a\0,b\n1,2\n"), _json_file("table")),
    "folder: nested": (model_folder(nested_json()), _json_file("folder")),
    "folder: a list": (model_folder("[1, 2]"), _json_file("folder")),
    "folder: a z_dim by name": (model_folder("{}", '{"z_dim": {}}'), _json_file("folder")),
}
