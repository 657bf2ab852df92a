"""YUV to RGB against the standards' formulas and swscale."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from wan_animate.video.decode import EXACT, to_rgb
from wan_animate.video.source import VideoSource


@pytest.mark.parametrize("width, height, tag, space", [(320, 192, 1, "709"), (320, 192, 5, "601"), (320, 192, 2, "601"),
                                                       (1280, 64, 2, "709"), (320, 192, 6, "601"),
                                                       (320, 192, 4, "FCC"), (320, 192, 7, "240M"),
                                                       (320, 192, 9, "2020")])  # fmt: skip
@pytest.mark.parametrize("full", [False, True])
def test_colour_matrix_and_range_follow_the_tags(tmp_path, width, height, tag, space, full):
    """Within 1.5 pixel values of ITU-T H.273, without drift of the mean."""
    matrices = {"709": (0.2126, 0.0722), "601": (0.299, 0.114), "FCC": (0.3, 0.11), "240M": (0.212, 0.087)}
    kr, kb = {**matrices, "2020": (0.2627, 0.0593)}[space]
    rng = np.random.default_rng(0)
    luma = np.repeat(np.repeat(rng.integers(60, 190, (height // 16, width // 16)), 16, 0), 16, 1).astype(np.uint8)
    cb, cr = 110, 145
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.colorspace, stream.color_range = tag, 2 if full else 1
        planes = np.concatenate([luma.ravel(), np.full(width * height // 4, cb), np.full(width * height // 4, cr)])
        frame = av.VideoFrame.from_ndarray(planes.astype(np.uint8).reshape(-1, width), format="yuv420p")
        frame.colorspace, frame.color_range, frame.pts = tag, 2 if full else 1, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    y = luma / 255 if full else (luma - 16.0) / 219
    u, v = ((c - 128) / (255 if full else 224) for c in (cb, cr))
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    exact = np.clip(np.stack([red, green, blue], -1), 0, 1) * 255
    got = VideoSource(path).read(0, 1)[0]
    assert np.abs(got - exact).max() < 1.5
    assert abs((got - exact).mean()) < 0.25


def _upsampled(plane, width, height):
    """Bilinear chroma upsampling, samples centred."""
    for axis, size in ((0, height), (1, width)):
        have = plane.shape[axis]
        at = ((np.arange(size) + 0.5) / (-(-size // have)) - 0.5).clip(0, have - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, have - 1)
        plane = np.take(plane, low, axis) * (1 - share) + np.take(plane, high, axis) * share
    return plane


@pytest.mark.parametrize(
    "name, depth", [("yuv420p", 8), ("yuv422p", 8), ("yuv444p", 8), ("nv12", 8), ("yuv420p10le", 10)]
)
@pytest.mark.parametrize("size", [(320, 180), (98, 66)])
@pytest.mark.parametrize("full", [False, True])
def test_pictures_are_within_a_rounding_of_the_formula(name, depth, size, full):
    """Random planes."""
    (width, height), rng = size, np.random.default_rng(0)
    frame = av.VideoFrame(width, height, name)
    frame.color_range, frame.colorspace = 2 if full else 1, 1
    planes = []
    for plane in frame.planes:
        kind, step = (np.uint8, 1) if depth == 8 else (np.uint16, 2)
        values = rng.integers(16 << depth - 8, 240 << depth - 8, (plane.height, plane.line_size // step)).astype(kind)
        plane.update(values.tobytes())
        used = plane.width if name != "nv12" or not planes else 2 * plane.width
        planes.append(values[:, :used].astype(float) / (1 << depth - 8))
    if name == "nv12":
        planes[1:] = planes[1][:, ::2], planes[1][:, 1::2]
    luma, u, v = planes[0], *(_upsampled(plane, width, height) for plane in planes[1:])
    y = luma / 255 if full else (luma - 16) / 219
    u, v = ((part - 128) / (255 if full else 224) for part in (u, v))
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    exact = np.clip(np.stack([red, green, blue], -1), 0, 1) * 255
    got = to_rgb(frame)
    assert np.abs(got - exact).max() < 0.6
    out = np.empty_like(got)
    assert to_rgb(frame, out=out) is out and np.array_equal(out, got)


@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv410p", "yuva420p", "yuyv422", "gray", "p010le", "rgb24", "bgr0", "gbrp", "pal8"]
)
def test_every_format_comes_out_as_swscale_has_it(name):
    frame, rng = av.VideoFrame(97, 33, name), np.random.default_rng(1)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size).astype(np.uint8).tobytes())
    packed = VideoReformatter().reformat(frame, format="rgb24", interpolation=EXACT).to_ndarray()
    got = to_rgb(frame)
    assert np.abs(got.astype(int) - packed).max() <= 1
    out = np.empty_like(got)
    assert to_rgb(frame, out=out) is out and np.array_equal(out, got)
