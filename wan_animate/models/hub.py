"""What a file's source says about it, before a byte of it is fetched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import InputError
from .manifest import ModelFile
from .transfer import waiting

NAME = "wan-animate-kit"
METADATA_SECONDS = 15.0


@dataclass(frozen=True)
class Listing:
    """What the source lists.

    Attributes:
        url: of the file; each attempt starts there, since what it redirects to may expire.
        headers: user agent, and the user's hub token where there is one.
        size: bytes, None where it is not said.
        sha256: None where it is not said (an address, or a small file of a repository).
    """

    url: str
    headers: dict[str, str] = field(repr=False)
    size: int | None = None
    sha256: str | None = None


def ask(model: ModelFile, look: Callable[[], None], endpoint: str | None = None) -> Listing:
    """What the source lists.

    Args:
        look: may raise to stop.
        endpoint: of the hub; None takes ``HF_ENDPOINT``, else the public one.

    Raises:
        InputError: offline, not there, or only for those who accepted its terms.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers

    source = model.source
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"HF_HUB_OFFLINE is set, so {model.name} is not fetched: unset it, or {by_hand(model)}.")
    if source.url is not None or source.repo is None or source.path is None:
        return Listing(source.text, {"User-Agent": NAME})
    endpoint = endpoint or os.environ.get("HF_ENDPOINT")  # as it is now, not when the library was imported
    url = hf_hub_url(source.repo, source.path, revision=source.revision, endpoint=endpoint)
    try:
        found = waiting(
            lambda: get_hf_file_metadata(url, timeout=METADATA_SECONDS, library_name=NAME, endpoint=endpoint), look
        )
    except GatedRepoError as error:
        raise InputError(
            f"{source.repo} gives {model.name} only to those who accepted its terms: accept them at its page, run "
            "`hf auth login`, and fetch it again."
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        what = "has no such file any more" if status in (401, 404) else f"answers {status}"
        raise InputError(f"{source.repo} {what} ({source.path}): update the kit, or {by_hand(model)}.") from error
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        raise InputError(f"the hub cannot be reached for {model.name}: connect, or {by_hand(model)}.") from error
    etag = found.etag or ""
    return Listing(
        url,
        build_hf_headers(library_name=NAME),
        found.size,
        etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None,
    )


def by_hand(model: ModelFile, folder: str | None = None) -> str:
    """What to put where without a connection, as the end of a sentence."""
    facts = ", ".join([model.size_text, f"sha256 {model.sha256}" if model.sha256 else "hash not known"])
    return f"put {model.source.text} as {model.name} into {folder or f'models/{model.folder}'} ({facts})"


def _is_of_the_network(error: Exception) -> bool:
    """Of whichever HTTP library this version of huggingface_hub has."""
    names = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(names & {"httpx", "httpx2", "requests", "urllib3"})
