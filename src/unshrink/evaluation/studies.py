"""What the studies show: each as plots, a sentence or two, and the command that makes it, for the page and for docs/.

results/latent.json             what z does, as benchmarks/latent.py writes it
results/ablations/guide-*.json  the weight of the guidance, as tools/ablate.py writes it
results/<method>/<set>.json     what quality costs, codecs among it, and what invertibility does
"""

import base64
import html
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unshrink.evaluation.plots import Series, plot
from unshrink.evaluation.results import Measured, Results, codec

LATENT, GUIDANCE = "latent.json", "ablations/guide-*.json"

Pairs = tuple[tuple[float, float], ...]


# -- what z does ---------------------------------------------------------------------------------------------------


def latent(about: Mapping[str, Any], path: Path) -> str:
    """Restoring with shares of a picture's own z and with draws, and how normal z is."""
    studies = about["weights"]
    lines = {
        key: [Series(name, _pairs(study[key]), joined=True) for name, study in studies.items()]
        for key in ("shares", "drawn", "drawn_psnr_deviation", "drawn_pixel_deviation", "histogram")
    }
    places = [x for x, _ in lines["histogram"][0].points]
    normal = tuple((x, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)) for x in places)
    width = "how wide z is drawn"
    return (
        f"<p>Made by <code>make eval-latent</code>. {text(WIDTHS)}</p>"
        "<div class=plots>"
        + plot(lines["shares"], "share of the picture's own z", "PSNR-RGB in dB")
        + plot(lines["drawn"], width, "PSNR-RGB in dB, mean of draws")
        + plot(lines["drawn_pixel_deviation"], width, "deviation of a value over draws, in levels")
        + plot(lines["drawn_psnr_deviation"], width, "deviation of PSNR over draws, in dB")
        + plot([*lines["histogram"], Series("normal", normal, joined=True)], "z, in standard deviations", "density")
        + "</div>"
        + "".join(_latent_of(name, study, path.with_suffix("") / name) for name, study in studies.items())
    )


TRADE = "small picture against bicubic, PSNR-Y in dB", "restored, PSNR-Y in dB"  # the axes of one against the other
WIDTHS = (
    "A draw of width 1 is as wide as in training, N(0, 1); for weights that are trained with z = 0, as wide as the "
    "picture's own z, channel by channel."
)


def _latent_of(name: str, study: Mapping[str, Any], folder: Path) -> str:
    panels = "".join(
        f'<figure><img src="{picture(folder / crop["file"])}" alt="{text(crop["title"])}">'
        f"<figcaption>{text(crop['title'])}</figcaption></figure>"
        for crop in study["crops"]
    )
    return f"<h3>{text(name)}</h3><p>{text(latent_sentence(study))}</p><div class=panels>{panels}</div>"


def latent_sentence(study: Mapping[str, Any]) -> str:
    """What the study says of one network."""
    keys = ("shares", "drawn", "drawn_pixel_deviation", "drawn_psnr_deviation")
    shares, drawn, levels, spread = (dict(_pairs(study[key])) for key in keys)
    least, most = study["rms_z_of_pictures"]
    return (
        f"Over the middles, {study['side']} pixels wide, of {study['pictures']} pictures of {study['set']}, with "
        f"{study['draws']} draws of each: with its own z and the small picture not rounded, "
        f"{study['values_exact_with_z']:.2%} of the 8-bit "
        f"values come back exactly. Rounding the small picture alone leaves {shares[1]:.2f} dB, dropping z alone "
        f"{study['zero_unrounded']:.2f} dB, both {shares[0]:.2f} dB. Draws of width 1 give {drawn[1]:.2f} dB, with a "
        f"standard deviation of {spread[1]:.3f} dB, and differ by {levels[1]:.1f} levels in a value; twice as wide "
        f"they give {drawn[2]:.2f} dB. The root mean square of z is {study['rms_z']:.3f}, by picture "
        f"from {least:.3f} to {most:.3f}; that of the Haar details {study['rms_haar_details']:.3f}. Its kurtosis is "
        f"{study['kurtosis']:.1f} (3 were it normal), and its size correlates with the detail of the small picture by "
        f"{study['correlation_with_detail']:.2f} (0 were it independent)."
    )


# -- the guidance --------------------------------------------------------------------------------------------------


