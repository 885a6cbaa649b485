"""What becomes of flat pages: white, black, six pure colours, and white with text; writes results/flat.json.

python benchmarks/flat.py            # all installed weights, and bicubic at their scales
python benchmarks/flat.py irn-x2     # these alone; what is known of others stays
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines import Resized

import unshrink
from unshrink.evaluation import flat
from unshrink.evaluation.environment import commit
from unshrink.evaluation.protocol import Method

ROOT = Path(__file__).parents[1]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="weights (default: all installed)")
    parser.add_argument("--side", type=int, default=flat.SIDE, help="of a page, in pixels (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "flat.json")
    options = parser.parse_args(argv)
    rescalers = [unshrink.load(name) for name in options.models or unshrink.list_models()]
    known = {*unshrink.list_models(), *(rescaler.name for rescaler in rescalers)}
    earlier = json.loads(options.out.read_text())["methods"] if options.out.exists() else {}
    methods = {name: one for name, one in earlier.items() if name in known or "weights" not in one}
    for rescaler in rescalers:
        methods[rescaler.name] = measured(rescaler, options.side) | {"weights": rescaler.weights.identity}
    for scale in {rescaler.scale for rescaler in rescalers}:
        bicubic = Resized("bicubic", scale)
        methods[bicubic.name] = measured(bicubic, options.side)
    ordered = dict(sorted(methods.items(), key=lambda item: (item[1]["scale"], "weights" not in item[1], item[0])))
    options.out.write_text(json.dumps({"methods": ordered}, indent=1) + "\n")


def measured(method: Method, side: int) -> dict[str, Any]:
    """What a method makes of every page."""
    found = {name: asdict(flat.flatness(method, page)) for name, page in flat.pages(side).items()}
    for name, one in found.items():
        print(f"{method.name}, {name}: {one}", flush=True)
    return {"scale": method.scale, "side": side, "commit": commit(), "pages": found}


if __name__ == "__main__":
    main()
