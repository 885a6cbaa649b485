"""What comes back of small pictures that were re-encoded on their way, beside codecs of the large one in as many bytes.

    python benchmarks/recoded.py bicubic-x2 irn-x2 runs/irn-x2-jpeg/irn-x2-jpeg.safetensors --data Set5 BSD100

A method is one of baselines.py, or weights by name or file.  Each small picture goes through every path of `PATHS`.
Luma of JPEG, WebP and AVIF of the large picture at the same bytes is read off the curve of each picture, between files
of the qualities in `GRID`; below the least of these, the codec's smallest file stands for it.  Rows go to
results/recoded.json, beside those of other methods and sets.
"""

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from baselines import decoded, encoded, methods_of
from samples import sample

import unshrink
from unshrink.evaluation.environment import environment
from unshrink.evaluation.protocol import Method, NamedFigures, closeness, mean_by_name
from unshrink.evaluation.sets import find_set
from unshrink.pictures import io as images
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.runtime.rescaler import Rescaler

OUT = Path(__file__).parents[1] / "results" / "recoded.json"
GRID = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
CODECS: dict[str, dict[str, Any]] = {
    "jpeg": {"subsampling": "4:2:0", "optimize": True, "progressive": True},
    "webp": {"method": 4},
    "avif": {"speed": 8, "subsampling": "4:2:0"},
}


class Hop(NamedTuple):
    """One re-encoding."""

    form: str
    quality: int
    subsampling: str = "4:2:0"

    def file(self, picture: RGB) -> bytes:
        options = {"subsampling": self.subsampling, "optimize": True} if self.form == "jpeg" else {}
        return encoded(picture, self.form, quality=self.quality, **options)


PATHS: dict[str, tuple[Hop, ...]] = {
    "untouched": (),
    **{f"JPEG {quality}": (Hop("jpeg", quality),) for quality in (30, 50, 70, 75, 80, 87, 90, 95)},
    "JPEG 90, 4:4:4": (Hop("jpeg", 90, "4:4:4"),),
    "WebP 75": (Hop("webp", 75),),
    "WebP 85": (Hop("webp", 85),),
    "JPEG 80, then 75": (Hop("jpeg", 80), Hop("jpeg", 75)),
    "JPEG 85, ten times": (Hop("jpeg", 85),) * 10,
}
Curve = tuple[list[float], list[float]]  # logarithms of bytes, rising, and dB of luma


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", help="names of baselines.py, or weights by name or file")
    parser.add_argument("--data", nargs="+", required=True, help="folders, or names of test sets")
    parser.add_argument("--most", type=int, default=100, help="pictures of a set, taken evenly from it (default: 100)")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    methods = [method_of(name, args.threads) for name in args.methods]
    rows = {key(row): row for row in (json.loads(OUT.read_text())["rows"] if OUT.exists() else [])}
    for name in args.data:
        for row in measured(methods, name, args.most):
            rows[key(row)] = row
            print(f"{row['set']} {row['method']} {row['path']}: {row['psnr_y']:.2f} dB at {row['bpp']:.3f}", flush=True)
        OUT.write_text(json.dumps({"rows": list(rows.values()), **environment()}, indent=1) + "\n")


def key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["set"], row["method"], row["path"]


def method_of(name: str, threads: int) -> Method:
    older = {one.name: one for scale in (2, 3, 4) for one in methods_of(scale)}
    return older[name] if name in older else unshrink.load(name, threads=threads)


def measured(methods: list[Method], name: str, most: int) -> Iterator[dict[str, Any]]:
    """A row for every method and path over a set: means of its pictures."""
    found: dict[tuple[str, str], list[NamedFigures]] = {}
    for path in sample(name, most):
        hr = over_white(images.read(path))
        curves = {form: curve(hr, form) for form in CODECS}
        for method in methods:
            for way, figures in trips(method, crop_to_multiple(hr, method.scale), curves):
                found.setdefault((method.name, way), []).append(figures)
    identities = {one.name: one.weights.identity for one in methods if isinstance(one, Rescaler)}
    for (method, way), figures in found.items():
        yield {
            **{
                "set": find_set(name).name,
                "pictures": len(figures),
                "method": method,
                "weights": identities.get(method),
                "path": way,
            },
            **{name: round(value, 4) if np.isfinite(value) else None for name, value in mean_by_name(figures).items()},
        }


def trips(method: Method, hr: RGB, curves: dict[str, Curve]) -> Iterator[tuple[str, NamedFigures]]:
    """Figures of one picture for each path; ``lr_`` of the small picture as it was made, ``bpp`` of the last file."""
    small = method.downscale(Image(hr)).pixels
    reference = to_uint8(resize(hr, (small.shape[1], small.shape[0])))
    guide = asdict(closeness(reference, small, 0))
    for way, hops in PATHS.items():
        file, arrived = along(small, hops)
        restored = method.upscale(Image(arrived)).pixels
        at_bytes = {form: float(np.interp(np.log(len(file)), *points)) for form, points in curves.items()}
        yield (
            way,
            {
                **asdict(closeness(hr, restored, method.scale)),
                **{f"lr_{name}": guide[name] for name in ("psnr_y", "psnr_chroma", "colour_error")},
                "bpp": 8 * len(file) / hr[..., 0].size,
                "bytes_of_bicubic": len(file) / len(along(reference, hops)[0]),
                **at_bytes,
            },
        )


def along(small: RGB, hops: tuple[Hop, ...]) -> tuple[bytes, RGB]:
    """The last file of a path, a PNG if there is none, and what it gives."""
    file = png(small) if not hops else b""
    for hop in hops:
        file = hop.file(small)
        small = decoded(file)
    return file, small


def png(picture: RGB) -> bytes:
    stream = io.BytesIO()
    images.write(Image(picture), stream, format="png")
    return stream.getvalue()


def curve(hr: RGB, form: str) -> Curve:
    """How close files of a codec come; below the smallest one counts that, above the largest one that."""
    files = [encoded(hr, form, quality=quality, **CODECS[form]) for quality in GRID]
    points = sorted((float(np.log(len(file))), metrics.psnr_y(hr, decoded(file), 2)) for file in files)
    return [size for size, _ in points], [luma for _, luma in points]


if __name__ == "__main__":
    main()
