"""What is on the disk of what the manifest lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .hashing import HashCache, sha256_of
from .manifest import ENDINGS, ModelFile, bytes_text

Folders = Mapping[str, Sequence[Path]]
"""Folder of the manifest -> where such files are looked for, the host's order."""

GOOD, UNHASHED, UNKNOWN, MISSING, PART, SIZE, CORRUPT, ELSEWHERE, RENAMED = (
    "good", "not hashed", "hash not known", "missing", "begun", "wrong size", "corrupt", "in another folder",
    "under another name",
)  # fmt: skip
USABLE = (GOOD, UNHASHED, UNKNOWN, RENAMED)
"""States in which a loader can take the file."""
HASH = ("no", "changed", "all")
"""No file is hashed; those whose hash is not kept; all."""


@dataclass(frozen=True)
class Found:
    """What is there of one file.

    Attributes:
        state: one of :data:`GOOD` and the others.
        path: of the file that was found, None if none.
        detail: what was found and what to do, a sentence; empty for what is good.
    """

    model: ModelFile
    state: str
    path: Path | None = None
    detail: str = ""

    @property
    def usable(self) -> bool:
        return self.state in USABLE


def own_folder(model: ModelFile, folders: Folders) -> Path:
    """Where a new file goes: of the folders of its kind the first that bears its name, else the first.

    Raises:
        InputError: there is none.
    """
    paths = folders.get(model.folder, ())
    if not paths:
        raise InputError(f"there is no folder for {model.folder}: name the models folder.")
    return next((path for path in paths if path.name == model.folder), paths[0])


def below(root: Path, kinds: Iterable[str]) -> Folders:
    """The folders of a ``models`` folder: ``root/<kind>``, and those under the names they had before."""
    former = {"diffusion_models": "unet", "text_encoders": "clip"}
    return {kind: [root / kind, *([root / former[kind]] if kind in former else [])] for kind in kinds}


@dataclass(frozen=True)
class _File:
    path: Path
    folder: str
    size: int


def check(
    models: Sequence[ModelFile],
    folders: Folders,
    hashing: str = "changed",
    cache: HashCache | None = None,
    report: Callable[[int, int, str], None] | None = None,
) -> list[Found]:
    """Looks for every file: by name and size, and by hash where that is asked for.

    Args:
        hashing: one of :data:`HASH`. Without, a file of the right size is ``not hashed`` unless its hash is kept.
        report: bytes hashed, bytes to hash, the file's name; raises to stop.
    """
    if hashing not in HASH:
        raise InputError(f"hash {hashing!r} is none of {', '.join(HASH)}: name one of them.")
    files = list(_files(folders))
    hashes = _Hashes(hashing, cache or HashCache(None), report)
    hashes.plan(_worth_hashing(models, files))
    return [_look(model, files, hashes, folders) for model in models]


class _Hashes:
    """Hashes as they are asked for, with progress over all of them."""

    def __init__(self, hashing: str, cache: HashCache, report: Callable[[int, int, str], None] | None) -> None:
        self._hashing, self._cache, self._report = hashing, cache, report
        self._made: dict[Path, str] = {}
        self._done = self._total = 0

    def plan(self, files: Iterable[_File]) -> None:
        if self._hashing != "no":
            self._total = sum(file.size for file in files if self._kept(file.path) is None)

    def of(self, path: Path) -> str | None:
        """None where it is not known and nothing is hashed."""
        found = self._kept(path)
        if found is None and self._hashing != "no":
            before = self._done

            def report(done: int, _total: int) -> None:
                self._done = before + done
                if self._report is not None:
                    self._report(self._done, max(self._total, self._done), path.name)

            found = sha256_of(path, report)
            self._cache.put(path, found)
            self._made[path] = found
        return found

    def _kept(self, path: Path) -> str | None:
        return self._made.get(path) or (None if self._hashing == "all" else self._cache.get(path))


