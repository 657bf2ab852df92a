"""Memory of Offload Animate Blocks."""

import gc
import itertools
import weakref

import pytest
import torch

from ...support.lora_files import BLOCKS
from ...support.steps import sample


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.offload")


@pytest.fixture(scope="module")
def memory(pack_module):
    return pack_module("nodes.host.offload.memory")


@pytest.fixture(scope="module")
def plan(pack_module):
    return pack_module("nodes.host.offload.plan")


@pytest.fixture(scope="module")
def load(comfy, small_models):
    import nodes

    return lambda: nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]


@pytest.fixture(scope="module")
def model(load):
    return load()


def blocks_of(model):
    return model.model.diffusion_model.blocks


# -- the host's memory management


def test_the_host_counts_what_is_on_the_card_and_no_more(kit, model, faceless):
    import comfy.model_management

    whole = model.model_size()
    clone = kit.offload(model, kit.Settings("blocks", 3))
    sizes, block = clone.offloader.sizes, clone.offloader.sizes.blocks[0]
    assert sizes.rest + sizes.total == pytest.approx(whole, rel=0.001) and len(sizes.blocks) == BLOCKS
    assert clone.model_size() == sizes.rest + 2 * block + block + sizes.fusers[0], "two stay, a slot, a face block's"
    comfy.model_management.load_models_gpu([clone])
    assert clone.loaded_size() == pytest.approx(sizes.rest, rel=0.001), "blocks come when a step needs them"
    sample(clone, faceless)
    assert clone.loaded_size() == pytest.approx(sizes.rest + 2 * block, rel=0.001)
    every = kit.offload(clone, kit.Settings("blocks", BLOCKS))
    assert every.model_size() == sizes.rest + 2 * block + sizes.fusers[0]
    none = kit.offload(every, kit.Settings("blocks", 0))
    assert none.model_size() == pytest.approx(whole, rel=0.001)


def test_the_host_takes_blocks_off_when_it_wants_room(kit, model, faceless, plain):
    clone = kit.offload(model, kit.Settings("blocks", 2))
    sample(clone, faceless)
    block = clone.offloader.sizes.blocks[0]
    assert len(clone.offloader.resident) == 3
    before = clone.loaded_size()
    assert clone.partially_unload(torch.device("cpu"), block + 1) == 2 * block
    assert len(clone.offloader.resident) == 1 and clone.loaded_size() == before - 2 * block
    assert torch.equal(sample(clone, faceless), plain) and len(clone.offloader.resident) == 3
    # more than the blocks: the rest of the model goes as the host lets any model go
    assert clone.partially_unload(torch.device("cpu"), 3 * block + 1000) > 3 * block
    assert not clone.offloader.resident
    assert torch.equal(sample(clone, faceless), plain)


def test_unloading_all_models_and_sampling_again(kit, model, faceless, plain):
    import comfy.model_management as host

    clone = kit.offload(model, kit.Settings("blocks", 3))
    sample(clone, faceless)
    assert any(one.model is clone for one in host.current_loaded_models)
    host.unload_all_models()
    assert not any(one.model is clone for one in host.current_loaded_models)
    assert not clone.offloader.resident and clone.loaded_size() == 0
    assert torch.equal(sample(clone, faceless), plain)


def test_another_model_drives_it_out(kit, load, model, faceless, plain):
    import comfy.model_management as host

    clone, other = kit.offload(model, kit.Settings("blocks", 3)), load()
    sample(clone, faceless)
    host.free_memory(1e30, torch.device("cpu"))  # what loading a model that needs everything does first
    host.load_models_gpu([other])
    assert not clone.offloader.resident and clone.loaded_size() == 0
    assert torch.equal(sample(clone, faceless), plain)


def test_with_less_room_than_the_blocks_need_more_are_copied(kit, model, faceless, plain):
    import comfy.model_management as host

    host.unload_all_models()
    clone = kit.offload(model, kit.Settings("blocks", 0))
    sizes = clone.offloader.sizes
    clone.partially_load(clone.load_device, sizes.rest + 3 * sizes.block(1) + sizes.block(0))
    out = sample(clone, faceless)  # whose own loading finds more
    assert torch.equal(out, plain) and not clone.offloader.plan
    clone.offloader.drop()
    clone.offloader.available = 3 * sizes.block(0)
    module = clone.model.diffusion_model
    clone.offloader._prepare(clone, module, torch.zeros(1, 36, 3, 6, 8))
    assert 0 < len(clone.offloader.plan) < BLOCKS and clone.offloader.resident_size <= clone.offloader.available
    clone.offloader.available = 0
    clone.offloader._prepare(clone, module, torch.zeros(1, 36, 3, 6, 8))
    assert len(clone.offloader.plan) == BLOCKS
    clone.offloader.end()


