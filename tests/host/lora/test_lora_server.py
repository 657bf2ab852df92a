"""The LoRA nodes on a running server."""

import pytest
import torch
from safetensors.torch import save_file

from ...support.lora_files import pairs, spelled


def test_on_a_server(host_server, small_models):
    """Load Animate Model -> Apply Relighting LoRA -> Apply LoRA, by file names."""
    import json

    from demo.server import PromptFailed, PromptRejected

    folder = host_server.base_dir / "models" / "loras" / "wan"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": spelled(pairs(), "peft")}, folder / "relighting_lora.ckpt")
    save_file(spelled(pairs(["blocks.0.ffn.0"]), "kohya"), folder / "small.safetensors")

    def run(first="wan/relighting_lora.ckpt", second="wan/small.safetensors"):
        rest = {"strength": 0.8, "start": 0.0, "end": 1.0, "blocks": "", "apply": "auto"}
        return host_server.run({
            "1": {"class_type": "WanAnimateKitLoadModel",
                  "inputs": {"model": small_models.transformer.name, "precision": "auto", "products": "auto"}},
            "2": {"class_type": "WanAnimateKitRelightLora", "inputs": {"model": ["1", 0], "lora": first, **rest}},
            "3": {"class_type": "WanAnimateKitApplyLora", "inputs": {"model": ["2", 0], "lora": second, **rest}},
            "4": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
            "5": {"class_type": "PreviewAny", "inputs": {"source": ["3", 1]}},
        })  # fmt: skip

    text = json.dumps(run())
    assert "60 of 60 layers, rank 4, strength 0.8, merged" in text and "1 of 1 layers, rank 4" in text
    with pytest.raises(PromptFailed, match="small.safetensors is not the relighting LoRA: it changes 1 of the 60"):
        run("wan/small.safetensors")
    with pytest.raises(PromptRejected, match="is not in models/loras"):
        run("../vae/" + small_models.vae.name)
