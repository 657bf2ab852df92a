"""Every node on a running server: what it says about itself, what it gives, and what it says to bad input."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from demo.figure import draw_figure, figure_keypoints
from demo.importing import ROOT
from demo.server import PromptFailed, PromptRejected, output_items
from demo.small_models import DETECTION
from wan_animate.face.boxes import face_boxes
from wan_animate.face.crop import FaceCropSource
from wan_animate.mask.background import BackgroundSource
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.mask.shape import ShapedMaskSource
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource, read_uint8
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

WIDTH, HEIGHT, FRAMES, FPS = 320, 256, 12, 30
PREFIX = "WanAnimateKit"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of the drawn dancer with a tone for sound."""
    path = tmp_path_factory.mktemp("clip") / "dancer.mp4"
    joints = [figure_keypoints(index / FPS, WIDTH, HEIGHT) for index in range(FRAMES)]
    frames = np.stack([draw_figure(points, WIDTH, HEIGHT) for points in joints])
    rate = 16000
    tone = torch.sin(torch.arange(rate * FRAMES // FPS) / rate * 440 * 2 * torch.pi)[None, None] * 0.5
    write_video(path, TensorSource(frames, FPS), {"waveform": tone, "sample_rate": rate}, Fraction(FPS), crf=1)
    return path


@pytest.fixture(scope="module")
def server(host_server, clip):
    host_server.upload(clip)
    return host_server


class Graph(dict):
    """A prompt in API format, a node at a time."""

    def add(self, kind: str, **inputs) -> Graph.Out:
        name = str(len(self) + 1)
        self[name] = {
            "class_type": kind,
            "inputs": {key: getattr(value, "link", value) for key, value in inputs.items()},
        }
        return Graph.Out(name, 0)

    def kit(self, kind: str, **inputs) -> Graph.Out:
        return self.add(PREFIX + kind, **inputs)

    class Out:
        def __init__(self, node: str, slot: int):
            self.node, self.slot = node, slot

        @property
        def link(self) -> list:
            return [self.node, self.slot]

        def __getitem__(self, slot: int) -> Graph.Out:
            return Graph.Out(self.node, slot)

    def detect(self, frames: Graph.Out) -> Graph.Out:
        names = DETECTION["dancer"]
        detector = self.kit("LoadPoseDetector", detector=names[0], pose_model=names[1], provider="cpu")
        return self.kit(
            "DetectPose", detector=detector, frames=frames, batch_size=5, face_scale=1.3, missing_face="hold"
        )

    def show(self, value: Graph.Out) -> str:
        """A node whose ``text`` output says what ``value`` is; its id."""
        return self.add("PreviewAny", source=value).node

    def images(self, frames: Graph.Out, start: int = 0, limit: int = 0) -> str:
        """A node whose output are the frames as PNG files; its id."""
        image = self.kit("FramesToImage", frames=frames, start=start, limit=limit)
        return self.add("SaveImage", images=image, filename_prefix="nodes/image").node

    def masks(self, frames: Graph.Out) -> str:
        mask = self.kit("FramesToMask", frames=frames, channel="luma", start=0, limit=0)
        return self.add("SaveImage", images=self.add("MaskToImage", mask=mask), filename_prefix="nodes/mask").node


def pictures(server, entry: dict, node: str) -> np.ndarray:
    items = output_items({"outputs": {node: entry["outputs"][node]}})
    data = [np.frombuffer(server.fetch(item), np.uint8) for item in items]
    return np.stack([cv2.imdecode(one, cv2.IMREAD_COLOR)[..., ::-1] for one in data])


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    # The host truncates when it makes 8 bits of floats: a value of 255 * (x / 255) may come out one lower.
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


# -- what the nodes say about themselves


def test_every_node_explains_itself(server):
    info = server.get("/object_info")
    ours = {name: node for name, node in info.items() if node["python_module"].endswith("ComfyUI-WanAnimateKit")}
    assert len(ours) == 46 and all(name.startswith(PREFIX) for name in ours)
    assert len({node["display_name"] for node in ours.values()}) == len(ours)
    silent = []
    for name, node in ours.items():
        assert node["category"].split("/")[0] == PREFIX and node["description"] and node["search_aliases"], name
        assert node["display_name"] and PREFIX not in node["display_name"], name
        for section in ("required", "optional"):
            for key, (kind, options) in node["input"].get(section, {}).items():
                silent += [f"{name}.{key}"] * (not options.get("tooltip"))
                if kind in ("INT", "FLOAT"):
                    assert options["min"] <= options["default"] <= options["max"], f"{name}.{key}"
        silent += [f"{name} -> {key}" for key, tip in zip(node["output_name"], node["output_tooltips"]) if not tip]
    assert not silent, f"no tooltip: {silent}"


def test_every_node_has_a_help_page(server):
    for name, node in server.get("/object_info").items():
        if name.startswith(PREFIX):
            page = server.request(f"/extensions/ComfyUI-WanAnimateKit/docs/{name}.md").decode()
            assert page.startswith(f"# {node['display_name']}\n"), name
            inputs = [key for section in ("required", "optional") for key in node["input"].get(section, {})]
            missing = [key for key in (*inputs, *node["output_name"]) if f"`{key}`" not in page]
            assert not missing, f"js/docs/{name}.md does not name {missing}"


def test_the_pack_loads_without_a_word_and_at_once(server):
    log = server.log()
    seconds = re.search(r"([\d.]+) seconds(.*): .*ComfyUI-WanAnimateKit", log)
    assert seconds and not seconds[2] and float(seconds[1]) < 1.0
    started = log[: log.index("Starting server")]
    assert not [line for line in started.splitlines() if "WanAnimate" in line and ("WARN" in line or "ERR" in line)]


def test_nothing_heavy_is_imported_before_a_node_runs(host):
    code = (
        "import sys, time; from demo import host; host.load_in_process(host.find_host()); before = set(sys.modules);"
        "start = time.process_time(); nodes = host.pack_nodes(host.load_pack());"
        "print(time.process_time() - start, len(nodes), *(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seconds, count, *modules = out.splitlines()[-1].split()
    assert int(count) == 46 and float(seconds) < 1.0
    assert not {"cv2", "av", "onnxruntime", "diffusers", "transformers", "torchvision"} & {
        name.split(".")[0] for name in modules
    }


# -- what they give


def test_load_video(server, clip):
    graph = Graph()
    video = graph.kit("LoadVideo", file=clip.name, fps=15, width=160, height=128, start=1, limit=4)
    numbers = [graph.show(video[slot]) for slot in (2, 3, 4, 5)]
    images, sound = graph.images(video), graph.add("SaveAudio", audio=video[1], filename_prefix="nodes/sound").node
    entry = server.run(graph)
    assert [float(entry["outputs"][node]["text"][0]) for node in numbers] == [15, 4, 160, 128]
    assert_same(pictures(server, entry, images), VideoSource(clip, 15, 160 * 128, start=1, limit=4).read(0, 4))
    assert sound_seconds(server, entry, sound) == pytest.approx(4 / 15, abs=0.002)


def sound_seconds(server, entry: dict, node: str) -> float:
    import av

    (item,) = output_items({"outputs": {node: entry["outputs"][node]}})
    with av.open(io.BytesIO(server.fetch(item))) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_load_video_by_its_own_defaults(server, clip):
    graph = Graph()
    node = graph.show(graph.kit("LoadVideo", file=clip.name)[3])
    assert server.run(graph)["outputs"][node]["text"] == [str(FRAMES)]


def test_load_video_from_another_node(server, clip):
    graph = Graph()
    whole = graph.add("LoadVideo", file=clip.name)
    cut = graph.add("Video Slice", video=whole, start_time=0.1, duration=0.2, strict_duration=True)
    trimmed = graph.kit("LoadVideo", file="", video=cut, fps=30, width=WIDTH, height=HEIGHT)
    parts = graph.add("GetVideoComponents", video=whole)
    made = graph.add("CreateVideo", images=parts, audio=parts[1], fps=10.0)
    sampled = graph.kit("LoadVideo", file="", video=made, fps=5, width=WIDTH, height=HEIGHT, start=1)
    counts = [graph.show(trimmed[3]), graph.show(sampled[3]), graph.show(sampled[2])]
    images, again = graph.images(trimmed), graph.images(sampled)
    sound = graph.add("SaveAudio", audio=sampled[1], filename_prefix="nodes/sound").node
    entry = server.run(graph)
    assert [entry["outputs"][node]["text"][0] for node in counts] == ["6", "5", "5.0"]
    frames = VideoSource(clip, 0).read(0, FRAMES)
    assert_same(pictures(server, entry, images), frames[3:9])
    # The host's own decoder made these; its colours differ by a little from ours.
    difference = pictures(server, entry, again).astype(int) - frames[[2, 4, 6, 8, 10]]
    assert np.abs(difference).mean() < 2
    # AAC comes in blocks: the host hands on up to one more than there are frames.
    more = sound_seconds(server, entry, sound) - (FRAMES / FPS - 0.2)
    assert -1e-6 <= more < 0.07


def test_pose_face_mask_background(server, clip):
    graph = Graph()
    video = graph.kit("LoadVideo", file=clip.name, fps=30, width=WIDTH, height=HEIGHT)
    pose = graph.detect(video)
    found, saved = graph.show(pose[2]), graph.kit("SavePoseTrack", pose=pose, filename_prefix="pose_tracks/test").node
    skeleton = graph.images(
        graph.kit("DrawPose", pose=pose, hands=True, head=True, threshold=0.5, width=160, height=192)
    )
    face, mask = graph.images(pose[1], 3, 2), graph.kit("MaskFromPose", pose=pose, grow=1.2, width=0, height=0)
    shaped = graph.kit("ShapeMask", mask=mask, iterations=2, kernel=5, blocks_wide=4, blocks_high=6)
    background = graph.images(graph.kit("MaskBackground", frames=video, mask=shaped))
    silhouettes, blocks = graph.masks(mask), graph.masks(shaped)
    entry = server.run(graph)

    assert entry["outputs"][found]["text"] == [str(FRAMES)]
    (preview,) = entry["outputs"][pose.node]["images"]
    assert preview["type"] == "temp" and server.fetch(preview)

    said = entry["outputs"][saved]["text"][0]
    name = re.fullmatch(rf"{FRAMES} frames saved to output/(pose_tracks/test_\d+_\.npz)", said)[1]
    track = PoseTrack.load(server.base_dir / "output" / name)
    truth = np.stack([figure_keypoints(index / FPS, WIDTH, HEIGHT) for index in range(FRAMES)])
    assert np.abs(track.keypoints[:, :17, :2] - truth[:, :17, :2]).max() < 4

    frames = VideoSource(clip)
    assert_same(pictures(server, entry, skeleton), DrawnPoseSource.at_size(track, 160, 192).read(0, FRAMES))
    crops = FaceCropSource(frames, *face_boxes(track))
    assert_same(pictures(server, entry, face), crops.read(3, 5))
    masks = PoseMaskSource(track, grow=1.2)
    assert_same(pictures(server, entry, silhouettes)[..., 0], masks.read(0, FRAMES))
    shaped_masks = ShapedMaskSource(masks, iterations=2, k=5, w_len=4, h_len=6)
    assert_same(pictures(server, entry, blocks)[..., 0], shaped_masks.read(0, FRAMES))
    assert_same(pictures(server, entry, background), read_uint8(BackgroundSource(frames, shaped_masks), 0, FRAMES))

    # The saved track is offered for loading, and gives the same face with no detector.
    options = server.get("/object_info/WanAnimateKitLoadPoseTrack")["WanAnimateKitLoadPoseTrack"]
    assert f"{name} [output]" in options["input"]["required"]["file"][1]["options"]
    graph = Graph()
    loaded = graph.kit("LoadPoseTrack", file=f"{name} [output]")
    small = graph.kit("LoadVideo", file=clip.name, width=WIDTH, height=HEIGHT)
    crop = graph.kit("CropFace", frames=small, pose=loaded, face_scale=1.3, missing_face="blank")
    count, faces, same = graph.show(loaded[1]), graph.show(crop[1]), graph.images(crop, 3, 2)
    entry = server.run(graph)
    assert entry["outputs"][count]["text"] == entry["outputs"][faces]["text"] == [str(FRAMES)]
    assert_same(pictures(server, entry, same), crops.read(3, 5))


def test_image_and_mask_to_frames_and_back(server, clip):
    graph = Graph()
    image = graph.kit("FramesToImage", frames=graph.kit("LoadVideo", file=clip.name), start=2, limit=3)
    back = graph.images(graph.kit("ImageToFrames", image=image, fps=12.5))
    plain = graph.add("SaveImage", images=image, filename_prefix="nodes/image").node
    red = graph.add("ImageToMask", image=image, channel="red")
    by_mask = graph.masks(graph.kit("MaskToFrames", mask=red, channel="luma", fps=30))
    by_image = graph.masks(graph.kit("MaskToFrames", mask=image, channel="red", fps=30))
    entry = server.run(graph)
    shown = pictures(server, entry, plain)
    assert (pictures(server, entry, back) == shown).all() and len(shown) == 3
    assert_same(pictures(server, entry, by_mask)[..., 0], shown[..., 0])
    assert_same(pictures(server, entry, by_image)[..., 0], shown[..., 0])


def test_a_replaced_file_is_read_again(server, clip, tmp_path):
    def count() -> str:
        graph = Graph()
        node = graph.show(graph.kit("LoadVideo", file="changing.mp4")[3])
        return server.run(graph)["outputs"][node]["text"][0]

    server.upload(clip, "changing.mp4")
    assert count() == str(FRAMES)
    shorter = tmp_path / "shorter.mp4"
    write_video(shorter, VideoSource(clip, limit=5), None, Fraction(FPS))
    server.upload(shorter, "changing.mp4")
    assert count() == "5"


def test_a_silent_video_has_no_audio(server, clip, tmp_path):
    silent = tmp_path / "silent.mp4"
    write_video(silent, VideoSource(clip, limit=5), None, Fraction(FPS))
    server.upload(silent)
    graph = Graph()
    node = graph.show(graph.kit("LoadVideo", file="silent.mp4")[1])
    assert server.run(graph)["outputs"][node]["text"] == ["None"]


# -- what they say to bad input


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.mp4", "there is no video 'none.mp4' in the input folder: upload one or choose another"),
        ("../output/x.mp4", "there is no video '../output/x.mp4' in the input folder"),
        ("/etc/passwd", "there is no video '/etc/passwd' in the input folder"),
        ("", "no video was chosen: upload one, or connect video."),
    ],
)
def test_a_video_that_is_not_there_is_refused_before_the_run(server, name, sentence):
    graph = Graph()
    graph.show(graph.kit("LoadVideo", file=name)[3])
    with pytest.raises(PromptRejected) as refused:
        server.run(graph)
    assert sentence in str(refused.value)


def test_models_and_tracks_that_are_not_there_are_refused_before_the_run(server):
    graph = Graph()
    graph.show(graph.kit("LoadPoseDetector", detector="none.onnx", pose_model=DETECTION["dancer"][1], provider="cpu"))
    with pytest.raises(PromptRejected, match="Value not in list detector: 'none.onnx' not in"):  # the host's own words
        server.run(graph)
    graph = Graph()
    graph.show(graph.kit("LoadPoseDetector", detector=DETECTION["dancer"][0], pose_model="none.onnx", provider="cpu"))
    with pytest.raises(PromptRejected, match="pose_model 'none.onnx' is not in models/detection: ComfyUI offers no"):
        server.run(graph)
    graph = Graph()
    graph.show(graph.kit("LoadPoseTrack", file="../none.npz"))
    with pytest.raises(PromptRejected, match="there is no pose track '../none.npz' in the input folder"):
        server.run(graph)


def failure(server, graph: Graph) -> str:
    with pytest.raises(PromptFailed) as failed:
        server.run(graph)
    assert failed.value.exception_type.endswith("InputError")
    assert "\n" not in failed.value.text
    return failed.value.text


def test_sentences_of_the_engine_reach_the_person(server, clip):
    graph = Graph()
    graph.show(graph.kit("LoadVideo", file=clip.name, start=50))
    assert "start is frame 50, but" in failure(server, graph)

    (server.base_dir / "input" / "text.mp4").write_text("not a video")
    graph = Graph()
    graph.show(graph.kit("LoadVideo", file="text.mp4"))
    assert "video 'text.mp4' cannot be opened as a video" in failure(server, graph)

    graph = Graph()
    graph.show(
        graph.kit(
            "LoadPoseDetector", detector=DETECTION["dancer"][1], pose_model=DETECTION["dancer"][0], provider="cpu"
        )
    )
    assert DETECTION["dancer"][1] in failure(server, graph)

    graph = Graph()
    graph.images(graph.kit("LoadVideo", file=clip.name), start=FRAMES)
    assert (
        failure(server, graph)
        == f"start is {FRAMES}, but the clip has {FRAMES} frames (0 to {FRAMES - 1}): choose a smaller start."
    )

    graph = Graph()
    video = graph.kit("LoadVideo", file=clip.name)
    graph.show(
        graph.kit(
            "MaskBackground",
            frames=video,
            mask=graph.kit("ImageToFrames", image=graph.kit("FramesToImage", frames=video, start=0, limit=0), fps=30),
        )
    )
    assert (
        failure(server, graph) == "mask needs masks, but it carries pictures: put the Mask to Frames node in between."
    )
