"""Rotation, mirroring, pixel aspect ratio, interlacing."""

import gc
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
from av.filter import Graph

from wan_animate.video.decode import to_rgb
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, numbers, write_clip

# (a, b, c, d) of the display matrix: a stored point (x, y) is shown at (a x + c y, b x + d y), moved into view.
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "turned right": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "turned left": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transversed": (0, -1, -1, 0),
}


def shown(image, matrix):
    """Apply the matrix to every pixel."""
    a, b, c, d = matrix
    y, x = np.indices(image.shape[:2])
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    out = np.empty((down.max() + 1, across.max() + 1, 3), image.dtype)
    out[down, across] = image
    return out


def by_ffmpegs_filters(image, matrix):
    """FFmpeg's autorotate filters (fftools/ffmpeg_filter.c)."""
    a, b, c, d = matrix
    angle = round(-np.degrees(np.arctan2(b, a))) % 360  # av_display_rotation_get, counter-clockwise
    theta = -angle % 360
    if theta == 90:
        filters = ["transpose=" + ("cclock_flip" if c > 0 else "clock")]
    elif theta == 180:
        filters = ["hflip"] * (a < 0) + ["vflip"] * (d < 0)
    elif theta == 270:
        filters = ["transpose=" + ("clock_flip" if c < 0 else "cclock")]
    else:
        filters = ["vflip"] * (d < 0)
    graph, frame = Graph(), av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    at = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 30))
    for text in [*filters, "hflip", "hflip", "buffersink"]:  # vflip alone turns the order of lines in memory only
        name, _, options = text.partition("=")
        after = graph.add(name, options) if options else graph.add(name)
        at.link_to(after)
        at = after
    graph.configure()
    graph.push(frame)
    return graph.pull().to_ndarray(format="rgb24")


def give_matrix(path, matrix):
    """Write the matrix to tkhd (ISO/IEC 14496-12)."""
    a, b, c, d = (value * 65536 for value in matrix)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    values = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", list(MATRICES))
def test_all_eight_orientations_are_shown_as_players_show_them(tmp_path, name):
    matrix = MATRICES[name]
    path = write_clip(tmp_path / "r.mp4", 6, 30)
    stored = VideoSource(path).read(4, 5)[0]
    source = VideoSource(give_matrix(path, matrix))
    got = source.read(4, 5)[0]
    assert (source.width, source.height) == (got.shape[1], got.shape[0])
    assert np.array_equal(got, shown(stored, matrix)), "the matrix's own definition"
    assert np.array_equal(got, by_ffmpegs_filters(stored, matrix))
    larger = VideoSource(path, max_area=320 * 192)
    assert (larger.width > larger.height) == (got.shape[1] > got.shape[0])
    assert source.notes == []


def test_a_matrix_of_zeros_turns_nothing(tmp_path):
    path = write_clip(tmp_path / "r.mp4", 3, 30)
    stored = VideoSource(path).read(1, 2)
    assert np.array_equal(VideoSource(give_matrix(path, (0, 0, 0, 0))).read(1, 2), stored)


def stretched_clip(path, shape, codec="libx264", count=6, width=160, height=96, options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        stream.options = dict(options or {})
        for i in range(count):
            picture = av.VideoFrame.from_ndarray(numbered_frame(i, width, height), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mpeg4"),
                                         ("a.ts", "libx264"), ("a.avi", "mpeg4")])  # fmt: skip
@pytest.mark.parametrize("shape, width", [(Fraction(4, 3), 213), (Fraction(64, 45), 228), (Fraction(8, 9), 142)])
def test_anamorphic_clips_are_stretched_in_their_width(tmp_path, name, codec, shape, width):
    source = VideoSource(stretched_clip(tmp_path / name, shape, codec), fps=0)
    assert (source.width, source.height) == source.native_size == (width, 96)
    frames = source.read(0, 6)
    assert frames.shape == (6, 96, width, 3)
    assert numbers(frames) == list(range(6))
    assert "stretched" in source.notes[0] and f"{width}x96" in source.notes[0]


def test_a_dvds_picture_tells_the_shape_of_the_whole(tmp_path):
    """MPEG-2 720x576 at 16:9 is displayed as 1024x576."""
    path = stretched_clip(tmp_path / "d.mpg", Fraction(64, 45), "mpeg2video", 2, 720, 576)
    assert VideoSource(path, fps=0).native_size == (1024, 576)
    assert VideoSource(path, fps=0, max_area=832 * 480).width == 832


