"""Every write on a full disk, every read of a damaged file."""

import contextlib
import os
import re
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from demo.importing import ROOT
from wan_animate.chain.segment_files import write_lossless
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.files import check_ending, check_place, make_folder, reading, rename, replacing, short_name
from wan_animate.mask.sam2_weights import read_weights
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.sheet import contact_sheet
from wan_animate.video.frames import TensorSource
from wan_animate.video.write import write_video
from wan_animate.weights.header import read_header
from wan_animate.weights.lora_file import read_lora
from wan_animate.weights.prompt_file import load_prompt, save_prompt

NOISE = np.random.default_rng(0).integers(0, 256, (6, 96, 160, 3), dtype=np.uint8)


@contextlib.contextmanager
def limited(size: int):
    """A file size limit in bytes, which fails like a full disk. Python ignores the signal (SIGXFSZ)."""
    resource = pytest.importorskip("resource", reason="no file size limits on this system: run on Linux or macOS")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount command here: test_a_write_that_fails meets a limit on the size of files instead")
    if done.returncode:
        pytest.skip("only an administrator can mount a small disk: test_a_write_that_fails meets a limit instead")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def track() -> PoseTrack:
    points = np.random.default_rng(0).random((200, 133, 3), np.float32)
    return PoseTrack(points * np.float32([300, 200, 1]), 300, 200)


WRITES = {
    "video": ("a.mp4", lambda path: write_video(path, TensorSource(NOISE), crf=1)),
    "segment": ("a.mkv", lambda path: write_lossless(path, NOISE, 30)),
    "prompt": ("a.safetensors", lambda path: save_prompt(path, [[torch.rand(1, 64, 1024), {}]], "text", "encoder")),
    "track": ("a.npz", lambda path: track().save(path)),
    "sheet": ("a.png", lambda path: contact_sheet(path, [("noise", TensorSource(NOISE))])),
}


def assert_one_sentence(error: InputError, *parts: str) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 420, text
    assert all(part in text for part in parts), text


