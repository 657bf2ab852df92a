"""Kernels compiled in the background."""

import threading

import pytest
import torch


@pytest.fixture(scope="module")
def ahead(pack_module):
    return pack_module("nodes.host.kernels.compile_ahead")


def test_every_kernel_that_the_vae_launches_is_known_before(pack_module, small_models, comfy, monkeypatch):
    import nodes

    kit = pack_module("nodes.host.vae")
    kernels, seen = kit.kernels, set()

    def noted(name, of):
        plain = getattr(kernels, name)

        def call(*args, **kwargs):
            seen.add((name, *of(*args, **kwargs)))
            return plain(*args, **kwargs)

        monkeypatch.setattr(kernels, name, call)

    noted("norm_silu", lambda x, gain, bias, out, silu=True: (x.shape[-1], bias is not None, silu))
    noted("norm_silu_folded", lambda x, gain, bias, out, past: (x.shape[-1], bias is not None, None))
    noted("add", lambda x, bias, residual: (x.shape[-1], bias is not None, residual is not None))
    noted(
        "upsample",
        lambda x, bias, out, pairs=False: (x.shape[-1] // (2 if pairs else 1), bias is not None, pairs),
    )
    vae = nodes.VAELoader().load_vae(small_models.vae.name)[0]
    fast = kit.accelerate_vae(vae)
    with torch.inference_mode():
        fast.decode(fast.encode(torch.rand(9, 32, 32, 3)))
    seen -= {one for one in seen if one[0] == "add" and not any(one[2:])}  # nothing to add: nothing is launched
    assert len(seen) > 12
    known = set(kernels.launches(vae.first_stage_model.dim))
    assert seen <= known, seen - known


def test_without_a_card_nothing_is_begun(ahead):
    before = threading.active_count()
    ahead.start("nothing", torch.device("cpu"), [lambda: 1 / 0])
    ahead.finish("nothing")
    assert threading.active_count() == before and "nothing" not in ahead._started


def test_compilations_run_side_by_side_and_are_waited_for(ahead, monkeypatch):
    """On a pretended CUDA device; failed compilations are left to the launch."""
    done, gate = [], threading.Barrier(2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: _Nothing())
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 4)

    def one():
        gate.wait(20)  # passes only when two are at it
        done.append(1)

    ahead.start("two", torch.device("cuda"), [one, one, lambda: 1 / 0])
    ahead.start("two", torch.device("cuda"), [lambda: done.append("again")])
    ahead.finish("two")
    assert done == [1, 1]


class _Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
