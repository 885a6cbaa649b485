"""Timestamps that outlive a container of milliseconds.

Matroska counts in milliseconds, and clips in ninety-thousandths or samples.  So a small clip has the true timestamps in
a tag: those of each stream, as steps, packed.  What is read comes from strangers: sizes are bounded, values checked.
"""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_STAMPS = 1 << 24  # of a stream: a week of 25 frames a second
_NEAR = 1.001  # milliseconds between a true time and what a container makes of it


@dataclass(frozen=True)
class Clock:
    """The timestamps of one stream in the order of time.

    Attributes:
        base: seconds that one unit takes.
        stamps: (N,) int64.
    """

    base: Fraction
    stamps: NDArray[np.int64]

    def exact(self, stamp: int, base: Fraction) -> int | None:
        """The true timestamp, in units of `base` of this clock, of one that was rounded; None where none is near.

        Args:
            stamp: the rounded one.
            base: its unit in seconds.
        """
        met = float(stamp * base * 1000)
        times = self.stamps * float(self.base * 1000)
        after = int(np.searchsorted(times, met))
        near = [index for index in (after - 1, after) if 0 <= index < len(times)]
        best = min(near, key=lambda index: abs(times[index] - met), default=None)
        return int(self.stamps[best]) if best is not None and abs(times[best] - met) <= _NEAR else None

    def as_json(self) -> dict[str, Any]:
        """The clock in a few words: equal steps take next to nothing."""
        steps = np.diff(self.stamps, prepend=np.int64(0))
        packed = base64.b64encode(zlib.compress(steps.astype("<i8").tobytes(), 9)).decode()
        return {"base": [self.base.numerator, self.base.denominator], "steps": packed}


def clock_of(values: Any) -> Clock | None:
    """The clock that `Clock.as_json` has written; None of what is none."""
    try:
        base, unpacked = Fraction(*map(int, values["base"])), zlib.decompressobj()
        steps = unpacked.decompress(base64.b64decode(values["steps"], validate=True), 8 * MOST_STAMPS)
        stamps = np.cumsum(np.frombuffer(steps, "<i8"))
    except (TypeError, KeyError, ValueError, OverflowError, ZeroDivisionError, zlib.error):
        return None
    sound = base > 0 and len(stamps) > 0 and unpacked.eof and bool((np.diff(stamps) >= 0).all())
    return Clock(base, stamps) if sound and np.abs(stamps).max() < 1 << 53 else None


Clocks = Mapping[int, Clock]
"""Of the streams of a clip, by their places in the file."""
