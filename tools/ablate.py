"""Runs the trials of a study, one after the other, and writes what each gave.

    python tools/ablate.py results/ablations/x2.toml             # every trial that has not been run yet
    python tools/ablate.py results/ablations/x2.toml --only luma # these alone
    python tools/ablate.py results/ablations/x2.toml --collect   # none: only writes the rows of finished ones

A study is a TOML file: ``config`` (a training configuration), ``set`` (what all trials change in it), and
``[[trial]]`` tables of ``name``, ``why`` and ``set``.  Runs go to ``runs/<study>/<trial>``; their figures to the
file beside the study, ``results/ablations/<study>.json``, beside those of earlier runs.  Two calls side by side share
the work.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def command(study: dict[str, Any], trial: dict[str, Any], folder: Path) -> list[str]:
    """The command of one trial, as it can be typed."""
    settings = [*study["set"], *trial["set"], f"run.name={trial['name']}", f"run.folder={folder}"]
    return ["unshrink", "train", study["config"], *(word for setting in settings for word in ("--set", setting))]


def run(study: dict[str, Any], trial: dict[str, Any], folder: Path) -> None:
    """One trial, unless its folder shows that it was begun."""
    try:
        (ROOT / folder).mkdir(parents=True)
    except FileExistsError:
        return
    words = command(study, trial, folder)
    print(" ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)


def row(study: dict[str, Any], trial: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    """What a finished trial gave, or None."""
    log = ROOT / folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not lines or "final" not in lines[-1]:
        return None
    seconds = max(line.get("seconds", 0.0) for line in lines)
    return {
        "name": trial["name"],
        "why": trial["why"],
        "set": trial["set"],
        "steps": lines[-1]["step"],
        "minutes": round(seconds / 60, 1),
        **{name: round(value, 3) for name, value in lines[-1]["final"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--only", nargs="+", metavar="TRIAL")
    parser.add_argument("--collect", action="store_true")
    arguments = parser.parse_args()
    study = tomllib.loads(arguments.study.read_text())
    folders = {trial["name"]: Path("runs") / arguments.study.stem / trial["name"] for trial in study["trial"]}
    for trial in study["trial"]:
        if not arguments.collect and (not arguments.only or trial["name"] in arguments.only):
            run(study, trial, folders[trial["name"]])
    figures = arguments.study.with_suffix(".json")
    earlier = {r["name"]: r for r in json.loads(figures.read_text())} if figures.exists() else {}
    rows = [row(study, trial, folders[trial["name"]]) or earlier.get(trial["name"]) for trial in study["trial"]]
    figures.write_text(json.dumps([r for r in rows if r], indent=1) + "\n")


if __name__ == "__main__":
    main()
