"""Loading the transformer."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from .host.folders import chosen, file_stamp, list_files, model_path, said
from .types import valid

FOLDER = "diffusion_models"
ENDINGS = (".safetensors", ".sft")
GGUF, GGUF_LOADER = ".gguf", "UnetLoaderGGUF"


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list_transformers()
        return io.Schema(
            node_id="WanAnimateKitLoadModel",
            display_name="Load Animate Model",
            category="WanAnimateKit",
            description=(
                "Loads Wan 2.2 Animate in any published form: bf16, fp16, fp8 (e4m3 and e5m2, plain and scaled), "
                "ComfyUI's quantized layouts, upstream's shards. What the file holds is read from the file, and a "
                "file that is something else is named before any weight is read. The MODEL samples in any KSampler."
            ),
            search_aliases=[
                "load diffusion model",
                "unet loader",
                "wan animate 14b",
                "transformer",
                "fp8 scaled",
                "kj",
            ],
            inputs=[
                io.Combo.Input(
                    "model",
                    display_name="model",
                    options=names,
                    default=next(
                        (name for name in names if "animate" in name.lower() and GGUF not in name.lower()), None
                    ),
                    tooltip=(
                        "A safetensors file in models/diffusion_models; of a model in several files the first, with "
                        "the others beside it. GGUF files are listed, but ComfyUI-GGUF loads them."
                    ),
                ),
                io.Combo.Input(
                    "precision",
                    display_name="precision",
                    options=["auto", "bf16", "fp16", "fp32", "fp8_e4m3fn", "fp8_e5m2"],
                    advanced=True,
                    tooltip=(
                        "What weights are kept in. auto keeps fp8 files fp8 and takes bf16 or fp16 for others, as the "
                        "card computes; fp8 halves the memory of a bf16 file at a loss. Scaled weights stay as they "
                        "are: then only bf16, fp16 and fp32 matter, for the rest."
                    ),
                ),
                io.Combo.Input(
                    "products",
                    display_name="fp8 layers",
                    options=["auto", "full precision", "fp8"],
                    advanced=True,
                    tooltip=(
                        "How fp8 weights are multiplied. auto does as ComfyUI does: scaled files in fp8 on cards that "
                        "can (RTX 40 and later), others unpacked. full precision always unpacks: slower, closer to "
                        "the bf16 model. fp8 is fastest."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="For Animate Character, Apply LoRA, or any node that takes a MODEL."
                ),
                io.String.Output(display_name="report", tooltip="What the file holds: size, precision, scaled layers."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        if model is None:
            return True
        if isinstance(model, str) and model.lower().endswith(GGUF):
            return valid(lambda: check_gguf(model))
        path = model_path(FOLDER, model)
        if path is None or not path.lower().endswith(ENDINGS):
            return (
                f"model {said(model)} is not a safetensors file in models/{FOLDER}: download it there (its link is in "
                "the help of this node), press R and choose it."
            )
        return valid(lambda: check_transformer(path))

    @classmethod
    def fingerprint_inputs(cls, model: str, precision: str, products: str) -> list[tuple[int, ...] | None]:
        from .host.graph import all_shards

        path = model_path(FOLDER, model)
        return [file_stamp(shard) for shard in all_shards(path)] if path is not None else []

    @classmethod
    def execute(cls, model: str, precision: str = "auto", products: str = "auto") -> io.NodeOutput:
        from .host.model import load_animate

        path = chosen(model_path(FOLDER, model), model, "model")
        patcher, file = load_animate(path, precision, products)
        return io.NodeOutput(patcher, file.summary())


def check_transformer(path: str) -> None:
    """Raises InputError unless the file's header is that of a whole Wan 2.2 Animate."""
    from ..wan_animate.weights.header import read_model_header
    from ..wan_animate.weights.transformer import read_animate

    read_animate(read_model_header(path))


def check_gguf(model: str) -> None:
    """Raises InputError: another node loads such files."""
    from ..wan_animate.errors import InputError
    from ..wan_animate.weights.gguf import refuse_gguf
    from .host.graph import is_installed

    path = model_path(FOLDER, model)
    if path is None:
        raise InputError(
            f"model {said(model)} is a GGUF file: load it with a GGUF loader node (for instance Unet Loader (GGUF) of "
            "ComfyUI-GGUF) and connect its MODEL."
        )
    refuse_gguf(path, is_installed(GGUF_LOADER))


def list_transformers() -> list[str]:
    """Safetensors files in models/diffusion_models, of sharded models the first shard; then GGUF files, so that
    choosing one says which node loads it."""
    from ..wan_animate.weights.header import is_later_shard

    names = folder_paths.get_filename_list(FOLDER)
    listed = [name for name in names if name.lower().endswith(ENDINGS) and not is_later_shard(name)]
    return listed + list_files(FOLDER, GGUF)
