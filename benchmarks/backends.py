"""Times every installed backend in every precision beside the published network written plainly (benchmarks/plain.py).

    python benchmarks/backends.py               prints tables and writes benchmarks/backends.json, where rows stay
                                                that are of other sizes
    python benchmarks/backends.py --quick       512x512 alone, two rounds
    python benchmarks/backends.py --large       whole commands at 12 megapixels alone, at x2, x4 and x8: the plain
                                                network alone takes half an hour
    python benchmarks/backends.py --only command --sizes 4000x3000 --weights irn-x4

Each way lives in a process of its own; they take turns, one at a time, so that a busy moment of the machine hits all
alike; where others keep it busy, processor seconds (of all threads, the least of the rounds) say more.  "network" is
arrays to arrays after a run to warm up, in the tiles that the rescaler chooses; "command" whole processes, from the
start of Python to the written file, once compiled networks are kept; "start" the same of a small picture, down, with no
compiled network kept and with one.  Of more than `LARGE` pixels, networks and the plain command run once.
All is compared with the published network of the scale, written plainly; its parameters are random, as times are alike.
"""

import argparse
import functools
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from unshrink import weights as zoo
from unshrink.evaluation import environment
from unshrink.evaluation.environment import forget_peak_memory
from unshrink.network.architectures import from_dict, shapes, to_dict
from unshrink.network.irn import LEVELS
from unshrink.network.layers import operations
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.pictures.strips import strips_of
from unshrink.runtime.backends import PRECISIONS, available, distribution, make
from unshrink.runtime.backends.compiled import VARIABLE
from unshrink.runtime.backends.machine import cpu_features
from unshrink.runtime.pieces import as_values, to_planes
from unshrink.runtime.streaming import Pipeline
from unshrink.weights import Weights

HERE = Path(__file__).parent
PHOTO = HERE.parent / "examples" / "astronaut.png"
LARGE = 4_000_000
PLAIN = "plain"
WHATS = ["network", "command", "start"]
START = (256, 256)
Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """One way to run a network."""

    backend: str
    precision: str
    threads: int


def ways(threads: int) -> list[Way]:
    """The plain published network first, then ours; bfloat16 where the processor has it."""
    known = PRECISIONS if {"avx512_bf16", "amx_bf16"} & cpu_features() else PRECISIONS[:1]
    ours = [Way(name, one, threads) for name in available() for one in known[: 1 if name == "onnxruntime" else 2]]
    return [Way(PLAIN, "float32", threads), *ours]


def main() -> None:
    options = parsed()
    whats = [options.only] if options.only else WHATS
    before = json.loads(options.out.read_text()) if options.out.exists() else {"rows": [], "ceilings": [], "starts": []}
    kept = [row for row in before["rows"] if not (row["what"] in whats and row["size"] in options.sizes)]
    measured = before | {"machine": machine(), "rows": kept}
    measure(measured, whats, options)
    compare(measured["rows"])
    print_table(measured["rows"])
    print(*measured["starts"], sep="\n")
    options.out.write_text(json.dumps(measured, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=["irn-x2", "irn-x4"], help="names or files of weights")
    parser.add_argument("--sizes", nargs="+", default=["512x512", "1024x1024", "4000x3000"], metavar="WxH")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=WHATS, help="of these; the others stay as they were")
    parser.add_argument("--quick", action="store_true", help="512x512 alone, two rounds")
    parser.add_argument("--large", action="store_true", help="whole commands at 12 megapixels alone, at x2, x4 and x8")
    parser.add_argument("--out", type=Path, default=HERE / "backends.json")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.rounds = ["512x512"], 2
    if options.large:
        options.only, options.sizes, options.weights = "command", ["4000x3000"], ["irn-x2", "irn-x4", "irn-x8"]
    return options


def measure(measured: Row, whats: list[str], options: argparse.Namespace) -> None:
    """Measures what is wanted, into ``measured``."""
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if "start" in whats:
            measured["starts"] = [row for name in options.weights for row in starts(name, options.rounds, folder)]
        if {"network", "command"} & set(whats):  # rows that stay are shares of what was measured beside them
            measured["ceilings"] = [ceiling(threads) for threads in options.threads]
        for name in options.weights:
            weights = zoo.load(name)
            if "network" in whats:
                for threads, limit in zip(options.threads, measured["ceilings"], strict=True):
                    measured["rows"] += networks(weights, threads, sizes, options.rounds, limit, folder)
            if "command" in whats:
                for size in sizes:
                    measured["rows"] += commands(name, weights, size, options.rounds, measured["ceilings"], folder)


