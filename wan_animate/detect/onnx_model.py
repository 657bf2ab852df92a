"""ONNX models in onnxruntime."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import Cancelled, InputError
from ..log import get_logger
from .onnx_errors import brief, is_about_file, is_external, is_out_of_memory

if TYPE_CHECKING:
    from types import ModuleType

    import onnxruntime

log = get_logger(__name__)

# In the order "auto" tries them.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
RUN_SECONDS = 300.0
"""Longest run of a batch: a graph may hold a loop without end."""
MOST_MEMORY = 4 << 30
"""Bytes that graphs may take on the CPU beside their weights: one may hold a few numbers that become gigabytes."""
_DTYPES: dict[str, type[np.floating]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_TORCH_DTYPES: dict[type[np.floating], torch.dtype] = {np.float32: torch.float32, np.float16: torch.float16}


def choose_provider(provider: str, available: list[str]) -> str:
    """onnxruntime's name of a provider; the CPU's if unavailable. Raises InputError."""
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
    """An ONNX graph: one image batch in, first output out.

    Args:
        choose_card: the number of the CUDA card to run on, asked whenever the graph is loaded onto one.

    Attributes:
        role: name in messages.
        input_shape, output_shape: as declared; names or None where free.
        batch: fixed batch size; 0 for any.
        max_batch: largest batch that fits in memory; 0 for any.
        card: number of the CUDA card; 0 where another provider runs it.
        device: of :meth:`run`'s tensors; None for arrays.

    Raises:
        InputError: onnxruntime or the file is missing or damaged.
    """

    def __init__(
        self, path: str | os.PathLike, provider: str, role: str, choose_card: Callable[[], int] = lambda: 0
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{role}: the package onnxruntime is not installed; run `pip install onnxruntime` "
                "(or onnxruntime-gpu) in the Python that runs this."
            ) from error
        self.path, self.role = Path(path), role
        self.name, self._choose_card = self.path.name, choose_card
        if not self.path.is_file():
            raise InputError(f"{role}: {self.path} does not exist; give the path of an .onnx file.")
        provider = choose_provider(provider, onnxruntime.get_available_providers())
        self.card = self._card_for(provider)
        session = self._open(onnxruntime, provider)
        self._session: onnxruntime.InferenceSession | None = session
        self.provider: str = session.get_providers()[0]
        first_input, first_output = session.get_inputs()[0], session.get_outputs()[0]
        self._input_name, self._output_name = first_input.name, first_output.name
        self.input_shape, self.output_shape = tuple(first_input.shape), tuple(first_output.shape)
        if len(session.get_inputs()) != 1 or first_input.type not in _DTYPES:
            raise InputError(
                f"{role}: {self.name} takes {len(session.get_inputs())} inputs, the first {first_input.type}, "
                "but one float image batch was expected; choose the file that the workflow's notes link to."
            )
        self._input_dtype, self._output_dtype = _DTYPES[first_input.type], _DTYPES.get(first_output.type)
        on_gpu = self.provider == PROVIDERS["cuda"] and self._output_dtype and torch.cuda.is_available()
        self.device = torch.device("cuda", self.card) if on_gpu else None
        self._real_output_shape: tuple[int, ...] | None = None  # of one image, after the first run: files may be wrong
        self.batch = self.input_shape[0] if self.input_shape and isinstance(self.input_shape[0], int) else 0
        if self.batch < 1:
            self.batch = 0
        self.max_batch = 0
        self._largest_run = 0  # images
        self._running: set[onnxruntime.RunOptions] = set()
        self._late = self._stopped = False

    def _card_for(self, provider: str) -> int:
        return self._choose_card() if provider == PROVIDERS["cuda"] else 0

    def _open(self, onnxruntime: ModuleType, provider: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Spinning threads would take the cores from decoding, cropping and the other network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if provider == PROVIDERS["directml"]:  # required by DirectML
            options.enable_mem_pattern = False
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        cpu = PROVIDERS["cpu"]
        if provider == cpu and _limit_memory(onnxruntime):
            options.add_session_config_entry("session.use_env_allocators", "1")
        if provider == PROVIDERS["cuda"] and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # the CUDA libraries of torch's package
        providers: list[Any] = list(dict.fromkeys([provider, cpu]))
        if self.card and provider == PROVIDERS["cuda"]:  # onnxruntime's default is the first
            providers[0] = provider, {"device_id": self.card}
        try:
            session = onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common base class
            message = str(error)
            if provider != cpu and not is_about_file(message):
                if self.card:
                    return self._open_on_first(onnxruntime, provider, brief(message))
                log.warning("%s: %s failed to start (%s); running on the CPU.", self.role, provider, brief(message))
                return self._open(onnxruntime, cpu)
            raise InputError(self._explain(message)) from error
        if session.get_providers()[0] != provider:
            if self.card:
                return self._open_on_first(onnxruntime, provider, "onnxruntime does not say why")
            log.warning("%s: onnxruntime could not start %s; %s runs on the CPU.", self.role, provider, self.name)
        return session

    def _open_on_first(self, onnxruntime: ModuleType, provider: str, why: str) -> onnxruntime.InferenceSession:
        log.warning("%s: %s does not start on card %d (%s); taking the first.", self.role, provider, self.card, why)
        self.card = 0
        return self._open(onnxruntime, provider)

    def _explain(self, message: str) -> str:
        if is_external(message):
            named = re.search(r"[\w.\-]+\.(?:bin|data|onnx_data|onnx\.data|weight|weights)\b", message)
            second = f" ({named.group(0)})" if named else ""
            return (
                f"{self.role}: {self.name} keeps its weights in a second file{second} that is not beside it or is cut "
                f"off; put it into {self.path.parent} under the name it was published with."
            )
        size = self.path.stat().st_size
        return (
            f"{self.role}: {self.name} ({size:,} bytes) cannot be read as an ONNX graph ({brief(message)}); "
            "download it again, and mind that a link page or a pointer file may have been saved in its place."
        )

    def run(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        """Runs any number of images.

        Pads batches to a fixed size, on a GPU to the largest so far. After a failure tries smaller batches, then the
        CPU.

        Args:
            images: float ``[N, 3, H, W]``.

        Returns:
            float32 ``[N, ...]``, on the same device.

        Raises:
            InputError: no image can be run on the CPU.
        """
        outputs: list[np.ndarray | torch.Tensor] = []
        start = 0
        while start < len(images):
            if self._stopped:
                raise Cancelled
            group = self.batch or self.max_batch or len(images)
            part = images[start : start + group]
            missing = (self.batch or self._largest_run) - len(part) if self.batch or self._pads_batches else 0
            padded = _padded(part, max(missing, 0))
            try:
                outputs.append(self._run(padded)[: len(part)])
            except InputError:
                raise
            except Exception as error:  # onnxruntime's exceptions have no common base class
                if self._stopped:
                    raise Cancelled from error
                self._fall_back(str(error), len(padded))
            else:
                start += len(part)
                self._largest_run = max(self._largest_run, len(padded))
        if len(outputs) == 1:
            return outputs[0]
        tensors = [output for output in outputs if isinstance(output, torch.Tensor)]
        if len(tensors) == len(outputs):
            return torch.cat(tensors)
        return np.concatenate([to_numpy(output) for output in outputs])  # fell back to the CPU in between

    @property
    def on_card(self) -> bool:
        """Whether it is loaded by the CUDA provider."""
        return self._session is not None and self.provider == PROVIDERS["cuda"]

    def open(self) -> onnxruntime.InferenceSession:
        """Loads the graph where it is not, on the card that is chosen now. Raises InputError."""
        import onnxruntime

        if self._session is None:
            self.card = self._card_for(self.provider)
            self._session = self._open(onnxruntime, self.provider)
            if self.device is not None:
                self.device = torch.device("cuda", self.card)
        return self._session

    def begin(self) -> None:
        """Starts a clip, whose batches may be smaller; after :meth:`stop` runs go on."""
        self._largest_run, self._stopped = 0, False

    @property
    def _pads_batches(self) -> bool:
        """GPU providers tune kernels for seconds at every batch size."""
        return self.provider != PROVIDERS["cpu"]

    def _fall_back(self, message: str, count: int) -> None:
        """Reduces the batch or changes to the CPU, else raises."""
        no_memory = is_out_of_memory(message)
        if no_memory and not self.batch and count > 1:
            self.max_batch, self._largest_run = count // 2, 0
            log.warning(
                "%s: not enough memory for %d frames at once; going on with %d.", self.role, count, self.max_batch
            )
        elif self.provider != PROVIDERS["cpu"] and (no_memory or count == 1 or self.batch):
            log.warning(
                "%s: %s cannot run %s (%s); going on on the CPU.", self.role, self.provider, self.name, brief(message)
            )
            import onnxruntime

            self._session, self.device, self.card = None, None, 0
            self.max_batch, self._largest_run, self.provider = 0, 0, PROVIDERS["cpu"]
            self._session = self._open(onnxruntime, self.provider)
        elif no_memory:
            raise InputError(
                f"{self.role}: there is not enough memory to run {self.name} on {count} frames; close other programs, "
                "or choose a smaller model."
            )
        elif not self.batch and count > 1:
            log.warning("%s: %s takes one image at a time (%s).", self.role, self.name, brief(message))
            self.max_batch, self._largest_run = 1, 0
        else:
            raise InputError(
                f"{self.role}: {self.name} cannot be run ({brief(message)}); download it again, or choose the file "
                "that the workflow's notes link to."
            )

    def _run(self, images: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
        session = self._session or self.open()
        if isinstance(images, torch.Tensor):
            if self.device is not None and self._real_output_shape is not None and self._output_dtype is not None:
                return self._run_bound(session, images, self._real_output_shape, self._output_dtype)
            images = images.cpu().numpy()
        images = np.ascontiguousarray(images, self._input_dtype)
        with self._limited() as options:
            output = session.run([self._output_name], {self._input_name: images}, options)[0]
        if len(output) != len(images):
            raise ValueError(f"{len(images)} images gave {len(output)} results")
        self._real_output_shape = output.shape[1:]
        return np.asarray(output, np.float32)

    def _run_bound(
        self,
        session: onnxruntime.InferenceSession,
        images: torch.Tensor,
        output_shape: tuple[int, ...],
        dtype: type[np.floating],
    ) -> torch.Tensor:
        images = images.to(_TORCH_DTYPES[self._input_dtype]).contiguous()
        output = torch.empty((len(images), *output_shape), dtype=_TORCH_DTYPES[dtype], device=images.device)
        device = images.device
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # onnxruntime uses another stream
        binding, place = session.io_binding(), (device.type, device.index or 0)
        binding.bind_input(self._input_name, *place, self._input_dtype, tuple(images.shape), images.data_ptr())
        binding.bind_output(self._output_name, *place, dtype, tuple(output.shape), output.data_ptr())
        with self._limited() as options:
            session.run_with_iobinding(binding, options)  # returns when it is done
        return output.float()

    @contextmanager
    def _limited(self) -> Iterator[onnxruntime.RunOptions]:
        """Options of a run that :meth:`stop`, or :data:`RUN_SECONDS`, ends."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 3
        if self.provider == PROVIDERS["cpu"]:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")  # others need it
        limit = threading.Timer(RUN_SECONDS, self._end_late)
        limit.daemon = True
        self._running.add(options)
        self._late = False
        limit.start()
        try:
            yield options
        except Exception as error:
            if not self._late:
                raise
            raise InputError(
                f"{self.role}: {self.name} did not end in {RUN_SECONDS:g} seconds; choose the file that the workflow's "
                "notes link to, or a smaller one."
            ) from error
        finally:
            limit.cancel()
            self._running.discard(options)

    def _end_late(self) -> None:
        self._late = True
        self._terminate()

    def stop(self) -> None:
        """Ends the run of another thread, which raises Cancelled, as do others until :meth:`begin`."""
        self._stopped = True
        self._terminate()

    def _terminate(self) -> None:
        for options in list(self._running):
            options.terminate = True

    def probe(self, height: int, width: int) -> tuple[int, ...]:
        """Output shape for a black image. Raises InputError."""
        try:
            return tuple(self._run(np.zeros((max(self.batch, 1), 3, height, width), self._input_dtype)).shape)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.role}: {self.name} does not take an image of {width}x{height} ({brief(str(error))}); "
                "choose the file that the workflow's notes link to."
            ) from error

    def close(self) -> None:
        """Frees memory until the next run."""
        self._session = None


@lru_cache(maxsize=1)
def _limit_memory(onnxruntime: ModuleType) -> bool:
    """Gives onnxruntime a bounded arena for the CPU, once a process; False where it has none."""
    try:
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        arena = onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY, "arena_extend_strategy": 1})  # as much as is asked for
        onnxruntime.create_and_register_allocator(memory, arena)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        log.debug("onnxruntime's memory is not limited: %s", error)
        return False
    return True


def to_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


def _padded(images: np.ndarray | torch.Tensor, missing: int) -> np.ndarray | torch.Tensor:
    if not missing:
        return images
    if isinstance(images, torch.Tensor):
        return torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
    return np.concatenate([images, images[-1:].repeat(missing, axis=0)])


def describe(shape: tuple[Any, ...]) -> str:
    """``[?, 3, 640, 640]``"""
    return "[" + ", ".join(str(side) if isinstance(side, int) else "?" for side in shape) + "]"
