"""What ``wan-animate preprocess`` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..files import make_folder, no_empty_folders
from ..mask.track import MaskTrackSource
from ..parallel.roomiest import card_with_room
from ..people.choosing import PersonChoice
from ..pose.track import PoseTrack, fit_track
from ..retarget.edit_prompts import edit_prompts
from ..upstream.checkpoints import Checkpoints, find_checkpoints
from ..upstream.intermediates import Intermediates, write_intermediates
from ..upstream.preparing import MaskShape, animated, replaced
from ..video.frames import FrameSource, TensorSource
from ..video.picture import read_picture
from ..video.source import VideoSource
from .checks import check_device, default_device
from .progress import counting, line_end
from .upstream_options import PreprocessOptions

if TYPE_CHECKING:
    from ..detect.detector import PoseDetector

# option -> (lowest, highest, what to give)
RANGES = {
    "iterations": (0, 100, "3 as trained, 0 to leave the mask as it is"),
    "k": (1, 255, "7 as trained"),
    "w_len": (1, 1000, "1 as trained, more for a finer outline"),
    "h_len": (1, 1000, "1 as trained, more for a finer outline"),
    "clean": (0, 1, "0 for off, to 1"),
    "start": (0, 1_000_000_000, "the first frame, counted from 0"),
    "limit": (0, 1_000_000_000, "a number of frames, or 0 for all"),
    "person_number": (1, 1000, "1 for the leftmost"),
}
FILES = ("video_path", "refer_path", "track", "reference_track", "refer_edit", "tpl_edit", "detector", "pose", "sam2")
LEAST_AREA, MOST_AREA = 16 * 16, 8192 * 8192


def preprocess(options: PreprocessOptions) -> None:
    """Write the intermediate files; prints their paths."""
    options.device = options.device or default_device()
    networks = check(options)
    with no_empty_folders(options.save_path):
        make_folder(options.save_path, "the intermediate files")
        made = _made(options, networks)
        for path in write_intermediates(options.save_path, made, counting("writing")):
            print(path)


def check(options: PreprocessOptions) -> Checkpoints:
    """The networks' paths. Raises InputError for the first option that cannot work."""
    for name, (low, high, give) in RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"--{name} is {value}, but it must be {low:,} to {high:,}: give {give}.")
    width, height = options.resolution_area
    if min(width, height) < 1 or not LEAST_AREA <= width * height <= MOST_AREA:
        raise InputError(f"--resolution_area is {width} {height}: give width and height, such as 1280 720.")
    if options.fps != -1 and not 0 < options.fps <= 240:
        raise InputError(f"--fps is {options.fps:g}, but it must be above 0 to 240: give 30 as trained, or -1.")
    for name in FILES:
        path = getattr(options, name)
        if path is not None and not Path(path).is_file():
            raise InputError(f"--{name} is {path}, which is not there: give the path of a file.")
    edits = [name for name in ("use_flux", "refer_edit", "tpl_edit") if getattr(options, name)]
    if edits and not options.retarget_flag:
        raise InputError(f"--{edits[0]} is given without --retarget_flag, which it is for: add that, or leave it out.")
    if options.retarget_flag and options.replace_flag:
        line_end("wan-animate: --retarget_flag is for animate, and --replace_flag is given: the pose stays as it is.")
    check_device(options.device)
    found = find_checkpoints(options.ckpt_path) if options.ckpt_path is not None else Checkpoints()
    networks = Checkpoints(
        options.detector or found.detector, options.pose or found.pose, options.sam2 or found.segmenter
    )
    missing = [name for name, path in (("detector", networks.detector), ("pose", networks.pose)) if not path]
    if missing and not options.track:
        where = f"{options.ckpt_path} has none" if options.ckpt_path else "no --ckpt_path is given"
        raise InputError(
            f"there is nothing to find the {' and the '.join(missing)} with ({where}): give "
            f"{' and '.join('--' + name for name in missing)}, or --track with a saved pose."
        )
    return networks


