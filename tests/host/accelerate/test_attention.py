"""Choice of attention by measurement."""

import functools
import logging
import re
import time

import pytest
import torch
import torch.nn.functional as F

from ...support.steps import relative, sample

HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.accelerate")


@pytest.fixture
def attention(pack_module):
    module = pack_module("nodes.host.accelerate.attention")
    module.forget_winners()
    yield module
    module.forget_winners()


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 40, 4 * 16, generator=generator) for _ in range(3)]


def exact(q, k, v, heads, **kwargs):
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def after(seconds):
    def run(*args, **kwargs):
        time.sleep(seconds)
        return exact(*args, **kwargs)

    return run


def coarse(q, k, v, heads, **kwargs):
    return exact((q * 4).round() / 4, k, v, heads)


def test_where_memory_is_short_fewer_heads_are_measured(attention, monkeypatch, caplog):
    import comfy.ldm.modules.attention as host

    monkeypatch.setattr(attention, "SMALL", 0)
    q, k, v = torch.randn(3, 1, 40, 16 * 16, generator=torch.Generator().manual_seed(1)).unbind()
    real, asked = host.attention_pytorch, []

    def full(q, k, v, heads, *args, **kwargs):
        asked.append(heads)
        if heads > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return real(q, k, v, heads, *args, **kwargs)

    monkeypatch.setattr(host, "attention_pytorch", full)
    candidates = [attention.Backend("quick", exact, True)]
    most = 2
    with caplog.at_level(logging.INFO):
        assert attention.measure(after(0.1), q, k, v, 16, candidates) == "quick"
    assert asked == [8, 2] and "2 of 16 heads" in caplog.text
    most = 0
    with caplog.at_level(logging.INFO):
        assert attention.measure(after(0.1), q, k, v, 16, candidates) == attention.HOST_DEFAULT
    assert "no memory to measure attention over 40 x 40 tokens" in caplog.text


def test_the_difference_is_that_of_all_tokens(attention, monkeypatch):
    monkeypatch.setattr(attention, "COMPARED_TOKENS", 7)
    one, other = torch.randn(2, 1, 40, 64, generator=torch.Generator().manual_seed(1)).unbind()
    assert attention._relative_error(one, other) == pytest.approx(float((one - other).norm() / other.norm()), rel=1e-6)
    with pytest.raises(ValueError, match=r"gave \[1, 39, 64\]"):
        attention._relative_error(one[:, 1:], other)


def test_the_fastest_that_is_right_is_taken(attention, qkv, caplog):
    def broken(*_):
        raise RuntimeError("no kernel image is available")

    candidates = [
        attention.Backend("slow", after(0.2), True),
        attention.Backend("quick", after(0.05), True),
        attention.Backend("broken", broken, True),
        attention.Backend("wrong", lambda q, k, v, heads: v, True),
        attention.Backend("not a number", lambda q, k, v, heads: v * float("nan"), True),
        attention.Backend("too coarse to be exact", coarse, True),
        attention.Backend("misshapen", lambda q, k, v, heads: exact(q, k, v, heads)[:, :-1], True),
    ]
    with caplog.at_level(logging.INFO):
        assert attention.measure(after(0.4), *qkv, 4, candidates) == "quick"
    assert "Taken: quick" in caplog.text and "wrong out" in caplog.text
    assert attention.measure(exact, *qkv, 4, candidates) == attention.HOST_DEFAULT
    assert attention.measure(exact, *qkv, 4, candidates[2:]) == attention.HOST_DEFAULT
    # a host that was started with an approximate attention: not what "exact" means, however fast
    assert attention.measure(coarse, *qkv, 4, candidates) == "quick"


