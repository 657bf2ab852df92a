"""Tables and folders of clips: what is read, what is refused before anything begins."""

from pathlib import Path

import pytest

from wan_animate.batch.clips import read_clips, read_rows
from wan_animate.batch.command import BatchCommand
from wan_animate.batch.making import WORKFLOWS, _row, _settings
from wan_animate.errors import InputError
from wan_animate.queue.cuts import cut_of
from wan_animate.queue.jobs import JobMaker, Row
from wan_animate.queue.workflow import load_workflow

from ..cli.test_options import inputs  # noqa: F401  (a fixture)


@pytest.fixture
def read(inputs, tmp_path):  # noqa: F811
    common = [f"--{name}={value}" for name, value in inputs.items() if name not in ("video", "image")]

    def read(text: str, *more: str, name: str = "clips.csv") -> list:
        (tmp_path / name).write_text(text.format(**inputs))
        return read_clips(read_rows(tmp_path / name), [*common, "--no-retarget", *more], tmp_path / "out")

    return read


def test_a_table_of_clips(read, inputs):  # noqa: F811
    one, two, three = read(
        "name,image,video,seed,crop,mode,person_point,priority\n"
        "a,{image},{video},3,,animate,,\n"
        "b,{image},{video},3,yes,replace,0.2 0.4,5\n"
        ",{image},{video},4,no,animate,,-1\n"
    )
    assert [clip.name for clip in (one, two, three)] == ["a", "b", "clips_3"]
    assert [clip.priority for clip in (one, two, three)] == [0, 5, -1]
    assert (one.options.seed, two.options.crop, two.options.person_point) == (3, True, (0.2, 0.4))
    assert not three.options.crop and one.options.image == str(inputs["image"]) and one.options.no_retarget
    assert len({clip.key for clip in (one, two, three)}) == 3


def test_the_key_is_of_content_not_of_names(read, tmp_path, inputs):  # noqa: F811
    row = "image,video,seed\n{image},%s,0\n"
    before = read(row % inputs["video"])[0].key
    copied = tmp_path / "copied.mp4"
    copied.write_bytes(Path(inputs["video"]).read_bytes())
    assert read(row % copied.name)[0].key == before, "found beside the table"
    copied.write_bytes(copied.read_bytes() + b"\0")
    assert read(row % copied.name)[0].key != before


def test_a_folder_of_pairs(tmp_path, inputs):  # noqa: F811
    for name in ("dance.mp4", "walk.mov", "dance.png", "dance_pose.npz", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    dance, walk = read_rows(tmp_path)
    assert {one.name: one.value for one in dance.settings} == {
        "video": "dance.mp4",
        "image": "dance.png",
        "track": "dance_pose.npz",
    }
    assert walk.name == "walk" and [one.name for one in walk.settings] == ["video"]
    (tmp_path / "dance.jpg").touch()
    with pytest.raises(InputError, match="dance.mp4 has the pictures dance.jpg and dance.png: leave one"):
        read_rows(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no video"):
        read_rows(tmp_path / "none")


@pytest.mark.parametrize(
    "text, more, says",
    [
        ("image,video,sead\n{image},{video},1\n", (), "clips_1: sead is no option of a clip"),
        ("image,video,seed\n{image},gone.mp4,1\n", (), "clips_1: --video is .*gone.mp4, which is not there"),
        ("image,video,steps\n{image},{video},0\n", (), "clips_1: --steps is 0"),
        ("image,video,seed\n{image},{video},x\n", (), "clips_1: Invalid value for '--seed'"),
        ("image,video,crop\n{image},{video},maybe\n", (), "give true or false"),
        ("image,video,person_point\n{image},{video},1\n", (), "person_point is '1': give 2 numbers"),
        ("image,video,priority\n{image},{video},high\n", (), "its priority is 'high'"),
        ("name,image,video\nA,{image},{video}\na,{image},{video}\n", (), "two jobs are named a"),
        ("name,image,video\nA,{image},{video}\nb,{image},{video}\n", (), "b and A are the same clip"),
        ("image,video\n{image},{video}\n", ("--out=x.mp4",), "--out is no option of a batch"),
        ("image,video\n{image},{video}\n", ("--models=/gone",), "/gone has no transformer/config.json"),
    ],
)
def test_what_cannot_work_is_told(read, text, more, says):
    with pytest.raises(InputError, match=says):
        read(text, *more)


def test_ray_with_and_without_an_address():
    import typer

    from wan_animate.batch.command import app

    command = typer.main.get_command(app)
    assert isinstance(command, BatchCommand)
    for words, address in (
        (["--ray", "clips.csv"], "auto"),
        (["clips.csv", "--ray"], "auto"),
        (["clips.csv", "--ray", "10.0.0.5:6379", "--steps", "4"], "10.0.0.5:6379"),
        (["clips.csv", "--ray", "ray://head:10001"], "ray://head:10001"),
        (["clips.csv"], ""),
    ):
        context = command.make_context("batch", list(words))
        assert (context.params["ray"], str(context.params["source"])) == (address, "clips.csv")
        assert context.args == (["--steps", "4"] if "--steps" in words else [])


def test_a_clip_as_a_workflow_takes_it():
    row = _row(
        Row("a", _settings(["--mode=replace", "--seed", "1"])), _settings(["--seed=2", "--prompt", "a robot"]), None
    )
    assert row.workflow is not None and row.workflow.name == "replace.json"
    assert {one.name: one.value for one in row.settings} == {"seed": "1", "Cached Prompt (positive).text": "a robot"}
    with pytest.raises(InputError, match="'--no-retarget' is no option with a value"):
        _settings(["--no-retarget"])


@pytest.mark.parametrize("given, cuts", [("anew", "anew"), ("chain on", "chain"), (None, "")])
def test_cuts_as_a_workflow_takes_them(given, cuts):
    row = _row(Row("a", _settings([f"--at-cuts={given}"] if given else [])), _settings(["--seed=2"]), None)
    assert row.at_cuts == cuts and [one.name for one in row.settings] == ["seed"]
    with pytest.raises(InputError, match="a: at_cuts is 'never': choose chain or anew"):
        _row(Row("a", _settings(["--at-cuts=never"])), [], None)


def test_a_row_that_begins_anew_has_clip_options_in_its_graph():
    graph = load_workflow(WORKFLOWS / "animate.json")
    kinds = {what["class_type"] for what in graph.values()}
    outputs = {"WanAnimateKitRetargetPose": ["POSE_TRACK", "IMAGE"]}
    kinds = {*kinds, "WanAnimateKitClipOptions"}
    info = {kind: {"output": outputs.get(kind, ["FRAMES"])} for kind in kinds}
    one, other = JobMaker(graph, None, [], info).make([Row("a", [], at_cuts="anew"), Row("b", [], at_cuts="chain")])
    assert cut_of(one.graph) is not None and other.graph == graph and one.key != other.key
