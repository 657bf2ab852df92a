"""Unfinished work behind an fsspec URL."""

from pathlib import Path

import pytest

from wan_animate.batch import place
from wan_animate.errors import InputError


@pytest.fixture
def url(tmp_path):
    return (tmp_path / "store").as_uri()


def names(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_one_machine_finished_another_goes_on_with(url, tmp_path):
    work = place.join(url, "key")
    with place.opened(work, {}) as first:
        (first.folder / ".clip-1").mkdir()
        for name in ("segment_0000.mkv", "tail_0000.safetensors", ".segment_0001.0a1b2c3d.part.mkv"):
            (first.folder / ".clip-1" / name).write_text(name)
        (first.folder / "..clip-1.lock").touch()
        first.push()
        assert names(tmp_path / "store") == ["key/.clip-1/segment_0000.mkv", "key/.clip-1/tail_0000.safetensors"]
        (first.folder / "clip.mp4").write_text("clip")
        here = first.folder
    assert not here.exists()
    with place.opened(work, {}) as second:
        assert names(second.folder) == [".clip-1/segment_0000.mkv", ".clip-1/tail_0000.safetensors", "clip.mp4"]
        (second.folder / ".clip-1" / "segment_0000.mkv").write_text("SEGMENT_0000.MKV")  # of the same size
    place.fetch(work, "clip.mp4", tmp_path / "clip.mp4", "the clip")
    assert (tmp_path / "clip.mp4").read_text() == "clip"
    assert (tmp_path / "store/key/.clip-1/segment_0000.mkv").read_text().isupper()
    place.remove(work)
    assert not names(tmp_path / "store")


def test_frames_go_last(url, monkeypatch):
    sent = []
    monkeypatch.setattr(place, "put_file", lambda system, local, path: sent.append(local.name))
    with place.opened(url, {}) as opened:
        for name in ("segment_0000.mkv", "segment_0000.json", "a.mp4", "tail_0000.safetensors"):
            (opened.folder / name).touch()
        opened.push()
    assert sent == ["segment_0000.json", "tail_0000.safetensors", "a.mp4", "segment_0000.mkv"]


def test_inputs_travel_once_by_their_content(url, tmp_path):
    (picture := tmp_path / "me [1].png").write_text("picture")
    (other := tmp_path / "other" / picture.name).parent.mkdir()
    other.write_text("another")
    sent = [place.send_inputs(url, {"image": str(path), "video": None}) for path in (picture, picture, other)]
    assert sent[0] == sent[1] != sent[2] and len(names(tmp_path / "store")) == 2
    with place.opened(place.join(url, "key"), sent[0]) as opened:
        found = Path(opened.files["image"])
        assert found.read_text() == "picture" and found.name == picture.name


def test_an_address_that_nobody_knows():
    with pytest.raises(InputError, match="nowhere://x cannot be opened"):
        place.file_system("nowhere://x")
