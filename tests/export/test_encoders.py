"""Which encoder makes a clip: a card's where it works, software else, and the same colours from either."""

import os
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from wan_animate.export import encoder as encoder_module
from wan_animate.export.codecs import CODECS, Encoder
from wan_animate.export.encoder import as_frame, choose_encoder, set_up, works
from wan_animate.export.save import ClipFormat, save_clip
from wan_animate.video.source import VideoSource

from ..support.clips import numbers
from .test_save import chart, clip, tone

HARDWARE = [(name, one) for name, codec in CODECS.items() for one in codec.encoders if one.hardware]


def test_a_hardware_encoder_is_taken_where_it_encodes_and_software_else(tmp_path):
    for name in ("h264", "h265", "av1"):
        codec = CODECS[name]
        opens = any(works(one, "high", (160, 96), Fraction(30)) for one in codec.encoders[:-1])
        for choice in ("auto", "hardware"):
            assert choose_encoder(codec, choice, "high", (160, 96), Fraction(30)).hardware == opens
            saved = save_clip(tmp_path / f"{name}_{choice}.mp4", clip(3), ClipFormat(name, encoder=choice))
            said = f"No hardware encoder for {codec.title} takes 160x96 here ("
            assert (said in saved.text()) == (choice == "hardware" and not opens), saved.text()
        assert choose_encoder(codec, "software", "high", (160, 96), Fraction(30)) == codec.encoders[-1]
    saved = save_clip(tmp_path / "v.mkv", clip(3), ClipFormat("ffv1", encoder="hardware"))
    assert saved.text().endswith("There is no hardware encoder for FFV1, lossless, so software made it")


def test_an_encoder_is_asked_once_in_a_process(caplog):
    encoder = Encoder("h264_nvenc", "pal8", hardware=True)  # a format that it never takes
    with caplog.at_level("DEBUG", logger="wan_animate.export.encoder"):
        assert [works(encoder, "high", (158, 94), Fraction(30)) for _ in range(3)] == [False] * 3
    assert len([line for line in caplog.messages if "h264_nvenc does not work here" in line]) == 1
    assert not works(Encoder("h264_of_next_year", "nv12", hardware=True), "high", (158, 94), Fraction(30))


def test_a_hardware_encoder_that_stops_ends_no_clip(tmp_path, monkeypatch):
    """It encoded a frame when it was asked, and does not open now: as when other programs have all of its sessions."""
    size, rate = (160, 96), Fraction(30)
    if works(CODECS["h264"].encoders[0], "high", size, rate):
        pytest.skip("h264_nvenc works here")
    monkeypatch.setitem(encoder_module._WORKS, ("h264_nvenc", "high", size, rate, False), True)
    saved = save_clip(tmp_path / "v.mp4", clip(12), ClipFormat(), tone(0.4), preview=tmp_path / "small.mp4")
    assert re.search(r"libx264, software.*with sound\. h264_nvenc stopped \(.+\), so software made it$", saved.text())
    assert numbers(VideoSource(tmp_path / "v.mp4").read(0, 12)) == list(range(12))
    assert sorted(os.listdir(tmp_path)) == ["small.mp4", "v.mp4"]


@pytest.mark.parametrize("name, encoder", HARDWARE, ids=[one.name for _, one in HARDWARE])
def test_a_hardware_encoder_is_given_the_colours_and_tags_of_the_software_one(name, encoder):
    """The same samples, in its own layout, and the same tags on frame and context."""
    software, layouts = CODECS[name].encoders[-1], {"nv12": "yuv420p", "p010le": "yuv420p10le", "yuv420p": "yuv420p"}
    assert layouts[encoder.pixels] == software.pixels
    for full in (False, True):
        theirs, ours = as_frame(chart(), software.pixels, full), as_frame(chart(), encoder.pixels, full)
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            assert getattr(ours, tag) == getattr(theirs, tag), tag
        planes = [np.frombuffer(plane, np.uint8) for plane in (theirs.planes[0], ours.planes[0])]
        if encoder.pixels == "p010le":
            theirs_y, ours_y = (plane.view(np.uint16) for plane in planes)
            assert np.array_equal(theirs_y << 6, ours_y)
        else:
            assert np.array_equal(*planes)
        if encoder.name not in av.codecs_available:
            continue
        contexts = [av.CodecContext.create(one.name, "w") for one in (software, encoder)]
        for context, one in zip(contexts, (software, encoder), strict=True):
            set_up(context, one, "high", (256, 192), Fraction(30), full)
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc", "framerate", "width", "height"):
            assert len({getattr(context, tag) for context in contexts}) == 1, tag
