"""Whether a frame of FFV1 is as it was encoded: the decoder fills what is damaged from the frame before, and is silent.

Reference: Niedermayer, Rice, Martinez, FFV1 Video Coding Format Versions 0, 1, and 3, RFC 9043, section 4.8.
"""

import zlib

_FOOTER = 8  # bytes at the end of a slice: its size without them (3), a status (1) and what makes its CRC zero (4)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ZERO = 0xFFFFFFFF  # of zlib, which inverts before and after


def is_intact(packet: bytes) -> bool:
    """Whether the CRC of every slice of a frame of version 3 is right.

    The polynomial is that of zlib; FFV1 takes the bits of a byte from the other end.
    """
    end = len(packet)
    while end > 0:
        start = end - _FOOTER - int.from_bytes(packet[end - _FOOTER : end - _FOOTER + 3], "big")
        if start < 0 or zlib.crc32(packet[start:end].translate(_REVERSED), _ZERO) != _ZERO:
            return False
        end = start
    return True
