"""ONNX files whose answer is known, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

from demo.small_onnx import save_detector, save_pose


def known_answer_files(folder: Path, batch: int | None = None) -> tuple[Path, Path]:
    """A detector and a pose graph that find the dancer; ``batch`` = the one size they take."""
    name = "any" if batch is None else batch
    detector, pose = folder / f"detector_{name}.onnx", folder / f"pose_{name}.onnx"
    save_detector(detector, batch=batch)
    save_pose(pose, batch=batch)
    return detector, pose