def _files(folders: Folders) -> Iterator[_File]:
    """Weight files below the folders, each once, links followed."""
    seen: set[str] = set()
    for folder, roots in folders.items():
        for root in roots:
            for at, inner, names in os.walk(root, followlinks=True):
                real = os.path.realpath(at)
                if real in seen:
                    inner.clear()
                    continue
                seen.add(real)
                for name in sorted(names):
                    path = Path(at, name)
                    if path.suffix.lower() in ENDINGS and path.is_file():
                        yield _File(path, folder, path.stat().st_size)


def _named(model: ModelFile, files: Iterable[_File]) -> list[_File]:
    return [file for file in files if file.folder == model.folder and file.path.name == model.name]


def _others(model: ModelFile, files: Iterable[_File]) -> list[_File]:
    """Files that may be this one under another name: of its size, or of any where that is not known."""
    if model.sha256 is None:
        return []
    return [
        file
        for file in files
        if file.path.suffix == Path(model.name).suffix
        and (file.size == model.size if model.size is not None else file.folder == model.folder)
    ]


def _worth_hashing(models: Iterable[ModelFile], files: Sequence[_File]) -> list[_File]:
    found: dict[Path, _File] = {}
    for model in models:
        own = _named(model, files)
        right = [file for file in own if model.size in (None, file.size) and model.sha256]
        for file in right or ([] if own else _others(model, files)):
            found[file.path] = file
    return list(found.values())


def _look(model: ModelFile, files: list[_File], hashes: _Hashes, folders: Folders) -> Found:
    own = _named(model, files)
    if own:
        looks = [_judge(model, file, hashes) for file in own]
        return next((found for found in looks if found.usable), looks[0])
    return _search(model, files, hashes, folders)


def _judge(model: ModelFile, file: _File, hashes: _Hashes) -> Found:
    if model.size is not None and file.size != model.size:
        less = "cut short" if file.size < model.size else "another file"
        return Found(
            model,
            SIZE,
            file.path,
            f"{file.size} bytes, not {model.size}: {less}; fetch it again.",
        )
    if model.size is None and (fault := _fault(file.path)):
        return Found(model, CORRUPT, file.path, fault)
    if model.sha256 is None:
        return Found(model, UNKNOWN, file.path, f"{bytes_text(file.size)}; nobody says what its hash must be.")
    found = hashes.of(file.path)
    if found is None:
        return Found(model, UNHASHED, file.path)
    if found != model.sha256:
        doubt = "" if model.verified else ", which was not verified"
        return Found(
            model,
            CORRUPT,
            file.path,
            f"its sha256 is {found}, not {model.sha256}{doubt}: fetch it again.",
        )
    return Found(model, GOOD, file.path)


def _fault(path: Path) -> str | None:
    """What is wrong with a safetensors file whose size is not known, by its header."""
    from ..weights.header import read_header

    if path.suffix != ".safetensors":
        return None
    try:
        read_header(str(path))
    except InputError as error:
        return str(error)
    return None


def _search(model: ModelFile, files: list[_File], hashes: _Hashes, folders: Folders) -> Found:
    other = _others(model, files)
    same = next((file for file in other if hashes.of(file.path) == model.sha256), None)
    if same is not None and same.folder == model.folder:
        return Found(model, RENAMED, same.path, f"it is here as {same.path.name}, by its hash: choose that one.")
    if same is not None:
        return Found(
            model, ELSEWHERE, same.path, f"it is {same.path}, by its hash: move it to {own_folder(model, folders)}."
        )
    away = [file for file in files if file.path.name == model.name]
    if away:
        return Found(
            model, ELSEWHERE, away[0].path, f"it is in {away[0].path.parent}: move it to {own_folder(model, folders)}."
        )
    part = own_folder(model, folders) / f"{model.name}.part"
    if part.is_file():
        return Found(model, PART, part, f"{bytes_text(part.stat().st_size)} are here: fetch it again, it goes on.")
    unsure = [file.path.name for file in other if hashes.of(file.path) is None]
    detail = f"{', '.join(unsure)} may be it: hash it to be sure." if unsure else ""
    return Found(model, MISSING, None, detail)