def guidance(trials: Sequence[Mapping[str, Any]], path: Path) -> str:
    """What comes back, and how ordinary the small picture is, by the weight of the guidance."""
    points = sorted((_weight(trial), trial["psnr_y"], trial["lr_psnr_y"]) for trial in trials)
    large, small = (tuple((point[0], point[i]) for point in points) for i in (1, 2))
    trade = tuple((lr, hr) for _, hr, lr in points)
    lines = [Series("restored", large, joined=True), Series("small, against bicubic", small, joined=True)]
    return (
        f"<h3>{text(path.stem)}</h3><p>{text(guidance_sentence(trials))} Made by <code>python tools/ablate.py "
        f"results/ablations/{text(path.stem)}.toml</code>.</p><div class=plots>"
        + plot(lines, "weight of the guidance", "PSNR-Y in dB", logarithmic=True)
        + plot([Series("from the weakest guidance to the strongest", trade, joined=True)], *TRADE)
        + "</div>"
    )


def guidance_sentence(trials: Sequence[Mapping[str, Any]]) -> str:
    """What the weight of the guidance buys and costs."""
    first, *_, last = sorted(trials, key=_weight)
    return (
        f"After {first['steps']} steps with the weight {_weight(first):g}, {first['psnr_y']:.2f} dB come back from "
        f"small pictures {first['lr_psnr_y']:.2f} dB close to the bicubic ones; with {_weight(last):g}, "
        f"{last['psnr_y']:.2f} dB from {last['lr_psnr_y']:.2f} dB: {first['psnr_y'] - last['psnr_y']:+.2f} dB of the "
        f"restored picture for {first['lr_psnr_y'] - last['lr_psnr_y']:+.2f} dB of the small one."
    )


def _weight(trial: Mapping[str, Any]) -> float:
    return float(dict(setting.split("=") for setting in trial["set"])["loss.guide"])


# -- quality and its price -----------------------------------------------------------------------------------------


def prices(results: Results) -> list[str]:
    """For each scale, over the first set: quality by bytes, by parameters and by operations."""
    words = (
        "What comes back for the bytes of the small file (PNG and lossless WebP joined), beside the large picture in a "
        "lossy codec; for the parameters of each network; and for its multiply-adds, both ways together. Hollow: "
        "published. Made by <code>make eval-weights eval-codecs eval-older</code>."
    )
    found = [_price(results, scale, data) for scale in results.scales() for data in results.sets(scale)[:1]]
    return [f"<p>{words}</p>", *found] if found else []


def _price(results: Results, scale: int, data: str) -> str:
    across = {"parameters": "parameters", "operations": "multiply-adds per pixel of the large picture"}
    return (
        f"<h3>x{scale}, {text(data)}</h3><p>{text(price_sentence(results, scale, data))}</p><div class=plots>"
        + plot(by_bytes(results, scale, data), "bits per pixel of the large picture", "PSNR-Y in dB")
        + "".join(
            plot(series, axis, "PSNR-Y in dB", logarithmic=True)
            for key, axis in across.items()
            if len(series := by_size(results, scale, data, key)) > 1
        )
        + "</div>"
    )


def price_sentence(results: Results, scale: int, data: str) -> str:
    """Weights beside codecs, the published network of most parameters, and the measured one of least work.

    The best weights, or the best of those whose bytes were given to codecs.
    """
    ours = [one for one in _networks(results, scale, data) if one["method"].startswith("irn-")]
    others = [one for one in _networks(results, scale, data) if one not in ours]
    large = [row for row in results.published if _comparable(row, scale, data) and not row["method"].startswith("IRN")]
    if not (ours and "operations" in ours[0]):
        return ""
    best = max(ours, key=lambda one: bool(codec_sentence(results, one["method"], data)))
    sentence = f"{best['method']}: {_quality(best):.2f} dB with {_size(best)}."
    sentence += codec_sentence(results, best["method"], data)
    if large:
        most = max(large, key=_parameters)
        times = _parameters(most) / best["parameters"]
        sentence += (
            f" {most['method']} (published): {most[data][0]:.2f} dB with {most['parameters']} parameters, {times:.0f} "
            "times as many."
        )
    if others:
        least = min(others, key=lambda one: float(one["operations"]))
        times = best["operations"] / least["operations"]
        sentence += (
            f" {least['method']}: {_quality(least):.2f} dB with {_size(least)}, {times:.0f} times fewer operations."
        )
    return sentence


def codec_sentence(results: Results, weights: str, data: str) -> str:
    """What codecs keep of the large picture in the bytes of the small PNG files of weights."""
    made_for = {"method": weights, "file": "png"}
    found = [
        one for one in results.measured if one["set"] == data and made_for.items() <= one.get("bytes_of", {}).items()
    ]
    kept = ", ".join(f"{codec(one)} {_quality(one):.2f} dB" for one in sorted(found, key=_quality, reverse=True))
    return f" Codecs keep of the large picture itself, in the bytes of its small PNG file: {kept}." if kept else ""


