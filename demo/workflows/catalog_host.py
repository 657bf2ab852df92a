"""The workflows that use ComfyUI's own networks, or saved files in place of networks."""

from __future__ import annotations

from typing import Any

from demo.workflows.catalog import TITLES, animating, inputs_group, model_groups
from demo.workflows.graph import Definitions, Output, Workflow
from demo.workflows.notes import START
from demo.workflows.parts import BLUE, GOLD, GREEN, PURPLE, TEAL, WIDE, Builder

EDIT_STEPS, EDIT_CFG = 40, 4.0  # Qwen Image Edit 2511's own, as in ComfyUI's blueprint


def _edit(b: Builder, key: str, whose: str, image: Output, prompt: Output) -> Output:
    """An image edited by words, as ComfyUI's blueprint *Image Edit (Qwen 2511)* does."""
    scaled = b.add(f"{key}_scale", "FluxKontextImageScale", image=image)["IMAGE"]
    shared: dict[str, Any] = {"clip": b["edit_clip"]["CLIP"], "vae": b["edit_vae"]["VAE"], "image1": scaled}
    words = b.add(f"{key}_prompt", "TextEncodeQwenImageEditPlus", f"Edit ({whose})", room=210, prompt=prompt, **shared)
    empty = b.add(
        f"{key}_empty", "TextEncodeQwenImageEditPlus", f"Edit, negative ({whose})", room=240, prompt="", **shared
    )
    latent = b.add(f"{key}_latent", "VAEEncode", pixels=scaled, vae=b["edit_vae"]["VAE"])["LATENT"]
    sampled = b.add(
        f"{key}_sampler",
        "KSampler",
        f"KSampler ({whose})",
        model=b["edit_norm"]["patched_model"],
        positive=words["CONDITIONING"],
        negative=empty["CONDITIONING"],
        latent_image=latent,
        seed=1,
        steps=EDIT_STEPS,
        cfg=EDIT_CFG,
        sampler_name="euler",
        scheduler="simple",
    )["LATENT"]
    return b.add(f"{key}_decode", "VAEDecode", samples=sampled, vae=b["edit_vae"]["VAE"])["IMAGE"]


def edited_pose(definitions: Definitions) -> Workflow:
    b, model = animating("edited_pose", definitions)
    b.add("edit_model", "UNETLoader", unet_name="qwen_image_edit_2511_bf16.safetensors")
    b.add("edit_clip", "CLIPLoader", clip_name="qwen_2.5_vl_7b_fp8_scaled.safetensors", type="qwen_image")
    b.add("edit_vae", "VAELoader", vae_name="qwen_image_vae.safetensors")
    shifted = b.add("edit_shift", "ModelSamplingAuraFlow", model=b["edit_model"]["MODEL"], shift=3.1)["MODEL"]
    b.add("edit_norm", "CFGNorm", model=shifted)
    clean = b.pose()
    detector, picture = b["detector"]["detector"], b["image"]["IMAGE"]
    b.kit("reference", "DetectPose", "Detect Pose and Face (your character)", detector=detector, frames=picture)
    b.kit("prompts", "EditPrompts", pose=clean, reference_pose=b["reference"]["pose"], frames=b["video"]["frames"])
    driver = _edit(b, "driver", "driver", b["prompts"]["frame_image"], b["prompts"]["driver_prompt"])
    character = _edit(b, "character", "character", picture, b["prompts"]["reference_prompt"])
    b.kit("driver_edited", "DetectPose", "Detect Pose and Face (edited driver)", detector=detector, frames=driver)
    b.kit(
        "character_edited", "DetectPose", "Detect Pose and Face (edited character)", detector=detector, frames=character
    )
    b.kit(
        "retarget",
        "RetargetPose",
        pose=clean,
        reference_pose=b["reference"]["pose"],
        frames=b["video"]["frames"],
        reference_image=picture,
        driver_edit_pose=b["driver_edited"]["pose"],
        reference_edit_pose=b["character_edited"]["pose"],
    )
    b.kit("draw", "DrawPose", pose=b["retarget"]["pose"])
    b.animate(model, b["draw"]["frames"], b["detect"]["face"], mode="animate")
    b.save(b["animate"]["video"], "edited_pose")

    def steps(key: str) -> list[str]:
        return [f"{key}_{part}" for part in ("scale", "prompt", "empty", "latent", "sampler", "decode")]

    stages = [
        model_groups(b, "detector"),
        inputs_group(b),
        [b.group("Pose and face", PURPLE, ["detect", "clean"], ["reference", "prompts"])],
        [
            b.group(
                "Edit",
                GOLD,
                ["edit_model", "edit_clip", "edit_vae", "edit_shift", "edit_norm"],
                steps("driver"),
                steps("character"),
            )
        ],
        [b.group("The edited people", PURPLE, ["driver_edited", "character_edited"])],
        [b.group("On the character's body", TEAL, ["retarget", "draw"])],
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]
    return b.finish(START["edited_pose"], stages)


