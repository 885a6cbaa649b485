"""EXIF blocks as bytes: what stands before them, and the size and orientation of the picture that they say.

Reference: Exif 3.0, CIPA DC-008-2023; TIFF Revision 6.0, Adobe 1992.
"""

import struct
from collections.abc import Iterator

_ORIENTATION, _EXIF_DIRECTORY = 0x0112, 0x8769
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)  # of the picture, and of its pixels
_SHORT, _LONG = 3, 4


def bare_exif(block: bytes) -> bytes | None:
    """An EXIF block without the "Exif" prefix that some formats put before it; None if it is no EXIF block at all."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return block if block[:4] in (b"II*\0", b"MM\0*") else None


def exif_of_size(block: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes:
    """The block with the new size in the place of the old one; all else byte for byte.

    A block that says another size than the old one, which another program has left behind, stays as it is.

    Args:
        block: an EXIF block.
        old: (width, height) of the picture that it came with.
        new: that of the picture that it goes with.
    """
    changed = bytearray(block)
    try:
        for tag, kind, place in _sizes(block):
            axis = 0 if tag in _WIDTHS else 1
            value = ("<" if block[:2] == b"II" else ">") + ("H" if kind == _SHORT else "I")
            if struct.unpack_from(value, block, place + 8) == (old[axis],):
                struct.pack_into(value, changed, place + 8, new[axis])
    except struct.error:  # damaged, or too small a number for the new size: it travels as it is
        return block
    return bytes(changed)


def orientation(block: bytes | None) -> int:
    """How a viewer turns the picture: 1 not at all, 2 to 8 as EXIF numbers them; 1 too where nothing sound is said."""
    if not block:
        return 1
    order = "<" if block[:2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, offset)
        for place in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, many, value = struct.unpack_from(order + "HHIH", block, place)
            if (tag, kind, many) == (_ORIENTATION, _SHORT, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _sizes(block: bytes) -> Iterator[tuple[int, int, int]]:
    """(tag, type, where it stands) of the entries that say a size."""
    order = "<" if block[:2] == b"II" else ">"
    places = [*struct.unpack_from(order + "I", block, 4)]
    for offset in places:  # and then of the directory that the first one points to
        (count,) = struct.unpack_from(order + "H", block, offset)
        for place in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, many, value = struct.unpack_from(order + "HHII", block, place)
            if tag == _EXIF_DIRECTORY and len(places) == 1:
                places.append(value)
            elif tag in (*_WIDTHS, *_HEIGHTS) and kind in (_SHORT, _LONG) and many == 1:
                yield tag, kind, place