def test_a_stretched_and_turned_clip_is_stretched_before_it_is_turned(tmp_path):
    path = give_matrix(stretched_clip(tmp_path / "a.mp4", Fraction(2)), MATRICES["turned right"])
    source = VideoSource(path, fps=0)
    assert (source.width, source.height) == (96, 320)
    assert numbers(np.rot90(source.read(0, 3), 1, (1, 2))) == [0, 1, 2]
    scaled = VideoSource(path, fps=0, max_area=192 * 640)
    assert (scaled.width, scaled.height) == (192, 640)


@pytest.mark.parametrize("shape", [Fraction(1), Fraction(1707, 1708), Fraction(1, 500)])
def test_pixels_that_are_square_or_nonsense_change_nothing(tmp_path, shape):
    lossless = {"qp": "0"}  # x264 is not deterministic on CPUs with AVX-512: two lossy encodings can differ
    plain = VideoSource(write_clip(tmp_path / "a.mkv", 3, 30, options=lossless), fps=0).read(0, 3)
    source = VideoSource(stretched_clip(tmp_path / "b.mkv", shape, count=3, options=lossless), fps=0)
    assert np.array_equal(source.read(0, 3), plain)


def moving(i, width, height):
    """A bar moving 3 pixels per field over vertical detail."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[height // 4 : 3 * height // 4, 10 + 3 * i : 50 + 3 * i] = 220
    return image


def woven(first):
    """Interlace two pictures; ``first`` is the top or bottom field."""

    def frame(i, width, height):
        both = moving(2 * i, width, height), moving(2 * i + 1, width, height)
        image = both[1].copy()
        image[first::2] = both[0][first::2]
        return image

    return frame


def encoded(encoder, codec, order, frames):
    """Packets of 320x192 pictures by a stream or codec context; ``order``: "tff", "bff", or "prog" (no fields)."""
    encoder.width, encoder.height, encoder.pix_fmt = 320, 192, "yuv420p"
    encoder.options = {"g": "12", "bf": "2"} | ({} if order == "prog" else {"flags": "+ildct+ilme"})
    encoder.options |= {"preset": "veryfast", "crf": "4"} if codec == "x264" else {"qscale": "2"}
    marked, source = Graph(), None
    for i, image in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = i, Fraction(1, 25)
        if source is None:  # PyAV cannot mark a frame's field order, the filter can
            source = marked.add_buffer(width=320, height=192, format=picture.format, time_base=Fraction(1, 25))
            mark, sink = marked.add("setfield", order), marked.add("buffersink")
            source.link_to(mark), mark.link_to(sink)
            marked.configure()
        marked.push(picture)
        yield from encoder.encode(marked.pull())
    yield from encoder.encode(None)


@pytest.fixture(scope="module", params=["x264 tff", "x264 bff", "mpeg2 tff", "mpeg2 bff"])
def interlaced(request, tmp_path_factory):
    codec, order = request.param.split()
    path = tmp_path_factory.mktemp("i") / ("a.mp4" if codec == "x264" else "a.ts")
    paint = woven(0 if order == "tff" else 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream({"x264": "libx264", "mpeg2": "mpeg2video"}[codec], rate=25)
        for packet in encoded(stream, codec, order, (paint(i, 320, 192) for i in range(40))):
            container.mux(packet)
    return path


def combs(image):
    """Combing: adjacent lines against lines two apart."""
    light = image[..., 1].astype(int)
    return np.abs(light[2:-2] * 2 - light[1:-3] - light[3:-1])[50:-50].mean()


def test_interlaced_clips_have_no_combs_and_show_the_first_field(interlaced):
    path = interlaced
    source = VideoSource(path, fps=0)
    assert len(source) == 40 and "interlaced" in source.notes[0]
    frames = source.read(0, 40)
    for i, frame in enumerate(frames):
        wanted = moving(2 * i, 320, 192)
        assert combs(frame) < combs(woven(0)(i, 320, 192)) / 3, f"frame {i}"
        if 0 < i < 39:  # at the ends there is only one neighbour to learn the other lines from
            away = [
                np.abs(frame[60:132].astype(int) - at[60:132]).mean() for at in (wanted, moving(2 * i + 1, 320, 192))
            ]
            assert away[0] < 2 < away[1], f"frame {i} is not its first field's moment"


def test_interlaced_frames_by_number_equal_reading_through(interlaced):
    path = interlaced
    through = VideoSource(path, fps=0).read(0, 40)
    source = VideoSource(path, fps=0)
    for start in np.random.default_rng(0).permutation(40)[:25]:
        assert np.array_equal(source.read(int(start), int(start) + 1)[0], through[start]), f"frame {start}"
    half = VideoSource(path, fps=Fraction(25, 2))
    assert np.array_equal(half.read(0, len(half)), through[::2][: len(half)])


def test_interlaced_frames_are_those_of_ffmpegs_filter_over_the_whole_clip(interlaced):
    path = interlaced
    graph, results = Graph(), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        source = graph.add_buffer(template=stream)
        filter_, sink = graph.add("bwdif", "mode=send_frame"), graph.add("buffersink")
        source.link_to(filter_), filter_.link_to(sink)
        graph.configure()
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    results.append(graph.pull())
                except (av.error.BlockingIOError, av.error.EOFError):
                    break
    assert len(results) == 40
    got = VideoSource(path, fps=0).read(0, 40)
    for i in range(40):
        assert np.array_equal(got[i], to_rgb(results[i])), f"frame {i}"


def test_interlaced_reading_decodes_each_frame_once(interlaced):
    path = interlaced
    source = VideoSource(path, fps=0)
    before = source.decoded
    for start in range(0, 40, 8):
        source.read(start, start + 8)
    assert source.decoded - before <= 40


def test_a_progressive_clip_is_not_deinterlaced(tmp_path):
    path = write_clip(tmp_path / "p.mp4", 4, 25, frame=woven(0), width=320, height=192)
    source = VideoSource(path, fps=0)
    assert source.notes == [] and combs(source.read(1, 2)[0]) > 4


def begun_progressive(path, count):
    """A stream that is progressive for ``count`` frames and then interlaced, 40 in all."""
    parts = []
    for order, paint, many in (("prog", moving, count), ("tff", woven(0), 40 - count)):
        encoder = av.CodecContext.create("mpeg2video", "w")
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        parts.append(list(encoded(encoder, "mpeg2", order, (paint(i, 320, 192) for i in range(many)))))
    if path.suffix == ".m2v":
        path.write_bytes(b"".join(bytes(packet) for part in parts for packet in part))
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for part, begin in zip(parts, (0, count)):
            for packet in part:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts, packet.dts = packet.pts + begin, packet.dts + begin
                container.mux(packet)
    return path


@pytest.mark.parametrize("name, count", [("a.ts", 4), ("a.ts", 30), ("a.m2v", 5)])
def test_a_clip_that_begins_progressive_is_said_to_be_interlaced(tmp_path, name, count):
    path = begun_progressive(tmp_path / name, count)
    with av.open(str(path)) as container:
        marks = [bool(frame.interlaced_frame) for frame in container.decode(video=0)]
    assert marks == [False] * count + [True] * (40 - count)
    source = VideoSource(path, fps=0)
    assert len(source) == 40 and "interlaced" in source.notes[0]
    assert source.decoded <= 30, "a few frames are looked at"
    assert VideoSource(path, fps=0, limit=count).notes == [], "the part that is read is progressive"


@pytest.mark.skipif(int(av.__version__.split(".")[0]) < 18, reason="PyAV 17 leaves every frame to the collector")
def test_reading_more_of_an_interlaced_clip_takes_no_more_memory(interlaced):
    """No frames or filters wait for garbage collection."""
    source = VideoSource(interlaced, fps=0)
    passes = [*range(0, 40, 8)] * 10
    for start in passes:  # every thread of the decoder, of which a large machine has many, has its buffers then
        source.read(start, start + 8)
    gc.collect()
    gc.disable()
    try:
        before = psutil.Process().memory_info().rss
        for start in passes:
            source.read(start, start + 8)
        grown = psutil.Process().memory_info().rss - before
    finally:
        gc.enable()
    assert grown < 40 * 320 * 192 * 3, f"{grown / 1e6:.1f} MB for 400 frames"
