"""Opening an ONNX file and running it in batches, with errors a person can act on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..log import get_logger

log = get_logger(__name__)

# In the order in which "auto" tries them.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_TENSORS = {np.float32: torch.float32, np.float16: torch.float16}


def choose_provider(provider: str, available: list[str]) -> str:
    """The onnxruntime provider for ``provider`` ("auto" or a key of PROVIDERS): CPU where it is not available.

    Raises:
        InputError: the name is none of these.
    """
    if provider == "auto":
        return next((name for name in PROVIDERS.values() if name in available), PROVIDERS["cpu"])
    if provider not in PROVIDERS:
        raise InputError(f"pose detector: provider is {provider!r}, but it must be auto, {', '.join(PROVIDERS)}.")
    if PROVIDERS[provider] not in available:
        log.warning(
            "pose detector: this onnxruntime has no %s provider (it has %s); running on the CPU.",
            provider,
            ", ".join(available),
        )
        return PROVIDERS["cpu"]
    return PROVIDERS[provider]


class OnnxModel:
    """One ONNX graph: its first input (an image batch) and its first output.

    Attributes:
        path, name: the file.
        input_shape, output_shape: as the file declares them: ints, or names (or None) for what is free.
        batch: how many images one run takes; 0 = any number.
        most: how many a run is given at most, found out by failing; 0 = any number.
        device: the card the graph runs on, if torch sees it too: :meth:`run` then takes tensors there, and gives them.

    Raises:
        InputError: onnxruntime is missing, or the file is missing, is not ONNX, or lacks its weights.
    """

    def __init__(self, path: str | os.PathLike, provider: str, what: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{what}: the package onnxruntime is not installed; run `pip install onnxruntime` "
                "(or onnxruntime-gpu) in the Python that runs this."
            ) from error
        self.path, self.what = Path(path), what
        self.name = self.path.name
        if not self.path.is_file():
            raise InputError(f"{what}: {self.path} does not exist; give the path of an .onnx file.")
        self._session = self._open(onnxruntime, choose_provider(provider, onnxruntime.get_available_providers()))
        self.provider = self._session.get_providers()[0]
        first_input, first_output = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self._input_name, self._output_name = first_input.name, first_output.name
        self.input_shape, self.output_shape = tuple(first_input.shape), tuple(first_output.shape)
        if len(self._session.get_inputs()) != 1 or first_input.type not in _FLOATS:
            raise InputError(
                f"{what}: {self.name} takes {len(self._session.get_inputs())} inputs, the first {first_input.type}, "
                "but one float image batch was expected; choose the file that the workflow's notes link to."
            )
        self._dtype, self._gives = _FLOATS[first_input.type], _FLOATS.get(first_output.type)
        on_card = self.provider == PROVIDERS["cuda"] and self._gives and torch.cuda.is_available()
        self.device = torch.device("cuda", 0) if on_card else None  # onnxruntime's own choice of several cards
        self._made: tuple[int, ...] | None = None  # a result's shape after the first run: files declare it wrongly
        self.batch = self.input_shape[0] if self.input_shape and isinstance(self.input_shape[0], int) else 0
        if self.batch < 1:
            self.batch = 0
        self.most = 0  # images at once that were found to fit; 0 = any number
        self._usual = 0  # images in the largest run so far

    def _open(self, onnxruntime, provider: str):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Idle threads of one network would otherwise keep the cores from decoding, cropping and the other network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider == PROVIDERS["directml"]:  # DirectML takes no other setting
            options.enable_mem_pattern = False
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        cpu = PROVIDERS["cpu"]
        if provider == PROVIDERS["cuda"] and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that came with torch
        try:
            session = onnxruntime.InferenceSession(
                str(self.path), options, providers=list(dict.fromkeys([provider, cpu]))
            )
        except Exception as error:  # onnxruntime raises a class of its own per status, some of them plain RuntimeError
            message = str(error)
            if provider != cpu and not _is_about_file(message):
                log.warning("%s: %s failed to start (%s); running on the CPU.", self.what, provider, _brief(message))
                return self._open(onnxruntime, cpu)
            raise InputError(self._explain(message)) from error
        if session.get_providers()[0] != provider:
            log.warning("%s: onnxruntime could not start %s; %s runs on the CPU.", self.what, provider, self.name)
        return session

    def _explain(self, message: str) -> str:
        if _is_external(message):
            named = re.search(r"[\w.\-]+\.(?:bin|data|onnx_data|onnx\.data|weight|weights)\b", message)
            second = f" ({named.group(0)})" if named else ""
            return (
                f"{self.what}: {self.name} keeps its weights in a second file{second} that is not beside it or is cut "
                f"off; put it into {self.path.parent} under the name it was published with."
            )
        size = self.path.stat().st_size
        return (
            f"{self.what}: {self.name} ({size:,} bytes) cannot be read as an ONNX graph ({_brief(message)}); "
            "download it again, and mind that a link page or a pointer file may have been saved in its place."
        )

    def run(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """float32 output for float ``[N, 3, H, W]``, whatever batch the graph takes. A tensor on :attr:`device` gives
        a tensor there: nothing goes through memory.

        A graph of fixed batch is fed groups of that size, the last filled up; so is, on a card, any shorter batch. One
        that claims a free batch and then cannot run it is fed single images from then on. Where memory runs out the
        batch is halved from then on, and a provider that cannot run the graph at all gives way to the CPU; the log
        says both.

        Raises:
            InputError: the graph cannot be run, not even with one image on the CPU.
        """
        outputs, start = [], 0
        while start < len(images):
            group = self.batch or self.most or len(images)
            part = images[start : start + group]
            missing = (self.batch or self._usual) - len(part) if self.batch or self._settles else 0
            filled = _filled(part, max(missing, 0))
            try:
                outputs.append(self._run(filled)[: len(part)])
            except Exception as error:  # onnxruntime raises a class of its own per status
                self._give_way(str(error), len(filled))
            else:
                start += len(part)
                self._usual = max(self._usual, len(filled))
        if len(outputs) == 1:
            return outputs[0]
        if all(isinstance(one, torch.Tensor) for one in outputs):
            return torch.cat(outputs)
        return np.concatenate([in_memory(one) for one in outputs])  # the card gave up in between

    def begin(self) -> None:
        """A new clip: its batches may be smaller than the last one's."""
        self._usual = 0

    @property
    def _settles(self) -> bool:
        """Whether the provider searches for the fastest kernels anew for every number of images, for seconds: the last,
        shorter batch is then filled up."""
        return self.provider != PROVIDERS["cpu"]

    def _give_way(self, message: str, count: int) -> None:
        """Change what can be changed after a run of ``count`` images failed; raises where nothing is left."""
        no_memory = _is_out_of_memory(message)
        if no_memory and not self.batch and count > 1:
            self.most, self._usual = count // 2, 0
            log.warning("%s: not enough memory for %d frames at once; going on with %d.", self.what, count, self.most)
        elif self.provider != PROVIDERS["cpu"] and (no_memory or count == 1 or self.batch):
            log.warning(
                "%s: %s cannot run %s (%s); going on on the CPU.", self.what, self.provider, self.name, _brief(message)
            )
            import onnxruntime

            self._session, self.most, self._usual, self.provider = None, 0, 0, PROVIDERS["cpu"]
            self.device = None
            self._session = self._open(onnxruntime, self.provider)
        elif no_memory:
            raise InputError(
                f"{self.what}: there is not enough memory to run {self.name} on {count} frames; close other programs, "
                "or choose a smaller model."
            )
        elif not self.batch and count > 1:
            log.warning("%s: %s takes one image at a time (%s).", self.what, self.name, _brief(message))
            self.most, self._usual = 1, 0
        else:
            raise InputError(
                f"{self.what}: {self.name} cannot be run ({_brief(message)}); download it again, or choose the file "
                "that the workflow's notes link to."
            )

    def _run(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        if self._session is None:
            import onnxruntime

            self._session = self._open(onnxruntime, self.provider)
        if isinstance(images, torch.Tensor):
            if self.device is not None and self._made is not None:
                return self._run_bound(images)
            images = images.cpu().numpy()
        images = np.ascontiguousarray(images, self._dtype)
        output = self._session.run([self._output_name], {self._input_name: images})[0]
        if len(output) != len(images):
            raise ValueError(f"{len(images)} images gave {len(output)} results")
        self._made = output.shape[1:]
        return np.asarray(output, np.float32)

    def _run_bound(self, images: torch.Tensor) -> torch.Tensor:
        """A run from and to the card's own memory."""
        images = images.to(_TENSORS[self._dtype]).contiguous()
        output = torch.empty((len(images), *self._made), dtype=_TENSORS[self._gives], device=images.device)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # onnxruntime has a stream of its own
        binding, place = self._session.io_binding(), (self.device.type, self.device.index or 0)
        shapes = tuple(images.shape), tuple(output.shape)
        binding.bind_input(self._input_name, *place, self._dtype, shapes[0], images.data_ptr())
        binding.bind_output(self._output_name, *place, self._gives, shapes[1], output.data_ptr())
        self._session.run_with_iobinding(binding)  # and waits until it is done
        return output.float()

    def probe(self, height: int, width: int) -> tuple[int, ...]:
        """The output's real shape for one black image, for graphs that do not declare it.

        Raises:
            InputError: the graph does not take such an image.
        """
        try:
            return self._run(np.zeros((max(self.batch, 1), 3, height, width), self._dtype)).shape
        except Exception as error:
            raise InputError(
                f"{self.what}: {self.name} does not take an image of {width}x{height} ({_brief(str(error))}); "
                "choose the file that the workflow's notes link to."
            ) from error

    def close(self) -> None:
        """Free the network's memory; the next run opens the file again."""
        self._session = None


def in_memory(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """What :meth:`OnnxModel.run` gives, as an array."""
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


def _filled(images: np.ndarray | torch.Tensor, missing: int) -> np.ndarray | torch.Tensor:
    """The images and the last of them ``missing`` times more."""
    if not missing:
        return images
    if isinstance(images, torch.Tensor):
        return torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    return np.concatenate([images, images[-1:].repeat(missing, axis=0)])


def describe(shape: tuple) -> str:
    """[?, 3, 640, 640]"""
    return "[" + ", ".join(str(side) if isinstance(side, int) else "?" for side in shape) + "]"


def _brief(message: str) -> str:
    text = re.sub(
        r"^\[ONNXRuntimeError\]\s*:\s*\d+\s*:\s*", "", message.strip().splitlines()[0] if message.strip() else ""
    )
    return text if len(text) <= 160 else text[:157] + "..."


def _is_external(message: str) -> bool:
    return bool(
        re.search(r"external|GetFileLength|model_path must not be empty|\.onnx[._]data", message, re.IGNORECASE)
    )


def _is_about_file(message: str) -> bool:
    return _is_external(message) or "Protobuf" in message or "INVALID_PROTOBUF" in message


def _is_out_of_memory(message: str) -> bool:
    said = r"bad.?alloc|out of memory|Failed to allocate|not enough memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
    return bool(re.search(said, message, re.IGNORECASE))
