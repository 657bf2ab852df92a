"""The workflows, by the short name that shell, demo and benchmarks use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demo.workflows.graph import Definitions, Workflow
from demo.workflows.notes import START
from demo.workflows.parts import BLUE, GOLD, GREEN, PURPLE, TEAL, WIDE, Builder

# short name -> file name, as Browse Templates shows it (at most 29 characters)
TITLES = {
    "animate": "Wan Animate - Character",
    "replace": "Wan Animate - Replace Person",
    "replace_crop": "Wan Animate - Small Person",
    "talking_head": "Wan Animate - Talking Head",
    "long_clip": "Wan Animate - Long Clip",
    "low_vram": "Wan Animate - Low VRAM 8 GB",
    "four_steps": "Wan Animate - 4 Steps",
    "edited_pose": "Wan Animate - Edited Pose",
    "host_pose": "Wan Animate - SDPose and SAM3",
    "saved_pose": "Wan Animate - Saved Pose",
    "more_frames": "Wan Animate - More Frames",
}
APPS = {"animate": "Wan Animate - Character App", "replace": "Wan Animate - Replace App"}
# subgraph blueprints, as the node search shows them
BLUEPRINTS = {"animate": "Animate a Character (Wan Animate)", "replace": "Replace a Person (Wan Animate)"}
Make = Callable[[Definitions], Workflow]
PICTURE_AND_VIDEO = "Your picture and your video"
APP = [
    ("image", "image"),
    ("video", "file"),
    ("video", "limit"),
    ("positive", "text"),
    ("animate", "seed"),
]


def model_groups(b: Builder, *second: str) -> list[Any]:
    first = [key for key in ("model", "relight", "speed", "offload", "strength", "accelerate") if key in b.nodes]
    return [
        b.group(
            "Models",
            BLUE,
            first,
            [key for key in ("vae", "fast_vae", "clip", "clip_vision", *second) if key in b.nodes],
        ),
        b.group("Prompt", GOLD, ["positive"], ["negative"]),
    ]


def inputs_group(b: Builder) -> list[Any]:
    keys = [key for key in ("image", "encode", "video") if key in b.nodes]
    return [b.group(PICTURE_AND_VIDEO, GREEN, keys)]


def body_group(b: Builder) -> list[Any]:
    return [b.group("On the character's body", TEAL, ["reference", "retarget", "draw"])]


def animate_stages(b: Builder) -> list[list[Any]]:
    """From the models to the result, where nothing is added to animate's own steps."""
    return [
        model_groups(b, "detector"),
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean"])],
        body_group(b),
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]


def animate(definitions: Definitions) -> Workflow:
    ids = [
        "model",
        "accelerate",
        "vae",
        "clip",
        "clip_vision",
        "detector",
        "positive",
        "negative",
        "image",
        "video",
        "encode",
        "detect",
        "clean",
        "reference",
        "retarget",
        "draw",
        "animate",
        "save",
    ]
    b = Builder(TITLES["animate"], definitions, ids, identity="410b4eca-2fc2-5994-b68b-8bfd4ac158a5")
    model = b.model()
    b.encoders()
    b.detector()
    b.prompt()
    b.inputs()
    pose = b.retargeted(b.pose())
    b.kit("draw", "DrawPose", pose=pose)
    b.animate(model, b["draw"]["frames"], b["detect"]["face"], mode="animate")
    b.save(b["animate"]["video"], "animate")
    return b.finish(START["animate"], animate_stages(b), APP)


def replacing(
    name: str, definitions: Definitions, ids: list[str], identity: str | None = None, **video: Any
) -> tuple[Builder, Any]:
    b = Builder(TITLES[name], definitions, ids, identity=identity)
    model = b.model(relight=True)
    b.encoders()
    b.detector()
    b.segmenter()
    b.prompt()
    b.inputs(**video)
    return b, model


REPLACE_IDS = [
    "model",
    "relight",
    "accelerate",
    "vae",
    "clip",
    "clip_vision",
    "detector",
    "segmenter",
    "positive",
    "negative",
    "image",
    "video",
    "encode",
    "detect",
    "clean",
    "segment",
    "shape",
    "background",
    "draw",
    "animate",
    "save",
]


def replace(definitions: Definitions) -> Workflow:
    b, model = replacing("replace", definitions, REPLACE_IDS)
    pose = b.pose()
    b.mask(pose)
    b.kit("draw", "DrawPose", pose=pose)
    b.animate(
        model,
        b["draw"]["frames"],
        b["detect"]["face"],
        mode="replace",
        background=b["background"]["background"],
        character_mask=b["shape"]["mask"],
    )
    b.save(b["animate"]["video"], "replace")
    stages = [
        model_groups(b, "detector", "segmenter"),
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean", "draw"])],
        [b.group("Who is replaced", GREEN, ["segment", "shape", "background"])],
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]
    return b.finish(START["replace"], stages, APP)


