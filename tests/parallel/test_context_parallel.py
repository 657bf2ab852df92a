"""diffusers' Wan Animate over processes (gloo), and the shell's job on them."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from wan_animate import cli
from wan_animate.cli.launch import _free_port

from ..cli.test_options import inputs  # noqa: F401  (a fixture)

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    generator = torch.Generator().manual_seed(4)
    tensors = {}
    for layer in (f"blocks.{block}.self_attn.q" for block in range(6)):
        tensors[f"{layer}.lora_A.weight"] = torch.randn(4, 64, generator=generator) * 0.1
        tensors[f"{layer}.lora_B.weight"] = torch.randn(64, 4, generator=generator) * 0.3
    path = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("count, how, sizes", [(2, "shard", "0,1,3"), (4, "whole", "1")])
def test_processes_make_what_one_makes(lora, count, how, sizes):
    """With face, pose, LoRA and strengths, and rows that do not divide; each process compares."""
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    place |= {"CUDA_VISIBLE_DEVICES": ""}  # they meet by gloo, and one card would not do for all
    command = [sys.executable, "-m", "tests.parallel.diffusers_part", str(lora), how, sizes]
    running = [
        subprocess.Popen(
            command, env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * count, said
    assert all(text.count("e-0") + text.count("0.0e+00") == 2 * len(sizes.split(",")) for text in said), said


@pytest.fixture
def options(inputs, small_models):  # noqa: F811
    given = {**inputs, "models": small_models.diffusers, "steps": 1, "area": 96 * 64}
    return [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget", "--codec=ffv1", "--device=cpu"]


@pytest.fixture
def shell(options):
    """Lossless: x264 with AVX-512 is not deterministic, two encodings of the same frames were 1.18 levels apart."""

    def run(*arguments, out):
        return cli.main([*options, f"--out={out}", *arguments])

    return run


def frames(path):
    import av
    import numpy as np

    with av.open(str(path)) as clip:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]).astype(float)


def check_equal(one, two):
    """Within rounding."""
    import numpy as np

    assert one.shape == two.shape and one.std() > 10
    off = np.abs(one - two)
    assert off.max() <= 1 and off.mean() < 0.01, f"levels by frame: {off.mean(axis=(1, 2, 3)).round(3).tolist()}"


def test_torchrun_over_two_nodes(options, shell, tmp_path):
    """Two agents, as on two machines; the node that does not lead needs the models, and none of the clip's files."""
    own = [one for one in options if not one.startswith(("--video", "--image", "--track", "--prompt-file"))]
    gone = tmp_path / "gone"
    missing = [f"--{name}={gone}" for name in ("video", "image", "track", "prompt-file")]
    port = _free_port()
    running = [
        subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
                f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}",
                "-m", "wan_animate", "run", *(options if node == 0 else [*own, *missing]),
                f"--out={tmp_path / 'two.mkv' if node == 0 else gone / 'two.mkv'}",
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in (0, 1)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], said
    assert shell(out=tmp_path / "one.mkv") == 0
    check_equal(frames(tmp_path / "one.mkv"), frames(tmp_path / "two.mkv"))
    assert not gone.exists()


def test_the_shell_on_two_processes_and_one_that_dies(shell, tmp_path, monkeypatch, capsys):
    from wan_animate.backends.several import SplitTransformer
    from wan_animate.cli import launch

    started, popen = [], subprocess.Popen
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    call, calls = SplitTransformer.__call__, []

    def dying(self, **given):
        calls.append(1)
        if len(calls) == 1:
            started[-1].kill()
        return call(self, **given)

    with monkeypatch.context() as patch:
        patch.setattr(SplitTransformer, "__call__", dying)
        assert shell("--gpus=2", out=tmp_path / "two.mkv") == 2
    assert "the process of card 2 of 2 ended (code -9): run the same command again" in capsys.readouterr().err
    assert "WORLD_SIZE" not in os.environ and started[-1].poll() is not None
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    assert shell("--gpus=2", out=tmp_path / "two.mkv") == 0, "the same command goes on"
    assert shell(out=tmp_path / "one.mkv") == 0
    assert len(started) == 2 and [process.returncode for process in started] == [-9, 0]
    check_equal(frames(tmp_path / "one.mkv"), frames(tmp_path / "two.mkv"))


def test_two_processes_with_linear_layers_in_fp8(shell, tmp_path):
    """Rows are quantized by token, so that a part of the tokens gives a part of the whole; sums are rounded apart."""
    import numpy as np

    assert shell("--gpus=2", "--linears=fp8", out=tmp_path / "two.mkv") == 0
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    assert shell("--linears=fp8", out=tmp_path / "one.mkv") == 0
    assert shell(out=tmp_path / "exact.mkv") == 0
    one, two, exact = (frames(tmp_path / f"{name}.mkv") for name in ("one", "two", "exact"))
    assert np.abs(one - two).mean() < 0.2 * np.abs(one - exact).mean()
