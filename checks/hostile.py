"""Hostile picture files through the library and the command line: no crash, no hang, no traceback, little memory.

    python checks/hostile.py [FOLDER]          # default: hostile/ in $UNSHRINK_DATA

Every file goes alone through ``unshrink.read``, and its record through ``provenance.extract``, in a process of its own
whose time and memory are measured; then all together through ``unshrink downscale``, ``upscale`` and ``info``.
"""

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from unshrink import UnshrinkError, provenance, read

SECONDS, MEGABYTES = 10, 400
SMALL = "300_000"  # pixels up to which the commands take pictures: what larger ones cost is the network's matter


def main() -> None:
    """Prints what became of the files; ends with an error if one did not keep within the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("UNSHRINK_DATA", "../shared/data")) / "hostile"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    files = sorted(path for path in parser.parse_args().folder.iterdir() if path.is_file() and path.suffix != ".csv")
    assert files, "no files"
    bad = library(files) + command_line(files)
    print("\n".join(bad) or "all within the limits")
    sys.exit(bool(bad))


def library(files: list[Path]) -> list[str]:
    """Each file alone; gives what went wrong."""
    context, bad, kinds = multiprocessing.get_context("fork"), [], Counter()
    slowest, largest = 0.0, 0.0
    for path in files:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=one, args=(path, theirs))
        began = time.monotonic()
        process.start()
        theirs.close()
        process.join(3 * SECONDS)
        seconds = time.monotonic() - began
        process.kill()
        process.join()
        kind, megabytes = ours.recv() if process.exitcode == 0 else (f"exit code {process.exitcode}", 0.0)
        kinds[kind] += 1
        slowest, largest = max(slowest, seconds), max(largest, megabytes)
        if kind not in ("read", "refused") or seconds > SECONDS or megabytes > MEGABYTES:
            bad.append(f"{path.name}: {kind}, {seconds:.1f} s, {megabytes:.0f} MB above idle")
    print(
        f"library: {len(files)} files: {dict(kinds)}; slowest {slowest:.1f} s, most memory {largest:.0f} MB above idle"
    )
    return bad


def one(path: Path, pipe) -> None:
    """Reads a file and says what came of it and how much memory that took."""
    before = resident()
    try:
        provenance.extract(read(path))
        kind = "read"
    except UnshrinkError as error:
        kind = "refused" if "\n" not in str(error) and len(str(error)) < 600 else f"refused with {str(error)!r}"
    except BaseException as error:
        kind = f"{type(error).__name__}: {error}"
    pipe.send((kind, peak() - before))


def resident() -> float:
    """Memory of this process now, in megabytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most memory that this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def command_line(files: list[Path]) -> list[str]:
    """All files through each command; gives what went wrong."""
    bad = []
    with tempfile.TemporaryDirectory() as out:
        for command in (
            ["downscale", "-o", f"{out}/small", "--max-pixels", SMALL, "--name", "{name}{ext}"],
            ["upscale", "-m", "irn-x2", "-o", f"{out}/large", "--max-pixels", SMALL, "--name", "{name}{ext}"],
            ["info"],
        ):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "unshrink", command[0], "-q", *map(str, files), *command[1:]],
                capture_output=True,
                text=True,
                errors="replace",
            )
            lines = done.stderr.splitlines()
            strange = [line for line in lines if not line.startswith("unshrink: ")]
            failed = len([line for line in lines if line.startswith("unshrink: ") and "warning:" not in line])
            print(
                f"{command[0]}: exit {done.returncode}, {failed} refused, {len(strange)} other lines on standard "
                f"error, {time.monotonic() - began:.0f} s"
            )
            if (
                done.returncode != 3
                or "Traceback" in done.stderr
                or "died" in done.stderr
                or "unexpected" in done.stderr
            ):
                bad.append(f"{command[0]}: exit {done.returncode}\n{done.stderr[-2000:]}")
            bad += [f"{command[0]}: {line}" for line in strange]
    return bad


if __name__ == "__main__":
    main()
