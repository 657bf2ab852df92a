"""Frames, masks and poses in the window, and the window back in the frames."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from demo.figure import draw_figure, figure_keypoints
from wan_animate import workers
from wan_animate.color.match import match_color
from wan_animate.errors import InputError
from wan_animate.mask.shape import ShapedMaskSource
from wan_animate.pose.track import PoseTrack
from wan_animate.stitch import crop, stitch
from wan_animate.stitch.crop import CroppedMaskSource, CroppedSource, crop_track
from wan_animate.stitch.plan import WindowSize, plan_window
from wan_animate.stitch.resample import PlacedBack
from wan_animate.stitch.stitch import StitchedSource, write_stitched
from wan_animate.stitch.window import CropWindow
from wan_animate.video.audio import fit_audio, read_audio
from wan_animate.video.derived import PartSource, ResizedSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.reads import RecordedSource

WIDTH, HEIGHT, COUNT, CUT = 640, 360, 12, 7


def smooth(count: int, width: int, height: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, height // 8, width // 8, 3), np.uint8)
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in small])


@pytest.fixture(scope="module")
def source():
    return TensorSource(smooth(COUNT, WIDTH, HEIGHT), Fraction(24))


@pytest.fixture(scope="module")
def window():
    """Glides by fractions of a pixel, grows, and jumps at a cut."""
    t = np.arange(COUNT)
    height = 150 + 0.7 * t
    places = np.stack([100.3 + 1.37 * t, 80.6 + 0.41 * t, height * 1.5, height], axis=1)
    places[CUT:, 0] += 250
    return CropWindow(places, (WIDTH, HEIGHT), (144, 96), Fraction(24), (CUT,))


@pytest.fixture(scope="module")
def mask(source, window):
    """A disc in the window, of another place in every frame."""
    masks = np.zeros((COUNT, 96, 144), np.uint8)
    for at, one in enumerate(masks):
        cv2.circle(one, (60 + 2 * at, 45), 25, 255, -1)
    return TensorSource(masks, Fraction(24))


def test_what_is_cut_out_lies_where_it_lay(source):
    """A ramp says by its values where it was sampled."""
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    ramp = np.stack([across / 4, down / 2, 0 * across], axis=2).round().astype(np.uint8)
    places = np.array([[33.25, 41.75, 240.0, 160.0], [33.75, 41.75, 240.0, 160.0]])
    window = CropWindow(places, (WIDTH, HEIGHT), (96, 64))
    frames = CroppedSource(TensorSource(np.stack([ramp, ramp])), window).read(0, 2).astype(float)
    x = 33.25 + (np.arange(96) + 0.5) * 2.5 - 0.5
    y = 41.75 + (np.arange(64) + 0.5) * 2.5 - 0.5
    assert np.abs(frames[0, :, :, 0] - x / 4).max() < 0.8 and np.abs(frames[0, :, :, 1] - y[:, None] / 2).max() < 0.8
    assert (frames[1, :, :, 0] - frames[0, :, :, 0]).mean() == pytest.approx(0.5 / 4, abs=0.03)


def test_frames_are_cut_out_while_the_next_are_read(source, window, monkeypatch):
    expected = CroppedSource(source, window).read(0, COUNT)
    monkeypatch.setattr(workers, "COUNT", 3)
    monkeypatch.setattr(CroppedSource, "chunk", 1)
    recorded = RecordedSource(source.read(0, COUNT), Fraction(24))
    assert np.array_equal(CroppedSource(recorded, window).read(0, COUNT), expected)
    assert recorded.reads == [(at, at + 1) for at in range(COUNT)]

    def refuse(frame, place, size):
        raise InputError("no picture")

    monkeypatch.setattr(crop, "cut_out", refuse)
    with pytest.raises(InputError, match="no picture"):
        CroppedSource(source, window).read(0, COUNT)


def test_shrinking_does_not_alias():
    """Stripes finer than the sampled pixels become grey, and stay so as the window glides."""
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    places = np.array([[20 + 0.3 * at, 20, 480.0, 320.0] for at in range(5)])
    window = CropWindow(places, (WIDTH, HEIGHT), (96, 64))
    frames = CroppedSource(TensorSource(np.stack([stripes] * 5)), window).read(0, 5)
    assert np.abs(frames.astype(int) - 127).max() <= 3


def test_whole_pixels_at_one_to_one_are_the_sources(source):
    window = CropWindow(np.tile([30.0, 50.0, 160.0, 96.0], (COUNT, 1)), (WIDTH, HEIGHT), (160, 96))
    cropped = CroppedSource(source, window)
    assert (cropped.read(2, 9) == source.read(2, 9)[:, 50:146, 30:190]).all()
    stitched = StitchedSource(source, cropped, window, feather=0)
    assert (stitched.read(0, COUNT) == source.read(0, COUNT)).all()


@pytest.mark.parametrize("feather, grow", [(0.0, 0.0), (6.0, 0.0), (12.0, 5.0), (3.5, 9.25)])
def test_beyond_the_feather_every_byte_is_the_sources(source, window, mask, feather, grow):
    made = TensorSource(255 - smooth(COUNT, 144, 96, 5), Fraction(24))
    stitched = StitchedSource(source, made, window, mask, feather, grow).read(0, COUNT)
    before = source.read(0, COUNT)
    for at in range(COUNT):
        left, top, width, height = window.places[at]
        matrix = np.array(
            [[144 / width, 0, (0.5 - left) * 144 / width - 0.5], [0, 96 / height, (0.5 - top) * 96 / height - 0.5]]
        )
        inside = cv2.warpAffine(
            mask.read(at, at + 1)[0], matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        ) >= 128  # fmt: skip
        away = distance_transform_edt(~inside)
        differs = (stitched[at] != before[at]).any(axis=2)
        assert not differs[away > grow + feather + 1.5].any()
        assert differs[away <= grow].mean() > 0.95
        assert differs.sum() > 500


def test_without_a_mask_the_window_is_taken_and_its_edge_feathered(source, window):
    made = TensorSource(np.full((COUNT, 96, 144, 3), 7, np.uint8), Fraction(24))
    stitched, before = StitchedSource(source, made, window, feather=10).read(0, COUNT), source.read(0, COUNT)
    for at in range(COUNT):
        left, top, width, height = window.places[at]
        x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5
        depth = np.minimum.outer(np.minimum(y - top, top + height - y), np.minimum(x - left, left + width - x))
        assert (stitched[at][depth <= 0] == before[at][depth <= 0]).all()
        assert (stitched[at][depth >= 10] == 7).all()
        between = (depth > 2) & (depth < 8)
        share = (stitched[at].astype(float) - before[at])[between] / (7.0 - before[at][between] + 1e-9)
        assert 0.1 < np.median(share) < 0.9


def test_edges_of_the_frame_are_not_feathered(source):
    window = CropWindow(np.tile([WIDTH - 240.0, 0.0, 240.0, 160.0], (COUNT, 1)), (WIDTH, HEIGHT), (144, 96))
    made = TensorSource(np.full((COUNT, 96, 144, 3), 7, np.uint8), Fraction(24))
    stitched = StitchedSource(source, made, window, feather=10).read(0, 1)[0]
    assert (stitched[0:100, -100:] == 7).all()


def test_there_and_back_again(source, window):
    """A denoiser that passes pixels through gives the source, but for the resampling; also from an upscaled clip."""
    cropped = CroppedSource(source, window)
    back = StitchedSource(source, cropped, window, feather=4).read(0, COUNT).astype(float)
    error = np.abs(back - source.read(0, COUNT))
    assert error.max() < 40 and np.sqrt((error**2).mean()) < 1.0
    larger = CropWindow(window.places, window.source_size, (288, 192), window.fps, window.cuts)
    upscaled = StitchedSource(source, CroppedSource(source, larger), window, feather=4).read(0, COUNT)
    assert np.abs(upscaled - source.read(0, COUNT).astype(float)).mean() <= error.mean()


def test_masks_of_a_working_size(source, window):
    """Found on frames whose rows were cut for sides divisible by 16, in the window where the character is."""
    whole = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    whole[:, 100:200, 150:420] = 255
    working = ResizedSource(source, 320, 176)
    small = ResizedSource(TensorSource(whole), 320, 176)
    found = CroppedMaskSource(small, working.picture, source, window).read(0, COUNT)
    exact = CroppedMaskSource(TensorSource(whole), (0, 0, WIDTH, HEIGHT), source, window).read(0, COUNT)
    assert set(np.unique(found)) <= {0, 255} and (found != exact).mean() < 0.02 and exact.mean() > 20


def test_the_pose_lies_on_the_person_in_the_window():
    points = np.stack([figure_keypoints(at / 24, WIDTH, HEIGHT, (0.4, 0.5), 0.6) for at in range(COUNT)])
    points[3, 100:105] = 0
    boxes = np.tile(np.float32([200, 60, 320, 300, 0.9]), (COUNT, 1))
    track = PoseTrack(points, WIDTH, HEIGHT, Fraction(24), boxes, (CUT,))
    window = plan_window(boxes[:, :4], (WIDTH, HEIGHT), 24, (CUT,))
    inside = crop_track(track, window)
    assert (inside.width, inside.height, inside.cuts, inside.picture) == (*window.size, (CUT,), None)
    left, top, width, height = window.places[5]
    expected = (points[5, :, :2] - (left, top)) * (window.size[0] / width, window.size[1] / height)
    assert np.abs(inside.keypoints[5, :, :2] - expected).max() < 0.01
    assert (inside.keypoints[..., 2] == points[..., 2]).all() and (inside.keypoints[3, 100:105] == 0).all()
    assert inside.boxes[5, 0] == pytest.approx((200 - left) * window.size[0] / width, abs=0.01)
    balls = TensorSource(np.stack([draw_figure(one, WIDTH, HEIGHT) for one in points]))
    seen = CroppedSource(balls, window).read(5, 6)[0]
    shown = draw_figure(points[5], WIDTH, HEIGHT)
    for joint in (5, 6, 11, 12):
        x, y = inside.keypoints[5, joint, :2].astype(int)
        a, b = points[5, joint, :2].astype(int)
        assert np.abs(seen[y, x].astype(int) - shown[b, a]).max() < 60


def test_reading_is_bounded_and_in_order(window, mask):
    source = RecordedSource(smooth(COUNT, WIDTH, HEIGHT), Fraction(24))
    cropped = CroppedSource(source, window)
    made = RecordedSource(cropped.read(0, COUNT), Fraction(24))
    source.reads.clear()
    stitched = StitchedSource(source, made, window, mask)
    list(stitched.batches(4))
    assert source.reads == made.reads == [(at, at + 1) for at in range(COUNT)]
    assert cropped.chunk == 8 and source.chunk == 8
    large = TensorSource(np.zeros((1, 2160, 3840, 3), np.uint8))
    wide = CropWindow(np.array([[0.0, 0, 144, 96]]), (3840, 2160), (144, 96))
    assert large.chunk == CroppedSource(large, wide).chunk == 1
    assert (
        ShapedMaskSource(
            CroppedMaskSource(TensorSource(np.zeros((1, 90, 160), np.uint8)), (0, 0, 160, 90), large, wide)
        ).chunk
        == 8
    )
    stitched.close()
    assert source.closed == made.closed == 1


def test_rate_and_count_are_the_generated_clips(source, window, mask, tmp_path):
    made = TensorSource(CroppedSource(source, window).read(0, COUNT), Fraction(25))
    stitched = StitchedSource(source, made, window, mask)
    assert (len(stitched), stitched.fps, stitched.width, stitched.height) == (COUNT, 25, WIDTH, HEIGHT)
    seen = []
    write_stitched(tmp_path / "a.mp4", stitched, progress=lambda done, total: seen.append((done, total)))
    clip = VideoSource(tmp_path / "a.mp4", fps=0)
    assert (len(clip), clip.fps, clip.width, clip.height) == (COUNT, 25, WIDTH, HEIGHT)
    assert seen == [(at, COUNT) for at in range(1, COUNT + 1)]
    assert np.abs(clip.read(0, COUNT).astype(int) - stitched.read(0, COUNT)).mean() < 9


def part_of(source, first: int, stop: int, count: int = COUNT):
    """Some frames, as a clip of some segments is."""
    part = TensorSource(source.read(first, stop), source.fps)
    part.part_of = first, count
    return part


@pytest.mark.parametrize("first, stop", [(0, 5), (4, 9), (7, 12)])
def test_a_part_of_the_clip_is_stitched_where_it_belongs(source, window, mask, first, stop):
    made = TensorSource(255 - smooth(COUNT, 144, 96, 5), Fraction(24))
    whole = StitchedSource(source, made, window, mask, 6)
    part = StitchedSource(source, part_of(made, first, stop), window, mask, 6)
    assert (len(part), part.first, part.part_of) == (stop - first, first, (first, COUNT))
    assert (part.read(0, len(part)) == whole.read(first, stop)).all()
    assert part.fingerprint() != whole.fingerprint() != StitchedSource(source, made, window, mask, 7).fingerprint()
    cut = PartSource(part_of(made, first, stop), 1, 3)
    again = StitchedSource(source, cut, window, mask, 6)
    assert (again.read(0, 2) == whole.read(first + 1, first + 3)).all() and again.first == first + 1
    matched = StitchedSource(source, match_color(part_of(made, first, stop), made, strength=0), window, mask, 6)
    assert (matched.read(0, len(part)) == part.read(0, len(part))).all()


def text(width: int, height: int) -> np.ndarray:
    """Hard edges, at which Lanczos overshoots."""
    image = np.full((height, width, 3), 16, np.uint8)
    for at in range(12, height, 16):
        cv2.putText(image, "The quick brown fox 12345", (3, at), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (250, 250, 245), 1)
    return image


@pytest.mark.parametrize("masked", [False, True])
def test_rows_are_mixed_as_whole_frames_are_whoever_mixes_them(source, window, mask, masked, monkeypatch):
    """A few rows at a time, in any number of threads."""
    inside = mask if masked else None
    made = TensorSource(np.stack([text(144, 96)] * COUNT))
    found = []
    for rows, threads in ((16, 1), (16, 5), (HEIGHT, 1)):
        monkeypatch.setattr(stitch, "_ROWS", rows)
        monkeypatch.setattr(workers, "COUNT", threads)
        found.append(StitchedSource(source, made, window, inside, 8.0).read(0, COUNT))
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0].astype(int) - found[2]).max() <= 1


@pytest.mark.parametrize("size", [(1280, 720), (300, 720), (1280, 90)])
def test_a_part_is_resampled_as_the_whole_whatever_its_size(size):
    """Pillow goes by rows or by columns first, as is cheaper, and cuts to bytes in between."""
    whole = PlacedBack(text(*size), (10.25, 0.0, 1900.5, 1080.0))
    all_of_it = whole.part(0, 0, whole.width, whole.height).astype(int)
    for x, y, width, height in ((0, 0, 1899, 64), (300, 100, 40, 900), (301, 101, 1500, 7), (1850, 1000, 49, 80)):
        part = whole.part(x, y, width, height)
        assert np.abs(part - all_of_it[y : y + height, x : x + width]).max() <= 1


def test_a_window_without_a_whole_pixel_shows_nothing(source):
    places = np.array([[100.5, 80.5, 1.2, 1.2]])
    window = CropWindow(places, (WIDTH, HEIGHT), (16, 16), Fraction(24))
    made, one = TensorSource(np.zeros((1, 16, 16, 3), np.uint8)), TensorSource(source.read(0, 1), Fraction(24))
    inside = TensorSource(np.full((1, 16, 16), 255, np.uint8))
    for mask in (inside, None):
        assert np.array_equal(StitchedSource(one, made, window, mask).read(0, 1), one.read(0, 1))


def test_one_mask_stands_for_every_frame(source, window, mask):
    """As Animate Character takes it."""
    made = TensorSource(255 - smooth(COUNT, 144, 96, 5), Fraction(24))
    one = TensorSource(mask.read(3, 4), Fraction(24))
    repeated = TensorSource(np.repeat(mask.read(3, 4), COUNT, axis=0), Fraction(24))
    stitched = StitchedSource(source, made, window, one).read(0, COUNT)
    assert (stitched == StitchedSource(source, made, window, repeated).read(0, COUNT)).all()
    part = StitchedSource(source, part_of(made, 4, 9), window, one)
    assert (part.read(0, 5) == stitched[4:9]).all()


def test_a_part_of_another_clip_is_said(source, window):
    made = TensorSource(np.zeros((COUNT, 96, 144, 3), np.uint8))
    for wrong in (part_of(made, 0, 5, 20), part_of(made, 2, COUNT, COUNT + 2), made_of(made, 0, 5)):
        with pytest.raises(InputError, match="frames were generated and the window has 12: connect the clip that was"):
            StitchedSource(source, wrong, window)


def made_of(source, first: int, stop: int):
    """As IMAGE, which does not know where it begins."""
    return TensorSource(source.read(first, stop), source.fps)


def test_a_part_of_the_clip_has_its_own_sound(source, window, tmp_path):
    """Silence and from frame 6 on a tone: a clip of frames 6 to 9 sounds throughout."""
    time = torch.arange(round(48000 * COUNT / 24)) / 48000
    wave = torch.where(time < 6 / 24, 0, 0.5 * torch.sin(2 * torch.pi * 440 * time))
    audio = {"waveform": wave[None, None], "sample_rate": 48000}
    for first, stop in ((0, 5), (6, 10), (0, COUNT)):
        made = part_of(CroppedSource(source, window), first, stop)
        write_stitched(tmp_path / "a.mp4", StitchedSource(source, made, window), audio)
        heard = read_audio(tmp_path / "a.mp4")["waveform"][0, 0]
        begin, end = (max(int(48000 * at / 24), 0) for at in (0, stop - first))
        expected = fit_audio(audio, (stop - first) / 24, first / 24)[0][0]
        assert abs(len(heard) - (end - begin)) < 1100
        middle = slice(2000, end - 2000)
        assert np.sqrt(((heard[middle].numpy() - expected[middle]) ** 2).mean()) < 0.02


def test_odd_sides_lose_a_row_in_the_mp4_alone(tmp_path):
    source = TensorSource(smooth(3, 168, 104)[:, :101, :163])
    window = plan_window(np.tile([60.0, 20, 100, 90], (3, 1)), (163, 101), size=WindowSize("factor", factor=1.0))
    stitched = StitchedSource(source, CroppedSource(source, window), window)
    write_stitched(tmp_path / "odd.mp4", stitched)
    clip = VideoSource(tmp_path / "odd.mp4", fps=0)
    assert (clip.width, clip.height, stitched.width, stitched.height) == (162, 100, 163, 101)


def test_fingerprints(source, window, mask):
    made = CroppedSource(source, window)
    first = StitchedSource(source, made, window, mask)
    assert first.fingerprint() == StitchedSource(source, made, window, mask).fingerprint()
    others = [
        StitchedSource(source, made, window),
        StitchedSource(source, made, window, mask, feather=17),
        StitchedSource(source, made, window, mask, grow=1),
    ]
    assert len({first.fingerprint(), *(other.fingerprint() for other in others)}) == 4


BAD = [
    (dict(feather=-1), "feather .-1. and grow .0. must be 0 to 512"),
    (dict(grow=600), "grow .600. must be 0 to 512"),
    (dict(made=(5, 96, 144)), "5 frames were generated and the window has 12: connect the clip"),
    (dict(made=(COUNT, 96, 100)), "generated frames are 100x96, of another shape than the window's 144x96"),
    (dict(mask=(COUNT, 90, 144)), "the mask has 12 masks of 144x90 and the window 12 of 144x96: connect the mask that"),
    (dict(mask=(3, 96, 144)), "the mask has 3 masks"),
    (dict(size=(320, 180)), "window was made for frames of 640x360, and these are 320x180"),
    (dict(count=9), "the window has 12 frames and the video 9"),
]


@pytest.mark.parametrize("changes, says", BAD)
def test_what_does_not_go_together_is_said(window, changes, says):
    width, height = changes.get("size", (WIDTH, HEIGHT))
    source = TensorSource(np.zeros((changes.get("count", COUNT), height, width, 3), np.uint8))
    made = TensorSource(np.zeros((*changes.get("made", (COUNT, 96, 144)), 3), np.uint8))
    mask = TensorSource(np.zeros(changes["mask"], np.uint8)) if "mask" in changes else None
    numbers = {name: changes[name] for name in ("feather", "grow") if name in changes}
    with pytest.raises(InputError, match=says):
        StitchedSource(source, made, window, mask, **numbers)


def test_masks_and_images_mixed_up_are_said(source, window, mask):
    with pytest.raises(InputError, match="frames are needed, but these are masks"):
        CroppedSource(mask, window)
    with pytest.raises(InputError, match="a mask is needed, but these are images"):
        CroppedMaskSource(source, (0, 0, WIDTH, HEIGHT), source, window)
    with pytest.raises(InputError, match="make the window from this pose"):
        crop_track(PoseTrack(np.zeros((3, 133, 3), np.float32), WIDTH, HEIGHT), window)
