"""Shots of one clip on two real servers: the frames of one server's clip, also where a server and the driver end."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from demo import graphs
from demo.example import Dancer, write_example
from wan_animate.errors import InputError
from wan_animate.pose.track import PoseTrack
from wan_animate.queue.dispatch import Dispatcher
from wan_animate.queue.jobs import Job
from wan_animate.queue.shots import SHOWN, WORK, FindShots, JoinShots, MakeShot, Shots
from wan_animate.queue.state import FILE, State
from wan_animate.record.clip_record import read_record
from wan_animate.record.server import ATTENTION

from .test_servers import events, queue, wait_for

FRAMES, CUTS, SIZE = 16, (6, 11), (128, 96)
SEGMENTS = {1: (0, 1), 2: (2,), 3: (3,)}  # by shot
SHOT_OF = "{}: shot {} of 3"
SHOT = "clip: shot {} of 3"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """``work.json``: a clip in three shots, of a drawn dancer whose pose is known; with its inputs."""
    import numpy as np

    from wan_animate.video.write import write_video

    folder = tmp_path_factory.mktemp("shots")
    write_example(folder)
    dancer = Dancer(FRAMES / 30, SIZE, 30)
    write_video(folder / "driver.mp4", dancer, None, 30)
    keypoints = np.stack([dancer.keypoints(at) for at in range(FRAMES)])
    PoseTrack(keypoints, *SIZE, cuts=CUTS).save(folder / "track.npz")
    graph = graphs.load_graph("animate")
    graphs.use_small_models(graph, "dancer", None)
    graphs.use_track(graph, "track.npz", *SIZE)
    options = graphs.add(
        graph, "WanAnimateKitClipOptions", "Clip Options", crossfade=1, share_noise=True, at_cuts="start anew",
        first_segment=1, last_segment=0, segment_seeds="", keep_rest=False,
        shots=[graphs.node_of(graph, "WanAnimateKitLoadPoseTrack"), 0],
    )  # fmt: skip
    given = {"segment_length": 5, "guidance_frames": 1, "steps": 1, "sampler_name": "euler", "options": [options, 0]}
    graphs.set_inputs(graph, "WanAnimateKitAnimate", **given)
    graphs.set_inputs(graph, "WanAnimateKitLoadVideo", width=SIZE[0], height=SIZE[1], fps=30.0)
    (folder / "work.json").write_text(json.dumps(graph))
    return folder


def arguments(clip: Path, out: Path, *servers) -> list:
    given = {"image": clip / "robot.png", "video": clip / "driver.mp4", "LoadPoseTrack.file": f"@{clip / 'track.npz'}"}
    more = [one for name, value in given.items() for one in ("--set", f"{name}={value}")]
    urls = ",".join(server.url for server in servers)
    return [clip / "work.json", "--servers", urls, "--out", out, "--name", "clip", "--grace", 2, *more]


def frames_of(path: Path) -> tuple:
    record = read_record(path)
    return record.frames, record.segments


def shots_of(out: Path, server) -> list[int]:
    """The shots that a server has made."""
    done = {one["name"] for one in events(out) if one["event"] == "done" and one["worker"] == server.url}
    return [at for at in (1, 2, 3) if SHOT.format(at) in done]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_shots_on_two_servers_of_which_one_ends_and_the_driver(start_server, clip, driver, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with start_server() as first:
        with start_server() as second:
            given = arguments(clip, out, first, second)
            process = driver(*given)
            wait_for(lambda: shots_of(out, second) and shots_of(out, first), 240)
            process.kill()
            os.killpg(second.pid, signal.SIGKILL)
            process.wait()
        away = shots_of(out, second)
        assert not (out / "clip.mp4").exists()
        (chosen,) = (out / WORK).glob("*/attention.json")
        chosen = json.loads(chosen.read_text())
        process = driver(*given)
        told = process.communicate(timeout=400)[0]
        assert process.returncode == 0 and "1 of 1 jobs are in" in told, told
        assert {path.name for path in out.iterdir()} == {"clip.mp4", FILE}, "nothing is left over"
        finished = [one["name"] for one in events(out) if one["event"] == "done"]
        assert sorted(finished) == sorted(["clip: its shots", *map(SHOT.format, (1, 2, 3)), "clip"]), "once each"
        joined = first.base_dir.glob("output/wan_animate_kit/jobs/*-shots/segment_*.mkv")
        sent = {f"segment_{index:04d}.mkv" for at in away for index in SEGMENTS[at]}
        assert {path.name for path in joined} == sent, "a shot goes where it was not made"
        made = first.base_dir.glob("output/wan_animate_kit/jobs/*/segment_*.mkv")
        assert len({path.stat().st_ino for path in made}) == 4, "the whole clip makes no segment again"
        timed = [server for server in (first, second) if "Taken: " in server.log_path.read_text()]
        assert chosen and len(timed) == 1, "one server times its attention, the other takes the same"
        before = first.get("/history").keys()
        assert queue(*arguments(clip, out, first)) == 0 and first.get("/history").keys() == before

    with start_server() as alone:  # by its own timing it might take another
        monkeypatch.setattr(JoinShots, "extra", lambda _: {"extra_pnginfo": {ATTENTION: chosen}})
        assert queue(*arguments(clip, tmp_path / "alone", alone)) == 0
        assert not list(alone.base_dir.glob("output/wan_animate_kit/jobs/*-shots"))
    whole = frames_of(tmp_path / "alone" / "clip.mp4")
    assert len(whole[1]) == 4 and frames_of(out / "clip.mp4") == whole


class Hands:
    """A server in this process, which finds ``shots`` shots in every clip."""

    slots = 2

    def __init__(self, name: str, shots: int, bad: tuple[str, ...] = ()):
        self.name, self._shots, self._bad = name, shots, bad
        self.made: list[Job] = []
        self.times: list[tuple[float, Job]] = []

    def alive(self) -> bool:
        return True

    def run(self, job, state, report, stop):
        self.made.append(job)
        self.times.append((time.monotonic(), job))
        if job.name in self._bad:
            raise InputError("it cannot be made.")
        folder = state.folder / WORK
        folder.mkdir(exist_ok=True)
        if isinstance(job, FindShots):
            (path := folder / f"{job.key}.json").write_text(json.dumps([[at, at] for at in range(self._shots)]))
        elif isinstance(job, MakeShot):
            job.work.mkdir(exist_ok=True)
            (path := job.work / f"{job.first}").write_text("")
        else:
            (path := state.folder / f"{job.name}.mp4").write_text(job.key)
        return [path]


@pytest.fixture
def make(clip, tmp_path):
    """Runs clips of these names; summary and state, which is open."""
    graph, states = json.loads((clip / "work.json").read_text()), []

    def make(names, *workers, apart=True, warn=print):
        states.append(state := State(tmp_path / "out"))
        shots = Shots([Job(f"key-{name}", name, graph, {}) for name in names], state.folder, apart, warn)
        begun = shots.begin(state.last, lambda key: state.done(key) is not None)
        try:
            return Dispatcher(begun, list(workers), state, then=shots.then).run()
        finally:
            state.close()

    return make


def test_a_bad_shot_fails_its_clip_alone_and_the_rest_is_there_the_next_time(make, tmp_path):
    workers = Hands("a", 3, bad=(SHOT_OF.format("x", 2),)), Hands("b", 3, bad=(SHOT_OF.format("x", 2),))
    summary = make(["x", "y"], *workers)
    assert summary.done == ["y"] and summary.failed == {"x": "it cannot be made."}
    names = [job.name for worker in workers for job in worker.made]
    assert (
        len(set(names)) == len(names) and "x" not in names and {"y", *map(SHOT_OF.format, "yyy", (1, 2, 3))} <= {*names}
    )
    assert [path.name for path in (tmp_path / "out" / WORK).iterdir() if "key-y" in path.name] == []
    sound = Hands("a", 3)
    summary = make(["x", "y"], sound)
    again = [job.name for job in sound.made]
    assert summary.done == ["x"] and summary.kept == ["y"] and not {*again} & {*names} - {SHOT_OF.format("x", 2)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.mp4", "y.mp4", FILE}


def test_the_first_shot_chooses_where_attention_is_timed(make, clip, tmp_path):
    """The graph's is: the others come after it, with what its server chose."""
    workers = Hands("a", 3), Hands("b", 3)
    assert make(["x"], *workers).done == ["x"]
    began = sorted((at, job.name) for one in workers for at, job in one.times)
    order = [name for _, name in began]
    assert order[:2] == ["x: its shots", SHOT_OF.format("x", 1)] and order[-1] == "x"
    leader, others = (
        [job for one in workers for job in one.made if isinstance(job, MakeShot) and job.leads is leads]
        for leads in (True, False)
    )
    assert len(leader) == 1 and len(others) == 2
    others[0].work.mkdir(parents=True)
    assert leader[0].extra() is None
    (others[0].work / "attention.json").write_text('{"a shape": "sdpa flash"}')
    assert all(job.extra() == {"extra_pnginfo": {ATTENTION: {"a shape": "sdpa flash"}}} for job in others)


