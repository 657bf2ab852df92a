"""The nodes for weight files: what is here, and fetching what is named and confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from ..wan_animate.models.view import View

MISSING = "all that is missing"


def _vram_input() -> io.Float.Input:
    return io.Float.Input(
        "vram",
        display_name="VRAM (GB)",
        default=0.0,
        min=0.0,
        max=1024.0,
        step=1.0,
        round=0.1,
        tooltip="The card's memory, by which the model file is chosen. 0: this server's card.",
    )


class CheckModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCheckModels",
            display_name="Check Models",
            category="WanAnimateKit/models",
            description=(
                "Lists every weight file that the workflows use: what is missing, of the wrong size, corrupt, in "
                "another folder or under another name, what fits the card, and where to get it. Fetches nothing; run "
                "it alone."
            ),
            search_aliases=[
                "missing models",
                "model manager",
                "verify models",
                "sha256",
                "which model for my card",
                "low vram",
                "model folder",
            ],
            inputs=[
                _vram_input(),
                io.Combo.Input(
                    "hash",
                    display_name="hash",
                    options=["no", "changed", "all"],
                    default="changed",
                    tooltip="SHA-256 of the files, which tells damaged and renamed ones (about a minute for 30 GB): no "
                    "file, those that have changed since, or all.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="What was found, in Markdown, what to do first."),
                io.Boolean.Output(display_name="complete", tooltip="Whether everything that a clip needs is here."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> float:
        """Never the same: files come and go."""
        return float("nan")

    @classmethod
    def execute(cls, vram: float, hash: str) -> io.NodeOutput:  # noqa: A002
        from .host.progress import progress_bar

        bar = progress_bar()
        report = _report(vram, hash, lambda done, total, _name: bar(done, total))
        view = report.view()
        return io.NodeOutput(view.markdown(), report.complete, ui={"view": [view.data()]})


def _listed() -> list[str]:
    """The files' names; none of a list that is not right, which must not keep the other nodes from loading."""
    from ..wan_animate.errors import InputError
    from ..wan_animate.log import get_logger
    from ..wan_animate.models.manifest import read_manifest

    try:
        return [model.name for model in read_manifest()]
    except InputError as error:
        get_logger(__name__).warning("%s", error)
        return []


class DownloadModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitDownloadModels",
            display_name="Download Models",
            category="WanAnimateKit/models",
            description=(
                "Fetches a weight file of the list into its folder, after you have read what, from where and under "
                "which licence, and confirmed. Goes on after a stop or a broken connection; a file gets its name only "
                "once its size and SHA-256 are right."
            ),
            search_aliases=["get models", "fetch weights", "huggingface download", "install models", "missing models"],
            inputs=[
                io.Combo.Input(
                    "file",
                    display_name="file",
                    options=[MISSING, *_listed()],
                    tooltip="What to fetch: one file, or one of each kind that a clip needs and is not here, as it "
                    "fits the card.",
                ),
                _vram_input(),
                io.Boolean.Input(
                    "confirm",
                    display_name="confirm",
                    default=False,
                    label_on="fetch it",
                    label_off="only say what",
                    tooltip="Off: says what would be fetched. On: fetches it. Goes off by itself after each run and is "
                    "not saved with the workflow.",
                ),
            ],
            outputs=[io.String.Output(display_name="text", tooltip="What would be, or was, fetched, in Markdown.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> float:
        return float("nan")

    @classmethod
    def execute(cls, file: str, vram: float, confirm: bool) -> io.NodeOutput:
        from ..wan_animate.models.download import check_disk
        from ..wan_animate.models.manifest import named, read_manifest
        from ..wan_animate.models.report import offer
        from ..wan_animate.models.view import View
        from .host.folders import model_folders
        from .host.progress import progress_bar

        if file == MISSING:
            bar = progress_bar()  # hashed, or a file under another name would be fetched once more
            wanted = _report(vram, "changed", lambda done, total, _name: bar(done, total)).lacking()
        else:
            wanted = named(read_manifest(), [file])
        if not wanted:
            return _said(View("Everything that a clip needs is here."))
        folders = model_folders({model.folder for model in wanted})
        if not confirm:
            return _said(offer(wanted, folders, ["Nothing was fetched: turn confirm on and run again."]))
        check_disk(wanted, folders)
        return _said(_fetch(wanted, folders))


def _said(view: View) -> io.NodeOutput:
    return io.NodeOutput(view.markdown(), ui={"view": [view.data()]})


def _report(vram: float, hashing: str, report: Any = None) -> Any:
    from ..wan_animate.models.check import check
    from ..wan_animate.models.manifest import read_manifest
    from ..wan_animate.models.report import Report
    from .host.device import device_here
    from .host.folders import hash_cache, model_folders

    models = read_manifest()
    folders = model_folders({model.folder for model in models})
    found = check(models, folders, hashing, hash_cache(), report)
    return Report(tuple(found), folders, int(vram * 2**30) or device_here().memory)


def _fetch(models: list[Any], folders: Any) -> View:
    from ..wan_animate.models.download import THERE, download
    from ..wan_animate.models.view import Table, View
    from .host.folders import hash_cache
    from .host.progress import progress_bar

    total, before, rows = sum(model.size or 0 for model in models), 0, []
    bar = progress_bar()
    for model in models:

        def report(done: int, size: int, before: int = before) -> None:
            bar(before + done, max(total, before + size))

        found = download(model, folders, report, hash_cache())
        before += found.path.stat().st_size
        rows.append((model.name, "was here" if found.how == THERE else found.how, str(found.path.parent)))
    done = Table(("File", "Now", "Folder"), tuple(rows))
    return View("Size and SHA-256 are right.", (), (done,), ("Press R, and the loaders list what is new.",))
