"""fit fill and pad, and pose tracks that follow it."""

import numpy as np
import pytest

from wan_animate.cli.make import driving_video
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.pose import wholebody
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.pose.track import PoseTrack
from wan_animate.video.derived import ResizedSource, at_area
from wan_animate.video.frames import TensorSource
from wan_animate.video.resample import area_size, cut_share, fill_size, letterbox, placement
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, write_clip
from .test_video_hdr import hdr_clip

PHONES = [(1920, 1080), (1080, 1920), (1170, 2532), (886, 1920), (1080, 2400), (1440, 1080), (1080, 1080), (2560, 1080)]
SPOTS = np.array([(0.06, 0.08), (0.5, 0.5), (0.94, 0.9), (0.08, 0.93), (0.93, 0.07)])  # near the edges, all kept


def grey(i, width, height):
    return np.full((height, width, 3), 180, np.uint8)


def spots(i, width, height):
    image = np.full((height, width, 3), 20, np.uint8)
    for x, y in SPOTS:
        image[round(y * height) - 6 : round(y * height) + 6, round(x * width) - 6 : round(x * width) + 6] = 230
    return image


def track_of_spots(width, height, count=2):
    keypoints = np.zeros((count, wholebody.COUNT, 3), np.float32)
    keypoints[:, : len(SPOTS)] = [[round(x * width) - 0.5, round(y * height) - 0.5, 1] for x, y in SPOTS]
    boxes = np.tile(np.array([0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height, 1], np.float32), (count, 1))
    return PoseTrack(keypoints, width, height, 30, boxes)


def lit(image):
    """Positions of the spots, in order."""
    light, out = image[..., 0].astype(float) - 40, []
    height, width = light.shape
    for x, y in SPOTS:
        top, left = max(int(y * height) - 22, 0), max(int(x * width) - 22, 0)
        part = np.clip(light[top : top + 45, left : left + 45], 0, None)
        rows, columns = np.indices(part.shape)
        out.append((left + (part * columns).sum() / part.sum(), top + (part * rows).sum() / part.sum()))
    return np.array(out)


@pytest.mark.parametrize("width, height", PHONES)
@pytest.mark.parametrize("area", [832 * 480, 1280 * 720])
def test_no_phones_clip_has_black_bars_or_loses_a_fiftieth(tmp_path, width, height, area):
    size = fill_size(width, height, area)
    assert size[0] % 16 == size[1] % 16 == 0 and 0.93 * area < size[0] * size[1] + 16 * sum(size)
    assert size[0] * size[1] <= area and cut_share(width, height, *size) <= 0.02
    left, top, new_width, new_height = placement(width, height, *size)
    assert left <= 0 and top <= 0 and left + new_width >= size[0] and top + new_height >= size[1]
    assert abs(new_width / new_height / (width / height) - 1) < 0.003, "the picture keeps its shape"
    assert abs(2 * left + new_width - size[0]) <= 1 and abs(2 * top + new_height - size[1]) <= 1, "it is centred"


def test_any_shape_is_cut_by_a_fiftieth_at_most_from_480p_on():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        ratio, width = np.exp(rng.uniform(np.log(9 / 21), np.log(21 / 9))), int(rng.integers(400, 4000))
        for area in (832 * 480, 1280 * 720):
            assert cut_share(width, int(width / ratio), *fill_size(width, int(width / ratio), area)) < 0.0205


def test_the_picture_is_nowhere_smaller_than_by_upstreams_size():
    """Where upstream's size crops a fiftieth at most."""

    def shown(size, chosen):
        return min(chosen[0] / size[0], chosen[1] / size[1])

    for size in PHONES:
        for area in (832 * 480, 1280 * 720):
            if cut_share(*size, *area_size(*size, area)) <= 0.02:
                assert shown(size, fill_size(*size, area)) >= shown(size, area_size(*size, area))


@pytest.mark.parametrize("asked", [(832, 464), (480, 272), (624, 352), (1280, 720), (1024, 576), (96, 128), (640, 640)])
def test_the_size_that_is_asked_for_is_taken_as_it_is(asked):
    """Whatever the clip's shape, if it crops a fiftieth at most; a portrait clip turns it."""
    width, height = asked
    for off in np.linspace(-0.0199, 0.0199, 21):
        clip = round(4000 * (1 + off)), round(4000 * height / width)
        if cut_share(*clip, *asked) <= 0.02:
            assert fill_size(*clip, width * height) == asked
            assert fill_size(*clip[::-1], width * height) == asked[::-1]


