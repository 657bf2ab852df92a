"""Runs of flags."""

import numpy as np
import pytest

from wan_animate.flags import runs_of


@pytest.mark.parametrize(
    "flags, runs",
    [("", []), ("000", []), ("111", [(0, 3)]), ("1011001", [(0, 1), (2, 4), (6, 7)]), ("0110", [(1, 3)])],
)
def test_runs(flags, runs):
    assert runs_of(np.array([one == "1" for one in flags], bool)) == runs
