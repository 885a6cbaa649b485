"""Image resources of Photoshop, in which JPEG and TIFF files keep IPTC.

Reference: Adobe Photoshop File Formats Specification, Image Resource Blocks.
"""

import struct

IPTC_RESOURCE = 0x0404
_SIGNATURE = b"8BIM"


def iptc_of(resources: bytes) -> bytes | None:
    """The IPTC block among resources, if there is one."""
    position = 0
    while resources[position : position + 4] == _SIGNATURE and position + 7 <= len(resources):
        number, name = int.from_bytes(resources[position + 4 : position + 6], "big"), resources[position + 6]
        start = position + 7 + name + (name + 1) % 2  # name and its length fill an even number of bytes
        size = int.from_bytes(resources[start : start + 4], "big")
        if number == IPTC_RESOURCE:
            return resources[start + 4 : start + 4 + size] or None
        position = start + 4 + size + size % 2
    return None


def iptc_segment(iptc: bytes) -> bytes:
    """The segment of a JPEG file that holds an IPTC block; b"" of one that is too long for it."""
    resource = _SIGNATURE + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body if len(body) + 2 < 1 << 16 else b""
