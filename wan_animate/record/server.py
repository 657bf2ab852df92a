"""Running the workflow in a clip's tags again, on a ComfyUI over HTTP."""

from __future__ import annotations

import os
import secrets
import time
import urllib.error
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import check_place
from ..json_text import parse_json
from ..queue.client import ComfyClient, PromptRejected, ServerError, check_ended_well
from ..video.tags import read_tags
from .clip_record import TAG

POLL = 1.0  # seconds between two looks whether the server is done
SAVE = ("SaveVideo", "WanAnimateKitSaveClip")
ANEW = "wan_animate_kit_anew"
"""Name in a prompt's ``extra_pnginfo``: Animate Character takes nothing over that was finished before. Its value, some
hexadecimal digits, is the run's own."""
ATTENTION = "wan_animate_kit_attention"
"""The same: what another server's attention kernels were, by shape, so that this one takes them without timing."""


def run_again(server: str, clip: str, out: str) -> Path:
    """Make the clip of a workflow again; what the server kept of former runs is forgotten, so that it is made.

    Args:
        server: the address, ``http://127.0.0.1:8188``.
        clip: a video that Save Video or Save Clip wrote.
        out: the mp4 to write.

    Raises:
        InputError: no workflow in the clip, no server there, or it refuses or fails.
    """
    client = ComfyClient(server)
    tags = {name.lower(): text for name, text in read_tags(clip).items()}
    try:
        workflow = parse_json(tags["prompt"])
        saves = [node for node, what in workflow.items() if what["class_type"] in SAVE]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError(f"{clip} holds no workflow: give the file that Save Video or Save Clip wrote.") from None
    check_place(out, "the video (--out)")
    client.check()
    client.post("/free", {"unload_models": False, "free_memory": True})
    time.sleep(POLL)  # an idle server forgets at once, but after a workflow that is there already
    extra = {"extra_pnginfo": {ANEW: secrets.token_hex(8)}}
    try:
        prompt = client.post_prompt(workflow, extra_data=extra)
    except PromptRejected as error:
        raise InputError(f"{server} refused the workflow: {' '.join(str(error).split())}") from error
    try:
        entry = _wait(client, prompt)
    except BaseException:
        with suppress(ServerError, urllib.error.HTTPError):  # the server may be what failed
            client.cancel(prompt)
        raise
    try:
        check_ended_well(entry)
    except ServerError as error:
        raise InputError(f"{server} could not run the workflow of {clip}: {' '.join(str(error).split())}") from error
    for node in saves:
        found = entry.get("outputs", {}).get(node, {})
        for item in found.get("files") or found.get("images", []):
            client.save(item, out, "the video (--out)")
            if TAG in {name.lower() for name in read_tags(out)}:
                return Path(out)
            os.unlink(out)
    raise InputError(f"the workflow of {clip} ran on {server}, but saved no clip of Animate Character.")


def _wait(client: ComfyClient, prompt: str) -> dict[str, Any]:
    while True:
        place, entry = client.state(prompt)
        if entry is not None:
            return entry
        if not place:
            raise InputError(f"the workflow was taken out of the queue of {client.url}: run the command again.")
        time.sleep(POLL)
