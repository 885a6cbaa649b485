"""What is answered as JSON."""

from typing import Literal

from pydantic import BaseModel

from unshrink.server.options import Action, Kind


class Error(BaseModel):
    """Why there is no answer, in one sentence."""

    error: str


class Quality(BaseModel):
    """How close one picture is to another: PSNR in dB (null: nothing differs), SSIM, CIEDE2000 of 4x4 block means."""

    psnr_y: float | None
    psnr_rgb: float | None
    psnr_cb: float | None
    psnr_cr: float | None
    psnr_chroma: float | None
    ssim_y: float
    ssim_rgb: float
    colour_error: float
    colour_error_99: float


class Comparison(BaseModel):
    """A round trip beside ordinary resizing, each measured against the original."""

    model: str
    scale: int
    size: tuple[int, int]
    small_size: tuple[int, int]
    bytes: int
    small_bytes: int
    unshrink: Quality
    bicubic: Quality
    lanczos: Quality
    small_fidelity: Quality
    seconds: float
    notes: list[str]


class Weights(BaseModel):
    """Weights that are installed; lossy are those made for small pictures whose values change, as in JPEG."""

    name: str
    scale: int
    default: bool
    lossy: bool
    licence: str
    figures: dict[str, float]


class Models(BaseModel):
    """All weights that are installed."""

    models: list[Weights]


class Status(BaseModel):
    """How the service is."""

    status: str


class JobStatus(BaseModel):
    """How far a job is, with the frames of a clip and the seconds left, if known; the error of a failed one; links."""

    id: str
    kind: Kind
    action: Action
    status: Literal["queued", "running", "done", "failed"]
    progress: float
    frames: int | None
    frames_done: int | None
    seconds_left: float | None
    error: str | None
    links: dict[str, str]
