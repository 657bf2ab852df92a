"""A workflow cut at its cuts: which are, the graphs of the parts, and at_cuts of a batch."""

import copy

import pytest

from demo import graphs
from wan_animate.errors import InputError
from wan_animate.queue.cuts import ANEW, ANIMATE, ON, OPTIONS, PLAN, Cut, cut_of, finding_graph, shot_graph, with_cuts

INFO = {
    "WanAnimateKitRetargetPose": {"output": ["POSE_TRACK", "IMAGE"]},
    "WanAnimateKitCleanPose": {"output": ["POSE_TRACK", "POSE_TRACK"]},
    "WanAnimateKitDrawPose": {"output": ["FRAMES"]},
}


@pytest.fixture
def graph():
    return graphs.load_graph("animate")


def test_clip_options_are_added_with_the_pose_before_it_is_drawn(graph):
    before = copy.deepcopy(graph)
    made = with_cuts(graph, True, INFO, "a")
    assert graph == before and cut_of(graph) is None
    cut = cut_of(made)
    assert cut == Cut(graphs.node_of(made, ANIMATE), graphs.node_of(made, OPTIONS))
    inputs = made[cut.options]["inputs"]
    assert inputs["shots"] == [graphs.node_of(graph, "WanAnimateKitRetargetPose"), 0] and inputs["at_cuts"] == ANEW
    assert with_cuts(graph, False, INFO, "a") == graph
    again = with_cuts(made, False, INFO, "a")
    assert again[cut.options]["inputs"] == {**inputs, "at_cuts": ON} and cut_of(again) is None


def test_options_that_are_there_are_kept():
    long = graphs.load_graph("long_clip")
    assert cut_of(long) is None, "nothing is connected to its shots"
    made = with_cuts(long, True, INFO, "a")
    cut = cut_of(made)
    assert made.keys() == long.keys() and made[cut.options]["inputs"]["crossfade"] == -1


@pytest.mark.parametrize(
    "name, value",
    [
        ("first_segment", 2),
        ("last_segment", 3),
        ("keep_rest", True),
        ("continue_from", ["1", 0]),
        ("at_cuts", ON),
        ("shots", None),
    ],
)
def test_what_is_not_cut(graph, name, value):
    made = with_cuts(graph, True, INFO, "a")
    made[cut_of(made).options]["inputs"][name] = value
    assert cut_of(made) is None


@pytest.mark.parametrize("name", ["pose", "guidance_frames"])
def test_a_graph_without_what_plan_clip_takes_is_not_cut(graph, name):
    """The server says what is missing."""
    made = with_cuts(graph, True, INFO, "a")
    assert cut_of(made) is not None
    del made[graphs.node_of(made, ANIMATE)]["inputs"][name]
    assert cut_of(made) is None


def test_two_clips_are_not_cut(graph):
    made = with_cuts(graph, True, INFO, "a")
    made["99"] = copy.deepcopy(made[graphs.node_of(made, ANIMATE)])
    assert cut_of(made) is None


def test_the_parts_make_nothing_else():
    long = with_cuts(graphs.load_graph("long_clip"), True, INFO, "a")
    before, cut = copy.deepcopy(long), cut_of(long)
    plan, node = finding_graph(long, cut)
    kinds = {what["class_type"] for what in plan.values()}
    assert plan[node]["class_type"] == PLAN and not kinds & {ANIMATE, "VAELoader", "WanAnimateKitLoadModel"}
    given, inputs = long[cut.animate]["inputs"], plan[node]["inputs"]
    assert inputs["previous_frames"] == given["guidance_frames"] == 5 and inputs["frames"] == given["pose"]
    assert all(inputs[name] == given[name] for name in ("mode", "steps", "cfg", "segment_length", "options"))

    shot = shot_graph(long, cut, 2, 4)
    kinds = {what["class_type"] for what in shot.values()}
    assert {ANIMATE, OPTIONS, "VAELoader"} <= kinds and not kinds & {PLAN, "WanAnimateKitSaveClip"}
    changed = {"first_segment": 3, "last_segment": 5}
    assert shot[cut.options]["inputs"] == {**long[cut.options]["inputs"], **changed}
    assert shot[cut.animate] == long[cut.animate] and long == before


def test_options_of_another_pack_and_a_pose_from_nowhere(graph):
    animate = graphs.node_of(graph, ANIMATE)
    other = copy.deepcopy(graph)
    other[animate]["inputs"]["options"] = ["11", 0]
    with pytest.raises(InputError, match="a: the options of Animate Character come from no Clip Options"):
        with_cuts(other, True, INFO, "a")
    graph[animate]["inputs"]["pose"] = ["12", 0]
    with pytest.raises(InputError, match="a: the workflow draws its pose from no pose track"):
        with_cuts(graph, True, INFO, "a")
