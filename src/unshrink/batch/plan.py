"""Which pictures are meant, and where each goes: files, folders and patterns become items before any work is done."""

import dataclasses
import glob
import itertools
import logging
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unshrink.batch.items import STANDARD, Item, Outcome, failed, is_pipe, is_stream
from unshrink.batch.manifest import PATTERN as PATTERN_OF_MANIFESTS
from unshrink.batch.manifest import Manifest
from unshrink.batch.options import BatchOptions, Existing
from unshrink.errors import ImageError, NothingMatchedError, UsageError
from unshrink.pictures import formats
from unshrink.pictures.find import Found, is_picture, look

Fields = Callable[[str], Mapping[str, str]]  # the stem of a source -> what a template may name

MOST_KINDS = 8  # of files that are left out, in one message

logger = logging.getLogger("unshrink")


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        inputs: files, folders and patterns, or "-" for standard input.
        out: a file, a folder, or "-" for standard output; None for files beside the inputs.
        options: the rest.

    Raises:
        UsageError: these contradict each other.
    """

    inputs: Sequence[str]
    out: str | None
    options: BatchOptions

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        _refuse_unsuitable(self)

    @property
    def several(self) -> bool:
        """Whether several pictures are meant, or a folder or pattern, however many it holds."""
        return is_several(self.inputs)

    @property
    def folder(self) -> str | None:
        """The folder that everything goes to; None where ``out`` names a file or is not given."""
        out = self.out
        if out in (None, STANDARD) or not (self.several or out.endswith(("/", os.sep)) or os.path.isdir(out)):
            return None
        return out

    @property
    def form(self) -> str:
        """The format of what is made."""
        return _format(None if self.folder else self.out, self.options.format, self.options.usual_format)


def is_several(inputs: Sequence[str]) -> bool:
    """Whether inputs stand for several pictures, which go through workers."""
    return len(inputs) > 1 or any(map(_is_collective, inputs))


def plan(request: Request, template: str, fields: Fields) -> list[Item]:
    """Where each picture goes and in which format.

    Args:
        request: what is asked for.
        template: of the names, unless the options give one.
        fields: what the template may name, besides {name} and {ext}.

    Raises:
        UsageError: inputs and output contradict each other, or two pictures would become one file.
        NothingMatchedError: folders and patterns without a picture.
        ImageError: a missing folder, or a format that cannot be written.
    """
    inputs, options, folder = request.inputs, request.options, request.folder
    form = request.form
    found = [source for name in inputs for source in _find(name, request)]
    if not found:
        shallow = not options.recursive and any(map(os.path.isdir, inputs))
        subfolders = "; `recursive` looks into subfolders too" if shallow else ""
        raise NothingMatchedError(f"no pictures in {', '.join(inputs)}{subfolders}")
    out = STANDARD if list(inputs) == [STANDARD] and request.out is None else request.out
    items = []
    for one in found:
        path = Path("stdin" if one.name == STANDARD else one.name)
        place = path.parent if folder is None else Path(folder) / one.below
        if one.fault:
            target = str(place)
        elif folder is None and out is not None:
            target = out
        else:
            target = str(place / _filled(options.name or template, path, form, fields(path.stem)))
        items.append(Item(one.name, target, form, fault=one.fault))
    items = _each_once(items)
    refuse_clashes(items)
    return items


def _each_once(items: list[Item]) -> list[Item]:
    """The items without those that are the same picture, to the same place, as one before."""
    known: dict[tuple[str, str], Item] = {}
    for item in items:
        first = known.setdefault((os.path.realpath(item.source), os.path.realpath(item.target)), item)
        if first is not item:
            logger.info(f"{item.source} is named twice, and done once")
    return list(known.values())


def _refuse_unsuitable(request: Request) -> None:
    inputs, folder = request.inputs, request.folder
    if not inputs:
        raise UsageError("there are no inputs: name pictures, folders or patterns")
    if odd := [name for name in (*inputs, request.out or "") if "\0" in name]:
        raise UsageError(f"{odd[0]!r:.60} is no name of a file: it has a NUL in it")
    pipes = [name for name in inputs if name == STANDARD or is_pipe(name)]
    if len(inputs) > 1 and (pipes or request.out == STANDARD):
        raise UsageError("pipes, standard input and output take one picture: give files and a folder")
    if request.out is None and pipes not in ([], [STANDARD]):
        raise UsageError(f"{pipes[0]} is a pipe: name the file for what is made of it with `out`")
    if folder is None and (several := next(filter(_is_collective, inputs), None)):
        kind = "a folder" if os.path.isdir(several) else "a pattern"
        raise UsageError(f"{several} is {kind}: name the folder for what is made of its pictures with `out`")
    if folder is not None and not os.path.isdir(folder) and (os.path.exists(folder) or is_picture(folder)):
        raise UsageError(f"{folder} is a file, or named like one: several pictures go to a folder")
    if folder is not None and not request.several and not os.path.isdir(folder):
        raise ImageError(f"cannot write to {folder}: there is no such folder; create it first")
    if request.options.name and folder is None and request.out is not None:
        raise UsageError("`out` names the file already: `name` is for folders")


# -- sources -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A picture that is meant, its folder below that of the input or pattern, and why it cannot be done, if so."""

    name: str
    below: str = ""
    fault: str = ""