def compare(rows: list[Row]) -> None:
    """Says in every row how many times faster than the plain published network it is, in the same place."""
    for row in rows:
        plain = reference(rows, row)
        row["times_faster"] = round(plain["seconds"] / row["seconds"], 2)
        if "cpu_seconds" in row:
            row["times_less_cpu"] = round(plain["cpu_seconds"] / row["cpu_seconds"], 2)


def reference(rows: list[Row], row: Row) -> Row:
    """The plain published network in the same place."""
    same = ("what", "scale", "size", "direction", "threads")
    return next(r for r in rows if r["backend"] == PLAIN and all(r[key] == row[key] for key in same))


@functools.cache
def published(scale: int) -> Weights:
    """The published network of a scale, of zeros, which take as long as any parameters."""
    config = from_dict("irn", {"scale": scale, "blocks": [8] * LEVELS[scale]})
    tensors = {name: np.zeros(shape, np.float16) for name, shape in shapes(config).items()}
    return Weights(f"published-x{scale}", "irn", to_dict(config), tensors, about={"licence": "none"})


def network_of(way: Way, weights: Weights) -> Weights:
    """What a way runs: the weights, or the published network of their scale."""
    return published(weights.scale) if way.backend == PLAIN else weights


def saved(weights: Weights, folder: Path) -> Path:
    """The file of weights, in a folder."""
    path = folder / f"{weights.name}.safetensors"
    zoo.save(path, weights)
    return path


# -- the network alone -----------------------------------------------------------------------------------------------


def networks(
    weights: Weights, threads: int, sizes: list[tuple[int, int]], rounds: int, limit: Row, folder: Path
) -> list[Row]:
    """Rows of all ways on pictures of each size, in turns."""
    spawn = multiprocessing.get_context("spawn")
    workers: dict[Way, tuple[Any, Connection]] = {}
    for way in ways(threads):
        here, there = spawn.Pipe()
        process = spawn.Process(
            target=serve, args=(way, saved(network_of(way, weights), folder), folder, there), daemon=True
        )
        process.start()
        there.close()  # so that a worker that dies is an error here, not silence
        workers[way] = process, here
    rows = []
    try:
        for size in sizes:
            pipes = {way: pipe for way, (_, pipe) in workers.items()}
            rows += in_turns(pipes, weights, size, 1 if size[0] * size[1] > LARGE else rounds, limit, folder)
    finally:
        for process, pipe in workers.values():
            pipe.send(None)
            process.join()
    return rows


def in_turns(
    pipes: dict[Way, Connection], weights: Weights, size: tuple[int, int], rounds: int, limit: Row, folder: Path
) -> list[Row]:
    np.save(folder / "hr.npy", photo(*size, weights.scale).transpose(2, 0, 1).astype(np.float32) / 255)
    rows: list[Row] = []
    for direction, source in zip(zoo.DIRECTIONS, ("hr.npy", "lr.npy"), strict=True):
        wanted: Any = None
        runs: dict[Way, list[tuple[float, float, int]]] = {way: [] for way in pipes}
        for number in range(rounds):
            for way, pipe in pipes.items():
                pipe.send((direction, source, "result.npy" if number == 0 else None))
                runs[way].append(pipe.recv())
                if number == 0:
                    result = np.load(folder / "result.npy")
                    ours = way.backend != PLAIN  # the plain one is another network: its results say nothing
                    wanted = result if ours and wanted is None else wanted
                    rows.append(row_of("network", network_of(way, weights), size, direction, way))
                    rows[-1]["psnr"] = psnr(result, wanted) if ours else None
        if direction == "down":
            np.save(folder / "lr.npy", (np.rint(wanted.clip(0, 1) * 255) / 255).astype(np.float32))
        for row, (way, taken) in zip(rows[-len(pipes) :], runs.items(), strict=True):
            row |= timed([seconds for seconds, _, _ in taken])
            row["cpu_seconds"] = round(min(busy for _, busy, _ in taken), 3)
            row |= shares(row, network_of(way, weights), size, limit)
            row["peak_megabytes"] = max(peak for _, _, peak in taken)
    return rows