@pytest.mark.parametrize("kind", WRITES)
def test_a_write_that_fails_at_any_byte_is_one_sentence_and_leaves_what_was_there(tmp_path, kind):
    name, write = WRITES[kind]
    write(tmp_path / name)
    whole = (tmp_path / name).stat().st_size
    (tmp_path / name).write_bytes(b"the one from yesterday")
    for size in (0, 1, 100, whole // 2, whole - 5000, whole - 1):
        with limited(max(size, 0)), pytest.raises(InputError) as found:
            write(tmp_path / name)
        assert_one_sentence(found.value, "cannot be written to", "File too large", "free space there")
        assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"the one from yesterday"
    with limited(whole + 100_000):
        write(tmp_path / name)
    assert (tmp_path / name).stat().st_size == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk(small_disk, kind):
    name, write = WRITES[kind]
    (small_disk / "in the way").write_bytes(bytes(60_000))
    with pytest.raises(InputError) as found:
        write(small_disk / name)
    assert_one_sentence(found.value, "cannot be written to", "(No space left on device)", "free space there")
    assert os.listdir(small_disk) == ["in the way"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from wan_animate.weights.prompt_file import save_prompt
print("begun", flush=True)
number = float(sys.argv[3])
while Path(sys.argv[2]).with_name("go on").exists():
    save_prompt(sys.argv[2], [[torch.full((1, 64, 1024), number), {}]], "text", "encoder")
"""


def test_two_writers_of_one_prompt_never_leave_a_torn_one(tmp_path):
    """Each read gives the whole of what one of them wrote."""
    path, go_on = tmp_path / "a.safetensors", tmp_path / "go on"
    save_prompt(path, [[torch.zeros(1, 64, 1024), {}]], "text", "encoder")
    go_on.touch()
    command = [sys.executable, "-c", WRITER, str(ROOT), str(path)]
    writers = [subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE) for number in (1, 2)]
    seen, reads = set(), 0
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == b"begun\n"
        end = time.monotonic() + 60
        while (reads < 300 or not {1.0, 2.0} <= seen) and time.monotonic() < end:
            ((embedding, _),) = load_prompt(path)
            low, high = embedding.aminmax()
            assert low == high
            seen.add(float(low))
            reads += 1
    finally:
        go_on.unlink()
        ended = [writer.wait(60) for writer in writers]
    assert ended == [0, 0] and {1.0, 2.0} <= seen and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("room", [20_000, 400_000])  # not enough for the last frames; for them, not for the segment
def test_a_full_disk_keeps_the_finished_segments_and_nothing_of_the_next(tmp_path, room):
    store, tail = SegmentStore(tmp_path / "job"), torch.rand(5, 48, 80, 3)
    store.save(0, NOISE[:2], tail, Fraction(30))
    with limited(room), pytest.raises(InputError) as found:
        store.save(1, np.concatenate([NOISE] * 3), tail, Fraction(30))
    assert_one_sentence(found.value, "run the same job again, it goes on from the finished segments")
    assert sorted(os.listdir(tmp_path / "job")) == ["segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"]
    again = SegmentStore(tmp_path / "job")
    assert again.finished() == 1 and torch.equal(again.tail(0), tail)
    again.save(1, NOISE, tail, Fraction(30))
    assert again.finished() == 2


@pytest.mark.parametrize("content", [b"", b"half of it", None])
def test_a_segment_whose_last_frames_are_damaged_is_made_again(tmp_path, content):
    store = SegmentStore(tmp_path / "job")
    for index in range(2):
        store.save(index, NOISE[:2], torch.rand(1, 48, 80, 3), Fraction(30))
    whole = store.tail_path(1).read_bytes()
    store.tail_path(1).write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert SegmentStore(tmp_path / "job").finished() == 1
    with pytest.raises(InputError, match="the segment's last frames .* damaged .* delete this file and run again"):
        store.tail(1)


def test_an_error_that_is_not_of_the_disk_stays_what_it_is(tmp_path):
    for error in (RuntimeError("no memory"), InputError("frame 3 is damaged."), KeyboardInterrupt()):
        with pytest.raises(type(error)) as found, replacing(tmp_path / "a", "the file") as temporary:
            open(temporary, "wb").close()
            raise error
        assert found.value is error and not os.listdir(tmp_path)


# -- names


def test_any_name_that_the_disk_takes_can_be_written(tmp_path):
    for name in ("é" * 127, "舞" * 80 + ".mp4", "a." + "b" * 250, ".mp4", "a b\t'\"$(x);ü.npz"):
        with replacing(tmp_path / name, "the file") as temporary:
            open(temporary, "wb").close()
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    "name, says",
    [
        ("舞" * 86 + ".mp4", "File name too long): choose a shorter or plainer name"),
        ("a\0b.mp4", "choose a shorter or plainer name"),
        ("no/a.mp4", "there is no folder"),
        ("folder", "that is a folder"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused_before_the_work(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as found:
        check_place(tmp_path / name, "the video")
    assert_one_sentence(found.value, says)
    assert os.listdir(tmp_path) == ["folder"]


def test_an_ending_of_another_kind_is_refused(tmp_path):
    assert check_ending(tmp_path / "a.MP4", "the video", (".mp4", ".m4v")) == tmp_path / "a.MP4"
    for name, found in (("a.gif", "ends in .gif"), ("a", "has no ending")):
        with pytest.raises(InputError, match=f"is written as .mp4, but .* {found}: name it a.mp4"):
            check_ending(tmp_path / name, "the video", (".mp4", ".m4v"))


def test_short_names_are_short_in_bytes_and_whole_characters():
    assert short_name("dance") == "dance"
    assert all(len(short_name(one * 200).encode()) <= 40 and set(short_name(one * 200)) == {one} for one in "aé舞💃")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "a", tmp_path / ("舞" * 90)):
        with pytest.raises(InputError, match="the prompt cannot be written to the folder .* cannot be made"):
            make_folder(folder, "the prompt")
    with pytest.raises(InputError, match="cannot be made"):
        track().save(tmp_path / "file" / "a.npz")


def test_a_result_that_cannot_have_its_name_says_where_it_is(tmp_path):
    (tmp_path / "clip.mp4").touch(), (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"and stays in {tmp_path}/clip.mp4: move it from there"):
        rename(tmp_path / "clip.mp4", tmp_path / "folder", "the video")
    rename(tmp_path / "clip.mp4", tmp_path / "a.mp4", "the video")
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "folder"]


# -- reading


def two(name: str) -> dict:
    return {f"{name}.lora_A.weight": torch.ones(2, 4), f"{name}.lora_B.weight": torch.ones(4, 2)}


READS = {
    "prompt": ("a.safetensors", load_prompt, lambda path: save_file({"cond": torch.zeros(1, 5, 8)}, path)),
    "track": ("a.npz", PoseTrack.load, lambda path: track().save(path)),
    "lora": ("a.safetensors", lambda path: read_lora(str(path)), lambda path: save_file(two("blocks.0.ffn.0"), path)),
    "pickle": ("a.ckpt", lambda path: read_lora(str(path)), lambda path: torch.save(two("blocks.0.ffn.0"), path)),
    "header": ("a.safetensors", lambda path: read_header(str(path)), lambda path: save_file(two("a"), path)),
    "segmenter": ("a.safetensors", read_weights, lambda path: save_file(two("a"), path)),
}


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize("state", ["missing", "folder", "empty", "half", "text", "unreadable"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, kind, state):
    name, read, write = READS[kind]
    path = tmp_path / name
    if state == "folder":
        path.mkdir()
    elif state != "missing":
        write(path)
        whole = path.read_bytes()
        content = {"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello, this is a text\n" * 20}
        path.write_bytes(content.get(state, whole))
    if state == "unreadable":
        path.chmod(0)
        if os.access(path, os.R_OK):  # an administrator may read anything; /proc has what nobody may
            path = "/proc/self/mem" if os.path.exists("/proc/self/mem") else pytest.skip("run as an ordinary user")
    with pytest.raises(InputError) as found:
        read(path)
    assert_one_sentence(found.value)
    if state in ("missing", "folder"):
        assert re.search("does not exist" if state == "missing" else "is a folder", str(found.value))


def test_what_a_prompt_file_says_of_itself_may_be_damaged_too(tmp_path):
    for empty in ("{", "3", '[["a"]]'):
        save_file({"cond": torch.zeros(1, 5, 8)}, tmp_path / "a.safetensors", {"empty": empty})
        try:
            load_prompt(tmp_path / "a.safetensors")
        except InputError as error:
            assert_one_sentence(error, "list cannot be read")


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": np.nan},
        {"fps": np.inf},
        {"fps": [30, 24]},
        {"fps": "fast"},
        {"fps_ratio": [30, 0]},
        {"fps_ratio": [1] * 3},
        {"width": [1, 2]},
        {"height": "a"},
        {"keypoints": np.full((2, 133, 3), "a")},
        {"fps": 0.0},
        {"width": 0},
    ],
)
def test_a_track_whose_numbers_make_none(tmp_path, changes):
    arrays = {"keypoints": np.zeros((2, 133, 3), np.float32), "fps": 30.0, "width": 64, "height": 48}
    np.savez(tmp_path / "a.npz", **arrays | changes)
    with pytest.raises(InputError) as found:
        PoseTrack.load(tmp_path / "a.npz")
    assert_one_sentence(found.value)


def test_reading_names_what_went_wrong(tmp_path):
    for error, says in (
        (PermissionError(13, "Permission denied"), "may not be read: correct its permissions"),
        (OSError(5, "Input/output error"), r"cannot be read \(Input/output error\): download it again"),
        (EOFError(), "is damaged or another kind of file: download it again"),
    ):
        with (
            pytest.raises(InputError, match=f"the model .* {says}"),
            reading(tmp_path / "a", "the model", "download it again"),
        ):
            raise error
