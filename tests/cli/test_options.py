"""Options that cannot work: one sentence before any model is loaded, and nothing left behind."""

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from demo.example import Dancer, write_example
from wan_animate import cli
from wan_animate.backends.diffusers import check_folder
from wan_animate.chain.strength import Strength
from wan_animate.cli.checks import RANGES, check_device, check_options, segment_settings
from wan_animate.cli.options import RunOptions
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError
from wan_animate.pose.track import PoseTrack

LONG = "舞" * 80


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Clip, picture, track, prompt, and a models folder without weights."""
    folder = tmp_path_factory.mktemp("inputs")
    video, image = write_example(folder)
    dancer = Dancer(0.5, (320, 176))
    PoseTrack(np.stack([dancer.keypoints(at) for at in range(8)]), 320, 176).save(folder / "track.npz")
    save_file({"cond": torch.zeros(1, 5, 4096)}, folder / "prompt.safetensors")
    write_models(folder / "models")
    return {"video": video, "image": image, "track": folder / "track.npz", "prompt-file": folder / "prompt.safetensors",
            "models": folder / "models", "limit": 5, "segment": 5, "area": 320 * 176, "device": "cpu"}  # fmt: skip


def write_models(folder, **changes):
    parts = {
        "transformer": {"_class_name": "WanAnimateTransformer3DModel", "text_dim": 4096, "image_dim": 1280},
        "vae": {"_class_name": "AutoencoderKLWan", "z_dim": 16},
    }
    for part, config in (parts | changes).items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        text = config if isinstance(config, str) else json.dumps(parts.get(part, {}) | config)
        (folder / part / "config.json").write_text(text)
    return folder


@pytest.fixture
def said(inputs, tmp_path, monkeypatch, capsys):
    """The shell's output with changed options, where nothing is loaded or written."""
    from wan_animate.backends import diffusers

    for name in ("load", "encode_prompt", "encode_image"):
        monkeypatch.setattr(diffusers, name, lambda *_, **__: pytest.fail("a model was loaded"))

    def run(**changes) -> str:
        (tmp_path / "out").mkdir(exist_ok=True)
        given = inputs | {"out": tmp_path / "out" / "a.mp4"} | {key.replace("_", "-"): v for key, v in changes.items()}
        arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
        assert cli.main([*arguments, "--no-retarget"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("wan-animate: ") and line.endswith(".") and len(line) < 500, line
        assert not list((tmp_path / "out").iterdir())
        return line.removeprefix("wan-animate: ")

    return run


OUT_OF_RANGE = [
    ("steps", 0), ("steps", -3), ("steps", 1001), ("shift", 0), ("shift", "nan"), ("shift", "inf"), ("shift", -5),
    ("seed", -1), ("seed", 2**64), ("seed", 10**40), ("fps", -1), ("fps", "nan"), ("fps", "inf"), ("fps", 1e9),
    ("area", 0), ("area", -5), ("area", 10**12), ("start", -1), ("limit", -1), ("segment", 0), ("segment", 4_000_001),
    ("previous-frames", 0), ("previous-frames", -4), ("clean", 2), ("clean", -0.1), ("clean", "nan"),
    ("person-number", 0), ("pose-strength", -1), ("pose-strength", "nan"), ("face-strength", 11),
    ("face-strength", "inf"),
    ("lora-strength", 11), ("lora-2-strength", "nan"), ("gpus", 0),
    ("crossfade", -2), ("crossfade", 997), ("first-segment", 0), ("last-segment", -1),
]  # fmt: skip


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(crossfade=2), "cross-fade is over 2 frames"),
        (dict(segment_seeds="3"), "write 3:1234"),
        (
            dict(continue_from="nowhere.mp4"),
            "--continue-from is nowhere.mp4, which is not there",
        ),
        (dict(first_segment=2, last_segment=1), "segments 2 to 1 are to be made"),
        (dict(segment_seeds="1:2", crossfade=-1, first_segment=7), "segments 7 to 1"),
        (
            dict(lora="nowhere.safetensors"),
            "--lora is nowhere.safetensors, which is not there: give the path of a LoRA",
        ),
        (dict(codec="prores_422"), ".mov"),
        (dict(mask_prompts=__file__), "no mask is made from points: give --mode replace and --sam2"),
        (dict(pose_edits=__file__), "edit pose: edits is"),
    ],
)
def test_options_of_a_clip_that_cannot_work(said, changes, says):
    assert says in said(**changes)


