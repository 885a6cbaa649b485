"""The older ways, measured as `unshrink eval` measures weights: the same protocol, the same files in results/.

    python benchmarks/baselines.py --data Set5 Set14                    all of them
    python benchmarks/baselines.py 'bicubic-*' rlfn-x2 --data Set5      some; patterns as in a shell

    bilinear- bicubic- lanczos-x2 ...   resized both ways as MATLAB does it; -x2 -x4 -x8
    haar-x2 -x4 -x8                     the low band of the Haar transform; its details are restored as zero
    rlfn- bsrn-x2 -x4                   bicubic down, and up by a super-resolution network of $UNSHRINK_DATA/baselines
    short-irn- short-pair-x2 ...        networks that are trained here first, for minutes: see invertibility.py
    jpeg- webp- avif-irn-x2-png ...     the large picture itself, in as many bytes as the small PNG (or lossless WebP)
                                        file of irn-x2 takes; they need the result of those weights over the same set

A method of your own: an object with name, scale, downscale and upscale, as the classes here.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL
from PIL import features

from unshrink import weights as zoo
from unshrink.errors import ImageError, UnshrinkError
from unshrink.evaluation import tables
from unshrink.evaluation.protocol import Distance, Measure, Method, NamedFigures, closeness, looks
from unshrink.evaluation.run import Evaluation, evaluation_of, load_lpips, run
from unshrink.evaluation.sets import PictureSet, find_set
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import KERNELS, resize

ROOT = Path(__file__).parents[1]
SCALES = (2, 3, 4, 8)
WEIGHTS = {scale: zoo.for_scale(scale).name for scale in SCALES}  # the defaults; codecs may use as many bytes
CHECKPOINTS = {"rlfn": "RLFN/rlfn_x{}.pth", "bsrn": "BSRN/net_g_BSRN_x{}.pth"}
NETWORK_SCALES = (2, 4)  # those of the published checkpoints
CODECS: dict[str, list[dict[str, Any]]] = {  # ways to write each; of several, the one that comes closest is kept
    "jpeg": [{"optimize": True, "progressive": True, "subsampling": sampling} for sampling in ("4:2:0", "4:4:4")],
    "webp": [{"method": 6}],
    "avif": [{"speed": 8, "subsampling": sampling} for sampling in ("4:2:0", "4:4:4")],
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["*"], help="names or patterns (default: all)")
    parser.add_argument("--data", nargs="+", required=True, help="folders, or names of test sets")
    parser.add_argument("-o", "--output", default=str(ROOT / "results"))
    parser.add_argument("--lpips", metavar="FOLDER", help="also measure LPIPS, as unshrink eval does")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(argv)
    try:
        return measure(args)
    except UnshrinkError as error:
        print(error, file=sys.stderr)
        return 1


def measure(args: argparse.Namespace) -> int:
    """A line for each result; 1 where a picture had to be left out."""
    sets, lpips = [find_set(name) for name in args.data], load_lpips(args.lpips) if args.lpips else None
    chosen = [make for name, make in known().items() if any(fnmatch(name, given) for given in args.methods)]
    if not chosen:
        raise ImageError(f"no such method; there are {', '.join(known())}")
    evaluations = (make(pictures, Path(args.output), lpips) for make in chosen for pictures in sets)
    skipped: dict[str, str] = {}
    results = run(evaluations, args.output, args.overwrite)
    print(tables.heading())
    for result in results:
        print(tables.line(result), flush=True)
        skipped |= {f"{result['set']}/{name}": why for name, why in result["skipped"].items()}
    for why in skipped.values():
        print(why, file=sys.stderr)
    return int(bool(skipped))


Make = Callable[[PictureSet, Path, Distance | None], Evaluation]  # a set, the folder of results, LPIPS


def known() -> dict[str, Make]:
    """Every baseline that can run here, by name."""
    methods = [method for scale in SCALES for method in methods_of(scale)]
    found: dict[str, Make] = {method.name: partial(of_method, method) for method in methods}
    codecs = [form for form in CODECS if form == "jpeg" or features.check(form)]  # not every Pillow has them all
    for scale in SCALES:
        for form in codecs:
            for file in ("png", "webp"):
                found[f"{form}-{WEIGHTS[scale]}-{file}"] = partial(of_codec, form, scale, file)
    return found


def methods_of(scale: int) -> Iterator[Method]:
    """Those that make small pictures."""
    yield from (Resized(kernel, scale) for kernel in KERNELS)
    yield Haar(scale)
    if scale in NETWORK_SCALES:
        yield from (SuperResolved(network, scale) for network in CHECKPOINTS)
    if scale == 2:
        from invertibility import TRIALS

        yield from TRIALS


def of_method(method: Method, pictures: PictureSet, results: Path, lpips: Distance | None) -> Evaluation:
    return evaluation_of(method, pictures, lpips)


# -- methods that make small pictures ------------------------------------------------------------------------------


class Resized:
    """One kernel of MATLAB's imresize both ways."""

    def __init__(self, kernel: str, scale: int) -> None:
        self.name, self.kernel, self.scale = f"{kernel}-x{scale}", kernel, scale

    def downscale(self, picture: Image) -> Image:
        width, height = picture.size
        return Image(to_uint8(resize(picture.pixels, (width // self.scale, height // self.scale), self.kernel)))

    def upscale(self, picture: Image) -> Image:
        width, height = picture.size
        return Image(to_uint8(resize(picture.pixels, (width * self.scale, height * self.scale), self.kernel)))


class Haar:
    """What the network is before training: means of squares, and every value of a square restored as its mean."""

    def __init__(self, scale: int) -> None:
        self.name, self.scale = f"haar-x{scale}", scale

    def downscale(self, picture: Image) -> Image:
        width, height = (side // self.scale for side in picture.size)
        return Image(to_uint8(picture.pixels.reshape(height, self.scale, width, self.scale, 3).mean((1, 3))))

    def upscale(self, picture: Image) -> Image:
        return Image(picture.pixels.repeat(self.scale, 0).repeat(self.scale, 1))


class SuperResolved(Resized):
    """Bicubic down, and up by a network that was trained to undo it."""

    def __init__(self, network: str, scale: int) -> None:
        super().__init__("bicubic", scale)
        self.name, self.network = f"{network}-x{scale}", network
        folder = Path(os.environ.get("UNSHRINK_DATA", "")) / "baselines"
        self.checkpoint = folder / CHECKPOINTS[network].format(scale)

    @property
    def is_here(self) -> bool:
        """Whether its checkpoint is where it is looked for."""
        return self.checkpoint.is_file()

    @property
    def about(self) -> dict[str, Any]:
        import torch
        from operations import operations

        network, small = self._loaded, torch.rand(1, 3, 96, 96)
        return {
            "weights": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest(),
            "parameters": sum(values.numel() for values in network.parameters()),
            "operations": operations(lambda: network(small), (96 * self.scale) ** 2),
            "backend": f"torch {importlib.metadata.version('torch')}",
            "threads": torch.get_num_threads(),
        }

    def upscale(self, picture: Image) -> Image:
        import torch

        network = self._loaded
        with torch.inference_mode():
            small = torch.from_numpy(picture.pixels.transpose(2, 0, 1).astype(np.float32))[None]
            large = network(small * (network.peak / 255))[0] * (255 / network.peak)
        return Image(to_uint8(large.numpy().transpose(1, 2, 0)))

    @cached_property
    def _loaded(self) -> Any:
        import torch
        from super_resolution import BSRN, RLFN

        if not self.is_here:
            raise ImageError(f"no checkpoint {self.checkpoint}: set UNSHRINK_DATA to the folder that holds baselines/")
        values = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        network = {"rlfn": RLFN, "bsrn": BSRN}[self.network](self.scale)
        network.load_state_dict(values.get("params", values))
        return network.eval()


# -- codecs of the large picture -----------------------------------------------------------------------------------


def of_codec(
    form: str, scale: int, file: str, pictures: PictureSet, results: Path, lpips: Distance | None = None
) -> Evaluation:
    """A codec with the bytes that the small files of weights take, picture by picture."""
    path = results / WEIGHTS[scale] / f"{pictures.name}.json"
    if not path.is_file():
        raise ImageError(f"no result {path}, which says how many bytes {form} may use: run unshrink eval first")
    result = json.loads(path.read_text())
    budgets = {name: row[f"{file}_bytes"] for name, row in result["pictures"].items() if f"{file}_bytes" in row}
    about = {"bytes_of": {"method": result["method"], "weights": result["weights"], "file": file}}
    return Evaluation(f"{form}-{WEIGHTS[scale]}-{file}", scale, pictures, at_bytes(form, scale, budgets, lpips), about)


def at_bytes(form: str, scale: int, budgets: dict[str, int], lpips: Distance | None = None) -> Measure:
    """The best file of a codec that is no larger than a picture's budget; where none is, its smallest file."""

    def measured(name: str, hr: RGB) -> NamedFigures:
        if name not in budgets:
            raise ImageError(f"the small file of {name} was not measured: run unshrink eval again")
        quality, file = max(
            (largest_within(budgets[name], hr, form, options) for options in CODECS[form]),
            key=lambda found: (len(found[1]) <= budgets[name], metrics.psnr(hr, decoded(found[1]), scale)),
        )
        pixels = hr.shape[0] * hr.shape[1]
        return {
            **asdict(closeness(hr, decoded(file), scale)),
            **looks(hr, decoded(file), scale, lpips),
            "budget_bytes": budgets[name],
            "file_bytes": len(file),
            "file_bits_per_pixel": 8 * len(file) / pixels,
            "quality": quality,
        }

    return measured


def largest_within(budget: int, hr: RGB, form: str, options: dict[str, Any]) -> tuple[int, bytes]:
    """The highest quality of 1 to 100 whose file is no larger than the budget, and that file; else those of 1."""
    low, best = 1, encoded(hr, form, quality=1, **options)
    high = 100
    while low < high:
        middle = (low + high + 1) // 2
        file = encoded(hr, form, quality=middle, **options)
        low, high, best = (middle, high, file) if len(file) <= budget else (low, middle - 1, best)
    return low, best


def encoded(hr: RGB, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    PIL.fromarray(hr).save(stream, form, **options)
    return stream.getvalue()


def decoded(file: bytes) -> RGB:
    return np.asarray(PIL.open(io.BytesIO(file)).convert("RGB"))


if __name__ == "__main__":
    sys.exit(main())
