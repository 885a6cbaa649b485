"""How different two colours look: sRGB to CIELAB, and CIEDE2000."""

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float64]

XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""What linear R, G and B give to X, Y and Z (IEC 61966-2-1); its rows sum to the white of D65."""

KNEE = 6 / 29  # where the cube root of CIELAB goes over into a line


def linear(values: NDArray[np.uint8]) -> Colours:
    """8-bit sRGB values -> light in [0, 1], in proportion to its energy (IEC 61966-2-1)."""
    encoded = np.arange(256) / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.asarray(light[values])


def lab(light: Colours) -> Colours:
    """(..., 3) linear R, G and B in [0, 1] -> (..., 3) CIELAB under D65: L in [0, 100], a and b 0 of a grey."""
    relative = light @ (XYZ / XYZ.sum(axis=1, keepdims=True)).T
    root = np.where(relative > KNEE**3, np.cbrt(relative), relative / (3 * KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: Colours, other: Colours) -> Colours:
    """The difference of colours in CIELAB, (..., 3) each -> (...); about 1 is just seen side by side.

    Reference: Sharma, Wu, Dalal, The CIEDE2000 color-difference formula, Color Research & Application 30(1), 2005;
    the numbers of its equations stand beside.
    """
    (l1, c1, h1), (l2, c2, h2) = _cylinders(one, other)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2  # (12), (13)
    apart = np.abs(h2 - h1) > 180  # the shorter way round passes red
    turn = h2 - h1 - np.where(apart, np.copysign(360, h2 - h1), 0)  # (10)
    mean_h = (h1 + h2 + np.where(apart, np.where(h1 + h2 < 360, 360, -360), 0)) / 2  # (14)
    waves = 0.24 * _cosine(2 * mean_h) + 0.32 * _cosine(3 * mean_h + 6) - 0.20 * _cosine(4 * mean_h - 63)
    t = 1 - 0.17 * _cosine(mean_h - 30) + waves  # (15)
    off_middle = (mean_l - 50) ** 2
    lightness = (l2 - l1) / (1 + 0.015 * off_middle / np.sqrt(20 + off_middle))  # (8), (18)
    chroma = (c2 - c1) / (1 + 0.045 * mean_c)  # (9), (19)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * mean_c * t)  # (11), (20)
    turned = 60 * np.exp(-(((mean_h - 275) / 25) ** 2))  # twice (16)
    rotation = -2 * _compressed(mean_c) * np.sin(np.radians(turned))  # (17), (21)
    return np.asarray(np.sqrt(np.maximum(lightness**2 + chroma**2 + hue**2 + rotation * chroma * hue, 0)))  # (22)


def _cylinders(one: Colours, other: Colours) -> list[tuple[Colours, Colours, Colours]]:
    """Lightness, chroma and hue in degrees of both, a stretched where chroma is small: (2) to (7)."""
    chroma = (np.hypot(one[..., 1], one[..., 2]) + np.hypot(other[..., 1], other[..., 2])) / 2
    stretch = 1 + (1 - _compressed(chroma)) / 2
    found = []
    for colour in (one, other):
        lightness, a, b = np.moveaxis(colour, -1, 0)
        hue = np.degrees(np.arctan2(b, a * stretch)) % 360
        found.append((lightness, np.hypot(a * stretch, b), hue))
    return found


def _compressed(chroma: Colours) -> Colours:
    """From 0 at no chroma to 1 at much."""
    power = chroma**7
    return np.asarray(np.sqrt(power / (power + 25.0**7)))


def _cosine(degrees: Colours) -> Colours:
    return np.asarray(np.cos(np.radians(degrees)))