def _size(one: Measured) -> str:
    return f"{one['parameters'] / 1e6:.2f} M parameters and {one['operations'] / 1e3:.0f} k multiply-adds a pixel"


def _networks(results: Results, scale: int, data: str) -> list[Measured]:
    """Measured networks of full trainings, the best first."""
    found = [results.one(method, data) for method in results.methods(scale)]
    return [one for one in found if one and "operations" in one and "training" not in one]


def _comparable(row: Mapping[str, Any], scale: int, data: str) -> bool:
    return row["scale"] == scale and data in row and "parameters" in row


def _parameters(row: Mapping[str, Any]) -> float:
    return float(row["parameters"].partition(" ")[0]) * 1e6


def by_bytes(results: Results, scale: int, data: str) -> list[Series]:
    """PSNR-Y by bits per pixel: each method with both of its small files; codecs where weights set the bytes."""
    found: dict[str, list[tuple[float, float]]] = {}
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and "bytes_of" in one:
            found.setdefault(codec(one), []).append((one["mean"]["file_bits_per_pixel"], _quality(one)))
        elif one and "training" not in one:
            bits = (one["mean"]["webp_bits_per_pixel"], one["mean"]["png_bits_per_pixel"])
            found[method] = [(x, _quality(one)) for x in bits]
    return [Series(name, tuple(sorted(filter(_finite, points))), joined=True) for name, points in found.items()]


def by_size(results: Results, scale: int, data: str, key: str) -> list[Series]:
    """PSNR-Y by "parameters" or "operations" of both ways together."""
    found = []
    for row in results.published:
        if _comparable(row, scale, data) and key in row and not results.one(row.get("ours", ""), data):
            count = _parameters(row) if key == "parameters" else float(row[key])
            found.append(Series(row["method"], ((count, row[data][0]),), hollow=True, label=True))
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and key in one and "training" not in one:
            found.append(Series(method, ((one[key], _quality(one)),), label=True))
    return found


def _quality(one: Measured) -> float:
    value = one["mean"]["psnr_y"]
    return math.inf if value is None else float(value)


def _finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))


# -- invertible or not ---------------------------------------------------------------------------------------------


def invertibility(results: Results) -> list[str]:
    """For each set with networks of short trainings: what comes back, beside how ordinary the small picture is."""
    return [
        f"<p>{text(invertibility_sentence(trials))} Made by <code>make eval-invertibility</code>.</p><div class=plots>"
        + plot([Series(one["method"], (_pair(one),), label=True) for one in trials], *TRADE)
        + "</div>"
        for trials in short_trainings(results)
    ]


def short_trainings(results: Results) -> list[list[Measured]]:
    """For each set, the networks that were trained to be held against each other: the invertible one first."""
    found: dict[str, list[Measured]] = {}
    for one in results.measured:
        if "training" in one:
            found.setdefault(one["set"], []).append(one)
    compared = [trials for trials in found.values() if len(trials) > 1]
    return [sorted(trials, key=lambda one: "irn" not in one["method"]) for trials in compared]


def invertibility_sentence(trials: Sequence[Measured]) -> str:
    """What the invertible network gains or loses against encoders and decoders."""
    invertible, *others = trials
    large, small = (invertible["mean"][key] for key in ("psnr_y", "lr_psnr_y"))
    against = "; ".join(
        f"{one['method']} {one['mean']['psnr_y'] - large:+.2f} dB and {one['mean']['lr_psnr_y'] - small:+.2f} dB"
        for one in others
    )
    better = [one["method"] for one in others if all(map(operator.gt, _pair(one), _pair(invertible)))]
    verdict = f"invertibility gains nothing here, as {' and '.join(better)} do better in both" if better else ""
    return (
        f"After {invertible['training']['steps']} steps {invertible['method']} gives {large:.2f} dB of "
        f"{invertible['set']} back from small pictures {small:.2f} dB close to the bicubic ones; against it, after as "
        f"much work, {against}: {verdict or 'none does better in both'}. "
        "One training of each, with one seed: how much of this is chance is not known."
    )


def _pair(one: Measured) -> tuple[float, float]:
    return one["mean"]["lr_psnr_y"], one["mean"]["psnr_y"]


# -- helpers -------------------------------------------------------------------------------------------------------


def picture(path: Path) -> str:
    """A WebP file as an address that needs no file."""
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


def text(words: object) -> str:
    """Anything as HTML."""
    return html.escape(str(words), quote=True)


def _pairs(points: Iterable[Iterable[float]]) -> Pairs:
    return tuple((float(x), float(y)) for x, y in points)