def _made(options: PreprocessOptions, networks: Checkpoints) -> Intermediates:
    area = options.resolution_area[0] * options.resolution_area[1]
    picture = read_picture(options.refer_path, "the reference image")
    frames = VideoSource(
        options.video_path,
        fps=0 if options.fps == -1 else options.fps,
        max_area=area if options.replace_flag else None,  # as upstream: the driver keeps its size in animate
        start=options.start,
        limit=options.limit,
        fit=options.fit,
    )
    for note in frames.notes:
        print(f"wan-animate: {note}", file=sys.stderr)
    detector = _detector(networks, options.device)
    try:
        track = _track(options, frames, detector)
        if options.replace_flag:
            mask = _mask(options, frames, track, networks.segmenter)
            shape = MaskShape(options.iterations, options.k, options.w_len, options.h_len)
            return replaced(picture, frames, track, mask, shape, options.clean)
        if not options.retarget_flag:
            return animated(picture, frames, track, area, options.clean)
        reference = _reference(options, picture, detector)
        edits = _edits(options, picture, frames, track, reference, detector)
        return animated(picture, frames, track, area, options.clean, reference, *edits)
    finally:
        if detector is not None:
            detector.close()


def _detector(networks: Checkpoints, device: str) -> PoseDetector | None:
    if not (networks.detector and networks.pose):
        return None
    from ..detect.detector import PoseDetector

    return PoseDetector(
        networks.detector, networks.pose, choose_card=lambda: card_with_room(device, "The pose detector").index or 0
    )


def _track(options: PreprocessOptions, frames: FrameSource, detector: PoseDetector | None) -> PoseTrack:
    if options.track:
        return fit_track(PoseTrack.load(options.track), frames, f"the pose track {options.track}")
    assert detector is not None  # of check()
    x, y = options.person_point
    person = PersonChoice(options.person, number=options.person_number, x=x, y=y)
    return detector.detect(frames, progress=counting("pose"), person=person).track


def _mask(options: PreprocessOptions, frames: FrameSource, track: PoseTrack, segmenter: str) -> FrameSource | None:
    if not segmenter:
        line_end("wan-animate: no SAM 2 file is given, so the mask is the pose's outline: give --sam2.")
        return None
    from ..mask.character import segment_character
    from ..mask.segmentation import Segmenter

    model = Segmenter(segmenter, card_with_room(options.device, "SAM 2"))
    found = segment_character(model, frames, track, progress=counting("mask"))
    if found.lost:
        line_end(f"wan-animate: {found.report}")
    return MaskTrackSource(found.masks)


def _reference(options: PreprocessOptions, picture: torch.Tensor, detector: PoseDetector | None) -> PoseTrack:
    if options.reference_track:
        return PoseTrack.load(options.reference_track)
    return _pose_of(picture, detector, f"the reference image {options.refer_path}", "--reference_track")


def _pose_of(picture: torch.Tensor, detector: PoseDetector | None, what: str, otherwise: str) -> PoseTrack:
    if detector is None:
        raise InputError(f"{what} needs a pose to retarget to: give --ckpt_path, or {otherwise}.")
    try:
        return detector.detect(TensorSource(picture[None])).track
    except InputError as error:
        raise InputError(f"{what} shows no body to retarget the pose to ({error}): choose another picture.") from error


def _edits(
    options: PreprocessOptions,
    picture: torch.Tensor,
    frames: FrameSource,
    track: PoseTrack,
    reference: PoseTrack,
    detector: PoseDetector | None,
) -> tuple[PoseTrack | None, PoseTrack | None]:
    """Poses of (the driver's, the reference's) edited picture; None where there is none."""
    paths = {"tpl_edit": options.tpl_edit, "refer_edit": options.refer_edit}
    if options.use_flux and not all(paths.values()):
        from ..upstream.edits import edit_with_flux

        prompts = edit_prompts(track, reference)
        todo = {}
        if not paths["tpl_edit"]:
            todo["tpl_edit"] = (frames.read(prompts.frame, prompts.frame + 1)[0], prompts.driver)
        if not paths["refer_edit"]:
            todo["refer_edit"] = ((picture.numpy() * 255 + 0.5).astype("uint8"), prompts.reference)
        flux = Path(options.ckpt_path or "", "FLUX.1-Kontext-dev")
        paths |= edit_with_flux(flux, todo, options.save_path, options.device, counting("editing"))
    found = []
    for name, path in paths.items():
        edited = None if not path else read_picture(path, f"--{name}")
        found.append(None if edited is None else _pose_of(edited, detector, f"--{name}", "leave it out"))
    return found[0], found[1]
