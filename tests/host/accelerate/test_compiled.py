"""Compiled blocks."""

import logging

import pytest
import torch

from ...support.steps import relative, sample


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.accelerate")


def blocks_of(clone):
    import comfy.patcher_extension

    (wrapper,) = clone.get_wrappers(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "torch.compile")
    return wrapper.__self__


@pytest.mark.parametrize("attention, reuse", [("host default", "off"), ("sdpa flash", "all")])
def test_compiled_blocks_make_the_same(kit, model, faceless, plain, caplog, attention, reuse):
    """With a backend that compiles nothing: the same bits."""
    torch._dynamo.reset()
    uncompiled = kit.accelerate(model, kit.Settings(attention=attention, reuse=reuse))
    theirs = plain if attention == "host default" else sample(uncompiled, faceless)
    clone = kit.accelerate(model, kit.Settings(attention, reuse=reuse, compile_blocks=True, backend="eager"))
    before = {name: set(vars(part)) for name, part in model.model.named_modules()}
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert torch.equal(sample(clone, faceless), theirs)
    compiled = blocks_of(clone)
    assert compiled.failed is None and len(compiled.blocks) == 5
    assert compiled.graphs > 0
    said = caplog.text.count("blocks compiled into")
    if attention == "host default":  # which on a CPU asks for free memory, leaves the graph, and may go another way
        assert said >= 1
    else:
        assert compiled.breaks == 0
        assert compiled.graphs <= 2, "the blocks share what was compiled, and so do the steps and the runs"
        assert said == 1
    assert {name: set(vars(part)) for name, part in model.model.named_modules()} == before
    assert type(model.model.diffusion_model.blocks[0]).__name__ == "WanAttentionBlock"
    off = kit.without(clone.clone())
    assert not any(off.wrappers[kind] for kind in off.wrappers) and "torch_compile_kwargs" not in off.model_options


def test_a_machine_that_cannot_compile_goes_on_without(kit, model, faceless, plain, caplog):
    torch._dynamo.reset()

    def backend(graph, inputs):
        raise RuntimeError("no compiler is installed")

    clone = kit.accelerate(model, kit.Settings(compile_blocks=True, backend=backend))
    assert torch.equal(sample(clone, faceless), plain)
    assert "no compiler is installed" in blocks_of(clone).failed
    assert caplog.text.count("blocks cannot be compiled here") == 1
    assert torch.equal(sample(clone, faceless), plain)


def test_an_error_of_the_run_itself_is_not_taken_for_that(kit, model, faceless, plain):
    torch._dynamo.reset()
    clone = kit.accelerate(model, kit.Settings("sdpa flash", compile_blocks=True, backend="eager"))

    def stop(args):
        raise InterruptedError("stop")

    stopped = clone.clone()
    stopped.set_model_patch(stop, "double_block")
    with pytest.raises(InterruptedError):
        sample(stopped, faceless)
    assert blocks_of(clone).failed is None
    assert type(model.model.diffusion_model.blocks[0]).__name__ == "WanAttentionBlock"
    assert relative(sample(clone, faceless), plain) < 0.02


@pytest.mark.parametrize("theirs_first", [True, False])
def test_with_the_hosts_compile_node(kit, model, faceless, plain, theirs_first):
    """The host compiles the whole model; of two compile nodes the later one counts."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()

    def host_compiled(one):
        one = one.clone()
        set_torch_compile_wrapper(one, backend="eager")
        return one

    settings = kit.Settings(attention="sdpa flash", reuse="all")
    clone = kit.accelerate(host_compiled(model), settings) if theirs_first else host_compiled(
        kit.accelerate(model, settings)
    )  # fmt: skip
    assert relative(sample(clone, faceless), plain) < 0.02
    if not theirs_first:
        both = host_compiled(kit.accelerate(model, kit.Settings(compile_blocks=True, backend="eager")))
        wrappers = both.wrappers["apply_model"]["torch.compile"]
        assert len(wrappers) == 1 and not hasattr(wrappers[0], "__self__")
