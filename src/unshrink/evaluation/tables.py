"""Results as tables: for the pages in docs/ and of `unshrink report`, and line by line while they are measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from unshrink.evaluation.results import SETS, Result, Results

CODECS = {"jpeg": "JPEG", "webp": "lossy WebP", "avif": "AVIF"}
COLOUR_ERROR = "colour error (CIEDE2000 of the means of 4x4 pixels), mean (99th percentile)"
FILES = {"png": "PNG", "webp": "lossless WebP"}


@dataclass(frozen=True)
class Table:
    """Figures with what they are: every cell as it is shown; the first column names the row.

    Attributes:
        title: a few words.
        text: what the cells hold, a sentence or two.
        headings: of the columns.
        rows: as long as the headings.
        published: by others, not measured here.
    """

    title: str
    text: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    published: bool = False

    def markdown(self, level: int = 3) -> str:
        """The table with its title, for the pages in docs/."""
        return f"{'#' * level} {self.title}\n\n{self.text}\n\n{markdown(self.headings, self.rows)}"


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as Markdown has it."""
    head, *body = (f"| {' | '.join(map(str, cells))} |\n" for cells in (headings, *rows))
    return head + "|---" * len(headings) + "|\n" + "".join(body)


def tables(results: Results) -> list[Table]:
    """All of them, scale by scale; those without rows left out."""
    makers = (restored, colours, small, small_colours, lpips, networks, codecs, short, published)
    found = [make(results, scale) for scale in results.scales() for make in makers]
    return [table for table in found if table.rows]


def restored(results: Results, scale: int) -> Table:
    """How close the large pictures come back."""
    return _by_set(
        results,
        scale,
        f"x{scale}: restored pictures, measured here",
        "PSNR-Y in dB / SSIM-Y / PSNR-RGB in dB of what comes back, mean of the pictures.",
        lambda mean: f"{number(mean, 'psnr_y', 2)} / {number(mean, 'ssim_y', 4)} / {number(mean, 'psnr_rgb', 2)}",
    )


def colours(results: Results, scale: int) -> Table:
    """How close the colours of the large pictures come back."""
    return _where_measured(
        results,
        scale,
        f"x{scale}: colours of restored pictures, measured here",
        f"PSNR of Cb / of Cr in dB of what comes back; {COLOUR_ERROR}.",
        "psnr_chroma",
        lambda mean: _colours(mean, ""),
    )


def small(results: Results, scale: int) -> Table:
    """How ordinary the small pictures are, and how large their files."""
    return _by_set(
        results,
        scale,
        f"x{scale}: small pictures, measured here",
        "PSNR-Y in dB / SSIM-Y of the small picture against the bicubic one; bits of its PNG and of its lossless WebP "
        "file, per pixel of the large picture.",
        lambda mean: (
            f"{number(mean, 'lr_psnr_y', 2)} / {number(mean, 'lr_ssim_y', 4)}; "
            f"{number(mean, 'png_bits_per_pixel', 2)}, {number(mean, 'webp_bits_per_pixel', 2)}"
        ),
    )


def small_colours(results: Results, scale: int) -> Table:
    """How ordinary the colours of the small pictures are."""
    return _where_measured(
        results,
        scale,
        f"x{scale}: colours of small pictures, measured here",
        f"PSNR of Cb / of Cr in dB of the small picture against the bicubic one; {COLOUR_ERROR}.",
        "lr_psnr_chroma",
        lambda mean: _colours(mean, "lr_"),
    )


def _colours(mean: Result, of: str) -> str:
    psnr = f"{number(mean, f'{of}psnr_cb', 2)} / {number(mean, f'{of}psnr_cr', 2)}"
    return f"{psnr}; {number(mean, f'{of}colour_error', 2)} ({number(mean, f'{of}colour_error_99', 2)})"


def lpips(results: Results, scale: int) -> Table:
    """How different the large pictures look."""
    return _where_measured(
        results,
        scale,
        f"x{scale}: LPIPS, measured here",
        "LPIPS (SqueezeNet) of what comes back against the original: 0 where they look the same.",
        "lpips",
        lambda mean: number(mean, "lpips", 4),
    )


