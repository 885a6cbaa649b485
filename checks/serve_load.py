"""The service at twice its capacity, with junk and bombs among the requests, and unkind clients beside them.

python checks/serve_load.py [--minutes 5]

Twice as many clients as one key has places each send one request after the other: nine of ten a picture, of a hundred
sizes, one a file of $UNSHRINK_DATA/hostile or a bomb, tiny ones among them.  Beside them, with keys of their own:
clients that drip, as many as there are places; a greedy one that sends tiny bombs as jobs, as fast as it can; and a
quiet one that asks once a second.  Held: only 200, 4xx and 503; the quiet one gets nothing but 200; p99 of /health
below 200 ms; the memory of the service and its workers flat after the first hundred pictures.  Before that, every
worker is sent each junk file and bomb once: what a decoder loads when it is first used is no growth.  /health is also
timed before, for what the machine itself adds.
"""

import argparse
import asyncio
import collections
import os
import random
import signal
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from measured import keep
from serving import Serve, bombs, drip, photo, tiny_bombs

CONCURRENCY, QUEUE = 2, 16
BACK_OFF = 1.0  # seconds; less than what Retry-After asks for
KEYS = ("many", "dripping", "greedy", "quiet")


def files(folder):
    """Pictures to downscale and to upscale, junk, bombs; and what the greedy one sends."""
    pictures = [photo(folder / "photo.png", 64 + 2 * n, 192 - n, n) for n in range(100)]
    data = Path(os.environ.get("UNSHRINK_DATA", Path(__file__).parents[2] / "shared/data"))
    junk = [path.read_bytes() for path in sorted((data / "hostile").iterdir())]
    tiny = list(tiny_bombs().values())
    return pictures, junk, [*bombs().values(), *tiny], tiny[0]


async def client(http, end, kinds, answers, seed):
    draw = random.Random(seed)
    pictures, junk, bad, _ = kinds
    while time.monotonic() < end:
        share = draw.random()
        body = draw.choice(pictures if share < 0.9 else junk if share < 0.99 else bad)
        action = draw.choice(["downscale", "downscale", "compare", "upscale?model=irn-x2"])
        began = time.monotonic()
        try:
            status = (await http.post(f"/v1/{action}", content=body)).status_code
        except httpx.HTTPError as fault:
            status = type(fault).__name__
        answers.append((status, time.monotonic() - began))
        if status == 429:
            await asyncio.sleep(BACK_OFF)


async def greedy(http, end, body, answers):
    """Sends a tiny bomb as a job, whatever it is told."""
    while time.monotonic() < end:
        answers[(await http.post("/v1/jobs?action=downscale", content=body, headers=bearer("greedy"))).status_code] += 1
        await asyncio.sleep(0.1)


async def quiet(http, end, body, answers):
    """Asks for one picture after the other, a second between them."""
    while time.monotonic() < end:
        answers[(await http.post("/v1/downscale", content=body, headers=bearer("quiet"))).status_code] += 1
        await asyncio.sleep(1)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def probe(url, seconds):
    """Seconds of every /health within this time; in a process of its own, so that the clients do not count."""
    times, end = [], time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=60) as http:
        while time.monotonic() < end:
            began = time.monotonic()
            answer = http.get("/health")
            times.append(time.monotonic() - began if answer.status_code == 200 else float("inf"))
            time.sleep(0.1)
    return times


async def warm_up(service, kinds):
    """Every junk file and bomb, as many times at once as there are workers."""
    _, junk, bad, _ = kinds
    async with httpx.AsyncClient(base_url=service.url, timeout=180, headers=bearer("many")) as http:
        for body in [*junk, *bad]:
            await asyncio.gather(*(http.post("/v1/downscale", content=body) for _ in range(CONCURRENCY)))


async def weigh(service, end, answers, memory):
    while time.monotonic() < end:
        memory.append((len([status for status, _ in answers if status == 200]), *service.memory()))
        await asyncio.sleep(1)


async def load(service, minutes, kinds):
    answers, memory, unkind = [], [], {key: collections.Counter() for key in KEYS[1:]}
    end, count = time.monotonic() + 60 * minutes, 2 * (CONCURRENCY + QUEUE)
    limits, clock = httpx.Limits(max_connections=count + 2), asyncio.get_running_loop()
    options = {"base_url": service.url, "timeout": 180, "limits": limits, "headers": bearer("many")}
    async with httpx.AsyncClient(**options) as http:
        clients = [client(http, end, kinds, answers, seed) for seed in range(count)]
        until = clock.time() + 60 * minutes
        drips = [drip(service.url, until, unkind["dripping"]) for _ in range(CONCURRENCY + QUEUE)]
        others = [greedy(http, end, kinds[3], unkind["greedy"]), quiet(http, end, kinds[0][0], unkind["quiet"])]
        await asyncio.gather(*clients, *drips, *others, weigh(service, end, answers, memory))
    return answers, memory, unkind


def milliseconds(times):
    return {f"p{q}": round(1000 * float(np.percentile(times, q)), 1) for q in (50, 99, 100)}


def report(idle, health, answers, memory, unkind):
    statuses = collections.Counter(status for status, _ in answers)
    refused = [seconds for status, seconds in answers if status == 429]
    warm = [total for count, _, total in memory if count >= 100]
    if not warm:
        raise SystemExit(f"only {statuses[200]} pictures, of which nothing can be said: give it more --minutes")
    # The lower quartile: a large picture in work for half a minute lifts the median of its fifth, a leak lifts both.
    fifths = [float(np.percentile(part, 25)) for part in np.array_split(warm, min(5, len(warm)))]
    return {
        "answers": {str(status): count for status, count in sorted(statuses.items(), key=str)},
        "health_ms": milliseconds(health),
        "health_ms_before": milliseconds(idle),
        "refused_ms": milliseconds(refused or [0.0]),
        "memory_mib": {
            "service": round(memory[-1][1]),
            "all_by_fifths_after_100": [round(fifth) for fifth in fifths],
            "all_most": round(max(total for *_, total in memory)),
            "pictures_weighed": memory[-1][0],
        },
        "only_200_4xx_503": all(status in (200, 503) or str(status).startswith("4") for status in statuses),
        "unkind": {key: {str(status): count for status, count in told.items()} for key, told in unkind.items()},
        "quiet_always_200": set(unkind["quiet"]) == {200},
        "health_below_200_ms": bool(np.percentile(health, 99) < 0.2),
        "memory_flat": bool(fifths[-1] < 1.05 * fifths[0]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds = files(Path(folder))
        keys = [option for key in KEYS for option in ("--api-key", key)]
        service = Serve(folder, "--concurrency", CONCURRENCY, "--queue", QUEUE, "--threads", 1, *keys)
        try:
            with ProcessPoolExecutor(1) as prober:
                idle = prober.submit(probe, service.url, 20).result()
                asyncio.run(warm_up(service, kinds))
                health = prober.submit(probe, service.url, 60 * args.minutes)
                answers, memory, unkind = asyncio.run(load(service, args.minutes, kinds))
                found = report(idle, health.result(), answers, memory, unkind)
        finally:
            service.end(signal.SIGTERM)
        found["bugs_logged"] = sum(line["event"] == "bug" for line in service.log)
    keep("serve_load", {"minutes": args.minutes, **found})
    raise SystemExit(not all(value for value in found.values() if isinstance(value, bool)) or found["bugs_logged"] > 0)


if __name__ == "__main__":
    main()
