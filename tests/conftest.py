"""Fixtures for every test: a ComfyUI (in this process, and as a server), small weights, the example clip."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()  # takes the root off sys.path again: `import nodes` must be the host's
from demo import host as host_module  # noqa: E402
from demo.example import clip_at_hand, examples_folder  # noqa: E402

# What someone has set for their own use decides nothing here, nor in the processes that tests start.
FOREIGN = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "RANK")
FOREIGN += ("WORLD_SIZE", "LOCAL_RANK", "MODE", "OUT", "WEIGHTS", "WAN_ANIMATE_JOBS_LIMIT", "FORCE_COLOR", "COLUMNS")
for name in FOREIGN:
    os.environ.pop(name, None)

HOST_FIXTURES = {"host", "comfy", "pack", "pack_module", "pack_nodes", "host_server"}
EXAMPLE_FIXTURES = {"examples", "driving"}


def pytest_configure(config):
    import torch

    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What runs took is not kept in the home of whoever runs the tests."""
    os.environ["WAN_ANIMATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@lru_cache
def deny_here() -> None:
    """The hook stays, and is idle without ``OFFLINE_LOG``."""
    spec = importlib.util.spec_from_file_location("offline_hook", ROOT / "tests/support/offline/sitecustomize.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.fixture
def offline(tmp_path_factory, monkeypatch):
    """Denies this process and those it starts every address but this machine's; the log of what was tried, empty at
    the end."""
    deny_here()
    log = tmp_path_factory.mktemp("offline") / "tried"
    log.touch()
    paths = [str(ROOT / "tests" / "support" / "offline"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setenv("OFFLINE_LOG", str(log))
    yield log
    assert not log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def host():
    """The ComfyUI on this machine (:class:`demo.host.Host`); without one the test is skipped."""
    found = host_module.find_host()
    if found is None:
        pytest.skip(host_module.NOT_FOUND)
    return found


@pytest.fixture(scope="session")
def comfy(host, small_models, tmp_path_factory):
    """The host's modules importable in this process, on the CPU, with the small weights in its models folders."""
    base = tmp_path_factory.mktemp("host")
    small_models.copy_to(base / "models")
    host_module.load_in_process(host, base)
    return host


@pytest.fixture
def interrupt(comfy):
    """A call that asks the host of this process to stop, as Cancel does; the wish is gone after the test."""
    import comfy.model_management as management

    yield lambda: management.interrupt_current_processing(True)
    management.interrupt_current_processing(False)


@pytest.fixture(scope="session")
def pack(comfy):
    """This repository loaded in process as the host loads a custom node."""
    return host_module.load_pack()


@pytest.fixture(scope="session")
def pack_nodes(pack):
    """The pack's node classes by node id."""
    return host_module.pack_nodes(pack)


@pytest.fixture(scope="session")
def pack_module(pack) -> Callable[[str], ModuleType]:
    """A module of the loaded pack by its name in the repository: ``pack_module("nodes.host.ports")``."""
    return lambda name: importlib.import_module(f"{pack.__name__}.{name}")


@pytest.fixture(scope="session")
def start_server(host, small_models, tmp_path_factory):
    """Makes a ComfyUI (:class:`demo.server.HostServer`) with this pack and the small weights, for ``with``.

    ``WAN_ANIMATE_FRONTEND`` is the ``static`` folder of another frontend (of the package comfyui-frontend-package) than
    the host's: all tests in the browser then run in that one.
    """
    from demo.server import HostServer

    frontend = os.environ.get("WAN_ANIMATE_FRONTEND")
    arguments = ("--front-end-root", frontend) if frontend else ()

    def start(*more):
        base = tmp_path_factory.mktemp("server")
        small_models.copy_to(base / "models")
        return HostServer(host, base, extra_args=(*arguments, *more))

    return start


@pytest.fixture(scope="session")
def host_server(start_server):
    """A running ComfyUI, one for all tests."""
    with start_server() as server:
        yield server


@pytest.fixture(scope="session")
def small_models():
    """The small weights (:class:`demo.small_models.SmallModels`)."""
    from demo.small_models import make

    return make()


@pytest.fixture(scope="session")
def examples():
    """The folder of upstream's example clip with its real tracks; without it the test is skipped."""
    folder = examples_folder()
    if not (folder / "animate" / "video.mp4").exists():
        pytest.skip(f"no example clip at {folder}: put one there as animate/video.mp4, or set WAN_ANIMATE_EXAMPLES")
    return folder / "animate"


@pytest.fixture(scope="session")
def driving(tmp_path_factory):
    """A driving video, a reference image, and which small detectors find the person in it: upstream's example clip
    where it is at hand, else our own drawn one."""
    return clip_at_hand(tmp_path_factory.mktemp("example"))


def pytest_collection_modifyitems(items):
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if HOST_FIXTURES & names:
            item.add_marker(pytest.mark.host)
        if EXAMPLE_FIXTURES & names:
            item.add_marker(pytest.mark.example_clip)


def pytest_terminal_summary(terminalreporter):
    def host_tests(outcome: str) -> list:
        reports = terminalreporter.stats.get(outcome, [])
        return [one for one in reports if "host" in getattr(one, "keywords", {}) and one.when in ("call", "setup")]

    ran, skipped = host_tests("passed") + host_tests("failed"), host_tests("skipped")
    terminalreporter.write_line(f"host tests: {len(ran)} ran, {len(skipped)} skipped")
    reasons = {one.longrepr[2].removeprefix("Skipped: ") for one in skipped if isinstance(one.longrepr, tuple)}
    for reason in sorted(reasons):
        terminalreporter.write_line(f"  skipped: {reason}")
