"""Pictures from one bucket to another on a local Ray with two workers, of which one is killed.

    pip install "unshrink[ray]" localbucket
    python checks/cluster.py                   # 200 pictures, 10 of them broken

The buckets are those of localbucket, a small S3-compatible server, which is started here.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import ray
from folders import make_pictures
from obstore.store import from_url

from unshrink import read
from unshrink.batch.cluster import downscale, upscale


def main() -> None:
    """Prints what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--broken", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(check(Path(folder), options.count, options.broken))


def check(folder: Path, count: int, broken: int) -> str:
    """Pictures from a folder to a bucket, with a worker killed; again; and back from the bucket."""
    make_pictures(folder / "photos", count, broken)
    with bucket_server(folder / "server"), local_ray(), Killer("s3://bucket/small", after=count // 10) as killer:
        began = time.monotonic()
        photos, small, back = f"s3://bucket/{folder.name}", "s3://bucket/small", str(folder / "back")
        for path in sorted((folder / "photos").rglob("*.png")):
            obstore.put(from_url(photos), path.relative_to(folder / "photos").as_posix(), path.read_bytes())
        rows = downscale(photos, small, workers=2)
        assert killer.killed, "no worker was killed"
        failed = [row for row in rows if row["error"]]
        assert len(rows) == count, len(rows)
        assert len(failed) == broken, failed
        assert all("broken" in row["input"] for row in failed)
        made = versions(small)
        assert len(made) == count - broken, len(made)
        again = downscale(photos, small, workers=2)
        assert again == rows
        assert versions(small) == made, "something was done twice"
        assert not any(row["error"] for row in upscale(small, back, workers=2))
        for row in rows:
            if not row["error"]:
                restored = Path(back, row["input"]).with_name(f"{Path(row['input']).stem}_restored.png")
                assert read(restored).size == read(folder / "photos" / row["input"]).size
        return f"{len(made)} done, {len(failed)} named, {killer.killed} worker killed, {time.monotonic() - began:.0f} s"


def versions(place: str) -> dict[str, object]:
    """When each object below a place was written."""
    return {entry["path"]: entry["last_modified"] for batch in obstore.list(from_url(place)) for entry in batch}


@contextmanager
def bucket_server(folder: Path) -> Iterator[None]:
    """An S3-compatible server, to which the environment points meanwhile, with one bucket."""
    (folder / "bucket").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "localbucket", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, "the server did not start"
            time.sleep(0.05)
        yield
    finally:
        server.kill()
        server.wait()
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def local_ray() -> Iterator[None]:
    """Ray on this machine alone, with two CPUs for workers."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # 15 starves them on a busy machine
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", address="local")
    try:
        yield
    finally:
        ray.shutdown()


class Killer(threading.Thread):
    """Kills one worker when so many objects have been written."""

    def __init__(self, place: str, after: int) -> None:
        super().__init__(daemon=True)
        self.place, self.after, self.killed = place, after, 0

    def __enter__(self) -> "Killer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.after = sys.maxsize

    def run(self) -> None:
        """Waits and kills."""
        while len(versions(self.place)) < self.after:
            time.sleep(0.1)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                busy = path.read_bytes().startswith(b"ray::") and b"_Worker" in path.read_bytes()
            except OSError:  # gone meanwhile
                continue
            if busy:
                os.kill(int(path.parent.name), signal.SIGKILL)
                self.killed += 1
                return


if __name__ == "__main__":
    main()