def replace_crop(definitions: Definitions) -> Workflow:
    ids = [*REPLACE_IDS, "crop", "crop_face", "stitch"]
    b, model = replacing(
        "replace_crop", definitions, ids, "5a1f3c0e-2b7d-5e64-9a90-6c1df0a4b7e2", width=1280, height=720
    )
    pose = b.pose()
    full = b["video"]["full_size"]
    b.kit("segment", "SegmentCharacter", segmenter=b["segmenter"]["segmenter"], frames=b["video"]["frames"], pose=pose)
    b.kit("crop", "CropToCharacter", frames=full, pose=pose, mask=b["segment"]["mask"])
    b.kit("shape", "ShapeMask", mask=b["crop"]["mask"], frames=b["crop"]["frames"], pose=b["crop"]["pose"])
    b.kit("background", "MaskBackground", frames=b["crop"]["frames"], mask=b["shape"]["mask"])
    b.kit("draw", "DrawPose", pose=b["crop"]["pose"])
    b.kit("crop_face", "CropFace", frames=full, pose=b["detect"]["pose"])
    b.animate(
        model,
        b["draw"]["frames"],
        b["crop_face"]["face"],
        mode="replace",
        background=b["background"]["background"],
        character_mask=b["shape"]["mask"],
        audio=None,
    )
    b.kit(
        "stitch",
        "StitchCharacter",
        column=WIDE,
        generated=b["animate"]["frames"],
        frames=full,
        window=b["crop"]["window"],
        mask=b["shape"]["mask"],
        audio=b["video"]["audio"],
    )
    b.save(b["stitch"]["video"], "replace_crop")
    stages = [
        model_groups(b, "detector", "segmenter"),
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean"])],
        [b.group("Who is replaced", GREEN, ["segment", "crop"])],
        [b.group("In the window", PURPLE, ["shape", "background", "draw", "crop_face"])],
        [b.group("Result", BLUE, ["animate"], ["stitch", "save"])],
    ]
    return b.finish(START["replace_crop"], stages)


def animating(
    name: str, definitions: Definitions, offload: int = 0, mediapipe: bool = False, **video: Any
) -> tuple[Builder, Any]:
    b = Builder(TITLES[name], definitions)
    model = b.model(offload=offload)
    b.encoders()
    if mediapipe:
        b.kit("detector", "LoadMediaPipe")
    else:
        b.detector()
    b.prompt()
    b.inputs(**video)
    return b, model


def talking_head(definitions: Definitions) -> Workflow:
    b, model = animating("talking_head", definitions, mediapipe=True, width=720, height=720)
    model = b.kit("strength", "Strength", model=model)["model"]
    pose = b.retargeted(b.pose(), travel="none", follow_depth=False)
    b.kit("draw", "DrawPose", pose=pose)
    b.kit("crop_face", "CropFace", frames=b["video"]["frames"], pose=b["clean"]["pose"], face_scale=1.4)
    b.animate(model, b["draw"]["frames"], b["crop_face"]["face"], mode="animate")
    b.save(b["animate"]["video"], "talking_head")
    stages = [
        model_groups(b, "detector"),
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean", "crop_face"])],
        body_group(b),
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]
    return b.finish(START["talking_head"], stages)


def long_clip(definitions: Definitions) -> Workflow:
    b, model = animating("long_clip", definitions)
    clean = b.pose()
    pose = b.retargeted(clean)
    b.kit("draw", "DrawPose", pose=pose)
    b.kit("report", "PoseReport", pose=clean, raw=b["clean"]["raw"])
    b.kit(
        "later",
        "CachedPrompt",
        "Cached Prompt (later)",
        clip=b["clip"]["CLIP"],
        text="The person in the video is dancing.",
    )
    b.kit(
        "from_frame",
        "PromptForFrames",
        conditioning=b["later"]["conditioning"],
        first_frame=154,
        others=b["positive"]["conditioning"],
    )
    b.kit("options", "ClipOptions", crossfade=-1)
    b.kit(
        "plan",
        "PlanClip",
        column=WIDE,
        frames=b["draw"]["frames"],
        mode="animate",
        steps=6,
        previous_frames=5,
        pose=clean,
        reference_pose=b["reference"]["pose"],
        reference_image=b["image"]["IMAGE"],
        weights="fp8",
        options=b["options"]["options"],
        driving_video=b["video"]["frames"],
    )
    b.animate(
        model,
        b["draw"]["frames"],
        b["detect"]["face"],
        mode="animate",
        positive=b["from_frame"]["conditioning"],
        guidance_frames=5,
        options=b["options"]["options"],
        audio=None,
    )
    b.kit(
        "match", "MatchColor", column=WIDE, frames=b["animate"]["frames"], reference=b["image"]["IMAGE"], strength=0.5
    )
    b.kit(
        "save",
        "SaveClip",
        column=WIDE,
        frames=b["match"]["frames"],
        audio=b["video"]["audio"],
        filename_prefix="video/long_clip",
    )
    stages = [
        [model_groups(b, "detector")[0], b.group("Prompts", GOLD, ["positive", "negative"], ["later", "from_frame"])],
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean", "report"])],
        body_group(b),
        [b.group("The clip's plan", GOLD, ["options", "plan"])],
        [b.group("Result", BLUE, ["animate"], ["match", "save"])],
    ]
    return b.finish(START["long_clip"], stages)


def low_vram(definitions: Definitions) -> Workflow:
    b, model = animating("low_vram", definitions, offload=40)
    vae = b.kit("fast_vae", "AccelerateVae", vae=b["vae"]["VAE"])["vae"]
    pose = b.retargeted(b.pose(batch_size=1))
    b.kit("draw", "DrawPose", pose=pose)
    b.animate(model, b["draw"]["frames"], b["detect"]["face"], mode="animate", vae=vae, segment_length=49)
    b.save(b["animate"]["video"], "low_vram")
    return b.finish(START["low_vram"], animate_stages(b))


def four_steps(definitions: Definitions) -> Workflow:
    b, model = animating("four_steps", definitions)
    model = b.kit("strength", "Strength", model=model)["model"]
    pose = b.retargeted(b.pose())
    b.kit("draw", "DrawPose", pose=pose)
    b.animate(model, b["draw"]["frames"], b["detect"]["face"], mode="animate", steps=4)
    b.save(b["animate"]["video"], "four_steps")
    return b.finish(START["four_steps"], animate_stages(b))
