"""What the shell's mp4 says of how it was made, and making it again from that."""

import getpass
import json
import shutil
from dataclasses import fields, replace

import av
import numpy as np
import pytest
import torch

from wan_animate import cli
from wan_animate.chain.segment_files import LosslessSource
from wan_animate.cli.options import RunOptions
from wan_animate.cli.recording import LATER, LEFT_OUT
from wan_animate.errors import InputError
from wan_animate.pose.track import PoseTrack
from wan_animate.record.clip_record import TAG, ClipRecord, read_record
from wan_animate.record.compare import check_inputs
from wan_animate.record.frame_hashes import FrameHashes
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_parts

from .test_options import inputs  # noqa: F401  (a fixture)

FRAMES = 8  # two segments of 5 with one frame taken over


@pytest.fixture(scope="module")
def made(inputs, small_models, tmp_path_factory):  # noqa: F811
    """(the clip, the files it was made of by option, the hashes of its lossless frames)"""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    folder = tmp_path_factory.mktemp("clip-of-somebody")
    given = inputs | {
        "image-2": inputs["image"],
        "models": small_models.diffusers,
        "steps": 1,
        "area": 128 * 80,
        "limit": FRAMES,
        "seed": 7,
    }
    files = {name: given.pop(name) for name in ("video", "image", "image-2", "track", "prompt-file", "models")}
    for name, path in files.items():
        files[name] = folder / f"jane-doe-{name}{path.suffix}"
        files[name].symlink_to(path)
    hashes = FrameHashes()
    whole = LosslessSource.__init__

    def seen(self, parts, fps):
        whole(self, parts, fps)
        for _, _, frames in self.batches(8):
            hashes.add(frames)
        hashes.end_segment()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LosslessSource, "__init__", seen)  # of the clip, when all is made
        assert cli.main(arguments(files | given | {"out": folder / "clip.mp4"})) == 0
    return folder / "clip.mp4", files, hashes


