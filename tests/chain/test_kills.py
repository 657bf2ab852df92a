"""SIGKILL at random moments: the same frames in the end, nothing finished made again, nothing left over."""

import hashlib
import random
import subprocess
import sys
import time

import numpy as np

from wan_animate.chain.options import ClipOptions
from wan_animate.chain.store import SegmentStore

from .test_job_lock import IMPORTS, ROOT, start
from .test_seams import with_options

KILLS, COUNT = 10, 57
WORKER = f"""{IMPORTS}
from tests.chain.test_kills import job
from tests.chain.test_seams import PlainDenoiser, PlainVAE, SegmentStore, generate
folder, log = map(Path, sys.argv[2:])
work = job()

def during(index, step):
    if step == 0:
        with log.open("a") as file:
            file.write(f"{{index}}\\n")
    time.sleep(0.03)

with SegmentStore(folder) as store:
    with log.open("a") as file:
        file.write(f"start {{store.finished(work.plan())}}\\n")
    generate(work, PlainDenoiser(during=during), PlainVAE(), store, video=store.folder / "clip.mp4").close()
"""


def job():
    """12 segments in two shots, with colour, cross-fade and shared noise."""
    options = ClipOptions(crossfade=3, share_noise=True, cuts=(21,))
    made = with_options(COUNT, color="anchor")
    made.options = options
    return made


def digest(folder) -> str:
    frames = SegmentStore(folder).clip(job().plan(), 30)
    return hashlib.sha256(np.ascontiguousarray(frames.read(0, COUNT)).data).hexdigest()


def finish(folder, log) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(ROOT), str(folder), str(log)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return digest(folder)


def test_kills_at_random_moments(tmp_path):
    assert len(job().plan()) == 12
    whole = finish(tmp_path / "whole", tmp_path / "whole.log")
    chance, folder, log = random.Random(5), tmp_path / "jobs" / "job", tmp_path / "log"
    for _ in range(KILLS):
        worker = start(WORKER, folder, log)
        begun = log.read_text().count("start") if log.exists() else 0
        while worker.poll() is None and log.exists() and log.read_text().count("start") == begun:
            time.sleep(0.01)  # imports take seconds
        while worker.poll() is None and not log.exists():
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.25))
        worker.kill()
        worker.communicate()
    assert finish(folder, log) == whole
    ready, made = 0, set()
    for line in log.read_text().split("\n"):
        if line.startswith("start"):
            ready = int(line.split()[1])
        elif line:
            assert int(line) >= ready, "a finished segment is made again"
            made.add(int(line))
    assert made == set(range(12)) and log.read_text().count("start") == KILLS + 1
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )
    assert {path.name for path in folder.parent.iterdir()} == {"job"}
