"""One list of H.264 encoders and one set of x264's options, for whoever writes a clip or speaks of it."""

from fractions import Fraction

import av
import pytest

from wan_animate.cli import examination
from wan_animate.export.codecs import CODECS
from wan_animate.export.encoder import set_up
from wan_animate.video import h264, write


@pytest.mark.parametrize("size, large", [((1920, 1088), False), ((1088, 1936), True), ((3840, 2160), True)])
def test_large_pictures_have_few_frames_in_work_however_they_are_written(tmp_path, size, large):
    options = h264.large_picture_options(size)
    assert ("x264-params" in options) is large
    context = av.CodecContext.create("libx264", "w")
    set_up(context, CODECS["h264"].encoders[-1], "high", size, Fraction(30))
    assert {name: text for name, text in context.options.items() if name == "x264-params"} == options
    threads = "SLICE" if large else "FRAME"  # all on one frame, or a frame each
    assert context.thread_type.name == threads
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = write._picture_stream(container, size, Fraction(30), 17)
        assert stream.codec_context.thread_type.name == threads
        assert {name: text for name, text in stream.options.items() if name == "x264-params"} == options


@pytest.mark.parametrize("encoders, taken", [(("no_such", "mpeg4", "libx264"), "mpeg4"), (("no_such", "gif_"), None)])
def test_the_first_encoder_that_is_there_is_written_with_and_named(tmp_path, monkeypatch, encoders, taken):
    monkeypatch.setattr(h264, "ENCODERS", encoders)
    said = examination._encoder()
    assert said.found == (taken or "nothing") and said.wrong is (taken is None)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        if taken is None:
            with pytest.raises(write.InputError, match="cannot encode H.264"):
                write._picture_stream(container, (64, 48), Fraction(30), 17)
        else:
            stream = write._picture_stream(container, (64, 48), Fraction(30), 17)
            assert stream.codec_context.name == taken and h264.first_encoder() == taken
