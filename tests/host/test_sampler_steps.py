"""uni_pc with one step is refused."""

import pytest
import torch

from ..support.steps import HEIGHT, WIDTH, conditioning


def by_uni_pc(model, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    import comfy.sample

    noise = torch.randn(1, 16, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(5))
    made = comfy.sample.sample(
        model, noise, steps, 1.0, "uni_pc", "simple", *conditioning(face=False), torch.zeros_like(noise),
        disable_pbar=True, seed=1,
    )  # fmt: skip
    return made.float(), noise


def test_the_hosts_uni_pc_gives_noise_for_one_step(model):
    alike = {}
    for steps in (1, 4):
        made, noise = by_uni_pc(model, steps)
        alike[steps] = float(torch.nn.functional.cosine_similarity(made.flatten(), noise.flatten(), dim=0))
    assert alike[1] > 0.8 > 0.5 > abs(alike[4]), alike


@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_one_step_of_uni_pc_is_refused_in_a_sentence(pack_module, model, name):
    ports = pack_module("nodes.host.ports")
    prompt = [[torch.zeros(1, 512, 4096), {}]]
    with pytest.raises(ValueError, match="steps is 1, but uni_pc.* set steps to 2 or more"):
        ports.HostDenoiser(model, prompt, prompt, None, 1, 1.0, name, "simple", 5.0, 0)
    ports.HostDenoiser(model, prompt, prompt, None, 2, 1.0, name, "simple", 5.0, 0)
    ports.HostDenoiser(model, prompt, prompt, None, 1, 1.0, "euler", "simple", 5.0, 0)
