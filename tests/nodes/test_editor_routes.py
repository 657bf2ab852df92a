"""What the browser's editors ask the server for: bounded, and never outside the folders."""

from __future__ import annotations

import json
import time
import urllib.error
from urllib.parse import quote, urlencode

import cv2
import numpy as np
import pytest

from wan_animate.face.boxes import face_boxes
from wan_animate.pose.edits import edit_base, edit_pose, read_edits
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import read_uint8
from wan_animate.video.source import VideoSource

from ..support.editors import CLIP, FRAMES, HEIGHT, TRACK, WIDTH, example_files

EDITS = '{"width": 320, "height": 240, "fps": 30, "keys": {"9": [[4, 12, -6], [10, 0, 5]]}, "hidden": {"10": [[3, 9]]}}'


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editors")
    example_files(folder)
    return folder


@pytest.fixture(scope="module")
def server(host_server, files):
    for file in files.iterdir():
        host_server.upload(file)
    return host_server


def refused(server, path: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as error:
        server.request(path)
    body = error.value.read()
    return error.value.code, json.loads(body).get("error", "") if body.startswith(b"{") else ""


def clip(server, **settings) -> dict:
    return server.get("/wan_animate_kit/clip?" + urlencode({"file": CLIP, "width": WIDTH, "height": HEIGHT} | settings))


def picture(server, view: str, layer: str, frame: int, **query) -> np.ndarray:
    data = server.request(f"/wan_animate_kit/view/{view}/picture/{layer}/{frame}?{urlencode(query)}")
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def track_of(server, view: str, name: str, shape: tuple[int, ...], start: int = 0) -> np.ndarray:
    data = server.request(f"/wan_animate_kit/view/{view}/track/{name}/{start}")
    return np.frombuffer(data, "<f4").reshape(-1, *shape)


def test_frames_before_a_run_are_those_of_the_node(server, files):
    told = clip(server, start=3, limit=10, fps=15)
    source = VideoSource(str(files / CLIP), fps=15, max_area=WIDTH * HEIGHT, start=3, limit=10)
    assert (told["frames"], told["width"], told["height"]) == (len(source), source.width, source.height)
    shown = picture(server, told["view"], "frame", len(source) - 1)
    assert np.abs(shown.astype(int) - read_uint8(source, len(source) - 1, len(source))[0]).mean() < 3
    assert picture(server, told["view"], "frame", 0, side=100).shape[1] == 100
    assert picture(server, told["view"], "frame", 0, side=1).shape[1] == 64
    assert clip(server, start=3, limit=10, fps=15)["view"] == told["view"]  # opened once


@pytest.mark.parametrize(
    "name",
    ["../main.py", "/etc/passwd", "..%2f..%2fetc/passwd", "gone.mp4", "", "a\0b", "../dancer.mp4 [temp]", "x" * 5000],
)
def test_names_never_leave_their_folder(server, name):
    code, said = refused(server, "/wan_animate_kit/clip?" + urlencode({"file": name}))
    assert code == 400 and "there is no video" in said and len(said) < 300


def test_bad_questions_are_answered_with_a_sentence(server):
    view = clip(server)["view"]
    assert refused(server, f"/wan_animate_kit/clip?file={TRACK}")[0] == 400  # no video
    for settings, said in (
        ({"width": "wide"}, "must be numbers"),
        ({"width": 100_000, "height": 100_000}, "choose a smaller size"),
        ({"width": -5}, "choose a smaller size"),
        ({"fps": "nan"}, "cannot be shown"),
        ({"fps": -1}, "give a rate above 0"),
        ({"start": 500}, ""),
    ):
        code, answer = refused(server, "/wan_animate_kit/clip?" + urlencode({"file": CLIP} | settings))
        assert code == 400 and said in answer, (settings, answer)
    assert refused(server, f"/wan_animate_kit/view/{view}/picture/frame/{FRAMES}")[0] == 404
    assert refused(server, f"/wan_animate_kit/view/{view}/picture/mask/0")[0] == 404
    assert refused(server, f"/wan_animate_kit/view/{view}/track/base/0")[0] == 404
    assert "run the node again" in refused(server, f"/wan_animate_kit/view/{'0' * 16}/picture/frame/0")[1]
    for path in (
        "view/../picture/frame/0",
        f"view/{view}/picture/{quote('../x', safe='')}/0",
        f"view/{view}/picture/frame/-1",
    ):
        assert refused(server, f"/wan_animate_kit/{path}")[0] in (400, 403, 404)


def graph(edits: str, **more) -> dict:
    kit = "WanAnimateKit"
    return {
        "1": {"class_type": kit + "LoadVideo", "inputs": {"file": CLIP, "width": WIDTH, "height": HEIGHT, "fps": 30}},
        "2": {"class_type": kit + "LoadPoseTrack", "inputs": {"file": TRACK}},
        "3": {"class_type": kit + "EditPose", "inputs": {"pose": ["2", 0], "edits": edits, **more}},
    }


def test_edit_pose_runs_alone_and_its_keypoints_are_served(server, files):
    outputs = server.run(graph(EDITS, frames=["1", 0]))["outputs"]
    (told,) = outputs["3"]["wan_animate_kit_view"]
    track = PoseTrack.load(files / TRACK)
    assert told["frames"] == FRAMES and told["layers"] == ["frame"] and told["cuts"] == [] and told["driver"] is None
    base = track_of(server, told["view"], "base", (133, 3))
    assert np.allclose(base, edit_base(track)) and len(base) == FRAMES
    assert (track_of(server, told["view"], "base", (133, 3), 20) == base[20:]).all()
    boxes, found = face_boxes(edit_pose(track, read_edits(EDITS)))
    assert found.any() and np.allclose(track_of(server, told["view"], "face", (4,)), boxes, atol=1e-3)
    assert picture(server, told["view"], "frame", 5).shape == (HEIGHT, WIDTH, 3)
    again = server.run(graph(EDITS, frames=["1", 0]))["outputs"]["3"]["wan_animate_kit_view"][0]
    assert picture(server, again["view"], "frame", 5).any()  # from the cache: still kept


def test_the_edited_pose_comes_out_and_is_saved(server, files):
    prompt = graph(EDITS) | {
        "4": {
            "class_type": "WanAnimateKitSavePoseTrack",
            "inputs": {"pose": ["3", 0], "filename_prefix": "edited/pose"},
        }
    }
    server.run(prompt)
    saved = max((server.base_dir / "output" / "edited").glob("pose_*.npz"))
    wanted = edit_pose(PoseTrack.load(files / TRACK), read_edits(EDITS))
    assert (PoseTrack.load(saved).keypoints == wanted.keypoints).all()
    assert not (wanted.keypoints == PoseTrack.load(files / TRACK).keypoints).all()


def test_bad_edits_are_refused_before_anything_runs(server):
    from demo.server import PromptRejected

    with pytest.raises(PromptRejected, match="edit pose: edits is"):
        server.run(graph('{"keys": {"999": [[0, 1, 1]]}}'))


def test_pictures_in_memory_stay_the_hosts(server):
    prompt = graph("", frames=["5", 0]) | {
        "5": {"class_type": "WanAnimateKitFramesToImage", "inputs": {"frames": ["1", 0], "start": 0, "limit": 0}}
    }
    told = server.run(prompt)["outputs"]["3"]["wan_animate_kit_view"][0]
    assert picture(server, told["view"], "frame", 3).shape == (HEIGHT, WIDTH, 3)
    server.post("/free", {"unload_models": True, "free_memory": True})
    code = 0
    for _ in range(50):
        try:
            picture(server, told["view"], "frame", 3)
        except urllib.error.HTTPError as error:
            code, said = error.code, json.loads(error.read())["error"]
            break
        time.sleep(0.2)
    assert code == 404 and "no longer in memory: run the node again" in said
