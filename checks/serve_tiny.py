"""Tiny files of large pictures, one after the other: how long each holds a worker, and what it is told.

python checks/serve_tiny.py [--timeout 10]

Held: what could not be done in time is refused at once and told to come as a job; what is taken is done in time, but
for a fifth at most: the speed is an estimate.
"""

import argparse
import signal
import tempfile
import time

import httpx
from measured import keep
from serving import Serve, tiny_bombs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=int, default=10)
    args = parser.parse_args()
    answers, bombs = {}, tiny_bombs()
    with tempfile.TemporaryDirectory() as folder:
        service = Serve(folder, "--timeout", args.timeout)
        with httpx.Client(base_url=service.url, timeout=120) as http:
            for name, body in bombs.items():
                began = time.monotonic()
                answer = http.post("/v1/downscale", content=body)
                answers[name] = answer.status_code, round(time.monotonic() - began, 1), "job" in answer.text[:300]
        service.end(signal.SIGTERM)
    refused = {name: seconds for name, (status, seconds, _) in answers.items() if status == 422}
    late = [name for name, (status, _, _) in answers.items() if status == 503]
    found = {
        "bytes": {name: len(body) for name, body in bombs.items()},
        "answers": {name: f"{status} in {seconds} s" for name, (status, seconds, _) in answers.items()},
        "refused_seconds_most": max(refused.values(), default=0.0),
        "too_late": late,
    }
    keep("serve_tiny", found)
    told = all(names_jobs for status, _, names_jobs in answers.values() if status == 422)
    raise SystemExit(not (refused and told) or found["refused_seconds_most"] > 2 or len(late) > len(bombs) // 5)


if __name__ == "__main__":
    main()
