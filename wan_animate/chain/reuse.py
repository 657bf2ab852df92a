"""Finished segments of other jobs, found by their keys and taken over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..files import replacing, sync
from ..log import get_logger
from .job_folder import FORMER, KEYS, MADE, VERSION, JobFolder
from .store import GO_ON, SegmentStore

log = get_logger(__name__)


def take_over(
    store: SegmentStore, keys: Sequence[str], folders: Iterable[str | os.PathLike], former: dict[int, str] | None = None
) -> list[int]:
    """Link the segments that other jobs have finished into a job's folder, which remembers its keys for others.

    Args:
        store: of the job.
        keys: of all its segments (:meth:`.generate.AnimateJob.segment_keys`).
        folders: of other jobs; what vanishes meanwhile is not taken.
        former: keys of the segments that are made again and fade back (:meth:`.generate.AnimateJob.former_keys`).

    Returns:
        The segments that were taken over.

    Raises:
        InputError: the folder cannot be written, or another process works in it and is not waited for.
    """
    with store.locked():
        return _take_over(store, keys, folders, former or {})


def _take_over(
    store: SegmentStore, keys: Sequence[str], folders: Iterable[str | os.PathLike], former: dict[int, str]
) -> list[int]:
    if store.keys() != {MADE: dict(enumerate(keys)), FORMER: former}:  # a finished job needs no space
        store.save_keys(dict(enumerate(keys)), former)
    taken, older = [], []
    for folder in sorted(map(Path, folders)):
        if folder == store.folder or not (folder / KEYS).is_file():
            continue
        other = JobFolder(folder)
        have = other.keys()
        if other.version < VERSION and other.has_frames(0):
            older.append(folder.name)
        for index, key in enumerate(keys):
            if store.has_frames(index) or have[MADE].get(index) != key or not other.has_frames(index):
                continue
            with suppress(_Gone):
                if other.tail_path(index).exists():
                    _link(other.tail_path(index), store.tail_path(index))
                _link(other.record_path(index), store.record_path(index))
                _link(other.frames_path(index), store.frames_path(index))
                taken.append(index)
        for index, key in former.items():
            for name, path, record in (
                (MADE, other.frames_path(index), other.record_path(index)),
                (FORMER, other.former_path(index), other.former_record_path(index)),
            ):
                if have[name].get(index) != key or store.has_former(index):
                    continue
                with suppress(_Gone):
                    _link(other.tail_path(index), store.tail_path(index))
                    _link(record, store.former_record_path(index))
                    _link(path, store.former_path(index))
    if older:
        log.warning(
            "%s in %s: of an older version, whose keys did not see every change of a model, so it is not gone on with; "
            "wan-animate jobs clear deletes it",
            ", ".join(older), store.folder.parent,
        )  # fmt: skip
    store.taken |= set(taken)
    return sorted(taken)


class _Gone(Exception):
    """A file of another job is not there any more."""


def _link(source: Path, target: Path) -> None:
    with replacing(target, "the finished segment", GO_ON, durable=False) as temporary:  # a link is on the disk already
        os.unlink(temporary)
        try:
            try:
                os.link(source, temporary)
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(source, temporary)
                sync(temporary)
        except FileNotFoundError as error:
            raise _Gone from error