def _is_collective(name: str) -> bool:
    """Whether a name stands for pictures that are to be found: a folder, or a pattern and no file of that name."""
    return os.path.isdir(name) or (glob.has_magic(name) and not os.path.lexists(name))


def _find(name: str, request: Request) -> Iterator[_Source]:
    """The pictures that an input stands for, and the folders that cannot be looked into."""
    if not _is_collective(name):
        yield _Source(name)
        return
    base, pattern = (Path(name), "**/*" if request.options.recursive else "*") if os.path.isdir(name) else _split(name)
    root, out = Path(os.path.realpath(base)), Path(os.path.realpath(str(request.out)))
    if out == root and os.path.isdir(name):
        raise UsageError(f"{request.out} holds the pictures themselves: choose another folder for what is made")
    made = out.relative_to(root) if out.is_relative_to(root) and out != root else None  # of earlier runs
    found = _matches(name, base, pattern)
    below = {path: path.relative_to(base) for path in [*found.pictures, *found.others, *found.unreadable]}
    ours = {path: place for path, place in below.items() if not (made and place.is_relative_to(made))}
    for path, reason in found.unreadable.items():
        yield _Source(str(path), str(below[path]), f"cannot look into {path}: {reason}; what is in it is left out")
    pictures = [path for path in found.pictures if path in ours]
    yield from (_Source(str(path), str(below[path].parent)) for path in pictures)
    if not pictures and len(request.inputs) > 1:
        logger.warning(f"no pictures in {name}")
    _say_left_out(name, [path for path in found.others if path in ours])


def _say_left_out(name: str, files: list[Path]) -> None:
    """Says how many files of which kinds are no pictures by their names."""
    kinds = Counter(
        path.suffix.lower() or "without an extension" for path in files if not path.match(PATTERN_OF_MANIFESTS)
    )
    if kinds:
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(MOST_KINDS))
        more = f" and {len(kinds) - MOST_KINDS} other kinds" if len(kinds) > MOST_KINDS else ""
        clips = "; clips in a folder with pictures are to be named" if formats.CLIPS & kinds.keys() else ""
        logger.info(f"{name}: left out what is no picture by its name: {listed}{more}{clips}")


def _split(name: str) -> tuple[Path, str]:
    """A pattern as the folder where it begins and the rest: a/b/*/c*.png -> a/b, */c*.png."""
    parts = Path(name).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first]), "/".join(parts[first:])


