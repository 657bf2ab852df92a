"""``--linears fp8`` from the shell: said by the clip, made again with it, and never mixed with segments as loaded."""

import logging

import pytest

from wan_animate import cli
from wan_animate.cli.checks import check_linears, check_options
from wan_animate.cli.make import chains, driving_video
from wan_animate.cli.plans import plan_of, timed_model
from wan_animate.cli.run import parsed
from wan_animate.cli.shared import KeptWeights, Shared
from wan_animate.errors import InputError
from wan_animate.plan.costs import WEIGHTS
from wan_animate.record.clip_record import read_record

from .test_options import inputs  # noqa: F401  (a fixture)

pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")


@pytest.fixture
def given(inputs, small_models):  # noqa: F811
    return {**inputs, "models": small_models.diffusers, "steps": 1, "area": 128 * 80, "limit": 5}


def shell(given, out, *more):
    return cli.main([*(f"--{name}={value}" for name, value in given.items()), "--no-retarget", f"--out={out}", *more])


def test_a_clip_in_fp8(given, tmp_path, capsys, caplog):
    """Its segment too has been made as loaded before."""
    with caplog.at_level(logging.INFO):
        assert shell(given, tmp_path / "alone.mp4", "--linears=fp8") == 0
    assert "62 linear layers in fp8; output of a layer " in caplog.text
    alone = read_record(tmp_path / "alone.mp4")
    assert alone.settings["linears"] == "fp8"
    assert shell(given, tmp_path / "clip.mp4", "--keep-segments") == 0
    exact = read_record(tmp_path / "clip.mp4")
    assert "linears" not in exact.settings, "as the records of before"
    assert shell(given, tmp_path / "clip.mp4", "--linears=fp8", "--keep-segments") == 0
    again = read_record(tmp_path / "clip.mp4")
    assert again.frames == alone.frames != exact.frames
    assert again.segments == alone.segments and not set(alone.segments) & set(exact.segments)
    files = ("image", "video", "track", "prompt-file", "models")
    capsys.readouterr()
    assert cli.main(["reproduce", str(tmp_path / "alone.mp4"), *(f"--{name}={given[name]}" for name in files),
                     f"--out={tmp_path / 'b.mp4'}", "--device=cpu"]) == 0  # fmt: skip
    assert "the same 5 frames, bit for bit" in capsys.readouterr().err
    assert read_record(tmp_path / "b.mp4").settings["linears"] == "fp8"


def test_it_does_not_go_with_shared_out_weights(given, tmp_path, capsys):
    assert shell(given, tmp_path / "a.mp4", "--linears=fp8", "--gpus=2", "--shard-weights") == 2
    assert "--linears fp8 and --shard-weights are given, which do not go together" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_upstreams_flags_are_named_as_they_are_given(tmp_path, capsys):
    given = ["--ckpt_dir=models", f"--src_root_path={tmp_path}", "--ulysses_size=2", "--linears=fp8", "--dit_fsdp"]
    assert cli.main(["generate", *given]) == 2
    assert "--linears fp8 and --dit_fsdp are given, which do not go together" in capsys.readouterr().err


def test_it_is_refused_before_a_batch_looks_for_shots(given, tmp_path):
    """The pose of the whole clip comes before these."""
    options = parsed([f"--{name}={value}" for name, value in (given | {"out": tmp_path / "a.mp4"}).items()])
    options.linears, options.device = "fp8", "meta"
    with pytest.raises(InputError, match="--linears is fp8, which meta cannot multiply"):
        chains(options, Shared())


def test_plans_count_its_weights(given, tmp_path):
    options = [
        parsed([f"--{name}={value}" for name, value in (given | {"out": tmp_path / "a.mp4", "linears": one}).items()])
        for one in ("as-loaded", "fp8")
    ]
    plans = [plan_of(one, driving_video(one)) for one in options]
    exact, fp8 = (plan.memory for plan in plans)
    assert timed_model(options[0]).size == "256x5"
    assert any("(5120x40: width and blocks); the one in --models is 256x5." in note for note in plans[0].notes)
    assert fp8.resident < exact.resident - 15e9
    assert fp8.ram > WEIGHTS["bf16"], "the file is read before its weights are quantized"
    assert [timed_model(one).weights for one in options] == ["bf16", "fp8"]
    check_linears(options[1])
    options[1].device = "meta"
    check_options(options[1])  # a plan may be made where the clip cannot
    with pytest.raises(InputError, match="--linears is fp8, which meta cannot multiply: there is no fp8 .*leave --lin"):
        check_linears(options[1])


def test_a_kept_model_is_of_one_kind(given, monkeypatch):
    from wan_animate.backends import diffusers

    asked = []
    monkeypatch.setattr(diffusers, "load", lambda *given: asked.append(given[-1]) or (object(), object(), None))
    kept = KeptWeights()
    for linears in ("fp8", "fp8", "as-loaded", "fp8"):
        kept.model("folder", 5.0, None, "cpu", "off", 0.0, linears=linears)
    assert asked == ["fp8", "as-loaded", "fp8"]
