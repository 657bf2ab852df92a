"""What the nodes ask the host for, in one process: memory, Cancel, the graph they stand in."""

import inspect

import numpy as np
import pytest

from demo.importing import ROOT


def test_more_frames_than_memory_are_refused(pack_nodes):
    node = pack_nodes["WanAnimateKitFramesToImage"]
    from wan_animate_kit_pack.wan_animate.errors import InputError as HostInputError
    from wan_animate_kit_pack.wan_animate.pose.draw import DrawnPoseSource as HostDrawn
    from wan_animate_kit_pack.wan_animate.pose.track import PoseTrack as HostTrack

    huge = HostDrawn(HostTrack(np.zeros((20_000, 133, 3), np.float32), 8192, 8192))
    sentence = r"limit: 20000 frames of 8192x8192 take 16106.1 GB of memory and [\d.]+ GB are free: set limit to \d+"
    with pytest.raises(HostInputError, match=sentence):
        node.execute(huge, 0, 0)


def test_cancel_is_noticed_at_every_report(pack, interrupt):
    import comfy.model_management as management
    from wan_animate_kit_pack.nodes.host.progress import progress_bar

    report = progress_bar(10)
    report(1, 10)
    interrupt()
    with pytest.raises(management.InterruptProcessingException):
        report(2, 10)
    report(3, 10)  # the host takes the wish back once it was heard


def test_graph_signature_follows_the_values_and_nothing_else(pack):
    import folder_paths
    from wan_animate_kit_pack.nodes.host.graph import graph_signature

    folder = folder_paths.get_folder_paths("text_encoders")[0]
    (ROOT / folder).mkdir(parents=True, exist_ok=True)
    file = ROOT / folder / "encoder.safetensors"
    file.write_bytes(bytes(1_000_000))

    def signature(loader: str = "1", user: str = "2", name: str = file.name, **more) -> str:
        prompt = {
            loader: {"class_type": "CLIPLoader", "inputs": {"clip_name": name, "type": "wan", **more}},
            user: {"class_type": "Node", "inputs": {"clip": [loader, 0], "text": "x"}, "_meta": {"title": user}},
            "9": {"class_type": "Other", "inputs": {"text": str(more)}},
        }
        return graph_signature(prompt, user, "clip")

    same = signature()
    assert same == signature("20", "30") and len(same) == 32
    assert same != signature(device="cpu") and same != signature(name="none.safetensors")
    file.touch()
    assert same == signature(), "a file that was copied or downloaded again is the same file"
    changed = bytearray(1_000_000)
    changed[500_000:520_000] = b"1" * 20_000
    file.write_bytes(changed)
    assert same != signature()


@pytest.mark.parametrize("linked", [False, True], ids=["as a value", "by a link"])
def test_a_job_begun_with_a_removed_kernel_begins_anew(pack, linked):
    """Its segments would show two kernels: the key is neither that of the job then, nor one that both share."""
    from types import SimpleNamespace

    from wan_animate_kit_pack.nodes.host.accelerate import attention
    from wan_animate_kit_pack.nodes.host.graph import graph_signature
    from wan_animate_kit_pack.nodes.host.jobs import model_signature

    def signatures(choice: str) -> tuple[str, str]:
        """(As an earlier version had it, as it is now.)"""
        prompt = {
            "1": {"class_type": "WanAnimateKitLoadModel", "inputs": {"model": "none.safetensors"}},
            "2": {"class_type": "PrimitiveString", "inputs": {"value": choice}},
            "3": {
                "class_type": "WanAnimateKitAccelerate",
                "inputs": {"model": ["1", 0], "attention": ["2", 0] if linked else choice},
            },
            "4": {"class_type": "WanAnimateKitAnimate", "inputs": {"model": ["3", 0], "seed": 1}},
        }
        hidden = SimpleNamespace(prompt=prompt, dynprompt=None, unique_id="4")
        return graph_signature(prompt, "4", "model"), model_signature(hidden, {"model": None})

    for choice in attention.CHOICES[:-1]:
        then, now = signatures(choice)
        assert then == now, f"a half-finished job with {choice} goes on"
    keys = [key for choice in ("fp8 (Triton)", attention.APPROXIMATE) for key in signatures(choice)]
    assert len(set(keys)) == 4


def test_linked_inputs_pass_every_validation(pack_nodes):
    """ComfyUI gives None for an input that another node feeds."""
    checked = []
    for node_id, node in pack_nodes.items():
        if "validate_inputs" in vars(node):
            names = [name for name in inspect.signature(node.validate_inputs).parameters]
            assert node.validate_inputs(**dict.fromkeys(names)) is True, node_id
            checked.append(node_id)
    assert "WanAnimateKitAccelerate" in checked and len(checked) > 5
