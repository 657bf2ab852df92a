"""Image files in every mode, and what is refused."""

import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from wan_animate.errors import InputError
from wan_animate.video.frames import TensorSource, read_uint8
from wan_animate.video.picture import BACKGROUND, over_background, read_picture

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
RED = (255, 0, 0)


def cutout() -> np.ndarray:
    """A green square on transparent red, with a half transparent row."""
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[..., 0] = 255
    picture[2:6, 2:6] = (0, 255, 0, 255)
    picture[6, 2:6] = (0, 255, 0, 128)
    return picture


def shown() -> np.ndarray:
    """It over black."""
    rgba = cutout().astype(np.float32) / 255
    return rgba[..., :3] * rgba[..., 3:]


def assert_shows(path, expected, tolerance=0.0) -> None:
    found = read_picture(path)
    assert found.dtype == torch.float32 and found.shape == (*np.shape(expected)[:2], 3) and found.is_contiguous()
    assert np.abs(found.numpy() - expected).max() <= tolerance + 1e-6


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_16_bit_grey_keeps_its_scale(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), RAMP)
    assert_shows(path, grey(RAMP / 65535.0))


def test_16_bit_colour(tmp_path):
    picture = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
    assert cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    assert_shows(tmp_path / "a.png", picture / 65535.0, 1 / 255)


def test_grey_of_other_depths(tmp_path):
    Image.fromarray((RAMP >> 8).astype(np.uint8)).save(tmp_path / "a.png")
    assert_shows(tmp_path / "a.png", grey((RAMP >> 8) / 255.0))
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "a.tiff")
    assert_shows(tmp_path / "a.tiff", grey(RAMP / 65535.0))
    Image.fromarray((RAMP / 65535.0).astype(np.float32)).save(tmp_path / "a.tiff")
    assert_shows(tmp_path / "a.tiff", grey(RAMP / 65535.0))
    Image.fromarray(RAMP > 30000).save(tmp_path / "a.png")
    assert_shows(tmp_path / "a.png", grey((RAMP > 30000).astype(float)))
    for values, says in (
        (RAMP.astype(np.float32), "grey values from 0 to 65535"),
        (RAMP.astype(np.int32) * 2 - 9, "from -9 to 131061"),
    ):
        Image.fromarray(values).save(tmp_path / "a.tiff")
        with pytest.raises(InputError, match=f"holds {says}|holds grey values {says}"):
            read_picture(tmp_path / "a.tiff")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match="whose black and white are not known"):
        read_picture(tmp_path / "a.tiff")


@pytest.mark.parametrize("ending, options", [("png", {}), ("webp", {"lossless": True, "exact": True}), ("tiff", {})])
def test_a_cut_out_does_not_show_its_hidden_colours(tmp_path, ending, options):
    Image.fromarray(cutout()).save(tmp_path / f"a.{ending}", **options)
    assert BACKGROUND == (0.0, 0.0, 0.0)
    assert_shows(tmp_path / f"a.{ending}", shown())


def test_transparency_of_palettes_and_of_one_colour(tmp_path):
    palette = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), "P")
    palette.putpalette([200, 100, 50] * 256)
    for name in ("a.gif", "a.png"):
        palette.save(tmp_path / name, transparency=5)
        expected = np.full((4, 4, 3), (200, 100, 50)) / 255.0
        expected[1, 1] = 0
        assert_shows(tmp_path / name, expected)
    palette.save(tmp_path / "a.png", transparency=bytes([0] * 8 + [255] * 248))
    assert not read_picture(tmp_path / "a.png")[:2].any() and read_picture(tmp_path / "a.png")[2:].all()
    Image.new("RGB", (4, 4), RED).save(tmp_path / "a.png", transparency=RED)
    assert not read_picture(tmp_path / "a.png").any()
    pair = Image.merge("LA", (Image.new("L", (4, 4), 255), Image.new("L", (4, 4), 51)))
    pair.save(tmp_path / "a.png")
    assert_shows(tmp_path / "a.png", np.full((4, 4, 3), 0.2))


def test_cmyk_orientation_and_animations(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert_shows(tmp_path / "a.jpg", np.full((8, 8, 3), RED) / 255.0, 0.02)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned clockwise
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, :4] = 255
    Image.fromarray(wide).save(tmp_path / "a.png", exif=exif)
    assert_shows(tmp_path / "a.png", np.rot90(wide, -1) / 255.0)
    for name in ("a.gif", "a.png", "a.webp"):
        others = [Image.new("RGB", (8, 8), (0, 255, 0)), Image.new("RGB", (8, 8), (0, 0, 255))]
        Image.new("RGB", (8, 8), RED).save(tmp_path / name, save_all=True, append_images=others, lossless=True)
        assert_shows(tmp_path / name, np.full((8, 8, 3), RED) / 255.0, 0.01)


def test_exif_that_cannot_be_read_is_no_reason_to_refuse(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage")
    assert read_picture(tmp_path / "a.jpg").shape == (4, 8, 3)


def test_a_large_picture_is_read_without_a_warning_and_a_bomb_is_refused(tmp_path):
    Image.new("1", (8000, 8000)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(tmp_path / "a.png").shape == (8000, 8000, 3)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="has more than 67 million pixels: scale it down"):
        read_picture(tmp_path / "a.png")
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * (2 << 20), zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(InputError, match="is damaged or another kind of file"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_damaged_pictures_are_one_sentence(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for length in (0, 1, 9, 30, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError) as found:
            read_picture(path, "the reference image")
        assert str(found.value).startswith(f"the reference image {path} ") and "\n" not in str(found.value)
    for at in range(8, len(whole), max(1, len(whole) // 40)):  # whatever is read of it, or is said: no traceback
        path.write_bytes(whole[:at] + bytes(byte ^ 0xA5 for byte in whole[at : at + 6]) + whole[at + 6 :])
        try:
            assert read_picture(path).ndim == 3
        except InputError as error:
            assert "\n" not in str(error)


def test_what_is_no_picture_is_one_sentence(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    for path, says in (
        (tmp_path / "a.png", "is no picture that can be read: name a PNG, JPEG or WebP file"),
        (tmp_path / "none.png", "does not exist: name a PNG, JPEG or WebP file"),
        (tmp_path, "is a folder"),
        (tmp_path / "a\0.png", "damaged or another kind of file"),
    ):
        with pytest.raises(InputError, match=says):
            read_picture(path)


def test_images_with_alpha_from_other_nodes():
    rgba = torch.from_numpy(cutout())
    assert torch.equal(over_background(rgba.float() / 255), torch.from_numpy(shown()))
    assert over_background(rgba[..., :3]) is not None and over_background(rgba[..., :3]).shape[-1] == 3
    for frames, expected in (
        (rgba[None].float() / 255, shown()),
        (rgba[None], np.rint(shown() * 255).astype(np.uint8)),
    ):
        source = TensorSource(frames)
        assert (source.kind, source.width, source.height, len(source)) == ("image", 8, 8, 1)
        assert source.read(0, 1).dtype == (np.float32 if frames.is_floating_point() else np.uint8)
        assert np.abs(source.read(0, 1)[0] - expected).max() < 1e-6
        assert np.array_equal(read_uint8(source, 0, 1)[0], np.rint(shown() * 255).astype(np.uint8))
