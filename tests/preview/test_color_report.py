"""What the colour report says and draws."""

import numpy as np

from wan_animate.preview.color_report import AFTER, ColorReport, draw_color_report

RECORDS = [
    {},
    {"color": {"previous": [0.9, 0.1], "anchor": [1.0, 0.2], "note": ""}},
    {"color": {"previous": [0.7, 0.3], "anchor": None, "note": "the light changes"}},
    {"color": {"previous": None, "anchor": None, "note": "the light changes"}},
]


def drawn(report: ColorReport) -> int:
    picture = draw_color_report(report)
    assert picture.shape == (420, 900, 3) and picture.dtype == np.uint8
    return int((np.abs(picture.astype(int) - AFTER).max(axis=-1) < 20).sum())


def test_report():
    report = ColorReport.of(RECORDS)
    assert report.text() == (
        "color: Delta E against the previous frames 0.80 before and 0.20 after correction (at most 0.30, in segment "
        "3); Delta E against the scene 1.00 before and 0.20 after correction (at most 0.20, in segment 2); not all was "
        "done in segment 3-4: the light changes."
    )
    assert drawn(report) > 500


def test_nothing_to_report():
    assert ColorReport.of([{}, {}]) is None and ColorReport.of([]) is None
    nothing = ColorReport.of([{}, {"color": {"previous": None, "anchor": None, "note": ""}}])
    assert nothing.text() == "color: nothing could be measured." and drawn(nothing) == 0
