"""Kernels compiled in the background."""

import threading

import torch

from wan_animate.kernels import compile_ahead as ahead


def test_without_a_card_nothing_is_begun():
    before = threading.active_count()
    ahead.start("nothing", torch.device("cpu"), [lambda: 1 / 0])
    ahead.finish("nothing")
    assert threading.active_count() == before and "nothing" not in ahead._started


def test_compilations_run_side_by_side_and_are_waited_for(monkeypatch):
    """On a pretended CUDA device; failed compilations are left to the launch."""
    done, gate = [], threading.Barrier(2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: _Nothing())
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 4)

    class Kernel:
        @property
        def run(self):
            done.append("launcher")

    def one():
        gate.wait(20)  # passes only when two are at it
        done.append(1)
        return Kernel()

    ahead.start("two", torch.device("cuda"), [one, one, lambda: 1 / 0])
    ahead.start("two", torch.device("cuda"), [lambda: done.append("again")])
    ahead.finish("two")
    assert sorted(map(str, done)) == ["1", "1", "launcher", "launcher"], "Triton builds a launcher when it is asked for"


class _Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
