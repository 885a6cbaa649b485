"""The command line: reads the arguments, runs the command, shows what it gives and turns errors into exit codes.

Standard output carries results alone (tables, JSON, a picture); everything said about the work goes to standard error.
Heavy modules are imported by the commands that use them, so that help answers at once.
"""

import gc
import logging
import signal
import sys
from importlib import import_module
from types import FrameType

from unshrink.cli.arguments import make_parser
from unshrink.cli.presets import expanded
from unshrink.cli.tasks import Result, Results, Task, attempt
from unshrink.cli.terminal import Pace, discard, messages, prepare, show, status
from unshrink.errors import NothingMatchedError, UnshrinkError, UsageError

OK, FAILED, USAGE, PARTLY, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 130

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

logger = logging.getLogger("unshrink")


def run() -> None:
    """What the command ``unshrink`` calls: a signal that ends it leaves no half-written files behind."""
    prepare()
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        raise SystemExit

    for number in _ENDS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, end)
    try:
        code = main()
    except SystemExit:
        code = FAILED
    try:
        sys.stdout.flush()  # help pages, which argparse prints
    except OSError:
        discard(sys.stdout)
        code = code or FAILED
    gc.freeze()  # else the process looks through all its objects once more before it ends
    for number in heard:  # whoever has sent it sees that it ended by it
        signal.raise_signal(number)
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; default: those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed, or
        a damaged clip was done as far as it could be read, 4 nothing matched, 130 interrupted.
    """
    try:
        args = make_parser().parse_args(expanded(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # argparse has printed help or the version
        return int(stop.code or OK)
    except UsageError as error:
        with messages(quiet=False, verbose=False):
            logger.error(error)
        return USAGE
    with messages(args.quiet, args.verbose):
        try:
            module, function = args.run
            return perform(getattr(import_module(f"unshrink.cli.{module}"), function)(args), args.json)
        except UsageError as error:
            logger.error(f"{error} (see unshrink {args.command} --help)")
            return USAGE
        except UnshrinkError as error:
            logger.error(error)
            show(Result({"error": str(error)}), args.json)
            return NOTHING if isinstance(error, NothingMatchedError) else FAILED
        except BrokenPipeError:  # whoever read our output has gone: nothing is to be said, at exit neither
            discard(sys.stdout)
            return FAILED
        except KeyboardInterrupt:
            logger.error("interrupted")
            return INTERRUPTED


def perform(work: list[Task] | Results, as_json: bool) -> int:
    """Does the tasks, or takes the results as they come, and shows each; a failure does not stop the rest.

    Returns:
        The exit code.
    """
    failed, partly, pace = 0, False, Pace(len(work))
    for result in map(attempt, work) if isinstance(work, list) else work:
        if "error" in result.data and not result.ok:
            name, error = result.data.get("input", ""), result.data["error"]
            logger.error(error if name in error else f"{name}: {error}")
        failed += not result.ok
        partly |= result.partly
        show(result, as_json)
        pace.count(result)
        status.show(pace.line(failed))
    return FAILED if failed and failed == len(work) else PARTLY if failed or partly else OK


if __name__ == "__main__":
    run()
