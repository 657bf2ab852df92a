"""Cross-fade, shared noise, shots, parts, segments made again, and boundaries that show."""

import math

import numpy as np
import pytest
import torch

from wan_animate.chain.generate import generate, result_plan
from wan_animate.chain.noise import shared_noise, unit_noise
from wan_animate.chain.options import ClipOptions, continued_frames, parse_segment_seeds
from wan_animate.chain.reuse import take_over
from wan_animate.chain.seams import crossfade, shading
from wan_animate.chain.segments import plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError
from wan_animate.video.audio import fit_audio, read_audio
from wan_animate.video.derived import PartSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.chain import PlainDenoiser, PlainVAE
from .test_background import HEIGHT, LENGTH, WIDTH, Watched, job

COUNT, PREVIOUS = 33, 5


class Named(Watched):
    """The same for the same numbers."""

    def __init__(self, count, seed, **settings):
        super().__init__(count, seed, **settings)
        self.name = f"{count} frames of seed {seed}"

    def fingerprint(self):
        return self.name


def with_options(count=COUNT, previous_frames=PREVIOUS, color="off", **options):
    sources = dict(pose=Named(count, 1), face=Named(count, 2, size=(16, 16)))
    return job(count, previous_frames=previous_frames, color=color, options=ClipOptions(**options), **sources)


class Seen(PlainVAE):
    """Keeps what it decoded."""

    def __init__(self):
        self.decoded = []

    def decode(self, latent):
        frames = super().decode(latent)
        self.decoded.append(frames.clone())
        return frames


