"""What is told of the segments of a job: done, running, to do, left out; seconds; steps of the bar."""

import pytest
import torch

from wan_animate.chain.clock import RunClock
from wan_animate.chain.generate import generate
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.store import SegmentStore
from wan_animate.chain.timeline import Timeline
from wan_animate.errors import Cancelled
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainDenoiser, PlainVAE, make_job

COUNT, STEPS = 33, 3


def job(**options):
    pose = TensorSource(torch.rand(COUNT, 64, 96, 3, generator=torch.Generator().manual_seed(1)), 30)
    return make_job(torch.zeros(64, 96, 3), pose=pose, segment_length=9, options=ClipOptions(**options))


class Followed:
    """A job with its timeline; ``seen`` has (stage, states, steps of the bar) of every call."""

    def __init__(self, work, folder, stop=None):
        self.work, self.store, self.stop, self.seen = work, SegmentStore(folder), stop, []
        finished = [segment.index for segment in work.plan() if self.store.is_whole(segment)]
        self.clock = RunClock()
        self.timeline = Timeline(work, finished, self.clock)

    def __call__(self, progress):
        self.clock(progress)
        self.timeline(progress)
        state = self.timeline.state()
        self.seen.append((progress.stage, state["states"], progress.total - self.clock.steps_left, progress.total))
        if self.stop is not None and (progress.stage, progress.segment) == self.stop:
            raise Cancelled

    def run(self):
        try:
            generate(self.work, PlainDenoiser(STEPS), PlainVAE(), self.store, self, self.store.folder / "clip.mp4")
        except Cancelled:
            return self
        self.timeline.finish()
        return self


def test_one_segment_after_the_other(tmp_path):
    told = Followed(job(), tmp_path / "job").run()
    count = len(told.work.plan())
    assert count == 4
    for index in range(count):
        wanted = ["done"] * index + ["running"] + ["to do"] * (count - index - 1)
        stages = [stage for stage, states, *_ in told.seen if states == wanted]
        assert stages[:2] == ["encode", "load"] and stages.count("denoise") == STEPS and "decode" in stages
    assert told.timeline.state()["states"] == ["done"] * count
    plan = told.timeline.plan()
    assert sum(plan["frames"]) == COUNT and plan["resumed"] == 0
    assert plan["seeds"] == [str(told.work.seed + index) for index in range(count)]


def test_the_bar_is_full_at_the_end_only(tmp_path):
    told = Followed(job(), tmp_path / "job").run()
    done = [steps for _, _, steps, _ in told.seen]
    assert done == sorted(done) and done[0] == 0
    assert all(steps < total for stage, _, steps, total in told.seen), "decoding and writing are not done"
    assert done[-1] > told.seen[-1][3] - 1
    last = [steps for stage, states, steps, _ in told.seen if stage == "denoise"][-1]
    assert last < done[-1], "what follows the last step counts"


def test_a_resumed_job_says_what_is_there(tmp_path):
    stopped = Followed(job(), tmp_path / "job", stop=("denoise", 2)).run()
    assert stopped.timeline.state()["states"] == ["done", "done", "running", "to do"]
    again = Followed(job(), tmp_path / "job")
    assert again.timeline.resumed == 2
    again.run()
    assert [states for _, states, *_ in again.seen][0] == ["done", "done", "to do", "to do"]
    assert not any(states[0] == "running" or states[1] == "running" for _, states, *_ in again.seen)
    assert again.timeline.state()["states"] == ["done"] * 4


def test_segments_that_are_not_wanted_are_left_out(tmp_path):
    told = Followed(job(first_segment=0, last_segment=1), tmp_path / "job").run()
    assert told.timeline.state()["states"] == ["done", "done", "left out", "left out"]
    more = Followed(job(first_segment=2, last_segment=2), tmp_path / "job")
    assert more.timeline.state()["states"] == ["done", "done", "to do", "left out"] and more.timeline.resumed == 0


def test_seconds_left_of_the_segment_and_of_the_job():
    now = [0.0]
    clock = RunClock(step=2.0, other=4.0, now=lambda: now[0])
    timeline = Timeline(job(), [], clock)
    from wan_animate.chain.generate import Progress

    def say(stage, segment, done):
        progress = Progress(segment, 4, stage, segment * STEPS + done, 4 * STEPS, steps=STEPS)
        clock(progress)
        timeline(progress)
        return timeline.state()

    begun = say("encode", 0, 0)
    assert (begun["segment_seconds"], begun["left"], begun["total_left"]) == pytest.approx((10, 10, 40))
    now[0] = 4.0
    stepped = say("denoise", 0, 1)
    assert (stepped["left"], stepped["total_left"]) == pytest.approx((6, 36)) and stepped["step"] == 1
    now[0] = 10.0
    saved = say("save", 0, STEPS)
    assert saved["left"] == 0 and saved["total_left"] == pytest.approx(3 * saved["segment_seconds"])


def test_a_job_of_which_nothing_is_known_says_no_seconds():
    timeline = Timeline(job(), [], RunClock())
    state = timeline.state()
    assert state["left"] is state["total_left"] is state["segment_seconds"] is None and state["stage"] is None