class OwnAttention(Hands):
    """Its cards are others than those that the first shot's attention was chosen for."""

    url = "http://b"

    def save(self, item, path, what):
        path.write_text("")

    def run(self, job, state, report, stop):
        paths = super().run(job, state, report, stop)
        if not isinstance(job, MakeShot):
            return paths
        shown = {"clip": {"file": {"subfolder": "x"}}, "unmatched_attention": [] if job.leads else ["a shape"]}
        return job.collect(self, {"outputs": {job.node: {SHOWN: [shown]}}}, state.folder)


def test_a_server_that_cannot_take_the_first_ones_attention_is_told_of(make):
    said = []
    assert make(["x"], OwnAttention("b", 2), warn=said.append).done == ["x"]
    assert len(said) == 1 and said[0].startswith("x: shot 2 of 2: ")
    assert "http://b has another kind of card or other packages than the server of shot 1" in said[0]


def test_one_server_and_a_clip_of_one_shot(make):
    one = Hands("a", 3)
    assert make(["x"], one, apart=False).done == ["x"] and [type(job) for job in one.made] == [JoinShots]
    single = Hands("a", 1)
    assert make(["y"], single).done == ["y"] and [type(job) for job in single.made] == [FindShots, JoinShots]
    older = Hands("a", 0)
    assert make(["z"], older).done == ["z"], "a server whose pack does not say its shots"


def test_a_clip_that_is_at_a_server_is_followed_there(make, tmp_path):
    state = State(tmp_path / "out")
    state.tell("key-x", "sent", name="x", worker="a", prompt="1", attempt=1)
    state.close()
    one = Hands("a", 3)
    assert make(["x"], one, Hands("b", 3)).done == ["x"] and [job.name for job in one.made] == ["x"]
