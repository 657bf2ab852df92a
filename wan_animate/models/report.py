"""What was found, in words: a table, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .check import CORRUPT, ELSEWHERE, GOOD, PART, SIZE, Folders, Found, own_folder
from .fit import fit, recommended
from .manifest import ModelFile, bytes_text

FAULTS = (SIZE, CORRUPT, ELSEWHERE, PART)
ROLES = {
    "transformer": "the model itself",
    "vae": "the VAE",
    "text_encoder": "the text encoder",
    "clip_vision": "the picture encoder",
    "person_detector": "the person detector",
    "pose_detector": "the pose detector",
    "segmenter": "the segmenter (replace)",
    "relight_lora": "the relighting LoRA (replace)",
    "distill_lora": "the LoRA for 4 to 6 steps",
}


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

    def lines(self) -> list[str]:
        """What to do, in sentences; what is good first."""
        lack = self.lacking()
        lines = [_needed(lack)]
        for model in lack:
            role = ROLES.get(model.role, "beside it")
            fits = f"; on this card {fit(model, self.vram).text}" if self.vram and model.role == "transformer" else ""
            lines.append(
                f"{role[0].upper()}{role[1:]}: {model.name}, {model.size_text}, from {model.source.text} into "
                f"{own_folder(model, self.folders)}{fits}."
            )
        lines += [f"{one.model.name}: {one.detail}" for one in self.faults]
        optional = self.lacking(optional=True)
        if optional:
            named = ", ".join(f"{model.name} ({ROLES.get(model.role, model.role)})" for model in optional)
            lines.append(f"Not here, and not always needed: {named}.")
        return lines

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """(file, folder, size, state, on the card) of every file."""
        return [
            (
                one.model.name,
                one.model.folder,
                one.model.size_text,
                _state(one),
                fit(one.model, self.vram).text if self.vram and one.model.role == "transformer" else "",
            )
            for one in self.found
        ]

    def text(self) -> str:
        """All of it in Markdown."""
        head = [f"{at}. {line}" if at else line for at, line in enumerate(self.lines())]
        card = f"On a card of {self.vram / 2**30:.3g} GiB" if self.vram else ""
        table = [
            f"| File | Folder | Size | Here |{f' {card} |' if card else ''}",
            f"| --- | --- | --- | --- |{' --- |' if card else ''}",
            *("| " + " | ".join(row if card else row[:4]) + " |" for row in self.rows()),
        ]
        return "\n".join([head[0], "", *head[1:], *([""] if head[1:] else []), *table])


def _needed(lack: Sequence[ModelFile]) -> str:
    if not lack:
        return "Everything that a clip needs is here."
    known = sum(model.size or 0 for model in lack)
    return f"**{len(lack)} {'file is' if len(lack) == 1 else 'files are'} needed** ({bytes_text(known)})."


def _state(found: Found) -> str:
    name = "" if found.path is None or found.path.name == found.model.name else f" ({found.path.name})"
    doubt = "" if found.state != GOOD or found.model.verified else ", by a hash not verified at its source"
    return f"{found.state}{name}{doubt}"


def offer(models: Sequence[ModelFile], folders: Folders) -> str:
    """What would be fetched, for the user to confirm: Markdown."""
    lines = [
        f"- **{model.name}**, {model.size_text}, licence {model.licence}\n  from {model.source.text}\n"
        f"  to {Path(own_folder(model, folders)) / model.name}\n  {hash_text(model)}"
        for model in models
    ]
    total = sum(model.size or 0 for model in models)
    return "\n".join([f"To be fetched: {bytes_text(total)}", "", *lines])


def hash_text(model: ModelFile) -> str:
    """Which hash the bytes must have, and who says so."""
    if model.sha256 is None:
        return "hash not known: what the hub lists is taken"
    who = {
        "hub": "as its source lists it",
        "copy": "as a copy of it is listed at the hub",
        "published": "as others published it, not verified: what the hub lists is taken",
    }
    return f"sha256 {model.sha256}, {who[str(model.evidence)]}"
