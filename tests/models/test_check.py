"""What is found of the manifest on a disk: by name, size and hash, under other names, in other folders."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from wan_animate.errors import InputError
from wan_animate.models import check as checking
from wan_animate.models.check import below, check, own_folder
from wan_animate.models.fit import NO, PARTS, UNKNOWN, WHOLE, fit, recommended
from wan_animate.models.hashing import HashCache
from wan_animate.models.manifest import ModelFile, Source, bytes_text, named, read_manifest
from wan_animate.models.report import Report

CONTENT = {name: np.random.default_rng(at).bytes(70_000) for at, name in enumerate(("vae", "lora", "other"))}


def model(name: str = "small_vae.safetensors", folder: str = "vae", content: str = "vae", **more) -> ModelFile:
    sha256 = hashlib.sha256(CONTENT[content]).hexdigest()
    facts = {"size": len(CONTENT[content]), "sha256": sha256, "evidence": "hub"} | more
    return ModelFile(name, "vae", folder, "Apache-2.0", Source("a/b", name), False, **facts)


VAE = model()


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / "models"
    for kind in ("vae", "loras", "diffusion_models"):
        (root / kind).mkdir(parents=True)
    return below(root, ("vae", "loras", "diffusion_models"))


def put(folders, kind: str, name: str, content: bytes):
    path = folders[kind][0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def one(found_model: ModelFile, folders, hashing: str = "changed", **more):
    (found,) = check([found_model], folders, hashing, **more)
    return found


def test_what_is_not_there(folders):
    found = one(VAE, folders)
    assert (found.state, found.path, found.usable) == (checking.MISSING, None, False)


@pytest.mark.parametrize("name", ["small_vae.safetensors", "wan/2.1/small_vae.safetensors"])
def test_what_is_there_is_hashed_where_that_is_asked_for(folders, name):
    path = put(folders, "vae", name, CONTENT["vae"])
    assert (one(VAE, folders).state, one(VAE, folders).path) == (checking.GOOD, path)
    assert one(VAE, folders, "no").state == checking.UNHASHED
    assert one(VAE, folders, "no").usable


def test_what_is_wrong_is_told_with_both_figures(folders):
    put(folders, "vae", VAE.name, CONTENT["vae"][:-5])
    found = one(VAE, folders)
    assert found.state == checking.SIZE and "69995 bytes, not 70000: cut short" in found.detail
    put(folders, "vae", VAE.name, CONTENT["other"])
    found = one(VAE, folders)
    assert found.state == checking.CORRUPT and str(VAE.sha256) in found.detail and not found.usable
    assert one(VAE, folders, "no").state == checking.UNHASHED, "the size alone does not tell"
    assert "was not verified" in one(replace(VAE, evidence="published"), folders).detail


def test_a_good_copy_in_a_subfolder_counts(folders):
    put(folders, "vae", VAE.name, b"damaged")
    path = put(folders, "vae", f"good/{VAE.name}", CONTENT["vae"])
    assert (one(VAE, folders).state, one(VAE, folders).path) == (checking.GOOD, path)


def test_the_same_file_under_another_name(folders):
    put(folders, "vae", "decoy.safetensors", CONTENT["other"])
    path = put(folders, "vae", "Wan2_1_VAE.safetensors", CONTENT["vae"])
    found = one(VAE, folders)
    assert (found.state, found.path, found.usable) == (checking.RENAMED, path, True)
    assert "here as Wan2_1_VAE.safetensors" in found.detail
    found = one(VAE, folders, "no")
    assert found.state == checking.MISSING and "may be it: hash it" in found.detail
    assert one(replace(VAE, size=None), folders).state == checking.RENAMED, "by its hash alone"


def test_two_files_that_were_swapped_are_told_apart(folders):
    other = model("other.safetensors", content="other")
    put(folders, "vae", VAE.name, CONTENT["other"])
    found = check([VAE, other], folders)
    assert [one.state for one in found] == [checking.CORRUPT, checking.RENAMED]
    assert found[1].path.name == VAE.name


def test_a_file_in_another_folder_is_told_and_not_used(folders):
    put(folders, "loras", VAE.name, CONTENT["vae"])
    found = one(VAE, folders)
    assert found.state == checking.ELSEWHERE and f"move it to {folders['vae'][0]}" in found.detail
    assert one(replace(VAE, sha256=None, evidence=None), folders).state == checking.ELSEWHERE
    assert not found.usable


def test_what_was_begun_and_what_nobody_knows(folders):
    put(folders, "vae", f"{VAE.name}.part", bytes(30_000))
    found = one(VAE, folders)
    assert found.state == checking.PART and "30 kB are here" in found.detail
    unknown = replace(VAE, sha256=None, evidence=None, size=None, name="x.onnx")
    put(folders, "vae", "x.onnx", CONTENT["other"])
    assert one(unknown, folders).state == checking.UNKNOWN


def test_a_cut_file_of_unknown_size_is_told_by_its_header(folders, tmp_path):
    save_file({"a": np.zeros(1000, np.float32)}, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    unknown = replace(VAE, size=None, sha256=None, evidence=None)
    put(folders, "vae", VAE.name, content)
    assert one(unknown, folders).state == checking.UNKNOWN
    put(folders, "vae", VAE.name, content[:-50])
    assert one(unknown, folders).state == checking.CORRUPT
    put(folders, "vae", VAE.name, b"<!DOCTYPE html><html>sign in</html>" * 9)
    assert one(unknown, folders).state == checking.CORRUPT


def test_hashes_are_kept_until_a_file_changes(folders, tmp_path, monkeypatch):
    path = put(folders, "vae", VAE.name, CONTENT["vae"])
    cache = HashCache(tmp_path / "hashes.json")
    assert one(VAE, folders, cache=cache).state == checking.GOOD
    made = []
    monkeypatch.setattr(checking, "sha256_of", lambda path, report: made.append(path) or "0" * 64)
    assert one(VAE, folders, cache=HashCache(tmp_path / "hashes.json")).state == checking.GOOD
    assert one(VAE, folders, "no", cache=HashCache(tmp_path / "hashes.json")).state == checking.GOOD
    assert made == []
    assert one(VAE, folders, "all", cache=HashCache(tmp_path / "hashes.json")).state == checking.CORRUPT
    os.utime(path, ns=(1, 1))
    assert one(VAE, folders, cache=cache).state == checking.CORRUPT and len(made) == 2


def test_progress_counts_what_is_hashed_and_can_stop_it(folders):
    put(folders, "vae", VAE.name, CONTENT["vae"])
    put(folders, "loras", "a.safetensors", CONTENT["lora"])
    models = [VAE, model("a.safetensors", "loras", "lora")]
    seen = []
    check(models, folders, report=lambda *told: seen.append(told))
    assert seen == [(70_000, 140_000, VAE.name), (140_000, 140_000, "a.safetensors")]

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(models, folders, report=stop)


def test_links_in_a_circle_end(folders):
    put(folders, "vae", f"deep/{VAE.name}", CONTENT["vae"])
    os.symlink(folders["vae"][0], folders["vae"][0] / "deep" / "again")
    assert one(VAE, folders).state == checking.GOOD


def test_former_folders_are_looked_through_and_new_files_go_to_the_own_one(tmp_path):
    transformer = model("t.safetensors", "diffusion_models")
    both = {"diffusion_models": [tmp_path / "unet", tmp_path / "diffusion_models"]}
    assert own_folder(transformer, both) == tmp_path / "diffusion_models"
    assert own_folder(transformer, {"diffusion_models": [tmp_path / "weights"]}) == tmp_path / "weights"
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "t.safetensors").write_bytes(CONTENT["vae"])
    assert one(transformer, both).state == checking.GOOD
    with pytest.raises(InputError, match="no folder for vae"):
        own_folder(VAE, both)
    with pytest.raises(InputError, match="hash 'yes' is none of"):
        one(VAE, both, "yes")


def transformer(size: float, weights: str = "bf16") -> ModelFile:
    return replace(VAE, role="transformer", size=int(size), weights=weights)


def test_what_fits_is_reckoned_as_the_plan_does():
    from wan_animate.chain.segments import Segment
    from wan_animate.plan.costs import WEIGHTS, memory

    plan = memory((832, 480), Segment(0, 0, 77, 0, 77), "animate", "bf16")
    found = fit(transformer(WEIGHTS["bf16"]), 80 << 30)
    assert (found.whole, found.parts) == (plan.resident, plan.offloaded)
    assert found.how == WHOLE and fit(transformer(WEIGHTS["bf16"]), 24 << 30).how == PARTS
    assert fit(transformer(WEIGHTS["bf16"]), 6 << 30).how == NO
    assert fit(transformer(WEIGHTS["bf16"]), 0).how == UNKNOWN and fit(replace(VAE, size=None), 8 << 30).how == UNKNOWN
    assert fit(VAE, 8 << 30).text == "fits (70 kB)"


@pytest.mark.parametrize(("gib", "weights"), [(8, "fp8"), (16, "fp8"), (24, "fp8"), (48, "bf16"), (0, "bf16")])
def test_what_is_recommended_for_a_card(gib, weights):
    models = read_manifest()
    found = recommended(models, gib << 30)
    (picked,) = [one for one in found if one.role == "transformer"]
    assert picked.weights == weights and picked.loader is None
    roles = [one.role for one in found]
    assert len(roles) == len(set(roles)) and {"vae", "text_encoder", "segmenter", "distill_lora"} <= set(roles)


def test_files_beside_another_come_with_it():
    found = named(read_manifest(), ["vitpose_h_wholebody_model.onnx"])
    assert [one.name for one in found] == ["vitpose_h_wholebody_model.onnx", "vitpose_h_wholebody_data.bin"]
    with pytest.raises(InputError, match="no model is called 'yolov10.onnx'.*yolov10m.onnx"):
        named(read_manifest(), ["yolov10.onnx"])


def test_the_manifest_says_what_was_seen_of_every_hash():
    models = read_manifest()
    assert len(models) >= 20
    defaults = [one.role for one in models if one.default]
    assert len(defaults) == len(set(defaults)) and {one.role for one in models} - set(defaults) == {
        "pose_detector_data"
    }
    for one in models:
        assert (one.sha256 is None) == (one.evidence is None), one.name
        assert one.verified == (one.evidence in ("hub", "copy"))
        assert one.licence and (one.size_about or one.sha256 is None), one.name
        if one.size:  # the rounded size is that of the exact one
            assert float(one.size_about.split()[0]) == pytest.approx(
                float(bytes_text(one.size).split()[0]), rel=0.04
            ), one.name
        assert (one.weights is not None) == (one.role == "transformer")


BREAKS = {
    "unknown field colour": {"colour": "red"},
    "no plain name": {"name": "../../x.safetensors"},
    "folder": {"folder": ".."},
    "ending of the name": {"name": "x.exe"},
    "sha256": {"sha256": "12"},
    "evidence": {"evidence": "hearsay"},
    "size": {"size": -1},
    "role": {"role": "pet"},
    "source is not valid": {"source": {"repo": "a/b", "path": "../x"}},
    "licence": {"licence": ""},
    "optional": {"optional": "no"},
}


@pytest.mark.parametrize("said", BREAKS)
def test_a_broken_entry_is_named(tmp_path, said):
    entry = {
        "name": "x.onnx", "role": "vae", "folder": "vae", "size": 5, "sha256": "0" * 64, "evidence": "hub",
        "licence": "MIT", "source": {"repo": "a/b", "path": "x.onnx"}, "optional": False,
    }  # fmt: skip
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"models": [entry]}))
    assert read_manifest(path)[0].source.text == "https://huggingface.co/a/b/resolve/main/x.onnx"
    path.write_text(json.dumps({"models": [entry | BREAKS[said]]}))
    with pytest.raises(InputError, match="entry 1") as error:
        read_manifest(path)
    assert said.split()[0] in str(error.value)
    for content in ("{}", "[", '{"models": [{}]}', json.dumps({"models": [entry, entry]})):
        path.write_text(content)
        with pytest.raises(InputError):
            read_manifest(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path / "none.json")


def test_a_hash_that_was_not_seen_at_its_source_is_marked_wherever_it_is_shown(folders):
    """The files of the real list: here by name (cut short), missing, and in the table for the card."""
    models = read_manifest()
    unverified = {one.name for one in models if not one.verified}
    assert unverified >= {"sam3.1_multiplex_fp16.safetensors", "Wan2.2-Animate-14B-Q3_K_M.gguf"}
    folders = below(folders["vae"][0].parent, {one.folder for one in models})
    (folders["vae"][0] / "qwen_image_vae.safetensors").write_bytes(b"short")
    view = Report(tuple(check(models, folders, "no")), folders, 8 << 30).view()
    shown = {row[1 - at].text: row for at, table in enumerate(view.tables) for row in table.rows}
    assert {
        "qwen_image_vae.safetensors",
        "rife_v4.26.safetensors",
        "wan2.2_animate_14B_int8_convrot.safetensors",
    } < set(shown)
    for name, row in shown.items():
        marked = any("unverified" in cell for cell in row if isinstance(cell, str))
        assert marked == (name in unverified), row
    assert any(line.startswith("unverified: ") for line in view.after)
    seen = [replace(one, evidence="hub", sha256=one.sha256 or "0" * 64) for one in models]
    assert "unverified" not in Report(tuple(check(seen, folders, "no")), folders, 8 << 30).view().markdown()
