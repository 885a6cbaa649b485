"""Hostile picture files through the library and the command line: no crash, no hang, no traceback, little memory.

    python checks/hostile.py [FOLDER]          # default: hostile/ in $UNSHRINK_DATA

Every file goes alone through ``unshrink.read``, and its record through ``provenance.extract``, in a process of its own
whose time and memory are measured; then all together through ``unshrink downscale``, ``upscale`` and ``info``, whose
memory is measured against the same command with one ordinary picture of as many pixels as they take here.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measured import keep

from unshrink import Image, UnshrinkError, read, write
from unshrink.pictures import record as provenance

SECONDS, MEGABYTES, PARTLY = 10, 400, 3
PATIENCE = 60  # seconds for one picture in a command, the network included, on a machine that does other things too
PIXELS = 300_000  # up to which the commands take pictures: what larger ones cost is the network's matter


def main() -> None:
    """Prints what became of the files; ends with an error if one did not keep within the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("UNSHRINK_DATA", "../shared/data")) / "hostile"
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    files = sorted(path for path in parser.parse_args().folder.iterdir() if path.is_file() and path.suffix != ".csv")
    assert files, "no files"
    read_alone, bad = library(files)
    commands, worse = command_line(files)
    keep("hostile", {"files": len(files), "library": read_alone, "commands": commands, "wrong": bad + worse})
    bad += worse
    sys.exit(bool(bad))


def library(files: list[Path]) -> tuple[dict[str, object], list[str]]:
    """Each file alone; gives what came of them, and what went wrong."""
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
    found = {"kinds": dict(kinds), "seconds_most": round(slowest, 1), "mb_above_idle_most": round(largest)}
    return found, bad


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


def command_line(files: list[Path]) -> tuple[dict[str, object], list[str]]:
    """All files through each command; gives what came of them, and what went wrong."""
    found, bad = {}, []
    with tempfile.TemporaryDirectory() as out:
        photo = Path(out, "photo.png")
        write(Image(np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)), photo)
        small = Path(out, "small.png")
        write(Image(np.random.default_rng(0).integers(0, 256, (250, 300, 3), np.uint8)), small)
        limits = ["--timeout", str(PATIENCE), "--max-pixels", str(PIXELS), "--name", "{name}{ext}", "--overwrite"]
        for command, options, ordinary in (
            ("downscale", ["-o", f"{out}/small", *limits], photo),
            ("upscale", ["-m", "irn-x2", "-o", f"{out}/large", *limits], small),
            ("info", [], photo),
        ):
            usual = run([command, "-q", str(ordinary), str(ordinary.with_name("none.png")), *options])
            done = run([command, "-q", *map(str, files), *options])
            lines = done.errors.splitlines()
            strange = [line for line in lines if not line.startswith("unshrink: ")]
            refused = len([line for line in lines if line.startswith("unshrink: ") and "warning:" not in line])
            above = round(done.megabytes - usual.megabytes)
            found[command] = {"exit": done.code, "refused": refused, "seconds": round(done.seconds), "mb_above": above}
            alarming = [word for word in ("Traceback", "died", "unexpected", "given up") if word in done.errors]
            if done.code != PARTLY or alarming or above > MEGABYTES:
                bad.append(f"{command}: exit {done.code}, {above} MB above, {alarming}\n{done.errors[-2000:]}")
            bad += [f"{command}: {line}" for line in strange]
    return found, bad


@dataclass(frozen=True)
class Done:
    """A command that has ended: megabytes are those of the largest of its processes."""

    code: int
    errors: str
    seconds: float
    megabytes: float


def run(arguments: list[str]) -> Done:
    """Runs an ``unshrink`` command to its end."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "unshrink", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Done(code, said, time.monotonic() - began, usage.ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
