"""What the values of options mean: text to value, or an error of argparse that says what is allowed."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from unshrink.pictures.sizes import LEAST_SCALE, MOST_SCALE


def source(text: str) -> str:
    """The name of a file; standard input under any of its names is "-"."""
    return "-" if text in ("/dev/stdin", "/dev/fd/0") else text


def target(text: str) -> str:
    """The name of a file; standard output under any of its names is "-"."""
    return "-" if text in ("/dev/stdout", "/dev/fd/1") else text


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.replace("_", "").isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def quality(text: str) -> int:
    """A whole number from 1 to 100."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 100, not {text!r}")
    return int(text)


def scale(text: str) -> float:
    """How many times smaller each side: a number from `LEAST_SCALE` to `MOST_SCALE`."""
    try:
        times = float(text)
    except ValueError:
        times = 0
    if not LEAST_SCALE <= times <= MOST_SCALE:
        raise argparse.ArgumentTypeError(f"must be a number from {LEAST_SCALE} to {MOST_SCALE}, not {text!r}")
    return times


def read(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """What reads a value and says why it cannot, as argparse wants it."""

    def value(text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return value


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        time = float(text)
    except ValueError:
        time = 0
    if not time > 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return time


def shard(text: str) -> tuple[int, int]:
    """One share of several: "1/4", the first of four, is (1, 4)."""
    share, slash, shares = text.partition("/")
    if not slash or not 1 <= count(share) <= count(shares):
        raise argparse.ArgumentTypeError(f"must be I/N, such as 1/4 for the first of four, not {text!r}")
    return count(share), count(shares)


def sides(text: str) -> tuple[int, int]:
    """Width and height in pixels: "4000x3000" is (4000, 3000)."""
    match = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give width and height in pixels, such as 4000x3000")
    return int(match[1]), int(match[2])


def frames(text: str) -> tuple[int | None, int | None]:
    """A part of a clip: "10:20" is (10, 20), frames 10 to 19, the first of the clip being 0."""
    match = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text)
    first, end = (int(side) if side else None for side in match.groups()) if match else (None, None)
    if not match or (end is not None and end <= (first or 0)):
        raise argparse.ArgumentTypeError(f"must be FIRST:END, such as 0:100 for the first hundred, not {text!r}")
    return first, end
