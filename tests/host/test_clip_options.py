"""Clip Options and Prompt for Frames on the real host with small weights: two segments of 13 frames, 5 shared."""

import pytest
import torch

from .test_ports import clips, prompt, vae  # noqa: F401  (fixtures)

LENGTH, PREVIOUS, COUNT, SEED = 13, 5, 21, 3
OVERLAP = range(LENGTH - PREVIOUS, LENGTH)


@pytest.fixture
def sampled(comfy, monkeypatch):
    """What the host's sampler was called with, once a segment."""
    import comfy.sample

    calls, sample = [], comfy.sample.sample

    def watched(model, noise, *settings, **more):
        calls.append({"noise": noise.clone(), "positive": settings[4], "seed": more["seed"]})
        return sample(model, noise, *settings, **more)

    monkeypatch.setattr(comfy.sample, "sample", watched)
    return calls


@pytest.fixture
def run(pack_nodes, pack_module, model, vae, prompt, clips, sampled, monkeypatch, tmp_path):  # noqa: F811
    """``run(positive, count, options)`` to (frames, ui, sampler calls). The graph above the node is always the same."""
    import folder_paths

    jobs = pack_module("nodes.host.jobs")
    monkeypatch.setattr(jobs, "model_signature", lambda hidden, inputs: " ".join(inputs))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    animate, options = pack_nodes["WanAnimateKitAnimate"], pack_nodes["WanAnimateKitClipOptions"]
    defaults = dict(
        crossfade=0, share_noise=False, at_cuts="start anew", first_segment=1, last_segment=0, segment_seeds="",
        keep_rest=False,
    )  # fmt: skip

    def run(positive=None, count=COUNT, audio=None, **changes):
        sampled.clear()
        given = options.execute(**(defaults | changes)).args[0] if changes else None
        made = animate.execute(
            model=model, positive=positive or [[prompt, {}]], negative=[[prompt, {}]], vae=vae,
            reference_image=clips["reference"], pose=clips["pose"][:count], mode="animate", seed=SEED, steps=1, cfg=1.0,
            sampler_name="euler", scheduler="simple", shift=5.0, segment_length=LENGTH, guidance_frames=PREVIOUS,
            fps=0.0, audio=audio, options=given,
        )  # fmt: skip
        run.video = made.args[0]
        frames = made.args[1].read(0, len(made.args[1])).astype(int)
        assert len(frames) == made.args[2]
        return frames, made.ui, list(sampled)

    return run


def test_cross_fade_and_segments_that_are_made_again(run):
    plain, ui, calls = run()
    assert len(plain) == COUNT and len(calls) == 2 and "segment" in str(ui)
    faded, _, calls = run(crossfade=5)
    assert len(calls) == 2, "another cut of the frames is another job"
    changed = [at for at in range(COUNT) if (faded[at] != plain[at]).any()]
    # 2 = 13 - 2 * 5 - 1 new frames in which the second segment settles
    assert changed and set(changed) <= {*OVERLAP, LENGTH, LENGTH + 1} and len(faded) == COUNT

    other, _, calls = run(segment_seeds="2:99")
    assert [call["seed"] for call in calls] == [99], "the first segment is taken from the finished clip"
    generator = torch.Generator().manual_seed(99)
    assert torch.equal(calls[0]["noise"], torch.randn(calls[0]["noise"].shape, generator=generator))
    assert (other[:LENGTH] == plain[:LENGTH]).all() and (other[LENGTH:] != plain[LENGTH:]).any()

    kept, _, calls = run(segment_seeds="1:98", keep_rest=True)
    assert [call["seed"] for call in calls] == [98]
    assert (kept[LENGTH:] == plain[LENGTH:]).all() and (kept[0] != plain[0]).any()
    again, _, calls = run()
    assert not calls and (again == plain).all(), "nothing that is finished is made again"


def tone(hertz: float) -> dict:
    phase = torch.arange(48_000) * hertz * 2 * torch.pi / 48_000
    return {"waveform": torch.sin(phase)[None, None], "sample_rate": 48_000}


def heard(video) -> float:
    """The loudest frequency in a VIDEO's file, in Hz."""
    from wan_animate.video.audio import read_audio

    sound = read_audio(video.get_stream_source())
    spectrum = torch.fft.rfft(sound["waveform"][0, 0]).abs()
    return float(spectrum.argmax()) * sound["sample_rate"] / sound["waveform"].shape[-1]


def test_another_sound_leaves_the_clip_that_was_given_before(run):
    """The host keeps a node's outputs, and gives the first VIDEO again when its sound is back."""
    run(audio=tone(440))
    first = run.video
    frames, _, calls = run(audio=tone(880))
    assert not calls, "nothing is made again for it"
    second = run.video
    run()
    assert heard(first) == pytest.approx(440, abs=5) and heard(second) == pytest.approx(880, abs=5)
    with pytest.raises(Exception, match="must have a waveform and a sample_rate"):
        run(audio={"waveform": torch.zeros(1, 1, 5)})


