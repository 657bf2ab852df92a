"""``preprocess`` and ``generate``: upstream's intermediate files, written as it writes them and read as it does."""

import json
import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from demo.example import Dancer, write_example
from wan_animate import cli
from wan_animate.chain.control_sources import Controls
from wan_animate.errors import InputError
from wan_animate.pose.track import PoseTrack
from wan_animate.record.clip_record import read_record
from wan_animate.upstream.checkpoints import find_checkpoints
from wan_animate.upstream.intermediates import (
    Intermediates,
    IntermediateVideo,
    read_intermediates,
    write_intermediates,
)
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from .test_options import inputs  # noqa: F401  (a fixture)

FRAMES = 8
ANIMATE = ["src_face.mp4", "src_pose.mp4", "src_ref.png"]
REPLACE = ["src_bg.mp4", *ANIMATE[:1], "src_mask.mp4", *ANIMATE[1:]]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    video, image = write_example(folder)
    dancer = Dancer(0.5, (320, 176))
    PoseTrack(np.stack([dancer.keypoints(at) for at in range(FRAMES)]), 320, 176).save(folder / "track.npz")
    return {"video_path": video, "refer_path": image, "track": folder / "track.npz", "limit": FRAMES}


def preprocess(example, folder, *more, code=0):
    given = [f"--{name}={value}" for name, value in example.items()]
    assert cli.main(["preprocess", *given, f"--save_path={folder}", "--resolution_area", "160", "96", *more]) == code
    return folder


@pytest.fixture(scope="module")
def replaced(example, tmp_path_factory):
    return preprocess(example, tmp_path_factory.mktemp("replace") / "new", "--replace_flag", "--clean=0")


@pytest.fixture(scope="module")
def animate_files(example, tmp_path_factory):
    return preprocess(example, tmp_path_factory.mktemp("animate"))


@pytest.fixture
def animated(animate_files, tmp_path):
    return shutil.copytree(animate_files, tmp_path / "a")


def described(path) -> tuple:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        assert not container.streams.audio
        codec = stream.codec_context
        return codec.name, codec.pix_fmt, codec.width, codec.height, stream.average_rate, count


def test_files_of_replace(replaced, capsys):
    assert sorted(path.name for path in replaced.iterdir()) == REPLACE
    for name in REPLACE[:-1]:
        side = (512, 512) if name == "src_face.mp4" else (160, 80)  # upstream's resize_by_area, divisible by 16
        assert described(replaced / name) == ("h264", "yuv420p", *side, 30, FRAMES)


def test_files_of_animate_have_the_pictures_shape(example, tmp_path):
    picture = Image.open(example["refer_path"])
    sizes = []
    for name, more in (("kept", []), ("retargeted", ["--retarget_flag", f"--reference_track={_robot(example)}"])):
        folder = preprocess(example, tmp_path / name, *more)
        assert sorted(path.name for path in folder.iterdir()) == ANIMATE
        sizes.append(described(folder / "src_pose.mp4")[2:4])
        assert described(folder / "src_face.mp4")[2:] == (512, 512, 30, FRAMES)
        assert np.array_equal(np.asarray(Image.open(folder / "src_ref.png")), np.asarray(picture.convert("RGB")))
    width, height = sizes[0]
    assert sizes[0] == sizes[1] and width % 16 == height % 16 == 0 and width * height <= 160 * 96
    assert abs(width / height - picture.width / picture.height) < 0.35


def _robot(example):
    return example["refer_path"].parent / "robot_pose.npz"


