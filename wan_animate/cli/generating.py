"""What ``wan-animate generate`` does."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from ..chain.control_sources import Controls
from ..chain.job import AnimateJob
from ..errors import InputError
from ..files import check_ending
from ..upstream.intermediates import POSE, REFERENCE, read_intermediates
from ..video.source import VideoSource
from .checks import RANGES, VIDEO_ENDINGS, clip_options
from .make import run
from .options import GENERATE, RunOptions, Sampling
from .upstream_options import NEGATIVE, GenerateOptions

LORAS = ("relighting_lora.safetensors", "relighting_lora.ckpt", "*relight*lora*.safetensors")


# option -> run's, in RANGES
AS_OF_RUN = {
    "sample_steps": "steps",
    "sample_shift": "shift",
    "frame_num": "segment",
    "refert_num": "previous_frames",
    "crossfade": "crossfade",
    "ulysses_size": "gpus",
}


def generate(options: GenerateOptions) -> None:
    """Make the clip; prints its path."""
    folder = Path(options.src_root_path)
    lora = _lora(options)
    _check(options)
    # what is wrong with them is said before anything else
    read_intermediates(folder, "replace" if options.replace_flag else "animate")
    seed = options.base_seed if options.base_seed >= 0 else random.randrange(2**31)
    if options.base_seed < 0:
        print(f"wan-animate: --base_seed {seed}", file=sys.stderr)
    given = RunOptions(
        image=str(folder / REFERENCE), video=str(folder / POSE), out=options.save_file or str(folder / "clip.mp4"),
        models=options.ckpt_dir, mode="replace" if options.replace_flag else "animate",
        prompt=options.prompt, prompt_file=options.prompt_file, fps=0,
        segment=options.frame_num, previous_frames=options.refert_num, steps=options.sample_steps,
        shift=options.sample_shift, seed=seed, color=options.color, crossfade=options.crossfade, sheet=options.sheet,
        device=options.device, gpus=options.ulysses_size, shard_weights=options.dit_fsdp,
        linears=options.linears,
    )  # fmt: skip
    negative = options.n_prompt or NEGATIVE
    sound = options.audio or str(folder / POSE)
    sampling = Sampling(GENERATE, options.sample_solver, options.sample_guide_scale, negative, lora, sound)
    run(given, source=prepared, sampling=sampling)


def prepared(options: RunOptions) -> tuple[AnimateJob, Controls, VideoSource]:
    """The job of intermediate files, for :func:`.make.run`."""
    made = read_intermediates(Path(options.video).parent, options.mode)
    pose, scene = made.controls.pose, made.controls.background or made.controls.pose
    assert isinstance(scene, VideoSource)
    job = AnimateJob(
        made.reference, made.controls, options.mode, options.segment, options.previous_frames, options.seed, pose.fps,
        options.color,
    )  # fmt: skip
    job.options = clip_options(options, None)
    return job, made.controls, scene


def _check(options: GenerateOptions) -> None:
    for name, same in AS_OF_RUN.items():
        value, (low, high, give) = getattr(options, name), RANGES[same]
        if not low <= value <= high:
            raise InputError(f"--{name} is {value}, but it must be {low:,} to {high:,}: give {give}.")
    if options.linears == "fp8" and options.dit_fsdp:
        raise InputError("--linears fp8 and --dit_fsdp are given, which do not go together: leave one of them out.")
    if options.save_file is not None:
        check_ending(options.save_file, "the video (--save_file)", VIDEO_ENDINGS)
    if not 0 < options.sample_guide_scale <= 100:
        raise InputError(
            f"--sample_guide_scale is {options.sample_guide_scale:g}, but it must be above 0 to 100: give 1 as trained."
        )
    if options.audio is not None and not Path(options.audio).is_file():
        raise InputError(f"--audio is {options.audio}, which is not there: give the path of a video or sound file.")
    if (Path(options.ckpt_dir) / "Wan2.1_VAE.pth").is_file():
        raise InputError(
            f"--ckpt_dir is {options.ckpt_dir}, which has upstream's own layout: give the same weights in diffusers' "
            "(Wan-AI/Wan2.2-Animate-14B-Diffusers)."
        )


def _lora(options: GenerateOptions) -> str | None:
    if not options.use_relighting_lora:
        return None
    if not options.replace_flag:
        raise InputError("--use_relighting_lora is for --replace_flag, which is not given: add it, or leave this out.")
    if options.relighting_lora:
        if not Path(options.relighting_lora).is_file():
            raise InputError(f"--relighting_lora is {options.relighting_lora}, which is not there: give its path.")
        return options.relighting_lora
    found = [path for pattern in LORAS for path in sorted(Path(options.ckpt_dir).glob(pattern))]
    if not found:
        raise InputError(
            f"--use_relighting_lora is given, and {options.ckpt_dir} has no relighting_lora.ckpt: give "
            "--relighting_lora with the file's path."
        )
    return str(found[0])
