"""HDR and wide-gamut video to SDR in BT.709.

In linear display light, 1 is diffuse white (203 cd/m2, ITU-R BT.2408):

- HLG (ARIB STD-B67): inverse OETF, and OOTF with system gamma 1.2 for 1000 cd/m2 (ITU-R BT.2100).
- PQ (SMPTE ST 2084): EOTF (BT.2100).
- BT.2020 or P3 primaries to BT.709, clipped (ITU-R BT.2407).
- Tone mapping of max(R, G, B), which keeps the hue: extended Reinhard above 0.85 (SIGGRAPH 2002, equation 4). BT.2390
  would darken diffuse white to 79 %.
- Encoding for gamma 2.4 (ITU-R BT.1886).

BT.2020 or P3 without HDR transfer is BT.1886. Other tags count as BT.709.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import av
import cv2
import numpy as np

REFERENCE_WHITE = 203.0  # cd/m2, BT.2408
HLG_PEAK, PQ_PEAK = 1000.0, 10000.0
KNEE = 0.85
_AT_ONCE = 32768  # pixels
_GAMMA = 2.4
# ITU-T H.273 code points.
_PQ, _HLG, _BT2020, _P3 = 16, 18, 9, (11, 12)
_UNSPECIFIED = 2
# xy chromaticities of red, green and blue, with white D65.
_PRIMARIES = {
    "BT.709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


@dataclass(frozen=True)
class Mapping:
    """From ``transfer`` (HLG, PQ, SDR) and ``primaries`` (BT.2020, P3, BT.709) to SDR BT.709."""

    transfer: str
    primaries: str

    def __str__(self) -> str:
        return f"{self.transfer}, {self.primaries}"

    def apply(self, coded: np.ndarray, full_scale: float, out: np.ndarray | None = None) -> np.ndarray:
        """uint16 RGB ``[H, W, 3]``, in which ``full_scale`` is 1.0, to uint8."""
        if out is None:
            out = np.empty(coded.shape, np.uint8)
        rows = max(_AT_ONCE // coded.shape[1], 1)  # fits the CPU cache
        for top in range(0, len(coded), rows):
            self._apply(coded[top : top + rows], full_scale, out[top : top + rows])
        return out

    def _apply(self, coded: np.ndarray, full_scale: float, out: np.ndarray) -> None:
        light = np.take(_table(self.transfer, full_scale), coded)
        planes = list(cv2.split(cv2.transform(light, _matrix(self.primaries, self.transfer == "HLG"))))
        gain = None
        if self.transfer == "HLG":
            gain = cv2.pow(np.maximum(planes.pop(), 0), 0.2)  # the OOTF: system gamma 1.2
        if self.transfer != "SDR":
            peak = (HLG_PEAK if self.transfer == "HLG" else PQ_PEAK) / REFERENCE_WHITE
            largest = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
            largest = np.maximum(largest if gain is None else cv2.multiply(largest, gain), np.float32(KNEE))
            roll = rolled_off(largest, peak) / largest
            gain = roll if gain is None else cv2.multiply(gain, roll)
        shown = []
        for plane in planes:
            plane = plane if gain is None else cv2.multiply(plane, gain)
            np.clip(plane, 0.0, 1.0, out=plane)
            # The table is indexed by the square root for resolution in the dark.
            cv2.sqrt(plane, plane)
            shown.append(np.take(_coded(), (plane * np.float32(65535) + np.float32(0.5)).astype(np.uint16)))
        cv2.merge(shown, out)


def mapping(frame: av.VideoFrame) -> Mapping | None:
    """By the frame's tags; None for SDR BT.709."""
    transfer = {_PQ: "PQ", _HLG: "HLG"}.get(_tag(frame, "color_trc"), "SDR")
    tagged = _tag(frame, "color_primaries")
    if tagged in _P3:
        primaries = "P3"
    elif tagged == _BT2020 or (tagged in (0, _UNSPECIFIED) and transfer != "SDR"):
        primaries = "BT.2020"
    else:
        primaries = "BT.709"
    return None if (transfer, primaries) == ("SDR", "BT.709") else Mapping(transfer, primaries)


def _tag(frame: av.VideoFrame, name: str) -> int:
    return int(getattr(frame, name, None) or _UNSPECIFIED)


def rolled_off(light: np.ndarray, peak: float) -> np.ndarray:
    """Tone-maps linear light 0..``peak`` to 0..1; below :data:`KNEE` unchanged."""
    above = np.maximum(light - KNEE, 0) * (1 / (1 - KNEE))
    most = (peak - KNEE) / (1 - KNEE)
    return np.minimum(light, KNEE) + (1 - KNEE) * above * (1 + above / most**2) / (1 + above)


def hlg_to_scene(coded: np.ndarray) -> np.ndarray:
    """Inverse OETF of HLG (BT.2100 table 5), 0..1 to 0..1."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(coded <= 0.5, coded**2 / 3, (np.exp((np.maximum(coded, 0.5) - c) / a) + b) / 12)


def pq_to_light(coded: np.ndarray) -> np.ndarray:
    """EOTF of PQ (BT.2100 table 4), 0..1 to cd/m2."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = np.clip(coded, 0, 1) ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


@lru_cache(maxsize=8)
def _table(transfer: str, full_scale: float) -> np.ndarray:
    """float32 ``[65536]``: linear light of code values; scene light for HLG."""
    coded = np.arange(65536) / full_scale
    if transfer == "HLG":
        # OOTF: HLG_PEAK * Y**0.2 * scene / REFERENCE_WHITE. The constant is folded in here; it applies to Y as well.
        return (hlg_to_scene(coded) * (HLG_PEAK / REFERENCE_WHITE) ** (1 / 1.2)).astype(np.float32)
    light = pq_to_light(coded) / REFERENCE_WHITE if transfer == "PQ" else coded**_GAMMA
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _coded() -> np.ndarray:
    """uint8 ``[65536]``: code values of linear light ``(i / 65535)**2``."""
    return np.rint((np.arange(65536) / 65535) ** (2 / _GAMMA) * 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _matrix(primaries: str, luminance: bool) -> np.ndarray:
    """float32 ``[3, 3]``: linear RGB to BT.709; ``luminance`` appends the row for Y."""
    to_xyz = primaries_to_xyz(_PRIMARIES[primaries])
    matrix = np.linalg.inv(primaries_to_xyz(_PRIMARIES["BT.709"])) @ to_xyz
    return (np.vstack([matrix, to_xyz[1]]) if luminance else matrix).astype(np.float32)


def primaries_to_xyz(chromaticities: Sequence[tuple[float, float]], white: tuple[float, float] = _D65) -> np.ndarray:
    """float64 ``[3, 3]``: linear RGB to CIE XYZ (SMPTE RP 177)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in chromaticities]).T
    x, y = white
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])
