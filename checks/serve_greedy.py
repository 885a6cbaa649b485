"""One key sends tiny bombs as jobs, without end: another key's job is taken and done, and nobody else reads the state.

python checks/serve_greedy.py
"""

import collections
import signal
import tempfile
import time
from pathlib import Path

import httpx
from measured import keep
from serving import Serve, photo, tiny_bombs

JOBS, PATIENCE = 150, 400


def main():
    bombs = list(tiny_bombs().values())[:2]  # the smallest: a job that runs is not interrupted
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        body = photo(Path(folder) / "photo.png", 128, 96)
        service = Serve(state, "--api-key", "greedy", "--api-key", "other")
        with httpx.Client(base_url=service.url, timeout=120) as http:

            def ask(method, place, key, **options):
                return http.request(method, place, headers={"Authorization": f"Bearer {key}"}, **options)

            place = "/v1/jobs?action=downscale"
            greedy = [ask("POST", place, "greedy", content=bombs[n % len(bombs)]) for n in range(JOBS)]
            began = time.monotonic()
            job = ask("POST", "/v1/jobs?action=downscale", "other", content=body)
            direct = ask("POST", "/v1/downscale", "other", content=body)
            status, links = "", job.json().get("links", {})
            while job.status_code == 202 and status != "done" and time.monotonic() < began + PATIENCE:
                time.sleep(0.5)
                status = ask("GET", links["self"], "other").json()["status"]
            seconds = time.monotonic() - began
        readable = [path.name for path in state.rglob("*") if path.stat().st_mode & 0o077]
        service.end(signal.SIGTERM)
    refused = [int(answer.headers["retry-after"]) for answer in greedy if answer.status_code == 429]
    found = {
        "greedy": {str(k): n for k, n in collections.Counter(answer.status_code for answer in greedy).items()},
        "greedy_retry_after": [min(refused), max(refused)] if refused else None,
        "other_job": f"{job.status_code}, {status}",
        "other_job_seconds": round(seconds),
        "other_request": direct.status_code,
        "readable_by_others": readable,
    }
    keep("serve_greedy", found)
    raise SystemExit(not (refused and status == "done" and direct.status_code == 200) or bool(readable))


if __name__ == "__main__":
    main()
