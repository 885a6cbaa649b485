"""Every file of $UNSHRINK_DATA/hostile, and bombs, to every place that takes pictures.

python checks/serve_hostile.py

Held: 200 or 422, in less than 10 seconds each; no bug in the log; no worker that died; memory within 400 MiB of idle.
"""

import collections
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import httpx
from serving import Serve, bombs

ACTIONS = ("downscale", "upscale?model=irn-x2", "compare")


def main():
    data = Path(os.environ.get("UNSHRINK_DATA", Path(__file__).parents[2] / "shared/data"))
    bodies = {path.name: path.read_bytes() for path in sorted((data / "hostile").iterdir())} | bombs()
    statuses, slow, most = collections.Counter(), {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        service = Serve(folder, "--concurrency", 1)
        idle = service.memory()[1]
        done = threading.Event()

        def weigh():
            nonlocal most
            while not done.wait(0.02):
                most = max(most, service.memory()[1])

        watcher = threading.Thread(target=weigh)
        watcher.start()
        slowest_bomb = 0.0
        with httpx.Client(base_url=service.url, timeout=120) as http:
            for name, body in bodies.items():
                for action in ACTIONS:
                    began = time.monotonic()
                    status = http.post(f"/v1/{action}", content=body).status_code
                    seconds = time.monotonic() - began
                    statuses[status] += 1
                    slow |= {f"{name} {action}": round(seconds, 1)} if seconds > 10 or status not in (200, 422) else {}
                    if " black " in name and status == 422:
                        slowest_bomb = max(slowest_bomb, seconds)
        done.set()
        watcher.join()
        service.end(signal.SIGTERM)
        bugs = [line for line in service.log if line["event"] == "bug"]
    found = {
        "files": len(bodies),
        "answers": dict(statuses),
        "slow_or_wrong": slow,
        "bomb_refused_ms_most": round(1000 * slowest_bomb),
        "bugs": len(bugs),
        "memory_mib": {"idle": round(idle), "most": round(most)},
    }
    print(json.dumps(found, indent=1))
    raise SystemExit(bool(bugs or slow or most > idle + 400))


if __name__ == "__main__":
    main()