def _matches(name: str, base: Path, pattern: str) -> Found:
    try:
        return look(base, pattern)
    except ValueError as error:
        raise UsageError(f"{name} is no pattern: {error}") from None


# -- targets -------------------------------------------------------------------------------------------------------


def _format(out: str | None, asked: str | None, usual: str) -> str:
    """The format that the options or the name of the output ask for, or the usual one."""
    if asked is not None and asked not in formats.WRITTEN:
        raise UsageError(f"format is {asked!r:.60}: allowed are None, {', '.join(formats.WRITTEN)}")
    if out in (None, STANDARD) or (is_stream(out) and not Path(out).suffix):
        return asked or usual
    named = formats.of_path(out).name if asked is None or Path(out).suffix else asked
    if asked not in (None, named):
        raise UsageError(f"`format` {asked} contradicts the name {out}")
    return named


def _filled(template: str, source: Path, form: str, fields: Mapping[str, str]) -> str:
    """The name that a template gives for a source."""
    known = {**fields, "name": source.name, "ext": formats.writable(form).extension}

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            allowed = ", ".join(f"{{{key}}}" for key in known)
            raise UsageError(f"`name` {template}: {match[0]} cannot be filled in; allowed are {allowed}")
        return known[match[1]]

    if not template.endswith("{ext}") or "/" in template or os.sep in template:
        raise UsageError(f"`name` {template} must be a name without folders that ends in {{ext}}")
    return re.sub(r"\{([^{}]*)\}", value, template)


def refuse_clashes(items: list[Item]) -> None:
    """Raises UsageError where an item would replace an input or the output of another."""
    sources = {os.path.realpath(item.source) for item in items if item.source != STANDARD}
    makers: dict[str, str] = {}
    for item in items:
        if item.fault or is_stream(item.target):
            continue
        place = os.path.realpath(item.target)
        if place in sources:
            raise UsageError(f"{item.target} is an input too: choose another output")
        place = unicodedata.normalize("NFC", place).casefold()  # as the disks of most laptops tell names apart
        if place in makers:
            raise UsageError(
                f"{makers[place]} and {item.source} would both become {item.target}: do them one by one, "
                "or tell them apart with `name` '{name}...{ext}'"
            )
        makers[place] = item.source


def settle(item: Item, existing: Existing, manifest: Manifest) -> Item:
    """The item with what is to be done about a target that is there already, or that a killed run has begun."""
    if item.fault or is_stream(item.target):
        return item
    targets = itertools.chain([item.target], (_numbered(item.target, n) for n in itertools.count(2)))
    overwrite = existing == "overwrite"
    for target in targets if existing == "rename" else [item.target]:
        item = dataclasses.replace(item, target=target)
        state = manifest.state(item.source, target)
        if state == "done":
            return dataclasses.replace(item, skip="done already")
        if state == "begun" or not os.path.lexists(target):
            return dataclasses.replace(item, overwrite=overwrite or state == "begun")
    return dataclasses.replace(item, overwrite=overwrite, skip="exists already" if existing == "skip" else "")


def _numbered(target: str, number: int) -> str:
    root, extension = os.path.splitext(target)
    return f"{root}-{number}{extension}"


def intention(item: Item) -> Outcome:
    """What would become of an item, of which nothing is done."""
    if item.fault:
        return failed(item, item.fault)
    would = "skip" if item.skip else "write"
    if not item.skip and not is_stream(item.target) and os.path.lexists(item.target):
        would = "replace" if item.overwrite else "refuse to replace"
    reason = f" ({item.skip})" if item.skip else ""
    return Outcome(item.source, item.target, "planned", facts={"would": f"{would}{reason}"})


def in_shard(item: Item, folder: str | None, shard: tuple[int, int] | None) -> bool:
    """Whether an item is in share i of n: by its name alone, so that new pictures change the share of no other."""
    if shard is None:
        return True
    name = Path(os.path.relpath(item.target, folder)).as_posix()
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) % shard[1] == shard[0] - 1
