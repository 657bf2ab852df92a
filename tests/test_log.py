"""One prefix for every message, and loggers that are children of ``wan_animate``."""

import logging

import pytest

from wan_animate.log import PREFIX, get_logger


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wan_animate.detect.detector", "wan_animate.detect.detector"),
        ("nodes.host.model", "wan_animate.nodes.host.model"),
    ],
)
def test_the_name_of_a_modules_logger(module, name, caplog):
    with caplog.at_level(logging.INFO, logger="wan_animate"):
        get_logger(module).info("%d of %d", 1, 2)
    assert caplog.record_tuples == [(name, logging.INFO, f"{PREFIX}1 of 2")]


def test_in_comfyui_the_package_has_the_name_of_its_folder(pack_nodes):
    from importlib import import_module

    package = type(pack_nodes) and pack_nodes.__name__
    print(package)
