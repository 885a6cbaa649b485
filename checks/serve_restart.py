"""Jobs outlive a kill: 2 running and 20 queued, kill -9, start again; all are done, each once.

python checks/serve_restart.py
"""

import collections
import signal
import tempfile
import time
from pathlib import Path

import httpx
from measured import keep
from serving import Serve, photo

RUNNING, QUEUED = 2, 20


def states(http, jobs):
    return collections.Counter(http.get(job["links"]["self"]).json()["status"] for job in jobs)


def main():
    with tempfile.TemporaryDirectory() as folder:
        options = ("--concurrency", RUNNING + 1, "--threads", 1, "--queue", 16)
        first = Serve(folder, *options)
        long, short = (photo(Path(folder) / f"{side}.png", side, side) for side in (1200, 96))
        with httpx.Client(base_url=first.url, timeout=120) as http:
            jobs = [http.post("/v1/jobs?action=downscale", content=long).json() for _ in range(RUNNING)]
            jobs += [http.post("/v1/jobs?action=downscale", content=short).json() for _ in range(QUEUED)]
            while states(http, jobs)["running"] < RUNNING:
                time.sleep(0.2)
            before = states(http, jobs)
        first.end(signal.SIGKILL)
        began = time.monotonic()
        second = Serve(folder, *options)
        with httpx.Client(base_url=second.url, timeout=120) as http:
            while states(http, jobs)["done"] < len(jobs) and time.monotonic() < began + 600:
                time.sleep(0.5)
            after = states(http, jobs)
            whole = sum(http.get(job["links"]["result"]).status_code == 200 for job in jobs)
        seconds = time.monotonic() - began
        second.end(signal.SIGTERM)
        ended = [line for line in (*first.log, *second.log) if line["event"] == "job"]
    found = {
        "before": dict(before),
        "after": dict(after),
        "results": whole,
        "ended": len(ended),
        "ended_once": len({line["job"] for line in ended}) == len(ended) == len(jobs),
        "second_attempts": sum(line["attempt"] == 2 for line in ended),
        "seconds_until_all_were_done": round(seconds),
    }
    keep("serve_restart", found)
    raise SystemExit(not (found["ended_once"] and after["done"] == whole == RUNNING + QUEUED))


if __name__ == "__main__":
    main()
