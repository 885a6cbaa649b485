"""What the command line takes: the parser of every command, and its help pages."""

import argparse
from typing import Any

from unshrink import __version__
from unshrink.batch.options import BatchOptions
from unshrink.cli import completion, footage, laboratory, serving
from unshrink.cli.parser import Help, Parser
from unshrink.cli.values import count, quality, read, scale, seconds, shard, sides, source, target
from unshrink.pictures.formats import CHROMA, WRITTEN
from unshrink.pictures.sizes import box
from unshrink.text import amount

SCALES = (2, 3, 4, 8)  # for which weights are installed: the table itself would take the help pages too long

EXAMPLES = """\
examples:
  unshrink downscale photo.jpg      photo_x2.png: half of each side, a picture that any program opens
  unshrink upscale photo_x2.png     photo_restored.png: the large one, from that file alone
  unshrink downscale photos/ -r -o small/   every photo in photos/ and below; run again to go on where it stopped
  unshrink compare photo.jpg        how close it comes back, beside bicubic and Lanczos

exit codes: 0 done, 1 failed, 2 wrong usage, 3 done in part, 4 nothing matched, 130 interrupted
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = Parser(
        prog="unshrink",
        description="Make a picture small in a way that can be undone.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"unshrink {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _downscale,
        _upscale,
        _compare,
        _info,
        _sites,
        _simulate,
        _models,
        _convert,
        _export,
        _train,
        _eval,
        _report,
        _serve,
        _doctor,
    ):
        add(commands)
    for command in commands.choices.values():
        completion.mark_files(command)
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
        commands, "downscale", ("pictures", "downscale"), "make pictures small, so that they can be restored"
    )
    _pictures(parser, "{stem}_x{scale}{ext}")
    _size(parser)
    parser.add_argument(
        "--site",
        metavar="NAME",
        help="as large as this site does not resize it, as a file that it passes on if it does so, upright, without "
        "EXIF, and marked (see sites)",
    )
    _weights(parser)
    parser.add_argument(
        "--verify", action="store_true", help="restore from what is written, and say how close it comes (PSNR)"
    )
    parser.add_argument(
        "--quality", type=quality, metavar="Q", help="of JPEG, AVIF, lossy WebP (default: 85), or H.264 (80), 1 to 100"
    )
    parser.add_argument("--chroma", choices=CHROMA, help="of JPEG and AVIF (default: 4:2:0)")
    parser.add_argument(
        "--max-bytes",
        type=read(amount),
        metavar="N",
        help="the best quality, then the next larger scale, that fits into so many bytes: 300k",
    )
    parser.add_argument(
        "--lossy",
        action="store_true",
        help="allow formats that change values with weights not made for them; much less comes back then",
    )
    parser.add_argument(
        "--depth", type=int, choices=(8, 16), help="bits of the small picture's values (default: as the large one)"
    )
    parser.add_argument(
        "--mark",
        action=argparse.BooleanOptionalAction,
        help="say in the pixels too which weights made them, for when a site removes the metadata "
        "(default: with weights for lossy formats)",
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
    footage.clip(parser)
    footage.resume(parser)
    _runtime(parser)


def _size(parser: argparse.ArgumentParser) -> None:
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "-s", "--scale", type=scale, metavar="S", help="how many times smaller each side, 1.1 to 8 (default: 2)"
    )
    size.add_argument(
        "--fit", type=read(box), metavar="SIZE", help="as large as fits: 1600 for the longest side, 1280x1280 for a box"
    )
    size.add_argument(
        "--max-pixels-out", type=read(amount), metavar="N", help="as large as has no more pixels: 8.3M for 8,300,000"
    )


def _upscale(commands: Commands) -> None:
    parser = _command(commands, "upscale", ("pictures", "upscale"), "restore the large pictures from small ones")
    _pictures(parser, "{stem}_restored{ext}")
    parser.add_argument(
        "-m", "--model", help="weights to use, a name or a file (default: those that made the small picture)"
    )
    parser.add_argument(
        "--size",
        type=sides,
        metavar="WxH",
        help="pixels to come back to, for small pictures without a record (default: the scale times the small size)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw, for weights that restore by one (default: %(default)s)"
    )
    footage.clip(parser)
    footage.resume(parser)
    footage.clip_quality(parser, 90)
    _runtime(parser)


def _compare(commands: Commands) -> None:
    parser = _command(
        commands,
        "compare",
        ("compare", "compare"),
        "make a round trip in memory and measure it beside ordinary resizing",
    )
    parser.add_argument("input", type=source, metavar="IN", help="a picture or a clip; - for standard input")
    parser.add_argument("-o", "--output", metavar="FIGURE", help="the figure (default: <name>_compare_x<scale>.png)")
    parser.add_argument("--lpips", metavar="FOLDER", help="also measure LPIPS, with the weights that are there")
    parser.add_argument("--overwrite", action="store_true", help="replace a figure that exists")
    _model(parser)
    _limit(parser)
    footage.clip(parser)
    footage.clip_quality(parser, 80)
    _runtime(parser)


def _info(commands: Commands) -> None:
    parser = _command(commands, "info", ("information", "info"), "say what pictures and weights files hold")
    parser.add_argument(
        "inputs", type=source, metavar="FILE", nargs="+", help="a picture or a .safetensors file; - for standard input"
    )
    _limit(parser)


def _sites(commands: Commands) -> None:
    parser = _command(commands, "sites", ("sites", "sites"), "list what sites and apps do to uploaded pictures")
    parser.add_argument("name", metavar="NAME", nargs="?", help="a site, to say all that is known of it")


def _simulate(commands: Commands) -> None:
    parser = _command(commands, "simulate", ("sites", "simulated"), "say what arrives of a picture sent through a site")
    parser.add_argument("site", metavar="SITE", help="its name in the list of unshrink sites")
    parser.add_argument("input", metavar="IN", help="a picture; - for standard input")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a file, or - for standard output (default: {stem}_{site}{ext} beside IN)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    _limit(parser)


def _models(commands: Commands) -> None:
    _command(commands, "models", ("information", "models"), "list the installed weights")


def _convert(commands: Commands) -> None:
    laboratory.convert(
        _command(
            commands,
            "convert",
            ("weights", "convert"),
            "make a weights file of a checkpoint of the published IRN code",
        )
    )


def _export(commands: Commands) -> None:
    laboratory.export(
        _command(
            commands, "export", ("weights", "export"), "add to a weights file the graphs that run it without torch"
        )
    )


def _train(commands: Commands) -> None:
    laboratory.train(_command(commands, "train", ("weights", "train"), "train a network"))


def _eval(commands: Commands) -> None:
    parser = _command(
        commands, "eval", ("evaluate", "measure"), "measure weights over folders of pictures, by the published protocol"
    )
    laboratory.measure(parser)
    _runtime(parser)


def _report(commands: Commands) -> None:
    laboratory.report(
        _command(
            commands, "report", ("evaluate", "report"), "make a page of results: tables, plots, crops, in one HTML file"
        )
    )


def _serve(commands: Commands) -> None:
    serving.serve(_command(commands, "serve", ("serve", "serve"), "answer over HTTP, with a page to try it"))


def _doctor(commands: Commands) -> None:
    parser = _command(commands, "doctor", ("doctor", "doctor"), "check that everything needed is there and works")
    _runtime(parser)


def _pictures(parser: argparse.ArgumentParser, template: str) -> None:
    parser.add_argument(
        "inputs",
        type=source,
        metavar="IN",
        nargs="+",
        help="a picture, a clip, a folder or a pattern like 'a/**/*.jpg'; - for standard input",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=target,
        metavar="OUT",
        help=f"a file, a folder, or - for standard output (default: {template} beside IN)",
    )
    parser.add_argument(
        "--format", choices=tuple(WRITTEN), help="of the output (default: by the name of OUT, else png)"
    )
    existing = parser.add_mutually_exclusive_group()
    for flag, text in (
        ("overwrite", "replace files that exist"),
        ("skip", "leave out pictures whose output exists"),
        ("rename", "where the output exists, add a number to the name"),
    ):
        existing.add_argument(f"--{flag}", dest="existing", action="store_const", const=flag, help=text)
    parser.set_defaults(existing=BatchOptions.existing)
    parser.add_argument(
        "--preset", metavar="NAME", help="options under that name in the configuration file; those given here win"
    )
    parser.add_argument("--name", metavar="TEMPLATE", help=f"of the files in a folder (default: {template})")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--strip", action="store_true", help="leave out colour profile, EXIF (orientation too), XMP and resolution"
    )
    parser.add_argument(
        "--times", action="store_true", help="give files the time of change of the picture that they come from"
    )
    _limit(parser)
    group = parser.add_argument_group("several pictures")
    group.add_argument("-r", "--recursive", action="store_true", help="look into the subfolders of folders too")
    group.add_argument(
        "--workers", type=count, metavar="N", help="pictures worked on at once (default: the cores, at most 4)"
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=BatchOptions.timeout,
        metavar="SECONDS",
        help="give a picture up that takes longer (default: %(default)s)",
    )
    group.add_argument(
        "--shard", type=shard, metavar="I/N", help="do share I of N alone, as one of N processes or machines"
    )


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels", type=count, metavar="N", help="refuse larger pictures, read or restored (default: 178956970)"
    )


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--scale", type=int, choices=SCALES, help="how many times smaller each side (default: 2)")
    _weights(parser)


def _weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--model", help="weights to use, a name or a file (default: those for the scale)")


def _runtime(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computing")
    group.add_argument(
        "--backend",
        choices=("auto", "kernels", "openvino", "onnxruntime", "torch"),
        default="auto",
        help="what runs the network (default: the fastest that is installed)",
    )
    group.add_argument("--device", default="cpu", help="for the torch backend: cpu, cuda, ... (default: %(default)s)")
    group.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default: all cores)")
    group.add_argument(
        "--tile",
        type=int,
        default=0,
        metavar="N",
        help="run pieces of at most N x N pixels of the large picture: less memory, the same result "
        "(default: by the free memory)",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="float32 for small pictures that are the same on all machines but for one value in 10,000 (default: "
        "bfloat16 where the processor is fast at it, at most 0.02 dB worse)",
    )