def test_a_card_that_is_full_before_all_are_on_it(kit, model, faceless, plain, monkeypatch, pack_module):
    copy_queue = pack_module("nodes.host.offload.copy_queue")
    clone, new_slot, asked = kit.offload(model, kit.Settings("blocks", 1)), copy_queue.CopyStream.new_slot, []

    def full(copies, size):
        asked.append(size)
        if len(clone.offloader.resident) == 2 and len(asked) == 4:  # after two blocks and the slot
            raise torch.cuda.OutOfMemoryError("full")
        return new_slot(copies, size)

    monkeypatch.setattr(copy_queue.CopyStream, "new_slot", full)
    assert torch.equal(sample(clone, faceless), plain)
    assert len(asked) > 4 and len(clone.offloader.plan) > 1 and len(clone.offloader.resident) < 4
    assert torch.equal(sample(clone, faceless), plain) and len(clone.offloader.plan) == 1, "there is room again"


def test_blocks_that_a_loader_has_put_elsewhere_come_to_host_memory(kit, load):
    own = load()
    clone = kit.offload(own, kit.Settings("blocks", BLOCKS))
    blocks_of(own)[1].to("meta")  # the one other device there is here
    with pytest.raises(NotImplementedError, match="meta"):  # which only shows that they are fetched from there
        clone.load(clone.load_device, full_load=True)


def test_a_clone_of_a_clone_has_a_state_of_its_own(kit, model, faceless):
    import comfy.patcher_extension

    first = kit.offload(model, kit.Settings("blocks", 3))
    second = first.clone()
    assert type(second) is type(first) and isinstance(second, type(model))
    assert second.offloader is not first.offloader and second.offloader._patcher() is second
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    (wrapper,) = second.get_wrappers(kind, kit.KEY)
    assert wrapper.__self__ is second.offloader
    sample(second, faceless)
    assert second.offloader.resident and not first.offloader.resident
    state = weakref.ref(second.offloader)
    del second, wrapper
    gc.collect()
    assert state() is None, "what was on the card is gone with the clone"


# -- host memory


def test_blocks_are_moved_into_their_mapping_once(kit, memory, load, faceless):
    """By the first run of any clone."""
    import comfy.model_management as host

    gc.collect()
    before, own = len(memory._regions), load()
    first = kit.offload(own, kit.Settings("blocks", 3))
    sample(first, faceless)
    copied = sorted(first.offloader.plan)
    assert len(memory._regions) - before == len(copied), "the blocks that are copied; without a face no face block"
    places = [blocks_of(own)[index].ffn[0].weight.data_ptr() for index in copied]
    sample(first, faceless)
    host.unload_all_models()
    second = kit.offload(own, kit.Settings("blocks", BLOCKS))
    sample(second, faceless)
    assert [blocks_of(own)[index].ffn[0].weight.data_ptr() for index in copied] == places
    assert len(memory._regions) - before == BLOCKS
    one = blocks_of(own)[0]
    assert len({tensor.untyped_storage().data_ptr() for tensor in one.parameters()}) == 1, "no tensor left elsewhere"
    tensors = kit.modules_of(own.model.diffusion_model)[0][0].tensors()
    assert memory.region_of(tensors).numel() == memory.layout(tensors)[1]
    assert not memory.region_of(tensors).is_pinned() and not memory.register(memory.region_of(tensors)), "no card here"
    # without a card to lock memory for nothing is counted
    assert (memory.PinnedMemory.count, memory.PinnedMemory.size) == (0, 0)
    del first, second, one, tensors
    gc.collect()
    assert len(memory._regions) - before == BLOCKS, "the model is still there"
    del own
    gc.collect()
    assert len(memory._regions) == before, "and now it is not"


def test_what_is_registered_ends_before_the_memory_does(memory):
    """With calls to the CUDA driver recorded."""
    tensors = [torch.nn.Parameter(torch.randn(64, 64)), torch.randn(3)]
    made = memory.pack(tensors)
    assert all(torch.equal(one, other) for one, other in zip(made, tensors))
    assert [type(one) for one in made] == [torch.nn.Parameter, torch.Tensor]
    flat = memory.region_of(made)
    assert flat.numel() == memory.layout(tensors)[1] and memory.region_of(tensors) is None
    region, seen = memory._regions[flat.data_ptr()], []
    weakref.finalize(region, lambda: seen.append(True))
    del region, flat
    gc.collect()
    kept = made.pop()
    del made
    gc.collect()
    assert not seen and kept.shape == (3,), "one tensor of it is enough"
    del kept
    gc.collect()
    assert seen


