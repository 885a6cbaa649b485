"""The table of the weights that are installed; `tools/ship.py` prints their rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True)
class Row:
    """One shipped weights file.

    Attributes:
        name: what users call it, method-scale-variant: "irn-x4".
        file: its name in the folder ``zoo`` of this package.
        sha256: of the file, in hex.
        bytes: size of the file.
        identity: of the parameters, as `Weights.identity`.
        architecture: "irn".
        scale: how many times smaller the small picture is, along each side.
        latent: how z is chosen to restore: "zero" or "gaussian".
        licence: SPDX identifier.
        card: the page that describes it, relative to the repository.
        figures: measured quality, as {data set and measure: value}.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    identity: str
    architecture: str
    scale: int
    latent: str
    licence: str
    card: str
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file is installed."""
        return _ZOO / self.file


ROWS: tuple[Row, ...] = (
    Row(
        name="irn-x2",
        file="irn-x2.safetensors",
        sha256="b7d7ee97f4c5ae96037621ccd8d8089c4c6d5367bf58a1c06eb9a9403b2cf42d",
        bytes=3377765,
        identity="118b797df74030888b607cc98fa52c513554108f2db50810a62dd465e741d092",
        architecture="irn",
        scale=2,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x2.md",
        figures={"Set5 PSNR-Y": 44.10},
    ),
    Row(
        name="irn-x2-gaussian",
        file="irn-x2-gaussian.safetensors",
        sha256="e57af233253445377bb0993a6533e31ac0fd7f909e3d50bb4192ebf2dad6c7bd",
        bytes=3377837,
        identity="a63ec5fea0ecd9c3093ad37aee98e28c55d268fc515a0b69f9ef8415fe9d58dd",
        architecture="irn",
        scale=2,
        latent="gaussian",
        licence="Apache-2.0",
        card="cards/irn-x2-gaussian.md",
        figures={"Set5 PSNR-Y": 39.56},
    ),
    Row(
        name="irn-x4-lean",
        file="irn-x4-lean.safetensors",
        sha256="4cee16f739866081dfea62b3d412ca1b04cd5ad2807d3ff8b21511967e8786d1",
        bytes=5842401,
        identity="700b1173b83029091627e019ae44926add3fd42ac7532651afd149cabacc3e3d",
        architecture="irn",
        scale=4,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x4-lean.md",
        figures={"Set5 PSNR-Y": 35.47},
    ),
    Row(
        name="irn-x4",
        file="irn-x4.safetensors",
        sha256="cf8f2fd0eefd83dcb17dc3a40c485526a9b155031887104d8ef99e4e2440b7e6",
        bytes=8790564,
        identity="4bee7f73760719985a61a39aa9c2ca5aa27703e95ffc23c9b486d1798ad243c9",
        architecture="irn",
        scale=4,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x4.md",
        figures={"Set5 PSNR-Y": 35.52},
    ),
    Row(
        name="irn-x4-gaussian",
        file="irn-x4-gaussian.safetensors",
        sha256="8e0b688fbc74355db6b596503e52c6f30c0687f517ce7e17437d6c6fcac779e5",
        bytes=8790572,
        identity="0ee9d97f4fd02a6574b81df370c80963107a6f7977afd419c21bbdb5f885aae6",
        architecture="irn",
        scale=4,
        latent="gaussian",
        licence="Apache-2.0",
        card="cards/irn-x4-gaussian.md",
        figures={"Set5 PSNR-Y": 32.89},
    ),
    Row(
        name="irn-x8",
        file="irn-x8.safetensors",
        sha256="8c31be5d2d2927169ca47f9a82164b236d113562790e78a720e05799ee57d3c0",
        bytes=12628539,
        identity="b98ec29f5d8af7a293f473f5576d2786568efc2a088faf38440b3c502e676279",
        architecture="irn",
        scale=8,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x8.md",
        figures={"Set5 PSNR-Y": 29.93},
    ),
)  # the first row of a scale is its default
