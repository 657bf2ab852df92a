"""What differs between a clip's record and another, or what is there now."""

from __future__ import annotations

from ..errors import InputError
from .clip_record import ClipRecord


def other_surroundings(then: ClipRecord, now: ClipRecord) -> list[str]:
    """Sentences on versions and cards that differ, with which frames may differ."""
    found = [
        f"{name} {now.versions.get(name, 'is missing')} here, {version} then"
        for name, version in then.versions.items()
        if now.versions.get(name) != version
    ]
    if then.device != now.device:
        found.append(f"made on {then.device}, and this is {now.device}")
    return found


SHOWN = ("frames", "segments", "first_segment")
"""Of a record's clip: what it shows follows from settings and inputs, and from segments that were finished before."""


def other_inputs(then: ClipRecord, now: ClipRecord, shown: bool = True) -> list[str]:
    """Settings, inputs and models that differ, in words; and, if ``shown``, the segments that the clips show."""
    found = [
        f"{name} is {now.settings.get(name, 'not set')!r}, and was {then.settings.get(name, 'not set')!r}"
        for name in sorted(then.settings.keys() | now.settings.keys())
        if then.settings.get(name) != now.settings.get(name)
    ]
    found += [
        f"the clip's {name.replace('_', ' ')} is {now.clip.get(name)}, and was {then.clip.get(name)}"
        for name in then.clip
        if then.clip.get(name) != now.clip.get(name) and (shown or name not in SHOWN)
    ]
    found += [
        f"the {name} is another (hash {short(now.inputs.get(name))}, and was {short(then.inputs.get(name))})"
        for name in sorted(then.inputs.keys() | now.inputs.keys())
        if then.inputs.get(name) != now.inputs.get(name)
    ]
    before, after = ({(one.part, one.hash): one.name for one in record.models} for record in (then, now))
    found += [f"{part}: {name} (hash {short(key)}) was used, and is not" for (part, key), name in before.items()
              if (part, key) not in after]  # fmt: skip
    found += [f"{part}: {name} (hash {short(key)}) is used, and was not" for (part, key), name in after.items()
              if (part, key) not in before]  # fmt: skip
    return found


def check_inputs(then: ClipRecord, now: ClipRecord) -> None:
    """Raises InputError if the model would be given something else than it was."""
    found = other_inputs(then, now, shown=False)
    if found:
        reasons = other_surroundings(then, now)
        why = f" (versions differ: {'; '.join(reasons)})" if reasons else ""
        raise InputError(f"the clip cannot be made again: {'; '.join(found)}{why}.")


def first_difference(then: ClipRecord, now: ClipRecord) -> int | None:
    """The first segment, from 0, whose frames differ; None if all frames are equal."""
    if then.frames == now.frames:
        return None
    pairs = zip(then.segments, now.segments)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(then.segments), len(now.segments)))


def frames_compared(then: ClipRecord, now: ClipRecord) -> str:
    """A sentence: the same frames, or where they begin to differ."""
    at = first_difference(then, now)
    if at is None:
        return f"the same {now.clip['frames']} frames, bit for bit (hash {then.frames})"
    return (
        f"other frames from segment {at + 1} of {len(then.segments)} on "
        f"(hash {short(now.frames)}, and was {short(then.frames)})"
    )


def short(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]
