"""The weights that are installed: the table of them, and weights by their names.

`tools/ship.py` writes the rows.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from unshrink.errors import ConfigError, ModelNotFoundError, WeightsError
from unshrink.weights.file import IDENTITY_DIGITS, SUFFIX, Weights, read

DEFAULT_SCALE = 2  # what comes back is hard to tell from the original; at 4, fine detail is softer
# The largest ratio that each scale is chosen for, where that is not itself: measured by benchmarks/ratios.py.
# Up to there, making the picture a little smaller first loses less than the next network does.
UP_TO = {2: Fraction("2.6"), 4: Fraction(6)}
_ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True)
class Entry:
    """One installed weights file.

    Attributes:
        name: what users call it, method-scale: "irn-x4".
        file: its name in the folder ``zoo`` of this package.
        sha256: of the file, in hex.
        bytes: size of the file.
        identity: of the parameters, as `Weights.identity`.
        architecture: "irn".
        scale: how many times smaller the small picture is, along each side.
        latent: how z is chosen to restore: "zero" or "gaussian".
        licence: SPDX identifier.
        card: the page that describes it, relative to the repository.
        figures: measured quality, as {data set and measure: value}.
        number: what the mark in a small picture calls it, 1 to 255: never that of other weights, present or past.
        lossy: whether it is made for formats that change values; its small pictures then have a mark by default.
    """

    name: str
    file: str
    sha256: str
    bytes: int
    identity: str
    architecture: str
    scale: int
    latent: str
    licence: str
    card: str
    figures: Mapping[str, float] = field(default_factory=dict)
    number: int = 0
    lossy: bool = False

    @property
    def path(self) -> Path:
        """Where the file is installed."""
        return _ZOO / self.file


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="irn-x2",
        file="irn-x2.safetensors",
        sha256="2b1fba55b6201f85dd13f67eca5cacce8294d35b6d77f3b6969e678bcd63ebfe",
        bytes=1532333,
        identity="6f273588267dc4afcb5935dd890f746c0ec6f4aa1d6df08a2acdee03be1748e3",
        architecture="irn",
        scale=2,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x2.md",
        figures={"Set5 PSNR-Y": 42.91, "Set5 chroma": 46.56},
        number=5,
        lossy=False,
    ),
    Entry(
        name="irn-x2-jpeg",
        file="irn-x2-jpeg.safetensors",
        sha256="38b495dec05f899620666d058a75df11957c15b13a1d79388ad7d3a62eab9915",
        bytes=1976228,
        identity="459047bf51c7b1276cf4715138b5cbee008c54db907de39699d6e34262d4d8f3",
        architecture="irn",
        scale=2,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x2-jpeg.md",
        figures={"Set5 PSNR-Y": 40.29, "Set5 chroma": 44.65},
        number=8,
        lossy=True,
    ),
    Entry(
        name="irn-x3",
        file="irn-x3.safetensors",
        sha256="6b6fa83e27579af61d17cf31284e351d9798d38ae7625dc67639071fd67c59d0",
        bytes=1948556,
        identity="011a34b6aa4f455a3553eef0894a540e0b5d98b337fad42a5679d2105c9d16c5",
        architecture="irn",
        scale=3,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x3.md",
        figures={"Set5 PSNR-Y": 36.96, "Set5 chroma": 43.06},
        number=2,
    ),
    Entry(
        name="irn-x4",
        file="irn-x4.safetensors",
        sha256="f9c4e6beb15385591d107ad5cd9c628d89bf5371462f424acb3bcb792d2c64f1",
        bytes=2912956,
        identity="b1bc2e6e66c42a78c954218ecb05ccea1dd7a1e40857e04cc5fa0cc06b111c93",
        architecture="irn",
        scale=4,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x4.md",
        figures={"Set5 PSNR-Y": 34.84, "Set5 chroma": 41.52},
        number=3,
    ),
    Entry(
        name="irn-x4-jpeg",
        file="irn-x4-jpeg.safetensors",
        sha256="20433fd6c4bc392d35f33534574e5de07f5fcda8a4beec71efed82dae9303285",
        bytes=2710090,
        identity="6cb65f3f112be77f44f2da2ef62f7bd8c722e95a6d34639c47751c2104f4065a",
        architecture="irn",
        scale=4,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x4-jpeg.md",
        figures={"Set5 PSNR-Y": 31.79, "Set5 chroma": 41.32},
        number=7,
        lossy=True,
    ),
    Entry(
        name="irn-x8",
        file="irn-x8.safetensors",
        sha256="3ff9dd94fbe36c059ed6bcee6859009119b2e5278ec801974ad1979942b96c77",
        bytes=5355110,
        identity="9620797d8aded509550a8a8bd0cc1d6130b4a89dc683e09228f20020bb2c8f5f",
        architecture="irn",
        scale=8,
        latent="zero",
        licence="Apache-2.0",
        card="cards/irn-x8.md",
        figures={"Set5 PSNR-Y": 28.56, "Set5 chroma": 37.98},
        number=4,
    ),
)  # the first row of a scale is its default


def load(name_or_path: str | os.PathLike[str]) -> Weights:
    """Reads installed weights by their name, or any weights file by its path.

    Args:
        name_or_path: a name of `ENTRIES`; or a path: anything with a separator in it or that ends in ".safetensors".

    Raises:
        ModelNotFoundError: no weights of that name, no file at that path.
        WeightsError: the file is damaged, altered, from a newer version, or does not fit its architecture.
    """
    given = os.fspath(name_or_path)
    if isinstance(name_or_path, os.PathLike) or given.endswith(SUFFIX) or os.sep in given or "/" in given:
        return read(Path(given))
    entry = _entry(given)
    _verify(entry)
    return read(entry.path)


def list_models() -> list[str]:
    """The names of the installed weights."""
    return [entry.name for entry in ENTRIES]


def for_scale(scale: int) -> Entry:
    """The default weights for a scale.  Raises ModelNotFoundError, listing what is installed, if there are none."""
    for entry in ENTRIES:
        if entry.scale == scale:
            return entry
    raise ModelNotFoundError(f"no weights for scale {scale}: installed are {_installed()}")


def for_ratio(ratio: Fraction, lossy: bool = False) -> Entry:
    """The default weights that make a picture so many times smaller: those of just that scale, or of what is best.

    Args:
        ratio: how many times smaller each side becomes.
        lossy: whether the small picture goes into a lossy format: then, where there are, those made for it.

    Raises:
        ModelNotFoundError: none are installed of so large a scale.
    """
    scales = sorted({entry.scale for entry in ENTRIES})
    for scale in scales:
        if ratio == scale or (ratio <= UP_TO.get(scale, scale) and ratio not in scales):
            made_for_it = (entry for entry in ENTRIES if lossy and entry.lossy and entry.scale == scale)
            return next(made_for_it, for_scale(scale))
    most = f"installed weights make it {scales[-1]} times smaller at most" if scales else "no weights are installed"
    raise ModelNotFoundError(f"each side would become {float(ratio):.4g} times smaller: {most}")


def is_default(entry: Entry) -> bool:
    """Whether an entry is the default of its scale."""
    return for_scale(entry.scale) is entry


def of_identity(identity: str) -> Entry | None:
    """The entry of installed weights, by their identity or the digits of it in a record; None where they are not."""
    if len(identity) < IDENTITY_DIGITS:
        return None
    return next((entry for entry in ENTRIES if entry.identity.startswith(identity)), None)


def bears_changes(weights: Weights) -> bool:
    """Whether weights are made for small pictures whose values changed a little on their way."""
    entry = of_identity(weights.identity)
    return entry is not None and entry.lossy


def of_number(number: int) -> Entry:
    """The entry of the weights that a mark names.  Raises ModelNotFoundError if they are not installed."""
    for entry in ENTRIES:
        if entry.number == number:
            return entry
    raise ModelNotFoundError(
        f"the mark in the picture names weights number {number}, which are not installed: "
        "install the version of unshrink that made it, or give the file of its weights"
    )


def number_to_mark(weights: Weights, mark: bool | None) -> int:
    """The number that goes into the pixels of small pictures.

    Args:
        weights: what makes them.
        mark: whether they are to be marked; None for what is usual with these weights.

    Returns:
        0 where they are not to be marked.

    Raises:
        ConfigError: they are to be, and the weights have no number because they are not installed.
    """
    entry = of_identity(weights.identity)
    if mark is False or (mark is None and not (entry and entry.lossy)):
        return 0
    if not entry or not entry.number:
        raise ConfigError(
            f"{weights.name} cannot mark small pictures: a mark holds the number of installed weights, and these have "
            f"none; leave the mark out, or take one of {_installed()}"
        )
    return entry.number


def find(name: str, identity: str) -> Weights:
    """The installed weights that made a small picture.

    Args:
        name: what its record calls them; only for the message.
        identity: the first 16 hex digits of their identity.

    Raises:
        ModelNotFoundError: none of the installed weights are those.
        WeightsError: as in `load`.
    """
    if entry := of_identity(identity):
        return load(entry.name)
    same_name = [entry.identity[:IDENTITY_DIGITS] for entry in ENTRIES if entry.name == name]
    instead = f"the installed {name} are {same_name[0]}" if same_name else f"installed are {_installed()}"
    raise ModelNotFoundError(
        f"the picture was made by weights {name!r} ({identity}), but {instead}: "
        "install the version of unshrink that made it, or give the file of its weights"
    )


def _installed() -> str:
    return ", ".join(list_models()) or "none"


def _entry(name: str) -> Entry:
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    nearest = difflib.get_close_matches(name, list_models(), n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ModelNotFoundError(
        f"no weights named {name!r}: installed are {_installed()}, or give the path of a {SUFFIX} file{hint}"
    )


def _verify(entry: Entry) -> None:
    """Raises WeightsError unless the installed file is the shipped one."""
    try:
        with entry.path.open("rb") as stream:
            met = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise WeightsError(f"{entry.path} cannot be read ({exc.strerror}): reinstall unshrink") from exc
    if met != entry.sha256:
        raise WeightsError(f"{entry.path} is altered: its sha256 is {met}, not {entry.sha256}; reinstall unshrink")
