"""GFLOP/s that this machine reaches in a large convolution and a large matrix product; prints JSON.

python benchmarks/ceiling.py THREADS
"""

import json
import sys
import time

import torch


def ceiling(threads: int) -> dict[str, int]:
    """By what is computed and the precision."""
    torch.set_num_threads(threads)
    found = {"threads": threads}
    layers = {"convolution": (torch.nn.Conv2d(128, 128, 3, padding=1), (1, 128, 256, 256), 2 * 9 * 128 * 128 * 256**2)}
    layers["product"] = torch.nn.Linear(2048, 2048), (2048, 2048), 2 * 2048**3
    for precision in ("float32", "bfloat16"):
        for name, (layer, shape, count) in layers.items():
            layer, x = layer.to(getattr(torch, precision)), torch.rand(shape).to(getattr(torch, precision))
            if x.ndim == 4:
                layer, x = (thing.to(memory_format=torch.channels_last) for thing in (layer, x))
            seconds = []
            with torch.inference_mode():
                for _ in range(8):
                    start = time.perf_counter()
                    layer(x)
                    seconds.append(time.perf_counter() - start)
            found[f"{name}_{precision}"] = round(count / min(seconds) / 1e9)
    return found


if __name__ == "__main__":
    print(json.dumps(ceiling(int(sys.argv[1]))))
