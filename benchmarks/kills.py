"""SIGKILL at random moments of the shell: the same frames in the end, nothing finished made again, no strays.

A replace job of twelve segments in a window around the character (``--crop``), with colour correction and cross-faded
segments, on the small weights of diffusers' classes. It is killed again and again, a random time after its folder is
there, then run to its end, and begun anew where it was done before; a second job with the same inputs is never killed.
Compared are the hashes of the lossless frames that all clips carry.

    python benchmarks/kills.py             # twenty kills, minutes on two cores
    python benchmarks/kills.py --kills 3

Prints what was found; ends with status 1 where the two differ. Writes no claim: nothing here is a speed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
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

# of the shell: with another number of threads, sums come in another order, and frames differ by 1 of 255
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

from demo import small_models  # noqa: E402
from demo.example import Dancer, write_example  # noqa: E402

SEGMENTS, LENGTH, PREVIOUS = 12, 9, 5
FRAMES = LENGTH + (SEGMENTS - 1) * (LENGTH - PREVIOUS)
LATEST = 2  # segments after the first
STARTED = [0.0]
"""When runs were started."""


def command(folder: Path, out: Path) -> list[str]:
    """The shell's command, as a user gives it."""
    given = {
        "video": folder / "driver.mp4", "image": folder / "robot.png", "track": folder / "track.npz", "out": out,
        "prompt-file": folder / "prompt.safetensors", "models": small_models.make().diffusers, "mode": "replace",
        "limit": FRAMES, "segment": LENGTH, "previous-frames": PREVIOUS, "crossfade": 3, "steps": 1, "area": 96 * 80,
        "device": "cpu",
    }  # fmt: skip
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from demo import importing; importing.install(); "
    code += "from wan_animate.cli import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, str(ROOT), *(f"--{name}={value}" for name, value in given.items()), "--crop"]


def write_inputs(folder: Path) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.write import write_video

    write_example(folder)
    dancer = Dancer(FRAMES / 30, (320, 176), 30)
    write_video(folder / "driver.mp4", dancer, None, 30)
    PoseTrack(np.stack([dancer.keypoints(at) for at in range(FRAMES)]), 320, 176).save(folder / "track.npz")
    save_file({"cond": torch.zeros(1, 5, 4096)}, folder / "prompt.safetensors")


def finished(out: Path) -> dict[str, int]:
    """Files of finished segments -> when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob(".clip-*/segment_*.mkv")}


def killed(arguments: list[str], out: Path, seconds: float) -> dict[str, int]:
    """Run, and kill ``seconds`` after it has come to its folder; returns what is finished."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not begun(out):
        time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
    return finished(out)


def begun(out: Path) -> bool:
    """Whether this run has come to its folder, into which it writes its command."""
    newest = max((path.stat().st_mtime for path in out.glob(".clip-*/command.json")), default=0.0)
    return newest > STARTED[-1]


def finish(arguments: list[str], out: Path) -> tuple[float, float]:
    """Run to the end; returns the seconds from the job's folder to its first segment, and of a segment after it."""
    STARTED.append(time.time())
    start, first = None, None
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            if start is None and begun(out):
                start = time.perf_counter()
            if start is not None and first is None and finished(out):
                first = time.perf_counter() - start
            time.sleep(0.02)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"the job ended with {process.returncode}:\n{errors.read()[-2000:].decode()}")
    if start is None or first is None:  # nothing was left to make
        return 0.0, 0.0
    return first, (time.perf_counter() - start - first) / (SEGMENTS - 1)


def main(kills: int) -> int:
    from wan_animate.record.clip_record import read_record

    chance, again, faults = random.Random(11), 0, []
    with tempfile.TemporaryDirectory() as name:
        folder, whole, broken = Path(name) / "in", Path(name) / "whole", Path(name) / "broken"
        for one in (folder, whole, broken):
            one.mkdir()
        write_inputs(folder)
        first, each = finish(command(folder, whole / "clip.mp4"), whole)
        print(f"unbroken: the first segment after {first:.1f} s, then one in {each:.1f} s", flush=True)
        wanted, clips = read_record(whole / "clip.mp4"), 0
        before: dict[str, int] = {}
        arguments = command(folder, broken / "clip.mp4")

        def compare() -> None:
            found = read_record(broken / "clip.mp4")
            same = found.frames == wanted.frames and found.segments == wanted.segments
            print(f"the clip: {'equal frames' if same else 'other frames'}, {again} segments made again", flush=True)
            if not same:
                faults.append("the frames differ")

        at = 0
        while at < kills:
            STARTED.append(time.time())
            after = killed(arguments, broken, chance.uniform(0, first + LATEST * each))
            if (broken / "clip.mp4").exists():
                print("the job was done before: it is begun anew", flush=True)
                compare()
                (broken / "clip.mp4").unlink()
                before, clips = {}, clips + 1
                continue
            again += sum(after.get(file) != written for file, written in before.items())
            at += 1
            print(f"kill {at}: {len(after)} of {SEGMENTS} segments finished", flush=True)
            before = after
        finish(arguments, broken)
        compare()
        if again:
            faults.append(f"{again} finished segments were made again")
        strays = sorted(path.name for path in broken.iterdir() if path.name != "clip.mp4")
        if strays:
            faults.append(f"left over: {', '.join(strays)}")
        print(f"{kills} kills of {clips + 1} clips: {'; '.join(faults) or 'equal frames, nothing finished made again'}")
    return bool(faults)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    sys.exit(main(parser.parse_args().kills))
