"""ComfyUI nodes: inputs, outputs, tooltips, a call to the engine. Nothing heavy is imported before a node runs."""

from comfy_api.latest import ComfyExtension, io

from ..wan_animate.errors import InputError
from .accelerate import Accelerate
from .animate import Animate
from .clean import CleanPose, PoseReport
from .color import MatchColor
from .convert import FramesToImage, FramesToMask, ImageToFrames, MaskToFrames
from .detect import DetectPose, LoadPoseDetector
from .edit import EditPose
from .face import CropFace
from .frame_models import InterpolateFrames, UpscaleFrames
from .host.closing import closing
from .host.folders import register_folders
from .host.queued import watch_queue
from .host.routes import register_routes
from .host.video_route import register_video_route
from .host.view_routes import register_view_routes
from .keypoints import KeypointsToPose, PoseToKeypoints
from .lora import ApplyLora, RelightLora
from .mask import MaskBackground, MaskFromPose, ShapeMask
from .mediapipe import LoadMediaPipe
from .model import LoadModel
from .models import CheckModels, DownloadModels
from .offload import OffloadBlocks
from .options import ClipOptions
from .plan import PlanClip
from .pose import DrawPose, LoadPoseTrack, SavePoseTrack
from .prompt import CachedPrompt, LoadPrompt, PromptForFrames
from .retarget import EditPrompts, RetargetPose
from .save import SaveClip
from .segmentation import LoadSegmenter, SegmentCharacter
from .split import SplitModel
from .stitch import CropToCharacter, StitchCharacter
from .strength import PoseFaceStrength
from .vae import AccelerateVae
from .video import LoadVideo

InputError.__module__ = "builtins"  # the host puts an error's module in front of its sentence, except this one

NODES: list[type[io.ComfyNode]] = [
    LoadVideo,
    LoadPoseDetector,
    LoadMediaPipe,
    DetectPose,
    RetargetPose,
    EditPose,
    EditPrompts,
    CleanPose,
    PoseReport,
    DrawPose,
    CropFace,
    SavePoseTrack,
    LoadPoseTrack,
    PoseToKeypoints,
    KeypointsToPose,
    FramesToImage,
    ImageToFrames,
    FramesToMask,
    MaskToFrames,
    MaskFromPose,
    LoadSegmenter,
    SegmentCharacter,
    ShapeMask,
    MaskBackground,
    CropToCharacter,
    StitchCharacter,
    MatchColor,
    CachedPrompt,
    LoadPrompt,
    PromptForFrames,
    LoadModel,
    ApplyLora,
    RelightLora,
    PoseFaceStrength,
    Accelerate,
    OffloadBlocks,
    SplitModel,
    AccelerateVae,
    PlanClip,
    ClipOptions,
    Animate,
    CheckModels,
    DownloadModels,
    InterpolateFrames,
    UpscaleFrames,
    SaveClip,
]
for node in NODES:
    closing(node)


class WanAnimateKit(ComfyExtension):
    async def on_load(self) -> None:
        register_folders()
        register_routes()
        register_view_routes()
        register_video_route()
        watch_queue()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
