"""Folders from Python: the calls of `unshrink.batch`, beside the command line that uses them."""

import contextlib
import dataclasses
import doctest
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import folders
import numpy as np
import pytest

from unshrink import batch, write
from unshrink.batch.options import _EFFORTS
from unshrink.cli import main as cli
from unshrink.cli.arguments import make_parser
from unshrink.cli.pictures import options_of
from unshrink.errors import ImageError, NothingMatchedError, UnshrinkError, UsageError
from unshrink.pictures.image import Image
from unshrink.pictures.io import read
from unshrink.runtime.search import MOST_EFFORT


def picture(path, width=40, height=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    write(Image(np.stack([5 * x % 256, 9 * y, 4 * (x + y)], axis=2).astype(np.uint8)), path)
    return path


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A tree of three pictures, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.png", "b.png", "deep/c.png")):
        picture(tmp_path / "photos" / name, 40 + number)
    return Path("photos")


RECURSIVE = batch.DownscaleOptions(recursive=True)


def by_name(outcomes):
    return {Path(outcome.input).name: outcome for outcome in outcomes}


# -- the same as the command line ----------------------------------------------------------------------------------


def test_files_are_those_of_the_command_line_byte_for_byte(photos):
    made = by_name(batch.downscale(photos, "small", dataclasses.replace(RECURSIVE, scale=2, format="webp")))
    assert {outcome.status for outcome in made.values()} == {"done"}
    assert made["c.png"].facts["small_size"] == (21, 12)
    assert cli.main(["downscale", "photos", "-r", "-o", "small2", "-s", "2", "--format", "webp"]) == 0
    assert folders.outputs(Path("small")) == folders.outputs(Path("small2"))
    back = list(batch.upscale(["small"], Path("back"), batch.UpscaleOptions(recursive=True)))
    assert cli.main(["upscale", "small2", "-r", "-o", "back2"]) == 0
    assert folders.outputs(Path("back")) == folders.outputs(Path("back2"))
    assert {outcome.facts["unchanged"] for outcome in back} == {True}


def test_each_goes_on_where_the_other_was(photos, capsys):
    list(batch.downscale(photos, "small", RECURSIVE))
    assert cli.main(["downscale", "photos", "-r", "-o", "small", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["skipped"] for row in rows} == {"done already"}
    Path("small/a_x2.png").unlink()
    again = by_name(batch.downscale(photos, "small", RECURSIVE))
    assert [outcome.status for _, outcome in sorted(again.items())] == ["done", "skipped", "skipped"]
    assert again["b.png"].facts == {"skipped": "done already"}


def test_outcomes_say_what_json_says(photos, capsys):
    options = batch.DownscaleOptions(verify=True)
    (outcome,) = batch.downscale("photos/a.png", "one.png", options)
    assert cli.main(["downscale", "photos/a.png", "-o", "two.png", "--verify", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    said = json.loads(json.dumps(outcome.as_json()))
    assert said["seconds"] > 0
    assert said | {"output": "", "seconds": 0} == row | {"output": "", "seconds": 0}


def test_defaults_are_those_of_the_command_line():
    parser = make_parser()
    for command, kind in (("downscale", batch.DownscaleOptions), ("upscale", batch.UpscaleOptions)):
        args = parser.parse_args([command, "a.png"])
        assert options_of(args, kind) == kind()
        flags = {field.name for field in dataclasses.fields(kind)}
        assert flags <= vars(args).keys(), "every option has a flag"


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_broken_file_costs_itself_alone(photos):
    (photos / "broken.png").write_bytes(b"no picture")
    made = by_name(batch.downscale(photos, "small"))
    assert {name: outcome.status for name, outcome in made.items()} == {
        "a.png": "done",
        "b.png": "done",
        "broken.png": "failed",
    }
    broken = made["broken.png"]
    assert not broken.ok
    assert "not a PNG" in broken.error
    assert (broken.output, broken.facts) == ("small/broken_x2.png", {})
    assert sorted(folders.outputs(Path("small"))) == ["a_x2.png", "b_x2.png"]


def test_a_picture_alone_fails_as_an_outcome_too(photos):
    (outcome,) = batch.downscale("none.png")
    assert outcome.status == "failed"
    assert "none.png" in outcome.error
    (outcome,) = batch.upscale(photos / "a.png")
    assert "has no record of unshrink" in outcome.error


@pytest.mark.parametrize(
    "inputs, out, options, error, message",
    [
        ("photos", None, {}, UsageError, "photos is a folder: name the folder"),
        ([], "small", {}, UsageError, "no inputs"),
        ("photos", "small", {"format": "gif"}, UsageError, "format is 'gif': allowed are None, png"),
        ("photos", "small", {"format": "jpeg", "scale": 8}, ImageError, "only the exact values"),
        ("photos", "small", {"scale": 4, "model": "irn-x2"}, UsageError, "scale 4 contradicts the model"),
        ("photos", "small", {"name": "same{ext}"}, UsageError, "would both become"),
        ("photos/*.gif", "small", {}, NothingMatchedError, "no pictures in"),
        (["photos/a.png", "photos/b.png"], "small", {"model": "none"}, UnshrinkError, "no weights named 'none'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_call(photos, inputs, out, options, error, message):
    with pytest.raises(error, match=message):
        batch.downscale(inputs, out, batch.DownscaleOptions(**options))
    assert not Path("small").exists()


# -- progress, and going away --------------------------------------------------------------------------------------


def test_progress_is_the_share_of_the_pictures_or_of_the_one(photos):
    told = []
    outcomes = batch.downscale(photos, "small", RECURSIVE, progress=told.append)
    assert len(outcomes) == 3
    assert told == []
    next(outcomes)
    assert told == [1 / 3]
    assert len(list(outcomes)) == 2
    assert told == [1 / 3, 2 / 3, 1.0]
    told.clear()
    list(batch.downscale(photos / "a.png", progress=told.append))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)


def ended(seconds=20):
    """Whether the workers of this process end."""
    end = time.monotonic() + seconds
    while folders.children(os.getpid()) and time.monotonic() < end:
        time.sleep(0.05)
    return not folders.children(os.getpid())


@pytest.mark.parametrize("leave", ["drop", "close"])
def test_whoever_goes_away_leaves_no_workers(tmp_path, leave):
    for number in range(30):
        picture(tmp_path / "photos" / f"{number}.png")
    handler = signal.getsignal(signal.SIGINT)
    outcomes = batch.downscale(tmp_path / "photos", tmp_path / "small")
    next(outcomes)
    assert folders.children(os.getpid())
    if leave == "close":
        outcomes.close()
        assert list(outcomes) == []
    else:
        del outcomes
    assert ended()
    assert signal.getsignal(signal.SIGINT) is handler
    assert not list(tmp_path.rglob("*.part"))
    done = {line["output"] for line in folders.lines(tmp_path / "small", "done")}
    assert 0 < len(done) < 30
    again = list(batch.downscale(tmp_path / "photos", tmp_path / "small"))
    assert {Path(outcome.output).name for outcome in again if outcome.status == "skipped"} == done
    assert len(folders.outputs(tmp_path / "small")) == 30


def test_an_exception_in_the_loop_ends_the_workers(photos):
    def stop():
        for _ in batch.downscale(photos, "small", RECURSIVE):
            raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        stop()
    assert ended()


def test_another_thread_may_do_it(photos):
    found = []
    thread = threading.Thread(target=lambda: found.extend(batch.downscale(photos, "small", RECURSIVE)))
    thread.start()
    thread.join()
    assert [outcome.status for outcome in found] == ["done"] * 3


def test_a_dry_run_plans_and_does_nothing(photos):
    outcomes = by_name(batch.downscale(photos, "small", dataclasses.replace(RECURSIVE, dry_run=True)))
    assert {outcome.status for outcome in outcomes.values()} == {"planned"}
    assert outcomes["c.png"].output == "small/deep/c_x2.png"
    assert outcomes["c.png"].facts == {"would": "write"}
    assert not Path("small").exists()


# -- scripts and notebooks -----------------------------------------------------------------------------------------

WORK = """
for outcome in batch.downscale("photos", "small", batch.DownscaleOptions(recursive=True, workers=2)):
    print(outcome.status, flush=True)
"""
GUARDED = f"from unshrink import batch\nif __name__ == '__main__':{WORK.replace(chr(10), chr(10) + '    ')}"
UNGUARDED = f"from unshrink import batch\n{WORK}"


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=250)


def test_a_script_with_a_guard_works(photos):
    Path("script.py").write_text(GUARDED)
    ran = python("script.py")
    assert (ran.returncode, ran.stdout.split()) == (0, ["done"] * 3), ran.stderr


def test_a_notebook_needs_no_guard(photos):
    ran = python("-c", UNGUARDED)  # a main module without a file, as that of a notebook
    assert (ran.returncode, ran.stdout.split()) == (0, ["done"] * 3), ran.stderr


def test_a_script_without_a_guard_is_told_of_it(photos):
    Path("script.py").write_text(UNGUARDED)
    ran = python("script.py")
    assert ran.stdout.split() == ["failed"] * 3
    assert 'put what it does under if __name__ == "__main__":' in ran.stderr
    assert folders.outputs(Path("small")) == {}


def test_a_killed_script_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(60):
        picture(tmp_path / "photos" / f"{number}.png", 40 + number)
    Path("script.py").write_text(GUARDED)
    with subprocess.Popen([sys.executable, "script.py"], stdout=subprocess.DEVNULL) as killed:
        while len(folders.lines(Path("small"), "done")) < 10:
            assert killed.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
        killed.kill()
    done = {line["output"] for line in folders.lines(Path("small"), "done")}
    assert 10 <= len(done) < 60
    ran = python("script.py")
    assert sorted(ran.stdout.split()) == ["done"] * (60 - len(done)) + ["skipped"] * len(done), ran.stderr
    whole = {Path(outcome.output).name for outcome in batch.downscale("photos", "whole")}
    assert folders.outputs(Path("small")) == folders.outputs(Path("whole"))
    assert len(whole) == 60


def test_the_example_of_the_package_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photos/holiday/beach.png")
    found = doctest.testmod(batch)
    assert found.attempted == 5
    assert found.failed == 0
    assert read("back/holiday/beach_restored.png").size == (40, 24)


# -- options -------------------------------------------------------------------------------------------------------


def test_options_are_frozen_and_go_through_a_pipe():
    options = batch.DownscaleOptions(model="irn-x4", shard=(1, 2), effort=3, existing="rename")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.effort = 4
    assert pickle.loads(pickle.dumps(options)) == options
    outcome = batch.Outcome("a", "b", "done", facts={"size": (1, 2)})
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.status = "failed"
    assert pickle.loads(pickle.dumps(outcome)) == outcome


@pytest.mark.parametrize(
    "field, value",
    [
        ("existing", "replace"),
        ("max_pixels", 0),
        ("workers", 0),
        ("workers", 1.5),
        ("threads", -1),
        ("tile", -1),
        ("timeout", 0),
        ("timeout", "soon"),
        ("shard", (0, 2)),
        ("shard", (3, 2)),
        ("shard", "1/2"),
        ("depth", 12),
        ("effort", MOST_EFFORT + 1),
        ("effort", -1),
    ],
)
def test_a_wrong_option_is_named(field, value):
    with pytest.raises(UsageError, match=rf"^{field} is .*: allowed are "):
        batch.DownscaleOptions(**{field: value})


def test_a_wrong_seed_is_named():
    with pytest.raises(UsageError, match=r"^seed is -1: allowed are whole numbers from 0"):
        batch.UpscaleOptions(seed=-1)


def test_efforts_are_those_of_the_search():
    assert range(MOST_EFFORT + 1) == _EFFORTS


def test_the_page_about_folders_is_true(photos):
    page = (Path(__file__).parents[1] / "docs/folders.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    Path("script.py").write_text("\n".join(blocks))
    ran = python("script.py")
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["done"] * 6
    assert sorted(folders.outputs(Path("back"))) == ["a_restored.png", "b_restored.png", "deep/c_restored.png"]
