"""Running the workflow in a clip's tags again, on a ComfyUI over HTTP."""

from __future__ import annotations

import json
import os
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import check_place, replacing
from ..video.tags import read_tags
from .clip_record import TAG

POLL = 1.0  # seconds between two looks whether the server is done
SAVE = ("SaveVideo", "WanAnimateKitSaveClip")
ANEW = "wan_animate_kit_anew"
"""Name in a prompt's ``extra_pnginfo``: Animate Character takes nothing over that was finished before. Its value, some
hexadecimal digits, is the run's own."""


def run_again(server: str, clip: str, out: str) -> Path:
    """Make the clip of a workflow again; what the server kept of former runs is forgotten, so that it is made.

    Args:
        server: the address, ``http://127.0.0.1:8188``.
        clip: a video that Save Video or Save Clip wrote.
        out: the mp4 to write.

    Raises:
        InputError: no workflow in the clip, no server there, or it refuses or fails.
    """
    if urllib.parse.urlsplit(server).scheme not in ("http", "https"):
        raise InputError(f"--server is {server}, which is no address: give one such as http://127.0.0.1:8188.")
    tags = {name.lower(): text for name, text in read_tags(clip).items()}
    try:
        workflow = json.loads(tags["prompt"])
        saves = [node for node, what in workflow.items() if what["class_type"] in SAVE]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{clip} holds no workflow: give the file that Save Video or Save Clip wrote.") from None
    check_place(out, "the video (--out)")
    _post(server, "/free", {"unload_models": False, "free_memory": True})
    time.sleep(POLL)  # an idle server forgets at once, but after a workflow that is there already
    extra = {"extra_pnginfo": {ANEW: secrets.token_hex(8)}}
    prompt = str(_post(server, "/prompt", {"prompt": workflow, "extra_data": extra})["prompt_id"])
    try:
        entry = _wait(server, prompt)
    except BaseException:
        with suppress(InputError):  # the server may be what failed
            _post(server, "/queue", {"delete": [prompt]})
            _post(server, "/interrupt", {"prompt_id": prompt})
        raise
    if entry.get("status", {}).get("status_str") != "success":
        raise InputError(f"{server} could not run the workflow of {clip}: {_failure(entry)}")
    for node in saves:
        found = entry.get("outputs", {}).get(node, {})
        for item in found.get("files") or found.get("images", []):
            query = urllib.parse.urlencode({key: item.get(key, "") for key in ("filename", "subfolder", "type")})
            with replacing(out, "the video (--out)") as temporary:
                with _open(server, f"/view?{query}") as answer, open(temporary, "wb") as file:
                    while block := answer.read(1 << 20):
                        file.write(block)
            if TAG in {name.lower() for name in read_tags(out)}:
                return Path(out)
            os.unlink(out)
    raise InputError(f"the workflow of {clip} ran on {server}, but saved no clip of Animate Character.")


def _wait(server: str, prompt: str) -> dict[str, Any]:
    while True:
        # first: a prompt that ends in between is then in the history
        with _open(server, "/queue") as answer:
            queue = json.load(answer)
        with _open(server, f"/history/{prompt}") as answer:
            entry = json.load(answer).get(prompt)
        if entry is not None:
            return entry
        waiting = {item[1] for name in ("queue_running", "queue_pending") for item in queue.get(name, [])}
        if prompt not in waiting:
            raise InputError(f"the workflow was taken out of the queue of {server}: run the command again.")
        time.sleep(POLL)


def _failure(entry: dict[str, Any]) -> str:
    for kind, data in entry.get("status", {}).get("messages", []):
        if kind == "execution_error":
            return " ".join(f"{data.get('node_type')}: {data.get('exception_message', '')}".split())
    return "it was stopped."


def _post(server: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with _open(server, path, json.dumps(body).encode()) as answer:
        text = answer.read()
    return json.loads(text) if text.strip() else {}


def _open(server: str, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(server.rstrip("/") + path, body, {"Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        raise InputError(f"{server} refused the workflow: {_refusal(error.read())}.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"there is no ComfyUI at {server} ({reason}): start it, or give its address.") from error


def _refusal(answer: bytes) -> str:
    """The host's own words for what is wrong with each node."""
    try:
        found = json.loads(answer)
        details = [
            f"{node['class_type']}: {error.get('details') or error.get('message')}"
            for node in found.get("node_errors", {}).values()
            for error in node["errors"]
        ]
        return "; ".join(" ".join(text.split()).rstrip(".") for text in details) or str(found["error"]["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.decode(errors="replace")[:200] or "without a reason"