def _where_measured(
    results: Results, scale: int, title: str, text: str, key: str, cell: Callable[[Result], str]
) -> Table:
    """A table of the methods and sets of which a figure was measured; the others are left out."""
    table = _by_set(results, scale, title, text, lambda mean: cell(mean) if key in mean else "-")
    measured = [i for i, cells in enumerate(zip(*table.rows, strict=True)) if i == 0 or set(cells) - {"", "-"}]
    headings, *rows = (tuple(cells[i] for i in measured) for cells in (table.headings, *table.rows))
    return replace(table, headings=headings, rows=tuple(row for row in rows if set(row[1:]) - {"", "-"}))


def _by_set(results: Results, scale: int, title: str, text: str, cell: Callable[[Result], str]) -> Table:
    sets = results.sets(scale)
    rows = []
    for method in results.methods(scale):
        found = [results.one(method, name) for name in sets]
        if not any(one and not stands_alone(one) for one in found):
            rows.append((method, *(cell(one["mean"]) if one else "" for one in found)))
    return Table(title, text, ("method", *sets), tuple(rows))


def stands_alone(one: Result) -> bool:
    """Not a codec, which makes no small picture, nor a network that was trained only to be held against another."""
    return "bytes_of" not in one and "training" not in one


def networks(results: Results, scale: int) -> Table:
    """What the networks hold and compute, beside what they give back over the first set."""
    data = results.sets(scale)[0]
    found = [one for method in results.methods(scale) if (one := results.one(method, data))]
    rows = [
        (one["method"], *_size(one), number(one["mean"], "psnr_y", 2))
        for one in found
        if stands_alone(one) and "operations" in one
    ]
    return Table(
        f"x{scale}: networks and their work, measured here",
        "Parameters, multiply-adds for each pixel of the large picture, both ways together, and PSNR-Y in dB of what "
        "comes back.",
        ("method", "parameters", "operations", data),
        tuple(rows),
    )


def _size(one: Result) -> tuple[str, str]:
    return f"{one['parameters'] / 1e6:.2f} M", f"{one['operations'] / 1e3:.0f} k"


def short(results: Results, scale: int) -> Table:
    """Invertible or not: networks of short trainings, to be held against each other alone."""
    trials = [m for m in results.methods(scale) if any(r["method"] == m and "training" in r for r in results.measured)]
    sets = [name for name in results.sets(scale) if any(results.one(trial, name) for trial in trials)]
    rows = []
    for trial in trials:
        found = [results.one(trial, name) for name in sets]
        first = next(one for one in found if one)
        rows.append(
            (trial, *_size(first), str(first["training"]["steps"]), *(_both(one) if one else "" for one in found))
        )
    return Table(
        f"x{scale}: invertible or not, after equal short trainings, measured here",
        "PSNR-Y / PSNR-RGB / PSNR of chroma (mean of Cb and Cr) in dB of what comes back; PSNR-Y / PSNR of chroma of "
        "the small picture against the bicubic one. Operations: multiply-adds for each pixel of the large picture, "
        "both ways together. One training of each, with one seed: how much of the difference is chance is not known.",
        ("method", "parameters", "operations", "steps", *sets),
        tuple(rows),
    )


def _both(one: Result) -> str:
    mean = one["mean"]
    return f"{_three(mean)}; {number(mean, 'lr_psnr_y', 2)} / {number(mean, 'lr_psnr_chroma', 2)}"


def _three(mean: Result) -> str:
    return " / ".join(number(mean, key, 2) for key in ("psnr_y", "psnr_rgb", "psnr_chroma"))


