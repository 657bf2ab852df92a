"""Plan Clip takes the links of Animate Character, and says of the driving video what the job would be made from."""

import numpy as np
import pytest

from ..support.figures import dancer_keypoints

NOTE = "phone.mov is HDR (HLG, BT.2020): it is brought to SDR in BT.709."


@pytest.fixture
def planned(pack_nodes, pack_module):
    track_of = pack_module("wan_animate.pose.track").PoseTrack
    source = pack_module("wan_animate.video.frames").TensorSource

    def run(**links):
        keypoints = dancer_keypoints(np.arange(6) / 30, 500, 300)
        boxes = np.tile(np.float32([0, 0, 500, 300, 1]), (6, 1))
        detected = track_of(keypoints, 500, 300, 30, boxes=boxes)
        video = source(np.zeros((6, 288, 480, 3), np.uint8), 30)
        video.notes = [NOTE]
        given = {"frames": detected, "driving_video": video}
        settings = dict(mode="animate", steps=4, cfg=1.0, segment_length=77, previous_frames=1)
        out = pack_nodes["WanAnimateKitPlanClip"].execute(**settings, **{name: given[name] for name in links})
        return out.args[0], out.ui["wan_animate_kit"][0].get("warnings", [])

    return run


def test_with_the_driving_video_the_plan_is_the_job_s(planned):
    text, warnings = planned(frames=True, driving_video=True)
    assert f"- {NOTE}" in text and warnings == [NOTE]
    assert "frames of 480x288" in text, "as the job draws a detected pose"


def test_without_it_the_size_that_the_job_would_choose_is_said(planned):
    text, warnings = planned(frames=True)
    (said,) = warnings
    assert said.startswith("The pose track is of a video of 500x300: it is drawn at ") and f"- {said}" in text
