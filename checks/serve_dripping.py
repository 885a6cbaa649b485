"""Clients that send one byte every two seconds keep nobody out: an honest one is answered as if they were not there.

python checks/serve_dripping.py [--seconds 60] [--clients 100]
"""

import argparse
import asyncio
import collections
import signal
import tempfile
import time
from pathlib import Path

import httpx
from measured import keep
from serving import Serve, drip, photo


async def attack(url, body, seconds, count):
    """What the dripping clients and the honest one are answered, and the seconds of the latter."""
    end, dripping, honest, times = asyncio.get_running_loop().time() + seconds, collections.Counter(), [], []
    drips = [asyncio.ensure_future(drip(url, end, dripping)) for _ in range(count)]
    await asyncio.sleep(1)  # all of them are there
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        while asyncio.get_running_loop().time() < end:
            began = time.monotonic()
            honest.append((await http.post("/v1/downscale", content=body)).status_code)
            times.append(time.monotonic() - began)
    await asyncio.gather(*drips, return_exceptions=True)
    return dripping, collections.Counter(honest), max(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        body = photo(Path(folder) / "photo.png", 128, 96)
        service = Serve(folder)
        dripping, honest, slowest = asyncio.run(attack(service.url, body, args.seconds, args.clients))
        service.end(signal.SIGTERM)
    found = {
        "clients": args.clients,
        "dripping": dict(dripping),
        "honest": {str(status): count for status, count in honest.items()},
        "honest_seconds_most": round(slowest, 1),
    }
    keep("serve_dripping", found)
    raise SystemExit(set(honest) != {200} or set(dripping) != {"408"})


if __name__ == "__main__":
    main()