def codecs(results: Results, scale: int) -> Table:
    """The large picture itself in the bytes of the small file, beside the weights whose file it is."""
    rows = []
    for r in (r for r in results.measured if r["scale"] == scale and "bytes_of" in r):
        weights = results.one(r["bytes_of"]["method"], r["set"])
        mean, over = r["mean"], sum(row["file_bytes"] > row["budget_bytes"] for row in r["pictures"].values())
        rows.append(
            (
                codec(r),
                f"{r['bytes_of']['method']}, {FILES.get(r['bytes_of']['file'], r['bytes_of']['file'])}",
                r["set"],
                number(mean, "file_bits_per_pixel", 2),
                _three(mean),
                _three(weights["mean"]) if weights else "",
                str(over),
            )
        )
    return Table(
        f"x{scale}: codecs in as many bytes, measured here",
        "The large picture itself, written by a codec into no more bytes than the small picture's file takes. "
        "It gives up the small picture, which any program opens. PSNR in dB of Y / RGB / chroma (mean of Cb and Cr).",
        ("codec", "in the bytes of", "set", "bits per pixel", "comes back", "comes back by the weights", "did not fit"),
        tuple(rows),
    )


def codec(result: Result) -> str:
    """ "JPEG" of jpeg-irn-x2-png."""
    name = str(result["method"].partition("-")[0])
    return CODECS.get(name, name)


def published(results: Results, scale: int) -> Table:
    """What others say about their methods."""
    rows = [row for row in results.published if row["scale"] == scale]
    sets = [name for name in SETS if any(name in row for row in rows)]
    return Table(
        f"x{scale}: published by others, not measured here",
        "PSNR-Y in dB / SSIM-Y, as their authors published them, on the usual copies of the sets. Not checked: figures "
        "that were read elsewhere than in their source.",
        ("small, large", "parameters", *sets, "source"),
        tuple(
            (
                row["method"],
                row.get("parameters", ""),
                *(" / ".join(format(v, f) for v, f in zip(row.get(n, ()), (".2f", ".4f"), strict=False)) for n in sets),
                _credit((results.sources or {})[row["source"]]),
            )
            for row in rows
        ),
        published=True,
    )


def _credit(source: Mapping[str, str]) -> str:
    """Whose figures they are: "Xiao et al."."""
    return source["title"].partition(", ")[0] + ("" if "checked" in source else " (not checked)")


def checked(source: Mapping[str, str]) -> str:
    """How sure it is that the source says what stands here."""
    return f"checked against {source['checked']}" if "checked" in source else "not checked against it"


def number(figures: Mapping[str, float | None], key: str, digits: int) -> str:
    """A figure as text: "exact" where nothing differs, "-" where it has no meaning."""
    if key not in figures:
        return "-"
    value = figures[key]
    return "exact" if value is None else f"{value:.{digits}f}"


# -- line by line --------------------------------------------------------------------------------------------------

COLUMNS = (  # heading, figure, digits
    ("PSNR-Y", "psnr_y", 2),
    ("RGB", "psnr_rgb", 2),
    ("chroma", "psnr_chroma", 2),
    ("SSIM-Y", "ssim_y", 4),
    ("colour", "colour_error", 2),
    ("LPIPS", "lpips", 4),
    ("small Y", "lr_psnr_y", 2),
    ("chroma", "lr_psnr_chroma", 2),
    ("colour", "lr_colour_error", 2),
    ("PNG bpp", "png_bits_per_pixel", 2),
    ("WebP", "webp_bits_per_pixel", 2),
    ("down", "down_seconds_per_megapixel", 2),
    ("up s/MP", "up_seconds_per_megapixel", 2),
)
NAMES, NUMBERS = 18, 8  # widths of the columns


def heading() -> str:
    """The first line of a table of results that is printed while they are measured."""
    return _line("method", "set", [name for name, _, _ in COLUMNS])


def line(result: Result) -> str:
    """One result as a line of it."""
    return _line(result["method"], result["set"], [number(result["mean"], key, digits) for _, key, digits in COLUMNS])


def _line(method: str, data: str, cells: list[str]) -> str:
    return method.ljust(NAMES) + data.ljust(NAMES) + "".join(cell.rjust(NUMBERS) for cell in cells)