def test_a_model_that_is_loaded_whole_takes_its_weights_along(kit, memory, load, faceless):
    """Another node replaces the tensors: their region is freed, and made anew."""
    gc.collect()
    before, own = len(memory._regions), load()
    clone = kit.offload(own, kit.Settings("blocks", BLOCKS))
    sample(clone, faceless, 1)
    for part in blocks_of(own)[1].modules():
        for name, tensor in part._parameters.items():
            if tensor is not None:
                part._parameters[name] = torch.nn.Parameter(tensor.detach().clone(), requires_grad=False)
    del tensor
    gc.collect()
    assert len(memory._regions) - before == BLOCKS - 1
    sample(clone, faceless, 1)
    assert len(memory._regions) - before == BLOCKS


def test_memory_that_cannot_be_had_is_done_without(kit, memory, load, faceless, plain, monkeypatch, pack_module):
    copy_queue = pack_module("nodes.host.offload.copy_queue")

    def refused(tensors):
        raise OSError("no memory")

    monkeypatch.setattr(copy_queue, "pack", refused)
    own = load()
    assert torch.equal(sample(kit.offload(own, kit.Settings("blocks", BLOCKS)), faceless), plain)
    unpinned = kit.offload(own, kit.Settings("blocks", BLOCKS, pinned=False))
    monkeypatch.undo()
    assert torch.equal(sample(unpinned, faceless), plain)
    assert blocks_of(own)[0].ffn[0].weight.untyped_storage().data_ptr() not in memory._regions


# -- Cancel


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize("where", ["between", "inside"])
@pytest.mark.parametrize("count", [3, BLOCKS])
def test_cancel_in_the_middle_of_a_step_leaves_nothing(kit, load, faceless, plain, where, count):
    own = load()
    first = kit.offload(own, kit.Settings("blocks", count))
    assert torch.equal(sample(first, faceless), plain)
    before = {name: id(tensor) for name, tensor in own.model.named_parameters()}
    clone, calls, seen = first.clone(), itertools.count(), []

    def cancel(*args):
        if next(calls) == BLOCKS + 2:  # the third block of the second step
            seen.extend(weakref.ref(slot) for slot in (*clone.offloader.slots, *clone.offloader.resident.values()))
            raise Cancelled
        return args[0] if where == "between" else None

    handles = []
    if where == "between":
        clone.set_model_patch(cancel, "double_block")
    else:  # with the block's weights on the card
        handles = [block.cross_attn.register_forward_pre_hook(cancel) for block in blocks_of(own)]
    with pytest.raises(Cancelled):
        sample(clone, faceless)
    for handle in handles:
        handle.remove()
    gc.collect()
    assert len(seen) >= BLOCKS - count + 1 and not any(ref() is not None for ref in seen)
    assert not clone.offloader.slots and not clone.offloader.resident and clone.offloader.copies is None
    assert {name: id(tensor) for name, tensor in own.model.named_parameters()} == before, "its own weights are back"
    hooks = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in own.model.modules()]
    assert not any(map(any, hooks)) and "forward_orig" not in vars(own.model.diffusion_model)
    clone.model_options["transformer_options"].pop("patches", None)
    assert torch.equal(sample(clone, faceless), plain)


# -- how many blocks


