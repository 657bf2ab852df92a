"""People in some of a clip's frames, for the plan; and what the shell's plan says of it, and of what it did not see."""

import numpy as np
import pytest

from wan_animate import cli
from wan_animate.errors import InputError
from wan_animate.plan.look import MOST, look_for_people
from wan_animate.video.frames import TensorSource

from ..cli.test_options import inputs  # noqa: F401  (a fixture)
from ..support.clips import write_clip
from ..support.figures import DancerSource, dancer_keypoints
from ..support.onnx_graphs import known_answer_files


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return known_answer_files(tmp_path_factory.mktemp("graphs"))


@pytest.fixture(scope="module")
def pictures():
    """With the dancer, and without."""
    with_one = DancerSource(dancer_keypoints((0.0,), 320, 180), 320, 180).read(0, 1)[0]
    return with_one, np.full_like(with_one, 60)


def clip(pictures, flags) -> TensorSource:
    return TensorSource(np.stack([pictures[0 if flag else 1] for flag in flags]))


def test_frames_without_a_person_are_named(networks, pictures):
    flags = np.ones(20, bool)
    flags[[0, 7, 8, 19]] = False
    finding = look_for_people(networks[0], clip(pictures, flags))
    assert finding.kind == "no_person" and finding.what == "nobody was found in frames 0, 7-8, 19"
    assert look_for_people(networks[0], clip(pictures, flags | True)) is None
    assert look_for_people(networks[0], clip(pictures, flags & False)).what == "nobody was found in any frame"


def test_of_a_long_clip_some_are_looked_at(networks, pictures):
    flags = np.ones(4 * MOST, bool)
    flags[100:160] = False
    what = look_for_people(networks[0], clip(pictures, flags)).what
    assert f"({MOST} of {4 * MOST} frames were looked at)" in what
    first, last = map(int, what.partition("frames ")[2].partition(" ")[0].split("-"))
    assert 100 <= first < 105 and 154 < last < 160


def test_another_network_is_refused(networks, pictures):
    with pytest.raises(InputError, match="detector"):
        look_for_people(networks[1], clip(pictures, [True]))


@pytest.fixture
def planned(inputs, tmp_path, capsys):  # noqa: F811
    def run(**changes) -> str:
        given = inputs | {"out": tmp_path / "a.mp4", "track": None} | changes
        arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
        assert cli.main(["plan", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_the_shells_plan_looks_for_people(planned, networks, pictures, tmp_path):
    def frame(number, width, height):
        return pictures[0 if number < 4 else 1]

    video = write_clip(tmp_path / "leaves.mp4", 8, width=320, height=180, frame=frame)
    text = planned(video=video, limit=8, detector=networks[0], pose=networks[1])
    assert "Nobody was found in frames 4-7: leave them out" in text and "were not looked for" not in text


def test_the_shells_plan_says_what_it_did_not_look_at(planned, tmp_path):
    text = planned(models=tmp_path / "nowhere", mode="replace")
    assert "People were not looked for, as --detector is not given" in text
    assert "The mask was not looked at" in text
    assert "the one here was not seen: the model folder" in text and "no transformer/config.json" in text
    text = planned()
    assert "were not looked for" in text and "was not seen" not in text and "mask" not in text