@pytest.mark.parametrize("clip, area, size", [
    ((1920, 1080), 832 * 464, (832, 464)), ((1920, 1080), 480 * 272, (480, 272)), ((1080, 1920), 480 * 272, (272, 480)),
    ((1920, 1080), 480 * 272 + 500, (480, 272)), ((1920, 1080), 832 * 480, (832, 464)),
    ((1280, 704), 1280 * 720, (1280, 704)), ((1440, 1080), 1280 * 720, (1104, 832)),
])  # fmt: skip
def test_the_largest_size_that_cuts_little(clip, area, size):
    assert fill_size(*clip, area) == size


@pytest.mark.parametrize("width, height", [(640, 360), (360, 640), (390, 844)])
def test_a_clip_fills_its_frame(tmp_path, width, height):
    path = write_clip(tmp_path / "g.mp4", 2, width=width, height=height, frame=grey)
    filled, padded = (VideoSource(path, max_area=832 * 480 // 4, fit=fit) for fit in ("fill", "pad"))
    assert filled.read(0, 2).min() > 170, "no black anywhere"
    frame = padded.read(0, 1)[0]
    assert (frame.max(axis=2) < 16).mean() > 0.005, "upstream's bars"
    assert filled.fingerprint() != padded.fingerprint()


def test_padding_is_upstreams_letterbox(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 2, width=640, height=360, frame=numbered_frame)
    whole, padded = VideoSource(path).read(0, 1)[0], VideoSource(path, max_area=416 * 240, fit="pad")
    assert (padded.width, padded.height) == area_size(640, 360, 416 * 240)
    assert np.array_equal(padded.read(0, 1)[0], letterbox(whole, padded.width, padded.height))


def test_another_shape_is_padded_and_not_cut_to_pieces():
    assert placement(160, 96, 128, 128) == placement(160, 96, 128, 128, "pad")
    with pytest.raises(InputError, match="fill, pad"):
        placement(160, 96, 128, 128, "stretch")


@pytest.mark.parametrize("fit", ["fill", "pad"])
@pytest.mark.parametrize(
    "width, height, area", [(640, 360, 832 * 480), (640, 360, 416 * 240), (468, 1012, 832 * 480 // 2)]
)
def test_a_track_of_the_clip_itself_lands_on_the_person(tmp_path, fit, width, height, area):
    """Within a pixel for both fits, also saved and loaded."""
    path = write_clip(tmp_path / "s.mp4", 2, width=width, height=height, frame=spots, options={"crf": "4"})
    own, frames = VideoSource(path), VideoSource(path, max_area=area, fit=fit)
    track = track_of_spots(width, height)
    assert np.abs(track.keypoints[0, :5, :2] - lit(own.read(0, 1)[0])).max() < 0.5, "the test's own spots"
    knows = PoseTrack(track.keypoints, width, height, 30, track.boxes, picture=own.picture)
    knows.save(tmp_path / "t.npz")
    for one in (track, knows, PoseTrack.load(tmp_path / "t.npz")):
        there = one.onto(frames)
        assert (there.width, there.height) == (frames.width, frames.height)
        assert np.abs(there.keypoints[0, :5, :2] - lit(frames.read(0, 1)[0])).max() < 1
        expected = (one.boxes[0, :4].reshape(2, 2) - 0) * frames.picture[2:] / (width, height) + frames.picture[:2]
        assert np.abs(there.boxes[0, :4].reshape(2, 2) - expected).max() < 0.5
    assert np.abs(track.placed(frames.width, frames.height, fit).keypoints - there.keypoints).max() < 1


@pytest.mark.parametrize("found_on, used_on", [("pad", "fill"), ("fill", "pad")])
def test_a_track_found_with_one_fit_lands_in_frames_of_the_other(tmp_path, found_on, used_on):
    path = write_clip(tmp_path / "s.mp4", 2, width=640, height=360, frame=spots, options={"crf": "4"})
    one, other = (VideoSource(path, max_area=832 * 480, fit=fit) for fit in (found_on, used_on))
    assert one.picture != other.picture and one.width == other.width
    keypoints = np.zeros((2, wholebody.COUNT, 3), np.float32)
    keypoints[:, :5] = np.concatenate([lit(one.read(0, 1)[0]), np.ones((5, 1))], axis=1)
    track = PoseTrack(keypoints, one.width, one.height, 30, picture=one.picture)
    wanted = lit(other.read(0, 1)[0])
    assert np.abs(track.onto(other).keypoints[0, :5, :2] - wanted).max() < 0.7
    assert np.abs(track.keypoints[0, :5, :2] - wanted).max() > 2, "there is something to follow"
    assert track.onto(one) is track and track.slice(0, 1).onto(other).picture == pytest.approx(other.picture)
    smaller = VideoSource(path, max_area=416 * 240, fit=used_on)
    assert np.abs(track.onto(smaller).keypoints[0, :5, :2] - lit(smaller.read(0, 1)[0])).max() < 0.7


def test_a_track_that_knows_nothing_is_taken_as_of_these_frames(tmp_path):
    """Tracks without a picture rectangle: used as they are, or scaled."""
    path = write_clip(tmp_path / "s.mp4", 2, width=640, height=360, frame=spots)
    frames = VideoSource(path, max_area=832 * 480)
    track = track_of_spots(frames.width, frames.height)
    assert track.onto(frames) is track
    twice = track.scaled(2 * frames.width, 2 * frames.height)
    assert np.abs(twice.onto(frames).keypoints - track.keypoints).max() < 1e-3
    memory = TensorSource(np.zeros((2, 464, 832, 3), np.uint8))
    assert np.array_equal(
        track_of_spots(1920, 1080).onto(memory).keypoints, track_of_spots(1920, 1080).placed(832, 464).keypoints
    )


@pytest.mark.parametrize("fit", ["fill", "pad"])
@pytest.mark.parametrize("scale", [1, 3])
def test_drawings_and_silhouettes_at_a_size_lie_on_the_frames(tmp_path, fit, scale):
    width, height = 640 * scale, 360 * scale
    keypoints = np.zeros((2, wholebody.COUNT, 3), np.float32)
    keypoints[:, :17] = [((x * 0.4 + 360) * scale, (y * 0.4 + 60) * scale, 1) for x, y in zip(
        [320, 330, 310, 340, 300, 370, 270, 400, 240, 430, 210, 350, 290, 350, 290, 350, 290],
        [60, 52, 52, 58, 58, 110, 110, 150, 150, 190, 190, 220, 220, 280, 280, 340, 340], strict=True)]  # fmt: skip
    track = PoseTrack(keypoints, width, height)
    there = track.placed(832, 464, fit)
    assert there.width == 832
    other = track.placed(832, 464, "pad" if fit == "fill" else "fill")
    for kind in (DrawnPoseSource, PoseMaskSource):
        middle = []
        for source in (kind.at_size(track, 832, 464, fit), kind(there), kind(other)):
            lit_at = np.array(np.nonzero(source.read(0, 1)[0].reshape(464, 832, -1).max(axis=2) > 60))
            middle.append((lit_at.min(axis=1) + lit_at.max(axis=1)) / 2)
        assert np.abs(middle[0] - middle[1]).max() <= 1
        assert np.abs(middle[0] - middle[2]).max() > 1.4, "the other fit is told from it"
    others = {DrawnPoseSource.at_size(track, 832, 464, each).fingerprint() for each in ("fill", "pad")}
    assert len(others) == 2


def test_clips_in_memory_are_sized_as_files_are():
    clip = TensorSource(np.full((2, 360, 640, 3), 200, np.uint8))
    filled, padded = at_area(clip, 832 * 480), at_area(clip, 832 * 480, "pad")
    assert (filled.width, filled.height) == (padded.width, padded.height) == (832, 464)
    assert filled.read(0, 2).min() == 200 and padded.read(0, 1)[0, :, :4].max() == 0
    assert filled.fingerprint() != padded.fingerprint()
    for source, fit in ((filled, "fill"), (padded, "pad")):
        assert source.picture == pytest.approx(placement(640, 360, 832, 464, fit))
    mask = ResizedSource(TensorSource(np.ones((1, 360, 640), np.float32)), 832, 464)
    assert mask.read(0, 1).min() == 1


def test_a_resized_clip_knows_where_its_picture_lies(tmp_path):
    path = write_clip(tmp_path / "s.mp4", 2, width=640, height=360, frame=spots, options={"crf": "4"})
    twice = ResizedSource(VideoSource(path, max_area=832 * 480), 416, 240)
    track = track_of_spots(640, 360)
    whole = PoseTrack(track.keypoints, 640, 360, picture=(0, 0, 640, 360))
    assert np.abs(whole.onto(twice).keypoints[0, :5, :2] - lit(twice.read(0, 1)[0])).max() < 1


def test_the_shell_takes_fit_and_says_what_was_done(tmp_path, capsys):
    path = hdr_clip(tmp_path / "h.mp4", width=320, height=180, count=2, paint=grey)
    given = ["--image=x.png", f"--video={path}", "--out=o.mp4", "--models=m", f"--area={208 * 120}"]
    filled, padded = (driving_video(parsed([*given, *more])) for more in ([], ["--fit=pad"]))
    assert filled.read(0, 1).min() > 170
    assert padded.read(0, 1).min() < 8
    said = capsys.readouterr().err.splitlines()
    assert sum("h.mp4' is HDR (HLG, BT.2020)" in line for line in said) == 2
    assert len(said) == 3 and "fit fill cuts" in said[1]