def serve(way: Way, weights: Path, folder: Path, pipe: Connection) -> None:
    """A process of its own: runs what it is told, and says how long it took and how much memory it held at most."""
    run = runner(way, zoo.load(weights))
    warm: set[tuple[str, tuple[int, ...]]] = set()
    while (task := pipe.recv()) is not None:
        direction, source, target = task
        planes = np.load(folder / source)
        if (direction, planes.shape) not in warm and planes.size < 3 * LARGE:
            run(direction, planes)
        warm.add((direction, planes.shape))
        forget_peak_memory()
        start, busy = time.perf_counter(), time.process_time()
        result = run(direction, planes)
        taken = time.perf_counter() - start, time.process_time() - busy, peak_megabytes()
        if target:
            np.save(folder / target, result)
        pipe.send(taken)


def runner(way: Way, weights: Weights) -> Callable[[str, np.ndarray], np.ndarray]:
    """(direction, planes) -> planes."""
    if way.backend == PLAIN:
        import torch
        from plain import Plain

        torch.set_num_threads(way.threads)
        plain = torch.inference_mode()(lambda direction, planes: getattr(net, direction)(planes))
        net = Plain(weights)
        return plain
    pipeline = Pipeline(weights, make(weights, way.backend, way.threads, precision=way.precision))

    def run(direction: str, planes: np.ndarray) -> np.ndarray:
        pixels, height, width = planes.transpose(1, 2, 0), *planes.shape[1:]
        if direction == "down":
            made = pipeline.down(pixels, as_values, lambda share: None)
        else:
            made = pipeline.up(
                pixels, (height * weights.scale, width * weights.scale), 0, as_values, lambda share: None
            )
        return to_planes(np.concatenate(list(strips_of(made))))

    return run


def peak_megabytes() -> int:
    """The most memory held since `forget_peak_memory`; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


# -- whole commands --------------------------------------------------------------------------------------------------


def commands(
    name: str, weights: Weights, size: tuple[int, int], rounds: int, limits: list[Row], folder: Path
) -> list[Row]:
    """Rows of `unshrink downscale` and `upscale` from cold, with all cores, beside the plain network's own command."""
    source = folder / f"{size[0]}x{size[1]}.png"
    write(Image(photo(*size, weights.scale)), source, overwrite=True)
    cores = os.cpu_count() or 1
    unshrink = [sys.executable, "-m", "unshrink"]
    plain = saved(published(weights.scale), folder)
    rows, small = [], {way: folder / f"{way.backend}-{way.precision}.png" for way in command_ways(cores)}
    for direction in zoo.DIRECTIONS:
        lines = {}
        for way, path in small.items():
            pair = [source, path] if direction == "down" else [path, folder / "large.png"]
            if way.backend == PLAIN:
                lines[way] = [sys.executable, HERE / "plain.py", direction, plain, *pair]
            else:
                choice = ["--precision", way.precision, "--backend", way.backend, "-m", name]
                lines[way] = [*unshrink, f"{direction}scale", pair[0], "-o", pair[1], "--overwrite", "-q", *choice]
        taken: dict[Way, list[float]] = {way: [] for way in lines}
        if size[0] * size[1] <= LARGE:
            for line in lines.values():
                subprocess.run(line, check=True)
        for number in range(rounds):
            for way, line in lines.items():
                if number == 0 or way.backend != PLAIN or size[0] * size[1] <= LARGE:
                    taken[way].append(seconds_of(line))
        for way, times in taken.items():
            rows.append(row_of("command", network_of(way, weights), size, direction, way) | timed(times))
            of_all_cores = next((limit for limit in limits if limit["threads"] == way.threads), None)
            if of_all_cores:
                rows[-1] |= shares(rows[-1], network_of(way, weights), size, of_all_cores)
    return rows


