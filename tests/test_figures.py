"""The figures that documents name are those of the result files."""

import json
import re

import pytest

from benchmarks import results
from demo.importing import ROOT



def numbered(values: dict) -> dict:
    """As ``str.format`` looks keys up."""
    return {int(key) if key.isdigit() else key: value for key, value in values.items()}


FOUND = {path.stem: json.loads(path.read_text(), object_hook=numbered) for path in results.FOLDER.glob("*.json")}
DOCUMENTS = ["README.md", "CHANGELOG.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]

README = """
| 832x464, a later job of a server | {clip_480p_4[ours]:.1f} s | {clip_480p_4[peer]:.1f} s | {clip_480p_4[ratio]:.2f} |
| 832x464, five segments | {clip_480p_4_five[ours]:.1f} s | {clip_480p_4_five[peer]:.1f} s | {clip_480p_4_five[ratio]:.2f} |
| 832x464, the first job of a server | {clip_480p_4_cold_cached[ours]:.1f} s | {clip_480p_4_cold_cached[peer]:.1f} s | {clip_480p_4_cold_cached[ratio]:.2f} |
| the same, no kernel compiled before | {clip_480p_4_cold[ours]:.1f} s | {clip_480p_4_cold[peer]:.1f} s | {clip_480p_4_cold[ratio]:.2f} |
| 1280x720, a later job | {clip_720p_4[ours]:.1f} s | {clip_720p_4[peer]:.1f} s | {clip_720p_4[ratio]:.2f} |
the GPU is {clip_480p_4_five[card_busy_from_first_step][ours]:.0%} busy from the first step on (ComfyUI: {clip_480p_4_five[card_busy_from_first_step][peer]:.0%})
the server holds {clip_480p_4_five[ram_peak_gb][ours]:.1f} GB of RAM, its weights among them (ComfyUI: {clip_480p_4_five[ram_peak_gb][peer]:.1f} GB)
| one step, exact | {step_480p_bf16_fa4[ours]:.2f} s | {step_480p_bf16_fa4[peer]:.2f} s | {step_720p_bf16_fa4[ours]:.1f} s | {step_720p_bf16_fa4[peer]:.1f} s |
| one step, fp8 (4 to 5% off) | {step_480p_fp8_fa4[ours]:.2f} s | {step_480p_fp8_fa4[peer]:.2f} s | {step_720p_fp8_fa4[ours]:.2f} s | {step_720p_fp8_fa4[peer]:.1f} s |
| VAE, encode | {vae_encode_480p[ours]:.2f} s | {vae_encode_480p[peer]:.2f} s | {vae_encode_720p[ours]:.2f} s | {vae_encode_720p[peer]:.2f} s |
| VAE, decode | {vae_decode_480p[ours]:.2f} s | {vae_decode_480p[peer]:.2f} s | {vae_decode_720p[ours]:.2f} s | {vae_decode_720p[peer]:.2f} s |
| a segment of 4 steps with VAE | {segment_480p_4_fa4[ours]:.1f} s | {segment_480p_4_fa4[peer]:.1f} s | {segment_720p_4_fa4[ours]:.1f} s | {segment_720p_4_fa4[peer]:.1f} s |
| 20 steps (reckoned) | {segment_480p_20_fa4[ours]:.1f} s | {segment_480p_20_fa4[peer]:.1f} s | {segment_720p_20_fa4[ours]:.0f} s | {segment_720p_20_fa4[peer]:.0f} s |
{offload_480p_bf16_host[ours]:.2f} s, {offload_480p_bf16_host[peak_gb][ours]:.1f} GB | {offload_480p_bf16_host[peer]:.2f} s, {offload_480p_bf16_host[peak_gb][peer]:.1f} GB | {offload_720p_bf16[ours]:.2f} s, {offload_720p_bf16[peak_gb][ours]:.1f} GB |
an exact step at 832x480: {step_480p_bf16[ours]:.2f} s against {step_480p_bf16[peer]:.2f} s. A server without flags: {step_480p_default[ours]:.2f} s against {step_480p_default[peer]:.2f} s; with flash-attn 4, {step_480p_default_fa4[ours]:.2f} s against {step_480p_default_fa4[peer]:.2f} s
H200, an exact step: {step_480p_diffusers[ours]:.2f} s and {step_720p_diffusers[ours]:.1f} s; diffusers 0.42.1 {step_480p_diffusers[peer]:.2f} s and {step_720p_diffusers[peer]:.1f} s; ComfyUI-WanVideoWrapper 1.4.7 (sdpa, not compiled) {step_480p_wrapper[peer]:.2f} s and {step_720p_wrapper[peer]:.1f} s
on four {split_720p_4[ours]:.2f} s against {split_720p_4[peer]:.1f} s ({split_720p_4[ratio]:.2f}), at 832x480 on two {split_480p_2[ours]:.2f} s against {split_480p_2[peer]:.2f} s ({split_480p_2[ratio]:.2f})
the VAE's part on two {split_vae_480p_2[ours]:.2f} s against {split_vae_480p_2[peer]:.2f} s
{memory_growth[ours]:.0f} MB with {memory_growth[frames]:,} frames, {memory_growth[peer]:.0f} MB with 150; with crop and stitch {memory_growth_crop[ours]:.0f} and {memory_growth_crop[peer]:.0f} MB
after 40 blocks {step_720p_bf16_fa4[output_error]:.1%} to {step_480p_bf16_fa4[output_error]:.1%} from ComfyUI's in bf16
{detect_gpu[ours]:.0f} frames a second from 1280x720 to keypoints; YOLOv10m and ViTPose-L alone {detect_gpu[peer]:.0f}
{offload_480p_bf16[peak_gb][peer]:.0f} GB in bf16 and {offload_480p_fp8[peak_gb][peer]:.2f} GB in fp8 at 832x480, {offload_720p_bf16[peak_gb][peer]:.0f} GB in bf16 at 1280x720; with 40 blocks offloaded {offload_480p_bf16[peak_gb][ours]:.1f}, {offload_480p_fp8[peak_gb][ours]:.1f} and {offload_720p_bf16[peak_gb][ours]:.1f} GB
{seam_ratio[peer]:.2f} with a cut, {seam_ratio[by_way][previous 1, cross-fade 1]:.2f}, {seam_ratio[ours]:.2f} and {seam_ratio[by_way][previous 9, cross-fade 9]:.2f} cross-faded over 1, 5 and 9 frames
| uncorrected | {drift_delta_e[worst][off][0]:.1f} | {drift_delta_e[worst][off][1]:.1f} |
| *Animate Character* (`color`: anchor) | {drift_delta_e[ours]:.3f} | {drift_delta_e[worst][anchor][1]:.3f} |
| `color`: previous | {drift_delta_e[worst][previous][0]:.2f} | {drift_delta_e[worst][previous][1]:.2f} |
| linear optimal transport (mkl) to the first frame | {drift_delta_e[peer]:.1f} | {drift_delta_e[worst][mkl to the first frame][1]:.1f} |
| mean and deviation to the first frame | {drift_delta_e[worst][mean and deviation to the first frame][0]:.1f} | {drift_delta_e[worst][mean and deviation to the first frame][1]:.1f} |
{drift_delta_e[growing][animate][off]:.1f} after 20 segments, {drift_delta_e[growing][animate][previous]:.1f} with `previous`, which cannot see it, {drift_delta_e[growing][animate][anchor]:.2f} with anchor
{drift_delta_e[with_loss][animate][off]:.1f}, and {drift_delta_e[with_loss][animate][anchor]:.2f} with anchor, {drift_delta_e[with_loss][animate][the loss alone]:.2f} of it lost sharpness
"""
OTHERS = {
    "CHANGELOG.md": """
{memory_growth[frames]:,} frames at 480x272 take {memory_growth[ours]:.0f} MB over an idle server, 150 frames {memory_growth[peer]:.0f} MB
""",
    "docs/scale.md": """
(`clip_720p_4`: {clip_720p_4[ours]:.1f} s for two)
{scale_check[ours]:.1f} s simulated, {scale_check[peer]:.1f} s real, {scale_check[off]:.1%} too many
""",
    "js/docs/WanAnimateKitOffloadBlocks.md": """
{offload_480p_bf16[ours]:.2f} s a step and {offload_480p_bf16[peak_gb][ours]:.1f} GB at the peak against {offload_480p_bf16[peer]:.2f} s and {offload_480p_bf16[peak_gb][peer]:.0f} GB
at 1280x720 {offload_720p_bf16[ours]:.2f} s and {offload_720p_bf16[peak_gb][ours]:.1f} GB against {offload_720p_bf16[peer]:.2f} s and {offload_720p_bf16[peak_gb][peer]:.0f} GB
took {offload_480p_fp8[peak_gb][ours]:.1f} GB
""",
    "js/docs/WanAnimateKitAccelerateVae.md": """
{vae_encode_480p[ours]:.2f} s in place of {vae_encode_480p[peer]:.2f}, and decoded in {vae_decode_480p[ours]:.2f} s in place of {vae_decode_480p[peer]:.2f}
""",
    "js/docs/WanAnimateKitDetectPose.md": """
({detect_gpu[ours]:.0f} frames a second on an H100 with the large pose model, {detect_gpu[by_batch][8]:.0f} with 8)
""",
    "js/docs/WanAnimateKitClipOptions.md": """
{seam_ratio[peer]:.1f} times the usual with a cut, {seam_ratio[by_way][previous 1, cross-fade 1]:.1f} with 1 frame, {seam_ratio[ours]:.2f} with 5, {seam_ratio[by_way][previous 9, cross-fade 9]:.2f} with 9
""",
}
FIGURES = [
    (document, line)
    for document, lines in {"README.md": README, **OTHERS}.items()
    for line in lines.strip().splitlines()
]
# Result files by the card that README and docs/scale.md give for them.
CARDS = {
    "H100": ("clip_", "segment_480p", "segment_720p", "vae_", "detect_gpu", "step_480p_bf16", "step_480p_fp8"),
    "H200": ("step_480p_diffusers", "step_720p_diffusers", "step_480p_wrapper", "step_720p_wrapper", "split_"),
}


@pytest.mark.parametrize("document, line", FIGURES)
def test_a_figure_is_that_of_its_result_file(document, line):
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    wanted = line.format(**FOUND)
    assert wanted in text, f"{document} does not say: {wanted}"


@pytest.mark.parametrize("card, name", [(card, name) for card, names in CARDS.items() for name in names])
def test_the_card_that_is_named_is_the_one_it_was_measured_on(card, name):
    measured = {claim: values["hardware"] for claim, values in FOUND.items() if claim.startswith(name)}
    assert measured and all(card in hardware for hardware in measured.values()), measured


@pytest.mark.parametrize("document", DOCUMENTS)
def test_result_files_and_scripts_that_are_named_are_there(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    files = set(re.findall(r"`([a-z0-9_]+)\.json`", text))
    known = FOUND.keys() | {"models_manifest", "animate_api"}
    assert not files - known
    scripts = set(re.findall(r"`(?:python )?benchmarks/([a-z0-9_]+\.py)", text))
    assert not [name for name in scripts if not (ROOT / "benchmarks" / name).is_file()]
