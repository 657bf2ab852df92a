"""The choice of a card among several: no card is needed for it."""

import logging

import pytest
import torch

from wan_animate.parallel import roomiest
from wan_animate.parallel.roomiest import MORE, card_with_room, choose_card

GB = 1 << 30
FIRST, SECOND, THIRD = (torch.device("cuda", index) for index in range(3))


@pytest.mark.parametrize(
    "free, needed, chosen",
    [
        ({FIRST: 70 * GB}, 0, FIRST),
        ({}, 0, FIRST),
        ({FIRST: 40 * GB, SECOND: 79 * GB}, 0, SECOND),
        ({FIRST: 79 * GB, SECOND: 40 * GB}, 0, FIRST),
        ({FIRST: 40 * GB, SECOND: 50 * GB, THIRD: 60 * GB}, 0, THIRD),
        ({FIRST: 40 * GB, SECOND: 60 * GB, THIRD: 60 * GB}, 0, SECOND),
        ({FIRST: 40 * GB, SECOND: 40 * GB + MORE - 1}, 0, FIRST),
        ({FIRST: 40 * GB, SECOND: 40 * GB + MORE}, 0, SECOND),
        ({FIRST: 1 * GB, SECOND: 10 * GB}, 12 * GB, FIRST),
        ({FIRST: 1 * GB, SECOND: 12 * GB}, 12 * GB, SECOND),
        ({SECOND: 12 * GB}, 0, SECOND),
    ],
)
def test_the_card_with_the_most_memory(free, needed, chosen):
    assert roomiest.roomiest(free, FIRST, needed) == chosen


def test_a_tie_stays_with_the_own_card_whichever_that_is():
    assert roomiest.roomiest({FIRST: 5 * GB, SECOND: 5 * GB}, SECOND) == SECOND


@pytest.mark.parametrize("other, able", [("H100", True), ("A100", False), ("H200", False)])
def test_only_a_card_of_the_same_model_gives_the_same_numbers(other, able):
    names = {FIRST: "H100", SECOND: other}
    chosen = choose_card([FIRST, SECOND], FIRST, "SAM 2", {FIRST: GB, SECOND: 9 * GB}.get, names.get)
    assert chosen == (SECOND if able else FIRST)


def test_another_card_is_said_and_the_own_one_is_not(caplog):
    free = {FIRST: 10 * GB, SECOND: 60 * GB}
    with caplog.at_level(logging.INFO):
        assert choose_card(free, FIRST, "SAM 2", free.get, lambda card: "H100") == SECOND
        assert "SAM 2 runs on cuda:1, which has 64.4 GB free (cuda:0: 10.7 GB)." in caplog.text
        caplog.clear()
        assert choose_card(free, SECOND, "SAM 2", free.get, lambda card: "H100") == SECOND
        assert not caplog.records


def test_a_card_that_cannot_be_asked_is_left_out():
    def free(card):
        if card == SECOND:
            raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")
        return {FIRST: GB, THIRD: 9 * GB}[card]

    assert choose_card([FIRST, SECOND, THIRD], FIRST, "SAM 2", free, lambda card: "H100") == THIRD
    assert choose_card([FIRST, SECOND], FIRST, "SAM 2", free, lambda card: "H100") == FIRST
    assert choose_card([SECOND, FIRST, THIRD], SECOND, "SAM 2", free, lambda card: "H100") == SECOND


def test_one_card_or_another_kind_of_device_is_not_asked():
    def never(card):
        raise AssertionError("asked")

    for own, cards in ((FIRST, [FIRST]), (FIRST, []), (FIRST, ["cpu"]), ("cpu", ["cpu"]), ("mps", ["mps"])):
        own = torch.device(own)
        assert choose_card(map(torch.device, cards), own, "SAM 2", never, never) == own


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "cuda:1", "meta", "mps"])
def test_a_device_with_a_number_or_without_cards_stays(device):
    assert card_with_room(device, "SAM 2") == torch.device(device)


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="with several cards it depends on their memory")
def test_with_one_card_or_none_cuda_stays_cuda():
    assert card_with_room("cuda", "SAM 2") == torch.device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card: run it on one")
def test_a_real_card():
    card = torch.device("cuda", torch.cuda.current_device())
    assert 0 < roomiest.free_memory(card) <= torch.cuda.get_device_properties(card).total_memory


def test_cuda_without_a_number_on_two_cards(monkeypatch):
    """The cards stand for real ones; which is asked, and what is chosen, is real."""
    free = {FIRST: 3 * GB, SECOND: 30 * GB}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(roomiest, "free_memory", free.__getitem__)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: "A100")
    assert card_with_room("cuda", "SAM 2") == SECOND
    assert card_with_room("cuda", "SAM 2", needed=31 * GB) == torch.device("cuda")
    assert card_with_room("cuda:0", "SAM 2") == FIRST
    with monkeypatch.context() as several:  # each of several processes has a card of its own
        several.setenv("WORLD_SIZE", "2")
        several.setenv("MASTER_ADDR", "127.0.0.1")
        assert card_with_room("cuda", "SAM 2") == torch.device("cuda")
    free[FIRST] = 30 * GB
    assert card_with_room("cuda", "SAM 2") == torch.device("cuda")
