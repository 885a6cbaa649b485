"""The command line: reads the arguments, runs the command, prints what it gives and turns errors into exit codes.

Standard output carries results alone (tables, JSON, a picture); everything said about the work goes to standard error.
Heavy modules are imported by the commands that use them, so that help answers at once.
"""

import argparse
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from unshrink import __version__
from unshrink.errors import UnshrinkError, UnshrinkWarning
from unshrink.tasks import Result, Task, UsageError

OK, FAILED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130
PATIENCE = 1.0  # seconds of work before progress is shown

logger = logging.getLogger("unshrink")


def run() -> None:
    """What the command ``unshrink`` calls."""
    sys.exit(main())


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; default: those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed, 130 interrupted.
    """
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, the version or what is wrong
        return int(stop.code or OK)
    with messages(args.quiet, args.verbose):
        try:
            module, function = args.run
            code = perform(getattr(import_module(f"unshrink.{module}"), function)(args), args.json)
            sys.stdout.flush()
            return code
        except UsageError as error:
            logger.error(f"{error} (see unshrink {args.command} --help)")
            return USAGE
        except UnshrinkError as error:
            logger.error(error)
            show(Result({"error": str(error)}), args.json)
            return FAILED
        except BrokenPipeError:  # whoever read our output has gone: nothing is to be said, at exit neither
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except KeyboardInterrupt:
            logger.error("interrupted")
            return INTERRUPTED


def perform(tasks: list[Task], as_json: bool) -> int:
    """Does one task after the other and shows what each gives; with several, a failure does not stop the rest."""
    failed, began = 0, time.monotonic()
    for number, task in enumerate(tasks, 1):
        if len(tasks) > 1 and time.monotonic() - began > PATIENCE:
            progress.show(f"[{number}/{len(tasks)}] {task.name}")
        try:
            with warnings_about(task.name):
                result = task.run()
        except UnshrinkError as error:
            if len(tasks) == 1 and not task.name:
                raise
            logger.error(error if task.name in str(error) else f"{task.name}: {error}")
            result = Result({"input": task.name, "error": str(error)}, ok=False)
        failed += not result.ok
        show(result, as_json)
    return OK if not failed else FAILED if failed == len(tasks) else PARTLY


def show(result: Result, as_json: bool) -> None:
    """Prints a result, on one line for programs."""
    if as_json:
        print(json.dumps(_plain(result.data), ensure_ascii=False))
    elif result.text:
        progress.clear()
        print(_printable(result.text))


class Progress:
    """One line on the terminal that says what is being worked on, and goes away before anything else is printed."""

    def __init__(self) -> None:
        self.shown = False

    def show(self, text: str) -> None:
        """Shows it, where standard error is a terminal and --quiet was not asked for."""
        if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
            print(f"\r\033[K{_printable(text)[:78]}", end="", file=sys.stderr, flush=True)
            self.shown = True

    def clear(self) -> None:
        """Takes it away."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self.shown = False


progress = Progress()


class Lines(logging.Handler):
    """Prints what the package logs to standard error, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message."""
        progress.clear()
        kind = "warning: " if record.levelno == logging.WARNING else ""
        print(f"unshrink: {kind}{_printable(record.getMessage(), ' ')}", file=sys.stderr)


@contextmanager
def messages(quiet: bool, verbose: bool) -> Iterator[None]:
    """Shows what the package logs."""
    handler = Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        progress.clear()
        logger.removeHandler(handler)


@contextmanager
def warnings_about(name: str) -> Iterator[None]:
    """Logs UnshrinkWarnings with the name of what they are about."""

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, UnshrinkWarning):
            logger.warning(f"{name}: {message}")
        else:
            usual(message, category, *where, **options)

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.showwarning = show_warning
        warnings.simplefilter("always", UnshrinkWarning)
        yield


