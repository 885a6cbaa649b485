"""What the values of a picture mean in light, where its file says so by numbers and not by an ICC profile.

PNG says it with its chunks gAMA, cHRM, sRGB and cICP, AVIF with the numbers of a colr box.  A format that has no place
for them gets an ICC profile that says the same, as far as a profile can: not for the transfer functions of HDR.

References: Portable Network Graphics (PNG) Specification, third edition, W3C 2025; ITU-T H.273 (2024); ICC.1:2022.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Code = tuple[int, int, int, int]

_D65, _C, _DCI, _E = (0.3127, 0.329), (0.31, 0.316), (0.314, 0.351), (1 / 3, 1 / 3)
_BT709 = ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06), _D65)
_SMPTE_C = ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65)
_P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
_PRIMARIES = {  # of H.273, table 2: red, green, blue, white
    1: _BT709,
    2: _BT709,  # unspecified
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.6), (0.15, 0.06), _D65),
    6: _SMPTE_C,
    7: _SMPTE_C,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046), _D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), _E),
    11: (*_P3, _DCI),
    12: (*_P3, _D65),
    22: ((0.63, 0.34), (0.295, 0.605), (0.155, 0.077), _D65),
}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, tuple[float, ...]] = {  # of H.273, table 3: gamma, or the five numbers of an ICC curve of type 3
    **dict.fromkeys((1, 6, 11, 14, 15), _BT709_CURVE),
    2: _SRGB_CURVE,  # unspecified
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    13: _SRGB_CURVE,
    17: (2.6,),
}
_LIKE_SRGB = {1, 2, 6, 13, 14, 15}  # programs show the curves of video as that of sRGB
_HDR = {16: "PQ", 18: "HLG"}
_LINEAR, _LINEAR_FROM = 8, 80_000  # a code, and a gamma
_SRGB_GAMMA, _SRGB_CHROMATICITIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_NEAR = 100  # of a gamma or a chromaticity that writers round differently
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Meaning:
    """What values mean, as files say it; what stands further up goes before what stands below it.

    Attributes:
        code: colour primaries, transfer function, matrix and full range: the numbers of H.273.
        intent: rendering intent of sRGB, 0 to 3.
        gamma: exponent from light to values, times 100,000.
        chromaticities: x and y of white, red, green and blue, times 100,000.
        mastering: the display on which an HDR picture was made: the 24 bytes of PNG's chunk mDCV.
        light: the brightest light of an HDR picture: the 8 bytes of PNG's chunk cLLI.
    """

    code: Code | None = None
    intent: int | None = None
    gamma: int | None = None
    chromaticities: tuple[int, ...] | None = None
    mastering: bytes | None = None
    light: bytes | None = None

    @property
    def is_srgb(self) -> bool:
        """Whether it is what a file without a word about its colours means."""
        if self.code:
            return self.code[0] in (1, 2) and self.code[1] in _LIKE_SRGB
        if self.intent is not None:
            return True
        pairs = zip(self.chromaticities or _SRGB_CHROMATICITIES, _SRGB_CHROMATICITIES, strict=True)
        near = all(abs(met - standard) <= _NEAR for met, standard in pairs)
        return near and abs((self.gamma or _SRGB_GAMMA) - _SRGB_GAMMA) <= 5 * _NEAR

    @property
    def unlearned(self) -> str:
        """The kind of values that the networks have not learned; "" for ordinary ones."""
        if self.code:
            return _HDR.get(self.code[1], "linear light" if self.code[1] == _LINEAR else "")
        return "linear light" if self.intent is None and (self.gamma or 0) >= _LINEAR_FROM else ""

    def describe(self) -> str:
        """What it is, for messages: "colour primaries 12, transfer function 16 (PQ)"."""
        if self.code:
            name = f" ({self.unlearned})" if self.unlearned else ""
            return f"colour primaries {self.code[0]}, transfer function {self.code[1]}{name}"
        return f"gamma {(self.gamma or _SRGB_GAMMA) / 100_000:.4g}" + (", own primaries" if self.chromaticities else "")

    def profile(self, grey: bool = False) -> bytes | None:
        """An ICC profile that says the same; None where no profile can.

        Args:
            grey: whether the values are of one channel.
        """
        curve, primaries = self._curve(), self._primaries()
        colorants = _to_d50(primaries) if primaries else None
        return _icc(curve, None if grey else colorants) if curve and colorants is not None else None

    def _curve(self) -> tuple[float, ...] | None:
        if self.code:
            return _CURVES.get(self.code[1])
        return (100_000 / self.gamma,) if self.gamma and self.intent is None else _SRGB_CURVE

    def _primaries(self) -> tuple[tuple[float, float], ...] | None:
        if self.code:
            return _PRIMARIES.get(self.code[0])
        if not self.chromaticities or self.intent is not None:
            return _BT709
        white, *others = zip(*[(value / 100_000 for value in self.chromaticities)] * 2, strict=True)
        return (*others, white)


def note_of(meaning: Meaning | None, icc: bytes | None) -> str:
    """What is to be said of values that the networks have not learned; "" of ordinary ones."""
    if meaning is None or (icc and not meaning.code):
        meaning = Meaning(code=_code_of(icc)) if icc else Meaning()
    kind = meaning.unlearned
    hdr = "HDR, " if kind in _HDR.values() else ""
    return f"its values are {hdr}{kind}, which the networks have not learned: less comes back" if kind else ""


def _code_of(icc: bytes) -> Code | None:
    """The code in an ICC profile, where it has one (ICC.1:2022, cicpTag)."""
    if len(icc) < 132:
        return None
    for index in range(min(struct.unpack_from(">I", icc, 128)[0], 100)):
        entry = icc[132 + 12 * index : 144 + 12 * index]
        if entry[:4] == b"cicp" and len(entry) == 12:
            body = icc[int.from_bytes(entry[4:8], "big") :][:12]
            return (body[8], body[9], body[10], body[11]) if len(body) == 12 else None
    return None


def _to_d50(primaries: tuple[tuple[float, float], ...]) -> NDArray[np.float64] | None:
    """What light (3,) in the primaries is in XYZ under D50, as a matrix (3, 3); None where they span no plane."""
    if any(y <= 0 for _, y in primaries[3:]):
        return None
    red_green_blue = np.array([(x, y, 1 - x - y) for x, y in primaries[:3]]).T
    x, y = primaries[3]
    white = np.array((x / y, 1.0, (1 - x - y) / y))
    try:
        matrix = red_green_blue * np.linalg.solve(red_green_blue, white)
    except np.linalg.LinAlgError:
        return None
    adapt = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD)
    found: NDArray[np.float64] = adapt @ matrix
    return found if np.abs(found).max() < 1 << 15 else None


def _icc(curve: tuple[float, ...], colorants: NDArray[np.float64] | None) -> bytes:
    """A display profile of version 4.2 (ICC.1:2010): of RGB with these colorants in its columns, or of grey."""
    channels, space = (("r", "g", "b"), b"RGB ") if colorants is not None else (("k",), b"GRAY")
    kind, numbers = (0, curve) if len(curve) == 1 else (3, curve)
    para = b"para" + struct.pack(">IHH", 0, kind, 0) + _fixed(*numbers)
    tags = {b"desc": _text("of unshrink, from the numbers in the file"), b"cprt": _text("no copyright, use freely")}
    tags |= {b"wtpt": _xyz(_D50)} | {f"{channel}TRC".encode(): para for channel in channels}
    if colorants is not None:
        tags |= {f"{channel}XYZ".encode(): _xyz(colorants[:, index]) for index, channel in enumerate(channels)}
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = 128 + len(table) + len(bodies)
    head = struct.pack(">I4sI4s4s4s12x4s", size, bytes(4), 0x04200000, b"mntr", space, b"XYZ ", b"acsp")
    return head + bytes(28) + _fixed(*_D50) + bytes(48) + table + bodies


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _xyz(values: tuple[float, ...] | NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIIII", 0, 1, 12, int.from_bytes(b"enUS", "big"), len(content), 28) + content
