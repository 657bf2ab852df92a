"""SAM 2 video over a stream of frames, with bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from ..errors import InputError
from ..shots import shots_of
from ..video.frames import FrameSource, read_ahead
from .prompts import Prompt
from .sam2_weights import WANTED, WHAT, build_model, read_weights
from .track import MaskTrack, pack

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
READ_AT_ONCE = 8
KEY_FRAMES = 4  # that a frame attends to: the last two and the next two, in a long shot
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as SAM 2's own preprocessing
PERSON = 1  # the only object id


class Segmenter:
    """SAM 2 or 2.1 video through transformers, from one safetensors file (:mod:`.sam2_weights`).

    Args:
        device: "auto" is CUDA if available, else the CPU.
        precision: of activations; "auto" is bf16 on CUDA devices that support it, else fp16, and fp32 on the CPU.
            Weights are fp32.

    Raises:
        InputError: transformers is too old, or the file incomplete or another model's.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "auto", precision: str = "auto"):
        if precision not in PRECISIONS:
            raise InputError(f"{WHAT}: precision is {precision!r}, but it must be one of {', '.join(PRECISIONS)}.")
        self.path = Path(path)
        self._model: torch.nn.Module | None = None
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self._dtype = _compute_dtype(precision, self.device)
        shapes, self.architecture = read_weights(self.path, shapes_only=True)
        self.name = self.architecture.name  # "SAM 2.1 large" and the like
        with torch.device("meta"):
            self._check(shapes, build_model(self.architecture.config))

    def _check(self, tensors: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
        expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        for what, keys in (
            ("lacks", expected.keys() - found.keys()),
            ("has unknown", found.keys() - expected.keys()),
            ("has other shapes for", {key for key in expected.keys() & found.keys() if expected[key] != found[key]}),
        ):
            if keys:
                some = ", ".join(sorted(keys)[:3])
                raise InputError(
                    f"{WHAT}: {self.path.name} {what} {len(keys)} tensors of {self.name} ({some}); {WANTED}, "
                    "downloaded whole."
                )

    @property
    def loaded(self) -> bool:
        return self._model is not None

    def move(self, device: torch.device) -> None:
        """Where it is loaded the next time; of the own device's kind, as the precision stays."""
        if self._model is None:
            self.device = device

    def load(self) -> torch.nn.Module:
        """Kept until :meth:`close`."""
        if self._model is None:
            tensors, _ = read_weights(self.path)
            model = build_model(self.architecture.config)
            self._check(tensors, model)  # the file may have been replaced since
            model.load_state_dict(tensors, assign=True)
            self._model = model.to(self.device, torch.float32)
        return self._model

    def close(self) -> None:
        """Frees memory until the next clip."""
        self._model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def segment(
        self,
        frames: FrameSource,
        prompts: Sequence[Prompt],
        cuts: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> MaskTrack:
        """Tracks the person of ``prompts`` through the clip.

        Each shot is tracked from its first prompt backwards, then forwards. Up to four prompts a shot equal
        transformers' ``propagate_in_video_iterator``; with more, each frame attends to the nearest four. In memory: a
        few frames, 7 memory frames, 16 object pointers, 4 key frames.

        Args:
            prompts: at most one a frame, in pixels. Shots without prompts get empty masks.
            cuts: first frames of new shots.
            progress: called with (frames done, frames); may raise to stop.

        Raises:
            InputError: no prompts, or outside the clip.
        """
        if frames.kind != "image":
            raise InputError("segment character: its input is a clip of masks; connect the video.")
        if not prompts:
            raise InputError(
                "segment character: nothing says where the person is; connect the pose of this clip, or set a point on "
                "the person."
            )
        by_frame = {prompt.frame: prompt for prompt in prompts}
        if len(by_frame) != len(prompts) or min(by_frame) < 0 or max(by_frame) >= len(frames):
            raise InputError(
                f"segment character: the prompts are for frames {sorted(prompt.frame for prompt in prompts)} of a clip "
                f"of {len(frames)}; give each frame one, inside the clip."
            )
        empty = pack(np.zeros((frames.height, frames.width), np.uint8))
        packed, done = [empty] * len(frames), 0
        model = self.load()
        with self.autocast():
            for start, stop in shots_of(cuts, len(frames)):
                keys = sorted(frame for frame in by_frame if start <= frame < stop)
                if not keys:
                    done += stop - start
                    continue
                shot = ShotTracker(model, self.device, frames, start, stop, [by_frame[key] for key in keys])
                with contextlib.closing(shot.follow()) as followed:
                    for frame, mask in followed:
                        packed[frame] = pack(mask)
                        done += 1
                        if progress is not None:
                            progress(done, len(frames))
        if progress is not None:
            progress(len(frames), len(frames))
        return MaskTrack(tuple(packed), (len(frames), frames.height, frames.width), frames.fps)

    def autocast(self) -> contextlib.AbstractContextManager:
        if self._dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)


def _compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        # Volta and Turing emulate bf16, slowly
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def preprocess(frame: np.ndarray, side: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 ``[H, W, 3]`` -> float32 ``[3, side, side]``, as transformers' ``Sam2VideoVideoProcessor``."""
    device = torch.device(device)
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frame)), "height width rgb -> 1 rgb height width")
    if device.type == "cuda":  # the CPU resizes bytes, CUDA floats; not every other device can do either
        pixels = pixels.to(device).float()
    pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)[0]
    pixels = pixels.to(device).float().round_().clamp_(0, 255)
    mean = torch.tensor(MEAN, device=pixels.device).mul_(255)[:, None, None]
    std = torch.tensor(STD, device=pixels.device).mul_(255)[:, None, None]
    return pixels.sub_(mean).div_(std)


