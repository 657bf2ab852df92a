"""Audio, read and fit to a length."""

from __future__ import annotations

import hashlib

import av
import numpy as np
import torch
from av.container import InputContainer

from ..errors import InputError
from .index import ClipFile, VideoFile


def read_audio(file: VideoFile, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> dict | None:
    """Audio of a part of a video.

    Args:
        start_seconds: from the first video frame.
        duration_seconds: 0 for the rest.

    Returns:
        ``{"waveform": float32 [1, C, N] in -1..1, "sample_rate": int}``, padded with silence at its start only; None
        without audio in this range.

    Raises:
        InputError: the file cannot be opened.
    """
    if start_seconds < 0 or duration_seconds < 0:
        raise InputError(
            f"sound was asked from {start_seconds:g} s for {duration_seconds:g} s: neither may be negative."
        )
    clip = file if isinstance(file, ClipFile) else ClipFile(file)
    with clip.open() as container:
        # Phones add tracks without a decoder, whose codec context is None.
        stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
        if stream is None:
            return None
        origin = _first_picture(container)
        if start_seconds > 1.0 and stream.time_base is not None:
            try:
                # One second earlier: decoders need a few packets to settle.
                container.seek(int((origin + start_seconds - 1.0) / stream.time_base), stream=stream)
            except av.error.FFmpegError:
                pass
        samples, begin, rate = _decode(container, stream, origin, start_seconds, duration_seconds)
    if samples is None:
        return None
    first = round((begin - start_seconds) * rate)
    if first > 0:
        samples = np.concatenate([np.zeros((samples.shape[0], first), np.float32), samples], axis=1)
    elif first < 0:
        samples = samples[:, -first:]
    if duration_seconds:
        samples = samples[:, : round(duration_seconds * rate)]
    if samples.shape[1] == 0:
        return None
    return {"waveform": torch.from_numpy(np.ascontiguousarray(samples)).unsqueeze(0), "sample_rate": rate}


def _first_picture(container: InputContainer) -> float:
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        if stream.start_time is not None and stream.time_base is not None:
            return float(stream.start_time * stream.time_base)
    return float(container.start_time or 0) / av.time_base


def _decode(
    container: InputContainer, stream: av.AudioStream, origin: float, start: float, duration: float
) -> tuple[np.ndarray | None, float, int]:
    """(samples ``[C, N]`` of all frames that overlap the range, time of the first, sample rate)"""
    resampler: av.AudioResampler | None = None
    parts: list[np.ndarray] = []
    begin: float | None = None
    rate = 0
    frames = container.decode(stream)
    failures = 0
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            break
        except av.error.FFmpegError:
            failures += 1
            if failures > 500:
                break
            frames = container.decode(stream)
            continue
        at = float(frame.time) - origin if frame.time is not None else 0.0 if begin is None else None
        if at is not None and at + frame.samples / frame.sample_rate <= start and begin is None:
            continue
        if at is not None and duration and at >= start + duration:
            break
        if resampler is None:
            # A change of rate or layout in mid-stream is resampled to the first frame's.
            rate = frame.sample_rate
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
            begin = at or 0.0
        parts += [out.to_ndarray() for out in resampler.resample(frame)]
    if resampler is None or begin is None or not parts:
        return None, 0.0, 0
    parts += [out.to_ndarray() for out in resampler.resample(None)]
    return np.concatenate(parts, axis=1).astype(np.float32, copy=False), begin, rate


def fit_audio(audio: dict, seconds: float, start: float = 0.0) -> tuple[np.ndarray, int]:
    """(float32 ``[C, N]``, sample rate) of ComfyUI's AUDIO from ``start`` (seconds) on, cut or padded with silence.

    Raises InputError.
    """
    samples, rate = _samples(audio)
    if samples.shape[0] > 2:  # every player takes stereo
        samples = samples[:2] if samples.shape[0] != 6 else _downmix(samples)
    count, first = round(seconds * rate), round(start * rate)
    samples = np.nan_to_num(samples[:, first : first + count], nan=0.0, posinf=1.0, neginf=-1.0)
    if samples.shape[1] < count:
        samples = np.pad(samples, ((0, 0), (0, count - samples.shape[1])))
    return np.ascontiguousarray(np.clip(samples, -1.0, 1.0)), rate


def _samples(audio: dict) -> tuple[np.ndarray, int]:
    """(float32 ``[C, N]``, sample rate) of ComfyUI's AUDIO. Raises InputError."""
    try:
        waveform, rate = audio["waveform"], int(audio["sample_rate"])
    except (KeyError, TypeError, ValueError):
        raise InputError("the audio must have a waveform and a sample_rate: connect an AUDIO output.") from None
    samples = torch.as_tensor(waveform).detach().to("cpu", torch.float32).numpy()
    samples = samples[0] if samples.ndim == 3 else samples
    if samples.ndim != 2 or samples.shape[0] < 1 or rate < 1:
        shape = list(samples.shape)
        raise InputError(f"the audio's waveform has the shape {shape} at {rate} Hz: [1, channels, samples] is wanted.")
    return samples, rate


def audio_digest(audio: dict | None) -> str:
    """Equal for two sounds exactly when their samples and rates are; empty without one.

    Raises:
        InputError: no waveform or sample rate.
    """
    if audio is None:
        return ""
    samples, rate = _samples(audio)
    digest = hashlib.blake2b(f"{samples.shape}:{rate}:".encode(), digest_size=16)
    for channel in samples:
        digest.update(np.ascontiguousarray(channel).data)
    return digest.hexdigest()


def _downmix(samples: np.ndarray) -> np.ndarray:
    """5.1 (L R C LFE Ls Rs) to stereo by ITU-R BS.775, scaled to not clip."""
    left, right, centre, _, left_rear, right_rear = samples
    weight = 0.5**0.5
    return np.stack([left + weight * (centre + left_rear), right + weight * (centre + right_rear)]) / (1 + 2 * weight)
