"""What was found, in words and tables, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .check import CORRUPT, ELSEWHERE, MISSING, PART, SIZE, Folders, Found, own_folder
from .fit import fit, recommended
from .manifest import ModelFile, bytes_text
from .view import Cell, Link, Table, View

FAULTS = (SIZE, CORRUPT, ELSEWHERE, PART)
ROLES = {
    "transformer": "model",
    "vae": "VAE",
    "text_encoder": "text encoder",
    "clip_vision": "picture encoder",
    "person_detector": "person detector",
    "pose_detector": "pose detector",
    "pose_detector_data": "pose detector, its weights",
    "segmenter": "segmenter, for replace",
    "relight_lora": "relighting, for replace",
    "distill_lora": "4 to 6 steps",
    "sdpose": "pose, by ComfyUI's own nodes",
    "sam3": "masks, by ComfyUI's own nodes",
    "edit_model": "picture editing, for Edit Prompts",
    "edit_text_encoder": "picture editing, its text encoder",
    "edit_vae": "picture editing, its VAE",
    "interpolation": "more frames a second, by ComfyUI's own model",
    "upscaler": "larger frames, by ComfyUI's own model",
}
WHO = {
    "hub": "its source lists it",
    "copy": "a copy is listed at the hub",
    "published": "published, not verified: the hub's listing decides",
    None: "not known: the hub's listing decides",
}
UNVERIFIED = "unverified"
LEGEND = (
    f"{UNVERIFIED}: the list's hash was not seen at the file's source, or is not known; a download is held against the "
    "hub's own listing."
)


@dataclass(frozen=True)
class Report:
    """What is here for a card of ``vram`` bytes (0: not known)."""

    found: tuple[Found, ...]
    folders: Folders
    vram: int = 0

    def by_name(self, name: str) -> Found:
        return next(one for one in self.found if one.model.name == name)

    def works(self, model: ModelFile) -> bool:
        """Whether a loader can take the file, and those that have to lie beside it."""
        return all(self.by_name(name).usable for name in (model.name, *model.beside))

    def lacking(self, optional: bool = False) -> list[ModelFile]:
        """Of each needed (or optional) role without any file the recommended one, with those beside it."""
        models = [one.model for one in self.found]
        have = {one.model.role for one in self.found if self.works(one.model)}
        lack = {
            role
            for role in ROLES
            if role not in have and any(model.role == role and model.optional == optional for model in models)
        }
        picked = [model for model in recommended(models, self.vram) if model.role in lack]
        beside = {name for model in picked for name in model.beside}
        return [*picked, *(model for model in models if model.name in beside and not self.by_name(model.name).usable)]

    @property
    def complete(self) -> bool:
        """Whether there is a file of every role that a clip needs."""
        return not self.lacking()

    @property
    def faults(self) -> list[Found]:
        """Files that are here and wrong, in the wrong place or begun."""
        return [one for one in self.found if one.state in FAULTS]

    def view(self) -> View:
        lack = self.lacking()
        told = [one for one in self.found if one.detail and (one.state != MISSING or one.model in lack)]
        notes = [f"{one.model.name}: {one.detail}" for one in told]
        tables = [Table(("For", "File", "Size", "Folder", "Here"), tuple(self._files(lack)))]
        if self.vram:
            card = f"On {self.vram / 2**30:.3g} GiB"
            tables.append(Table(("Model file", "Size", "Here", card), tuple(self._transformers())))
        needed = _needed(lack) if lack else "Everything that a clip needs is here."
        after = [LEGEND] if any(UNVERIFIED in str(row) for table in tables for row in table.rows) else []
        return View(needed, tuple(notes), tuple(tables), (*after, where(self.folders)), not lack and not self.faults)

    def _files(self, lack: Sequence[ModelFile]) -> list[tuple[Cell, ...]]:
        """What is here, and of what is not here the recommended files."""
        optional = self.lacking(optional=True)
        rows: list[tuple[Cell, ...]] = []
        for one in sorted(self.found, key=lambda one: list(ROLES).index(one.model.role)):
            model = one.model
            if one.state == MISSING and model not in lack and model not in optional:
                continue
            state = _state(one) + (", not always needed" if one.state == MISSING and model not in lack else "")
            rows.append((ROLES[model.role], _link(model), model.size_text, model.folder, state))
        return rows

    def _transformers(self) -> list[tuple[Cell, ...]]:
        return [
            (
                _link(one.model),
                one.model.size_text,
                _marked(one.model, one.state),
                fit(one.model, self.vram).text + (f", by {one.model.loader}" if one.model.loader else ""),
            )
            for one in self.found
            if one.model.role == "transformer"
        ]


def offer(models: Sequence[ModelFile], folders: Folders, notes: Sequence[str] = ()) -> View:
    """What would be fetched, for the user to confirm."""
    rows = tuple(
        (_link(model), model.size_text, model.licence, str(own_folder(model, folders)), hash_text(model))
        for model in models
    )
    total = bytes_text(sum(model.size or 0 for model in models))
    table = Table(("File", "Size", "Licence", "Into", "SHA-256"), rows)
    return View(f"To be fetched: {total}.", tuple(notes), (table,), good=False)


def where(folders: Folders) -> str:
    """Which folders are meant, a sentence."""
    roots = {str(paths[0].parent) for paths in folders.values() if paths}
    if len(roots) == 1:
        return f"Folders are those below {roots.pop()}."
    return "Folders: " + ", ".join(f"{kind} is {paths[0]}" for kind, paths in folders.items() if paths) + "."


def hash_text(model: ModelFile) -> str:
    """Which hash the bytes must have, and who says so."""
    return f"{model.sha256} ({WHO[model.evidence]})" if model.sha256 else f"({WHO[None]})"


def _link(model: ModelFile) -> Link:
    return Link(model.name, model.source.text)


def _needed(lack: Sequence[ModelFile]) -> str:
    known = sum(model.size or 0 for model in lack)
    return f"{len(lack)} {'file is' if len(lack) == 1 else 'files are'} needed ({bytes_text(known)})."


def _state(found: Found) -> str:
    name = "" if found.path is None or found.path.name == found.model.name else f" ({found.path.name})"
    return _marked(found.model, f"{found.state}{name}")


def _marked(model: ModelFile, text: str) -> str:
    """With the mark of a file whose hash was not seen at its source."""
    return text if model.verified else f"{text}, {UNVERIFIED}"
