"""What passes from a clip that is read to one that is written."""

from dataclasses import dataclass, field
from typing import Any

from unshrink.pictures.sizes import Size
from unshrink.video.colour import Colour, Pixels


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pixels: (H, W, 3) uint8.
        stamp: when it is shown, in units of the stream's time base.
    """

    pixels: Pixels
    stamp: int


@dataclass(frozen=True)
class Passed:
    """A packet of another stream, which goes along as it is.

    Attributes:
        place: of its stream in the file that it comes from.
        packet: PyAV's.
    """

    place: int
    packet: Any

    @property
    def time(self) -> float:
        """Seconds."""
        return float((self.packet.pts or 0) * self.packet.time_base)


@dataclass(frozen=True)
class Coded:
    """A frame as it was encoded before.

    Attributes:
        packet: PyAV's, stamped as this clip is.
    """

    packet: Any

    @property
    def time(self) -> float:
        """Seconds."""
        return float(self.packet.pts * self.packet.time_base)


@dataclass
class Losses:
    """What could not be read.

    Attributes:
        frames: that came.
        damaged: of these, those that the decoder had to make up in part.
        reasons: what the decoder or the container said, once each.
    """

    frames: int = 0
    damaged: int = 0
    reasons: list[str] = field(default_factory=list)

    def note(self, error: Exception) -> None:
        """One more thing went wrong."""
        reason = getattr(error, "strerror", None) or str(error)
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(frozen=True)
class Looks:
    """What the first frame says of all.

    Attributes:
        size: in pixels.
        colour: what values mean.
        matrix: how players turn or flip it: the nine numbers of a display matrix; None for as it is.
        alpha: whether there is transparency, which is left out.
    """

    size: Size
    colour: Colour
    matrix: tuple[int, ...] | None
    alpha: bool
