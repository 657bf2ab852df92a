"""Shots and clips through the dispatcher, by workers that are functions."""

import json
import time
from threading import Lock

import pytest

from wan_animate.batch.clips import Clip
from wan_animate.batch.units import CLIP, SHOTS, Flow
from wan_animate.cli.options import RunOptions
from wan_animate.errors import InputError
from wan_animate.queue.dispatch import Dispatcher, WorkerLost
from wan_animate.queue.state import State


def clip(name: str, at_cuts: str = "anew", priority: int = 0) -> Clip:
    options = RunOptions(image="a.png", video="a.mp4", out="a.mp4", models="m", at_cuts=at_cuts)
    return Clip(f"key-{name}", name, options, priority)


class Hands:
    """Finds ``shots`` shots in every clip; dies at units of these names, once each."""

    slots = 1

    def __init__(self, name: str, shots: int = 3, dies: tuple[str, ...] = (), bad: tuple[str, ...] = ()):
        self.name, self._shots, self._dies, self._bad = name, shots, set(dies), bad
        self.made: list[str] = []
        self.looked, self._lock = 0, Lock()

    def alive(self) -> bool:
        self.looked += 1
        return True

    def run(self, unit, state, report, stop):
        time.sleep(0.01)
        if unit.name in self._dies:
            self._dies.discard(unit.name)
            raise WorkerLost(f"{self.name} is gone.", started=True)
        if unit.name in self._bad:
            raise InputError("it cannot be made.")
        with self._lock:
            self.made.append(unit.name)
        if unit.kind == SHOTS:
            (path := state.folder / f"{unit.key}.json").write_text(json.dumps([[at, at] for at in range(self._shots)]))
            return [path]
        if unit.kind == CLIP:
            (path := state.folder / f"{unit.job}.mp4").write_text(unit.key)
            return [path]
        return []


@pytest.fixture
def make(tmp_path):
    """Runs clips on workers; (summary, keys that were tidied)."""

    def make(clips, *workers, **more):
        state, tidied = State(tmp_path / "out"), []
        flow = Flow(clips, lambda key: f"place/{key}", tidied.append, {})
        try:
            units = flow.begin(lambda key: state.done(key) is not None)
            given = dict(then=flow.then, called="worker", awaited=True) | more
            return Dispatcher(units, list(workers), state, **given).run(), tidied
        finally:
            state.close()

    return make


def shots(name: str, count: int = 3) -> set[str]:
    return {f"{name}: shot {at} of {count}" for at in range(1, count + 1)}


def test_a_clip_comes_after_its_shots_and_everything_once(make):
    workers = Hands("a"), Hands("b")
    summary, tidied = make([clip("x"), clip("y"), clip("z", "chain")], *workers)
    made = workers[0].made + workers[1].made
    whole = {"x", "y", "z", "x: its shots", "y: its shots"} | shots("x") | shots("y")
    assert sorted(made) == sorted(whole) and sorted(summary.done) == ["x", "y", "z"]
    assert sorted(tidied) == ["key-x", "key-y", "key-z"] and all(worker.looked for worker in workers)
    again, tidied = make([clip("x"), clip("y"), clip("z", "chain")], other := Hands("c"))
    assert not other.made and sorted(again.kept) == ["x", "y", "z"] and len(tidied) == 3


def test_one_shot_is_made_with_its_clip(make):
    make([clip("x")], worker := Hands("a", shots=1))
    assert worker.made == ["x: its shots", "x"]


def test_what_is_begun_is_ended_first_and_priorities_count(make):
    clips = [clip("x"), clip("y", "chain"), clip("late", "chain", -1), clip("first", "chain", 7)]
    make(clips, worker := Hands("a"))
    assert worker.made == ["first", "x: its shots", *sorted(shots("x")), "x", "y", "late"]


def test_a_dead_workers_shot_goes_to_another(make):
    dies = Hands("a", dies=("x: shot 2 of 3",)), Hands("b", dies=("x: shot 2 of 3",))
    summary, _ = make([clip("x")], *dies)
    assert summary.done == ["x"] and 1 <= summary.retries <= 2
    assert sorted(dies[0].made + dies[1].made) == sorted({"x", "x: its shots"} | shots("x"))


def test_a_bad_shot_fails_its_clip_alone_and_the_same_command_goes_on(make):
    worker = Hands("a", bad=("x: shot 2 of 3",))
    summary, tidied = make([clip("x"), clip("y")], worker)
    assert summary.failed == {"x": "it cannot be made."} and summary.done == ["y"] and tidied == ["key-y"]
    assert "x: shot 3 of 3" not in worker.made, "nobody needs it"
    again, _ = make([clip("x"), clip("y")], worker := Hands("b"))
    assert again.done == ["x"] and again.kept == ["y"]
    assert sorted(worker.made) == ["x", "x: shot 2 of 3", "x: shot 3 of 3"], "what was done is kept"


def test_a_clip_that_kills_its_workers_fails(make):
    class Deadly(Hands):
        def run(self, unit, *more):
            if unit.job == "x":
                raise WorkerLost("signal 9", started=True)
            return super().run(unit, *more)

    summary, _ = make([clip("x", "chain"), clip("y", "chain")], Deadly("a"), retries=1)
    assert summary.done == ["y"]
    assert summary.failed == {"x": "2 workers went down while they were at it, the last: signal 9"}
