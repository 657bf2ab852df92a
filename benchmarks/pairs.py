"""Two processes that want one job, started at random offsets: one result, and no error but the sentence.

The real chain and store on small stand-ins (:mod:`benchmarks.soak`), 40 segments; no GPU. Both processes have imported
everything before the first begins; the second begins at a random moment of the time that a clip takes by itself. In
every second pair the later process waits for the other, as ComfyUI does; else it is refused, as in the shell. In every
fourth the first is killed.

    python benchmarks/pairs.py              # twenty pairs, minutes
    python benchmarks/pairs.py --pairs 4

Ends with status 1 where the frames differ, a process ends with another error, something is left over, or the two never
met.
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
    print("ready", flush=True)
    sys.stdin.readline()
    job, waited = make_job(SEGMENTS), False

    def slowly(progress: Progress) -> None:
        time.sleep(0.01 if progress.stage == "denoise" else 0)

    try:
        with SegmentStore(folder, (lambda: None) if waits else None) as store:
            waited = store.waited
            take_over(store, job.segment_keys("pairs"), [])
            made = len(job.plan()) - store.finished(job.plan())
            generate(job, PassingDenoiser(), PoolingVAE(), store, slowly, store.folder / "clip.mp4").close()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(made, int(waited))
    return 0


def start(folder: Path, waits: bool) -> subprocess.Popen[str]:
    """A process that begins at :func:`begin`."""
    command = [sys.executable, __file__, "--work", str(folder), *["--waits"] * waits]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def alone() -> float:
    """Seconds that one process takes for the clip."""
    with tempfile.TemporaryDirectory() as name:
        process = start(Path(name) / "job", False)
        began = time.perf_counter()
        begin(process)
        _, errors = process.communicate(timeout=600)
        if process.returncode:
            sys.exit(f"one process alone ended with {process.returncode}:\n{errors}")
        return time.perf_counter() - began


def digest(folder: Path) -> str:
    job = make_job(SEGMENTS)
    clip = SegmentStore(folder).clip(job.plan(), job.fps)
    frames = clip.read(0, len(clip))
    clip.close()
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def pair(folder: Path, at: int, offset: float) -> tuple[str, bool, list[str]]:
    """(the frames' hash, whether the two met, what is wrong)"""
    waits, killed, faults = at % 2 == 0, at % 4 == 3, []
    first, second = (start(folder, waits) for _ in range(2))
    begin(first)
    time.sleep(offset)
    begin(second)
    if killed:
        first.kill()
    ends = []
    for process in (first, second):
        out, err = process.communicate(timeout=600)
        made, waited = map(int, out.split() or (0, 0))
        ends.append((process.returncode, made, waited, (err.strip().splitlines() or [""])[-1]))
    refused = [code == 2 and said.startswith(SENTENCE) for code, _, _, said in ends]
    for number, (code, _, _, said) in enumerate(ends):
        if code and not (refused[number] and not waits) and not (killed and number == 0):
            faults.append(f"process {number + 1} ended with {code}: {said}")
    if all(code for code, *_ in ends):  # refused, and the other killed
        again = start(folder, waits)
        begin(again)
        again.communicate(timeout=600)
        if again.returncode:
            faults.append("it does not go on after that")
    made = sum(made for code, made, *_ in ends if code == 0)
    if not killed and made != SEGMENTS:
        faults.append(f"{made} segments were made in place of {SEGMENTS}")
    names = {path.name for path in folder.parent.iterdir()} | {path.name for path in folder.rglob("*.part*")}
    if names != {folder.name}:
        faults.append(f"left over: {sorted(names - {folder.name})}")
    met = any(refused) or any(waited for _, _, waited, _ in ends) or (killed and ends[0][0] != 0)
    return digest(folder), met, faults


def main(pairs: int) -> int:
    chance, hashes, faults, met = random.Random(4), set(), [], 0
    took = alone()
    print(f"a clip takes {took:.1f} s", flush=True)
    for at in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            offset = chance.uniform(0, took)
            found, together, wrong = pair(Path(name) / "job", at, offset)
        hashes.add(found)
        met += together
        faults += wrong
        print(f"pair {at + 1}, {offset:.2f} s apart: {'; '.join(wrong) or 'one result'}", flush=True)
    if len(hashes) != 1:
        faults.append(f"{len(hashes)} different results")
    if not met:
        faults.append("no second process found the first at work")
    print(f"{pairs} pairs, {met} met at work: {'; '.join(faults) or 'one result, equal: as it must be'}")
    return bool(faults)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--work", type=Path, help="as one process of a pair, in this folder")
    parser.add_argument("--waits", action="store_true", help="it waits for the other")
    arguments = parser.parse_args()
    sys.exit(work(arguments.work, arguments.waits) if arguments.work else main(arguments.pairs))
