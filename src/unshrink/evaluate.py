"""Figures of one round trip: how close the large picture came back, and how ordinary the small one is.

Protocol: 8-bit pictures, luma, a border of ``scale`` pixels of the large picture cut; the small picture is held
against MATLAB's bicubic one, whole.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from unshrink import metrics
from unshrink.resize import resize

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Figures:
    """One round trip, or the mean of several.

    Attributes:
        psnr_y: PSNR in dB of the restored luma.
        ssim_y: SSIM of the restored luma.
        psnr_rgb: PSNR in dB of the restored RGB.
        lr_psnr_y: PSNR in dB of the small picture's luma against the bicubic small picture.
        lr_ssim_y: SSIM of the same.
    """

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    lr_psnr_y: float
    lr_ssim_y: float

    def __str__(self) -> str:
        """The figures on one line, for logs."""
        return (
            f"HR {self.psnr_y:.2f} dB Y, SSIM {self.ssim_y:.4f}, {self.psnr_rgb:.2f} dB RGB; "
            f"LR {self.lr_psnr_y:.2f} dB Y, SSIM {self.lr_ssim_y:.4f}"
        )


def figures(hr: Picture, lr: Picture, restored: Picture, scale: int) -> Figures:
    """Figures of one picture: hr and restored (H, W, 3), lr (H/s, W/s, 3), all uint8."""
    reference = to_uint8(resize(hr, (lr.shape[1], lr.shape[0])))
    return Figures(
        psnr_y=metrics.psnr_y(hr, restored, scale),
        ssim_y=metrics.ssim_y(hr, restored, scale),
        psnr_rgb=metrics.psnr(hr, restored, scale),
        lr_psnr_y=metrics.psnr_y(reference, lr),
        lr_ssim_y=metrics.ssim_y(reference, lr),
    )


def mean(rows: list[Figures]) -> Figures:
    """The mean of each figure over pictures, as the field reports it."""
    return Figures(**{key: float(np.mean([asdict(row)[key] for row in rows])) for key in asdict(rows[0])})


def to_uint8(image: NDArray[np.floating]) -> Picture:
    """Rounds values in [0, 255] to 8 bits, clipped."""
    return np.asarray(np.rint(np.clip(image, 0, 255)), np.uint8)
