"""The shots that cuts divide a clip into."""

import numpy as np
import pytest

from wan_animate.pose.track import PoseTrack
from wan_animate.shots import shots_of
from wan_animate.stitch.window import CropWindow


@pytest.mark.parametrize("cuts, shots", [((), [(0, 9)]), ((4,), [(0, 4), (4, 9)]), ([1, 8], [(0, 1), (1, 8), (8, 9)])])
def test_shots(cuts, shots):
    assert shots_of(cuts, 9) == shots
    track = PoseTrack(np.ones((9, 133, 3), np.float32), 64, 48, cuts=tuple(cuts))
    window = CropWindow(np.tile([0.0, 0.0, 64.0, 48.0], (9, 1)), (64, 48), (64, 48), cuts=tuple(cuts))
    assert track.shots == window.shots == shots
