"""Memory that is used again, and never while anybody holds it."""

import gc
import threading

import numpy as np
import torch

from wan_animate.buffers import BufferPool


def place(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_part_of_it_is_gone():
    room = BufferPool()
    first = room.array((4, 3, 2))
    at, part = place(first), first[1:3, 0]
    del first
    second = room.array((4, 3, 2))
    assert place(second) != at
    del part
    assert place(room.array((4, 3, 2))) == at


def test_a_tensor_holds_it_too():
    room = BufferPool()
    held = torch.from_numpy(room.array((8, 8)))
    assert place(room.array((8, 8))) != held.data_ptr()
    at = held.data_ptr()
    del held
    gc.collect()
    assert at in {place(array) for array in [room.array((8, 8)), room.array((8, 8))]}


def test_a_smaller_array_takes_a_larger_place_and_only_so_much_is_kept():
    room = BufferPool(keep=2)
    arrays = [room.array((100,), np.uint8) for _ in range(5)]
    places = {place(array) for array in arrays}
    del arrays
    assert len(room._free) == 2
    assert place(room.array((60,), np.uint8)) in places
    room.array((10,), np.uint8)  # far too large for it
    room.array((1000,), np.uint8)
    room.clear()
    assert not room._free and room.array((0, 3)).shape == (0, 3)


def test_memory_that_cannot_be_locked_is_done_without(monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "empty", refused)
    room = BufferPool(pinned=True)
    room.array((4, 4))[:] = 1
    assert room.array((2, 2)).shape == (2, 2)


def test_threads_never_share_an_array():
    room, wrong = BufferPool(keep=8), []

    def work(number: int) -> None:
        for turn in range(300):
            array = room.array((64,), np.int64)
            array[:] = number * 1000 + turn
            if (array != number * 1000 + turn).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and not room._lent
