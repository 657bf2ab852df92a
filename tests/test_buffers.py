"""Memory is reused, but never while referenced."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from wan_animate import buffers
from wan_animate.buffers import BufferPool


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_is_reused_when_the_last_view_is_gone():
    pool = BufferPool()
    first = pool.array((4, 3, 2))
    at, part = address(first), first[1:3, 0]
    del first
    second = pool.array((4, 3, 2))
    assert address(second) != at
    del part
    assert address(pool.array((4, 3, 2))) == at


def test_a_tensor_is_a_reference_too():
    pool = BufferPool()
    held = torch.from_numpy(pool.array((8, 8)))
    assert address(pool.array((8, 8))) != held.data_ptr()
    at = held.data_ptr()
    del held
    gc.collect()
    assert at in {address(array) for array in [pool.array((8, 8)), pool.array((8, 8))]}


def test_a_smaller_array_takes_a_larger_buffer_and_few_are_kept():
    pool = BufferPool(keep=2)
    arrays = [pool.array((100,), np.uint8) for _ in range(5)]
    addresses = {address(array) for array in arrays}
    del arrays
    assert pool.free == 2
    assert address(pool.array((60,), np.uint8)) in addresses
    pool.array((10,), np.uint8)  # far too large for it
    pool.array((1000,), np.uint8)
    pool.clear()
    assert pool.free == 0 and pool.array((0, 3)).shape == (0, 3)


def test_without_pinned_memory_it_goes_on_with_pageable(monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty", refused)
    pool = BufferPool(pinned=True)
    pool.array((4, 4))[:] = 1
    assert pool.array((2, 2)).shape == (2, 2)


def test_threads_never_share_an_array():
    pool, wrong = BufferPool(keep=8), []

    def work(number: int) -> None:
        for turn in range(300):
            array = pool.array((64,), np.int64)
            array[:] = number * 1000 + turn
            if (array != number * 1000 + turn).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and pool.in_use == 0


FREED = """
import gc, sys
import numpy as np
from wan_animate import buffers
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
if sys.argv[1] == "mapped":
    buffers.map_large_buffers()
for size in (6, 12, 24):  # by what is freed glibc raises the limit above which it maps
    np.ones(size << 20, np.uint8)
before, kept = resident(), []
large = []
for _ in range(24):
    large.append(np.ones(8 << 20, np.uint8))
    kept.append(np.ones(64 << 10, np.uint8))  # lies above it in the heap, and stays
for number in range(0, 24, 2):
    large[number] = None
del large[-1]
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists() or buffers._glibc() is None, reason="needs Linux with glibc")
def test_large_buffers_go_back_to_the_system():
    """Of 24 buffers of 8 MB, 12 are freed below others that stay."""
    held = {
        way: float(
            subprocess.run([sys.executable, "-c", FREED, way], capture_output=True, text=True, check=True).stdout
        )
        for way in ("mapped", "as glibc does it")
    }
    assert held["mapped"] < 110 < 180 < held["as glibc does it"]
