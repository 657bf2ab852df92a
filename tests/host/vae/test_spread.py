"""The VAE's work on several devices against one: bands of the frames on the CPU."""

import threading

import pytest
import torch

from wan_animate.chain.generate import generate
from wan_animate.chain.store import SegmentStore
from wan_animate.video.frames import TensorSource, read_float

from ...support.chain import PlainDenoiser, make_job
from ...support.random_vae import random_vae

CPU = torch.device("cpu")
CLOSE = 1e-5  # the same sums, which a library may add in another order


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.vae")


@pytest.fixture(scope="module")
def bands(pack_module):
    return pack_module("nodes.host.vae.bands")


@pytest.fixture(scope="module")
def spread(pack_module):
    return pack_module("nodes.host.vae.spread")


@pytest.fixture(scope="module")
def one(comfy, kit):
    return kit.accelerate_vae(random_vae())


@pytest.fixture
def on(kit, one):
    return lambda count: kit.spread_vae(one, [CPU] * count)


def frames(count, height, width):
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(1))


def latent(count, height, width):
    return torch.randn(1, 16, count, height, width, generator=torch.Generator().manual_seed(2))


def apart(ours, theirs):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("count, height, width", [(2, 2, 40), (3, 33, 3), (4, 2, 61)], ids=str)
def test_decoded_frames_are_those_of_one_device(one, on, count, height, width):
    given = latent(3, height, width)
    with torch.inference_mode():
        assert apart(on(count).decode(given), one.decode(given)) < CLOSE


@pytest.mark.parametrize("count, height, width", [(2, 16, 160), (3, 136, 24), (4, 8, 264)], ids=str)
@pytest.mark.parametrize("levels", [False, True])
def test_encoded_frames_are_those_of_one_device(one, on, count, height, width, levels):
    given = frames(9, height, width)
    given = (given * 255).to(torch.uint8) if levels else given
    with torch.inference_mode():
        assert apart(on(count).encode(given), one.encode(given)) < CLOSE


@pytest.mark.parametrize("moving, still", [(5, 36), (7, 34), (5, 160), (9, 0)])
def test_frames_that_stay_the_same_are_those_of_one_device(one, on, moving, still):
    """Told, or found; a band that stays the same while the rest moves is not taken for a frame that does."""
    given = frames(moving, 8, 80)
    given[1:, :, :40] = given[0, :, :40]
    with torch.inference_mode():
        assert apart(on(2).encode(given, still), one.encode(given, still)) < CLOSE
        if still:
            repeated = torch.cat((given, given[-1:].expand(still, -1, -1, -1)))
            assert apart(on(2).encode(repeated), one.encode(repeated)) < CLOSE


def test_no_device_computes_the_whole(on, spread, monkeypatch):
    """Of the stages after the attention each computes its band with a margin, and the bands are all there is."""
    seen, plain = [], spread.run_band

    def run_band(stages, stream, lines, *rest):
        seen.append((threading.current_thread().name, lines))
        return plain(stages, stream, lines, *rest)

    monkeypatch.setattr(spread, "run_band", run_band)
    with torch.inference_mode():
        on(4).decode(latent(2, 2, 100))
        on(4).encode(frames(5, 16, 800))
    decoded, encoded = seen[:4], seen[4:]
    assert len({thread for thread, _ in decoded}) == 4
    for lines, size in ((decoded, 800), (encoded, 100)):
        at = [line for part in sorted((part[-1] for _, part in lines), key=lambda one: one.start) for line in part]
        assert at == list(range(size))
    assert all(len(part[0]) == 100 for _, part in decoded), "up to the attention each computes the whole latent"
    assert all(len(part[1]) <= 25 + 2 * spread.MARGIN for _, part in decoded)
    assert all(len(part[0]) <= 8 * (25 + 2 * spread.MARGIN) for _, part in encoded)


@pytest.mark.parametrize("what", ["decode", "encode"])
def test_the_margin_is_what_the_layers_reach(one, on, bands, spread, monkeypatch, what):
    """With a line less the seam shows: the comparison above would find it."""
    plain = bands.needed

    def less(stage, wanted, size):
        found = plain(stage, wanted, size)
        if len(found) == size:
            return found
        step = 2  # a band of the encoder begins with a pair
        return range(found.start + step * (found.start > 0), found.stop - step * (found.stop < size))

    monkeypatch.setattr(bands, "needed", less)
    given = latent(2, 2, 60) if what == "decode" else frames(5, 16, 480)
    with torch.inference_mode():
        assert apart(getattr(on(2), what)(given), getattr(one, what)(given)) > 10 * CLOSE


@pytest.mark.parametrize("what", ["decode", "encode"])
def test_small_chunks_change_nothing(one, on, what):
    given = latent(3, 2, 40) if what == "decode" else frames(9, 16, 320)
    many = on(2)
    network = many.first_stage_model
    with torch.inference_mode():
        expected = getattr(one, what)(given)
        network.chunk_elements = 3 * 16 * 320 * 8
        try:
            assert apart(getattr(many, what)(given), expected) < CLOSE
        finally:
            del network.chunk_elements