@pytest.mark.parametrize("name, value", OUT_OF_RANGE)
def test_a_number_out_of_range(said, name, value):
    text = said(**{name: value})
    assert text.startswith(f"--{name} is ") and "but it must be " in text and ": give " in text


def test_every_number_has_a_range():
    number = ("Annotated[int", "Annotated[float", "Signal", "LoraStrength")
    numbers = {one.name for one in fields(RunOptions) if one.type.startswith(number)}
    assert numbers == set(RANGES) == {name.replace("-", "_") for name, _ in OUT_OF_RANGE}


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"segment": 6}, "segment length is 6, but the model works in 4n+1 frames: use 5 or 9"),
        ({"previous_frames": 5}, "previous frames (5) must be fewer than the segment length (5)"),
        ({"gpus": 2, "offload": "on"}, "--offload on is for one card: with several, --shard-weights"),
        ({"linears": "fp8", "device": "meta"}, "--linears is fp8, which meta cannot multiply: there is no fp8 matrix"),
        ({"device": "gpu"}, "--device is 'gpu', which this PyTorch cannot use here: give one of cpu"),
        ({"device": "cuda:99"}, "--device is 'cuda:99'"),
        ({"device": "meta:x"}, "--device is 'meta:x'"),
        ({"image": "/no/a.png"}, "--image is /no/a.png, which is not there: give the path of a picture"),
        ({"image_3": "/no/a.png"}, "--image-3 is /no/a.png, which is not there: give the path of a picture"),
        ({"video": "/no/a.mp4"}, "--video is /no/a.mp4, which is not there"),
        ({"track": "/no/a.npz"}, "--track is /no/a.npz, which is not there"),
        ({"track": None}, "there is nothing to read the pose with"),
        ({"track": None}, "wan-animate models download yolov10m.onnx vitpose-l-wholebody.onnx fetches them"),
        ({"detector": "/no/a.onnx"}, "--detector is /no/a.onnx, which is not there: give the path of an ONNX file"),
        ({"detector": "/no/yolov10m.onnx"}, "(wan-animate models download yolov10m.onnx fetches it, into"),
        ({"sam2": "/tmp"}, "--sam2 is /tmp, which is a folder"),
        ({"detector": "/dev/null"}, "--detector is /dev/null, which is no file: give the path of an ONNX file"),
        ({"reference_track": "x" * 300}, "which is not there"),
        ({"prompt_file": "/no/a.safetensors"}, "--prompt-file is /no/a.safetensors, which is not there"),
        ({"models": "/no"}, "the model folder /no has no transformer/config.json"),
        ({"start": 100_000}, "start is frame 100000, but"),
    ],
)
def test_what_is_not_there_or_does_not_go_together(said, changes, says):
    assert says in said(**changes)


@pytest.mark.parametrize(
    "name, says",
    [
        ("a.gif", "the video (--out) is written as .mp4, but {} ends in .gif: name it a.mp4"),
        ("a.webm", "ends in .webm: name it a.mp4"),
        ("a", "has no ending: name it a.mp4"),
        ("", "that is a folder; name a file in it"),
        ("舞" * 86 + ".mp4", "File name too long): choose a shorter or plainer name"),
    ],
)
def test_out_that_cannot_become_the_clip(said, tmp_path, name, says):
    path = tmp_path / "out" / name if name else tmp_path
    assert says.format(path) in said(out=path)


def test_a_sheet_that_cannot_become_one(said, tmp_path, inputs):
    (tmp_path / "file").touch()
    assert "cannot be made (Not a directory)" in said(sheet=tmp_path / "file" / "a" / "s.png")
    assert "is written as .png, but" in said(sheet=tmp_path / "out" / "s.jpg")
    assert "that is a folder" in said(sheet=tmp_path)


def test_results_are_not_written_over_what_they_are_made_from(said, inputs, tmp_path):
    video = tmp_path / "driver.mp4"
    shutil.copy(inputs["video"], video)
    assert f"--out and --video are the same file, {video}: name another" in said(video=video, out=video)
    (tmp_path / "link.mp4").symlink_to(video)
    assert "are the same file" in said(video=video, out=tmp_path / "link.mp4")
    picture = tmp_path / "p.png"
    shutil.copy(inputs["image"], picture)
    assert "--sheet and --image are the same file" in said(image=picture, sheet=picture)


def test_folders_for_results_are_made(inputs, tmp_path):
    given = inputs | {"out": tmp_path / "new" / "a.mp4", "sheet": tmp_path / "other" / "a.png"}
    check_options(parsed([f"--{name}={value}" for name, value in given.items()]))
    assert not list((tmp_path / "new").iterdir()) and not list((tmp_path / "other").iterdir())
    check_device("cpu")


