"""Downloads from a hub that stalls, cuts short, sends other bytes, redirects: nothing bad gets its name."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.support.hub_server import Hub, serving
from wan_animate.errors import InputError
from wan_animate.models.download import FETCHED, RESUMED, THERE, Settings, check_disk, download, part_of, target_of
from wan_animate.models.hashing import HashCache
from wan_animate.models.manifest import ModelFile, Source

CONTENT = np.random.default_rng(7).bytes(5 << 20)
SHA = hashlib.sha256(CONTENT).hexdigest()
PATH = "split_files/vae/small.safetensors"
MODEL = ModelFile(
    "small.safetensors", "vae", "vae", "Apache-2.0", Source("Owner/Repo", PATH), False, len(CONTENT), None, SHA, "hub"
)
KEPT = 3 << 20  # bytes of an earlier time


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serving(Hub({PATH: CONTENT})) as server:
        yield server


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "models" / "vae").mkdir(parents=True)
    return {"vae": [tmp_path / "models" / "vae"]}


def quick(hub: Hub, **more) -> Settings:
    stall = 0.6 if {"stall", "silent"} & set(hub.faults) else 20  # a slow machine is no silent server
    return Settings(**{"endpoint": hub.url, "stall": stall, "attempts": 3, "pause": 0.02} | more)


def everything(tmp_path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_a_whole_file_gets_its_name(hub, folders, tmp_path):
    seen = []
    found = download(MODEL, folders, lambda done, total: seen.append((done, total)), settings=quick(hub))
    assert found.path.read_bytes() == CONTENT and (found.how, found.vouched, found.sha256) == (FETCHED, "manifest", SHA)
    assert everything(tmp_path) == ["models/vae/small.safetensors"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    before = len(hub.asked)
    assert download(MODEL, folders, settings=quick(hub)).how == THERE
    assert len(hub.asked) == before, "what is there is not asked for"


def test_the_token_stays_with_the_hub(hub, folders, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download(MODEL, folders, settings=quick(hub))
    assert [token for _, path, _, token in hub.asked if path.startswith("/Owner")] == ["Bearer hf_secret"] * 2
    assert [token for _, path, _, token in hub.asked if path.startswith("/cdn")] == [None]


@pytest.mark.parametrize("faults", [["truncate"], ["truncate", "truncate"], ["stall"], ["busy", "nothing", "stall"]])
def test_it_goes_on_where_it_ended(hub, folders, tmp_path, faults):
    hub.faults = list(faults)
    found = download(MODEL, folders, settings=quick(hub, attempts=4))
    assert found.path.read_bytes() == CONTENT and everything(tmp_path) == ["models/vae/small.safetensors"]
    bytes_asked = [begin for _, path, begin, _ in hub.fetched if path.startswith("/cdn")]
    assert len(bytes_asked) == len(faults) + 1 and bytes_asked[0] is None
    assert bytes_asked[-1] is not None, "asked for the rest alone"


def test_silence_before_the_answer_is_given_up_and_asked_again(hub, folders):
    hub.faults = ["silent"]
    start = time.monotonic()
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT
    assert 0.5 < time.monotonic() - start < 10


def test_the_bytes_of_an_earlier_time_are_kept(hub, folders, tmp_path):
    part = part_of(target_of(MODEL, folders))
    part.write_bytes(CONTENT[:KEPT])
    assert download(MODEL, folders, settings=quick(hub)).how == RESUMED
    assert [begin for *_, begin, _ in hub.fetched] == [f"bytes={KEPT}-"] * 2, "the hub and where it sends to"
    assert everything(tmp_path) == ["models/vae/small.safetensors"]


@pytest.mark.parametrize("kept", [b"another file's" * 100, bytes(len(CONTENT)), bytes(len(CONTENT) + 9)])
def test_a_part_of_another_file_is_thrown_away(hub, folders, tmp_path, kept):
    part_of(target_of(MODEL, folders)).write_bytes(kept)
    found = download(MODEL, folders, settings=quick(hub))
    assert found.how == FETCHED and found.path.read_bytes() == CONTENT
    assert everything(tmp_path) == ["models/vae/small.safetensors"]


def test_a_whole_part_needs_no_bytes(hub, folders):
    part_of(target_of(MODEL, folders)).write_bytes(CONTENT)
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT
    assert not hub.fetched


def test_a_server_without_ranges_begins_anew(hub, folders):
    hub.faults = ["truncate", "no_range"]
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT


STOPS = {
    "truncate": "attempts brought no more",
    "nothing": "attempts brought no more",
    "stall": "nothing came in time",
    "busy": "answers 503",
    "no_range_truncate": "attempts brought no more",
}


@pytest.mark.parametrize("fault", STOPS)
def test_one_that_never_ends_well_is_given_up_and_keeps_its_part(hub, folders, tmp_path, fault):
    hub.faults = [fault] * 30
    with pytest.raises(InputError, match=STOPS[fault]) as error:
        download(MODEL, folders, settings=quick(hub))
    assert "goes on from there" in str(error.value) and "\n" not in str(error.value)
    assert everything(tmp_path) in (["models/vae/small.safetensors.part"], [])
    hub.faults = []
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT


REFUSALS = {
    "wrong": "another file \\(sha256",
    "longer": "more than the 5242880 bytes",
    "other_size": "sends 5242884 bytes where 5242880 are listed",
    "gzip": "or packed",
    "forbidden": "answers 403",
    "to_file": "no safe web address",
    "circle": "redirects more than",
    "to_folder": "another file \\(sha256",
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_is_wrong_is_refused_and_leaves_what_was_there(hub, folders, tmp_path, fault):
    target = target_of(MODEL, folders)
    target.write_bytes(b"the one from yesterday")
    hub.faults = [fault]
    with pytest.raises(InputError, match=REFUSALS[fault]) as error:
        download(MODEL, folders, settings=quick(hub))
    assert f"as {MODEL.name} into {target.parent}" in str(error.value), "what to put where by hand"
    assert target.read_bytes() == b"the one from yesterday"
    rest = [name for name in everything(tmp_path) if name != "models/vae/small.safetensors"]
    assert rest in ([], ["models/vae/small.safetensors.part"])
    assert not rest or (tmp_path / rest[0]).stat().st_size == 0
    hub.faults = []
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_refused(hub, folders):
    part = part_of(target_of(MODEL, folders))
    part.write_bytes(CONTENT[:KEPT])
    hub.faults = ["other_range"]
    with pytest.raises(InputError, match="another part of the file"):
        download(MODEL, folders, settings=quick(hub))
    assert part.read_bytes() == CONTENT[:KEPT], "what was fetched before stays"


NAMES = ["../../x.safetensors", "..", "/etc/x.onnx", "a/b.onnx", "a\\b.onnx", "C:x.onnx", "con.onnx", "x.onnx\0", "x."]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_its_folder(hub, folders, tmp_path, name):
    with pytest.raises(InputError, match="would not lie in|no plain name"):
        download(replace(MODEL, name=name), folders, settings=quick(hub))
    assert everything(tmp_path) == [] and not hub.asked


def test_a_link_in_place_of_the_part_is_not_followed(hub, folders, tmp_path):
    other = tmp_path / "elsewhere"
    other.write_bytes(b"somebody's")
    os.symlink(other, part_of(target_of(MODEL, folders)))
    found = download(MODEL, folders, settings=quick(hub))
    assert other.read_bytes() == b"somebody's" and found.path.read_bytes() == CONTENT and not found.path.is_symlink()


def test_a_hub_that_lists_another_file_is_not_asked_for_it(hub, folders, tmp_path):
    hub.listed[PATH] = ("0" * 64, len(CONTENT))
    with pytest.raises(InputError, match="lists another file under small.safetensors"):
        download(MODEL, folders, settings=quick(hub))
    assert not hub.fetched and everything(tmp_path) == []


def test_a_hash_that_was_not_verified_gives_way_to_the_hubs(hub, folders):
    found = download(replace(MODEL, sha256="1" * 64, evidence="published"), folders, settings=quick(hub))
    assert (found.sha256, found.vouched) == (SHA, "hub")
    unknown = replace(MODEL, name="other.safetensors", sha256=None, evidence=None, size=None)
    assert download(unknown, folders, settings=quick(hub)).vouched == "hub"
    assert download(unknown, folders, settings=quick(hub)).how == THERE


def test_what_nobody_vouches_for_is_not_fetched(hub, folders, tmp_path):
    hub.listed[PATH] = (None, len(CONTENT))
    with pytest.raises(InputError, match="nobody says what the bytes"):
        download(replace(MODEL, sha256=None, evidence=None), folders, settings=quick(hub))
    with pytest.raises(InputError, match="lists small.safetensors with 5242880 bytes"):
        download(replace(MODEL, size=7), folders, settings=quick(hub))
    assert not hub.fetched and everything(tmp_path) == []
    assert download(MODEL, folders, settings=quick(hub)).sha256 == SHA, "the manifest alone vouches"


@pytest.mark.parametrize(("status", "said"), [(404, "no such file any more"), (401, "no such file"), (500, "500")])
def test_what_the_hub_answers_is_one_sentence(hub, folders, status, said):
    hub.status = status
    with pytest.raises(InputError, match=said) as error:
        download(MODEL, folders, settings=quick(hub))
    assert "put https://huggingface.co/Owner/Repo/resolve/main/" in str(error.value)


def test_offline_says_what_to_put_where(folders, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="cannot be reached") as error:
        download(MODEL, folders, settings=Settings(endpoint="http://127.0.0.1:9"))
    text = str(error.value)
    assert f"put {MODEL.source.text} as small.safetensors into models/vae (5.24 MB, sha256 {SHA})" in text
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        download(MODEL, folders)
    assert everything(tmp_path) == []


class Stop(BaseException):
    pass


@pytest.mark.parametrize("fault", ["stall", "silent"])
def test_cancel_is_heard_while_the_server_is_silent(hub, folders, fault):
    hub.faults = [fault]
    begin = time.monotonic()

    def report(done: int, total: int) -> None:
        if time.monotonic() - begin > 1:
            raise Stop

    with pytest.raises(Stop):
        download(MODEL, folders, report, settings=quick(hub, stall=50))
    assert time.monotonic() - begin < 2
    target = target_of(MODEL, folders)
    kept = part_of(target).stat().st_size
    assert not target.exists() and (1 << 20 < kept <= len(CONTENT) // 3 if fault == "stall" else kept == 0)
    assert download(MODEL, folders, settings=quick(hub)).path.read_bytes() == CONTENT


def test_two_at_a_time_do_not_mix(hub, folders):
    hub.faults = ["stall"]
    errors, begun = [], threading.Event()

    def report(done: int, total: int) -> None:
        if done:
            begun.set()

    first = threading.Thread(target=lambda: download(MODEL, folders, report, settings=quick(hub, stall=1.5)))
    first.start()
    assert begun.wait(5)
    try:
        download(MODEL, folders, settings=quick(hub))
    except InputError as error:
        errors.append(str(error))
    first.join(15)
    assert errors and "by another process" in errors[0]
    assert target_of(MODEL, folders).read_bytes() == CONTENT


def test_an_address_that_is_no_repository(hub, folders, tmp_path):
    model = replace(MODEL, source=Source(url=f"{hub.url}/cdn/{PATH}"))
    hub.faults = ["truncate"]
    assert download(model, folders, settings=quick(hub)).path.read_bytes() == CONTENT
    assert not [one for one in hub.asked if one[0] == "HEAD"]
    with pytest.raises(InputError, match="nobody says"):
        download(replace(model, name="b.onnx", sha256=None, evidence=None), folders, settings=quick(hub))


def test_no_room_is_said_before(folders, hub):
    with pytest.raises(InputError, match="are to be fetched to .* and .* are free"):
        check_disk([replace(MODEL, size=10**18)], folders)
    huge = replace(MODEL, size=10**18, sha256="2" * 64, evidence="published")
    hub.listed[PATH] = (SHA, 10**18)
    hub.faults = ["longer"]
    with pytest.raises(InputError, match="more and .* are free"):
        download(huge, folders, settings=quick(hub))


def test_a_kept_hash_is_that_of_the_file_as_it_is(tmp_path):
    cache = HashCache(tmp_path / "hashes.json")
    file = tmp_path / "a.onnx"
    file.write_bytes(b"1")
    cache.put(file, "f" * 64)
    assert HashCache(tmp_path / "hashes.json").get(file) == "f" * 64
    file.write_bytes(b"22")
    assert HashCache(tmp_path / "hashes.json").get(file) is None
    (tmp_path / "hashes.json").write_text("[broken")
    assert HashCache(tmp_path / "hashes.json").get(file) is None
