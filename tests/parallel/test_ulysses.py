"""Partition, exchange and threads by themselves."""

import threading
import time

import pytest
import torch
import torch.nn.functional as F

from wan_animate.errors import InputError
from wan_animate.parallel.meeting import Meeting, Stopped
from wan_animate.parallel.partition import even_ranges, frames_of, layout
from wan_animate.parallel.team import MemberError, Team
from wan_animate.parallel.ulysses import Member

CPU = torch.device("cpu")
WIDTH = 8


def attend(q, k, v, heads):
    q, k, v = (part.unflatten(-1, (heads, WIDTH)).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("heads", [4, 5, 10])
@pytest.mark.parametrize("members, groups", [(1, 1), (2, 1), (2, 3), (3, 2), (4, 4)])
def test_every_head_sees_every_token(members, groups, heads):
    """Whatever divides or not, a batch of two, twice in a row."""
    q, k, v = (torch.randn(2, 23, heads * WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    team, parts = Team([CPU] * members), layout(23, heads, members, groups)
    seen = []

    def some(q, k, v, count):
        seen.append(count)
        return attend(q, k, v, count)

    def task(rank):
        member, own = Member(rank, (CPU,) * members, team.meeting), parts.tokens[rank]
        given = [part[:, own.start : own.stop] for part in (q, k, v)]
        return [member.attention(*given, heads, parts, some) for _ in range(2)]

    outs = team.run([lambda rank=rank: task(rank) for rank in range(members)])
    assert team.close()
    for turn in range(2):
        whole = torch.cat([out[turn] for out in outs], dim=1)
        torch.testing.assert_close(whole, attend(q, k, v, heads))
    assert sum(seen) == 2 * heads and len(seen) == 2 * sum(len(parts.head_groups(rank)) for rank in range(members))
    assert not team.meeting._values, "everything was taken"


def test_parts_are_even_and_know_their_frames():
    for count in range(1, 30):
        for parts in range(1, count + 1):
            ranges = even_ranges(count, parts)
            assert [at for part in ranges for at in part] == list(range(count))
            assert {len(part) for part in ranges} <= {count // parts, count // parts + 1}
    for tokens, expected in (
        (range(0, 30), (0, 2, 0, 0)), (range(7, 15), (0, 1, 7, 0)), (range(14, 31), (0, 3, 14, 14)),
        (range(16, 20), (1, 2, 1, 10)),
    ):  # fmt: skip
        found = frames_of(tokens, 15)
        assert (found.start, found.stop, found.before, found.after) == expected


def test_what_cannot_be_shared_is_said():
    with pytest.raises(InputError, match="40 attention heads, which 41 cards cannot share: .* 1, 2, 4, 5, 8, 10"):
        layout(100, 40, 41)
    with pytest.raises(InputError, match="a video of 3 tokens cannot be split over 4 cards"):
        layout(3, 40, 4)


def test_an_error_wakes_those_who_wait():
    team = Team([CPU] * 3)
    woken = []

    def waits():
        try:
            team.meeting.take("never")
        except Stopped:
            woken.append(time.monotonic() - start)
            raise

    def fails():
        raise ValueError("no more memory.")

    start = time.monotonic()
    with pytest.raises(
        MemberError, match=r"^card 3 of 3 \(cpu\) failed .*\(ValueError: no more memory\): run it again"
    ):
        team.run([waits, waits, fails])
    assert len(woken) == 2 and max(woken) < 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("split")]


def test_the_callers_check_ends_a_wait():
    class Cancel(Exception):
        pass

    def cancel():
        raise Cancel

    team = Team([CPU] * 2, passed=(Cancel,))
    with pytest.raises(Cancel):
        team.run([lambda: team.meeting.take("never", cancel), lambda: team.meeting.take("never")])
    with pytest.raises(Stopped):
        team.meeting.put("late", 1, 1)


def test_a_value_that_never_comes():
    meeting = Meeting(timeout=0.3)
    with pytest.raises(Stopped, match="nothing came from another card for 0.3 seconds"):
        meeting.take("never")
    assert isinstance(meeting.error, TimeoutError)


def test_members_work_as_their_caller_does():
    """In inference mode, or without gradients."""
    team = Team([CPU] * 2)

    def state():
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.inference_mode():
        inference = team.run([state, state])
    with torch.no_grad():
        without = team.run([state, state])
    assert inference[0] == inference[1] and without[0] == without[1] == (False, False)
    team.close()