# -- contracts


@pytest.mark.parametrize("width", [768, 2048])
def test_a_saved_prompt_of_another_encoder(said, tmp_path, width):
    save_file({"cond": torch.zeros(1, 5, width)}, tmp_path / "p.safetensors")
    assert f"[1, 5, {width}] where [1, tokens, 4096] is needed" in said(prompt_file=tmp_path / "p.safetensors")


@pytest.mark.parametrize(
    "changes, says",
    [
        (
            {"transformer": {"_class_name": "WanTransformer3DModel"}},
            "the transformer in {} is WanTransformer3DModel, but",
        ),
        ({"vae": {"_class_name": "AutoencoderKLHunyuanVideo"}}, "the vae in {} is AutoencoderKLHunyuanVideo, but"),
        ({"vae": {"z_dim": 48}}, "the vae in {} has 48 latent channels, but Wan 2.2 Animate needs the Wan 2.1 VAE"),
        ({"text_encoder": {"d_model": 2048}}, "the text_encoder in {} makes embeddings 2048 wide, but its transformer"),
        ({"image_encoder": {"hidden_size": 1664}}, "the image_encoder in {} makes embeddings 1664 wide"),
        ({"transformer": "{"}, "the configuration {}/transformer/config.json cannot be read: it"),
        ({"vae": "[1]"}, "the configuration {}/vae/config.json cannot be read: it"),
    ],
)
def test_a_models_folder_that_holds_something_else(said, tmp_path, changes, says):
    models = write_models(tmp_path / "models", **changes)
    assert says.format(models) in said(models=models)


def test_a_models_folder_that_fits(tmp_path):
    encoders = {"text_encoder": {"d_model": 4096}, "image_encoder": {"hidden_size": 1280}}
    parts = check_folder(write_models(tmp_path, **encoders))
    assert parts["transformer"]["text_dim"] == 4096 and set(parts) == {"transformer", "vae", *encoders}


def test_weights_that_are_not_there_are_one_sentence(tmp_path):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.backends.diffusers import load

    with pytest.raises(InputError, match=r"the transformer in .* cannot be loaded \(.*: download it again\.$") as found:
        load(write_models(tmp_path))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("start, end", [("0.6", "0.3"), ("0.5", "0.5"), ("-0.1", "1"), ("0", "1.5"), ("nan", "1")])
def test_a_part_of_the_sampling_that_is_none(inputs, tmp_path, start, end):
    given = [f"--{name}={value}" for name, value in (inputs | {"out": tmp_path / "a.mp4"}).items()]
    options = parsed([*given, "--pose-range", start, end])
    says = (
        "^--pose-range is .* to .*, but it must be a part of 0 to 1 .* or set --pose-strength to 0 to switch it off.$"
    )
    with pytest.raises(InputError, match=says):
        check_options(options)


def test_strengths_and_linear_layers_make_another_job(inputs, tmp_path):
    given = [f"--{name}={value}" for name, value in (inputs | {"out": tmp_path / "a.mp4"}).items()]
    changes = [
        ["--pose-strength=0.5"],
        ["--face-strength=0.5"],
        ["--pose-range", "0", "0.5"],
        ["--face-range", "0", "0.5"],
        ["--linears=fp8"],
    ]
    given_options = [parsed([*given, *change]) for change in ([], [], *changes)]
    keys = [segment_settings(options, "weights") for options in given_options]
    assert keys[0] == keys[1] and len(set(keys)) == 1 + len(changes)


@pytest.fixture(scope="module")
def loaded(small_models):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.backends.diffusers import load

    return load(small_models.diffusers)


@pytest.mark.parametrize(
    "given, says",
    [
        ({"prompt": torch.zeros(1, 5, 768)}, "the prompt is of shape [1, 5, 768] where [1, tokens, 4096] is needed"),
        ({"prompt": torch.zeros(5, 4096)}, "the prompt is of shape [5, 4096]"),
        ({"negative": torch.zeros(1, 5, 2048), "cfg": 2.0}, "the negative prompt is of shape [1, 5, 2048]"),
        (
            {"image": torch.zeros(1, 257, 1664)},
            "the image embedding is of shape [1, 257, 1664] where [1, tokens, 1280]",
        ),
    ],
)
def test_embeddings_are_held_against_the_loaded_transformer(loaded, given, says):
    from wan_animate.backends.diffusers import DiffusersDenoiser

    right = {"prompt": torch.zeros(1, 5, 4096), "image": torch.zeros(1, 257, 1280)}
    assert DiffusersDenoiser(loaded[0], loaded[2], **right).steps == 20
    with pytest.raises(InputError) as found:
        DiffusersDenoiser(loaded[0], loaded[2], **right | given)
    assert says in str(found.value)


