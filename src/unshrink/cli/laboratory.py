"""What the commands take that make weights and measure them."""

from argparse import ArgumentParser


def convert(parser: ArgumentParser) -> None:
    """What ``convert`` takes."""
    parser.add_argument("input", metavar="IN.pth", help="the checkpoint")
    parser.add_argument("-o", "--output", metavar="OUT.safetensors", required=True, help="the weights file")
    parser.add_argument("--name", help="what to call the weights (default: after the checkpoint)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def export(parser: ArgumentParser) -> None:
    """What ``export`` takes."""
    parser.add_argument("input", metavar="FILE.safetensors", help="the weights file; it is replaced when all is done")


def train(parser: ArgumentParser) -> None:
    """What ``train`` takes."""
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, such as configs/irn-x4.toml")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the run's folder")
    parser.add_argument(
        "--max-time", type=float, metavar="MINUTES", help="end after so long; the schedule ends with it"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="replace a setting; may be repeated"
    )


def measure(parser: ArgumentParser) -> None:
    """What ``eval`` takes, but for how it computes."""
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
    parser.add_argument("--lpips", metavar="FOLDER", help="also measure LPIPS, with the weights that are there")
    parser.add_argument(
        "--crops", action="store_true", help="also cut out, for report, a place of the picture that comes back worst"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")


def report(parser: ArgumentParser) -> None:
    """What ``report`` takes."""
    parser.add_argument(
        "folder", metavar="RESULTS", nargs="?", default="results", help="what eval wrote (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", default="report.html", metavar="PAGE", help="(default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")
