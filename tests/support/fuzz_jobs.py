"""Job folders that are nearly right, and everything that reads one."""

from __future__ import annotations

import functools
import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from wan_animate.chain.boundaries import Boundary
from wan_animate.chain.job_folder import record_text
from wan_animate.chain.job_list import find_jobs, find_leftovers, write_command
from wan_animate.chain.reuse import take_over
from wan_animate.chain.segments import SegmentPlan, plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.preview.color_report import ColorReport, draw_color_report

COUNT, SIZE, KEYS = 9, (16, 16), ["one", "two"]
MEASURED = {"color": {"previous": [2.5, 0.5], "anchor": [3.0, 1.0], "note": "one note"}}


def plan() -> SegmentPlan:
    return plan_segments(COUNT, 5, 1)


@functools.lru_cache
def job_files() -> dict[str, bytes]:
    """Of a finished job of two segments."""
    with tempfile.TemporaryDirectory() as name:
        store = SegmentStore(Path(name) / "job")
        store.save_keys(dict(enumerate(KEYS)), {1: "former"})
        for segment in plan():
            frames = np.full((segment.keep, *SIZE, 3), 40 * segment.index, np.uint8)
            tail = torch.zeros(1, *SIZE, 3) if segment.hands_over else None
            state = None if tail is None else {"anchor": torch.ones(3)}
            store.save(segment.index, frames, tail, Fraction(30), state, MEASURED)
        store.save_boundaries([Boundary(1, 5, 3.0, 1.0)])
        (store.folder / "clip.mp4").write_bytes(b"a clip")
        store.save_clip(store.folder / "clip.mp4", plan(), False)
        write_command(store.folder, {"command": "run", "options": {"out": "clip.mp4"}})
        return {path.name: path.read_bytes() for path in store.folder.iterdir()}


@st.composite
def job_folders(draw: Any, mutated_bytes: Any, mutated_values: Any, dumped: Any) -> dict[str, bytes]:
    """One or two files of a job changed: bytes of any, values of JSON, also under a hash that is right again."""
    files = dict(job_files())
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2)):
        how = draw(st.integers(0, 9))
        if how == 0:
            del files[name]
            if not files:
                break
        elif how <= 3 or not name.endswith(".json"):
            files[name] = draw(mutated_bytes(files[name]))
        else:
            changed = draw(mutated_values(_read(files[name])))
            if isinstance(changed, dict) and changed.pop("blake2b", None) and how <= 7:
                try:
                    files[name] = record_text(changed).encode(errors="surrogatepass")
                    continue
                except ValueError:  # an int of more digits than Python writes
                    pass
            files[name] = dumped(changed).encode(errors="surrogatepass")
        files.setdefault(name, b"")
    return files


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:  # changed before
        return {}


def read_job(files: dict[str, bytes]) -> None:
    """As a run that finds the folder, a second one that takes segments from it, and ``wan-animate jobs list``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "job"
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        jobs = find_jobs([name])
        [(job.name, job.state) for job in jobs]
        find_leftovers([name], 0)
        store = SegmentStore(folder)
        store.has_clip(folder / "clip.mp4", plan(), False)
        report = ColorReport.of(store.records(2))
        if report is not None:
            report.text()
            draw_color_report(report, 200, 150)
        [str(boundary) for boundary in store.boundaries() or []]
        other = SegmentStore(Path(name) / "other")
        taken = take_over(other, KEYS, [folder], {1: "former"})
        other.verify(plan())
        with store.locked():
            removed = store.verify(plan())
        whole = [segment for segment in plan() if store.is_whole(segment)]
        assert not {segment.index for segment in whole} & set(removed), "damaged, and still there"
        assert all(index in range(2) for index in taken)
        for segment in whole:  # what a run reads of it next
            assert store.clip([segment], Fraction(30)).read(0, segment.keep).shape == (segment.keep, *SIZE, 3)
            if segment.hands_over:
                assert store.tail(segment.index).shape == (1, *SIZE, 3)
                store.state(segment.index)
