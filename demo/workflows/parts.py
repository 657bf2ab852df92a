"""What the workflows have in common: the models, the prompt, picture and video, the way to the clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from demo.importing import ROOT
from demo.workflows.graph import KIT, Definitions, Group, Node, Output, Workflow
from demo.workflows.layout import NOTE_WIDTH, place

TRANSFORMER = "Wan2_2-Animate-14B_fp8_scaled_e4m3fn_KJ_v2.safetensors"
RELIGHT = "wan2.2_animate_14B_relight_lora_bf16.safetensors"
SPEED = "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
POSITIVE = "The person in the video is moving."
NEGATIVE = "static, blurry, low quality, deformed hands, extra fingers"
BLUE, GOLD, GREEN, PURPLE, TEAL = "#3f789e", "#b58b2a", "#88AA88", "#a1309b", "#3f9e8e"
# width of a column, and the heights that nodes need once their pictures are there (both renderers)
COLUMN, WIDE = 380, 420
ROOM = {
    "LoadModel": 150,
    "RelightLora": 220,
    "ApplyLora": 220,
    "Accelerate": 290,
    "OffloadBlocks": 200,
    "Strength": 240,
    "AccelerateVae": 60,
    "LoadPoseDetector": 180,
    "LoadMediaPipe": 60,
    "LoadSegmenter": 100,
    "CachedPrompt": 230,
    "LoadPrompt": 80,
    "PromptForFrames": 150,
    "LoadVideo": 1100,
    "DetectPose": 780,
    "CleanPose": 480,
    "RetargetPose": 700,
    "EditPrompts": 420,
    "DrawPose": 400,
    "MaskFromPose": 440,
    "CropFace": 220,
    "SegmentCharacter": 560,
    "ShapeMask": 380,
    "MaskBackground": 340,
    "CropToCharacter": 700,
    "StitchCharacter": 720,
    "PlanClip": 1000,
    "ClipOptions": 320,
    "MatchColor": 380,
    "Animate": 1160,
    "PoseReport": 560,
    "SavePoseTrack": 110,
    "LoadPoseTrack": 250,
    "PoseToKeypoints": 60,
    "KeypointsToPose": 260,
    "FramesToImage": 130,
    "ImageToFrames": 90,
    "FramesToMask": 160,
    "MaskToFrames": 130,
    "SaveClip": 620,
    "EditPose": 700,
    "InterpolateFrames": 180,
    "UpscaleFrames": 150,
}
HOST_ROOM = {
    "VAELoader": 70,
    "CLIPLoader": 130,
    "CLIPVisionLoader": 70,
    "LoadImage": 420,
    "CLIPVisionEncode": 90,
    "SaveVideo": 560,
    "PreviewImage": 320,
    "CheckpointLoaderSimple": 110,
    "UNETLoader": 100,
    "CLIPTextEncode": 140,
    "SDPoseKeypointExtractor": 140,
    "SDPoseDrawKeypoints": 320,
    "SAM3_VideoTrack": 220,
    "SAM3_TrackToMask": 90,
    "KSampler": 320,
    "VAEDecode": 60,
    "VAEEncode": 60,
    "TextEncodeQwenImageEditPlus": 260,
    "CFGNorm": 150,
    "FluxKontextImageScale": 50,
    "ModelSamplingAuraFlow": 70,
    "CreateVideo": 110,
    "ImageScale": 170,
    "FrameInterpolationModelLoader": 70,
    "UpscaleModelLoader": 70,
}


def manifest() -> dict[str, dict[str, Any]]:
    """``models_manifest.json`` by file name."""
    models = json.loads((ROOT / "models_manifest.json").read_text(encoding="utf-8"))["models"]
    return {model["name"]: model for model in models}


def link(model: dict[str, Any]) -> str:
    return f"https://huggingface.co/{model['source']['repo']}/resolve/main/{model['source']['path']}"


class Builder:
    """Makes one workflow; every method adds nodes and keeps them by key."""

    def __init__(
        self,
        name: str,
        definitions: Definitions,
        ids: Sequence[str] = (),
        first_id: int = 3,
        identity: str | None = None,
    ):
        numbers = {"start": 1, "models": 2} | {key: at for at, key in enumerate(ids, first_id)}
        self.workflow = Workflow(name, definitions, numbers, identity)
        self.nodes: dict[str, Node] = {}
        self._manifest = manifest()

    def __getitem__(self, key: str) -> Node:
        return self.nodes[key]

    def kit(
        self, key: str, type: str, title: str | None = None, /, room: int = 0, column: int = COLUMN, **values: Any
    ) -> Node:
        """One of our nodes."""
        return self.add(key, KIT + type, title, room=room or ROOM[type], column=column, **values)

    def add(
        self, key: str, type: str, title: str | None = None, /, room: int = 0, column: int = COLUMN, **values: Any
    ) -> Node:
        """Any node; a file of the manifest in its values gets its download link."""
        node = self.workflow.add(key, type, title, (column, room or HOST_ROOM[type]), **values)
        for value in values.values():
            if isinstance(value, str) and value in self._manifest:
                model = self._manifest[value]
                node.models.append({"name": value, "url": link(model), "directory": model["folder"]})
        self.nodes[key] = node
        return node

    def group(self, title: str, color: str, *columns: Sequence[str]) -> Group:
        return Group(title, color, [[self.nodes[key] for key in column] for column in columns])

    # -- parts

    def model(self, relight: bool = False, speed: bool = True, offload: int = 0) -> Output:
        """Model, LoRAs and speed; with ``offload`` that many blocks wait in the computer's memory."""
        out = self.kit("model", "LoadModel", model=TRANSFORMER)["MODEL"]
        if relight:
            out = self.kit("relight", "RelightLora", model=out, lora=RELIGHT)["MODEL"]
        if speed:
            out = self.kit("speed", "ApplyLora", "Apply LoRA (fewer steps)", model=out, lora=SPEED)["MODEL"]
        if offload:
            out = self.kit("offload", "OffloadBlocks", model=out, how="blocks", blocks=offload)["model"]
        return self.kit("accelerate", "Accelerate", model=out)["model"]

    def encoders(self) -> None:
        """VAE, text encoder and the eye for the picture."""
        self.add("vae", "VAELoader", vae_name="wan_2.1_vae.safetensors")
        self.add("clip", "CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan")
        self.add("clip_vision", "CLIPVisionLoader", clip_name="clip_vision_h.safetensors")

    def detector(self) -> Node:
        return self.kit("detector", "LoadPoseDetector", detector="yolov10m.onnx", pose_model="vitpose-l-wholebody.onnx")

    def segmenter(self) -> Node:
        return self.kit("segmenter", "LoadSegmenter", model="sam2.1_hiera_large.safetensors")

    def prompt(self, positive: str = POSITIVE) -> None:
        clip = self["clip"]["CLIP"]
        self.kit("positive", "CachedPrompt", "Cached Prompt (positive)", clip=clip, text=positive)
        self.kit("negative", "CachedPrompt", "Cached Prompt (negative)", clip=clip, text=NEGATIVE)

    def inputs(self, **video: Any) -> None:
        """The character's picture, the driving video."""
        self.add("image", "LoadImage", "Load Image (your character)", image="example.png")
        self.kit("video", "LoadVideo", file="", **video)
        self.add(
            "encode",
            "CLIPVisionEncode",
            clip_vision=self["clip_vision"]["CLIP_VISION"],
            image=self["image"]["IMAGE"],
            crop="none",
        )

    def pose(self, **detect: Any) -> Output:
        """The driver's pose, steadied."""
        self.kit(
            "detect", "DetectPose", detector=self["detector"]["detector"], frames=self["video"]["frames"], **detect
        )
        return self.kit("clean", "CleanPose", pose=self["detect"]["pose"])["pose"]

    def retargeted(self, pose: Output, **retarget: Any) -> Output:
        """The driver's motion on the character's body."""
        picture = self["image"]["IMAGE"]
        self.kit(
            "reference",
            "DetectPose",
            "Detect Pose and Face (your character)",
            detector=self["detector"]["detector"],
            frames=picture,
        )
        return self.kit(
            "retarget",
            "RetargetPose",
            pose=pose,
            reference_pose=self["reference"]["pose"],
            frames=self["video"]["frames"],
            reference_image=picture,
            **retarget,
        )["pose"]

    def mask(self, pose: Output) -> None:
        """The person in the video, and the video without them."""
        frames = self["video"]["frames"]
        self.kit("segment", "SegmentCharacter", segmenter=self["segmenter"]["segmenter"], frames=frames, pose=pose)
        self.kit("shape", "ShapeMask", mask=self["segment"]["mask"], frames=frames, pose=pose)
        self.kit("background", "MaskBackground", frames=frames, mask=self["shape"]["mask"])

    def animate(self, model: Output, pose: Output, face: Output, **values: Any) -> Node:
        """Animate Character, with the speed LoRA's settings unless others are given."""
        given: dict[str, Any] = {
            "model": model,
            "positive": self["positive"]["conditioning"],
            "negative": self["negative"]["conditioning"],
            "vae": self["vae"]["VAE"],
            "reference_image": self["image"]["IMAGE"],
            "pose": pose,
            "face": face,
            "audio": self["video"]["audio"],
            "seed": 1,
        }
        if "encode" in self.nodes:
            given["clip_vision_output"] = self["encode"]["CLIP_VISION_OUTPUT"]
        if "speed" in self.nodes:
            given |= {"steps": 6, "sampler_name": "lcm"}
        given |= values
        given = {name: value for name, value in given.items() if value is not None}
        return self.kit("animate", "Animate", column=WIDE, **given)

    def save(self, video: Output, prefix: str) -> Node:
        return self.add("save", "SaveVideo", column=WIDE, video=video, filename_prefix=f"video/{prefix}")

    # -- the page

    def finish(self, start: str, stages: Sequence[Sequence[Group]], app: Sequence[tuple[str, str]] = ()) -> Workflow:
        """Notes, positions, and the widgets that the app view shows."""
        size = (NOTE_WIDTH, 560)
        self.workflow.note("start", "Start here", start, (0, 0), size)
        self.workflow.note(
            "models", "Models and where they go", self._models_note(), (0, size[1] + 70), (NOTE_WIDTH, 480)
        )
        place(self.workflow, stages)
        if app:
            inputs = [[self[key].id, widget] for key, widget in app]
            self.workflow.app = {"linearData": {"inputs": inputs, "outputs": [self["save"].id]}}
        return self.workflow

    def _models_note(self) -> str:
        rows = [
            "Into ComfyUI/models, then press **R**. Loaders with a red edge lack theirs.\n",
            "| folder | file |",
            "| --- | --- |",
        ]
        for node in self.workflow.nodes:
            for one in node.models:
                model = self._manifest[one["name"]]
                about = f", {model['size_about']}" if model.get("size_about") else ""
                rows.append(f"| {one['directory']} | [{one['name'].rsplit('.', 1)[0]}]({one['url']}){about} |")
        files = {one["name"] for node in self.workflow.nodes for one in node.models}
        if any(one.endswith(".onnx") for one in files):
            rows.append(
                "\n**detection**: ComfyUI has no download button for .onnx files; take the links, or the node "
                "*Download Models*."
            )
        if TRANSFORMER in files:
            rows.append(
                "\n**40 GB of card memory or more**: the bf16 file (35 GB) in *Load Animate Model*. "
                "**Less than 12 GB**: the workflow *Low VRAM*."
            )
        if SPEED in files:
            rows.append(
                "\n**Without the speed LoRA**: bypass *Apply LoRA (fewer steps)* and set 20 steps and "
                "the sampler uni_pc in *Animate Character*: three times as long."
            )
        if RELIGHT in files:
            rows.append("\n**Relighting LoRA**: bypass it to keep the picture's own light on the character.")
        return "\n".join(rows) + "\n"
