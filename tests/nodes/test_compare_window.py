"""Under Animate Character the driver of a clip in a window lies where the clip lies, side by side and wiped, and moves
with the window; in the real frontend."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from demo.figure import draw_figure, figure_keypoints
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource
from wan_animate.video.write import write_video

from ..support.editors import build, opened

WIDTH, HEIGHT, FRAMES, START = 640, 240, 64, 8
CLIP, TRACK = "walker.mp4", "walker.npz"
NODES = {
    "load": ("WanAnimateKitLoadVideo", [40, 80], {"file": CLIP, "width": 128, "height": 64, "start": START}),
    "track": ("WanAnimateKitLoadPoseTrack", [40, 620], {"file": TRACK}),
    "crop": ("WanAnimateKitCropToCharacter", [300, 80], {"size": "factor", "factor": 1.0, "room": 1.0}),
    "save": ("WanAnimateKitSaveClip", [300, 560], {"filename_prefix": "window/crop", "quality": "best"}),
    "animate": ("WanAnimateKitAnimate", [640, 60], {}),
    "stitch": ("WanAnimateKitStitchCharacter", [1040, 60], {}),
}
LINKS = [
    ("load", 6, "crop", "frames"), ("track", 0, "crop", "pose"), ("load", 6, "track", "frames"),
    ("crop", 0, "save", "frames"), ("crop", 1, "animate", "pose"), ("animate", 1, "stitch", "generated"),
    ("load", 6, "stitch", "frames"), ("crop", 3, "stitch", "window"),
]  # fmt: skip
CROP_ALONE = """async () => {
    for (const name of ['animate', 'stitch']) made[name].mode = 2;
    window.saved = null;
    made.save.onExecuted = output => { window.saved = (output.files ?? output.images)[0]; };
    await app.queuePrompt(0);
}"""
SHOW = """([node, file, first, frames]) => {
    made[node].mode = 0;
    made[node].onExecuted({ wan_animate_kit: [{ clip: { file, first, frames, fps: 30 } }] });
}"""
ROOT = "made['{}'].widgets.find(w => w.name === 'below').element.shadowRoot"


def walker(at: int) -> np.ndarray:
    return figure_keypoints(at / 30, WIDTH, HEIGHT, center=(0.15 + 0.7 * at / FRAMES, 0.55), size=0.55)


@pytest.fixture(scope="module")
def page(host_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("walker")
    points = np.stack([walker(at) for at in range(FRAMES)]).astype(np.float32)
    pictures = np.stack([draw_figure(one, WIDTH, HEIGHT) for one in points])
    write_video(folder / CLIP, TensorSource(pictures, 30), None, Fraction(30), crf=4)
    PoseTrack(points, WIDTH, HEIGHT, Fraction(30)).save(folder / TRACK)
    for file in folder.iterdir():
        host_server.upload(file)
    with opened(host_server, False) as page:
        build(page, NODES, LINKS)
        page.evaluate(CROP_ALONE)
        page.wait_for_function("window.saved && made.crop.wanAnimateKitWindow", timeout=120_000)
        yield page


def picture(page, node: str, frame: int, share: float) -> np.ndarray:
    """float32 ``[H, W, 3]`` of the wipe with the clip over ``1 - share`` of the driver."""
    root = ROOT.format(node)
    page.evaluate(
        f"""async ([frame, share]) => {{
            const root = {root}, view = root.querySelector('.view');
            [...root.querySelectorAll('.controls button')].find(one => one.title.includes('wiped')).click();
            const slider = root.querySelector('.controls input');
            slider.value = frame;
            slider.oninput();
            view.style.setProperty('--at', share + '%');
            root.querySelector('.handle').style.visibility = 'hidden';
            root.querySelectorAll('figcaption').forEach(one => one.remove());
            const videos = [...root.querySelectorAll('video')];
            for (let tries = 0; tries < 200; tries++) {{
                await new Promise(done => setTimeout(done, tries ? 100 : 500));
                if (videos.every(one => !one.seeking && one.readyState > 1)) break;
            }}
            await new Promise(done => setTimeout(done, 500));
        }}""",
        [frame, 100 * share],
    )
    place = page.evaluate(f"(() => {{ const at = {root}.querySelector('.view').getBoundingClientRect();"
                          "return { x: at.x, y: at.y, width: at.width, height: at.height }; })()")  # fmt: skip
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=place))).convert("RGB"), np.float32)


def show(page, node: str, clip: dict, first: int = 0) -> None:
    page.evaluate(SHOW, [node, clip, first, FRAMES - START - first])
    page.wait_for_timeout(1000)


def test_the_driver_lies_where_the_window_lies(page, tmp_path):
    """The clip is the window itself: wiped over its driver it shows the same picture, at every frame."""
    assert page.evaluate("made.crop.wanAnimateKitWindow.places.length") > 4, "the window moves"
    show(page, "animate", page.evaluate("window.saved"))
    drivers = []
    for frame in (2, 40):
        for _ in range(4):  # a busy machine shows a frame that was sought a moment later
            clip, driver = (picture(page, "animate", frame, share) for share in (0.0, 1.0))
            assert clip.std() > 20 and clip.shape == driver.shape
            if (far := np.abs(clip - driver).mean()) < 3:
                break
        for name, one in (("clip", clip), ("driver", driver)):
            Image.fromarray(one.astype(np.uint8)).save(tmp_path / f"{name}_{frame}.png")
        assert far < 3, frame
        drivers.append(driver)
    assert np.abs(drivers[0] - drivers[1]).mean() > 6, "another frame, another place"
    page.screenshot(path=tmp_path / "window.png")


def test_a_part_of_the_clip_begins_later_on_the_windows_way(page):
    places, first = page.evaluate("made.crop.wanAnimateKitWindow.places"), 20
    show(page, "animate", page.evaluate("window.saved"), first)
    picture(page, "animate", 0, 1.0)
    left, wide = (
        page.evaluate(f"parseFloat({ROOT.format('animate')}.querySelector('.cut video').style.{side})")
        for side in ("left", "width")
    )
    place = [one for one in places if one[0] <= first][-1]
    assert -left / wide == pytest.approx(place[1] / WIDTH, abs=0.002) and place[1] > places[0][1] + 20


def test_after_stitch_character_the_whole_frames_are_compared(page):
    show(page, "stitch", {"filename": CLIP, "type": "input"})
    root = ROOT.format("stitch")
    assert page.evaluate(f"{root}.querySelectorAll('.controls button[title*=driver]').length") == 2
    assert page.evaluate(f"[...{root}.querySelectorAll('.controls button')].filter(one => one.hidden).length") == 0
    assert picture(page, "stitch", 3, 1.0).std() > 20
    assert page.evaluate(f"{root}.querySelector('.cut').className") == "cut", "the whole frame"


def test_without_a_known_window_there_is_no_wipe(page):
    """As in a graph that was opened again and has not run: side by side, of whole frames."""
    page.evaluate("made.crop.wanAnimateKitWindow = null")
    show(page, "animate", page.evaluate("window.saved"))
    root = ROOT.format("animate")
    assert page.evaluate(f"{root}.querySelector('.controls button[title*=wiped]').hidden")
    assert page.evaluate(f"{root}.querySelector('.view').className") == "view side"
    assert page.faults == []