def host_pose(definitions: Definitions) -> Workflow:
    b = Builder(TITLES["host_pose"], definitions)
    model = b.model(relight=True)
    b.encoders()
    b.prompt()
    b.inputs(limit=77)
    video = b["video"]
    b.add(
        "sdpose_model",
        "CheckpointLoaderSimple",
        "Load Checkpoint (SDPose)",
        ckpt_name="sdpose_wholebody_fp16.safetensors",
    )
    b.add(
        "sam3_model", "CheckpointLoaderSimple", "Load Checkpoint (SAM 3)", ckpt_name="sam3.1_multiplex_fp16.safetensors"
    )
    b.kit("images", "FramesToImage", frames=video["frames"], limit=77)
    b.add(
        "sdpose",
        "SDPoseKeypointExtractor",
        model=b["sdpose_model"]["MODEL"],
        vae=b["sdpose_model"]["VAE"],
        image=b["images"]["image"],
    )
    b.kit("keypoints", "KeypointsToPose", keypoints=b["sdpose"]["keypoints"])
    pose = b.kit("clean", "CleanPose", pose=b["keypoints"]["pose"])["pose"]
    b.kit("keep", "SavePoseTrack", pose=pose)
    b.kit("crop_face", "CropFace", frames=video["frames"], pose=pose)
    b.kit("draw", "DrawPose", pose=pose, frames=video["frames"])
    b.kit("outline", "MaskFromPose", pose=pose, frames=video["frames"])
    b.kit("first_mask", "FramesToMask", frames=b["outline"]["mask"], limit=1)
    b.add(
        "sam3",
        "SAM3_VideoTrack",
        images=b["images"]["image"],
        model=b["sam3_model"]["MODEL"],
        max_objects=1,
        initial_mask=b["first_mask"]["mask"],
    )
    b.add("sam3_mask", "SAM3_TrackToMask", track_data=b["sam3"]["track_data"])
    b.kit("mask", "MaskToFrames", mask=b["sam3_mask"]["masks"], fps=30.0)
    b.kit("shape", "ShapeMask", mask=b["mask"]["mask"], frames=video["frames"], pose=pose)
    b.kit("background", "MaskBackground", frames=video["frames"], mask=b["shape"]["mask"])
    b.animate(
        model,
        b["draw"]["frames"],
        b["crop_face"]["face"],
        mode="replace",
        background=b["background"]["background"],
        character_mask=b["shape"]["mask"],
    )
    b.save(b["animate"]["video"], "host_pose")
    stages = [
        model_groups(b, "sdpose_model", "sam3_model"),
        inputs_group(b),
        [b.group("Pose by SDPose", PURPLE, ["images", "sdpose", "keypoints", "clean", "keep"])],
        [b.group("Mask by SAM 3", GREEN, ["outline", "first_mask", "sam3", "sam3_mask", "mask"])],
        [b.group("For the model", TEAL, ["crop_face", "draw", "shape", "background"])],
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]
    return b.finish(START["host_pose"], stages)


