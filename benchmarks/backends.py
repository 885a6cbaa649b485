"""Times every installed backend: whole processes from cold, and the network alone, interleaved.

    python benchmarks/backends.py            prints a table and writes benchmarks/backends.json

With all installed weights, unless others are named.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from unshrink import weights as zoo
from unshrink.backends import Backend, available, make
from unshrink.weights import Weights

HERE = Path(__file__).parent
COLD = """
import sys, numpy as np
from unshrink import backends, weights
w = weights.load(sys.argv[1])
b = backends.make(w, sys.argv[2])
side = int(sys.argv[4])
if sys.argv[3] == "down":
    b.down(np.zeros((1, 3, side, side), np.float32))
else:
    side //= w.scale
    b.up(np.zeros((1, 3, side, side), np.float32), np.zeros((1, 3 * w.scale**2 - 3, side, side), np.float32))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=zoo.list_models(), help="names or files of weights")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="sides of the large picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "backends.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for weights in map(zoo.load, options.weights):
        rows += cold_starts(weights, min(options.sizes), options.rounds)
        for size in options.sizes:
            rows += steady(weights, size, options.rounds)
    print_table(rows)
    options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def cold_starts(weights: Weights, size: int, rounds: int) -> list[dict[str, Any]]:
    """Whole processes, from the start of Python to the end of the first picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        zoo.save(path, weights)

        def task(name: str, direction: str) -> Callable[[], object]:
            command = [sys.executable, "-c", COLD, str(path), name, direction, str(size)]
            return lambda: subprocess.run(command, check=True)

        tasks = {(name, direction): task(name, direction) for name in available() for direction in zoo.DIRECTIONS}
        return rows_of("cold start", weights, size, interleaved(tasks, rounds))


def steady(weights: Weights, size: int, rounds: int) -> list[dict[str, Any]]:
    """The network alone, after one run to warm up."""
    hr = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    backends = {name: make(weights, name) for name in available()}
    small = {name: backend.down(hr) for name, backend in backends.items()}
    lr = small[available()[-1]]
    z = np.zeros((1, 3 * weights.scale**2 - 3, *lr.shape[2:]), np.float32)

    def task(backend: Backend, direction: str) -> Callable[[], object]:
        return (lambda: backend.down(hr)) if direction == "down" else (lambda: backend.up(lr, z))

    tasks = {(name, direction): task(b, direction) for name, b in backends.items() for direction in zoo.DIRECTIONS}
    for name in backends:
        tasks[name, "up"]()
    rows = rows_of("network", weights, size, interleaved(tasks, rounds))
    for row in rows:
        row["lr_values_off"] = float((to_8_bit(small[row["backend"]]) != to_8_bit(lr)).mean())
    return rows


def interleaved(tasks: dict[tuple[str, str], Callable[[], object]], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of every task, each once a round, so that a busy moment of the machine hits all alike."""
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in tasks}
    for _ in range(rounds):
        for key, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[key].append(time.perf_counter() - start)
    return seconds


def rows_of(
    what: str, weights: Weights, size: int, seconds: dict[tuple[str, str], list[float]]
) -> list[dict[str, Any]]:
    slowest = {d: max(median(times) for (_, way), times in seconds.items() if way == d) for d in zoo.DIRECTIONS}
    return [
        {
            "what": what,
            "weights": weights.name,
            "size": size,
            "direction": direction,
            "backend": name,
            "seconds": round(median(times), 3),
            "spread": [round(min(times), 3), round(max(times), 3)],
            "times_faster": round(slowest[direction] / median(times), 2),
        }
        for (name, direction), times in seconds.items()
    ]


def to_8_bit(lr: np.ndarray) -> np.ndarray:
    return np.rint(lr.clip(0, 1) * 255)


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'':12}{'weights':12}{'size':>6}  {'way':6}{'backend':14}{'seconds':>8}{'min..max':>18}{'faster':>8}")
    for row in sorted(rows, key=lambda row: (row["what"], row["weights"], row["size"], row["direction"])):
        spread = "..".join(map(str, row["spread"]))
        print(
            f"{row['what']:12}{row['weights']:12}{row['size']:6}  {row['direction']:6}{row['backend']:14}"
            f"{row['seconds']:8}{spread:>18}{row['times_faster']:7}x"
        )


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "cpu": next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor()),
        "instructions": [flag for flag in flags if flag.startswith(("avx", "amx"))],
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in available()},
        "installed_megabytes": {name: folder_megabytes(name) for name in available()},
    }


def folder_megabytes(package: str) -> int:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return round(sum(file.stat().st_size for file in Path(spec.origin).parent.rglob("*") if file.is_file()) / 1e6)


if __name__ == "__main__":
    main()
