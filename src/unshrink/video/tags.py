"""What a small clip says of itself, in the tags of its container: the record of unshrink, and what is said of a clip.

``UNSHRINK`` holds the record of pictures (docs/file-format.md), with the checksum of the first frame;
``UNSHRINK_CLIP`` what the large clip's values meant, the shape of its pixels, whether every value was kept, and the
true timestamps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from unshrink.errors import ProvenanceError
from unshrink.pictures.record import Record
from unshrink.video.clock import Clocks, clock_of

RECORD, CLIP = "UNSHRINK", "UNSHRINK_CLIP"
_MATRICES, _RANGES = range(10), (1, 2)


@dataclass(frozen=True)
class Origin:
    """What a small clip says of the large one, beside its record.

    Attributes:
        matrix: of H.273, that the large clip's luma and chroma had; 0 for red, green and blue.
        range: 1 for luma from 16 to 235, 2 for 0 to 255.
        aspect: width of a pixel over its height; None where nothing is said.
        exact: whether every value of the small frames was kept.
        clocks: the true timestamps.
    """

    matrix: int | None = None
    range: int | None = None
    aspect: Fraction | None = None
    exact: bool = False
    clocks: Clocks = field(default_factory=dict)


def written(record: Record, origin: Origin) -> dict[str, str]:
    """The tags of a small clip."""
    clocks = {str(place): clock.as_json() for place, clock in origin.clocks.items()}
    shape = origin.aspect and [origin.aspect.numerator, origin.aspect.denominator]
    clip = {"matrix": origin.matrix, "range": origin.range, "aspect": shape, "exact": origin.exact, "clocks": clocks}
    return {RECORD: record.to_json(), CLIP: json.dumps(clip, separators=(",", ":"))}


def read(tags: Mapping[str, str]) -> tuple[Record | None, Origin, str]:
    """What the tags say, and what is wrong with the record, if so; of what is damaged beside it, nothing is known."""
    upper = {key.upper(): value for key, value in tags.items()}
    record, fault = None, ""
    try:
        record = Record.from_json(upper[RECORD]) if RECORD in upper else None
    except ProvenanceError as error:
        fault = str(error)
    return record, _origin(upper.get(CLIP, "")), fault


def others(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that go along: all but ours and those that a muxer writes of itself."""
    own = {RECORD, CLIP, "ENCODER", "MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "DURATION"}
    return {key: value for key, value in tags.items() if key.upper() not in own}


def _origin(text: str) -> Origin:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return Origin()
    if not isinstance(values, dict):
        return Origin()
    clocks: Any = values.get("clocks")
    clocks = clocks if isinstance(clocks, dict) else {}
    found = {int(place): clock_of(clock) for place, clock in clocks.items() if place.isdecimal() and len(place) < 4}
    return Origin(
        values.get("matrix") if values.get("matrix") in _MATRICES else None,
        values.get("range") if values.get("range") in _RANGES else None,
        _aspect(values.get("aspect")),
        values.get("exact") is True,
        {place: clock for place, clock in found.items() if clock},
    )


def _aspect(value: Any) -> Fraction | None:
    sides = value if isinstance(value, list) and len(value) == 2 else (0, 0)
    whole = all(type(side) is int and 0 < side < 1 << 16 for side in sides)
    return Fraction(*sides) if whole else None
