"""Two processes that want one job, started at random offsets: one result, and no error but the sentence.

The real chain and store on small stand-ins (:mod:`benchmarks.soak`), 40 segments. In every second pair the later
process waits for the other, as ComfyUI does; else it is refused, as in the shell. In every fourth the first is killed.

    python benchmarks/pairs.py              # twenty pairs, minutes
    python benchmarks/pairs.py --pairs 4

Ends with status 1 where the frames differ, a process ends with another error, or something is left over.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import numpy as np  # noqa: E402

from benchmarks.soak import PassingDenoiser, PoolingVAE, make_job  # noqa: E402
from wan_animate.chain.generate import Progress, generate  # noqa: E402
from wan_animate.chain.reuse import take_over  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.errors import InputError  # noqa: E402

SEGMENTS, SENTENCE = 40, "another process is making this clip already"


def work(folder: Path, waits: bool) -> int:
    """One process: makes the clip, or finds it."""
    job = make_job(SEGMENTS)
    print("begins", flush=True)

    def slowly(progress: Progress) -> None:
        time.sleep(0.01 if progress.stage == "denoise" else 0)

    try:
        with SegmentStore(folder, (lambda: None) if waits else None) as store:
            take_over(store, job.segment_keys("pairs"), [])
            made = len(job.plan()) - store.finished(job.plan())
            generate(job, PassingDenoiser(), PoolingVAE(), store, slowly, store.folder / "clip.mp4").close()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(made)
    return 0


def start(folder: Path, waits: bool) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--work", str(folder), *["--waits"] * waits]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begins\n"
    return process


def digest(folder: Path) -> str:
    job = make_job(SEGMENTS)
    clip = SegmentStore(folder).clip(job.plan(), job.fps)
    frames = clip.read(0, len(clip))
    clip.close()
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def pair(folder: Path, at: int, offset: float) -> tuple[str, list[str]]:
    """(the frames' hash, what is wrong)"""
    waits, killed, faults = at % 2 == 0, at % 4 == 3, []
    first = start(folder, waits)
    time.sleep(offset)
    second = start(folder, waits)
    if killed:
        first.kill()
    ends = []
    for process in (first, second):
        out, err = process.communicate(timeout=600)
        ends.append((process.returncode, out.strip(), err.strip().splitlines()[-1:] or [""]))
    for number, (code, _, (said,)) in enumerate(ends):
        refused = code == 2 and said.startswith(SENTENCE)
        if code and not (refused and not waits) and not (killed and number == 0):
            faults.append(f"process {number + 1} ended with {code}: {said}")
    if all(code for code, *_ in ends):  # refused, and the other killed
        again = start(folder, waits)
        if again.wait(timeout=600):
            faults.append("it does not go on after that")
    made = sum(int(out) for code, out, _ in ends if code == 0)
    if not killed and made != SEGMENTS:
        faults.append(f"{made} segments were made in place of {SEGMENTS}")
    names = {path.name for path in folder.parent.iterdir()} | {path.name for path in folder.rglob("*.part*")}
    if names != {folder.name}:
        faults.append(f"left over: {sorted(names - {folder.name})}")
    return digest(folder), faults


def main(pairs: int) -> int:
    chance, hashes, faults = random.Random(4), set(), []
    for at in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            offset = chance.uniform(0, 3)
            found, wrong = pair(Path(name) / "job", at, offset)
        hashes.add(found)
        faults += wrong
        print(f"pair {at + 1}, {offset:.2f} s apart: {'; '.join(wrong) or 'one result'}", flush=True)
    if len(hashes) != 1:
        faults.append(f"{len(hashes)} different results")
    print("; ".join(faults) or f"{pairs} pairs: one result, equal")
    return bool(faults)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--work", type=Path, help="as one process of a pair, in this folder")
    parser.add_argument("--waits", action="store_true", help="it waits for the other")
    arguments = parser.parse_args()
    sys.exit(work(arguments.work, arguments.waits) if arguments.work else main(arguments.pairs))