def test_approximate_kernels_only_by_choice(attention, qkv):
    """With a function registered in sage's place."""
    import comfy.ldm.modules.attention as host

    before = host.REGISTERED_ATTENTION_FUNCTIONS.get("sage")
    host.REGISTERED_ATTENTION_FUNCTIONS["sage"] = coarse
    try:
        exactly = attention.Attention(attention.AUTO)
        assert exactly.candidates and all(one.exact for one in exactly.candidates.values())
        roughly = attention.Attention(attention.APPROXIMATE)
        roughly.candidates = {"sage": roughly.candidates["sage"]}
        assert torch.equal(roughly.attend(after(0.2), *qkv, 4), coarse(*qkv, 4))
        # where the model says that it wants no such thing
        assert torch.equal(roughly.attend(exact, *qkv, 4, low_precision_attention=False), exact(*qkv, 4))
        assert torch.equal(attention.Attention("sage").attend(exact, *qkv, 4), coarse(*qkv, 4))
    finally:
        host.REGISTERED_ATTENTION_FUNCTIONS.pop("sage")
        if before is not None:
            host.REGISTERED_ATTENTION_FUNCTIONS["sage"] = before


def test_a_kernel_that_fails_in_a_run_is_replaced(attention, qkv, caplog):
    chosen = attention.Attention("sdpa efficient")  # a card's, which a CPU does not have
    assert torch.equal(chosen.attend(exact, *qkv, 4), exact(*qkv, 4))
    assert caplog.text.count("the host's attention is used") == 1
    assert torch.equal(chosen.attend(exact, *qkv, 4), exact(*qkv, 4))
    assert caplog.text.count("the host's attention is used") == 1, "said once for a shape"


def test_unusual_calls_go_to_the_host_as_they_are(attention, qkv):
    chosen, seen = attention.Attention("sdpa flash"), []

    def host(*args, **kwargs):
        seen.append((args[3:], kwargs))
        return exact(*args[:3], args[3])

    mask = torch.zeros(40, 40)
    chosen(host, *qkv, 4, mask=mask, transformer_options={})
    chosen(host, *qkv, 4, scale=0.5)
    chosen(host, *qkv, 4)
    assert len(seen) == 2
    assert seen[0][1]["mask"] is mask and seen[1][1]["scale"] == 0.5


def test_what_is_not_installed_is_said(kit, attention, model):
    missing = [name for name in attention.CHOICES[2:-1] if name not in attention.available()]
    assert missing, "no machine has all of them"
    with pytest.raises(Exception, match=re.escape(f"attention is {missing[0]}, but that is not installed here")):
        kit.accelerate(model, kit.Settings(attention=missing[0]))
    with pytest.raises(Exception, match="must be one of"):
        kit.accelerate(model, kit.Settings(attention="fastest"))


def test_a_removed_choice_of_a_saved_workflow_still_runs(kit, attention, model, pack_nodes, caplog):
    node = pack_nodes["WanAnimateKitAccelerate"]
    assert node.validate_inputs("fp8 (Triton)") is True and node.validate_inputs(attention.AUTO) is True
    assert "must be one of" in node.validate_inputs("fastest")
    clone = kit.accelerate(model, kit.Settings(attention="fp8 (Triton)"))
    assert kit.settings_of(clone).attention == attention.APPROXIMATE
    assert "fp8 (Triton) was removed: auto (approximate too) is used" in caplog.text


def test_a_run_measures_every_shape_once_and_says_what_it_took(kit, attention, model, faceless, caplog):
    theirs = sample(model, faceless)
    clone = kit.accelerate(model, kit.Settings(attention=attention.AUTO))
    with caplog.at_level(logging.INFO):
        assert relative(sample(clone, faceless), theirs) < 0.02
        # itself, the text; the small graph has no CLIP tokens
        assert caplog.text.count("Taken: ") == len(attention._winners) >= 2
        said = len(caplog.text)
        sample(kit.accelerate(model, kit.Settings(attention=attention.AUTO)), faceless)
        assert "Taken: " not in caplog.text[said:], "measured once a process, not once a clone"


