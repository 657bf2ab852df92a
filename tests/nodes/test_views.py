"""What is kept for the browser's editors."""

import pytest


@pytest.fixture(scope="module")
def views(pack_module):
    return pack_module("nodes.host.views")


def gone(kept, views, name: str) -> bool:
    try:
        kept.get(name)
    except views.GoneError:
        return True
    return False


def test_a_node_that_runs_again_and_again_takes_no_other_nodes_place(views):
    kept = views.Views(5, 2)
    other = kept.add("7", views.View(1))
    names = [kept.add("3", views.View(1)) for _ in range(20)]
    assert not gone(kept, views, other)
    assert [gone(kept, views, name) for name in names[-3:]] == [True, False, False]


def test_the_oldest_goes_first(views):
    kept = views.Views(3, 2)
    names = [kept.add(str(node), views.View(1)) for node in range(3)]
    kept.get(names[0])  # looked at
    kept.add("new", views.View(1))
    assert [gone(kept, views, name) for name in names] == [False, True, False]
    assert kept.known("0")[0] == names[0] and kept.known("1") is None


def test_pictures_in_memory_are_held_weakly_and_files_apart(views, pack_module, tmp_path):
    import gc

    import torch

    from ..support.editors import CLIP, example_files

    example_files(tmp_path)
    source = pack_module("wan_animate.video.source").VideoSource(str(tmp_path / CLIP))
    pictures = torch.rand(2, 64, 64, 3)
    cls = type("Node", (), {"hidden": None})
    told = views.shown(cls, 30, (64, 64), 2, {"frame": pictures, "reference": None})[views.UI][0]
    assert told["layers"] == ["frame"]
    view = views.NODES.get(told["view"])
    assert view.picture("frame", 1, 64)[:2] == b"\xff\xd8"
    with pytest.raises(IndexError):
        view.picture("frame", 2, 64)
    del pictures
    gc.collect()
    with pytest.raises(views.GoneError, match="run the node again"):
        view.picture("frame", 1, 64)
    own = views._kept(source)
    assert own is not source and (own.read(3, 4) == source.read(3, 4)).all()
    before = source.decoded
    own.read(20, 21)
    assert source.decoded == before  # the job's decoder is not moved
