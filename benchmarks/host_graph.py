"""ComfyUI in this process as its server sets itself up, and what a graph does to a MODEL, node by node.

For :mod:`benchmarks.matrix`, which runs every combination; as a script it does nothing.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SEED, STEPS = 1, {False: 4, True: 2}  # by whether it is small
# (dim, ffn, frames, width, height)
SIZES = {False: (5120, 13824, 17, 480, 272), True: (256, 512, 5, 64, 48)}
ACCELERATE: dict[str, Any] = {"attention": "auto (exact)", "fused": True}
CASTS = {"bf16": "bfloat16", "fp16": "float16"}
KEPT = {"bf16 kept": "bf16", "fp8 kept": "fp8_e4m3fn"}


def start_host(path: Path | None, dynamic: bool, small: bool) -> str:
    """Set up a ComfyUI (else the one found) as its main.py does, before torch is imported; returns its version."""
    from demo.host import require_host

    host = require_host(path)
    sys.path.insert(0, str(host.path))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.base_directory = tempfile.mkdtemp(prefix="wan-animate-matrix-")
    args.database_url = "sqlite:///:memory:"
    args.cpu, args.disable_dynamic_vram = small, not dynamic
    if not small:
        import cuda_malloc  # noqa: F401
    from demo import dynamic_vram

    if dynamic and not dynamic_vram.start_aimdo():
        raise SystemExit("comfy-aimdo does not run here, and so no dynamic VRAM")
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    if dynamic and small:
        dynamic_vram.switch_on_cpu()
    elif dynamic:
        import comfy_aimdo.control

        devices = comfy.model_management.get_all_torch_devices()
        headroom = int(getattr(args, "vram_headroom", 0) * 1024**3)
        try:
            ready = comfy_aimdo.control.init_devices((one.index, headroom) for one in devices)
        except TypeError:
            ready = comfy_aimdo.control.init_devices(one.index for one in devices)
        if not ready:
            raise SystemExit("comfy-aimdo does not take this card, and so no dynamic VRAM")
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
    return host.version


def end_of_node() -> None:
    """What the server does after each node, and when a MODEL is freed."""
    import gc

    import comfy.memory_management
    import comfy.model_management

    if comfy.memory_management.aimdo_enabled:
        import comfy.model_prefetch
        import comfy_aimdo.model_vbar

        comfy.model_management.reset_cast_buffers()
        comfy.model_prefetch.cleanup_prefetch_queues()
        comfy_aimdo.model_vbar.vbars_reset_watermark_limits()
    gc.collect()
    comfy.model_management.cleanup_models_gc()


class Graph:
    """What nodes do, without the server.

    Attributes:
        dynamic: whether dynamic VRAM is on.
        noise: ``[1, 16, T, H/8, W/8]``.
    """

    def __init__(self, folder: Path, small: bool, blocks: int) -> None:
        import comfy.memory_management
        import torch

        from benchmarks.step import load_pack_part

        self.folder, self.small, self.blocks, self.part = folder, small, blocks, load_pack_part
        self.dynamic = comfy.memory_management.aimdo_enabled
        _, _, frames, width, height = SIZES[small]
        latents = (frames + 3) // 4 + 1
        generator = torch.Generator().manual_seed(SEED)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        shape = (1, 16, latents, height // 8, width // 8)
        self.noise = random(*shape)
        values = {
            "concat_latent_image": random(*shape), "concat_mask": torch.ones(1, 4, *shape[2:]),
            "pose_video_latent": random(1, 16, latents - 1, *shape[3:]),
        }  # fmt: skip
        crops = random(1, 3, 1 if small else frames, 512, 512).clamp_(-1, 1)
        faces: tuple[dict[str, Any], dict[str, Any]] = (
            {"face_video_pixels": crops},
            {"face_video_pixels": torch.full_like(crops, -1.0)},
        )
        if small:  # a crop takes a CPU seconds
            faces = {}, {}
        self.conditioning = [[[random(1, 512, 4096) * 0.1, values | one]] for one in faces]

    def load(self, loader: str, file: str, compute: str) -> Any:
        import comfy.sd

        path = str(self.folder / f"{file}.safetensors")
        if loader == "unet":
            model = comfy.sd.load_diffusion_model(path)
        else:
            model = self.part("nodes.host.model").load_animate(path, KEPT.get(compute, "auto"))[0]
        if model.is_dynamic() != self.dynamic:
            raise RuntimeError(f"{file} was loaded {'without' if self.dynamic else 'with'} dynamic VRAM")
        if compute in CASTS:
            import torch

            model = model.clone()  # as the host's ModelComputeDtype does
            model.set_model_compute_dtype(getattr(torch, CASTS[compute]))
        return model

    def put(self, model: Any, node: str) -> Any:
        """A MODEL after a node: a name of :data:`HOST_NODES`, or of this pack's in short."""
        if node.startswith("accelerate"):
            kit = self.part("nodes.host.accelerate")
            known: dict[str, dict[str, Any]] = {
                "accelerate": {}, "accelerate all": {"reuse": "all"}, "accelerate fp8": {"matmul": "fp8 (row-wise)"},
                "accelerate compile": {"compile_blocks": True, "backend": "eager" if self.small else "inductor"},
            }  # fmt: skip
            return kit.accelerate(model, kit.Settings(**ACCELERATE | known[node]))
        if node == "faces":  # what the sampler's node does to any MODEL
            ports = self.part("nodes.host.ports")
            return ports.with_face_motion(ports.with_shift(model, 0))
        if node.startswith("offload"):
            kit = self.part("nodes.host.offload")
            if node == "offload blocks":
                return kit.offload(model, kit.Settings("blocks", self.blocks - 1))
            sizes = kit.offload(model, kit.Settings("blocks", self.blocks)).offloader.sizes
            plan = self.part("nodes.host.offload.plan")
            some = plan.card_bytes(sizes, plan.spread(self.blocks - 2, self.blocks))
            return kit.offload(model, kit.Settings("fit", gigabytes=self.gigabytes(sizes.rest + some)))
        if node.startswith("strength"):
            strength = self.part("wan_animate.chain.strength").Strength
            value = {"strength 1": 1.0, "strength half": 0.5}[node]
            given = strength(value, 0.0, 0.999)  # on in every step, but not put off as the default is
            return self.part("nodes.host.strength").with_strength(model, given, given)
        if node.startswith("lora"):
            how = "beside" if node == "lora beside" else "merge"
            path = str(self.folder / "lora.safetensors")
            return self.part("nodes.host.lora.apply").apply_lora(model, path, 1.0, mode=how, relighting=True)[0]
        return HOST_NODES[node](self, model)

    def gigabytes(self, weights: int) -> float:
        """GB for ``weights`` bytes, a step of this size (mostly the face encoder), and what the host still holds."""
        return round(weights / 1e9 + (0.1 if self.small else 2.8), 2)

    def sample(self, model: Any) -> tuple[torch.Tensor, float, float, float]:
        """(latent on the CPU, seconds in all, seconds of the last step, GB in use on the card after a step)"""
        import comfy.model_management
        import comfy.sample
        import torch

        self.part("nodes.host.ports").restore_schedule(model)  # else the host's second run has another schedule
        at, used = [time.perf_counter()], [0]

        def stepped(*_: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
                free, total = torch.cuda.mem_get_info()  # counts what comfy-aimdo has mapped, too
                used.append(total - free)
            at.append(time.perf_counter())

        out = comfy.sample.sample(
            model, self.noise, STEPS[self.small], 1.0, "euler", "simple", *self.conditioning,
            torch.zeros_like(self.noise), callback=stepped, disable_pbar=True, seed=SEED,
        )  # fmt: skip
        return out.float().cpu(), at[-1] - at[0], at[-1] - at[-2], max(used) / 1e9


def _node(module: str, name: str, *values: Any) -> Callable[[Graph, Any], Any]:
    def put(graph: Graph, model: Any) -> Any:
        kind = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
        if hasattr(kind, "patch"):
            return kind().patch(model, *values)[0]
        return kind.execute(model, *values).args[0]

    return put


def _host_lora(graph: Graph, model: Any) -> Any:
    import comfy.sd
    import comfy.utils

    lora = comfy.utils.load_torch_file(str(graph.folder / "lora.safetensors"), safe_load=True)
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0]