def _printable(text: str, newline: str = "\n") -> str:
    """The text without what could steer a terminal: names and headers come from strangers."""
    return "".join(newline if c == "\n" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(value: Any) -> Any:
    """The value as JSON has it: no number there is infinite."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- arguments -----------------------------------------------------------------------------------------------------

SCALES = (2, 3, 4, 8)
LOSSLESS = ("png", "webp", "tiff")
FORMATS = (*LOSSLESS, "jpeg", "avif")

EXAMPLES = """\
examples:
  unshrink downscale photo.jpg      photo_x2.png: half of each side, a picture that any program opens
  unshrink upscale photo_x2.png     photo_restored.png: the large one, from that file alone
  unshrink compare photo.jpg        how close it comes back, beside bicubic and Lanczos

exit codes: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed, 130 interrupted
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help pages with room for the options' names."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)
        self._action_max_length = 13  # argparse forgets that the commands' names are indented once more


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="unshrink",
        description="Make a picture small in a way that can be undone.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"unshrink {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (_downscale, _upscale, _compare, _info, _models, _convert, _export, _train, _eval, _report, _doctor):
        add(commands)
    return parser


Commands = Any  # argparse has no public name for it


def _command(commands: Commands, name: str, run: tuple[str, str], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=Help
    )
    parser.set_defaults(run=run)
    talk = parser.add_argument_group("messages")
    talk.add_argument("--json", action="store_true", help="print the result as JSON, one line per file")
    talk.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors and warnings")
    talk.add_argument("-v", "--verbose", action="store_true", help="also say how long it took and on what")
    return parser


def _downscale(commands: Commands) -> None:
    parser = _command(
        commands, "downscale", ("commands", "downscale"), "make pictures small, so that they can be restored"
    )
    _inputs(parser)
    _output(parser, "<name>_x<scale>.png", FORMATS)
    _model(parser)
    parser.add_argument(
        "--verify", action="store_true", help="restore from what is written, and say how close it comes (PSNR)"
    )
    parser.add_argument(
        "--lossy", action="store_true", help="allow formats that change values; what comes back is then much worse"
    )
    parser.add_argument(
        "--depth", type=int, choices=(8, 16), help="bits of the small picture's values (default: as the large one)"
    )
    parser.add_argument(
        "--effort",
        type=int,
        choices=range(10),
        default=0,
        metavar="N",
        help="0 to 9 steps in search of a small picture of which more comes back, each as long as a few runs "
        "(default: %(default)s)",
    )
    _runtime(parser)


def _upscale(commands: Commands) -> None:
    parser = _command(commands, "upscale", ("commands", "upscale"), "restore the large pictures from small ones")
    _inputs(parser)
    _output(parser, "<name>_restored.png", FORMATS)
    parser.add_argument(
        "-m", "--model", help="weights to use, a name or a file (default: those that made the small picture)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw, for weights that restore by one (default: %(default)s)"
    )
    _runtime(parser)


def _compare(commands: Commands) -> None:
    parser = _command(
        commands,
        "compare",
        ("commands", "compare"),
        "make a round trip in memory and measure it beside ordinary resizing",
    )
    parser.add_argument("input", metavar="IN", help="a picture; - for standard input")
    parser.add_argument("-o", "--output", metavar="FIGURE", help="the figure (default: <name>_compare_x<scale>.png)")
    parser.add_argument("--overwrite", action="store_true", help="replace a figure that exists")
    _model(parser)
    _limit(parser)
    _runtime(parser)


def _info(commands: Commands) -> None:
    parser = _command(commands, "info", ("describe", "info"), "say what pictures and weights files hold")
    parser.add_argument(
        "inputs", metavar="FILE", nargs="+", help="a picture or a .safetensors file; - for standard input"
    )
    _limit(parser)


def _models(commands: Commands) -> None:
    _command(commands, "models", ("describe", "models"), "list the installed weights")


def _convert(commands: Commands) -> None:
    parser = _command(
        commands, "convert", ("commands", "convert"), "make a weights file of a checkpoint of the published IRN code"
    )
    parser.add_argument("input", metavar="IN.pth", help="the checkpoint")
    parser.add_argument("-o", "--output", metavar="OUT.safetensors", required=True, help="the weights file")
    parser.add_argument("--name", help="what to call the weights (default: after the checkpoint)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _export(commands: Commands) -> None:
    parser = _command(
        commands, "export", ("commands", "export"), "add to a weights file the graphs that run it without torch"
    )
    parser.add_argument("input", metavar="FILE.safetensors", help="the weights file; it is replaced when all is done")


def _train(commands: Commands) -> None:
    parser = _command(commands, "train", ("commands", "train"), "train a network")
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, such as configs/irn-x4.toml")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the run's folder")
    parser.add_argument(
        "--max-time", type=float, metavar="MINUTES", help="end after so long; the schedule ends with it"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="replace a setting; may be repeated"
    )


def _eval(commands: Commands) -> None:
    parser = _command(
        commands, "eval", ("measure", "measure"), "measure weights over folders of pictures, by the published protocol"
    )
    parser.add_argument("models", metavar="MODEL", nargs="*", help="weights, names or files (default: all installed)")
    parser.add_argument(
        "--data",
        metavar="SET",
        nargs="+",
        required=True,
        help="folders of large pictures, or names of test sets: folders in $UNSHRINK_DATA/test",
    )
    parser.add_argument(
        "-o", "--output", default="results", metavar="FOLDER", help="for MODEL/SET.json (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    _runtime(parser)
    parser.set_defaults(fast=False)  # figures that hold on every machine


def _report(commands: Commands) -> None:
    parser = _command(
        commands, "report", ("report", "report"), "make a page of results: tables, plots, crops, in one HTML file"
    )
    parser.add_argument(
        "folder", metavar="RESULTS", nargs="?", default="results", help="what eval wrote (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", default="report.html", metavar="PAGE", help="(default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")


def _doctor(commands: Commands) -> None:
    parser = _command(commands, "doctor", ("describe", "doctor"), "check that everything needed is there and works")
    _runtime(parser)


def _inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="IN", nargs="+", help="a picture; - for standard input")


def _output(parser: argparse.ArgumentParser, default: str, formats: tuple[str, ...]) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"a file, a folder, or - for standard output (default: {default} beside IN)",
    )
    parser.add_argument("--format", choices=formats, help="of the output (default: by the name of OUT, else png)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--strip", action="store_true", help="leave out colour profile, EXIF (orientation too), XMP and resolution"
    )
    _limit(parser)


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels", type=_count, metavar="N", help="refuse larger pictures, read or restored (default: 178956970)"
    )


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--scale", type=int, choices=SCALES, help="how many times smaller each side (default: 2)")
    parser.add_argument("-m", "--model", help="weights to use, a name or a file (default: those for the scale)")


def _runtime(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computing")
    group.add_argument(
        "--backend",
        choices=("auto", "openvino", "onnxruntime", "torch"),
        default="auto",
        help="what runs the network (default: the fastest that is installed)",
    )
    group.add_argument("--device", default="cpu", help="for the torch backend: cpu, cuda, ... (default: %(default)s)")
    group.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all cores)")
    group.add_argument(
        "--fast",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16, all but the picture itself: less than 0.02 dB worse "
        "(default: where the processor is fast at it, but for eval)",
    )


def _count(text: str) -> int:
    if not text.replace("_", "").isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    run()
