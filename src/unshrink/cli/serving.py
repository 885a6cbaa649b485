"""What ``serve`` takes."""

from argparse import ArgumentParser

from unshrink.cli.values import count


def serve(parser: ArgumentParser) -> None:
    """The address, the limits, the jobs and the processes of the service."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name under which it is asked, beside its address and localhost; may be repeated",
    )
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address or network of a proxy whose X-Forwarded-For and -Prefix are believed; may be repeated "
        "(default: none)",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-body", type=count, default=32, metavar="MIB", help="of a request (default: %(default)s)")
    limits.add_argument(
        "--max-pixels",
        type=count,
        default=50_000_000,
        metavar="N",
        help="of a picture, or a frame of a clip, in or out (default: 50 million)",
    )
    limits.add_argument("--max-clip", type=count, default=256, metavar="MIB", help="of a clip (default: %(default)s)")
    limits.add_argument(
        "--max-seconds", type=count, default=600, metavar="S", help="that a clip may last (default: %(default)s)"
    )
    limits.add_argument(
        "--queue", type=count, default=16, metavar="N", help="requests of one key that may wait (default: %(default)s)"
    )
    limits.add_argument(
        "--timeout", type=count, default=60, metavar="S", help="to wait, and to be worked on (default: %(default)s)"
    )
    limits.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help="ask for it; may be repeated; or UNSHRINK_API_KEYS=KEY,KEY, which other users of the machine cannot see",
    )
    limits.add_argument(
        "--rate", type=count, metavar="N", help="pictures a minute of each key, or address without keys (default: any)"
    )
    jobs = parser.add_argument_group("jobs")
    jobs.add_argument("--jobs-db", metavar="FILE", help="their database (default: in the user's state folder)")
    jobs.add_argument("--keep", type=count, default=1, metavar="HOURS", help="of results (default: %(default)s)")
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--concurrency", type=count, default=2, metavar="N", help="pictures at once, a process each (default: 2)"
    )
    computing.add_argument("--threads", type=int, default=0, metavar="N", help="of each (default: all cores)")