def test_another_packs_override_stays_in_charge(kit, attention, model, faceless):
    calls = []

    def theirs(func, *args, **kwargs):
        calls.append(func)
        return func(*args, **kwargs)

    patched = model.clone()
    patched.model_options["transformer_options"][kit.OVERRIDE] = theirs
    clone = kit.accelerate(patched, kit.Settings(attention="sdpa flash"))
    again = kit.accelerate(clone, kit.Settings(attention="sdpa flash"))
    expected = sample(kit.accelerate(model, kit.Settings(attention="sdpa flash")), faceless)
    for one in (clone, again):
        calls.clear()
        assert torch.equal(sample(one, faceless), expected)
        # 5 blocks of 3 attentions, 2 steps, and what they were given is ours
        assert len(calls) == 5 * 3 * 2 and isinstance(calls[0], functools.partial)
    assert kit.without(clone.clone()).model_options["transformer_options"][kit.OVERRIDE] is theirs


def test_in_compiled_code_attention_is_one_operation(attention, qkv):
    chosen = attention.Attention("sdpa flash")

    def block(q, k, v):
        return chosen(exact, q * 2, k, v, 4) + 1

    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        assert torch.allclose(compiled(*qkv), exact(qkv[0] * 2, *qkv[1:], 4) + 1, atol=1e-5)


def test_another_servers_choice_is_taken_without_timing(attention, qkv, monkeypatch):
    calls = []

    def slow(*args):
        calls.append(1)
        return after(0.02)(*args)

    override = attention.Attention(attention.AUTO)
    override.candidates = {"sdpa flash": attention.Backend("sdpa flash", slow, True)}
    override.compute(exact, *qkv, 4)
    ((shape, taken),) = attention.winners().items()
    assert taken == attention.HOST_DEFAULT and calls
    calls.clear()
    attention.agree({shape: "sdpa flash", "another": "nonsense", 3: 4})
    with monkeypatch.context() as patch:
        patch.setattr(attention, "measure", None)
        override.compute(exact, *qkv, 4)
    assert attention.winners() == {shape: "sdpa flash"} and calls == [1]
    for given in (None, ["x"], {shape: "flash-attn 3"}):  # the last is not here
        attention.agree(given)
        override.compute(exact, *qkv, 4)
    assert attention.winners() == {shape: attention.HOST_DEFAULT}


def test_a_choice_for_other_packages_is_not_taken_without_a_word(attention, qkv, caplog):
    override = attention.Attention(attention.AUTO)
    override.candidates = {"sdpa flash": attention.Backend("sdpa flash", after(0.02), True)}
    override.compute(exact, *qkv, 4)
    ((shape, taken),) = attention.winners().items()
    attention.agree({shape: taken})
    override.compute(exact, *qkv, 4)
    assert attention.unmatched() == [] and "another server" not in caplog.text
    theirs = shape.replace("'sdpa flash'", "'sdpa flash', 'xformers'")
    attention.agree({theirs: "xformers"})
    override.compute(exact, *qkv, 4)
    override.compute(exact, *qkv, 4)
    assert attention.unmatched() == [shape] and attention.winners() == {shape: taken}
    assert caplog.text.count("another server chose for this clip is for another kind of card or other packages") == 1
    attention.agree(None)  # the next job brings nothing along
    override.compute(exact, *qkv, 4)
    assert attention.unmatched() == []


def test_without_a_hopper_card_our_kernel_is_not_listed(attention, monkeypatch):
    """The card that ComfyUI computes on, which may be the CPU beside one."""
    import comfy.model_management

    gluon = attention.gluon_attention
    device = torch.device("cpu")
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: device)
    assert "but the device is cpu" in gluon.missing(device)
    assert attention.GLUON not in attention.available()
    if HOPPER:
        device = torch.device("cuda")
        assert attention.GLUON in attention.available()
    monkeypatch.setattr(gluon, "missing", lambda device: None)
    assert attention.available(attention.GLUON)[attention.GLUON].exact


def test_without_a_card_nothing_is_compiled(attention, model):
    before = set(attention.compile_ahead._started)
    attention.compile_kernel(model, attention.AUTO)
    assert HOPPER or set(attention.compile_ahead._started) == before
