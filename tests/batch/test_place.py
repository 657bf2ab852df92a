"""Unfinished work behind an fsspec URL."""

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
    for name in ("a.PNG", "b.png"):
        (tmp_path / name).write_text("picture")
    sent = [place.send_inputs(url, {"image": str(tmp_path / name), "video": None}) for name in ("a.PNG", "b.png")]
    assert sent[0] == sent[1] and len(names(tmp_path / "store")) == 1
    with place.opened(place.join(url, "key"), sent[0]) as opened:
        with open(opened.files["image"]) as file:
            assert file.read() == "picture"


def test_an_address_that_nobody_knows():
    with pytest.raises(InputError, match="nowhere://x cannot be opened"):
        place.file_system("nowhere://x")
