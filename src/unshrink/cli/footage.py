"""What the commands take that is for clips alone."""

from argparse import ArgumentParser

from unshrink.cli.values import frames, quality
from unshrink.video.containers import CODECS


def clip(parser: ArgumentParser) -> None:
    """What a command takes for clips."""
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--codec",
        choices=tuple(CODECS),
        help="of the frames: ffv1 (default in .mkv) and h264-rgb keep every value, h264 (default in .mp4) does not",
    )
    group.add_argument(
        "--frames", type=frames, metavar="A:B", help="frames A to B - 1 alone, from 0; either may be left out"
    )


def resume(parser: ArgumentParser) -> None:
    """The option of commands that take long."""
    parser.add_argument(
        "--resume",
        action="store_true",
        help="of clips: work in parts, which are kept if it is interrupted; the same command goes on",
    )


def clip_quality(parser: ArgumentParser, default: int) -> None:
    """The quality of H.264, where pictures have none."""
    parser.add_argument(
        "--quality",
        type=quality,
        metavar="Q",
        help=f"of clips in H.264, 1 to 100: CRF 38 - Q / 4 (default: {default})",
    )
