"""The directories of a TIFF file: which pictures there are, and which one is meant.

A file may begin with a small copy of its picture, and a raw file of a camera always does.  So every directory is looked
at, those that libraries pass over among them, before one is read.

Reference: TIFF Revision 6.0, Adobe 1992; TIFF Technical Note 1 (SubIFDs), Adobe 1995; Digital Negative 1.7, Adobe 2023.
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from unshrink.errors import ImageError

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _SUBDIRECTORIES = 254, 255, 256, 257, 262, 330
_LOOKED_AT = {_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _WIDTH, _HEIGHT, 258, _PHOTOMETRIC, _SUBDIRECTORIES, 339}
_REDUCED, _MASK = 1, 4  # of the subfile type
_OLD_REDUCED = 2
_MOSAIC, _LINEAR_RAW = 32803, 34892
_CANON_RAW = b"CR"  # after the header
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # the types that hold whole numbers
_MOST_DIRECTORIES, _MOST_VALUES = 1000, 64


@dataclass(frozen=True)
class Directory:
    """One picture of a file.

    Attributes:
        offset: where the directory stands in the file.
        page: how many stand before it in the chain of pages.
        sub: which of the page's subdirectories it is; -1 for the page itself.
        tags: whole numbers of the entries that tell what it is.
    """

    offset: int
    page: int
    sub: int
    tags: dict[int, tuple[int, ...]]

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of an entry."""
        return self.tags.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.number(_WIDTH), self.number(_HEIGHT)

    @property
    def area(self) -> int:
        """Pixels."""
        return self.number(_WIDTH) * self.number(_HEIGHT)

    @property
    def is_full(self) -> bool:
        """Whether it says to be neither a smaller copy nor the mask of another one."""
        return not self.number(_SUBFILE_TYPE) & (_REDUCED | _MASK) and self.number(_OLD_SUBFILE_TYPE) != _OLD_REDUCED


def directories(stream: BinaryIO) -> list[Directory]:
    """Every directory of a TIFF file, each page followed by its subdirectories; up to the first that is damaged.

    Raises:
        struct.error: the first one is damaged.
    """
    layout = _Layout(stream)
    found = [layout.read(layout.first, 0, -1)[0]]
    with contextlib.suppress(struct.error):
        found += layout.rest(found[0])
    return found


def meant(found: list[Directory], start: bytes) -> Directory:
    """The directory of the picture that a file is about.

    That is the first one, unless it says to be a smaller copy or has a larger subdirectory: then the largest that does
    not say so.

    Args:
        found: all directories of the file.
        start: its first 16 bytes.

    Raises:
        ImageError: it is a raw file, so what could be read is a preview.
    """
    first, largest = found[0], max(found, key=lambda one: one.area)
    if start[8:10] == _CANON_RAW or any(one.number(_PHOTOMETRIC) in (_MOSAIC, _LINEAR_RAW) for one in found):
        raise ImageError(
            "it is the raw file of a camera, whose picture of {}x{} pixels is not developed yet; "
            "export it as PNG, TIFF or JPEG and give that".format(*largest.size)
        )
    is_larger = any(one.page == 0 and one.area > first.area for one in found)
    if first.is_full and not is_larger:
        return first
    return max([one for one in found if one.is_full] or found, key=lambda one: one.area)


class _Layout:
    """How wide the numbers of a file are, and which byte of them comes first."""

    def __init__(self, stream: BinaryIO) -> None:
        stream.seek(0)
        head = stream.read(16)
        self._stream, self._order = stream, "<" if head[:2] == b"II" else ">"
        is_big = 43 in head[2:4]
        self._count, self._offset, self._entry = ("Q", "Q", "HHQ8s") if is_big else ("H", "I", "HHI4s")
        (self.first,) = struct.unpack_from(self._order + self._offset, head, 8 if is_big else 4)

    def read(self, offset: int, page: int, sub: int) -> tuple[Directory, int]:
        """The directory there, and where the next one of the chain stands; 0 after the last."""
        self._stream.seek(offset)
        (count,) = self._unpack(self._count)
        if not 0 < count <= 1 << 16:
            raise struct.error
        size = struct.calcsize("<" + self._entry)
        entries = list(struct.iter_unpack(self._order + self._entry, self._exactly(count * size)))
        (following,) = self._unpack(self._offset)
        tags = {tag: self._values(kind, many, here) for tag, kind, many, here in entries if tag in _LOOKED_AT}
        return Directory(offset, page, sub, {tag: values for tag, values in tags.items() if values}), following

    def rest(self, first: Directory) -> Iterator[Directory]:
        """The subdirectories of the first page, and the pages behind it with theirs."""
        directory, following = self.read(first.offset, 0, -1)
        seen, page = {first.offset}, 0
        while len(seen) < _MOST_DIRECTORIES:
            for sub, offset in enumerate(directory.tags.get(_SUBDIRECTORIES, ())):
                yield self.read(offset, page, sub)[0]
            if following == 0 or following in seen:
                return
            seen.add(following)
            page += 1
            directory, following = self.read(following, page, -1)
            yield directory

    def _values(self, kind: int, count: int, here: bytes) -> tuple[int, ...]:
        letter, count = _NUMBERS.get(kind, ""), min(count, _MOST_VALUES)
        if not letter or not count:
            return ()
        packed = f"{self._order}{count}{letter}"
        if struct.calcsize(packed) > len(here):
            self._stream.seek(*struct.unpack(self._order + self._offset, here))
            here = self._exactly(struct.calcsize(packed))
        return struct.unpack_from(packed, here)

    def _unpack(self, letter: str) -> tuple[int, ...]:
        return struct.unpack(self._order + letter, self._exactly(struct.calcsize("<" + letter)))

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise struct.error
        return data