def saved_pose(definitions: Definitions) -> Workflow:
    b = Builder(TITLES["saved_pose"], definitions)
    model = b.model(relight=True)
    b.add("vae", "VAELoader", vae_name="wan_2.1_vae.safetensors")
    b.kit("positive", "LoadPrompt", "Load Saved Prompt (positive)", file="")
    b.kit("negative", "LoadPrompt", "Load Saved Prompt (negative)", file="")
    b.add("image", "LoadImage", "Load Image (your character)", image="example.png")
    b.kit("video", "LoadVideo", file="")
    frames = b["video"]["frames"]
    b.kit("track", "LoadPoseTrack", file="", frames=frames)
    pose = b.kit("edit", "EditPose", pose=b["track"]["pose"], frames=frames)["pose"]
    b.kit("crop_face", "CropFace", frames=frames, pose=pose)
    b.kit("keypoints", "PoseToKeypoints", pose=pose)
    b.add("openpose", "SDPoseDrawKeypoints", keypoints=b["keypoints"]["keypoints"], draw_face=False)
    b.add(
        "scaled",
        "ImageScale",
        image=b["openpose"]["IMAGE"],
        upscale_method="area",
        width=b["video"]["width"],
        height=b["video"]["height"],
    )
    b.kit("drawn", "ImageToFrames", image=b["scaled"]["IMAGE"], fps=b["video"]["fps"])
    b.kit("outline", "MaskFromPose", pose=pose, frames=frames)
    b.kit("shape", "ShapeMask", mask=b["outline"]["mask"], frames=frames, pose=pose)
    b.kit("background", "MaskBackground", frames=frames, mask=b["shape"]["mask"])
    b.animate(
        model,
        b["drawn"]["frames"],
        b["crop_face"]["face"],
        mode="replace",
        background=b["background"]["background"],
        character_mask=b["shape"]["mask"],
    )
    b.save(b["animate"]["video"], "saved_pose")
    stages = [
        model_groups(b),
        inputs_group(b),
        [b.group("Saved pose", PURPLE, ["track", "edit"], ["crop_face", "keypoints", "openpose", "scaled", "drawn"])],
        [b.group("Who is replaced", GREEN, ["outline", "shape", "background"])],
        [b.group("Result", BLUE, ["animate"], ["save"])],
    ]
    return b.finish(START["saved_pose"], stages)


def more_frames(definitions: Definitions) -> Workflow:
    b = Builder(TITLES["more_frames"], definitions)
    b.add("interpolation", "FrameInterpolationModelLoader", model_name="rife_v4.26.safetensors")
    b.add("upscaler", "UpscaleModelLoader", model_name="RealESRGAN_x4plus.safetensors")
    b.kit("video", "LoadVideo", "Load Driving Video (the finished clip)", file="", fps=0.0)
    b.kit(
        "interpolate",
        "InterpolateFrames",
        interp_model=b["interpolation"]["INTERP_MODEL"],
        frames=b["video"]["full_size"],
    )
    b.kit("upscale", "UpscaleFrames", upscale_model=b["upscaler"]["UPSCALE_MODEL"], frames=b["interpolate"]["frames"])
    b.kit(
        "save",
        "SaveClip",
        column=WIDE,
        frames=b["upscale"]["frames"],
        audio=b["video"]["audio"],
        filename_prefix="video/more_frames",
    )
    stages = [
        [b.group("Models", BLUE, ["interpolation", "upscaler"])],
        [b.group("Your clip", GREEN, ["video"])],
        [b.group("More and larger frames", TEAL, ["interpolate", "upscale"])],
        [b.group("Result", BLUE, ["save"])],
    ]
    return b.finish(START["more_frames"], stages)
