"""Names that people give to what is saved: taken where a disk takes them, else refused before anything runs."""

from pathlib import Path

import numpy as np
import pytest

PREFIX = "pose_tracks/track"


@pytest.fixture(scope="module")
def node(pack_nodes):
    return pack_nodes["WanAnimateKitSavePoseTrack"]


@pytest.fixture
def output(comfy, tmp_path, monkeypatch):
    """The host's output folder, an empty one."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path / "output"


@pytest.fixture(scope="module")
def track(pack):
    from wan_animate_kit_pack.wan_animate.pose.track import PoseTrack

    return PoseTrack(np.full((3, 133, 3), 0.5, np.float32), 64, 48)


@pytest.mark.parametrize(
    "prefix",
    [PREFIX, "track", "a/b/c/track", "舞" * 80, "é" * 120, "a" * 244, "%year%/t", "a b;'\"$(x)", "..a/b", "a.b"],
)
def test_names_that_a_disk_takes(node, output, track, prefix):
    assert node.validate_inputs(prefix) is True
    for _ in range(2):
        node.execute(track, prefix)
    files = sorted(output.rglob("*.npz"))
    assert len(files) == 2 and files[1].name.endswith("00002_.npz")
    assert type(track).load(files[0]).keypoints.shape == (3, 133, 3)


@pytest.mark.parametrize(
    "prefix, says",
    [
        ("舞" * 90, "is too long for a file's name (281 bytes of at most 255"),
        ("a" * 245, "(256 bytes of at most 255"),
        ("舞" * 90 + "/track", "is too long"),
        ("", "names no file"),
        ("a/", "names no file"),
        ("a/..", "names no file"),
        ("../track", "leads out of the output folder"),
        ("a/../../track", "leads out of the output folder"),
        ("/etc/track", "leads out of the output folder"),
        ("a\0b", "leads out of the output folder"),
        ("file/track", "which is a file: name another"),
    ],
)
def test_names_that_cannot_be_are_refused_before_anything_runs(node, output, track, prefix, says):
    output.mkdir()
    (output / "file").touch()
    text = node.validate_inputs(prefix)
    assert says in text and text.endswith(".") and "\n" not in text and len(text) < 300
    with pytest.raises(ValueError) as error:  # a linked name is seen only when the node runs
        node.execute(track, prefix)
    assert str(error.value) == text and [path.name for path in output.iterdir()] == ["file"]
    assert node.validate_inputs(None) is True


def test_an_output_folder_that_cannot_be_made(node, output, track):
    output.write_text("a file in its place")
    with pytest.raises(ValueError, match="file"):
        node.execute(track, PREFIX)
    assert not list(Path(output.parent).rglob("*.npz"))
