"""The list of weight files, ``models_manifest.json``."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..errors import InputError
from ..schema import Schema, read_json

FILE = "models_manifest.json"
OWN = "WAN_ANIMATE_MANIFEST"
"""Environment variable: another list, such as a studio's own."""
EVIDENCE = ("hub", "copy", "published", None)
ROLES = (
    "transformer", "vae", "text_encoder", "clip_vision", "person_detector", "pose_detector", "pose_detector_data",
    "segmenter", "relight_lora", "distill_lora", "sdpose", "sam3", "edit_model", "edit_text_encoder", "edit_vae",
    "interpolation", "upscaler",
)  # fmt: skip
ENDINGS = (".safetensors", ".onnx", ".bin", ".gguf")
_WINDOWS = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # names of devices, with any ending


class _Manifest(Schema):
    models: Annotated[list[Any], Field(min_length=1)]  # each by itself, so that an error names it


@dataclass(frozen=True)
class Source:
    """Where a file comes from: a repository of the Hugging Face hub and a path in it, or an address.

    Attributes:
        revision: branch, tag or commit of the repository.
    """

    repo: str | None = None
    path: str | None = None
    revision: str = "main"
    url: str | None = None

    @property
    def text(self) -> str:
        return self.url or f"https://huggingface.co/{self.repo}/resolve/{self.revision}/{self.path}"


@dataclass(frozen=True)
class ModelFile:
    """One weight file.

    Attributes:
        folder: below ComfyUI's ``models``.
        size: bytes; None where nobody could be found to say.
        size_about: the rounded size, in words.
        sha256: of the whole file; None where it is not known.
        evidence: who says that hash: ``hub``, the repository's own page or pointer; ``copy``, the pointer of a copy of
            the same name and size in another repository; ``published``, others who pinned it (not verified); None.
        optional: whether a clip can be made without any file of this role.
        default: the file of its role that the workflows name.
        weights: how a transformer is stored: ``bf16 fp8 int8 gguf``.
        loader: the node pack that reads it, where it is not this one.
        beside: names of files that have to lie beside it.
    """

    name: str
    role: str
    folder: str
    licence: str
    source: Source
    optional: bool
    size: int | None = None
    size_about: str | None = None
    sha256: str | None = None
    evidence: str | None = None
    default: bool = False
    weights: str | None = None
    loader: str | None = None
    beside: tuple[str, ...] = ()
    note: str = ""

    @property
    def verified(self) -> bool:
        """Whether the hash was seen at the hub."""
        return self.evidence in ("hub", "copy")

    @property
    def size_text(self) -> str:
        """``"34.5 GB"``"""
        if self.size is not None:
            return bytes_text(self.size)
        return f"about {self.size_about}" if self.size_about else "size not known"


def bytes_text(count: float) -> str:
    """``"34.5 GB"``, decimal as the hub writes it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


def manifest_path() -> Path:
    """That of :data:`OWN`, else beside the package in a checkout, else where the wheel puts it."""
    if own := os.environ.get(OWN):
        return Path(own)
    beside = Path(__file__).parents[2] / FILE
    return beside if beside.is_file() else Path(sysconfig.get_path("data")) / "share" / "wan-animate" / FILE


def read_manifest(path: Path | None = None) -> tuple[ModelFile, ...]:
    """All weight files.

    Raises:
        InputError: unreadable, or an entry that breaks the schema.
    """
    path = path or manifest_path()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the list of models {path} cannot be read ({error.strerror}): install the kit again."
        ) from None
    entries = read_json(text, _Manifest, f"the list of models {path}", "install the kit again").models
    models = tuple(_entry(each, at, path) for at, each in enumerate(entries))
    names = [model.name for model in models]
    twice = {name for name in names if names.count(name) > 1}
    lost = {name for model in models for name in model.beside} - set(names)
    for found, what in ((twice, "twice"), (lost, "beside another, but not by itself")):
        if found:
            raise InputError(f"the list of models {path} has {', '.join(sorted(found))} {what}: correct it.")
    return models


def _entry(entry: Any, at: int, path: Path) -> ModelFile:
    name = entry.get("name") if isinstance(entry, dict) else None
    try:
        return _checked(entry)
    except (ValueError, TypeError, KeyError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"the list of models {path}, entry {at + 1} ({name}): {what}; correct it.") from None


def _checked(entry: dict[str, Any]) -> ModelFile:
    known = {field.name for field in fields(ModelFile)}
    if unknown := sorted(set(entry) - known):
        raise ValueError(f"unknown field {unknown[0]}")
    source = Source(**entry["source"])
    model = ModelFile(**(entry | {"source": source, "beside": tuple(entry.get("beside", ()))}))
    check_name(model.name)
    check_name(model.folder)
    conditions = {
        "role": model.role in ROLES,
        "ending of the name": Path(model.name).suffix in ENDINGS,
        "size": model.size is None or (type(model.size) is int and model.size > 0),
        "sha256": model.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", model.sha256) is not None,
        "evidence": model.evidence in EVIDENCE and (model.evidence is None) == (model.sha256 is None),
        "licence": isinstance(model.licence, str) and bool(model.licence),
        "optional": isinstance(model.optional, bool) and isinstance(model.default, bool),
        "source": _source_is_valid(source),
    }
    for what, good in conditions.items():
        if not good:
            raise ValueError(f"{what} is not valid")
    return model


def _source_is_valid(source: Source) -> bool:
    if source.url is not None:
        return source.repo is None and re.match(r"https?://[^/\s]+/\S", source.url) is not None
    parts = (source.path or "").split("/")
    return bool(
        re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source.repo or "")
        and re.fullmatch(r"[\w.-]+", source.revision)
        and all(part not in ("", ".", "..") and not set(part) & set("\\:?#%\0") for part in parts)
    )


def check_name(name: str) -> None:
    """Raises ValueError unless ``name`` names a file or folder in the folder it is joined to, on any system."""
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][\w.+-]*", name, re.ASCII)
    if not plain or ".." in name or name.endswith(".") or _WINDOWS.match(name):
        raise ValueError(f"{name!r} is no plain name of a file or folder")


def named(models: Iterable[ModelFile], names: Iterable[str]) -> list[ModelFile]:
    """The files of these names, each with those that have to lie beside it.

    Raises:
        InputError: no such name; says those that are close.
    """
    from difflib import get_close_matches

    known = {model.name: model for model in models}
    found: dict[str, ModelFile] = {}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.4) or sorted(known)[:3]
            raise InputError(f"no model is called {name!r}: name one of the list, such as {', '.join(near)}.")
        for one in (name, *known[name].beside):
            found[one] = known[one]
    return list(found.values())
