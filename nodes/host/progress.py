"""What a node is doing: ComfyUI's bar, and a sentence that ``js/phases.js`` shows on the node."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils

EVENT = "wan_animate_kit.phase"
EVERY = 0.25  # seconds between two texts of one phase
KEPT = 64  # nodes whose last phase is remembered, for a page that is loaded again

_last: OrderedDict[tuple[str | None, str], dict[str, Any]] = OrderedDict()
_drawing: OrderedDict[str, bool] = OrderedDict()  # clients that draw live previews themselves


class Teller:
    """Sends what the executing node does to whoever queued it; in a call from Python to nobody."""

    def __init__(self) -> None:
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context
        from server import PromptServer

        context = get_executing_context()
        self._server = getattr(PromptServer, "instance", None)
        self._client = getattr(self._server, "client_id", None)
        self._phase, self._told = "", -1.0
        self._where: dict[str, Any] = {}
        if context is not None and self._server is not None:
            node = get_progress_state().dynprompt.get_display_node_id(context.node_id)
            workflow = running_prompts(self._server).get(context.prompt_id)
            self._where = {"prompt_id": context.prompt_id, "workflow": workflow, "node": str(node)}

    def __call__(self, text: str, phase: str | None = None, **more: Any) -> None:
        """Show ``text``; of one phase (default: the text) not more often than every :data:`EVERY` seconds.

        Args:
            more: for the frontend, what JSON can hold.
        """
        now, phase = time.monotonic(), text if phase is None else phase
        if not self._where or (phase == self._phase and now - self._told < EVERY):
            return
        self._phase, self._told = phase, now
        self.send({"text": text, "left": None, **more})

    @property
    def draws(self) -> bool:
        """Whether the page draws live previews itself: the host's new renderer would make the node larger for them."""
        return _drawing.get(self._client or "", False)

    def show(self, picture: str) -> None:
        """Show a picture, a data URL, until the next."""
        if self._where and self._server is not None and self._client is not None:
            self._server.send_sync(EVENT, {**self._where, "live": picture}, self._client)

    def send(self, message: dict[str, Any]) -> None:
        """Send at once; the frontend keeps what earlier messages of this run said and this one does not."""
        if not self._where or self._server is None:
            return
        key = self._where["workflow"], self._where["node"]
        known = _last.pop(key, {})
        _last[key] = {**(known if known.get("prompt_id") == self._where["prompt_id"] else {}), **self._where, **message}
        while len(_last) > KEPT:
            _last.popitem(last=False)
        if self._client is not None:
            self._server.send_sync(EVENT, {**self._where, **message}, self._client)


def set_drawing(client: str, draws: bool) -> None:
    """Remember whether a client draws live previews itself."""
    _drawing.pop(client, None)
    _drawing[client] = draws
    while len(_drawing) > KEPT:
        _drawing.popitem(last=False)


def last_phases(workflow: str) -> list[dict[str, Any]]:
    """What was last sent of each node of a workflow, by its id; ``running``: whether its prompt still runs."""
    from server import PromptServer

    prompts = running_prompts(PromptServer.instance)
    found = [known for (of, _), known in list(_last.items()) if of == workflow]
    return [{**known, "running": known["prompt_id"] in prompts} for known in found]


def running_prompts(server: Any) -> dict[str, str | None]:
    """Running prompts, and the id of the graph that each was made from; None from outside the frontend."""
    running, _ = server.prompt_queue.get_current_queue_volatile()
    found = {}
    for item in running:
        workflow = ((item[3] or {}).get("extra_pnginfo") or {}).get("workflow")
        found[item[1]] = workflow.get("id") if isinstance(workflow, dict) else None
    return found


def progress_bar(total: int | None = None, phase: str = "", unit: str = "frames") -> Callable[[int, int], None]:
    """A callback for the node's bar. It raises ``InterruptProcessingException`` (a BaseException) on Cancel.

    Args:
        phase: what is counted, shown with the seconds left ("Finding the pose").
    """
    bar, tell = comfy.utils.ProgressBar(total or 1), Teller()
    begun: list[float] = []
    if phase:
        tell(phase)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)
        if phase:
            begun.extend([] if begun else [time.monotonic(), done])
            text = f"{phase}: {done} of {total} {unit}"
            tell(text, f"{phase} of {total}", left=_left(begun, done, total))

    return report


def _left(begun: list[float], done: int, total: int) -> float | None:
    """Seconds; None before they are known."""
    spent = time.monotonic() - begun[0]
    if spent < 1 or done <= begun[1] or done >= total:
        return None
    return (total - done) * spent / (done - begun[1])


def tell_phase(text: str) -> None:
    """Show what the executing node begins to do."""
    Teller()(text)