def test_another_reader_finds_the_same_frames(replaced):
    """OpenCV takes every video for BT.601 in limited range, as upstream's decord does with untagged ones."""
    made = read_intermediates(replaced, "replace").controls
    for name, source in (("src_bg.mp4", made.background), ("src_face.mp4", made.face), ("src_mask.mp4", None)):
        reader = cv2.VideoCapture(str(replaced / name))
        theirs = []
        while (read := reader.read())[0]:
            theirs.append(read[1][..., ::-1])
        theirs = np.stack(theirs).astype(int)
        assert len(theirs) == FRAMES
        if source is None:
            assert set(np.unique((theirs + 4) // 8)) <= {0, 1, 31, 32}, "black and white, but for its edge"
            assert np.array_equal(theirs[..., 0] >= 128, made.character_mask.read(0, FRAMES) >= 128)
        else:
            assert np.abs(theirs - source.read(0, FRAMES)).mean() < 2.5


def test_the_mask_and_the_background_are_each_others(replaced):
    made = read_intermediates(replaced, "replace").controls
    mask = made.character_mask.read(0, FRAMES)
    background = made.background.read(0, FRAMES).astype(int)
    inside = cv2.erode((mask[0] >= 128).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert inside.mean() > 0.05 and background[0][inside].mean() < 4 < 40 < background[0][mask[0] < 128].mean()


@pytest.mark.parametrize("size", [(1280, 720), (320, 176)])
def test_untagged_colours_are_bt_601_at_any_size(tmp_path, size):
    """As moviepy writes them. A player takes those of 1280x720 for BT.709."""
    colors = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200), (230, 230, 230)], np.uint8)
    image = np.repeat(np.repeat(colors[None], size[1], 0), size[0] // 4, 1)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.options = *size, "yuv420p", {"crf": "23"}
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="itu601"
            )
            frame.colorspace = 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    at = [size[0] // 8 + size[0] // 4 * index for index in range(4)]

    def error(source) -> int:
        return int(np.abs(source.read(1, 2)[0][size[1] // 2, at].astype(int) - colors).max())

    ours, player = (kind(tmp_path / "a.mp4", fps=0) for kind in (IntermediateVideo, VideoSource))
    assert error(ours) <= 4 and (error(player) > 15) == (size[0] == 1280)
    assert ours.fingerprint() != player.fingerprint()


def test_rates_and_soft_masks_go_through(tmp_path):
    rng = np.random.default_rng(0)
    images = TensorSource(rng.integers(0, 255, (6, 32, 48, 3), np.uint8), Fraction(30000, 1001))
    faces = TensorSource(rng.integers(0, 255, (6, 512, 512, 3), np.uint8), images.fps)
    soft = TensorSource(np.tile(np.linspace(0, 1, 48, dtype=np.float32), (6, 32, 1)), images.fps)
    made = Intermediates(torch.rand(20, 30, 3), Controls(images, faces, images, soft))
    seen = []
    paths = write_intermediates(tmp_path, made, lambda *done: seen.append(done))
    assert sorted(path.name for path in paths) == REPLACE
    assert seen[-1] == (6, 6)
    back = read_intermediates(tmp_path, "replace")
    assert back.controls.pose.fps == Fraction(30000, 1001) and back.mode == "replace"
    assert np.array_equal(back.controls.character_mask.read(0, 6)[:, 16] >= 128, np.tile(np.arange(48) >= 24, (6, 1)))
    assert torch.allclose(back.reference, made.reference, atol=0.5 / 255 + 1e-6)


def test_nothing_half_written_stays(tmp_path):
    class Broken(TensorSource):
        def _read(self, start, stop):
            raise InputError("the disk is gone.")

    images = TensorSource(np.zeros((4, 32, 48, 3), np.uint8))
    with pytest.raises(InputError, match="gone"):
        write_intermediates(tmp_path, Intermediates(torch.rand(8, 8, 3), Controls(images, Broken(images._frames))))
    assert not list(tmp_path.iterdir())


# -- the command


@pytest.mark.parametrize(
    "more, says",
    [
        (["--ckpt_path=/no"], "--ckpt_path is /no, which is no folder"),
        (["--track=/no.npz"], "--track is /no.npz, which is not there"),
        (["--use_flux"], "--use_flux is given without --retarget_flag"),
        (["--k=0"], "--k is 0, but it must be 1 to 255"),
        (["--fps=0"], "--fps is 0, but it must be above 0 to 240"),
        (["--fps=nan"], "--fps is nan"),
        (["--resolution_area", "0", "5"], "--resolution_area is 0 5"),
        (["--retarget_flag"], "needs a pose to retarget to: give --ckpt_path, or --reference_track"),
        (["--device=gpu"], "--device is 'gpu'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(example, tmp_path, capsys, more, says):
    preprocess(example, tmp_path / "out", *more, code=2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("pose ")]
    assert line.startswith("wan-animate: ") and says in line and not (tmp_path / "out").exists()


def test_without_a_track_the_networks_are_asked_for(example, tmp_path, capsys):
    (tmp_path / "det").mkdir()
    (tmp_path / "det" / "yolov10m.onnx").touch()
    given = {name: value for name, value in example.items() if name != "track"}
    preprocess(given, tmp_path / "out", f"--ckpt_path={tmp_path}", code=2)
    assert "there is nothing to find the pose with" in capsys.readouterr().err


def test_networks_are_found_in_both_layouts(tmp_path):
    upstream, comfy = tmp_path / "process_checkpoint", tmp_path / "models"
    for path in (
        upstream / "det" / "yolov10m.onnx",
        upstream / "pose2d" / "vitpose_h_wholebody.onnx" / "end2end.onnx",
        upstream / "sam2" / "sam2_hiera_large.pt",
        comfy / "detection" / "yolov10m.onnx",
        comfy / "detection" / "vitpose-l-wholebody.onnx",
        comfy / "sam2" / "sam2.1_hiera_large.safetensors",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_checkpoints(upstream)
    assert found.pose.endswith("vitpose_h_wholebody.onnx/end2end.onnx") and found.segmenter.endswith(".pt")
    found = find_checkpoints(comfy)
    assert found.detector.endswith("yolov10m.onnx") and found.pose.endswith("vitpose-l-wholebody.onnx")
    assert found.segmenter.endswith("sam2.1_hiera_large.safetensors")


def test_a_frame_count_of_another_rate(example, tmp_path):
    given = example | {"limit": 0}
    track = PoseTrack.load(example["track"])
    many = np.concatenate([track.keypoints] * 20)
    for fps, rate in ((15, 15), (-1, VideoSource(example["video_path"], fps=0).fps)):
        frames = VideoSource(example["video_path"], fps=0 if fps == -1 else fps)
        PoseTrack(many[: len(frames)], 320, 176, frames.fps).save(tmp_path / "t.npz")
        folder = preprocess(given | {"track": tmp_path / "t.npz"}, tmp_path / str(fps), f"--fps={fps}")
        assert described(folder / "src_pose.mp4")[4:] == (rate, len(frames))


# -- the other half


def generate(folder, models, prompt, *more, code=0):
    given = {"ckpt_dir": models, "src_root_path": folder, "prompt_file": prompt, "frame_num": 5, "sample_steps": 1}
    line = [f"--{name}={value}" for name, value in (given | {"device": "cpu"}).items()]
    assert cli.main(["generate", "--task", "animate-14B", *line, *more]) == code


@pytest.fixture
def models(small_models):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    return small_models.diffusers


def test_a_clip_of_them(replaced, models, inputs, tmp_path, capsys):  # noqa: F811
    out, sheet = tmp_path / "clip.mp4", tmp_path / "sheet.png"
    more = ["--replace_flag", "--base_seed=7", f"--save_file={out}", f"--sheet={sheet}", "--refert_num=1"]
    generate(replaced, models, inputs["prompt-file"], *more)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "sheet.png"]
    clip = VideoSource(out, fps=0)
    assert (clip.width, clip.height, len(clip), clip.fps) == (160, 80, FRAMES, 30)
    record = read_record(out)
    assert record.host == "shell generate" and record.settings["seed"] == 7 and record.settings["mode"] == "replace"
    assert cli.main(["reproduce", str(out)]) == 2
    assert "run wan-animate generate again with them, --base_seed 7" in capsys.readouterr().err
    generate(replaced, models, inputs["prompt-file"], *more[:2], f"--save_file={tmp_path / 'again.mp4'}")
    assert read_record(tmp_path / "again.mp4").frames == record.frames
    lora = tmp_path / "relighting_lora.safetensors"
    write_lora(lora, models)
    relit = ["--use_relighting_lora", f"--relighting_lora={lora}"]
    for name, change in (("solver", ["--sample_solver=dpm++"]), ("relit", relit)):
        generate(replaced, models, inputs["prompt-file"], *more[:2], *change, f"--save_file={tmp_path / name}.mp4")
        other = read_record(tmp_path / f"{name}.mp4")
        assert other.frames != record.frames and ("lora" in {model.part for model in other.models}) == (name == "relit")


def test_on_two_devices(animated, models, inputs, tmp_path):  # noqa: F811
    """Processes of this machine, each with a part of the weights."""
    clips = {}
    for name, more in (("one", []), ("two", ["--ulysses_size=2", "--dit_fsdp", "--t5_fsdp"])):
        out = tmp_path / f"{name}.mp4"
        generate(animated, models, inputs["prompt-file"], "--base_seed=7", f"--save_file={out}", *more)
        clips[name] = VideoSource(out, fps=0).read(0, FRAMES).astype(int)
    assert np.abs(clips["one"] - clips["two"]).mean() < 1.5 and clips["one"].std() > 5


def write_lora(path, models):
    """On one layer, in upstream's spelling."""
    from wan_animate.backends.diffusers import load

    weight = dict(load(models)[0].named_modules())["blocks.0.attn1.to_q"].weight
    down, up = torch.ones(2, weight.shape[1]), torch.ones(weight.shape[0], 2)
    name = "diffusion_model.blocks.0.self_attn.q"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, path)


def test_a_seed_by_chance_is_printed(animated, models, inputs, capsys):  # noqa: F811
    folder = animated
    generate(folder, models, inputs["prompt-file"])
    said = capsys.readouterr()
    seed = int(said.err.split("--base_seed ")[1].split()[0])
    assert str(folder / "clip.mp4") in said.out and read_record(folder / "clip.mp4").settings["seed"] == seed


@pytest.mark.parametrize(
    "more, says",
    [
        ([], "has no src_bg.mp4, src_mask.mp4: run preprocess with --replace_flag, or generate without"),
        (["--use_relighting_lora"], "has no relighting_lora.ckpt: give --relighting_lora"),
        (["--ulysses_size=0"], "--ulysses_size is 0, but it must be 1 to 1,024"),
        (["--sample_steps=0"], "--sample_steps is 0, but it must be 1 to 1,000"),
        (["--refert_num=77"], "previous frames"),
        (["--save_file=a.gif"], "the video (--save_file) is written as .mp4"),
        (["--sample_guide_scale=nan"], "--sample_guide_scale is nan"),
        (["--audio=/no.mp4"], "--audio is /no.mp4, which is not there"),
    ],
)
def test_what_generate_cannot_do(animated, models, inputs, capsys, more, says):  # noqa: F811
    folder = animated
    if more:
        for name in ("src_bg.mp4", "src_mask.mp4"):
            (folder / name).write_bytes((folder / "src_pose.mp4").read_bytes())
    before = sorted(path.name for path in folder.iterdir())
    capsys.readouterr()
    generate(folder, models, inputs["prompt-file"], "--replace_flag", "--base_seed=1", *more, code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and sorted(path.name for path in folder.iterdir()) == before


def test_upstreams_own_layout_of_the_weights_is_said(animated, inputs, tmp_path, capsys):  # noqa: F811
    (tmp_path / "Wan2.1_VAE.pth").touch()
    generate(animated, tmp_path, inputs["prompt-file"], code=2)
    assert "has upstream's own layout: give the same weights in diffusers'" in capsys.readouterr().err


def test_the_flags_are_upstreams():
    """Of preprocess_data.py and, for animate-14B, generate.py."""
    from dataclasses import fields

    from wan_animate.cli.upstream_options import GenerateOptions, PreprocessOptions

    first = "ckpt_path video_path refer_path save_path resolution_area fps replace_flag retarget_flag use_flux"
    first += " iterations k w_len h_len"
    second = "task size frame_num ckpt_dir offload_model t5_cpu save_file prompt base_seed sample_solver sample_steps"
    second += " sample_shift sample_guide_scale convert_model_dtype src_root_path refert_num replace_flag"
    second += " use_relighting_lora ulysses_size dit_fsdp t5_fsdp"
    for flags, options in ((first, PreprocessOptions), (second, GenerateOptions)):
        assert set(flags.split()) <= {one.name for one in fields(options)}
    assert json.dumps(PreprocessOptions(video_path="a", refer_path="b", save_path="c").resolution_area) == "[1280, 720]"