class Noises(PlainDenoiser):
    """Keeps the noise."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.noises = []

    def denoise(self, conditioning, noise, on_step):
        self.noises.append(noise.clone())
        return super().denoise(conditioning, noise, on_step)


def made(work, folder, denoiser=None, vae=None, **more):
    store = SegmentStore(folder)
    frames = generate(work, denoiser or PlainDenoiser(), vae or PlainVAE(), store, **more)
    return np.array(frames.read(0, len(frames))), store


@pytest.mark.parametrize("count", [1, 9, 10, 13, 14, 33])
@pytest.mark.parametrize("crossfade_frames", [1, 2, 3])
def test_a_cross_fade_moves_frames_between_segments_and_loses_none(count, crossfade_frames):
    plan = plan_segments(count, LENGTH, PREVIOUS, crossfade_frames)
    shown = [frame for segment in plan for frame in range(segment.first, segment.first + segment.keep)]
    assert shown == list(range(count)) == list(range(plan.first, plan.first + plan.keep))
    assert len(plan) == len(plan_segments(count, LENGTH, PREVIOUS))
    for before, after in zip(plan.segments, plan.segments[1:]):
        assert before.hands_over and after.fade == crossfade_frames
        assert after.first == before.stop - crossfade_frames


@pytest.mark.parametrize("crossfade_frames", [1, 3])
def test_the_shown_overlap_is_a_blend_of_what_both_made(tmp_path, crossfade_frames):
    vae, told = Seen(), PlainDenoiser()
    frames, store = made(with_options(crossfade=crossfade_frames), tmp_path / "job", told, vae)
    plain, other = made(with_options(), tmp_path / "plain", PlainDenoiser())
    plan = with_options(crossfade=crossfade_frames).plan()
    assert frames.shape == plain.shape == (COUNT, HEIGHT, WIDTH, 3)
    faded = set()
    for segment in list(plan)[1:]:
        assert torch.equal(store.tail(segment.index - 1), other.tail(segment.index - 1)), "what is fed forward stays"
        start = segment.first - segment.start
        one = vae.decoded[segment.index - 1][LENGTH - crossfade_frames :]
        two = vae.decoded[segment.index][start : start + crossfade_frames]
        for at in range(crossfade_frames):
            share = (at + 1) / (crossfade_frames + 1)
            share = (share + (1 - math.cos(math.pi * share)) / 2) / 2
            wanted = (1 - share) * one[at] + share * two[at]
            got = torch.from_numpy(frames[segment.first + at]).float() / 255
            assert (got - wanted).abs().max() <= 0.5 / 255 + 1e-5
            faded.add(segment.first + at)
    rest = [at for at in range(COUNT) if at not in faded]
    assert np.array_equal(frames[rest], plain[rest]) and not np.array_equal(frames, plain)


def test_shading_is_made_equal_and_settles_and_nothing_of_it_is_fed_forward(tmp_path):
    """Segments of 21: a light over half of the picture in every other one is gone at the boundary, back at the end."""
    light = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    light[:, : WIDTH // 2] = 4 / 255

    class Lit(PlainVAE):
        def __init__(self):
            self.count = 0

        def decode(self, latent):
            frames = torch.full((21, HEIGHT, WIDTH, 3), 0.5)
            self.count += 1
            return frames + torch.from_numpy(light) * ((self.count - 1) % 2)

    def clip(name, crossfade):
        sources = dict(pose=Named(37, 1), face=None, color="off", segment_length=21, options=ClipOptions(crossfade))
        return made(job(37, previous_frames=PREVIOUS, **sources), tmp_path / name, vae=Lit())

    (cut, plain), (faded, store) = clip("cut", 0), clip("faded", 5)
    assert torch.equal(store.tail(0), plain.tail(0)) and store.tail(0).shape[0] == PREVIOUS
    side = [frames[:, :, :8].mean((1, 2, 3)) for frames in (cut, faded)]
    assert np.diff(side[0])[20] == pytest.approx(4, abs=0.6)
    assert np.abs(np.diff(side[1])).max() <= 1 and np.array_equal(faded[:16], cut[:16])
    assert np.array_equal(faded[32:], cut[32:]), "the segment's own light before the next would start from it"
    small = shading(torch.rand(3, 32, 48, 3) * 0.01 + 0.2, torch.zeros(3, 32, 48, 3))
    assert small.shape == (32, 48, 3) and small.max() <= 8 / 255 + 1e-6, "what is another picture is no shading"


def test_cross_fade_weights_rise():
    for count in (1, 3, 9):
        weights = crossfade(torch.zeros(count, 1, 1, 1), torch.ones(count, 1, 1, 1)).flatten()
        steps = torch.diff(torch.cat((torch.zeros(1), weights, torch.ones(1))))
        assert (steps > 0).all() and torch.allclose(steps, steps.flip(0), atol=1e-6)
        assert steps[0] <= steps.min() + 1e-6
    assert ClipOptions(crossfade=-1).faded(77, 5) == 5 and ClipOptions(crossfade=-1).faded(9, 5) == 3


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_job_with_everything_resumes_to_the_same_bits(tmp_path, stop_at):
    settings = dict(crossfade=3, share_noise=True, cuts=(20,), count=50, color="anchor")
    whole, _ = made(with_options(**settings), tmp_path / "whole")

    def stop(now):
        if now.segment == stop_at and now.stage == "denoise":
            raise Cancelled

    with pytest.raises(Cancelled):
        made(with_options(**settings), tmp_path / "job", progress=stop)
    begun = []
    told = PlainDenoiser(during=lambda index, step: begun.append(index))
    again, store = made(with_options(**settings), tmp_path / "job", told, video=tmp_path / "clip.mp4")
    assert min(begun) == stop_at and np.array_equal(again, whole)
    assert len(VideoSource(tmp_path / "clip.mp4", fps=0)) == 50


def test_shots_start_chains_of_their_own(tmp_path):
    """Each shot is made as if it were the clip, but for the seeds, which count on over the whole clip."""
    cuts, count = (10, 13), 40
    work, told = with_options(count, cuts=cuts), PlainDenoiser()
    frames, _ = made(work, tmp_path / "job", told)
    assert len(frames) == count
    plan = work.plan()
    at = 0
    for first, stop in ((0, 10), (10, 13), (13, 40)):
        length = len(plan_segments(stop - first, LENGTH, PREVIOUS))
        mine = plan.segments[at : at + length]
        assert {segment.shot for segment in mine} == {(first, stop)} and not mine[0].previous_frames
        assert not mine[-1].hands_over and all(segment.hands_over for segment in mine[:-1])
        part = [TensorSource(source.frames[first:stop]) for source in (work.controls.pose, work.controls.face)]
        alone, _ = made(
            job(1, pose=part[0], face=part[1], previous_frames=PREVIOUS, seed=7 + at, color="off"),
            tmp_path / f"shot{first}",
        )
        assert np.array_equal(frames[first:stop], alone), "nothing of another shot is in it"
        at += length
    assert at == len(plan)


def test_noise_is_shared_over_the_overlap(tmp_path):
    for frames, latents in ((3, 2), (5, 2), (3, 1)):
        shape = (1, 2, frames + 1, 2, 2)
        noises = [shared_noise(lambda k: 50 + 3 * k, index, 2, latents, shape) for index in range(2, 7)]
        assert torch.equal(noises[0], unit_noise(56, shape))
        for before, after in zip(noises, noises[1:]):
            assert torch.equal(after[:, :, 1 : 1 + latents], before[:, :, -latents:])
        assert torch.equal(noises[1][:, :, 0], unit_noise(59, shape)[:, :, 0]), "the reference's is its own"
    told = Noises()
    work = with_options(share_noise=True, cuts=(20,))
    made(work, tmp_path / "job", told)
    for before, after, segment in zip(told.noises, told.noises[1:], list(work.plan())[1:]):
        equal = torch.equal(after[:, :, 1:3], before[:, :, -2:])
        assert equal == bool(segment.previous_frames)


def test_a_segment_is_made_again_with_a_seed_of_its_own(tmp_path):
    first, store = made(with_options(), tmp_path / "jobs" / "a")
    before = with_options()
    take_over(store, before.segment_keys("m"), [])
    count = len(before.plan())
    folders = lambda: (tmp_path / "jobs").iterdir()  # noqa: E731

    work = with_options(segment_seeds={2: 99})
    assert work.key() != before.key()
    begun = []
    with SegmentStore(tmp_path / "jobs" / "b") as store:
        assert take_over(store, work.segment_keys("m"), folders()) == [0, 1]
        told = PlainDenoiser(during=lambda index, step: begun.append(index))
        frames = generate(work, told, PlainVAE(), store)
        again = np.array(frames.read(0, COUNT))
    assert set(begun) == set(range(2, count)), "nothing that is finished is made again, what follows is"
    new_from = work.plan().segments[2].first
    assert np.array_equal(again[:new_from], first[:new_from]) and not np.array_equal(again, first)
    alone, _ = made(with_options(segment_seeds={2: 99}), tmp_path / "alone")
    assert np.array_equal(again, alone), "the same as from nothing"

    keep = with_options(segment_seeds={2: 99}, keep_rest=True)
    begun.clear()
    with SegmentStore(tmp_path / "jobs" / "c") as store:
        taken = take_over(store, keep.segment_keys("m"), folders(), keep.former_keys("m"))
        assert taken == [index for index in range(count) if index != 2]
        told = PlainDenoiser(during=lambda index, step: begun.append(index))
        frames = generate(keep, told, PlainVAE(), store, video=tmp_path / "c.mp4")
        kept = np.array(frames.read(0, COUNT))
    assert set(begun) == {2}
    segment = keep.plan().segments[2]
    end = segment.first + segment.keep
    assert np.array_equal(np.delete(kept, range(segment.first, end), 0), np.delete(first, range(segment.first, end), 0))
    assert not np.array_equal(kept[segment.first : end], first[segment.first : end])
    away = np.abs(kept[segment.first : end].astype(int) - first[segment.first : end]).mean((1, 2, 3))
    assert away[-1] < away.max() / 2 and len(VideoSource(tmp_path / "c.mp4", fps=0)) == COUNT

    # Another take of the same segment goes back to the first frames, also where only the second clip is left.
    other = with_options(segment_seeds={2: 5}, keep_rest=True)
    with SegmentStore(tmp_path / "jobs" / "d") as store:
        taken = take_over(store, other.segment_keys("m"), [tmp_path / "jobs" / "c"], other.former_keys("m"))
        assert taken == [index for index in range(count) if index != 2] and store.former_path(2).exists()


def test_keeping_the_rest_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="make it first without segment seeds"):
        made(with_options(segment_seeds={1: 5}, keep_rest=True), tmp_path / "job")


def test_another_prompt_for_a_segment_keeps_those_before(tmp_path):
    work = with_options()
    count = len(work.plan())
    one, other = (work.segment_keys("m", prompts) for prompts in (["a"] * count, ["a", "a", "b", *["a"] * (count - 3)]))
    assert [a == b for a, b in zip(one, other)] == [True, True] + [False] * (count - 2)
    assert set(one).isdisjoint(work.segment_keys("n", ["a"] * count))
    shots = with_options(cuts=(20,))
    seeded = with_options(cuts=(20,), segment_seeds={0: 3})
    same = [a == b for a, b in zip(shots.segment_keys(), seeded.segment_keys())]
    assert same == [segment.shot == (20, COUNT) for segment in shots.plan()], "shots do not depend on each other"


@pytest.mark.parametrize(
    "options, other",
    [(dict(), dict(cut_frames=COUNT)), (dict(crossfade=3), dict(crossfade=-1))],
)
def test_options_that_change_no_frame_change_no_key(options, other):
    one, two = with_options(**options), with_options(**other)
    assert one.key("m") == two.key("m") and one.segment_keys("m") == two.segment_keys("m")


def test_shared_noise_changes_the_keys_of_the_segments_that_share_it():
    cut = 20
    plain, shared = with_options(cuts=(cut,)), with_options(cuts=(cut,), share_noise=True)
    assert plain.key("m") != shared.key("m")
    plan, shape = plain.plan(), (1, 16, LENGTH // 4 + 2, 4, 6)
    changed = [a != b for a, b in zip(plain.segment_keys("m"), shared.segment_keys("m"))]
    assert changed == [not torch.equal(plain.noise(one, shape), shared.noise(one, shape)) for one in plan]
    assert not changed[0] and changed.count(False) == 2, "the first of each shot"


def test_the_noise_of_a_kept_segment_is_what_its_key_says():
    """It goes on from the former frames, and shares their noise, whatever seed the one before is given."""
    shape = (1, 16, LENGTH // 4 + 2, 4, 6)
    before = with_options(share_noise=True)
    keep = with_options(share_noise=True, segment_seeds={1: 99}, keep_rest=True)
    for segment, one, two in zip(before.plan(), before.segment_keys("m"), keep.segment_keys("m")):
        same = torch.equal(before.noise(segment, shape), keep.noise(segment, shape))
        assert (one == two) == same == (segment.index != 1)


def test_only_some_segments_are_made(tmp_path):
    whole, store = made(with_options(), tmp_path / "whole")
    plan = with_options().plan()
    work = with_options(first_segment=0, last_segment=1)
    frames, part = made(work, tmp_path / "part", video=tmp_path / "part.mp4")
    assert np.array_equal(frames, whole[: len(frames)]) and len(frames) == plan.part(0, 1).keep
    assert len(VideoSource(tmp_path / "part.mp4", fps=0)) == len(frames)
    begun = []
    told = PlainDenoiser(during=lambda index, step: begun.append(index))
    later, part = made(with_options(first_segment=2, last_segment=3), tmp_path / "part", told)
    assert set(begun) == {2, 3} and np.array_equal(later, whole[: len(later)]), "with what is there before"
    assert part.finished(plan) == 4
    with pytest.raises(InputError, match="segment 3 is to be made, but segment 2"):
        made(with_options(first_segment=2), tmp_path / "nothing")
    shots = with_options(cuts=(20,), first_segment=4)
    alone, store = made(shots, tmp_path / "shot")
    first = shots.plan().segments[4]
    assert first.shot == (20, COUNT) and first.first == 20 and len(alone) == COUNT - 20
    assert result_plan(shots, store).first == 20


def test_the_sound_of_a_part_is_that_parts(tmp_path):
    beep = torch.zeros(1, 1, 48000 * 2)
    beep[..., 20 * 1600 :] = torch.sin(torch.arange(96000 - 20 * 1600) * 0.1) * 0.5  # from frame 20 on, at 30 fps
    work = with_options(cuts=(20,), first_segment=4)
    made(work, tmp_path / "job", video=tmp_path / "part.mp4", audio={"waveform": beep, "sample_rate": 48000})
    heard = read_audio(tmp_path / "part.mp4")["waveform"]
    assert heard[..., 4800:9600].abs().mean() > 0.2, "it begins with the shot"
    with pytest.raises(InputError, match="waveform"):
        fit_audio({}, 1.0, 0.5)


def test_a_part_of_a_source():
    clip = Named(9, 3)
    part = PartSource(clip, 2, 7)
    assert len(part) == 5 and np.array_equal(part.read(1, 3), clip.frames[3:5])
    assert part.fingerprint() != PartSource(clip, 1, 6).fingerprint()


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (2 * WIDTH, 2 * HEIGHT)])
def test_a_clip_goes_on_from_another(tmp_path, size):
    clip = Watched(12, 9, size=size)
    work, told = with_options(continue_from=clip), PlainDenoiser()
    frames, store = made(work, tmp_path / "job", told)
    assert len(frames) == COUNT - PREVIOUS, "after the frames that the other clip has"
    given = continued_frames(clip, PREVIOUS, WIDTH, HEIGHT)
    assert given.shape == (PREVIOUS, HEIGHT, WIDTH, 3)
    if size == (WIDTH, HEIGHT):
        assert torch.equal(given, torch.from_numpy(clip.frames[-PREVIOUS:]).float() / 255)
    pixels = torch.cat((given, torch.full((LENGTH - PREVIOUS, HEIGHT, WIDTH, 3), 0.5)))
    assert torch.equal(told.told[0].concat_latent[:, :, 1:], PlainVAE().encode(pixels))
    assert not told.told[0].unknown_mask[:, :, 1:3].any()
    assert store.boundaries()[0].frame == PREVIOUS
    assert work.key() != with_options().key() != with_options(continue_from=Watched(12, 8)).key()
    # From a later segment on: the other clip stands for the segments before.
    late = with_options(continue_from=clip, first_segment=2)
    frames, _ = made(late, tmp_path / "late")
    assert len(frames) == COUNT - late.plan().segments[2].start - PREVIOUS


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(crossfade=4), ["cross-fade is over 4 frames", "0 (a cut) to 3"]),
        (dict(crossfade=2, previous_frames=1), ["0 (a cut) to 1", "raise previous frames"]),
        (dict(first_segment=3, last_segment=2), ["segments 4 to 3"]),
        (dict(last_segment=40), ["segments 1 to 41", "this clip has segments 1 to 7"]),
        (dict(segment_seeds={9: 1}), ["segment 10", "segments 1 to 7"]),
        (dict(segment_seeds={1: -1}), ["seed of segment 2 is -1"]),
        (dict(keep_rest=True), ["no segment is given another seed"]),
        (dict(cuts=(40,)), ["shots begin at frames 40", "0 to 32"]),
        (dict(continue_from=Watched(3)), ["has 3 frames, but 5 previous frames"]),
        (dict(continue_from=Watched(9, kind="mask")), ["holds masks"]),
        (dict(continue_from=Watched(9, size=(32, 48))), ["32x48", "48x32", "black bars"]),
        (dict(continue_from=Watched(9), count=5), ["only 5 there", "longer driving video"]),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_work(tmp_path, options, says):
    with pytest.raises(InputError) as error:
        generate(with_options(**options), None, None, SegmentStore(tmp_path / "job"))
    message = str(error.value)
    assert all(part in message for part in says), message
    assert "\n" not in message and message.endswith(".")


LONG = "9" * 5000


@pytest.mark.parametrize(
    "text", ["3", "3:x", "0:5", "1:2,1:3", "-1:4", "1:2:3", f"1:{LONG}", f"{LONG}:1", "\u0661:\u0662"]
)
def test_segment_seeds_that_say_nothing_are_refused(text):
    with pytest.raises(InputError, match="write 3:1234") as error:
        parse_segment_seeds(text)
    assert len(str(error.value)) < 300


def test_segment_seeds_are_read():
    assert parse_segment_seeds(" 3:1234, 1:7;2:0 ") == {2: 1234, 0: 7, 1: 0} and parse_segment_seeds("") == {}


def test_old_jobs_keep_their_keys():
    work = job(COUNT, pose=TensorSource(torch.zeros(9, 32, 48, 3)), face=None, color="off")
    assert work.key("model") == "7167d80914a6dd7b70586abf"
