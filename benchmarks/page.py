"""The whole way of the page at 12 megapixels: a JPEG is sent, made small as a job and fetched, and the same back.

    python benchmarks/page.py irn-x2 irn-x4

The page's requests are made, of a service of its own with one worker and both directions' networks kept compiled, and
beside each the command does the same, in turns.  Writes benchmarks/page.json.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from backends import machine, photo, seconds_of

from unshrink.pictures.formats import Loss
from unshrink.pictures.image import Image
from unshrink.pictures.io import write

TARGET = Path(__file__).with_suffix(".json")
SIZE = 4000, 3000
POLL = 0.5  # seconds between two looks at a job, as in web/service.js
UNSHRINK = [sys.executable, "-m", "unshrink"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", default=["irn-x2", "irn-x4"], help="weights by name")
    names = parser.parse_args().weights
    with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as http:
        rows = [row for name in names for row in ways(name, http, Path(folder))]
    TARGET.write_text(json.dumps({"rows": rows, "machine": machine()}, indent=1) + "\n")


def ways(name: str, http: httpx.Client, folder: Path) -> Iterator[dict[str, Any]]:
    """A row of each direction."""
    source, small, large = folder / "photo.jpg", folder / "small.png", folder / "large.png"
    write(Image(photo(*SIZE, 1)), source, overwrite=True, lossy=True, loss=Loss(quality=92))
    for action, sent, kept in (("downscale", source, small), ("upscale", small, large)):
        options = {"model": name} if action == "downscale" else {}
        line = [*UNSHRINK, action, sent, "-o", kept, "--overwrite", "-q", *(("-m", name) if options else ())]
        began = time.perf_counter()
        body, network = done(http, action, sent, options)
        page = time.perf_counter() - began
        command = seconds_of(line)
        if kept.read_bytes() != body:
            raise SystemExit(f"{action} with {name}: the service and the command made different files")
        row = {"weights": name, "size": SIZE, "action": action, "page_seconds": round(page, 2)}
        row |= {"worker_seconds": network, "command_seconds": round(command, 2)}
        print(json.dumps(row), flush=True)
        yield row


def done(http: httpx.Client, action: str, sent: Path, options: dict[str, str]) -> tuple[bytes, float]:
    """What a job makes of a file, and the seconds that its worker took."""
    created = http.post("v1/jobs", params={"action": action, **options}, content=sent.read_bytes())
    url = f"v1/jobs/{created.raise_for_status().json()['id']}"
    while (job := http.get(url).raise_for_status().json())["status"] != "done":
        if job["status"] == "failed":
            raise SystemExit(job["error"])
        time.sleep(POLL)
    result = http.get(f"{url}/result").raise_for_status()
    http.delete(url)
    return result.content, float(result.headers["X-Unshrink-Seconds"])


@contextmanager
def service(folder: Path) -> Iterator[httpx.Client]:
    """`unshrink serve` on a free port, once it answers."""
    line = [*UNSHRINK, "serve", "--port", "0", "--jobs-db", str(folder / "jobs.sqlite3"), "--concurrency", "1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        if not found:
            raise SystemExit(f"the service did not start: {said}")
        with httpx.Client(base_url=found[0], timeout=300) as http:
            http.get("/ready").raise_for_status()
            yield http
        process.terminate()


if __name__ == "__main__":
    main()