def test_a_name_of_80_chinese_characters_from_end_to_end(inputs, small_models, tmp_path):
    """The whole job and its sheet, under the longest possible name."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    given = inputs | {"models": small_models.diffusers, "steps": 1, "area": 128 * 80}
    given |= {"out": tmp_path / f"{LONG}.mp4", "sheet": tmp_path / f"{LONG}.png"}
    assert cli.main([*(f"--{name}={value}" for name, value in given.items()), "--no-retarget"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{LONG}.mp4", f"{LONG}.png"]


def test_a_window_is_for_replace(inputs, tmp_path, capsys):
    given = inputs | {"out": tmp_path / "a.mp4"}
    assert cli.main([*(f"--{name}={value}" for name, value in given.items()), "--crop"]) == 2
    assert "--crop is given, but --mode is animate, which makes its own scene: leave --crop" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_window_from_end_to_end(inputs, small_models, tmp_path, capsys):
    """--crop: the clip has the video's own size, and far from the person it is the video."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.video.source import VideoSource

    given = inputs | {"models": small_models.diffusers, "steps": 1, "area": 96 * 80, "mode": "replace", "limit": 8}
    given |= {"out": tmp_path / "a.mp4", "sheet": tmp_path / "a.png"}
    assert cli.main([*(f"--{name}={value}" for name, value in given.items()), "--crop"]) == 0
    assert "wan-animate: The window is" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.png"]
    driver, clip = (VideoSource(path, fps=30, limit=8) for path in (inputs["video"], tmp_path / "a.mp4"))
    assert (len(clip), clip.width, clip.height) == (8, driver.width, driver.height)
    error = np.abs(clip.read(0, 8).astype(int) - driver.read(0, 8)).mean(axis=(0, 3))
    assert error[:, :8].mean() < 3 < 10 < error.max()


def test_strengths_reach_the_transformer(inputs, small_models, tmp_path, monkeypatch):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.backends import diffusers

    made = []

    class Watched(diffusers.DiffusersDenoiser):
        def denoise(self, *given):
            made.append((self.pose_strength, self.face_strength, super().denoise(*given)))
            return made[-1][-1]

    monkeypatch.setattr(diffusers, "DiffusersDenoiser", Watched)
    given = inputs | {"models": small_models.diffusers, "steps": 2, "area": 128 * 80, "out": tmp_path / "a.mp4"}
    arguments = [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget"]
    for more in ([], ["--face-strength=0", "--pose-strength=0.5", "--pose-range", "0", "0.5"]):
        assert cli.main([*arguments, *more]) == 0
    assert made[0][:2] == (Strength(), Strength())
    assert made[1][:2] == (Strength(0.5, 0.0, 0.5), Strength(0.0))
    assert not torch.equal(made[0][2], made[1][2])


def test_a_full_disk_in_the_shell_keeps_the_finished_segment(inputs, small_models, tmp_path, monkeypatch, capsys):
    """The second segment does not fit; the same command then completes the clip."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.chain.store import SegmentStore

    from ..test_files import limited

    given = inputs | {"models": small_models.diffusers, "steps": 1, "area": 128 * 80, "limit": 8}
    arguments = [f"--{name}={value}" for name, value in (given | {"out": tmp_path / "a.mp4"}).items()]
    made, whole = [], SegmentStore.save

    def save(self, index, *rest):
        made.append(index)
        with limited(1000 if len(made) == 2 else 10**9):
            return whole(self, index, *rest)

    monkeypatch.setattr(SegmentStore, "save", save)
    assert cli.main([*arguments, "--no-retarget"]) == 2
    said = capsys.readouterr().err.strip().rsplit("\n", 1)[-1]
    assert said.startswith("wan-animate: ") and "cannot be written to" in said and "free space there and run" in said
    (job,) = tmp_path.iterdir()
    # the clip's own file had room here, and had all frames already
    kept = {path.name for path in job.iterdir()} - {"clip.mp4", "segments.json", "command.json"}
    assert kept == {"segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"}
    assert cli.main([*arguments, "--no-retarget"]) == 0
    assert made == [0, 1, 1] and [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