def starts(name: str, rounds: int, folder: Path) -> list[Row]:
    """Seconds of `unshrink downscale` of a small picture, where no compiled network is kept and where one is."""
    source, kept = folder / "start.png", folder / "compiled"
    write(Image(photo(*START, zoo.load(name).scale)), source, overwrite=True)
    line = [sys.executable, "-m", "unshrink", "downscale", source, "-o", folder / "started.png", "--overwrite", "-q"]
    rows = []
    for way in command_ways(os.cpu_count() or 1):
        if way.backend == PLAIN:
            continue
        taken: dict[str, list[float]] = {"none": [], "one": []}
        for _ in range(rounds):
            shutil.rmtree(kept, ignore_errors=True)
            for seconds in taken.values():
                choice = ["-m", name, "--precision", way.precision, "--backend", way.backend]
                seconds.append(seconds_of([*line, *choice], {**os.environ, VARIABLE: str(kept)}))
        about = {"weights": name, "backend": way.backend, "precision": way.precision}
        rows += [{**about, "compiled_network_kept": which, **timed(seconds)} for which, seconds in taken.items()]
    return rows


def seconds_of(line: list[Any], environment: dict[str, str] | None = None) -> float:
    """How long a command takes; an error where it fails."""
    start = time.perf_counter()
    subprocess.run(line, check=True, env=environment)
    return time.perf_counter() - start


def command_ways(threads: int) -> list[Way]:
    """The plain network, the fastest backend, and the one that stands in for it."""
    return [way for way in ways(threads) if way.backend in (PLAIN, *available()[:2])]


# -- what is measured against ----------------------------------------------------------------------------------------


def ceiling(threads: int) -> Row:
    """GFLOP/s that this machine reaches, by ceiling.py: in a process of its own, as threads are set for all of it."""
    done = subprocess.run(
        [sys.executable, HERE / "ceiling.py", str(threads)], check=True, capture_output=True, text=True
    )
    found: Row = json.loads(done.stdout)
    return found


def photo(width: int, height: int, scale: int) -> np.ndarray:
    """A photo repeated to (H, W, 3), sides cut to multiples of the scale."""
    pixels = read(PHOTO).pixels
    times = -(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1
    return np.tile(pixels, times)[: height // scale * scale, : width // scale * scale]


def psnr(a: np.ndarray, b: np.ndarray) -> float | None:
    """dB between what two ways gave; None where they are equal."""
    error = float(np.mean((a - b) ** 2, dtype=np.float64))
    return round(-10 * np.log10(error), 2) if error else None


def row_of(what: str, weights: Weights, size: tuple[int, int], direction: str, way: Way) -> Row:
    of = {"what": what, "weights": weights.name, "scale": weights.scale}
    where = {"size": "x".join(map(str, size)), "direction": direction}
    return of | where | {"threads": way.threads, "backend": way.backend, "precision": way.precision}


def shares(row: Row, weights: Weights, size: tuple[int, int], limit: Row) -> Row:
    """How many megapixels and operations a second, and what share of the ceiling that is."""
    megapixels = size[0] * size[1] / 1e6 / row["seconds"]
    gflops = 2 * operations(weights.steps[row["direction"]]) * megapixels / 1e3
    share = gflops / limit[f"convolution_{row['precision']}"]
    return {
        "megapixels_per_second": round(megapixels, 3),
        "gflops": round(gflops, 1),
        "share_of_ceiling": round(share, 3),
    }


def timed(seconds: list[float]) -> Row:
    return {"seconds": round(median(seconds), 3), "spread": [round(min(seconds), 3), round(max(seconds), 3)]}


def print_table(rows: list[Row]) -> None:
    more = ("cpu_seconds", "gflops", "share_of_ceiling", "peak_megabytes", "psnr")
    for row in rows:
        spread = "..".join(map(str, row["spread"]))
        figures = ", ".join(f"{key} {row[key]}" for key in more if key in row)
        print(
            f"{row['what']:8}{row['weights']:13}{row['size']:>10} {row['direction']:5}{row['threads']} "
            f"{row['backend']:12}{row['precision']:9}{row['seconds']:9} {spread:>15} {row['times_faster']:6}x  "
            f"{figures}"
        )


def machine() -> Row:
    """What the figures depend on besides the code."""
    return {
        "cpu": environment.machine()["cpu"],
        "instructions": sorted(flag for flag in cpu_features() if flag.startswith(("avx", "amx"))),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(distribution(name)) for name in available()},
        "installed_megabytes": {name: folder_megabytes(distribution(name)) for name in available()},
    }


def folder_megabytes(package: str) -> int:
    spec = find_spec(package.replace("-", "_"))
    assert spec is not None
    assert spec.origin is not None
    return round(sum(file.stat().st_size for file in Path(spec.origin).parent.rglob("*") if file.is_file()) / 1e6)


if __name__ == "__main__":
    main()
