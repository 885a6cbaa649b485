"""Every file of $UNSHRINK_DATA/hostile, and bombs, to every place that takes pictures.

python checks/serve_hostile.py

The service takes pictures of up to 300,000 pixels here: what larger ones cost is the network's matter.  Held: 200 or
422, with less than 10 processor seconds each (a hang ends as 503 after a minute); no bug in the log; memory within 400
MiB of what one such picture has left.
"""

import collections
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import httpx
from measured import keep
from serving import Serve, bombs, photo

ACTIONS = ("downscale", "upscale?model=irn-x2", "compare")
PIXELS, SECONDS, MEBIBYTES = 300_000, 10, 400


def main():
    data = Path(os.environ.get("UNSHRINK_DATA", Path(__file__).parents[2] / "shared/data"))
    bodies = {path.name: path.read_bytes() for path in sorted((data / "hostile").iterdir())} | bombs()
    statuses, wrong, most, slowest, slowest_bomb = collections.Counter(), {}, 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        service = Serve(folder, "--concurrency", 1, "--max-pixels", PIXELS)
        done = threading.Event()

        def weigh():
            nonlocal most
            while not done.wait(0.02):
                most = max(most, service.memory()[1])

        with httpx.Client(base_url=service.url, timeout=120) as http:
            for action, side in zip(ACTIONS, (540, 270, 540), strict=True):
                http.post(f"/v1/{action}", content=photo(f"{folder}/photo.png", side, side)).raise_for_status()
            idle = service.memory()[1]
            watcher = threading.Thread(target=weigh)
            watcher.start()
            for name, body in bodies.items():
                for action in ACTIONS:
                    began, used = time.monotonic(), service.processor_seconds()
                    status = http.post(f"/v1/{action}", content=body).status_code
                    seconds, used = time.monotonic() - began, service.processor_seconds() - used
                    statuses[status] += 1
                    slowest = max(slowest, used)
                    if used > SECONDS or status not in (200, 422):
                        wrong[f"{name} {action}"] = status, round(used, 1)
                    if " black " in name:
                        slowest_bomb = max(slowest_bomb, seconds)
        done.set()
        watcher.join()
        service.end(signal.SIGTERM)
        bugs = [line for line in service.log if line["event"] == "bug"]
    found = {
        "files": len(bodies),
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "wrong": wrong,
        "processor_seconds_most": round(slowest, 2),
        "bomb_refused_ms_most": round(1000 * slowest_bomb),
        "bugs_logged": len(bugs),
        "memory_mib": {"idle": round(idle), "most": round(most)},
    }
    keep("serve_hostile", found)
    raise SystemExit(bool(bugs or wrong or most > idle + MEBIBYTES))


if __name__ == "__main__":
    main()
