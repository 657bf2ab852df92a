"""One prefix for every message, and loggers that are children of ``wan_animate``."""

import logging

import pytest

from wan_animate.log import PREFIX, SEGMENT_MASK, about, get_logger, heard, heard_now


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wan_animate.detect.detector", "wan_animate.detect.detector"),
        ("nodes.host.model", "wan_animate.nodes.host.model"),
    ],
)
def test_name_and_prefix(module, name, caplog):
    with caplog.at_level(logging.INFO, logger="wan_animate"):
        get_logger(module).info("%d of %d", 1, 2)
    assert caplog.record_tuples == [(name, logging.INFO, f"{PREFIX}1 of 2")]


def test_the_folders_name_of_a_custom_node_pack_is_left_out(pack_nodes):
    from wan_animate_kit_pack.nodes import video
    from wan_animate_kit_pack.wan_animate.chain import store

    assert video.log.name == "wan_animate.nodes.video" and store.log.name == "wan_animate.chain.store"


def test_warnings_are_picked_by_their_kind_and_shown_without_who_says_them():
    log = get_logger("wan_animate.anything")
    with heard() as all_of_them, heard([SEGMENT_MASK]) as others:
        log.warning("the character mask is %s", "small")
        log.warning("the character mask is %s", "black", extra=about(kind=SEGMENT_MASK))
        log.warning("shape mask: %s", "the words", extra=about("the words"))
        assert heard_now() == others
    assert all_of_them == ["the character mask is small", "the character mask is black", "the words"]
    assert others == ["the character mask is small", "the words"]
