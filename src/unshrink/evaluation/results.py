"""A folder of results: what is written there and read again; measured and published figures apart.

results/<method>/<set>.json     measured, see `run`; docs/evaluation.md describes it
results/published.toml          what others published about their own methods, with the source
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unshrink.errors import ConfigError, ImageError
from unshrink.files import atomic_write

SETS = (  # in the order of columns
    *("Set5", "Set14", "BSD100", "Urban100", "Urban100quarter", "DIV2K"),
    *("DIV2Kcrop50odd", "Kodak12odd", "CLIC2025val", "Screens"),
)
PUBLISHED = "published.toml"
SCHEMA = 1  # of results/<method>/<set>.json

Result = dict[str, Any]  # one JSON file


@dataclass(frozen=True)
class Results:
    """All that a folder holds.

    Attributes:
        measured: results, in the order of their sets, then by method.
        published: rows of `PUBLISHED`: method, scale, source, and by set a PSNR in dB with or without an SSIM.
        sources: title and url of each source, and, where its figures were checked, against what.
    """

    measured: tuple[Result, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    sources: Mapping[str, Mapping[str, str]] | None = None

    def one(self, method: str, data: str) -> Result | None:
        """The result of a method over a set, if there is one."""
        return next((r for r in self.measured if (r["method"], r["set"]) == (method, data)), None)

    def sets(self, scale: int) -> list[str]:
        """The sets over which anything was measured."""
        return list(dict.fromkeys(r["set"] for r in self.measured if r["scale"] == scale))

    def methods(self, scale: int) -> list[str]:
        """What was measured at a scale, the best first, by the first of its sets."""
        best = {r["method"]: -psnr_y(r) for r in reversed(self.measured) if r["scale"] == scale}
        return sorted(best, key=lambda method: best[method])

    def scales(self) -> list[int]:
        """The scales at which anything was measured."""
        return sorted({r["scale"] for r in self.measured})


def write(result: Result, target: Path) -> Result:
    """Writes a result as a file that is there whole or not at all, and gives it back.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot write {target}: {error.strerror}; choose another output") from error
    with atomic_write(target, overwrite=True, error=ImageError) as stream:
        stream.write((json.dumps(result, indent=1) + "\n").encode())
    return result


def read(folder: str | Path) -> Results:
    """Everything in a folder of results.

    Raises:
        ConfigError: there is nothing, or a file that is damaged or of another version.
    """
    home = Path(folder)
    measured = [one for one in map(_read, sorted(home.glob("*/*.json"))) if one]
    if not measured:
        raise ConfigError(f"no results in {home}: `unshrink eval` makes <method>/<set>.json there")
    measured.sort(key=lambda r: (_place(r["set"]), r["method"]))
    source = home / PUBLISHED
    if not source.is_file():
        return Results(tuple(measured))
    try:
        published = tomllib.loads(source.read_text(encoding="utf-8"))
        return Results(tuple(measured), tuple(published["row"]), published["sources"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read {source}: {error}") from error


def psnr_y(result: Result) -> float:
    """The mean PSNR-Y in dB; infinite where nothing differs."""
    value = result["mean"]["psnr_y"]
    return float("inf") if value is None else float(value)


def _read(path: Path) -> Result | None:
    """A result; None where the file is something else, without a schema."""
    try:
        result = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(result, dict) or "schema" not in result:
        return None
    if result["schema"] != SCHEMA:
        raise ConfigError(f"{path} is of schema {result['schema']}, not {SCHEMA}: run unshrink eval again")
    return result


def _place(name: str) -> tuple[int, str]:
    return SETS.index(name) if name in SETS else len(SETS), name
