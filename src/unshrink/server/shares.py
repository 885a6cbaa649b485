"""Who gets how much of what there is: places, memory, pictures a minute; and how much a worker does in a second.

An asker is a key; without keys, an address.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TELLING = 100_000  # pixels from which on a picture tells the speed: smaller ones take as long for all else
_REMEMBERED = 120.0  # seconds of work


class Shares:
    """Something of which each asker may hold as much as is left for the others.

    So one alone gets half of it, a second one beside it a quarter, and there is always some for the next.

    Args:
        most: how much there is: bytes, or places.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """How much all askers hold."""
        return self._held.total()

    def room(self, asker: str, size: int) -> bool:
        """Whether the asker may hold so much more."""
        return self._held[asker] + size <= self._most - self.held - size

    @contextmanager
    def hold(self, asker: str) -> Iterator[Callable[[int], bool]]:
        """Gives what takes so much more and says whether there was room for it; at the end all is given back."""
        mine = 0

        def take(size: int) -> bool:
            nonlocal mine
            if not self.room(asker, size):
                return False
            self._held[asker] += size
            mine += size
            return True

        try:
            yield take
        finally:
            self._held[asker] -= mine
            self._held = +self._held  # without who holds nothing


class Rate:
    """So many a minute from each asker, at once or one after the other: a bucket of tokens for each.

    Args:
        per_minute: 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0  # for one more
        self._full: dict[str, float] = {}  # when the bucket of each asker will be full again

    def wait(self, asker: str) -> int:
        """Whole seconds until the asker may come again; 0 if it may come now, which counts."""
        now = time.monotonic()
        full = max(self._full.get(asker, now), now) + self._seconds
        if full - now > 60 + 1e-6:
            return math.ceil(full - now - 60)
        self._full = {one: when for one, when in self._full.items() if when > now}
        self._full[asker] = full
        return 0


class Speed:
    """How fast the workers are, by what they did lately."""

    def __init__(self) -> None:
        self._pixels = self._seconds = 0.0

    def note(self, pixels: float, seconds: float) -> None:
        """So many pixels of large pictures went through a network, once, within so many seconds of one worker."""
        if pixels < _TELLING:
            return
        fade = _REMEMBERED / max(_REMEMBERED, self._seconds + seconds)
        self._pixels, self._seconds = fade * (self._pixels + pixels), fade * (self._seconds + seconds)

    def seconds(self, pixels: float) -> float:
        """For so many pixels, once through a network; 0 while nothing is known."""
        return pixels * self._seconds / self._pixels if self._pixels else 0.0

    def pixels(self, seconds: float) -> float:
        """That can be done within this time; any number while nothing is known."""
        return seconds * self._pixels / self._seconds if self._pixels else math.inf
