"""Which tokens and which attention heads a member of a group computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError


def even_ranges(count: int, parts: int) -> tuple[range, ...]:
    """``count`` items in consecutive parts that differ by one at most, the longer ones first."""
    size, rest = divmod(count, parts)
    starts = [part * size + min(part, rest) for part in range(parts + 1)]
    return tuple(range(start, stop) for start, stop in zip(starts, starts[1:]))


@dataclass(frozen=True)
class Frames:
    """The latent frames that a part of the tokens lies in.

    Attributes:
        start, stop: first frame, and the one after the last.
        before, after: tokens of these frames that belong to other parts.
    """

    start: int
    stop: int
    before: int
    after: int


def frames_of(tokens: range, per_frame: int) -> Frames:
    """The whole latent frames around ``tokens``, which may begin and end within one."""
    start, stop = tokens.start // per_frame, -(-tokens.stop // per_frame)
    return Frames(start, stop, tokens.start - start * per_frame, stop * per_frame - tokens.stop)


@dataclass(frozen=True)
class Layout:
    """A sequence over a group's members.

    Between attentions a member holds its tokens and all heads, within one all tokens and its heads (Ulysses,
    https://arxiv.org/abs/2309.14509). Neither tokens nor heads need divide evenly.

    Attributes:
        tokens, heads: ranges by member.
        groups: a member exchanges and computes its heads in so many groups, the next travelling while one computes.
    """

    tokens: tuple[range, ...]
    heads: tuple[range, ...]
    groups: int = 1

    @property
    def size(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return self.tokens[-1].stop

    def head_groups(self, member: int) -> tuple[range, ...]:
        """A member's heads by group; none is empty."""
        own = self.heads[member]
        parts = even_ranges(len(own), min(self.groups, len(own)))
        return tuple(range(own.start + part.start, own.start + part.stop) for part in parts)


def layout(tokens: int, heads: int, members: int, groups: int = 1) -> Layout:
    """The even :class:`Layout`. Raises InputError if a member would have nothing to do."""
    check_members(members, heads)
    if tokens < members:
        raise InputError(
            f"a video of {tokens} tokens cannot be split over {members} cards: make it larger, or take fewer cards."
        )
    return Layout(even_ranges(tokens, members), even_ranges(heads, members), groups)


def check_members(members: int, heads: int) -> None:
    """Raises InputError unless each member gets a head."""
    if not 1 <= members <= heads:
        raise InputError(
            f"this model has {heads} attention heads, which {members} cards cannot share: take 1 to {heads} cards, "
            f"best one of {', '.join(map(str, best_sizes(heads)))}."
        )


def best_sizes(heads: int, largest: int = 16) -> Sequence[int]:
    """Numbers of members that divide the heads."""
    return [size for size in range(1, min(heads, largest) + 1) if heads % size == 0]
