"""The commands about sites: which there are, and what arrives of a picture that goes through one."""

import logging
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unshrink.batch import files
from unshrink.batch.items import STANDARD
from unshrink.cli.tasks import Result, Task
from unshrink.errors import ImageError, UsageError
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.sites import Arrived, Site, find, simulate
from unshrink.sites import sites as all_sites
from unshrink.text import align, human_bytes

METADATA = {"stripped": "stripped", "icc": "all but the profile stripped", "gps": "places stripped"}
KNOWN = {"code": "its code", "forks": "forks of its code", "analysis": "what it sends", "hearsay": "hearsay"}
CAUTION = "Rules change: send a picture of your own through the site, and look at what arrives with unshrink info."

logger = logging.getLogger("unshrink")


def sites(args: Namespace) -> list[Task]:
    """The table of sites, or one row in full."""
    if args.name:
        site = find(args.name)
        return [Task("", lambda: Result(_facts(site), _row(site)))]
    return [Task("", lambda: Result({"sites": [_facts(site) for site in all_sites()]}, _table()))]


def _table() -> str:
    head = ("name", "resizes above", "re-encodes as", "known from", "passes on as it is")
    rows = [(site.name, site.cap, _encodes(site), KNOWN[site.known], _doors(site)) for site in all_sites()]
    return "\n".join([*align([head, *rows]), CAUTION])


def _row(site: Site) -> str:
    rows = {
        "resizes above": site.cap,
        "re-encodes as": _encodes(site),
        "passes on as it is": _doors(site),
        "metadata": METADATA.get(site.metadata, site.metadata),
        "known from": f"{KNOWN[site.known]}: {site.source}",
        "checked": site.checked.isoformat(),
    }
    return "\n".join([site.label, *(f"  {key:<19} {value}" for key, value in rows.items()), CAUTION])


def _encodes(site: Site) -> str:
    limit = f" or less, up to {human_bytes(site.max_bytes)}" if site.max_bytes else ""
    what = "what came in" if site.format == "same" else formats.FORMATS[site.format].label
    return f"{what}, quality {site.quality}{limit}"


def _doors(site: Site) -> str:
    return "; ".join(map(str, site.doors)) or "nothing"


def _facts(site: Site) -> dict[str, Any]:
    return {**asdict(site), "checked": site.checked.isoformat()}


def simulated(args: Namespace) -> list[Task]:
    """A picture as it arrives."""
    site = find(args.site)
    if args.output == STANDARD and (args.json or sys.stdout.isatty()):
        raise UsageError("standard output is for the picture: name a file with -o, or send it elsewhere")
    return [Task(args.input, lambda: _simulated(args, site))]


def _simulated(args: Namespace, site: Site) -> Result:
    arrived = simulate(_bytes(args.input), site, max_pixels=args.max_pixels or images.MAX_PIXELS)
    form = formats.FORMATS[arrived.format]
    source = Path("stdin" if args.input == STANDARD else args.input)
    target = args.output or str(source.with_name(f"{source.stem}_{site.name}{form.extension}"))
    with files.opened(args.input, target, args.overwrite) as stream:
        stream.write(arrived.data)
    if target != STANDARD and Path(target).suffix.lower() not in form.extensions:
        logger.warning(f"{target} holds a {form.label} picture: that is what arrives")
    logger.info(f"{args.input} -> {target}: {site.label}: {_said(arrived)}, {human_bytes(len(arrived.data))}")
    facts = {"site": site.name, "format": arrived.format, "sent": arrived.sent, "size": arrived.size}
    return Result({"input": args.input, "output": target, **facts, "keeps": arrived.keeps, "bytes": len(arrived.data)})


def _said(arrived: Arrived) -> str:
    return f"{arrived}; a small picture does not come back from that" if arrived.resized else str(arrived)


def _bytes(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == STANDARD else Path(name).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {name}: {error.strerror}; check the name and the permissions") from error
