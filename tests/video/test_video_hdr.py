"""HDR and wide gamut against the standards' formulas in double precision."""

import gc
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest

from wan_animate.errors import InputError
from wan_animate.video.decode import as_coded, to_rgb
from wan_animate.video.hdr import mapping
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, numbers, write_clip

PQ, HLG, BT709, BT2020, P3 = 16, 18, 1, 9, 12
# ITU-R BT.2087 and BT.2407 print the first to four places; the other is Apple's Display P3 to sRGB, from ICC profiles.
TO_709 = {
    BT2020: [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    P3: [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]],
}
KR, KB = 0.2627, 0.0593


def shown(coded, transfer, primaries):
    """Coded RGB 0..1 to 8-bit SDR."""
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        luminance = scene @ [0.2627, 0.6780, 0.0593]
        light = 1000 * luminance[..., None] ** 0.2 * scene / 203
    elif transfer == PQ:
        power = coded ** (32 / 2523)
        light = 10000 * (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305) / 203
    else:
        light = coded**2.4
    light = light @ np.array(TO_709[primaries]).T
    if transfer in (HLG, PQ):
        high = light.max(axis=-1, keepdims=True)
        over, top = (high - 0.85) / 0.15, ((1000 if transfer == HLG else 10000) / 203 - 0.85) / 0.15
        rolled = np.where(high > 0.85, 0.85 + 0.15 * over * (1 + over / top**2) / (1 + over), high)
        light = light * np.where(high > 0, rolled / np.maximum(high, 1e-12), 1)
    return np.clip(light, 0, 1) ** (1 / 2.4) * 255


def tagged_frame(rgb, transfer, primaries, full=False, depth=10, space=BT2020):
    """A 4:4:4 frame of RGB 0..1 ``[H, W, 3]``, and its RGB after rounding."""
    y = rgb @ [KR, 1 - KR - KB, KB]
    u, v = (rgb[..., 2] - y) / (2 - 2 * KB), (rgb[..., 0] - y) / (2 - 2 * KR)
    top, step = (1 << depth) - 1, 1 << depth - 8
    low, luma, chroma = (0, top, top) if full else (16 * step, 219 * step, 224 * step)
    codes = [np.rint(y * luma + low), *(np.rint(part * chroma + 128 * step).clip(0, top) for part in (u, v))]
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], f"yuv444p{depth}le")
    for plane, values in zip(frame.planes, codes, strict=True):
        wide = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        wide[:, : values.shape[1]] = values
        plane.update(wide.tobytes())
    frame.color_trc, frame.color_primaries = transfer, primaries
    frame.colorspace, frame.color_range = space, 2 if full else 1
    y = (codes[0] - low) / luma
    u, v = ((part - 128 * step) / chroma for part in codes[1:])
    red, blue = y + (2 - 2 * KR) * v, y + (2 - 2 * KB) * u
    return frame, np.clip(np.stack([red, (y - KR * red - KB * blue) / (1 - KR - KB), blue], -1), 0, 1)


