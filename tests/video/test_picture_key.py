"""PNG transparent colour (tRNS) in every bit depth."""

import struct
import zlib

import numpy as np
import pytest

from wan_animate.video.picture import read_picture

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def write_png(path, values: np.ndarray, depth: int, kind: int, *chunks: tuple[bytes, bytes]) -> None:
    """A PNG of ``[H, W, channels]``."""
    height, width, channels = values.shape
    rows = []
    for row in values.reshape(height, width * channels):
        bits = np.unpackbits(row.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - depth :].reshape(-1)
        rows.append(b"\0" + np.packbits(bits).tobytes())

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def key(*values: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


def random_values(depth: int, channels: int) -> np.ndarray:
    return np.random.default_rng(depth).integers(0, 2**depth, (6, 9, channels), dtype=np.uint16)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("keyed", [False, True])
def test_grey(tmp_path, depth, keyed):
    values = random_values(depth, 1)
    hidden = int(values[2, 3, 0])
    if depth == 16:
        values[2, 4] = hidden ^ 1  # the nearest grey is not hidden
    write_png(tmp_path / "a.png", values, depth, GREY, *([key(hidden)] if keyed else []))
    expected = np.where((values == hidden) & keyed, 0, values / (2**depth - 1))
    found = read_picture(tmp_path / "a.png")
    assert found.shape == (6, 9, 3) and found.is_contiguous()
    assert np.abs(found.numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("depth", [8, 16])
def test_colour(tmp_path, depth):
    values = random_values(depth, 3)
    hidden = values[2, 3].copy()
    values[4, 4] = hidden
    values[2, 4] = hidden ^ np.array([0, 0, 1], np.uint16)
    write_png(tmp_path / "a.png", values, depth, RGB, key(*hidden.tolist()))
    expected = np.where((values == hidden).all(axis=2, keepdims=True), 0, values / (2**depth - 1))
    found = read_picture(tmp_path / "a.png").numpy()
    assert np.abs(found - expected).max() <= (1 / 255 if depth == 16 else 1e-6)
    assert not found[2, 3].any() and not found[4, 4].any() and found[2, 4].any()


@pytest.mark.parametrize("kind, channels", [(GREY_ALPHA, 2), (RGBA, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_alpha(tmp_path, kind, channels, depth):
    values = random_values(depth, channels)
    values[0, :, -1], values[1, :, -1] = 0, 2**depth - 1
    write_png(tmp_path / "a.png", values, depth, kind)
    whole = values / (2**depth - 1)
    found = read_picture(tmp_path / "a.png").numpy()
    assert np.abs(found - whole[..., :-1] * whole[..., -1:]).max() <= (2 / 255 if depth == 16 else 1e-6)
    assert not found[0].any()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes(tmp_path, depth):
    colours = np.random.default_rng(7).integers(1, 256, (2**depth, 3), dtype=np.uint8)
    alphas = np.random.default_rng(8).integers(0, 256, 2**depth, dtype=np.uint8)
    values = random_values(depth, 1)
    write_png(tmp_path / "a.png", values, depth, PALETTE, (b"PLTE", colours.tobytes()), (b"tRNS", alphas.tobytes()))
    expected = colours[values[..., 0]] / 255 * (alphas[values[..., 0]] / 255)[..., None]
    assert np.abs(read_picture(tmp_path / "a.png").numpy() - expected).max() < 1e-6


def test_a_turned_picture_hides_the_right_pixels(tmp_path):
    """EXIF orientation 6."""
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    for kind, channels in ((GREY, 1), (RGB, 3)):
        values = random_values(16, channels)
        hidden = values[2, 3].copy()
        write_png(tmp_path / "a.png", values, 16, kind, key(*hidden.tolist()), (b"eXIf", exif))
        found = read_picture(tmp_path / "a.png").numpy()
        wanted = np.rot90(np.where((values == hidden).all(axis=2, keepdims=True), 0, values / 65535), -1)
        assert found.shape == (9, 6, 3) and np.abs(found - wanted).max() <= 1 / 255
        assert [tuple(at) for at in np.argwhere(~found.any(axis=2))] == [(3, 3)]
