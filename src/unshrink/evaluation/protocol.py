"""How close pictures come back, and how ordinary the small ones are: one round trip, and a set of pictures.

Protocol: 8-bit RGB over white, cut to a multiple of the scale; the luma of BT.601, and RGB; a border of ``scale``
pixels of the large picture cut; the small picture is what its PNG file gives, held against MATLAB's bicubic one, whole.

Shapes:  H, W the large picture, s the scale: hr (H, W, 3), lr (H/s, W/s, 3), all uint8.
"""

import functools
import io
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from unshrink.pictures import io as images
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize

NamedFigures = dict[str, float]  # of one picture or the mean of several; infinite PSNR where nothing differs
Measure = Callable[[str, RGB], NamedFigures]  # a picture's name in its set and its pixels -> its figures
Distance = Callable[[metrics.Pixels, metrics.Pixels], float]  # of two pictures: LPIPS

FILES = ("png", "webp")  # lossless formats in which the small picture is weighed


@dataclass(frozen=True)
class Figures:
    """One round trip, or the mean of several.

    Attributes:
        psnr_y: PSNR in dB of the restored luma.
        ssim_y: SSIM of the restored luma.
        psnr_rgb: PSNR in dB of the restored RGB.
        ssim_rgb: SSIM of the restored RGB, mean of the channels.
        lr_psnr_y: PSNR in dB of the small picture's luma against the bicubic small picture.
        lr_ssim_y: SSIM of the same.
        lr_psnr_rgb: PSNR in dB of the small picture's RGB against the bicubic small picture.
    """

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float
    lr_psnr_y: float
    lr_ssim_y: float
    lr_psnr_rgb: float

    def __str__(self) -> str:
        """The figures on one line, for logs."""
        return (
            f"HR {self.psnr_y:.2f} dB Y, SSIM {self.ssim_y:.4f}, {self.psnr_rgb:.2f} dB RGB; "
            f"LR {self.lr_psnr_y:.2f} dB Y, SSIM {self.lr_ssim_y:.4f}"
        )


def figures(hr: RGB, lr: RGB, restored: RGB, scale: int) -> Figures:
    """Figures of one picture: hr and restored (H, W, 3), lr (H/s, W/s, 3), all uint8."""
    reference = to_uint8(resize(hr, (lr.shape[1], lr.shape[0])))
    return Figures(
        **closeness(hr, restored, scale),
        lr_psnr_y=metrics.psnr_y(reference, lr),
        lr_ssim_y=metrics.ssim_y(reference, lr),
        lr_psnr_rgb=metrics.psnr(reference, lr),
    )


def closeness(hr: RGB, restored: RGB, scale: int) -> NamedFigures:
    """PSNR and SSIM of luma and RGB, without a border of ``scale`` pixels."""
    return {
        "psnr_y": metrics.psnr_y(hr, restored, scale),
        "ssim_y": metrics.ssim_y(hr, restored, scale),
        "psnr_rgb": metrics.psnr(hr, restored, scale),
        "ssim_rgb": metrics.ssim(hr, restored, scale),
    }


def looks(hr: RGB, restored: RGB, scale: int, lpips: Distance | None) -> NamedFigures:
    """LPIPS without the same border, if there is what measures it."""
    return {"lpips": lpips(metrics.cut(hr, scale), metrics.cut(restored, scale))} if lpips else {}


def mean(found: Iterable[Figures]) -> Figures:
    """The mean of each figure over pictures, as the field reports it."""
    return Figures(**mean_by_name(map(asdict, found)))


def mean_by_name(found: Iterable[NamedFigures]) -> NamedFigures:
    """The mean of each figure over pictures, all of which have the same figures."""
    rows = list(found)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def described(scale: int) -> dict[str, Any]:
    """How the figures are made, for readers of a result."""
    return {
        "large": f"8-bit RGB over white, cut to a multiple of {scale}",
        "small": "8 bits, through a PNG file",
        "luma": "BT.601, 16 to 235, not rounded",
        "border": scale,
        "ssim": "Gaussian window 11x11, sigma 1.5, valid region",
        "small_reference": "MATLAB's bicubic, rounded to 8 bits, whole",
        "mean": "of the pictures' figures",
    }


# -- one round trip ------------------------------------------------------------------------------------------------


class Method(Protocol):
    """What can be measured.  A Rescaler is one; so is anything with these four."""

    @property
    def name(self) -> str:
        """What the results are called: "irn-x2"."""

    @property
    def scale(self) -> int:
        """How many times smaller the small picture is, along each side."""

    def downscale(self, picture: Image, /) -> Image:
        """A picture (H, W, 3) of 8 bits -> (H/s, W/s, 3) of 8 bits; H and W are multiples of s."""

    def upscale(self, picture: Image, /) -> Image:
        """What a file of the small picture gives -> (H, W, 3) of 8 bits."""


def round_trip(method: Method, hr: RGB, lpips: Distance | None = None) -> NamedFigures:
    """Figures of one picture that goes through a PNG file; seconds are of the method alone, without files.

    Returns:
        `Figures`, `looks`, and for each format of `FILES` its size: ``png_bytes`` and ``png_bits_per_pixel`` of the
        large picture; ``down_seconds_per_megapixel`` and ``up_seconds_per_megapixel`` of the large picture.
    """
    pixels = hr.shape[0] * hr.shape[1]
    began = time.perf_counter()
    made = method.downscale(Image(hr))
    downscaled = time.perf_counter()
    files = {form: encoded(made, form) for form in FILES}
    small = images.read(files["png"])
    read = time.perf_counter()
    restored = method.upscale(small)
    done = time.perf_counter()
    found = asdict(figures(hr, small.pixels, restored.pixels, method.scale))
    found |= looks(hr, restored.pixels, method.scale, lpips)
    for form, file in files.items():
        found |= {f"{form}_bytes": len(file), f"{form}_bits_per_pixel": 8 * len(file) / pixels}
    seconds = {"down": downscaled - began, "up": done - read}
    return found | {f"{way}_seconds_per_megapixel": 1e6 * value / pixels for way, value in seconds.items()}


def encoded(image: Image, form: str) -> bytes:
    """A picture as a file of a lossless format."""
    stream = io.BytesIO()
    images.write(image, stream, format=form)
    return stream.getvalue()


def trips_of(method: Method, lpips: Distance | None = None) -> Measure:
    """Round trips of a method, after one that is not measured: the first run of a network compiles it."""
    warm_up = functools.cache(lambda: round_trip(method, np.zeros((16 * method.scale, 16 * method.scale, 3), np.uint8)))

    def measure(name: str, hr: RGB) -> NamedFigures:
        warm_up()
        return round_trip(method, hr, lpips)

    return measure