class _HeldFrames(dict):
    """The session's loaded frames; ``len`` is the shot's."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def __len__(self) -> int:
        return self.length


class ShotTracker:
    def __init__(
        self,
        model: Any,  # transformers' Sam2VideoModel
        device: torch.device,
        frames: FrameSource,
        start: int,
        stop: int,
        prompts: list[Prompt],
    ):
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.model, self.device, self.frames, self.start, self.stop = model, device, frames, start, stop
        self.side = int(model.config.image_size)
        self.prompts = {prompt.frame - start: prompt for prompt in prompts}
        self.keys = sorted(self.prompts)
        self.session = Sam2VideoInferenceSession(
            video_height=frames.height,
            video_width=frames.width,
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        self.session.processed_frames = self.held = _HeldFrames(stop - start)
        self.session.obj_id_to_idx(PERSON)
        self.outputs = self.session.output_dict_per_obj[0]
        # how many frames back memories and object pointers are attended to
        self.memories = model.config.num_maskmem - 1
        self.pointers = model.config.max_object_pointers_in_encoder - 1

    def follow(self) -> Generator[tuple[int, np.ndarray], None, None]:
        """(frame in the clip, uint8 mask ``[H, W]`` of 0 and 1), in the order of tracking."""
        first, length = self.keys[0], len(self.held)
        self._hold_key_frames(0)
        # backwards first, so that the forward pass has its memories
        parts = [(max(stop - READ_AT_ONCE, 0), stop) for stop in range(first, 0, -READ_AT_ONCE)]
        for start, stop, pictures in self._read(parts):
            for at in range(stop - 1, start - 1, -1):
                yield self._step(at, pictures[at - start], reverse=True)
        for number, span in enumerate(pairwise((*self.keys, length))):
            self._hold_key_frames(number)
            for start, stop, pictures in self._read([span]):
                for at in range(start, stop):
                    yield self._step(at, pictures[at - start], reverse=False)

    def _read(self, parts: list[tuple[int, int]]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Decodes ahead of the network. Close before reading others."""
        ranges = [(self.start + start, self.start + stop) for start, stop in parts]
        with contextlib.closing(read_ahead(self.frames, READ_AT_ONCE, ranges=ranges)) as batches:
            for start, stop, pictures in batches:
                yield start - self.start, stop - self.start, pictures

    def _hold_key_frames(self, number: int) -> None:
        first = min(max(number - 1, 0), max(len(self.keys) - KEY_FRAMES, 0))
        wanted = self.keys[first : first + KEY_FRAMES]
        known = self.outputs["cond_frame_outputs"]
        for at in [at for at in known if at not in wanted]:
            del known[at], self.session.point_inputs_per_obj[0][at]
        for at in wanted:
            if at not in known:
                self._add(at)

    def _add(self, at: int) -> None:
        prompt = self.prompts[at]
        points, labels = np.asarray(prompt.points, np.float32).reshape(-1, 2), np.asarray(prompt.labels, np.int64)
        if prompt.box is not None:  # a box is two points with labels of their own, and goes first
            corners = np.asarray(prompt.box, np.float32).reshape(2, 2)
            points, labels = np.concatenate([corners, points]), np.concatenate([np.array([2, 3]), labels])
        scale = np.array([self.side / self.frames.width, self.side / self.frames.height], np.float32)
        inputs = {
            "point_coords": torch.from_numpy(points * scale)[None, None],  # [1, 1, N, 2]
            "point_labels": torch.from_numpy(labels).to(torch.int32)[None, None],  # [1, 1, N]
        }
        self.session.add_point_inputs(0, at, inputs)
        self.session.obj_with_new_inputs = [PERSON]
        self.session.frames_tracked_per_obj[0].pop(at, None)
        ((_, _, pictures),) = self._read([(at, at + 1)])
        self._run(at, pictures[0], reverse=False)
        self.outputs["cond_frame_outputs"][at].pop("high_res_masks", None)

    def _run(self, at: int, picture: np.ndarray, reverse: bool) -> Any:
        self.held[at] = preprocess(picture, self.side, self.device)
        try:
            return self.model(self.session, frame_idx=at, reverse=reverse)
        finally:
            self.held.clear()

    def _step(self, at: int, picture: np.ndarray, reverse: bool) -> tuple[int, np.ndarray]:
        logits = self._run(at, picture, reverse).pred_masks
        self._forget(at)
        size = (self.frames.height, self.frames.width)
        mask = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)[0, 0] > 0
        return self.start + at, mask.to(torch.uint8).cpu().numpy()

    def _forget(self, at: int) -> None:
        remembered, first = self.outputs["non_cond_frame_outputs"], self.keys[0]
        for index in list(remembered):
            distance = min(abs(index - at), abs(index - first))
            if distance > self.pointers:
                del remembered[index]
                self.session.frames_tracked_per_obj[0].pop(index, None)
                continue
            unneeded = ["pred_masks", "high_res_masks"]
            if distance > self.memories:
                unneeded += ["maskmem_features", "maskmem_pos_enc"]
            for name in unneeded:
                remembered[index].pop(name, None)
