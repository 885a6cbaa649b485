"""What stands before the pixels of JPEG and PPM, looked through before Pillow reads it piece by piece.

Pillow takes each piece by itself, and joins blocks of EXIF one by one; so a file of a few megabytes with hardly a
picture in it would keep a process busy for minutes.
"""

import io
import re
from typing import BinaryIO

from unshrink.errors import ImageError

_SEGMENTS = 1000  # of JPEG before the pixels; a profile and XMP have a few hundred at most
_STRAY = 100  # bytes between them that cost as much as one
_ALONE = {0, 1, *range(0xD0, 0xDA)}  # markers without a length
_SCAN = 0xDA
_HEADER = 1 << 20  # bytes of PPM, comments with them
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])"
_PPM = re.compile(rb"P(?:[14]%b++\d+%b++\d+|[2356]%b++\d+%b++\d+%b++\d+)\s" % ((_SPACE,) * 5))
_COMMENT = re.compile(rb"#[^\r\n]*")


def jpeg(stream: BinaryIO) -> BinaryIO:
    """A JPEG file as it is.

    Raises:
        ImageError: it has more segments before its pixels than any program writes.
    """
    position, left = 2, _SEGMENTS * _STRAY
    while left > 0:
        stream.seek(position)
        head = stream.read(4)
        if len(head) < 4 or head[:2] == bytes((255, _SCAN)):
            stream.seek(0)
            return stream
        is_marker = head[0] == 255 and head[1] != 255
        has_length = is_marker and head[1] not in _ALONE
        position += 2 + int.from_bytes(head[2:], "big") if has_length else 1 + is_marker
        left -= _STRAY if has_length else 1
    raise ImageError(
        f"it is a JPEG of more than {_SEGMENTS:,} blocks of metadata, which no program writes; save it again"
    )


def ppm(stream: BinaryIO) -> BinaryIO:
    """A PPM file; one in text without its comments, which Pillow takes out one by one.

    Raises:
        ImageError: its header has no end, because of comments or spaces.
    """
    start = stream.read(_HEADER)
    if len(start) == _HEADER and not _PPM.match(start):
        raise ImageError(f"its PPM header, with comments, is longer than {_HEADER >> 20} MiB; take comments out")
    stream.seek(0)
    if start[1:2] not in b"123":
        return stream
    pieces = iter(lambda: stream.read(_HEADER) + stream.readline(), b"")  # none ends within a comment
    return io.BytesIO(b"".join(_COMMENT.sub(b"", piece) for piece in pieces))
