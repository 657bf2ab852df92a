"""The inputs of Animate Character. New ones go to the end: a saved graph knows its widgets by their order."""

from __future__ import annotations

from comfy_api.latest import io

from .host.sampling import sampler_names, scheduler_names
from .types import Options, frames_input, mask_input, pose_input

LONGEST = 1001


def animate_inputs() -> list[io.Input]:
    return [
        io.Model.Input(
            "model",
            display_name="model",
            tooltip="Wan 2.2 Animate 14B, from any loader; LoRAs and other patches apply.",
        ),
        io.Conditioning.Input(
            "positive",
            display_name="positive",
            optional=True,
            tooltip=(
                "What the clip shows. The model was trained with a plain sentence; long prompts add little. "
                'Without one it is "People in the video are doing actions.", saved or encoded by the umT5 in '
                "models/text_encoders."
            ),
        ),
        io.Conditioning.Input(
            "negative",
            display_name="negative",
            optional=True,
            tooltip="What it should not show. Needed when cfg is above 1, else not used.",
        ),
        io.Vae.Input("vae", display_name="vae", tooltip="The Wan 2.1 VAE (wan_2.1_vae.safetensors)."),
        io.Image.Input(
            "reference_image",
            display_name="reference image",
            tooltip=(
                "The character. A picture of another shape is fitted onto black, as the model was trained; "
                "transparent parts become black. A batch is up to 5 pictures, the best first; each makes "
                "every segment a latent frame longer. The model was trained with one."
            ),
        ),
        pose_input(
            "pose",
            "The pose of Detect Pose and Face, Clean Pose or Retarget Pose, drawn as Draw Pose does; or the "
            "skeleton drawn by any node. Its size and length are the clip's.",
        ),
        frames_input(
            "face",
            "512x512 crops of the driver's face, from Detect Pose and Face. Without it they are cropped from "
            "driving_video; without that as well, the expression is left to the pose.",
            optional=True,
        ),
        frames_input(
            "background",
            "Replace: the driving video with the character blacked out, from Background without Character.",
            optional=True,
        ),
        mask_input(
            "character_mask",
            "Replace: where the character goes (white), from Shape Mask or any segmentation node.",
            optional=True,
        ),
        io.ClipVisionOutput.Input(
            "clip_vision_output",
            display_name="clip vision output",
            optional=True,
            tooltip=(
                "CLIP ViT-H of the reference image (CLIP Vision Encode). The model was trained with it: "
                "leave it out only to save memory."
            ),
        ),
        io.Audio.Input(
            "audio",
            display_name="audio",
            optional=True,
            tooltip="Sound for the clip, usually the driving video's.",
        ),
        io.Combo.Input(
            "mode",
            display_name="mode",
            options=["animate", "replace"],
            tooltip=(
                "animate: the reference's own scene. replace: the driver's scene; needs background and character_mask."
            ),
        ),
        io.Int.Input(
            "seed",
            display_name="seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Noise of the first segment; the k-th segment uses seed + k.",
        ),
        io.Int.Input(
            "steps",
            display_name="steps",
            default=20,
            min=1,
            max=1000,
            tooltip="Sampling steps a segment. 20 as trained; 4 to 6 with a distillation LoRA.",
        ),
        io.Float.Input(
            "cfg",
            display_name="cfg",
            default=1.0,
            min=0.0,
            max=20.0,
            step=0.1,
            round=0.01,
            tooltip=(
                "1 is what the model is meant for and twice as fast. Above 1 strengthens expression: the "
                "negative sees a blank face."
            ),
        ),
        io.Combo.Input(
            "sampler_name",
            display_name="sampler name",
            options=sampler_names(),
            default="uni_pc",
            advanced=True,
            tooltip="Upstream uses UniPC or DPM++ (uni_pc, dpmpp_2m).",
        ),
        io.Combo.Input(
            "scheduler",
            display_name="scheduler",
            options=scheduler_names(),
            default="simple",
            advanced=True,
            tooltip="How the steps are spread over the noise levels. simple matches upstream.",
        ),
        io.Float.Input(
            "shift",
            display_name="shift",
            default=5.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            advanced=True,
            tooltip=(
                "Shift of the noise schedule, 5 as upstream. 0 keeps the model's own, for a model that was "
                "patched with ModelSamplingSD3."
            ),
        ),
        io.Int.Input(
            "segment_length",
            display_name="segment length",
            default=77,
            min=5,
            max=LONGEST,
            step=4,
            advanced=True,
            tooltip="Frames a segment, 4n+1. 77 as trained; fewer saves memory, more drifts.",
        ),
        io.Int.Input(
            "guidance_frames",
            display_name="previous frames",
            default=1,
            min=1,
            max=997,
            step=4,
            tooltip=(
                "Frames that each segment takes over from the one before, 4n+1: 1 or 5 as trained. More "
                "holds motion better and makes fewer new frames a segment."
            ),
        ),
        io.Float.Input(
            "fps",
            display_name="fps (0: as pose)",
            default=0.0,
            min=0.0,
            max=240.0,
            step=0.01,
            round=0.001,
            advanced=True,
            tooltip=(
                "Frame rate of the clip. 0 takes the pose's (frames from Load Driving Video know it; plain "
                "images count as 30)."
            ),
        ),
        io.Combo.Input(
            "color",
            display_name="color",
            options=["anchor", "previous", "off"],
            default="anchor",
            optional=True,
            advanced=True,
            tooltip=(
                "How colour drift from segment to segment is taken out. anchor: each segment is matched to the "
                "frames it takes over, and to what stays the same: the driver's scene in replace, the parts "
                "that stand still in animate. previous: to the frames it takes over alone. off: nothing is "
                "changed. The first segment never is."
            ),
        ),
        Options.Input(
            "options",
            display_name="options",
            optional=True,
            tooltip="Clip Options: seams, shots, parts of the clip, seeds of single segments, continuing.",
        ),
        frames_input(
            "driving_video",
            "The driving video, for a clip with a pose track in pose and nothing in face: its faces are "
            "cropped as Crop Face does.",
            optional=True,
        ),
    ]


def check_queued(node: type[io.ComfyNode], mode: str | None) -> None:
    """Raises InputError for what can be seen in the graph: the scene, the segments, the prompts, the steps."""
    from ..wan_animate.chain.job import check_mode, check_scene
    from ..wan_animate.chain.segments import check_segment_settings
    from .host.checks import check_negative, check_steps
    from .host.default_prompt import check_default_prompt
    from .host.queued import chosen, queued_inputs

    if mode is not None:
        check_mode(mode)
    inputs = queued_inputs(node)
    if inputs is None:
        return
    if mode is not None:
        check_scene(mode, "background" in inputs, "character_mask" in inputs)
    # what is not known here must not be the reason
    length, previous = (chosen(node, inputs, name) for name in ("segment_length", "guidance_frames"))
    check_segment_settings(length or LONGEST, previous or 1)
    if "positive" not in inputs:
        check_default_prompt()
    cfg = chosen(node, inputs, "cfg", 1.0)
    if cfg != 1 and "negative" not in inputs:
        check_negative(None, cfg)
    check_steps(chosen(node, inputs, "sampler_name", ""), chosen(node, inputs, "steps", 2))
