"""Hostile videos, pictures, pose tracks and keypoints, and what reads them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

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


def read_video(limit: int = 0, fps: float = 30) -> Callable[[Any], Any]:
    def read(path: Any) -> Any:
        from wan_animate.video.audio import read_audio
        from wan_animate.video.source import VideoSource

        source = VideoSource(path, fps=fps, limit=limit)
        source.read(0, min(len(source), 8))
        read_audio(path, 0.0, 1.0)
        return len(source)

    return read


def from_memory(read: Callable[[Any], Any]) -> Callable[[Path], Any]:
    return lambda path: read(io.BytesIO(path.read_bytes()))


def bad_picture(side: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from PIL import Image

        Image.new("1", (side, side)).save(folder / "bomb.png")
        return folder / "bomb.png"

    return make


def claimed_picture(kind: str) -> Callable[[Path], Path]:
    """A picture of 16 x 16 whose header says 64 million pixels."""

    def make(folder: Path) -> Path:
        from PIL import Image

        path = folder / f"claim.{kind}"
        Image.new("RGB", (16, 16)).save(path)
        data, side = path.read_bytes(), struct.pack("<I", 16)
        height = struct.pack("<HHI", 257, 4, 1) + side  # of a TIFF's directory
        if kind == "png":
            header = data[12:16] + struct.pack(">II", 8000, 8000) + data[24:29]
            data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        elif kind == "tiff":  # its one strip still has 16 rows, the rest is empty
            assert data.count(height) == 1
            data = data.replace(height, height[:-4] + struct.pack("<I", 4_000_000))
        else:
            assert data.count(side) >= 2
            data = data.replace(side, struct.pack("<I", 8000), 2)
        path.write_bytes(data)
        with Image.open(path) as picture:
            assert picture.width * picture.height >= 64_000_000
        return path

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


def read_picture(path: Path) -> Any:
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
            zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
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


def read_track(path: Path) -> Any:
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


def read_keypoints(frames: Any) -> Any:
    from wan_animate.mask.from_pose import PoseMaskSource
    from wan_animate.pose.openpose import from_openpose

    track = from_openpose(frames)
    PoseMaskSource(track).read(0, 1)
    return len(track)