def _host_half(graph: Graph, model: Any) -> Any:
    """The weights that say how much pose and face add, halved by the host's own patches."""
    import torch

    clone, weights = model.clone(), model.model.state_dict()
    layers = ["pose_patch_embedding"]
    layers += [f"face_adapter.fuser_blocks.{index}.linear2" for index in range(graph.blocks // 5)]
    names = [f"diffusion_model.{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    clone.add_patches({name: (torch.zeros(weights[name].shape),) for name in names}, 1.0, 0.5)
    return clone


def _host_compile(graph: Graph, model: Any) -> Any:
    if not graph.small:
        return _node("nodes_torch_compile", "TorchCompileModel", "inductor")(graph, model)
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=model, backend="eager")
    return model


HOST_NODES: dict[str, Callable[[Graph, Any], Any]] = {
    "host lora": _host_lora,
    "host half": _host_half,
    "EasyCache": _node("nodes_easycache", "EasyCacheNode", 3.0, 0.0, 0.95, False),
    "LazyCache": _node("nodes_easycache", "LazyCacheNode", 3.0, 0.0, 0.95, False),
    "windows": _node(
        "nodes_context_windows", "WanContextWindowsManualNode", 13, 4, "standard_static", 1, False, "pyramid", False
    ),
    "NAG": _node("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5),
    "shift": _node("nodes_model_advanced", "ModelSamplingSD3", 5.0),
    "host compile": _host_compile,
}
