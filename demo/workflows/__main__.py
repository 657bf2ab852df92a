"""Writes every workflow, app and subgraph."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from demo.importing import ROOT, install

install()

from demo.host import HostError, find_host  # noqa: E402
from demo.workflows.blueprints import blueprint  # noqa: E402
from demo.workflows.catalog import APPS, BLUEPRINTS, TITLES  # noqa: E402
from demo.workflows.everything import make  # noqa: E402
from demo.workflows.graph import Definitions  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--definitions", type=Path, help="a saved /object_info; without it a ComfyUI is started")
    parser.add_argument("--out", type=Path, default=ROOT, help="folder that gets workflows/ and subgraphs/")
    options = parser.parse_args()
    write(json.loads(options.definitions.read_text()) if options.definitions else ask_host(), options.out)
    return 0


def ask_host() -> Definitions:
    from demo.server import HostServer

    host = find_host()
    if host is None:
        raise HostError("No ComfyUI was found: set COMFYUI_PATH.")
    with HostServer(host) as server:
        return server.get("/object_info")


def write(definitions: Definitions, out: Path) -> None:
    """All files; pictures are :mod:`demo.workflows.pictures`."""
    for name, workflow in make(definitions).items():
        save(out / "workflows" / f"{TITLES[name]}.json", workflow.json())
        save(out / "workflows" / "api" / f"{name}.json", workflow.api(), indent=1)
        if name in APPS:
            app = workflow.json()
            app["extra"]["linearMode"] = True
            save(out / "workflows" / f"{APPS[name]}.json", app)
        if name in BLUEPRINTS:
            save(out / "subgraphs" / f"{BLUEPRINTS[name]}.json", blueprint(name, workflow))


def save(path: Path, content: Any, indent: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = None if indent else (",", ":")
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main())
