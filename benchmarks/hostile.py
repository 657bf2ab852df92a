"""Ten thousand broken files and values through every reader: no error but a sentence, no long call, no growth.

hypothesis makes videos, segments, job folders, pose tracks, masks, POSE_KEYPOINT, weights, LoRAs, prompts, edits,
pictures, manifests, workflows, records and configurations that are nearly right (``tests/support/fuzz.py``). Each is
read in this process; its seconds and the peak of its memory are taken (Linux). A call that does not end stops the run
with its traceback.

    python benchmarks/hostile.py                  # 10,000 cases, about half an hour on two cores
    python benchmarks/hostile.py --cases 500 --only video --seed 3

Writes ``results/hostile.json``: the longest call against the limit, with the number of cases and the largest growth.
Ends with status 1 where something else than a sentence came out.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

from benchmarks.results import record, versions  # noqa: E402
from tests.support.fuzz import READERS, attempt  # noqa: E402

SECONDS, MEGABYTES, HANGS = 5.0, 200, 60
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> float:
    """MB, since :func:`reset`; 0 where it is not told."""
    return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) / 1024 if STATUS.exists() else 0.0


def reset() -> float:
    if CLEAR.exists():
        CLEAR.write_text("5")
    return peak()


class Count:
    """What a reader's cases took, and what went wrong."""

    def __init__(self) -> None:
        self.cases, self.seconds, self.megabytes = 0, 0.0, 0.0
        self.raw: dict[str, str] = {}

    def read(self, read: Any, content: Any) -> None:
        before, begun = reset(), time.monotonic()
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            attempt(read, content)
        except Exception as error:  # what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.raw.setdefault(
                f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}", str(error)[:200]
            )
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.cases += 1
        spent, grown = time.monotonic() - begun, peak() - before
        if spent > SECONDS or grown > MEGABYTES:
            self.raw.setdefault(f"{spent:.1f} s, {grown:.0f} MB", repr(content)[:200])
        self.seconds, self.megabytes = max(self.seconds, spent), max(self.megabytes, grown)


def run(kind: str, cases: int, number: int) -> Count:
    content, read = READERS[kind]
    count = Count()

    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(content)
    def check(given: Any) -> None:
        count.read(read, given)

    check()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--only", default="", help="readers with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    kinds = [kind for kind in READERS if options.only in kind]
    found = {}
    for kind in kinds:
        run(kind, 2, options.seed)  # imports
        count = found[kind] = run(kind, -(-options.cases // len(kinds)), options.seed)
        print(
            f"{kind:16} {count.cases:5} cases, longest {count.seconds:.2f} s, most {count.megabytes:.0f} MB", flush=True
        )
        for what, example in count.raw.items():
            print(f"    {what}: {example}", flush=True)
    cases, raw = sum(each.cases for each in found.values()), sum(len(each.raw) for each in found.values())
    record(
        "hostile",
        max(each.seconds for each in found.values()),
        SECONDS,
        peer_name="the limit of a call",
        versions=versions("av", "numpy", "safetensors", "torch", "pydantic", "hypothesis"),
        write=not options.only and cases >= 10_000,
        cases=cases,
        raw_errors=raw,
        most_megabytes=round(max(each.megabytes for each in found.values())),
    )
    return 1 if raw else 0


if __name__ == "__main__":
    raise SystemExit(main())
