"""What clips share that one process makes one after the other, or several processes shot by shot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..log import get_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from diffusers import SchedulerMixin, WanAnimateTransformer3DModel

    from ..backends.fp8_linears import Linears
    from ..chain.generate import Progress
    from ..chain.ports import VideoVAE

log = get_logger(__name__)


def text_device(folder: str, device: str) -> str:
    """``device``, or for ``"cuda"`` a card with more room, if the text encoder fits there whole."""
    from ..parallel.roomiest import PROMPT, card_with_room

    sizes = {
        kind: sum(file.stat().st_size for file in Path(folder, "text_encoder").glob(f"*.{kind}"))
        for kind in ("safetensors", "bin")
    }
    weights = sizes["safetensors"] or sizes["bin"]  # as diffusers' folders hold them; of both, the former are read
    return str(card_with_room(device, "The text encoder", needed=weights + PROMPT))


def empty_cache() -> None:
    """Gives back what PyTorch holds of all cards' memory unused."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Weights:
    """Loads what a models folder holds, each time anew."""

    def prompt(self, folder: str, text: str, device: str, hashes: str = "") -> torch.Tensor:
        """As :func:`..backends.diffusers.encode_prompt`. ``hashes`` are those of the folder's files."""
        return self._encode(folder, text, device, text_device(folder, device))

    def _encode(self, folder: str, text: str, device: str, place: str) -> torch.Tensor:
        """On ``place``, or on ``device`` if memory runs out there: another process may have taken it."""
        import torch

        from ..backends.diffusers import encode_prompt

        try:
            return encode_prompt(folder, text, place)
        except torch.cuda.OutOfMemoryError:
            if place == device:
                raise
            self.release()
            log.warning("The text encoder runs on %s: memory ran out on %s.", device, place)
        finally:
            if place != "cpu":
                empty_cache()  # another card is not this process's to keep
        return encode_prompt(folder, text, device)

    def release(self) -> None:
        """Lets go of a model that is kept."""

    def model(
        self,
        folder: str,
        shift: float,
        dtype: torch.dtype,
        device: str,
        offload: str,
        needed: float,
        loras: tuple[tuple[str, float], ...] = (),
        hashes: str = "",
        linears: Linears = "as-loaded",
    ) -> tuple[WanAnimateTransformer3DModel, VideoVAE, SchedulerMixin]:
        """As :func:`..backends.diffusers.load`, with LoRAs: (path, strength). ``hashes`` are those of all
        these files."""
        from ..backends.diffusers import load
        from ..backends.lora import add_lora

        transformer, vae, scheduler = load(folder, shift, dtype, device, offload, needed, linears)
        for path, strength in loras:
            add_lora(transformer, path, strength)
        return transformer, vae, scheduler


class KeptWeights(Weights):
    """Keeps the model of the last clip, until one needs more memory beside it, and the embeddings of the last
    :attr:`TEXTS` texts (4 MB each)."""

    TEXTS = 64

    def __init__(self) -> None:
        self._texts: dict[tuple[str, ...], torch.Tensor] = {}
        self._key: tuple | None = None
        self._needed = 0.0
        self._model: tuple[WanAnimateTransformer3DModel, VideoVAE] | None = None

    def prompt(self, folder: str, text: str, device: str, hashes: str = "") -> torch.Tensor:
        key = folder, text, device, hashes  # a text encoder that is replaced under its name encodes anew
        if key not in self._texts:
            place = text_device(folder, device)
            if place == device != "cpu":  # the text encoder is 11 GB: both may not fit on the card
                self.release()
            while len(self._texts) >= self.TEXTS:
                del self._texts[next(iter(self._texts))]
            self._texts[key] = self._encode(folder, text, device, place)
        return self._texts[key]

    def model(
        self,
        folder: str,
        shift: float,
        dtype: torch.dtype,
        device: str,
        offload: str,
        needed: float,
        loras: tuple[tuple[str, float], ...] = (),
        hashes: str = "",
        linears: Linears = "as-loaded",
    ) -> tuple[WanAnimateTransformer3DModel, VideoVAE, SchedulerMixin]:
        from ..backends.diffusers import flow_scheduler

        key = folder, dtype, device, offload, loras, hashes, linears
        if self._model is None or key != self._key or needed > self._needed:
            self.release()
            self._model = super().model(folder, shift, dtype, device, offload, needed, loras, linears=linears)[:2]
            self._key, self._needed = key, needed
        return *self._model, flow_scheduler("unipc", shift)

    def release(self) -> None:
        self._model = self._key = None
        empty_cache()


@dataclass(frozen=True)
class Shared:
    """
    Attributes:
        weights: loads the model.
        folder: where finished segments lie, and stay; None: beside the mp4, until that is whole.
        track, masks: files of the pose as detected and of the character's masks: read, or written when they are made.
        waiting: called while another process makes the clip, may raise to stop; None: it is refused then.
        progress: in place of the bar.
    """

    weights: Weights = field(default_factory=Weights)
    folder: Path | None = None
    track: Path | None = None
    masks: Path | None = None
    waiting: Callable[[], None] | None = None
    progress: Callable[[Progress], None] | None = None


ALONE = Shared()
