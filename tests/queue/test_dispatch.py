"""Who gets which job, with workers that are functions: order, limit, losses, what a killed process left."""

import time
from pathlib import Path
from threading import Lock

import pytest

from wan_animate.errors import InputError
from wan_animate.queue.dispatch import Dispatcher, WorkerLost
from wan_animate.queue.jobs import Job
from wan_animate.queue.state import FILE, State


class Hands:
    """A worker in this process.

    Args:
        dies: at these jobs it is lost, for ``away`` looks.
    """

    def __init__(self, name: str, slots: int = 1, seconds: float = 0.02, dies: tuple[str, ...] = (), away: float = 1):
        self.name, self.slots, self._seconds, self._dies, self._away = name, slots, seconds, dies, away
        self.made: list[str] = []
        self.most = self._now = 0
        self._lock, self._gone = Lock(), 0.0

    def run(self, job, state, report, stop):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if job.name in self._dies:
                self._gone = self._away
                raise WorkerLost(f"{self.name} is down", started=True)
            if job.name == "bad":
                raise InputError("this one is\nbad.")
            stop.wait(self._seconds)
            self.made.append(job.name)
            path = state.folder / f"{job.name}.txt"
            path.write_text(job.key)
            return [path]
        finally:
            with self._lock:
                self._now -= 1

    def alive(self):
        self._gone -= 1
        return self._gone < 0


def jobs(*names: str) -> list[Job]:
    return [Job(f"key-{name}", name, {}, {}) for name in names]


@pytest.fixture
def state(tmp_path):
    made = State(tmp_path / "out")
    yield made
    made.close()


NAMES = tuple(f"job{at}" for at in range(12))


def test_every_job_once_and_both_kept_busy(state):
    workers = [Hands("a"), Hands("b", slots=2)]
    summary = Dispatcher(jobs(*NAMES), workers, state).run()
    assert sorted(summary.done) == sorted(NAMES) == sorted(workers[0].made + workers[1].made)
    assert min(len(worker.made) for worker in workers) >= 2
    again = Dispatcher(jobs(*NAMES), [Hands("c")], state).run()
    assert again.done == [] and sorted(again.kept) == sorted(NAMES)


def test_nobody_has_two_while_another_has_none(state):
    workers = [Hands("a", slots=2), Hands("b", slots=2)]
    dispatcher = Dispatcher(jobs("x", "y"), workers, state)
    for job in jobs("x", "y"):
        dispatcher._enter(job)
    assert dispatcher._take(workers[0]).name == "x" and dispatcher._next(workers[0]) is None
    assert dispatcher._take(workers[1]).name == "y"


def test_a_result_that_is_gone_is_made_again(state):
    Dispatcher(jobs("x", "y"), [Hands("a")], state).run()
    (state.folder / "x.txt").unlink()
    assert Dispatcher(jobs("x", "y"), [Hands("a")], state).run().done == ["x"]


def test_limit(state):
    workers = [Hands("a", slots=4), Hands("b", slots=4)]
    kinds: list[str] = []
    Dispatcher(jobs("p", "q"), workers, state, limit=1, tell=lambda news: kinds.append(news.kind)).run()
    assert kinds == ["started", "done", "started", "done"]


def test_the_work_of_a_dead_one_goes_to_others(state):
    dead = Hands("dead", dies=NAMES, away=10**6)
    summary = Dispatcher(jobs(*NAMES), [dead, Hands("b")], state).run()
    assert sorted(summary.done) == sorted(NAMES) and summary.retries == 1 and not summary.failed


def test_one_that_comes_back_works_again(state):
    worker = Hands("a", dies=())
    worker._dies = ("job0",)
    summary = Dispatcher(jobs("job0", "job1"), [worker], state, retries=1).run()
    assert summary.done == ["job1"] and summary.retries == 1
    assert summary.failed["job0"] == "2 servers went down while they were at it, the last: a is down"


def test_a_poisoned_job_fails_alone(state):
    summary = Dispatcher(jobs("x", "bad", "y"), [Hands("a"), Hands("b")], state).run()
    assert sorted(summary.done) == ["x", "y"] and summary.failed == {"bad": "this one is bad."}
    assert state.last("key-bad")["why"] == "this one is bad."
    assert Dispatcher(jobs("x", "bad", "y"), [Hands("a")], state).run().failed, "tried again by the same command"


def test_without_any_server_the_rest_is_left(state):
    summary = Dispatcher(jobs("x", "y"), [Hands("a", dies=("x", "y"), away=10**6)], state, patience=0.3).run()
    assert set(summary.left) == {"x", "y"} and "no server was there" in summary.left["x"]


def test_an_error_of_ours_ends_all(state):
    class Broken(Hands):
        def run(self, *_):
            raise RuntimeError("ours")

    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="ours"):
        Dispatcher(jobs(*NAMES), [Broken("a"), Hands("b", seconds=30)], state).run()
    assert time.monotonic() - begun < 10


def test_what_was_sent_goes_to_where_it_is(state):
    state.tell("key-job3", "sent", worker="b", prompt="p", attempt=1)
    workers = [Hands("a", seconds=0.2), Hands("b", seconds=0.2)]
    Dispatcher(jobs(*NAMES[:4]), workers, state).run()
    assert workers[1].made[0] == "job3" and "job3" not in workers[0].made


def test_state_survives_a_kill_in_a_line(tmp_path):
    first = State(tmp_path / "out")
    first.tell("k", "sent", worker="a", prompt="p", attempt=2)
    with pytest.raises(InputError, match="another process sends jobs"):
        State(tmp_path / "out")
    first.close()
    path = tmp_path / "out" / FILE
    path.write_bytes(path.read_bytes() + b'{"key": "k", "eve')
    (tmp_path / "out" / ".clip.0123abcd.part.mp4").touch()
    (tmp_path / "out" / ".other.txt").touch()
    again = State(tmp_path / "out")
    again.sweep(["clip"])
    assert again.last("k")["attempt"] == 2
    again.tell("k", "done", files=[])
    again.close()
    assert State(tmp_path / "out").done("k") == []
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [".other.txt", FILE]


def test_what_is_no_state(tmp_path):
    (tmp_path / FILE).write_text("notes\n")
    for _ in range(2):  # its lock is free again
        with pytest.raises(InputError, match="is no record of jobs"):
            State(tmp_path)
    assert Path(tmp_path / FILE).read_text() == "notes\n"