def arguments(given: dict) -> list[str]:
    return [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget"]


def again(clip, files, *more) -> int:
    return cli.main(["reproduce", str(clip), *(f"--{name}={path}" for name, path in files.items()), *more])


def tag(path) -> dict:
    with av.open(str(path)) as container:
        return json.loads(container.metadata[TAG])


def test_the_mp4_says_how_it_was_made(made, small_models):
    clip, files, hashes = made
    record = tag(clip)
    settings = record["settings"]
    assert (settings["seed"], settings["steps"], settings["mode"], settings["segment"]) == (7, 1, "animate", 5)
    assert settings["no_retarget"] is True and settings["person_point"] == [0.5, 0.5]
    shown = {"frames": FRAMES, "segments": 2, "first_segment": 1}
    assert record["clip"] == {"width": 128, "height": 80, "fps": "30", **shown}
    assert record["versions"]["torch"] == torch.__version__ and record["versions"]["wan_animate_kit"] == "0.1.0"
    assert record["device"] == "CPU"
    assert {model["part"] for model in record["models"]} == {"transformer", "vae"}
    assert set(record["files"]) == {"video", "image", "image_2", "track", "prompt_file"}
    assert {"reference image", "reference image 2", "pose", "face", "driving video", "pose track"} == set(
        record["inputs"]
    )
    digests = [*record["files"].values(), *record["inputs"].values(), record["frames"], *record["segments"]]
    assert all(len(digest) == 32 and int(digest, 16) for digest in digests) and len(record["segments"]) == 2
    assert record["frames"] == hashes.whole, "of the frames as they lie on disk, lossless"


def test_nothing_private_is_in_the_mp4(made):
    """Neither a path, nor the name of a file of the user's, nor that of the user."""
    clip, files, _ = made
    content = clip.read_bytes()
    words = [
        str(clip.parent),
        clip.parent.name,
        str(cli.__file__),
        "jane-doe",
        "/tmp",
        "/home",
        "/root",
        "small/models",
    ]
    words += [part for path in files.values() for part in (str(path), str(path.resolve()), path.resolve().parent.name)]
    user = getpass.getuser()
    words += [user] if len(user) > 5 else []  # a short one may be there by chance
    assert not [word for word in words if word.encode() in content]
    assert b"wan_animate_kit" in content


def test_the_same_frames_again(made, tmp_path, capsys):
    clip, files, _ = made
    assert again(clip, files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 0
    out = capsys.readouterr()
    assert "the same 8 frames, bit for bit" in out.err and str(tmp_path / "b.mp4") in out.out
    first, second = tag(clip), tag(tmp_path / "b.mp4")
    assert first == second
    assert again(clip, {}, f"--against={tmp_path / 'b.mp4'}") == 0


@pytest.mark.parametrize(
    "last",
    [
        ["--segment-seeds=1:99", "--keep-rest"],
        ["--segment-seeds=1:99", "--keep-rest", "--last-segment=1"],
        ["--segment-seeds=2:5", "--first-segment=2"],
    ],
)
def test_what_a_clip_goes_on_from_is_made_again(made, tmp_path, capsys, last):
    """From nothing, bit for bit; what the first run made is part of the clip."""
    clip, files, _ = made
    then = tag(clip)["settings"]
    (tmp_path / "first").mkdir()
    given = files | {name: then[name] for name in ("steps", "area", "segment", "seed", "limit")}
    for more in ([], last):
        line = arguments(given | {"out": tmp_path / "first" / "a.mp4"})
        assert cli.main([*line, "--device=cpu", "--keep-segments", *more]) == 0
    own = shutil.copy(tmp_path / "first" / "a.mp4", tmp_path / "a.mp4")
    shutil.rmtree(tmp_path / "first")
    record = tag(own)
    assert record["clip"]["frames"] == FRAMES == len(VideoSource(own, fps=0)) and len(record["segments"]) == 2
    assert record["frames"] != tag(clip)["frames"]
    capsys.readouterr()
    assert again(own, files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 0
    assert "the same 8 frames, bit for bit" in capsys.readouterr().err
    assert tag(tmp_path / "b.mp4") == record
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"], "what it went on from is removed"


def test_a_server_is_not_asked_for_what_a_workflow_does_not_make(made, tmp_path, capsys):
    clip, _, _ = made
    record = read_record(clip)
    options = record.settings["options"]
    for changes, says in (
        ({"keep_rest": True, "segment_seeds": {"1": 9}}, "shows the rest of a clip that had been made without segment"),
        ({"first_segment": 1}, "shows segments that had been finished before"),
        ({"last_segment": 0}, "shows segments that had been finished before"),
    ):
        forged = replace(record, host="ComfyUI", settings=record.settings | {"options": options | changes})
        tags = forged.tags(FrameHashes(list(record.segments)))
        write_parts(tmp_path / "c.mp4", [[np.zeros((8, 16, 16, 3), np.uint8)]], (16, 16), 8, 30, metadata=tags)
        assert again(tmp_path / "c.mp4", {}, "--server=http://127.0.0.1:9") == 2
        assert says in capsys.readouterr().err


def test_the_clip_is_not_written_over(made, tmp_path, capsys):
    clip, files, _ = made
    own = tmp_path / "c.mp4"
    shutil.copy(clip, own)
    assert again(own, files, f"--out={own}", "--device=cpu") == 2
    assert f"--out and the clip are the same file, {own}" in capsys.readouterr().err
    assert own.read_bytes() == clip.read_bytes()


def test_whether_segments_are_kept_is_no_setting(made):
    """Reproduce would keep its own, and compare them with themselves the next time."""
    clip, _, _ = made
    assert "keep_segments" in LEFT_OUT and "keep_segments" not in read_record(clip).settings


def test_its_place_by_default_is_next_to_the_clip(made, tmp_path):
    clip, files, _ = made
    shutil.copy(clip, tmp_path / "c.mp4")
    assert again(tmp_path / "c.mp4", files, "--device=cpu") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c-again.mp4", "c.mp4"]


def test_other_frames_are_told_by_their_segment(made, tmp_path, monkeypatch, capsys):
    """A machine whose numbers differ in the second segment."""
    from wan_animate.chain.job import AnimateJob

    clip, files, _ = made
    noise = AnimateJob.noise

    def other_noise(self, segment, shape):
        return noise(self, segment, shape) * (1 + 0.1 * segment.index)

    monkeypatch.setattr(AnimateJob, "noise", other_noise)
    assert again(clip, files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 1
    assert "other frames from segment 2 of 2 on" in capsys.readouterr().err


def refused(capsys, clip, files, folder, *more) -> str:
    before = sorted(folder.iterdir())
    assert again(clip, files, f"--out={folder / 'new' / 'b.mp4'}", "--device=cpu", *more) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert sorted(folder.iterdir()) == before, "nothing is left behind"
    return line.removeprefix("wan-animate: ")


def test_what_is_missing_is_named(made, tmp_path, capsys):
    clip, files, _ = made
    line = refused(capsys, clip, {name: files[name] for name in ("image", "image-2", "models")}, tmp_path)
    hashes = tag(clip)["files"]
    assert f"give --video (hash {hashes['video'][:12]}), --track (hash {hashes['track'][:12]})" in line
    assert "--prompt-file" in line
    assert "give --models" in refused(capsys, clip, {k: v for k, v in files.items() if k != "models"}, tmp_path)


def test_what_has_changed_is_named(made, tmp_path, capsys):
    clip, files, _ = made
    track = PoseTrack.load(files["track"])
    track.replaced(track.keypoints + np.float32(1)).save(tmp_path / "track.npz")
    shutil.copy(files["video"], tmp_path / "driver.mp4")  # another name is not another file
    (tmp_path / "driver.mp4").open("ab").write(b"\0")
    line = refused(capsys, clip, files | {"track": tmp_path / "track.npz", "video": tmp_path / "driver.mp4"}, tmp_path)
    assert "--track is another file (hash " in line and "--video is another file" in line and "--image" not in line
    line = refused(capsys, clip, files | {"sam2": files["track"]}, tmp_path)
    assert "was made without --sam2: leave it out" in line


def test_other_weights_are_named(made, tmp_path, capsys):
    clip, files, _ = made
    shutil.copytree(files["models"], tmp_path / "models")
    (weights,) = (tmp_path / "models" / "vae").glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    line = refused(capsys, clip, files | {"models": tmp_path / "models"}, tmp_path)
    assert f"the vae is other weights than {weights.name} (hash " in line


def test_what_the_model_would_be_given_is_compared_before_it_runs(made):
    """Such as a pose that another version of the detector finds otherwise."""
    then = read_record(made[0])
    now = ClipRecord(**(vars(then) | {"inputs": then.inputs | {"pose": "1" * 32}, "versions": {"torch": "1.0"}}))
    with pytest.raises(InputError, match=r"the pose is another \(hash 111111111111, and was .*torch 1.0 here"):
        check_inputs(then, now)
    check_inputs(then, then)


def test_clips_without_a_record(made, tmp_path, capsys, inputs):  # noqa: F811
    assert "does not say how it was made" in refused(capsys, inputs["video"], {}, tmp_path)
    assert "was not found" in refused(capsys, tmp_path / "no.mp4", {}, tmp_path)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda record: record | {"form": 9}, "is of form 9"),
        (lambda record: record | {"settings": 5}, "is damaged"),
        (lambda record: {"form": 1}, "is damaged"),
        (lambda record: record | {"settings": record["settings"] | {"steps": "many"}}, "are not those of this version"),
        (lambda record: record | {"settings": record["settings"] | {"steps": -1}}, "--steps is -1"),
        (lambda record: record | {"host": "ComfyUI"}, "was made in ComfyUI"),
    ],
)
def test_a_record_that_somebody_wrote(made, tmp_path, capsys, change, says):
    clip, files, _ = made
    forged = tmp_path / "forged.mp4"
    with av.open(str(clip)) as source, av.open(str(forged), "w", options={"movflags": "use_metadata_tags"}) as target:
        target.metadata[TAG] = json.dumps(change(tag(clip)))
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert again(forged, files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 2
    assert says in capsys.readouterr().err and not (tmp_path / "b.mp4").exists()


def test_every_option_is_an_input_or_recorded(made):
    options = {one.name for one in fields(RunOptions)}
    recorded = {*tag(made[0])["settings"], *LATER, "prompt"}  # with a saved prompt there is none
    assert options == (options & LEFT_OUT) | (options & recorded)


@pytest.fixture(scope="module")
def cropped(inputs, small_models, tmp_path_factory):  # noqa: F811
    """As :func:`made`, in a window."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    folder = tmp_path_factory.mktemp("window")
    given = inputs | {"models": small_models.diffusers, "steps": 1, "area": 96 * 80, "limit": FRAMES, "mode": "replace"}
    files = {name: given.pop(name) for name in ("video", "image", "track", "prompt-file", "models")}
    line = [f"--{name}={value}" for name, value in (files | given | {"out": folder / "clip.mp4"}).items()]
    assert cli.main([*line, "--crop", "--keep-segments"]) == 0
    hashes = FrameHashes()
    for segment in sorted(folder.glob(".clip-*/segment_*.mkv")):
        source = LosslessSource([(segment, 0, len(VideoSource(segment, fps=0)))], 30)
        hashes.add(source.read(0, len(source)))
        hashes.end_segment()
    return folder / "clip.mp4", files, hashes


def test_a_clip_of_a_window_says_how_it_was_made(cropped, inputs):  # noqa: F811
    clip, _, hashes = cropped
    record, driver, video = tag(clip), VideoSource(inputs["video"]), VideoSource(clip)
    assert record["settings"]["crop"] is True and record["settings"]["mode"] == "replace"
    assert (video.width, video.height, len(video)) == (driver.width, driver.height, FRAMES)
    made = record["clip"]
    assert made["frames"] == FRAMES and made["width"] * made["height"] <= 96 * 80, "of what lies in the window"
    assert {"background", "character mask", "driving video", "pose track"} < set(record["inputs"])
    assert len(record["segments"]) == 2 and record["segments"] == hashes.segments and record["frames"] == hashes.whole


def test_a_clip_of_a_window_is_made_again(cropped, tmp_path, capsys):
    clip, files, _ = cropped
    assert again(clip, files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 0
    assert "the same 8 frames, bit for bit" in capsys.readouterr().err
    assert tag(clip) == tag(tmp_path / "b.mp4")
    one, other = (VideoSource(path) for path in (clip, tmp_path / "b.mp4"))
    assert (one.width, one.height) == (other.width, other.height)
    assert again(clip, {}, f"--against={tmp_path / 'b.mp4'}") == 0


def test_a_part_of_a_clip_of_a_window_is_made_again(cropped, tmp_path, capsys):
    """The first segment alone: its hash is the whole clip's."""
    clip, files, hashes = cropped
    then = tag(clip)["settings"]
    line = [f"--{name}={path}" for name, path in files.items()]
    line += [f"--{name}={then[name]}" for name in ("steps", "area", "limit", "mode", "segment")]
    assert cli.main([*line, f"--out={tmp_path / 'a.mp4'}", "--device=cpu", "--crop", "--last-segment=1"]) == 0
    assert tag(tmp_path / "a.mp4")["segments"] == hashes.segments[:1] and len(VideoSource(tmp_path / "a.mp4")) == 5
    assert again(tmp_path / "a.mp4", files, f"--out={tmp_path / 'b.mp4'}", "--device=cpu") == 0
    assert tag(tmp_path / "a.mp4") == tag(tmp_path / "b.mp4")