def test_blocks_are_spread(plan):
    assert plan.spread(0, 40) == frozenset() and plan.spread(40, 40) == frozenset(range(40))
    assert plan.spread(20, 40) == frozenset(range(1, 40, 2))
    for count in range(41):
        chosen = sorted(plan.spread(count, 40))
        assert len(chosen) == count and all(0 <= one < 40 for one in chosen)
        gaps = {after - one for one, after in zip(chosen, chosen[1:])}
        assert not gaps or max(gaps) - min(gaps) <= 1
    assert plan.spread(99, 5) == frozenset(range(5)) and plan.spread(-1, 5) == frozenset()
    assert [plan.slots(plan.spread(count, 40)) for count in (0, 1, 20, 21, 40)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("block, fuser, rest", [(808, 210, 500), (404, 210, 900)])  # MB, about bf16's and fp8's
def test_as_few_blocks_as_it_takes(plan, block, fuser, rest):
    sizes = plan.Sizes((block,) * 40, tuple(fuser if index % 5 == 0 else 0 for index in range(40)), rest)
    least = plan.card_bytes(sizes, frozenset(range(40)))
    assert least == 2 * block + fuser
    for room in range(least, 40 * block + 8 * fuser, 400):
        chosen = plan.fitting(sizes, room)
        assert plan.card_bytes(sizes, chosen) <= room
        fewer = [plan.spread(count, 40) for count in range(len(chosen))]
        assert all(plan.card_bytes(sizes, one) > room for one in fewer), "one block less would not fit"
    assert plan.fitting(sizes, 40 * block + 8 * fuser) == frozenset()
    assert plan.fitting(sizes, least - 1) is None
    assert len(plan.fitting(sizes, float("inf"), least=7)) == 7


@pytest.mark.parametrize("left", [0, 2, 5])
def test_fitting_into_gigabytes(kit, plan, model, faceless, plain, left):
    clone = kit.offload(model, kit.Settings("fit"))
    sizes = clone.offloader.sizes
    assert clone.model_size() == sizes.rest + plan.slot_bytes(sizes, frozenset(range(BLOCKS))), "until it is known"
    activations = model.model.memory_required((1, 36, 3, 6, 8))
    stay = frozenset(range(BLOCKS)) - plan.spread(BLOCKS - left, BLOCKS)
    wanted = sizes.rest + activations + plan.card_bytes(sizes, frozenset(range(BLOCKS)) - stay)
    clone = kit.offload(model, kit.Settings("fit", gigabytes=(wanted + 1000) / plan.GB))
    assert torch.equal(sample(clone, faceless), plain)
    assert len(clone.offloader.plan) == BLOCKS - left and {index for _, index in clone.offloader.resident} == stay
    assert clone.model_size() == sizes.rest + plan.card_bytes(sizes, clone.offloader.plan)


def test_steps_of_several_sizes_in_a_run_share_what_stays(kit, plan, model):
    """Blocks are not to come and go between them."""
    small, large = torch.zeros(1, 36, 3, 6, 8), torch.zeros(1, 36, 5, 10, 12)
    clone = kit.offload(model, kit.Settings("fit"))
    sizes, needed = clone.offloader.sizes, model.model.memory_required(small.shape)
    assert model.model.memory_required(large.shape) > needed
    room = (sizes.rest + needed + sizes.total + 1000) / plan.GB
    offloader = kit.offload(model, kit.Settings("fit", gigabytes=room)).offloader
    clone.attachments[kit.KEY] = offloader
    offloader.belongs_to(clone)
    counts = []
    for x in (small, large, small):
        offloader._prepare(clone, clone.model.diffusion_model, x)
        counts.append(len(offloader.plan))
    assert counts[0] == 0 and counts[1] > 0 and counts[2] == counts[1]
    offloader.end()
    offloader._prepare(clone, clone.model.diffusion_model, small)
    assert not offloader.plan, "the next run begins anew"
    offloader.end()


def test_what_does_not_fit_is_said(kit, plan, model, faceless):
    clone = kit.offload(model, kit.Settings("fit", gigabytes=0.05))
    with pytest.raises(Exception, match=r"takes 0\.2 GB with every block offloaded .* more than the 0\.05 GB asked"):
        sample(clone, faceless)
    assert (
        not clone.offloader.slots
        and not clone.offloader.resident
        and "forward_orig" not in vars(model.model.diffusion_model)
    )


def test_a_step_that_no_offload_makes_room_for(kit, model, faceless, monkeypatch):
    """Memory runs out with every block offloaded."""
    clone = kit.offload(model, kit.Settings("blocks", BLOCKS))

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model.model.diffusion_model.blocks[2], "forward", full)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="every block offloaded: make the video smaller"):
        sample(clone, faceless)
    assert not clone.offloader.resident and not clone.offloader.queues
    few = kit.offload(model, kit.Settings("blocks", 2))
    with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory"):  # more blocks can still go
        sample(few, faceless)


def test_the_node(pack_nodes, kit, model, faceless, plain):
    node = pack_nodes["WanAnimateKitOffloadBlocks"]
    clone = node.execute(model, "blocks", 12.0, 2, True).args[0]
    assert kit.settings_of(clone) == kit.Settings("blocks", 2, 12.0, True) and kit.settings_of(model) is None
    assert torch.equal(sample(clone, faceless), plain)
    clone = node.execute(clone, "fit", 24.0, 40, False).args[0]
    assert kit.settings_of(clone) == kit.Settings("fit", 40, 24.0, False)
    assert torch.equal(sample(clone, faceless), plain) and not clone.offloader.plan
    with pytest.raises(Exception, match="how is 'often', but it must be one of: fit, blocks"):
        node.execute(model, "often", 12.0, 2, True)