def test_a_picture_and_a_tiny_video_stay_on_one_device(one, on, spread, monkeypatch):
    def never(*_):
        raise AssertionError("it was shared")

    monkeypatch.setattr(spread, "run_band", never)
    with torch.inference_mode():
        assert torch.equal(on(2).encode(frames(1, 64, 96)), one.encode(frames(1, 64, 96)))
        assert torch.equal(on(2).decode(latent(1, 8, 12)), one.decode(latent(1, 8, 12)))
        assert torch.equal(on(2).decode(latent(3, 2, 7)), one.decode(latent(3, 2, 7)))


def failing(spread, monkeypatch, error):
    """The second device's band raises in its first layer."""
    plain = spread.run_band

    def run_band(stages, stream, lines, *rest):
        if "split" in threading.current_thread().name:
            raise error
        return plain(stages, stream, lines, *rest)

    monkeypatch.setattr(spread, "run_band", run_band)


@pytest.mark.parametrize("what", ["decode", "encode"])
def test_an_error_on_one_device_ends_all_in_a_sentence(one, on, spread, pack_module, monkeypatch, what):
    given = latent(2, 2, 16) if what == "decode" else frames(5, 16, 128)
    kind = pack_module("wan_animate.parallel.team").MemberError
    with torch.inference_mode():
        with monkeypatch.context() as patch:
            failing(spread, patch, RuntimeError("an illegal memory access"))
            with pytest.raises(
                kind, match=rf"^card 2 of 2 \(cpu\) failed in its part of {what[:-1]}.*illegal memory.*: run it"
            ):
                getattr(on(2), what)(given)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("split")]
        assert apart(getattr(on(2), what)(given), getattr(one, what)(given)) < CLOSE, "and the next works"


def test_cancel_ends_all(on, monkeypatch):
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "interrupt_processing", True)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        on(3).decode(latent(2, 2, 40))
    assert not comfy.model_management.interrupt_processing
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("split")]


@pytest.mark.parametrize("what", ["decode", "encode"])
def test_where_memory_is_short_one_device_does_it(one, on, spread, monkeypatch, what):
    given = latent(2, 2, 16) if what == "decode" else frames(5, 16, 128)
    with torch.inference_mode():
        expected = getattr(one, what)(given)
        failing(spread, monkeypatch, torch.cuda.OutOfMemoryError("out of memory"))
        assert torch.equal(getattr(on(2), what)(given), expected)


def test_the_port_shares_the_work_of_a_split_model(one, pack_module):
    ports = pack_module("nodes.host.ports")
    assert ports.HostVAE(one, [CPU, CPU]).vae.devices == (CPU, CPU)
    assert ports.HostVAE(one).vae is one
    assert not one.devices
    given = latent(2, 2, 16)
    with torch.inference_mode():
        assert apart(ports.HostVAE(one, [CPU, CPU]).decode(given), ports.HostVAE(one).decode(given)) < CLOSE


@pytest.fixture
def clip(one, pack_module, tmp_path):
    """Makes a clip of three segments, each from the frames of the one before: its frames."""
    ports = pack_module("nodes.host.ports")

    def source(seed, channels=3):
        shape = (23, 32, 96, channels) if channels > 1 else (23, 32, 96)
        return TensorSource(torch.rand(shape, generator=torch.Generator().manual_seed(seed)).round(decimals=2), 24)

    def make(devices, name):
        job = make_job(
            torch.rand(32, 96, 3, generator=torch.Generator().manual_seed(5)), pose=source(1), background=source(2),
            character_mask=source(3, 1), mode="replace", segment_length=9, previous_frames=5, seed=11,
        )  # fmt: skip
        made = generate(job, PlainDenoiser(), ports.HostVAE(one, [CPU] * devices), SegmentStore(tmp_path / name))
        return read_float(made, 0, len(made))

    return make


def test_a_clip_on_two_devices_is_that_of_one(clip, spread, monkeypatch):
    """Every latent and frame handed on; an error on the second device ends it, and started again it goes on."""
    whole = clip(1, "one")
    assert whole.std() > 0.05
    assert torch.equal(clip(2, "two"), whole)
    shared, plain = [], spread._run

    def third(vae, work, *rest):
        shared.append(work)
        if shared.count("decoding") == 3:
            failing(spread, monkeypatch, RuntimeError("an illegal memory access"))
        return plain(vae, work, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(spread, "_run", third)
        with pytest.raises(RuntimeError, match=r"^card 2 of 2 \(cpu\) failed in its part of decoding"):
            clip(2, "stopped")
    assert shared.count("encoding") > 3
    monkeypatch.undo()
    assert torch.equal(clip(2, "stopped"), whole)
