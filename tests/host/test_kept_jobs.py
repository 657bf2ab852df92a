"""Where Animate Character's jobs lie, what finds them again, and what removes them."""

from __future__ import annotations

import gc
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from .test_checks import animate  # noqa: F401  (a fixture)


@pytest.fixture
def jobs(pack_module, monkeypatch, tmp_path):
    """The pack's module, in an output folder of its own; one graph for all calls."""
    import folder_paths

    module = pack_module("nodes.host.jobs")
    monkeypatch.setattr(module, "model_signature", lambda *_: "one graph")
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    monkeypatch.delenv(module.LIMIT, raising=False)
    return module


def given(seed: int = 0) -> dict:
    pose = torch.rand(5, 48, 64, 3, generator=torch.Generator().manual_seed(1))
    return {"pose": pose, "reference_image": torch.full((1, 48, 64, 3), 0.5), "seed": seed}


def folders(jobs) -> set[str]:
    return {path.name for path in jobs.jobs_folder().iterdir()}


def test_a_finished_clip_is_found_again(animate, jobs, pack_nodes, monkeypatch):  # noqa: F811
    """As after a kill in a later node: nothing but the output folder is left. And once its files are gone, it is not
    taken from the host's cache."""
    import comfy.sample
    import folder_paths

    first = animate(**given())
    frames, clip = first.result[1].read(0, 5), Path(first.result[0].get_stream_source())
    written = clip.stat().st_mtime_ns
    assert clip.is_relative_to(jobs.jobs_folder())
    shutil.rmtree(folder_paths.get_temp_directory(), ignore_errors=True)
    monkeypatch.setattr(comfy.sample, "sample", None)
    again = animate(**given()).result
    assert (again[1].read(0, 5) == frames).all() and again[0].get_duration() > 0
    assert Path(again[0].get_stream_source()).stat().st_mtime_ns == written, "the mp4 is not written again either"
    node = pack_nodes["WanAnimateKitAnimate"]
    before = node.fingerprint_inputs()
    assert node.fingerprint_inputs(mode="animate") == before
    shutil.rmtree(jobs.jobs_folder())
    assert node.fingerprint_inputs() != before and node.fingerprint_inputs() == node.fingerprint_inputs()


def test_the_limit_holds_after_every_job_and_spares_what_is_in_use(animate, jobs, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setenv(jobs.LIMIT, "1KB")
    caplog.set_level("INFO")
    held = [animate(**given(seed)) for seed in (1, 2)]
    assert len(folders(jobs)) == 2 and "2 jobs are kept (0 of them stopped)" in caplog.text
    del held[0]
    gc.collect()
    jobs.clean_jobs()
    assert len(folders(jobs)) == 1 and "of finished or old jobs were removed in" in caplog.text
    assert held[0].result[1].read(0, 5).shape == (5, 48, 64, 3)


def test_a_disk_without_room_is_told_before_the_first_step(animate, jobs, monkeypatch):  # noqa: F811
    import comfy.sample

    monkeypatch.setattr(comfy.sample, "sample", None)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ValueError, match=r"the clip still needs about .* of disk \(segments .*, but 100 B are free"):
        animate(**given(4))
    assert not jobs.jobs_folder().exists(), "nor does it leave a folder"


def test_what_the_user_sets(jobs, monkeypatch, tmp_path):
    assert jobs.keeping() == jobs.Keeping()
    settings = tmp_path / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    names = {"Limit": 2.5, "FinishedDays": 1, "Days": 90}
    settings.write_text(json.dumps({f"WanAnimateKit.Jobs.{name}": value for name, value in names.items()}))
    assert jobs.keeping() == jobs.Keeping(2_500_000_000, 1, 90)
    monkeypatch.setenv(jobs.LIMIT, "100 GB")
    assert jobs.keeping().limit == 100 * 10**9
    monkeypatch.setenv(jobs.LIMIT, "0")
    assert jobs.keeping().limit is None
    monkeypatch.delenv(jobs.LIMIT)
    for text in (
        "",
        "[]",
        "[" * 100_000,
        '{"WanAnimateKit.Jobs.Limit": "much"}',
        '{"WanAnimateKit.Jobs.Limit": NaN}',
        "\xff",
    ):
        settings.write_text(text, encoding="latin-1")
        assert jobs.keeping() == jobs.Keeping()


def test_a_job_that_an_older_version_left_under_the_same_key_goes_on(jobs):
    former = Path(jobs.folder_paths.get_output_directory()) / jobs.FORMER_COMFYUI / "key"
    former.mkdir(parents=True)
    (former / "segments.json").write_text("{}")
    assert jobs.job_folder("key") == jobs.jobs_folder() / "key" and os.listdir(jobs.job_folder("key"))
    assert not former.parent.exists()