def colours(count=4096, seed=0):
    """Random RGB, a third near grey."""
    rng = np.random.default_rng(seed)
    rgb = rng.random((count, 3))
    rgb[: count // 3] = (rgb[: count // 3, :1] + rng.normal(0, 0.03, (count // 3, 3))).clip(0, 1)
    return rgb.reshape(64, -1, 3)


# BT.2100 knows HLG with BT.2020 alone: its OOTF has that luminance.
@pytest.mark.parametrize("transfer, primaries", [(HLG, BT2020), (PQ, BT2020), (PQ, P3), (BT709, BT2020), (14, BT2020),
                                                 (BT709, P3), (13, P3)])  # fmt: skip
@pytest.mark.parametrize("full, depth", [(False, 10), (True, 10), (False, 12)])
def test_mapped_colours_are_within_a_level_of_the_standards_formulas(transfer, primaries, full, depth):
    frame, coded = tagged_frame(colours(), transfer, primaries, full, depth)
    difference = to_rgb(frame).astype(float) - shown(coded, transfer, primaries)
    assert np.percentile(np.abs(difference), 99.5) < 1.0
    assert np.abs(difference).mean() < 0.35 and abs(difference.mean()) < 0.06
    # Where a colour just touches BT.709's edge, a matrix printed to four places is a few of the darkest levels off.
    assert np.abs(difference).max() < 8


@pytest.mark.parametrize(
    "transfer, coded, level",
    [
        (HLG, 0.75, 247), (HLG, 0.38, 109), (HLG, 0.0, 0), (HLG, 1.0, 255),  # BT.2408 table 1: white, 18 % grey
        (PQ, 0.58, 247), (PQ, 0.3803, 108), (PQ, 0.0, 0), (PQ, 1.0, 255),  # 203 and 26 cd/m2
        (BT709, 0.5, 128), (BT709, 1.0, 255), (BT709, 0.0, 0),  # greys of BT.2020 are BT.709's
    ],
)  # fmt: skip
def test_white_grey_and_black(transfer, coded, level):
    frame, _ = tagged_frame(np.full((16, 16, 3), coded), transfer, BT2020)
    got = to_rgb(frame)
    assert np.abs(got.astype(int) - level).max() <= 1 and np.ptp(got) == 0


def test_brighter_is_never_darker_and_whites_are_told_apart():
    ramp = np.repeat(np.linspace(0, 1, 1024)[None, :, None], 3, 2)
    for transfer in (HLG, PQ):
        got = to_rgb(tagged_frame(ramp, transfer, BT2020)[0])[0, :, 0].astype(int)
        assert (np.diff(got) >= 0).all()
        assert got[-1] == 255 and got[np.argmin(np.abs(ramp[0, :, 0] - (0.75 if transfer == HLG else 0.58)))] >= 245


def test_what_is_not_hdr_is_left_alone():
    """Bit-identical to swscale."""
    rng = np.random.default_rng(0)
    for transfer, primaries in [(2, 2), (1, 1), (6, 6), (6, 5), (4, 4), (5, 5), (7, 7), (13, 1), (1, 2), (2, 1)]:
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane in frame.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size).astype(np.uint8).tobytes())
        untagged = to_rgb(frame)
        frame.color_trc, frame.color_primaries = transfer, primaries
        assert mapping(frame) is None
        assert np.array_equal(to_rgb(frame), untagged)


def test_missing_primaries_and_matrix_of_hdr_are_bt2020():
    frame, _ = tagged_frame(colours(), HLG, BT2020)
    whole = to_rgb(frame)
    frame.color_primaries = frame.colorspace = 2
    assert np.array_equal(to_rgb(frame), whole)


