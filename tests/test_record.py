"""A clip's record: what it takes of a job, how it is written into an mp4 and read again."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch

from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError
from wan_animate.record.clip_record import TAG, ClipRecord, read_record, record_of
from wan_animate.record.compare import first_difference, frames_compared, other_inputs
from wan_animate.record.frame_hashes import FrameHashes
from wan_animate.record.identity import picture_hash, weights_hash
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource
from wan_animate.video.tags import read_tags, replace_tag
from wan_animate.video.write import write_parts

from .support.chain import PlainDenoiser, PlainVAE, make_job

FRAMES = 20


def job(**changes) -> AnimateJob:
    pose = TensorSource(torch.rand(FRAMES, 64, 96, 3, generator=torch.Generator().manual_seed(1)), 30)
    return make_job(torch.zeros(64, 96, 3), **{"pose": pose, "segment_length": 9, "seed": 3, **changes})


def make(work: AnimateJob, folder, **changes) -> ClipRecord:
    record = record_of(work, "shell", {"prompt": "舞 a dance"})
    video = folder / "clip.mp4"
    generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(folder), video=video, record=record, **changes)
    return read_record(video)


def frames_of(folder) -> FrameHashes:
    hashes, work = FrameHashes(), job()
    for segment in work.plan():
        hashes.add(SegmentStore(folder).clip([segment], work.fps).read(0, segment.keep))
        hashes.end_segment()
    return hashes


def test_the_hashes_are_of_the_frames_on_disk(tmp_path):
    record = make(job(), tmp_path / "job")
    hashes = frames_of(tmp_path / "job")
    assert record.frames == hashes.whole and list(record.segments) == hashes.segments and len(hashes.segments) == 3
    given = {"mode": "animate", "segment_length": 9, "previous_frames": 1, "seed": 3, "prompt": "舞 a dance"}
    assert given.items() <= record.settings.items() and record.settings["options"]["crossfade"] == 0
    shown = {"frames": FRAMES, "segments": 3, "first_segment": 1}
    assert record.clip == {"width": 96, "height": 64, "fps": "30", **shown} and record.shown == (0, 2)


@pytest.mark.parametrize(
    "options, shown",
    [
        # 9 frames a segment, one taken over: 9, 8 and 3 new ones
        (ClipOptions(last_segment=1), {"frames": 17, "segments": 2, "first_segment": 1}),
        (ClipOptions(continue_from=TensorSource(torch.zeros(3, 64, 96, 3))), {"frames": 19, "segments": 3}),
        (
            ClipOptions(continue_from=TensorSource(torch.zeros(3, 64, 96, 3)), first_segment=1),
            {"frames": 11, "segments": 2, "first_segment": 2},
        ),
    ],
)
def test_the_record_of_a_part_is_of_what_was_made(options, shown, tmp_path):
    work = job(options=options)
    record = make(work, tmp_path / "job")
    assert shown.items() <= record.clip.items() and len(record.segments) == record.clip["segments"]
    assert record.clip["frames"] == len(VideoSource(tmp_path / "job" / "clip.mp4", fps=0))
    assert f"the same {shown['frames']} frames" in frames_compared(record, record)
    assert record.shown[0] == options.first_segment


def test_the_record_of_a_part_that_joins_on_to_finished_segments(tmp_path):
    make(job(), tmp_path / "job")
    record = make(job(options=ClipOptions(first_segment=1, last_segment=1)), tmp_path / "job")
    assert record.clip["frames"] == FRAMES and record.shown == (0, 2) and len(record.segments) == 3


def test_a_resumed_job_says_the_same(tmp_path):
    def stop(progress):
        if progress.segment == 2:
            raise Cancelled

    whole = make(job(), tmp_path / "whole")
    with pytest.raises(Cancelled):
        make(job(), tmp_path / "job", progress=stop)
    assert make(job(), tmp_path / "job") == whole


def test_the_same_pictures_by_hand_and_another_seed(tmp_path):
    first, second = make(job(), tmp_path / "a"), make(job(seed=4), tmp_path / "b")
    assert first_difference(first, second) == 0
    assert other_inputs(first, second) == ["seed is 4, and was 3"]
    assert frames_compared(first, first).startswith("the same 20 frames, bit for bit")
    assert other_inputs(first, first) == []


def test_the_first_segment_that_differs_is_named():
    hashes = [FrameHashes(), FrameHashes()]
    for at in range(3):
        for which, one in enumerate(hashes):
            one.add(np.full((2, 4, 4, 3), at + 10 * which * (at >= 1), np.uint8))
            one.end_segment()
    records = [
        ClipRecord("shell", {}, {"frames": 6}, {}, frames=one.whole, segments=tuple(one.segments)) for one in hashes
    ]
    assert first_difference(*records) == 1
    assert "from segment 2 of 3 on" in frames_compared(*records)


@dataclass
class Extra:
    cuts: tuple[int, ...] = (3, 5)
    seeds: dict = field(default_factory=lambda: {2: 9})
    clip: TensorSource | None = None
    other: object = None


@dataclass
class LaterJob(AnimateJob):
    rate: Fraction = Fraction(5, 2)
    extra: Extra = field(default_factory=Extra)


def test_settings_of_any_kind_are_kept():
    given = job()
    clip = TensorSource(torch.zeros(2, 8, 8, 3))
    later = LaterJob(given.reference, given.controls, extra=Extra(clip=clip, other=object()))
    settings = record_of(later, "shell", {}).settings
    assert settings["rate"] == "5/2"
    assert settings["extra"]["cuts"] == [3, 5] and settings["extra"]["seeds"] == {"2": 9}
    assert len(settings["extra"]["clip"]) == 32 and settings["extra"]["other"] is None


def test_more_segments_than_there_is_place_for():
    record = record_of(job(), "shell", {})
    hashes = FrameHashes(["1" * 32] * 90)
    before, after = record.tags()[TAG], record.tags(hashes)[TAG]
    assert len(after) <= len(before)
    assert len(record.tags(FrameHashes(["1" * 32] * 3))[TAG]) == len(before)


def write(path, text: str, final=None) -> None:
    chunks = [np.zeros((8, 16, 16, 3), np.uint8)]
    write_parts(path, [chunks], (16, 16), 8, 30, metadata={"about": text, "comment": "hello"}, final=final)


def test_a_tag_that_is_known_after_the_last_frame(tmp_path):
    write(tmp_path / "a.mp4", "0" * 50, lambda: {"about": "1234567890"})
    tags = read_tags(tmp_path / "a.mp4")
    assert tags["about"].rstrip() == "1234567890" and tags["comment"] == "hello"


def test_a_tag_without_a_place_costs_no_video(tmp_path, caplog):
    write(tmp_path / "a.mp4", "0" * 10, lambda: {"about": "1" * 11})
    assert read_tags(tmp_path / "a.mp4")["about"] == "0" * 10 and "stays as it was" in caplog.text
    assert not replace_tag(tmp_path / "a.mp4", "not there", "x")
    (tmp_path / "twice").write_bytes(b"abcabc")
    assert not replace_tag(tmp_path / "twice", "abc", "x") and (tmp_path / "twice").read_bytes() == b"abcabc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "twice"]


def test_a_file_without_a_record(tmp_path):
    write(tmp_path / "a.mp4", "nothing")
    with pytest.raises(InputError, match="does not say how it was made"):
        read_record(tmp_path / "a.mp4")


def test_hashes_tell_files_and_pictures_apart(tmp_path):
    big = bytes(range(256)) * 4096
    (tmp_path / "a").write_bytes(big)
    (tmp_path / "b").write_bytes(big)
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")
    (tmp_path / "c").write_bytes(big[:-1] + b"\x00")
    (tmp_path / "d").write_bytes(big + b"\x00")
    assert len({weights_hash(tmp_path / name) for name in "acd"}) == 3
    picture = torch.rand(4, 6, 3)
    assert picture_hash(picture) == picture_hash(picture.clone()) != picture_hash(picture.reshape(6, 4, 3))
