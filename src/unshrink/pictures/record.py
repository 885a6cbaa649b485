"""The record inside a small picture: which weights made it and what it came from (docs/file-format.md).

It travels in the XMP packet, which every format carries, as one element that is taken out again byte for byte. What is
read here comes from strangers: no XML parser sees it, and every value is checked.
"""

import dataclasses
import hashlib
import html
import json
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from unshrink.errors import ProvenanceError, UnshrinkWarning
from unshrink.pictures.image import CHANNELS, AnyImage, Image
from unshrink.pictures.sizes import Frame, Size, shrunk

NAMESPACE = "https://unshrink.dev/ns/1.0/"
MODEL_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
"""What weights may be called."""

_LONGEST_RECORD = 4096
_SCANNED = 1 << 20  # of an XMP packet, from its end
_LONGEST_SIDE, _MOST_PIXELS = 1_000_000, 1 << 33
_ADVICE = "name the weights with `model` to restore it without the record"

_ELEMENT = f'<rdf:Description rdf:about="" xmlns:unshrink="{NAMESPACE}" unshrink:record="%s"/>'
# As written here; or as another program writes the same property when it edits the packet
_RECORD = re.compile(
    re.escape(_ELEMENT).replace("%s", r'([^"<>]*)').encode()
    + rb'|\sunshrink:record\s*=\s*"([^"<>]*)"'
    + rb"|\sunshrink:record\s*=\s*'([^'<>]*)'"
    + rb"|<unshrink:record>([^<>]*)</unshrink:record>"
)
_END = b"</rdf:RDF>"
_EMPTY_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="unshrink">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