def test_a_report_that_cannot_be_shown_costs_no_clip(run, monkeypatch, caplog):
    """The host writes what stands below a node into its temp folder, which may be full."""
    from PIL import Image

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        frames, ui, calls = run()
    assert len(frames) == COUNT and len(calls) == 2 and "images" not in ui
    assert "is not shown" in ui["text"][0], "in words, which need no disk"
    assert "is not shown" in caplog.text and "No space left" in caplog.text
    again, ui, calls = run()
    assert not calls and "images" in str(ui) and (again == frames).all()


def test_prompts_by_frames(run, pack_nodes, prompt, clips):  # noqa: F811
    node = pack_nodes["WanAnimateKitPromptForFrames"]
    plain, _, _ = run()
    late = node.execute([[prompt * 2, {}]], LENGTH, -1, [[prompt, {}]]).args[0]
    changed, _, calls = run(late)
    assert [torch.equal(call["positive"][0][0], prompt * 2) for call in calls] == [True], "the first is not made again"
    assert len(calls[0]["positive"]) == 1 and (changed[:LENGTH] == plain[:LENGTH]).all()
    gap = node.execute([[prompt, {}]], 0, LENGTH - 1).args[0]
    with pytest.raises(Exception, match=r"no prompt is given for frames 13 to 20"):
        run(gap)


def test_a_clip_goes_on_and_only_a_part_is_made(run, clips):  # noqa: F811
    first, _, calls = run(last_segment=1)
    assert len(first) == LENGTH and len(calls) == 1
    both, _, calls = run()
    assert len(both) == COUNT and len(calls) == 1, "the part that was made counts"
    on, _, calls = run(continue_from=clips["before"])
    assert len(on) == COUNT - PREVIOUS and len(calls) == 2
    known = calls[0]["positive"][0][1]["concat_mask"][0, :, 1:3]
    assert not known.any(), "the first two latent frames are known"


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(crossfade=6), "cross-fade is over 6 frames"),
        (dict(first_segment=2), "segment 1, from which it goes on, is not finished"),
        (dict(last_segment=3), "this clip has segments 1 to 2"),
        (dict(segment_seeds="3:1"), "segment 3 is given a seed"),
        (dict(segment_seeds="2:1", keep_rest=False, continue_from=torch.zeros(2, 64, 96, 3)), "has 2 frames, but 5"),
    ],
)
def test_what_cannot_work_is_refused_before_any_sampling(run, sampled, changes, says):
    with pytest.raises(Exception, match=says):
        run(**changes)
    assert not sampled


def test_shots_of_a_track(run, pack_module):
    import numpy as np

    track = pack_module("wan_animate.pose.track").PoseTrack(np.zeros((COUNT, 133, 3)), 96, 64, cuts=(6,))
    frames, _, calls = run(shots=track)
    assert len(frames) == COUNT and len(calls) == 3, "6 frames, then 15 in two segments"
    assert calls[1]["positive"][0][1]["concat_mask"][0, :, 1:].all(), "nothing known but the picture"
    _, _, calls = run(shots=track, at_cuts="chain on")
    assert len(calls) == 2
    with pytest.raises(Exception, match="shots are of a video of 21 frames and the driving video has 17"):
        run(shots=track, count=17)


@pytest.mark.parametrize("changes", [dict(cut=6), dict(cut=6, first_segment=2), dict(crossfade=-1), dict()])
def test_plan_clip_says_what_the_run_makes(run, pack_nodes, pack_module, clips, changes):  # noqa: F811
    import numpy as np

    cut = changes.pop("cut", None)
    cuts = () if cut is None else (cut,)
    track = pack_module("wan_animate.pose.track").PoseTrack(np.zeros((COUNT, 133, 3)), 96, 64, cuts=cuts)
    given = dict(
        crossfade=0, share_noise=False, at_cuts="start anew", first_segment=1, last_segment=0, segment_seeds="",
        keep_rest=False, shots=track,
    )  # fmt: skip
    options = pack_nodes["WanAnimateKitClipOptions"].execute(**given | changes).args[0]
    plan = pack_nodes["WanAnimateKitPlanClip"].execute(
        frames=clips["pose"][:COUNT], mode="animate", steps=1, cfg=1.0, segment_length=LENGTH,
        previous_frames=PREVIOUS, pose=track, options=options,
    )  # fmt: skip
    _, _, calls = run(shots=track, **changes)
    assert plan.args[2] == len(calls)
    assert ("each begun anew" in plan.args[0]) == (cut is not None)


def test_segment_seeds_are_checked_before_the_run(pack_nodes):
    node = pack_nodes["WanAnimateKitClipOptions"]
    assert node.validate_inputs("3:1234, 4:5") is True and "write 3:1234" in node.validate_inputs("three")
