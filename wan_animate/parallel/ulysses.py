"""Ulysses attention between threads: heads are exchanged in groups, the next while one computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from .meeting import Meeting
from .partition import Layout

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]


class Member:
    """One thread's part in a group.

    Args:
        rank: its place in the group.
        devices: of all members.
        check: called while waiting and once an attention; raises to end the group.
    """

    def __init__(
        self, rank: int, devices: tuple[torch.device, ...], meeting: Meeting, check: Callable[[], None] | None = None
    ) -> None:
        self.rank, self.devices, self.meeting, self.check = rank, devices, meeting, check
        self.device = devices[rank]
        self._round = 0
        self._copies = _Copies(devices, rank)

    def attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, layout: Layout, attend: Attend
    ) -> torch.Tensor:
        """Self-attention of all tokens.

        Args:
            q, k, v: of this member's tokens, ``[batch, tokens, heads * width]``.
            heads: of all members.
            attend: attention of some heads over all tokens: ``attend(q, k, v, heads)``, each
                ``[batch, length, heads * width]`` with rows that need not be dense.

        Returns:
            ``[batch, tokens, heads * width]``, of this member's tokens.

        Raises:
            Stopped: the group ended.
        """
        if self.check is not None:
            self.check()
        self._round += 1
        width, own = q.shape[-1] // heads, layout.tokens[self.rank]
        others = [(self.rank + step) % layout.size for step in range(1, layout.size)]

        sent = {
            (member, group): _columns(q, k, v, part, width)
            for member in others
            for group, part in enumerate(layout.head_groups(member))
        }
        groups = layout.head_groups(self.rank)
        gathered = [q.new_empty(q.shape[0], layout.length, 3 * len(part) * width) for part in groups]
        for whole, part in zip(gathered, groups):
            whole[:, own.start : own.stop].copy_(_columns(q, k, v, part, width))
        self._put("qkv", sent)
        del sent

        ready = self._copies.mark()  # the places to copy to are free from here on
        sources = {member: self._take("qkv", member) for member in others}
        arrived = []
        for group, whole in enumerate(gathered):
            for member in others:
                tokens, (values, event) = layout.tokens[member], sources[member]
                self._copies.copy(values[self.rank, group], event, whole[:, tokens.start : tokens.stop], member, ready)
            arrived.append(self._copies.marks())
        del sources

        for group, part in enumerate(groups):
            self._copies.wait(arrived[group])
            q, k, v = gathered[group].chunk(3, dim=-1)
            out = attend(q, k, v, len(part))
            del q, k, v
            gathered[group] = out  # frees what was gathered
            self._put(("out", group), out)
        return self._collect(gathered, others, layout, width)

    def _collect(self, computed: list[torch.Tensor], others: list[int], layout: Layout, width: int) -> torch.Tensor:
        """This member's rows of every head's output, in the order of the heads."""
        own, batch = layout.tokens[self.rank], computed[0].shape[0]
        rows: dict[tuple[int, int], torch.Tensor] = {
            (self.rank, group): out[:, own.start : own.stop] for group, out in enumerate(computed)
        }
        for member in others:
            for group, part in enumerate(layout.head_groups(member)):
                rows[member, group] = computed[0].new_empty(batch, len(own), len(part) * width)
        ready = self._copies.mark()
        for group in range(max(len(layout.head_groups(member)) for member in range(layout.size))):
            for member in others:
                if (member, group) in rows:
                    out, event = self._take(("out", group), member)
                    self._copies.copy(out[:, own.start : own.stop], event, rows[member, group], member, ready)
        self._copies.wait(self._copies.marks())
        return torch.cat([rows[key] for key in sorted(rows)], dim=-1)

    def give(self, what: str, value: torch.Tensor) -> None:
        """For :meth:`receive` of the first member."""
        self.meeting.put((what, self.rank), (value, self._copies.mark()), 1)

    def receive(self, what: str, member: int) -> torch.Tensor:
        """What ``member`` gave, on this member's device."""
        value, event = self.meeting.take((what, member), self.check)
        self._copies.wait([event])
        return value.to(self.device)

    def _put(self, what: Any, value: Any) -> None:
        key = (self._round, what, self.rank)
        self.meeting.put(key, (value, self._copies.mark()), len(self.devices) - 1)

    def _take(self, what: Any, member: int) -> Any:
        return self.meeting.take((self._round, what, member), self.check)


def _columns(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: range, width: int) -> torch.Tensor:
    """q, k and v of some heads side by side, dense: one copy takes them all."""
    start, stop = heads.start * width, heads.stop * width
    return torch.cat((q[..., start:stop], k[..., start:stop], v[..., start:stop]), dim=-1)


class _Copies:
    """Copies from the other members' devices, on streams of their own; on a CPU at once."""

    def __init__(self, devices: tuple[torch.device, ...], rank: int) -> None:
        self.on_cards = all(device.type == "cuda" for device in devices)
        self.device = devices[rank]
        if self.on_cards:
            # torch copies on the current stream of the source's device and lets that of the target's device wait.
            self.inbox = torch.cuda.Stream(devices[rank])
            self.streams = [torch.cuda.Stream(device) for device in devices]

    def mark(self) -> Any:
        """An event behind what this thread has queued for its device."""
        return torch.cuda.current_stream(self.device).record_event() if self.on_cards else None

    def copy(self, source: torch.Tensor, filled: Any, target: torch.Tensor, member: int, free: Any) -> None:
        """Copies when the source is ``filled`` and the target ``free``."""
        if not self.on_cards:
            target.copy_(source)
            return
        stream = self.streams[member]
        stream.wait_event(filled)
        stream.wait_event(free)
        with ExitStack() as stack:
            stack.enter_context(torch.cuda.stream(self.inbox))
            stack.enter_context(torch.cuda.stream(stream))
            target.copy_(source, non_blocking=True)
        source.record_stream(stream)  # its owner does not reuse the memory before the copy is done

    def marks(self) -> list[Any]:
        """Events behind the copies so far."""
        return [stream.record_event() for stream in self.streams] if self.on_cards else []

    def wait(self, events: list[Any]) -> None:
        """Lets this thread's device wait."""
        for event in events:
            if event is not None:
                torch.cuda.current_stream(self.device).wait_event(event)
