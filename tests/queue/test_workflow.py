"""Workflows and tables: what is read, set and refused, by a server's own description of its nodes."""

import json
from pathlib import Path

import pytest

from wan_animate.errors import InputError
from wan_animate.queue.jobs import JobMaker, Row, graph_key, parse_setting, read_table
from wan_animate.queue.workflow import Setting, check_choices, load_workflow, prepare

INFO = {
    "Load": {"input": {"required": {"file": [["a.mp4"], {"video_upload": True}], "fps": ["FLOAT", {"max": 60}]}}},
    "Work": {
        "input": {
            "required": {
                "frames": ["FRAMES", {}],
                "seed": ["INT", {"min": 0}],
                "model": [["big", "small"], {}],
                "sampler": ["COMBO", {"options": ["euler", "heun"]}],
            },
            "optional": {"text": ["STRING", {}], "fast": ["BOOLEAN", {}]},
        }
    },
}  # fmt: skip


@pytest.fixture
def graph():
    return {
        "1": {"class_type": "Load", "inputs": {"file": "", "fps": 30.0}, "_meta": {"title": "Driver v1.2"}},
        "2": {
            "class_type": "Work",
            "inputs": {"frames": ["1", 0], "seed": 1, "model": "big", "sampler": "euler"},
            "_meta": {"title": "Work here"},
        },
        "3": {"class_type": "Work", "inputs": {"frames": ["1", 0], "model": "big", "sampler": "heun"}},
    }


def settings(*texts: str, folder: Path = Path(".")) -> list[Setting]:
    return [parse_setting(text, folder) for text in texts]


@pytest.mark.parametrize(
    "text, node, name, value",
    [
        ("2.seed=7", "2", "seed", 7),
        ("Work here.text=a = b", "2", "text", "a = b"),
        ("Driver v1.2.fps=24", "1", "fps", 24.0),
        ("load.fps=0.5", "1", "fps", 0.5),
        ("seed=0", "2", "seed", 0),
        ("2.fast=true", "2", "fast", True),
        ("3.model=small", "3", "model", "small"),
        ("3.sampler=euler", "3", "sampler", "euler"),
    ],
)
def test_parameters_are_found_and_typed(graph, text, node, name, value):
    made = prepare(graph, settings(text), INFO, "job").graph
    assert made[node]["inputs"][name] == value and type(made[node]["inputs"][name]) is type(value)
    assert made is not graph and graph[node]["inputs"].get(name) != value


@pytest.mark.parametrize(
    "text, says",
    [
        ("Wrok.seed=1", "job: no node of the workflow is named Wrok: there are 1 \\(Driver v1.2\\), 2 \\(Work here\\)"),
        ("2.sead=1", "Work here has no input sead: it has fast, frames, model"),
        ("Work.model=big", "several nodes: give the id of one of 2 \\(Work here\\), 3 \\(Work\\)"),
        ("model=big", "model may be any of 2.model \\(Work here\\), 3.model"),
        ("nothing=1", "no node of the workflow has an input nothing"),
        ("2.frames=x", "2.frames comes from Driver v1.2"),
        ("2.seed=1.5", "2.seed is '1.5': give a whole number"),
        ("2.seed=-1", "2.seed is -1: give 0 to"),
        ("2.fast=maybe", "give true or false"),
        ("2.model=huge", "'huge', which the server does not have: choose one of big, small"),
        ("1.file=gone.mp4", "1.file is .*gone.mp4, which does not exist"),
        ("1.file=.", "is the folder"),
    ],
)
def test_what_cannot_work_is_told(graph, text, says):
    with pytest.raises(InputError, match=says):
        prepare(graph, settings(text), INFO, "job")


def test_unknown_class_and_choice(graph):
    with pytest.raises(InputError, match="job: the server has no node Work: install the pack"):
        prepare(graph, [], {"Load": INFO["Load"]}, "job")
    graph["3"]["inputs"]["model"] = "huge"
    with pytest.raises(InputError, match=r"model of Work is 'huge'.*--set '3.model="):
        check_choices(graph, INFO, "job")


@pytest.mark.parametrize(
    "content, says",
    [
        ('{"nodes": [], "links": []}', "as the canvas saves it.*Export \\(API\\)"),
        ("[1, 2]", "holds no workflow"),
        ('{"1": {"inputs": {}}}', "holds no workflow"),
        ("{", "is damaged or another kind of file"),
    ],
)
def test_what_is_no_workflow(tmp_path, content, says):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(InputError, match=says):
        load_workflow(tmp_path / "w.json")
    with pytest.raises(InputError, match="does not exist"):
        load_workflow(tmp_path / "none.json")


def test_a_workflow_in_the_body_of_a_prompt(tmp_path, graph):
    (tmp_path / "w.json").write_text(json.dumps({"prompt": graph, "client_id": "x"}))
    assert load_workflow(tmp_path / "w.json") == graph


def make(graph, rows, given=()):
    return JobMaker(graph, load_workflow, list(given), INFO).make(rows)


def test_both_tables_are_the_same_jobs(tmp_path, graph):
    (tmp_path / "a.mp4").write_bytes(b"one")
    (tmp_path / "t.csv").write_text("name,1.file,seed,Work here.text\nx,a.mp4,3,\ny,a.mp4,4,hello\n")
    lines = [
        {"name": "x", "1.file": "a.mp4", "seed": 3},
        {"name": "y", "1.file": "a.mp4", "seed": 4, "2.text": "hello"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    first, second = (make(graph, read_table(tmp_path / name)) for name in ("t.csv", "t.jsonl"))
    assert first == second and [job.name for job in first] == ["x", "y"]
    assert first[0].graph["2"]["inputs"]["seed"] == 3 and "text" not in first[0].graph["2"]["inputs"]
    (name,) = first[0].files
    assert first[0].graph["1"]["inputs"]["file"] == name and name.endswith(".mp4")


def test_the_key_is_of_the_content(tmp_path, graph):
    for name, content in (("a.mp4", b"one"), ("b.mp4", b"one"), ("c.mp4", b"two")):
        (tmp_path / name).write_bytes(content)
    keys = {
        name: make(graph, [Row("job", settings(f"1.file={name}", folder=tmp_path))])[0].key
        for name in ("a.mp4", "b.mp4", "c.mp4")
    }
    assert keys["a.mp4"] == keys["b.mp4"] != keys["c.mp4"]
    renamed = json.loads(json.dumps(graph))
    renamed["2"]["_meta"] = {"title": "other"}
    assert graph_key(renamed) == graph_key(graph)
    renamed["2"]["inputs"]["seed"] = 2
    assert graph_key(renamed) != graph_key(graph)


@pytest.mark.parametrize(
    "text, says",
    [
        ("name,seed\nx,1\nX,2\n", "two jobs are named X"),
        ("name,seed\nx,1\ny,1\n", "y and x are the same job"),
        ("name,seed\n../x,1\n", "no plain file name"),
        ("name,seed\nx\n", "line 2 of .* another number of cells"),
        ("name,seed\n", "has no job"),
    ],
)
def test_tables_that_cannot_work(tmp_path, graph, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        make(graph, read_table(tmp_path / "t.csv"))
