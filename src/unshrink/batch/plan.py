"""Which pictures are meant, and where each goes: files, folders and patterns become jobs before any work is done."""

import dataclasses
import glob
import itertools
import logging
import os
import re
import sys
import unicodedata
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unshrink.batch.manifest import Manifest
from unshrink.batch.tasks import Result
from unshrink.errors import ImageError, NothingMatchedError, UsageError
from unshrink.pictures import io as images
from unshrink.pictures.find import is_picture, pictures_in

STANDARD = "-"  # standard input or output
EXTENSIONS = {form: extensions[0] for form, extensions in (images.LOSSLESS | images.LOSSY).items()}

Fields = Callable[[str], Mapping[str, str]]  # the stem of a source -> what a template may name

logger = logging.getLogger("unshrink")


@dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        source: where it comes from.
        target: where it goes.
        form: the format of the target.
        overwrite: whether it may replace what is there.
        skip: why it is not to be done; "" if it is.
    """

    source: str
    target: str
    form: str
    overwrite: bool = False
    skip: str = ""


def is_batch(args: Namespace) -> bool:
    """Whether the arguments mean several pictures, or a folder or pattern, however many it holds."""
    return len(args.inputs) > 1 or any(map(_is_collective, args.inputs))


def output_folder(args: Namespace) -> str | None:
    """The folder that everything goes to; None where -o names a file or is not given."""
    out: str | None = args.output
    if out in (None, STANDARD) or not (is_batch(args) or out.endswith(("/", os.sep)) or os.path.isdir(out)):
        return None
    return out


def plan(args: Namespace, template: str, fields: Fields) -> list[Job]:
    """Where each picture goes and in which format.

    Args:
        args: inputs, output, format, name, recursive, json.
        template: of the names, unless --name gives one.
        fields: what the template may name, besides {name} and {ext}.

    Raises:
        UsageError: inputs and output contradict each other, or two pictures would become one file.
        NothingMatchedError: folders and patterns without a picture.
        ImageError: a missing folder, or a format that cannot be written.
    """
    _refuse_unsuitable(args)
    folder = output_folder(args)
    form = _format(None if folder else args.output, args.format)
    sources = [source for name in args.inputs for source in _find(name, args)]
    if not sources:
        shallow = not args.recursive and any(map(os.path.isdir, args.inputs))
        subfolders = "; -r looks into subfolders too" if shallow else ""
        raise NothingMatchedError(f"no pictures in {', '.join(args.inputs)}{subfolders}")
    out = STANDARD if args.inputs == [STANDARD] and args.output is None else args.output
    jobs = []
    for source, below in sources:
        if folder is None and out is not None:
            target = out
        else:
            path = Path("stdin" if source == STANDARD else source)
            place = path.parent if folder is None else Path(folder) / below
            target = str(place / _filled(args.name or template, path, form, fields(path.stem)))
        jobs.append(Job(source, target, form))
    refuse_clashes(jobs, args.json)
    return jobs


def _refuse_unsuitable(args: Namespace) -> None:
    folder = output_folder(args)
    if len(args.inputs) > 1 and STANDARD in (*args.inputs, args.output):
        raise UsageError("standard input and output take one picture: give files and a folder")
    if folder is None and any(map(_is_collective, args.inputs)):
        raise UsageError("say with -o in which folder the pictures of a folder or pattern go")
    if folder is not None and not os.path.isdir(folder) and (os.path.exists(folder) or is_picture(folder)):
        raise UsageError(f"{folder} is a file, or named like one: several pictures go to a folder")
    if folder is not None and not is_batch(args) and not os.path.isdir(folder):
        raise ImageError(f"cannot write to {folder}: there is no such folder; create it first")
    if args.name and folder is None and args.output is not None:
        raise UsageError("-o names the file already: --name is for folders")


# -- sources -------------------------------------------------------------------------------------------------------


def _is_collective(name: str) -> bool:
    """Whether a name stands for pictures that are to be found: a folder, or a pattern and no file of that name."""
    return os.path.isdir(name) or (glob.has_magic(name) and not os.path.lexists(name))


def _find(name: str, args: Namespace) -> Iterator[tuple[str, str]]:
    """The pictures that an input stands for, each with its folder below that of the input or the pattern."""
    if not _is_collective(name):
        yield name, ""
        return
    base, pattern = (Path(name), "**/*" if args.recursive else "*") if os.path.isdir(name) else _split(name)
    root, out = Path(os.path.realpath(base)), Path(os.path.realpath(args.output))
    if out == root and os.path.isdir(name):
        raise UsageError(f"{args.output} holds the pictures themselves: choose another folder for what is made")
    found = False
    for path in _matches(name, base, pattern):
        below = path.relative_to(base)
        if not (out.is_relative_to(root) and out != root and (root / below).is_relative_to(out)):  # made earlier
            found = True
            yield str(path), str(below.parent)
    if not found and len(args.inputs) > 1:
        logger.warning(f"no pictures in {name}")


def _split(name: str) -> tuple[Path, str]:
    """A pattern as the folder where it begins and the rest: a/b/*/c*.png -> a/b, */c*.png."""
    parts = Path(name).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    rest = [*parts[first:], *(["*"] if parts[-1] == "**" else [])]
    return Path(*parts[:first]), "/".join(rest)


def _matches(name: str, base: Path, pattern: str) -> list[Path]:
    try:
        return pictures_in(base, pattern)
    except ValueError as error:
        raise UsageError(f"{name} is no pattern: {error}") from None


# -- targets -------------------------------------------------------------------------------------------------------


def _format(out: str | None, asked: str | None) -> str:
    """The format that --format or the name of the output asks for."""
    if out in (None, STANDARD):
        return asked or "png"
    named = images.format_of(out) if asked is None or Path(out).suffix else asked
    if asked not in (None, named):
        raise UsageError(f"--format {asked} contradicts the name {out}")
    return named


def _filled(template: str, source: Path, form: str, fields: Mapping[str, str]) -> str:
    """The name that a template gives for a source."""
    known = {**fields, "name": source.name, "ext": EXTENSIONS[form]}

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            allowed = ", ".join(f"{{{key}}}" for key in known)
            raise UsageError(f"--name {template}: {match[0]} cannot be filled in; allowed are {allowed}")
        return known[match[1]]

    if not template.endswith("{ext}") or "/" in template or os.sep in template:
        raise UsageError(f"--name {template} must be a name without folders that ends in {{ext}}")
    return re.sub(r"\{([^{}]*)\}", value, template)


def refuse_clashes(jobs: list[Job], as_json: bool) -> None:
    """Raises UsageError where a job would replace an input or the output of another, or has nowhere to go."""
    sources = {os.path.realpath(job.source) for job in jobs if job.source != STANDARD}
    makers: dict[str, str] = {}
    for job in jobs:
        if job.source == STANDARD and sys.stdin.isatty():
            raise UsageError("standard input is a terminal: pipe a picture in, or give a file")
        if job.target == STANDARD:
            if as_json or sys.stdout.isatty():
                raise UsageError("standard output is for the picture: name a file with -o, or send it elsewhere")
            continue
        place = os.path.realpath(job.target)
        if place in sources:
            raise UsageError(f"{job.target} is an input too: choose another output")
        place = unicodedata.normalize("NFC", place).casefold()  # as the disks of most laptops tell names apart
        if place in makers:
            raise UsageError(
                f"{makers[place]} and {job.source} would both become {job.target}: do them one by one, "
                "or tell them apart with --name '{name}...{ext}'"
            )
        makers[place] = job.source


def settle(job: Job, args: Namespace, manifest: Manifest) -> Job:
    """The job with what is to be done about a target that is there already, or that a killed run has begun."""
    if job.target == STANDARD:
        return job
    targets = itertools.chain([job.target], (_numbered(job.target, n) for n in itertools.count(2)))
    for target in targets if args.rename else [job.target]:
        job = dataclasses.replace(job, target=target)
        state = manifest.state(job.source, target)
        if state == "done":
            return dataclasses.replace(job, skip="done already")
        if state == "begun" or not os.path.exists(target):
            return dataclasses.replace(job, overwrite=args.overwrite or state == "begun")
    return dataclasses.replace(job, overwrite=args.overwrite, skip="exists already" if args.skip else "")


def _numbered(target: str, number: int) -> str:
    root, extension = os.path.splitext(target)
    return f"{root}-{number}{extension}"


def skipped(job: Job) -> Result:
    """The result of a job that is not to be done."""
    return Result({"input": job.source, "output": job.target, "skipped": job.skip})


def intention(job: Job) -> Result:
    """What would become of a job, of which nothing is done."""
    would = "skip" if job.skip else "write"
    if not job.skip and job.target != STANDARD and os.path.exists(job.target):
        would = "replace" if job.overwrite else "refuse to replace"
    reason = f" ({job.skip})" if job.skip else ""
    data = {"input": job.source, "output": job.target, "would": f"{would}{reason}"}
    return Result(data, f"{job.source}: would {would} {job.target}{reason}")


def in_shard(job: Job, folder: str | None, shard: tuple[int, int] | None) -> bool:
    """Whether a job is in share i of n: by its name alone, so that new pictures change the share of no other."""
    if shard is None:
        return True
    name = Path(os.path.relpath(job.target, folder)).as_posix()
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) % shard[1] == shard[0] - 1
