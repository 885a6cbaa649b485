"""What comes back of small pictures that went through sites, beside what the sites make of the large ones.

    python benchmarks/sites.py                              # four Kodak photos: about five minutes of one core
    python benchmarks/sites.py --sites telegram --scales 2

Each photo is made small as `downscale --site` does it, with the weights of the catalogue, goes through the simulator,
loses its metadata, and is restored from its pixels alone.  Beside it stands the photo itself, as a JPEG of quality 95,
through the same site, enlarged to its size by bicubic.

Photos of test sets are smaller than the caps.  So each site is taken smaller in proportion: its cap is just the size of
the small picture, and limits of bytes shrink with the pixels.  A site without a cap takes the photo as large as it is.

Rows go to results/sites.json; those that are there of the same weights are not measured again.
"""

import argparse
import dataclasses
import json
import warnings
from fractions import Fraction
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from baselines import decoded, encoded
from recoded import png
from samples import middle, sample

import unshrink
from unshrink import weights as zoo
from unshrink.batch.sending import passing_file
from unshrink.errors import UnshrinkWarning
from unshrink.evaluation.environment import environment
from unshrink.evaluation.protocol import NamedFigures, mean_by_name
from unshrink.pictures import io as images
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.pictures.sizes import Size
from unshrink.runtime.rescaler import Rescaler
from unshrink.sites import Arrived, Site, find, simulate
from unshrink.sites import sites as all_sites

OUT = Path(__file__).parents[1] / "results" / "sites.json"
UPLOADED = {"quality": 95, "subsampling": "4:4:4"}  # as a JPEG: the photo itself


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["Kodak12odd"], help="folders, or names of test sets")
    parser.add_argument("--most", type=int, default=4, help="photos of a set, taken evenly from it (default: 4)")
    parser.add_argument("--side", type=int, default=768, help="pixels of the middle that is taken (default: 768)")
    parser.add_argument("--sites", nargs="+", default=[site.name for site in all_sites()])
    parser.add_argument("--scales", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="measure again what is there")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    rows = {key(row): row for row in (json.loads(args.out.read_text())["rows"] if args.out.exists() else [])}
    load = cache(lambda name: unshrink.load(name, threads=args.threads))
    for name in args.data:
        photos = [middle(over_white(images.read(path)), args.side) for path in sample(name, args.most)]
        for scale in args.scales:
            small = cache(lambda number, model, scale=scale, photos=photos: made_small(photos[number], model, scale))
            for site in map(find, args.sites):
                model = load(model_for(site, scale))
                about = {"set": Path(name).name, "pictures": len(photos), "site": site.name, "scale": scale}
                about |= {"method": model.name, "weights": model.weights.identity}
                if rows.get(key(about), {}).get("weights") == model.weights.identity and not args.overwrite:
                    continue
                trips = [
                    trip(crop_to_multiple(photo, scale), small(number, model), model, site)
                    for number, photo in enumerate(photos)
                ]
                rows[key(about)] = about | averaged(trips)
                args.out.write_text(json.dumps({"rows": list(rows.values()), **environment()}, indent=1) + "\n")
                print(rows[key(about)], flush=True)


def key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["set"], row["site"], row["scale"]


def model_for(site: Site, scale: int) -> str:
    """The weights that `downscale --site` takes."""
    return zoo.for_ratio(Fraction(scale), lossy=not site.passes("png")).name


def made_small(photo: RGB, model: Rescaler, scale: int) -> Image:
    return model.downscale(Image(crop_to_multiple(photo, scale)), mark=True)


@dataclasses.dataclass(frozen=True)
class Ways:
    """A photo that went through a site: small and back, and as it is.

    Attributes:
        sent: the file of the small picture.
        arrived: what arrived of it.
        restored: what comes back of that, without its metadata.
        usual: what arrived of the photo itself.
        enlarged: that at the size of the photo, by bicubic.
    """

    sent: bytes
    arrived: Arrived
    restored: RGB
    usual: Arrived
    enlarged: RGB


def ways(photo: RGB, small: Image, model: Rescaler, real: Site) -> Ways:
    """Both ways of a photo through a site, which is taken in proportion."""
    size = photo.shape[1], photo.shape[0]
    site = in_proportion(real, small.size)
    file = passing_file(small, site)[0] if site.usual_format == "jpeg" else png(small.pixels)
    arrived = simulate(file, site)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnshrinkWarning)  # that metadata are gone is what is tried here
        restored = model.upscale(Image(over_white(images.read(arrived.data))))
    if restored.size != size or arrived.resized:
        raise SystemExit(f"{site.name}: {size} came back as {restored.size}")
    usual = simulate(encoded(photo, "jpeg", **UPLOADED), site)
    return Ways(file, arrived, restored.pixels, usual, to_uint8(resize(decoded(usual.data), size)))


def trip(photo: RGB, small: Image, model: Rescaler, site: Site) -> NamedFigures:
    """Figures of one photo: what comes back, under ``site_`` what the site makes of the photo itself; bytes."""
    both = ways(photo, small, model, site)
    return {
        **decibels(photo, both.restored, model.scale),
        **{f"site_{name}": value for name, value in decibels(photo, both.enlarged, model.scale).items()},
        **{"sent_bytes": len(both.sent), "arrived_bytes": len(both.arrived.data), "site_bytes": len(both.usual.data)},
        **{"passed": float(both.arrived.keeps is not None), "site_resized": float(both.usual.resized)},
    }


def in_proportion(site: Site, small: Size) -> Site:
    """A site whose cap is just a (width, height), and that counts bytes by the pixels there."""
    share = share_of(site, small)
    doors = tuple(
        dataclasses.replace(door, max_bytes=door.max_bytes and max(1, int(door.max_bytes * share)))
        for door in site.doors
    )
    return dataclasses.replace(
        site,
        doors=doors,
        longest_side=site.longest_side and max(small),
        widest=site.widest and small[0],
        max_pixels=site.max_pixels and small[0] * small[1],
        max_bytes=site.max_bytes and max(1, int(site.max_bytes * share)),
    )


def share_of(site: Site, small: Size) -> float:
    """What part of the pixels at the cap of a site a small picture has."""
    if site.max_pixels:
        return small[0] * small[1] / site.max_pixels
    at_cap = site.widest or site.longest_side
    return (small[0] / at_cap if site.widest else max(small) / at_cap) ** 2 if at_cap else 1.0


def decibels(photo: RGB, restored: RGB, border: int) -> NamedFigures:
    """PSNR alone: what else there is to measure takes longer than the network."""
    pair = photo, restored, border
    return {
        "psnr_y": metrics.psnr_y(*pair),
        "psnr_rgb": metrics.psnr(*pair),
        "psnr_chroma": fmean(metrics.psnr_chroma(*pair)),
    }


def averaged(trips: list[NamedFigures]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in mean_by_name(trips).items()}


if __name__ == "__main__":
    main()