@pytest.mark.parametrize("name", ["gbrp10le", "gbrp12le", "gbrp16le", "rgb48le"])
def test_rgb_of_every_depth_is_read_whole(name):
    depth = 16 if name == "rgb48le" else int(name[4:6])
    coded = np.array([0.62, 0.41, 1.0])
    codes = np.rint(coded * ((1 << depth) - 1)).astype(np.uint16)
    frame = av.VideoFrame(32, 32, name)
    for plane, value in zip(frame.planes, [codes] if name == "rgb48le" else codes[[1, 2, 0]], strict=True):
        plane.update(np.resize(value, plane.buffer_size // 2).astype(np.uint16).tobytes())
    frame.color_trc, frame.color_primaries = HLG, BT2020
    values, white = as_coded(frame)
    assert np.abs(values[16, 16] / white - codes / ((1 << depth) - 1)).max() < 0.0003
    assert np.abs(to_rgb(frame)[16, 16] - shown(coded, HLG, BT2020)).max() < 1


@pytest.mark.parametrize("name", ["yuv420p10le", "yuv422p10le", "p010le", "yuv420p12le", "yuv420p"])
def test_every_format_of_hdr_is_read_at_its_own_precision(name):
    """Every format and depth."""
    frame, exact = tagged_frame(np.broadcast_to(np.array([0.62, 0.41, 0.3]), (32, 32, 3)), HLG, BT2020)
    other = frame.reformat(format=name, interpolation=2 | 0x40000 | 0x2000)
    other.color_trc, other.color_primaries = HLG, BT2020
    values, white = as_coded(other)
    assert np.abs(values[16, 16] / white - exact[0, 0]).max() < (0.005 if name == "yuv420p" else 0.002)
    assert np.abs(to_rgb(other)[16, 16] - shown(exact[0, 0], HLG, BT2020)).max() < (2.5 if name == "yuv420p" else 1.1)


def hdr_clip(path, transfer=HLG, codec="libx265", count=6, paint=None, **size):
    """A 10-bit clip of ``paint``'s display light (203 cd/m2 white)."""
    paint = paint or numbered_frame
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = size.get("width", 160), size.get("height", 96), "yuv420p10le"
        # of two frames with B-frames x265 now and then gives decoding times that no mp4 takes
        x265 = {"x265-params": f"log-level=none:crf=8:bframes={4 * (count > 2)}"}
        stream.options = x265 if codec == "libx265" else {}
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            transfer,
            BT2020,
            BT2020,
            1,
        )
        for i in range(count):
            picture = paint(i, stream.width, stream.height)
            light = (picture / 255.0) ** 2.4 @ np.linalg.inv(np.array(TO_709[BT2020])).T * 203
            frame, _ = tagged_frame(_coded(light, transfer), transfer, BT2020)
            small = frame.reformat(format="yuv420p10le")
            small.pts, small.time_base = i, Fraction(1, 30)
            small.color_trc, small.color_primaries = transfer, BT2020
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return path


def _coded(light, transfer):
    """Inverse of BT.2100's EOTF."""
    if transfer == PQ:
        power = np.clip(light / 10000, 0, 1) ** (1305 / 8192)
        return ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    relative = np.clip(light / 1000, 0, 1)
    luminance = np.maximum(relative @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None]
    scene = relative * luminance ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c).clip(0, 1)


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_a_phones_clip_looks_as_its_sdr_picture(tmp_path, transfer):
    """An SDR picture encoded as HDR is restored."""
    source = VideoSource(hdr_clip(tmp_path / "p.mp4", transfer), fps=0)
    got = source.read(0, 6)
    assert numbers(got) == list(range(6))
    wanted = numbered_frame(3).astype(float)
    assert np.abs(got[3].astype(float) - wanted)[wanted < 200].mean() < 3
    assert got[3].max() > 215
    assert len(source.notes) == 1 and ("HLG" if transfer == HLG else "PQ") in source.notes[0]


def test_hdr_is_mapped_at_the_size_that_is_read(tmp_path):
    path = hdr_clip(tmp_path / "p.mp4", width=320, height=192)
    small, whole = VideoSource(path, fps=0, max_area=160 * 96), VideoSource(path, fps=0)
    assert (small.width, small.height) == (160, 96)
    block = whole.read(2, 3)[0].reshape(96, 2, 160, 2, 3).mean((1, 3))
    assert np.abs(small.read(2, 3)[0] - block).mean() < 1.5
    assert small.fingerprint() != whole.fingerprint()
    assert np.array_equal(small.read(4, 5), VideoSource(path, fps=0, max_area=160 * 96).read(4, 5))


def test_an_ordinary_clip_has_no_notes(tmp_path):
    assert VideoSource(write_clip(tmp_path / "a.mp4", 3)).notes == []


@pytest.mark.parametrize("matrix", [8, 14])
def test_a_matrix_that_cannot_be_read_is_refused_when_the_clip_is_opened(tmp_path, matrix):
    path = tmp_path / "y.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.options = {"x264-params": f"colormatrix={'YCgCo' if matrix == 8 else 'ICtCp'}"}
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 120, np.uint8), format="rgb24").reformat(
            format="yuv444p"
        )
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="YCgCo" if matrix == 8 else "ICtCp"):
        VideoSource(path)


@pytest.mark.skipif(int(av.__version__.split(".")[0]) < 18, reason="PyAV 17 leaves every frame to the collector")
def test_reading_more_of_an_hdr_clip_takes_no_more_memory(tmp_path):
    source = VideoSource(hdr_clip(tmp_path / "p.mp4", count=30, width=320, height=192), fps=0, max_area=160 * 96)
    source.read(0, 16)
    gc.collect()
    gc.disable()
    try:
        before = psutil.Process().memory_info().rss
        for start in [0, 10, 20] * 14:
            source.read(start, start + 10)
        grown = psutil.Process().memory_info().rss - before
    finally:
        gc.enable()
    assert grown < 60 * 320 * 192 * 3, f"{grown / 1e6:.1f} MB for 420 frames"
