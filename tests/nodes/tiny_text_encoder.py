"""Nodes for tests, put among a test server's custom nodes.

A text encoder of the host's own classes, made small, whose weights follow from a file; a digest of a CONDITIONING; and
a prompt and picture features of Wan's widths that follow from a file. As the host's loaders they do not look again.
"""

import hashlib

import comfy.sd
import folder_paths
import torch
from comfy import sd1_clip
from comfy.clip_vision import Output

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "projection_dim": 64,
}


class TinyTextEncoder:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": (folder_paths.get_filename_list("text_encoders"),)}}

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load"
    CATEGORY = "tests"

    def load(self, file):
        class Target:
            params = {}
            clip = sd1_clip.SD1ClipModel
            tokenizer = sd1_clip.SD1Tokenizer

        clip = comfy.sd.CLIP(Target, model_options={"clip_l_model_config": SMALL})
        with open(folder_paths.get_full_path_or_raise("text_encoders", file), "rb") as source:
            seed = int.from_bytes(hashlib.blake2b(source.read(), digest_size=7).digest(), "big")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in clip.cond_stage_model.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
        return (clip,)


class ConditioningDigest:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",)}}

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True
    CATEGORY = "tests"

    def show(self, conditioning):
        parts = []
        for embedding, values in conditioning:
            for name, value in sorted({"cond": embedding, **values}.items()):
                if isinstance(value, torch.Tensor):
                    digest = hashlib.blake2b(value.cpu().numpy().tobytes()).hexdigest()
                    value = f"{list(value.shape)} {value.dtype} {digest}"
                parts.append(f"{name}: {value}")
        return {"ui": {"text": ["\n".join(parts)]}}


def numbers_of(folder, file, shape):
    with open(folder_paths.get_full_path_or_raise(folder, file), "rb") as source:
        seed = int.from_bytes(hashlib.blake2b(source.read(), digest_size=7).digest(), "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class PromptOfFile:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING",)}}

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"
    CATEGORY = "tests"

    def encode(self, file):
        return ([[numbers_of("text_encoders", file, (1, 8, 4096)), {}]],)


class FeaturesOfFile:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING",)}}

    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)
    FUNCTION = "encode"
    CATEGORY = "tests"

    def encode(self, file):
        output = Output()
        output.penultimate_hidden_states = numbers_of("clip_vision", file, (1, 257, 1280))
        return (output,)


NODE_CLASS_MAPPINGS = {
    "TestTinyTextEncoder": TinyTextEncoder,
    "TestConditioningDigest": ConditioningDigest,
    "TestPromptOfFile": PromptOfFile,
    "TestFeaturesOfFile": FeaturesOfFile,
}
