"""Real clips on the small weights: shots apart as the serial run, a worker killed, a clip that cannot be made.

The long form is ``benchmarks/farm.py``."""

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from demo.example import Dancer
from wan_animate import cli
from wan_animate.batch import making
from wan_animate.batch.workers import UnitWorker
from wan_animate.cli.shared import KeptWeights
from wan_animate.pose.track import PoseTrack
from wan_animate.record.clip_record import read_record

from ..cli.test_options import inputs  # noqa: F401  (a fixture)


@pytest.fixture(scope="module")
def given(inputs, small_models, tmp_path_factory):  # noqa: F811
    """Options of a clip of two segments, and of three in two shots with ``--at-cuts anew``."""
    dancer = Dancer(0.5, (320, 176))
    track = tmp_path_factory.mktemp("track") / "track.npz"
    PoseTrack(np.stack([dancer.keypoints(at) for at in range(9)]), 320, 176, cuts=(6,)).save(track)
    changed = {"track": track, "models": small_models.diffusers, "limit": 9, "steps": 1, "area": 128 * 80}
    options = {name: value for name, value in (inputs | changed).items() if name not in ("video", "image")}
    return [
        *(f"--{name}={value}" for name, value in options.items()),
        "--no-retarget",
        "--crossfade=1",
        "--share-noise",
        "--device=cpu",  # workers, retries and bits are the subject, which a card would not make easier to compare
    ]


@pytest.fixture(scope="module")
def serial(given, inputs, tmp_path_factory):  # noqa: F811
    """:func:`frames_of` what ``wan-animate run`` makes with these options more."""
    folder, made = tmp_path_factory.mktemp("serial"), {}

    def run(*more: str) -> tuple:
        if more not in made:
            out = folder / f"{len(made)}.mp4"
            files = (f"--image={inputs['image']}", f"--video={inputs['video']}")
            assert cli.main(["run", *files, *given, *more, f"--out={out}"]) == 0
            made[more] = frames_of(out)
        return made[more]

    return run


def frames_of(clip) -> tuple:
    """The hashes of its lossless frames, which the mp4 carries; its bytes depend on x264's threads."""
    record = read_record(clip)
    return record.frames, record.segments


class Here(UnitWorker):
    """Works in this process."""

    def __init__(self, *_):
        super().__init__("here", print)
        self.weights, self.units = KeptWeights(), []

    def alive(self):
        return True

    def close(self):
        pass

    def _make(self, unit, report, stop):
        from wan_animate.batch.work import do

        self.units.append(unit.name)
        do(unit, self.weights, report, print)


@pytest.mark.parametrize("url", [False, True])
def test_shots_apart_are_the_serial_clip(given, serial, inputs, tmp_path, monkeypatch, capfd, url):  # noqa: F811
    """A clip in two shots, and one that is no video. Nobody needs the model to join the shots."""
    worker, asked = Here(), []
    model = worker.weights.model
    monkeypatch.setattr(worker.weights, "model", lambda *given: asked.append(worker.units[-1]) or model(*given))
    monkeypatch.setattr(making, "_processes", lambda *_: [worker])
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "clips.csv").write_text(
        f"name,video,seed,at_cuts\nshots,{inputs['video']},5,anew\nbad,broken.mp4,0,chain\n"
    )
    out, place = tmp_path / "out", ["--shared", (tmp_path / "work").as_uri()] if url else []
    command = ["batch", str(tmp_path / "clips.csv"), f"--out={out}", f"--image={inputs['image']}", *place, *given]
    assert cli.main(command) == 1
    told = capfd.readouterr().out
    assert "1 of 2 jobs are in" in told and "  bad: video 'broken.mp4' cannot be opened" in told
    assert worker.units == ["shots: its shots", "shots: shot 1 of 2", "shots: shot 2 of 2", "shots", "bad"]
    assert frames_of(out / "shots.mp4") == serial("--seed=5", "--at-cuts=anew")
    assert asked == ["shots: shot 1 of 2", "shots: shot 2 of 2"]
    assert {path.name for path in out.iterdir()} == {"shots.mp4", "queue.jsonl"}
    assert not url or {path.name for path in (tmp_path / "work").iterdir()} == {"inputs"}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of Unix")
def test_a_worker_is_killed(given, serial, inputs, tmp_path, capfd):  # noqa: F811
    """In the middle of a shot, by its second segment; another process goes on from the first."""
    (tmp_path / "clips.csv").write_text(f"name,video,seed,at_cuts\na,{inputs['video']},5,anew\n")
    out, written = tmp_path / "out", {}
    command = ["batch", str(tmp_path / "clips.csv"), f"--out={out}", f"--image={inputs['image']}", *given]
    with ThreadPoolExecutor(1) as thread:
        driver = thread.submit(cli.main, command)
        while not driver.done():
            for path in out.glob(".work/*/.*/segment_*.mkv"):
                written.setdefault(path, path.stat().st_mtime_ns)
                assert written[path] == path.stat().st_mtime_ns, "a finished segment is made again"
                if len(written) == 1:
                    (worker,) = multiprocessing.active_children()
                    os.kill(worker.pid, signal.SIGKILL)
                    written[out] = 0
            time.sleep(0.02)
    assert driver.result() == 0
    assert "ended (signal 9). It is given to a worker again" in capfd.readouterr().err
    assert frames_of(out / "a.mp4") == serial("--seed=5", "--at-cuts=anew")
    assert {path.name for path in out.iterdir()} == {"a.mp4", "queue.jsonl"}
