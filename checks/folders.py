"""A folder of pictures, some broken: all the others are done, also when the run or its workers are killed.

    python checks/folders.py                   # 1,000 pictures, 50 of them broken: minutes on two cores
    python checks/folders.py --count 100 --broken 5

Says one sentence for each part, and stops at the first that does not hold.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from measured import keep

import unshrink

BROKEN = {
    "empty": b"",
    "text": b"this is no picture\n" * 9,
    "cut": None,
    "header": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(200),
}
PARTLY = 3  # the exit code where some of several files failed


def main() -> None:
    """Runs every part with pictures in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--kill-at", type=float, nargs="*", default=[0.1, 0.5, 0.9], help="shares of the work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check = Check(Path(folder), options.count, options.broken)
        parts = [check.unbroken, *(partial(check.killed, share) for share in options.kill_at), check.workers_killed]
        said = []
        for part in parts:
            said.append(part())
            print(said[-1], flush=True)
    keep("folders", {"files": options.count, "broken": options.broken, "parts": said})


class Check:
    """Pictures in ``folder/photos``, and what comes of them in other folders beside it.

    Args:
        folder: an empty folder.
        count: how many files.
        broken: how many of them are no pictures.
        extra: more arguments for ``unshrink downscale``.
    """

    def __init__(self, folder: Path, count: int, broken: int, extra: tuple[str, ...] = ()) -> None:
        self.folder, self.count, self.broken, self.extra = folder, count, broken, extra
        self.made: dict[str, bytes] = {}
        make_pictures(folder / "photos", count, broken)

    def start(self, out: str) -> subprocess.Popen:
        """``unshrink downscale`` of all the pictures; what it prints goes to files, so that nobody need read it."""
        command = [sys.executable, "-m", "unshrink", "downscale", "photos", "-r", "-o", out, "--json", *self.extra]
        with (self.folder / "rows").open("wb") as rows, (self.folder / "messages").open("wb") as messages:
            return subprocess.Popen(command, cwd=self.folder, stdout=rows, stderr=messages)

    def finish(self, process: subprocess.Popen) -> tuple[list[dict], str]:
        """What a run printed; it must have ended with the exit code that says that some files failed."""
        process.wait()
        messages = (self.folder / "messages").read_text()
        assert process.returncode == PARTLY, (process.returncode, messages[-2000:])
        assert "Traceback" not in messages, messages
        return [json.loads(line) for line in (self.folder / "rows").read_text().splitlines()], messages

    def unbroken(self) -> str:
        """One run without disturbance: every good picture is done, every broken one named with a reason."""
        began = time.monotonic()
        rows, messages = self.finish(self.start("whole"))
        failed = [row for row in rows if "error" in row]
        assert len(rows) == self.count, len(rows)
        assert len(failed) == self.broken == len({row["input"] for row in failed})
        assert all("broken" in row["input"] and row["input"] in messages for row in failed)
        self.made = outputs(self.folder / "whole")
        assert len(self.made) == self.count - self.broken
        reasons = len({row["error"].replace(row["input"], "") for row in failed})
        return (
            f"unbroken: {len(self.made)} done, {len(failed)} named with {reasons} different reasons, exit {PARTLY}, "
            f"{time.monotonic() - began:.0f} s"
        )

    def killed(self, share: float) -> str:
        """A run that is killed when a share is done, and run again at once."""
        out = self.folder / f"killed-{share:g}"
        process = self.start(out.name)
        while len(lines(out, "done")) < share * len(self.made):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
        process.kill()
        process.wait()
        before = len(lines(out, "done"))
        rows, _ = self.finish(self.start(out.name))
        skipped = sum("skipped" in row for row in rows)
        assert skipped == before
        assert outputs(out) == self.made, "outputs differ from those of the unbroken run"
        done = collections.Counter(line["output"] for line in lines(out, "done"))
        assert done == dict.fromkeys(self.made, 1), "each once"
        begun = collections.Counter(line["output"] for line in lines(out, "begun"))
        again = sum(begun[name] > 1 for name in self.made)
        assert again <= (os.cpu_count() or 1)
        return f"killed at {share:.0%}: {skipped} were done, {again} begun again, all as in the unbroken run"

    def workers_killed(self) -> str:
        """A run of which a worker is killed now and then."""
        process, draw, kills = self.start("workers"), random.Random(0), 0
        out = self.folder / "workers"
        while process.poll() is None and kills < max(3, self.count // 100):
            done = len(lines(out, "done"))
            if done > kills * 10 and (workers := children(process.pid)):
                os.kill(draw.choice(workers), signal.SIGKILL)
                kills += 1
            time.sleep(0.05)
        self.finish(process)
        assert outputs(out) == self.made, "outputs differ from those of the unbroken run"
        return f"workers killed {kills} times: all as in the unbroken run"


def make_pictures(folder: Path, count: int, broken: int) -> None:
    """Small pictures in a tree of folders, and files that are none among them."""
    draw, kinds = np.random.default_rng(0), list(BROKEN)
    for number in range(count):
        place = folder / f"album {number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[: 24 + number % 5, : 32 + number % 3]
        pixels = np.stack([7 * x + number, 9 * y, 4 * (x + y)], axis=2) + draw.integers(0, 20, (*x.shape, 3))
        path = place / f"photo {number:04}.png"
        unshrink.write(unshrink.Image((pixels % 256).astype(np.uint8)), path)
        if number * broken // count != (number - 1) * broken // count:
            kind = kinds[number * broken // count % len(kinds)]
            whole = path.read_bytes()
            path.unlink()
            data = BROKEN[kind]
            path.with_name(f"broken {kind} {number:04}.png").write_bytes(whole[:300] if data is None else data)


def outputs(folder: Path) -> dict[str, bytes]:
    """The files below a folder, but for the manifest."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("unshrink-manifest")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(folder: Path, state: str) -> list[dict]:
    """The whole lines of the manifests of a folder that tell of a state."""
    texts = [path.read_bytes().splitlines(keepends=True) for path in folder.glob("unshrink-manifest*.jsonl")]
    whole = [json.loads(line) for text in texts for line in text if line.endswith(b"}\n")]
    return [line for line in whole if line["state"] == state]


def children(pid: int) -> list[int]:
    """The worker processes of a run (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:  # gone meanwhile
            continue
    return found


if __name__ == "__main__":
    main()