@dataclass(frozen=True)
class Record:
    """What a small picture says about where it comes from.

    Attributes:
        model: stable name of the weights, such as "irn-x4".
        weights: first 16 hexadecimal digits of the identity hash of the weights.
        scale: how many times smaller each side is, 2 to 16.
        size: (width, height) of the large picture in pixels.
        depth: bits a channel of the large picture, 8 or 16.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha: of the large picture.
        pixels: `checksum` of the small picture's pixels.
        resized: (width, height) that the large picture was resized to for the network, ``scale`` times the small one's;
            None where it was not: padded, at most.
        precision: in which the network computed, such as "float32"; None of pictures of before it was said.

    Raises:
        ProvenanceError: a value of another type or outside its range.
    """

    model: str
    weights: str
    scale: int
    size: Size
    depth: int
    channels: int
    pixels: str
    resized: Size | None = None
    precision: str | None = None
    format: ClassVar[int] = 1

    def __post_init__(self) -> None:
        valid = {
            "model": _matches(MODEL_NAME, self.model),
            "weights": _matches(r"[0-9a-f]{16}", self.weights),
            "scale": _within(self.scale, 2, 16),
            "size": _is_size(self.size),
            "depth": _within(self.depth, 8, 16) and self.depth in (8, 16),
            "channels": _within(self.channels, 1, 4),
            "pixels": _matches(r"[0-9a-f]{16}", self.pixels),
            "resized": self.resized is None or _is_size(self.resized),
            "precision": self.precision is None or _matches(r"[a-z0-9]{1,16}", self.precision),
        }
        if all(valid.values()) and self.resized:
            frame = Frame(self.size, self.small, self.scale)
            valid["resized"] = frame.fits and frame.resized and frame.between == self.resized
        if wrong := [name for name, is_valid in valid.items() if not is_valid]:
            met = ", ".join(f"{name} = {getattr(self, name)!r:.80}" for name in wrong)
            raise ProvenanceError(f"the record of this picture is malformed ({met}); {_ADVICE}")

    @property
    def small(self) -> Size:
        """(width, height) of the small picture that it was written for."""
        return shrunk(self.resized or self.size, Fraction(self.scale))

    def to_json(self) -> str:
        """The record as compact JSON with its keys in a fixed order."""
        values = {"format": self.format, **dataclasses.asdict(self)}
        said = {name: value for name, value in values.items() if value is not None}
        return json.dumps(said, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read a record; keys that are not known are ignored.

        Raises:
            ProvenanceError: malformed, or of a format that only a newer unshrink knows.
        """
        try:
            values: Any = json.loads(text) if len(text) <= _LONGEST_RECORD else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ProvenanceError(f"the record of this picture is malformed ({text[:40]!r}); {_ADVICE}")
        version = values.get("format")
        if _within(version, cls.format + 1, 10**9):
            raise ProvenanceError(
                f"the record of this picture has format {version} and was written by a newer version of unshrink; "
                f"update unshrink, or {_ADVICE}"
            )
        if not _within(version, cls.format, cls.format):
            raise ProvenanceError(f"the record of this picture is malformed (format = {version!r:.80}); {_ADVICE}")
        given: dict[str, Any] = {field.name: values.get(field.name) for field in dataclasses.fields(cls)}
        for name in ("size", "resized"):
            if isinstance(given[name], list):
                given[name] = tuple(given[name])
        return cls(**given)


def checksum(pixels: np.ndarray) -> str:
    """A fingerprint of what the pixels show, however they are packed: 16 hexadecimal digits.

    SHA-256 of the line "WIDTH HEIGHT CHANNELS DEPTH\\n" and the samples, row by row, little-endian. Before, the picture
    is brought to its fewest channels: an alpha channel that is opaque everywhere is left out, three equal colour
    channels count as one. So the fingerprint outlives formats without grey and programs that repack PNG.

    Args:
        pixels: (H, W, C) uint8 or uint16, C = 1 to 4.
    """
    pixels = _fewest_channels(pixels)
    height, width, channels = pixels.shape
    digest = hashlib.sha256(f"{width} {height} {channels} {8 * pixels.itemsize}\n".encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]


def fault(record: Record, small: Image) -> str:
    """What shows that a picture is not as it was when its record was written, for messages; "" where nothing does.

    What of a record can be checked against the picture is checked, because both come from a stranger.

    Args:
        record: that of the picture.
        small: the picture.
    """
    if record.pixels != checksum(small.pixels):
        return "its pixels were changed since unshrink made it (resized, re-encoded or edited)"
    shown = _fewest_channels(small.pixels).shape[2]
    possible = {
        "size": small.size == record.small,
        "channels": (shown < 3 or record.channels >= 3) and (shown % 2 or record.channels % 2 == 0),
    }
    wrong = [f"{name} = {getattr(record, name)}" for name, is_possible in possible.items() if not is_possible]
    met = f"{small.size[0]}x{small.size[1]} pixels, {CHANNELS[shown]}, scale = {record.scale}"
    return f"its record was altered, for it does not fit the picture ({', '.join(wrong)}; met {met})" if wrong else ""


def embed(image: AnyImage, record: Record) -> AnyImage:
    """Put a record into the XMP packet of a picture, in the place of an older one; the rest of the packet is kept.

    Warns:
        UnshrinkWarning: the packet cannot be understood and is replaced by one that holds the record alone.
    """
    packet = _RECORD.sub(b"", image.xmp) if image.xmp else _EMPTY_PACKET
    end = packet.rfind(_END)
    if end < 0 or len(packet) - end > _SCANNED // 2:
        warnings.warn(
            "the XMP metadata of this picture cannot be understood and was left out", UnshrinkWarning, stacklevel=2
        )
        packet, end = _EMPTY_PACKET, _EMPTY_PACKET.rfind(_END)
    element = _ELEMENT % html.escape(record.to_json())
    return dataclasses.replace(image, xmp=packet[:end] + element.encode() + packet[end:])


def extract(image: AnyImage) -> tuple[Record | None, AnyImage]:
    """Take the record out of a picture.

    Returns:
        The record, or None if there is none; and the picture with its XMP packet as it was before `embed`, byte for
        byte.

    Raises:
        ProvenanceError: the record is malformed or from a newer version, or there are several.
    """
    if not image.xmp:
        return None, image
    start = max(0, len(image.xmp) - _SCANNED)
    matches = _RECORD.finditer(image.xmp, start)
    match = next(matches, None)
    if not match:
        return None, image
    if next(matches, None):
        raise ProvenanceError(f"this picture holds several records, so none can be trusted; {_ADVICE}")
    packet = image.xmp[: match.start()] + image.xmp[match.end() :]
    text = next(group for group in match.groups() if group is not None)
    record = Record.from_json(html.unescape(text.decode("utf-8", "replace")))
    return record, dataclasses.replace(image, xmp=None if packet == _EMPTY_PACKET else packet)


def _fewest_channels(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[2] % 2 == 0 and (pixels[..., -1] == np.iinfo(pixels.dtype).max).all():
        pixels = pixels[..., :-1]
    if pixels.shape[2] >= 3 and (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all():
        pixels = pixels[..., [0, *range(3, pixels.shape[2])]]
    return pixels


def _matches(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (0, 0)
    return all(_within(side, 1, _LONGEST_SIDE) for side in sides) and sides[0] * sides[1] <= _MOST_PIXELS


def _within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # not isinstance: JSON's true is no number
