"""The pack's model folders, and file names kept inside their folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths

if TYPE_CHECKING:
    from ...wan_animate.models.hashing import HashCache

DETECTION = "detection"
PROMPTS = "wan_animate_prompts"
SAM2 = "sam2"
NAME_BYTES = 255  # of most file systems


def register_folders() -> None:
    """Adds ``models/detection``, ``models/sam2`` and ``models/wan_animate_prompts``.

    Packs share keys, the host shares extension sets: adds paths, replaces sets.
    """
    _add_folder(DETECTION, {".onnx"})
    _add_folder(PROMPTS, {".safetensors"})
    _add_folder(SAM2, {".safetensors"})


def _add_folder(key: str, extensions: set[str]) -> None:
    known = key in folder_paths.folder_names_and_paths
    folder_paths.add_model_folder_path(key, os.path.join(folder_paths.models_dir, key))
    paths, present = folder_paths.folder_names_and_paths[key]
    # An empty set lists every file. A folder that somebody else left so stays so.
    if not known or present:
        folder_paths.folder_names_and_paths[key] = (paths, set(present) | extensions)
    folder_paths.filename_list_cache.pop(key, None)


def list_models(key: str, extension: str) -> list[str]:
    return [name for name in folder_paths.get_filename_list(key) if name.lower().endswith(extension)]


def list_files(key: str, extension: str) -> list[str]:
    """As :func:`list_models`, of an extension that the host does not list for this folder."""
    found: set[str] = set()
    for folder in folder_paths.get_folder_paths(key):
        if os.path.isdir(folder):
            names, _ = folder_paths.recursive_search(folder, excluded_dir_names=[".git"])
            found.update(name for name in names if name.lower().endswith(extension))
    return sorted(found)


def list_input(extension: str | None = None, content: str | None = None) -> list[str]:
    """Files at the top of the input folder, by extension (``".npz"``) or content type (``"video"``)."""
    folder = folder_paths.get_input_directory()
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file()) if os.path.isdir(folder) else []
    if content is not None:
        names = folder_paths.filter_files_content_types(names, [content])
    return [name for name in names if extension is None or name.lower().endswith(extension)]


# Over the API a name may be anything that JSON can hold: null, a list, a text with NUL or half a surrogate in it.


def annotated_path(name: Any) -> str | None:
    """The file of ``name`` or ``"name [output]"``; None if there is none, or it is outside that folder."""
    if not isinstance(name, str):
        return None
    try:
        path = folder_paths.get_annotated_filepath(name)
        return path if os.path.isfile(path) else None
    except (ValueError, OSError):  # leads out of its folder, or no name of a file
        return None


def model_path(key: str, name: Any) -> str | None:
    """A file of a models folder; None if there is none."""
    if not isinstance(name, str):
        return None
    try:
        return folder_paths.get_full_path(key, name)
    except (ValueError, OSError):
        return None


def chosen(path: str | None, name: Any, input_name: str) -> str:
    """``path``, the file of a name widget, when the node runs. Raises InputError without one."""
    from ...wan_animate.errors import InputError

    if path is None:
        raise InputError(f"{input_name} is {said(name)}, which is no file there: press R and choose one.")
    return path


def said(name: Any) -> str:
    """A name as a message shows it."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:80]}..."


def served_file(path: str | os.PathLike) -> dict[str, str] | None:
    """Where ``/view`` finds a file below the temp or output folder; None elsewhere."""
    path = os.path.abspath(path)
    for kind, folder in (("temp", folder_paths.get_temp_directory()), ("output", folder_paths.get_output_directory())):
        below = os.path.relpath(path, os.path.abspath(folder)).replace(os.sep, "/")
        if not below.startswith("../") and not os.path.isabs(below):
            subfolder, _, name = below.rpartition("/")
            return {"filename": name, "subfolder": subfolder, "type": kind}
    return None


def check_prefix(prefix: str, numbered: str) -> None:
    """Raises InputError unless such files can be written below the output folder.

    Args:
        prefix: a ``filename_prefix`` with ``%...%`` for dates and sizes.
        numbered: rest of the name, braces for the number.
    """
    from ...wan_animate.errors import InputError

    output = os.path.abspath(folder_paths.get_output_directory())
    if not isinstance(prefix, str):
        raise InputError(f"filename_prefix is {said(prefix)}: write a name, behind a folder or alone.")
    if prefix.replace("\\", "/").rsplit("/", 1)[-1] in ("", ".", ".."):  # the host would count from 1 for ever
        raise InputError(f"filename_prefix {said(prefix)} names no file: write a name, behind a folder or alone.")
    parts = os.path.normpath(prefix).replace("\\", "/").split("/")
    longest = [len(part.encode(errors="replace")) for part in parts]
    longest[-1] += len(numbered.format(0))
    if max(longest) > NAME_BYTES:
        raise InputError(
            f"filename_prefix {said(prefix)} is too long for a file's name ({max(longest)} bytes of at most "
            f"{NAME_BYTES}; a Chinese character takes 3): shorten it."
        )
    if "\0" in prefix or os.path.commonpath((output, os.path.abspath(os.path.join(output, prefix)))) != output:
        raise InputError(f"filename_prefix {said(prefix)} leads out of the output folder: name a place below it.")
    folder = output
    for part in parts[:-1]:
        folder = os.path.join(folder, part)
        if os.path.isfile(folder):
            raise InputError(
                f"filename_prefix {said(prefix)} names the folder {folder}, which is a file: name another."
            )


def numbered_path(prefix: str, numbered: str, width: int, height: int) -> tuple[str, str]:
    """(path, path below the output folder) with the next number. Raises InputError."""
    from ...wan_animate.errors import InputError

    check_prefix(prefix, numbered)
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), width, height
        )
    except OSError as error:
        raise InputError(
            f"nothing can be written to {error.filename or 'the output folder'} ({error.strerror}): correct its "
            "permissions, free space there, or name another folder in filename_prefix."
        ) from error
    file = name + numbered.format(counter)
    return os.path.join(folder, file), os.path.join(subfolder, file)


def temporary_path(numbered: str) -> tuple[str, str]:
    """(path, path below the temp folder) of a new file there, which ComfyUI empties when it starts."""
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    path, name, counter, subfolder, _ = folder_paths.get_save_image_path("wan_animate_kit", folder)
    file = name + numbered.format(counter)
    return os.path.join(path, file), os.path.join(subfolder, file)


def file_stamp(path: str | None) -> tuple[int, ...] | None:
    """(size, modification time, change time, inode): a copy of the same size and time is another file."""
    try:
        stat = os.stat(path) if path is not None else None
    except OSError:  # gone since it was found
        return None
    return None if stat is None else (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def model_folders(kinds: Iterable[str]) -> dict[str, list[Path]]:
    """The host's folders of each kind, extra ones included, in its order."""
    return {
        kind: [Path(path) for path in folder_paths.get_folder_paths(kind)]
        if kind in folder_paths.folder_names_and_paths
        else [Path(folder_paths.models_dir, kind)]
        for kind in kinds
    }


def hash_cache() -> HashCache:
    """Hashes of model files, kept in the host's user folder."""
    from ...wan_animate.models.hashing import HashCache

    return HashCache(Path(folder_paths.get_user_directory()) / "wan_animate_kit" / "hashes.json")
