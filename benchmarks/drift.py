"""How far colours drift over 20 and 60 segments, and whether light that changes is kept.

A stand-in denoiser (``tests/support/drift.py``) goes on in the colours of the previous frames and adds a known error to
every segment: gain 1.5 %, warm 1 %, gamma 1.02, contrast 1.02, these together, or a random walk of them; through the
real ``generate`` with a VAE stand-in that packs pixels, and once with one that blurs, adds noise and rounds. Scenes
stand still or move, in both modes; an error alone runs over 20 segments and without the peers. Measured is the mean
CIEDE2000 of the still regions, first frame to last, of 8-bit pixels; with loss, of means over 8x8 pixels away from
edges, beside what the loss alone does.

The peers' ways, by formula, each fed forward and shown as theirs is: linear optimal transport (Monge-Kantorovich) of
every frame to the first one, and mean and deviation in Lab to the first one; to the reference as well in animate, where
the reference is the first frame.

Light: a ramp, one as slow as a drift, a flash, a shade that crosses the picture, a cut to another scene, while the
errors go on. Kept is 1 - mean |result - truth| / mean |truth - first frame|, over the pixels and frames that the light
changes.

Writes ``results/drift_delta_e.json`` and with ``--sheet`` a contact sheet. ``--small``: 6 segments, few cases.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for tests.support; install() takes it off
from demo import importing  # noqa: E402

importing.install()
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import color_formulas, results  # noqa: E402
from tests.support.drift import (  # noqa: E402
    ERRORS,
    DriftingDenoiser,
    PackingVAE,
    World,
    errors_of,
)
from wan_animate.chain.generate import generate  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.color.anchors import Scene  # noqa: E402
from wan_animate.color.cells import cell_size, cells, flatness  # noqa: E402
from wan_animate.color.delta_e import mean_delta_e  # noqa: E402
from wan_animate.color.drift import DriftCorrection  # noqa: E402

LENGTH, PREVIOUS = 9, 1
STEP = LENGTH - PREVIOUS
DEFAULT = "anchor"
Match = Callable[[np.ndarray], np.ndarray]


# ---------------------------------------------------------------- the peers' ways


def to_first(match: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Match:
    """Every frame matched to the first frame of the first segment."""
    first: list[np.ndarray] = []

    def matched(frames: np.ndarray) -> np.ndarray:
        if not first:
            first.append(frames[0].copy())
            return frames
        return np.stack([match(frame, first[0]) for frame in frames])

    return matched


PEERS = {
    "mkl to the first frame": color_formulas.transport,
    "mean and deviation to the first frame": color_formulas.mean_and_deviation,
}
WAYS = ("off", "previous", "anchor", *PEERS)


# ---------------------------------------------------------------- runs


@dataclass
class Run:
    """What one job gave: Delta E after each segment, seconds, and frames for the sheet."""

    delta_e: list[float]
    seconds: float
    kept: float = 1.0
    shown: list[np.ndarray] = field(default_factory=list)


def run(
    way: str,
    mode: str,
    error: str,
    segments: int,
    moves: bool = False,
    loss: bool = False,
    grows: bool = False,
    show: tuple[int, ...] = (),
    **light: Any,
) -> Run:
    """One job, ``way`` of :data:`WAYS`."""
    world = World(segments * STEP + PREVIOUS, moves, **light)
    vae = PackingVAE(loss, to_first(PEERS[way]) if way in PEERS else None)
    settings = dict(segment_length=LENGTH, previous_frames=PREVIOUS, color="off" if way in PEERS else way)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        denoiser = DriftingDenoiser(world, errors_of(error), vae, grows)
        clip = generate(world.job(mode, **settings), denoiser, vae, SegmentStore(Path(folder) / "job"))
        seconds = time.perf_counter() - start
        first = (lambda frames, _: frames) if grows else errors_of(error)(0)

        def truth(at: int) -> np.ndarray:
            return np.clip(first(world.frame(at), 1.0), 0, 1).astype(np.float32)

        def shown(at: int) -> np.ndarray:
            return (clip.read(at, at + 1)[0] / np.float32(255)).astype(np.float32)

        ends = [(index + 1) * STEP + PREVIOUS - 1 for index in range(segments)]
        still = world.still()
        if light:
            found = Run([], seconds, kept(world, truth, shown, still))
        elif loss:
            found = Run([coarse_delta_e(shown(at), truth(at), still) for at in ends], seconds)
        else:
            found = Run([mean_delta_e(shown(at), truth(at), still) for at in ends], seconds)
        found.shown = [shown(ends[at - 1]) for at in show]
        clip.close()
    return found


def coarse_delta_e(frame: np.ndarray, true: np.ndarray, still: np.ndarray) -> float:
    one, other, where = cells([frame], 8), cells([true], 8), cells([still.astype(np.float32)], 8)
    return mean_delta_e(one, other, (where == 1) & (flatness(other) > 0.1))


def kept(world: World, truth: Callable, shown: Callable, still: np.ndarray) -> float:
    first, off, size = truth(0), 0.0, 0.0
    for at in range(world.count):
        true = truth(at)
        changed = (np.abs(true - first).max(axis=-1) > 0.02) & still
        off += float(np.abs(shown(at) - true)[changed].sum())
        size += float(np.abs(true - first)[changed].sum())
    return 1 - off / size


def lights(width: int, height: int) -> dict[str, dict]:
    """Light that changes, over 6 segments: factors by frame."""
    whole = 6 * STEP

    def shade(at: int) -> np.ndarray:
        across = np.arange(width)[None, :, None] / width
        way = -0.6 + 2.2 * at / whole
        return (1 - 0.45 / (1 + np.exp(-(0.3 - np.abs(across - way)) * 25))).astype(np.float32)

    return {
        "ramp": {"light": lambda at: float(np.interp(at, [STEP, 4.5 * STEP], [1.0, 0.5]))},
        "slow ramp": {"light": lambda at: float(np.interp(at, [STEP, whole], [1.0, 0.85]))},
        "flash": {"light": lambda at: 0.6 + 0.4 * float(3 * STEP + 3 <= at < 3 * STEP + 6)},
        "shade": {"light": shade},
        "cut": {"cut": 2 * STEP + 5},
    }


def seconds_a_segment(frames: int = 77, width: int = 832, height: int = 464) -> dict[str, float]:
    """Of correcting one segment, median of 5, cells of the background included: elapsed, and of CPU time."""
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.uniform(0.1, 0.8, (12, 20, 3)).astype(np.float32), (width, height))
    clean = torch.from_numpy(np.repeat(base[None], frames, axis=0))
    source, mask = (clean.numpy() * 255).astype(np.uint8), np.zeros((frames, height, width), np.uint8)
    mask[:, 100:400, 350:450] = 255
    found = {}
    for mode, replace in (("previous", False), ("anchor, animate", False), ("anchor, replace", True)):
        drift = DriftCorrection(mode.split(",")[0], replace, width, height)
        times: list[tuple[float, float]] = []
        for index in range(6):
            made = (clean * 1.015).clamp_(0, 1)
            start, busy = time.perf_counter(), time.process_time()
            scene, known = None, PREVIOUS if index else 0
            if replace:
                numbers, size = drift.samples(frames, known), cell_size(width, height)
                scene = Scene(*(cells((one[at] for at in numbers), size) for one in (source, mask)))
            drift.correct(made, clean[:PREVIOUS] if index else None, scene)
            times.append((time.perf_counter() - start, time.process_time() - busy))
        elapsed, spent = np.median(times[1:], axis=0)
        found[mode], found[f"{mode}, CPU"] = round(float(elapsed), 3), round(float(spent), 3)
    return found


# ---------------------------------------------------------------- the bench


def table(title: str, rows: dict[str, list[float]], heads: list[str]) -> None:
    print(f"\n{title}\n{'':44}" + "".join(f"{head:>12}" for head in heads))
    for name, values in rows.items():
        print(f"{name:44}" + "".join(f"{value:12.2f}" for value in values), flush=True)


SHOWN = ("animate", "together", True)  # the case of the sheet


def drift_cases(small: bool) -> list[tuple[str, str, bool]]:
    """(mode, error, moves); every error alone, together and walking."""
    cases = [SHOWN, ("replace", "walk", False)]
    if small:
        return cases
    alone = [error for error in ERRORS if error != "together"]
    cases += [("animate" if at % 2 else "replace", error, at % 4 > 1) for at, error in enumerate(alone)]
    return [*cases, ("replace", "together", False)]


def main(small: bool, sheet: str | None) -> None:
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", 2))))
    at, columns = ((6,), (1, 3, 6)) if small else ((20, 60), (1, 5, 10, 20))
    heads = [f"{count} segments" for count in at]
    worst = {way: np.zeros(len(at)) for way in WAYS}
    cases, pictures = {}, {}
    for case in drift_cases(small):
        mode, error, moves = case
        rows = {}
        alone = error not in ("together", "walk")
        lengths = at[:1] if alone else at
        for way in WAYS[:3] if alone else WAYS:
            found = run(way, mode, error, lengths[-1], moves, show=columns if case == SHOWN else ())
            if case == SHOWN and way != "previous":
                pictures[way] = found.shown
            rows[way] = [found.delta_e[count - 1] for count in lengths]
            worst[way][: len(lengths)] = np.maximum(worst[way][: len(lengths)], rows[way])
        name = f"{mode}, {error}, {'moving' if moves else 'still'}"
        cases[name] = {way: [round(v, 3) for v in values] for way, values in rows.items()}
        table(f"mean CIEDE2000, {name}", rows, heads)
    table("the worst case", {way: list(values) for way, values in worst.items()}, heads)

    count = 6 if small else 20
    lossy, growing = {}, {}
    for mode in ("animate", "replace"):
        loss = run("off", mode, "none", count, loss=True).delta_e[-1]
        lossy[mode] = {"the loss alone": loss} | {
            way: run(way, mode, "together", count, loss=True).delta_e[-1] for way in ("off", DEFAULT, *list(PEERS)[:1])
        }
        growing[mode] = {way: run(way, mode, "together", count, grows=True).delta_e[-1] for way in WAYS[:3]}
        table(f"{mode}, VAE with loss, {count} segments", {n: [v] for n, v in lossy[mode].items()}, ["Delta E"])
        table(f"{mode}, error grows in the segment", {n: [v] for n, v in growing[mode].items()}, ["Delta E"])

    light = {}
    changes = lights(World(1).width, World(1).height).values()
    for mode in ("replace", "animate"):
        rows = {}
        for way in WAYS[1:]:
            rows[way] = [100 * run(way, mode, "together", 6, **change).kept for change in changes]
        light[mode] = {way: [round(v, 1) for v in values] for way, values in rows.items()}
        table(f"{mode}: light kept, percent", rows, list(lights(16, 16)))

    cost = seconds_a_segment()
    print(f"\nseconds a segment of 77 frames at 832x464: {cost}")
    best = min(PEERS, key=lambda way: float(worst[way][0]))
    results.record(
        "drift_delta_e",
        float(worst[DEFAULT][0]),
        float(worst[best][0]),
        peer_name=f"{best}, the better of the peers' ways; the worst case of each, {at[0]} segments",
        unit="CIEDE2000, mean of the still regions, first frame to last",
        versions=results.versions("numpy", "torch", "cv2"),
        digits=3,
        write=not small,
        segments=list(at),
        worst={way: [round(float(v), 3) for v in values] for way, values in worst.items()},
        cases=cases,
        with_loss={mode: {way: round(v, 3) for way, v in values.items()} for mode, values in lossy.items()},
        growing={mode: {way: round(v, 3) for way, v in values.items()} for mode, values in growing.items()},
        light_kept_percent={"of": list(lights(16, 16)), **light},
        seconds_a_segment=cost,
    )
    if sheet:
        write_sheet(sheet, pictures, columns)


def write_sheet(path: str, pictures: dict[str, list[np.ndarray]], at: tuple[int, ...]) -> None:
    """Rows: ways; columns: the last frame of some segments."""
    rows = []
    for way, frames in pictures.items():
        shown = [(frame * 255).round().astype(np.uint8) for frame in frames]
        row = np.concatenate([np.pad(frame, ((0, 4), (0, 4), (0, 0)), constant_values=255) for frame in shown], axis=1)
        band = np.full((16, row.shape[1], 3), 255, np.uint8)
        cv2.putText(band, way, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(np.concatenate([band, row]))
    top = np.full((16, rows[0].shape[1], 3), 255, np.uint8)
    for column, count in enumerate(at):
        x = column * (rows[0].shape[1] // len(at)) + 2
        cv2.putText(top, f"segment {count}", (x, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.imwrite(path, np.concatenate([top, *rows])[..., ::-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--sheet", help="a PNG to write")
    given = parser.parse_args()
    main(given.small, given.sheet)
