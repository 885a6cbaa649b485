"""From arguments to items: which pictures are meant, where they go, and what is refused before any work."""

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from unshrink.batch.manifest import Manifest
from unshrink.batch.options import DownscaleOptions
from unshrink.batch.plan import Request, in_shard, plan, settle
from unshrink.cli import main as cli
from unshrink.cli.arguments import make_parser
from unshrink.cli.pictures import options_of
from unshrink.errors import ConfigError, NothingMatchedError, UsageError
from unshrink.pictures.find import find_pictures, look
from unshrink.pictures.image import Image
from unshrink.pictures.io import write


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree of empty files; what is in them is of no interest here."""
    monkeypatch.chdir(tmp_path)
    for name in ("p/a.jpg", "p/b.PNG", "p/notes.txt", "p/.c.jpg", "p/x/d.webp", "p/x/y/e.avif", "p/.trash/f.jpg"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def request(*arguments):
    args = make_parser().parse_args(["downscale", *arguments])
    return Request(args.inputs, args.output, options_of(args, DownscaleOptions))


def items(*arguments):
    return plan(request(*arguments), "{stem}_x2{ext}", lambda stem: {"stem": stem, "scale": "2"})


def targets(*arguments):
    return {item.source: item.target for item in items(*arguments)}


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["p"], {"p/a.jpg": "o/a_x2.png", "p/b.PNG": "o/b_x2.png"}),
        (["p/x", "-r"], {"p/x/d.webp": "o/d_x2.png", "p/x/y/e.avif": "o/y/e_x2.png"}),
        (["p/*.jpg"], {"p/a.jpg": "o/a_x2.png"}),
        (["p/**"], dict.fromkeys(["p/a.jpg", "p/b.PNG", "p/x/d.webp", "p/x/y/e.avif"])),
        (["p/*/d.*"], {"p/x/d.webp": "o/x/d_x2.png"}),
        (["p/x", "p/a.jpg"], {"p/x/d.webp": "o/d_x2.png", "p/a.jpg": "o/a_x2.png"}),
        (["p/a.jpg", "none.gif"], {"p/a.jpg": "o/a_x2.png", "none.gif": "o/none_x2.png"}),
        (["p", "--format", "tiff", "--name", "{name}-{scale}{ext}"], {"p/a.jpg": "o/a.jpg-2.tif", "p/b.PNG": None}),
    ],
)
def test_files_folders_and_patterns(tree, arguments, expected):
    found = targets(*arguments, "-o", "o")
    assert set(found) == set(expected)
    assert all(found[source] == target for source, target in expected.items() if target)


def test_a_name_with_brackets_is_a_file_if_there_is_one(tree):
    Path("p/[a].jpg").touch()
    assert targets("p/[a].jpg", "-o", "small.png") == {"p/[a].jpg": "small.png"}
    assert targets("p/[b].*", "-o", "o") == {"p/b.PNG": "o/b_x2.png"}


@pytest.fixture
def locked(monkeypatch):
    """Gives a function that makes a folder unreadable, for root too."""
    refused, scandir = set(), os.scandir

    def refusing(path="."):
        if os.path.realpath(path) in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return lambda path: refused.add(os.path.realpath(path))


@pytest.mark.parametrize("arguments, place", [(["p", "-r"], "o/x"), (["p/**/*.*"], "o/x"), (["p/*/d.*"], "o/x")])
def test_folders_that_cannot_be_looked_into_are_failures(tree, locked, arguments, place, capsys):
    locked("p/x")
    bad = {item.source: item for item in items(*arguments, "-o", "o") if item.fault}
    assert {name: item.target for name, item in bad.items()} == {"p/x": place}
    assert bad["p/x"].fault == "cannot look into p/x: Permission denied; what is in it is left out"
    code = cli.main(["downscale", *arguments, "-o", "o", "--dry-run", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["input"] for row in rows if "error" in row] == ["p/x"]
    assert code == (3 if len(rows) > 1 else 1)


def test_a_run_with_such_a_folder_ends_with_3(tree, locked, capsys):
    write(Image(np.zeros((4, 6, 3), np.uint8)), "p/a.jpg", lossy=True, overwrite=True)
    Path("p/b.PNG").unlink()
    locked("p/x/y")
    Path("p/x/d.webp").unlink()
    assert cli.main(["downscale", "p", "-r", "-o", "o"]) == 3
    err = capsys.readouterr().err
    assert "p/x/y: Permission denied" in err
    assert "1 done, 1 failed, 0 skipped" in err
    locked("p")
    assert cli.main(["downscale", "p", "-r", "-o", "o"]) == 1
    assert "cannot look into p: Permission denied" in capsys.readouterr().err


def test_measuring_takes_no_part_of_a_set_for_the_whole(tree, locked):
    locked("p/x")
    with pytest.raises(ConfigError, match="cannot look into p/x: Permission denied"):
        find_pictures("p")


def test_pictures_by_their_less_common_names(tree, caplog):
    for name in ("q/a.jfif", "q/b.JPE", "q/c.dib", "q/d.pnm", "q/e.heic", "q/f.HEIC", "q/README", "q/.g.heic"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("q/unshrink-manifest.jsonl").touch()
    with caplog.at_level("INFO", "unshrink"):
        assert set(targets("q", "-o", "o")) == {"q/a.jfif", "q/b.JPE", "q/c.dib", "q/d.pnm"}
    assert caplog.messages == ["q: left out what is no picture by its name: 2 .heic, 1 without an extension"]
    assert targets("q/a.jfif", "-o", "back.jfif") == {"q/a.jfif": "back.jfif"}
    assert [item.form for item in items("q/a.jfif", "-o", "back.jfif")] == ["jpeg"]


def test_a_tree_deeper_than_python_counts_is_looked_through(tree):
    place = tree / "deep"
    with contextlib.chdir(tree):
        os.mkdir("deep")
        os.chdir("deep")
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
    try:
        assert look(place).pictures == []
    finally:
        subprocess.run(["rm", "-rf", place], check=True)


def test_loops_of_links_end_and_what_was_made_is_not_made_smaller_still(tree):
    os.symlink("..", "p/x/up")
    os.symlink(tree, "p/x/root")
    Path("p/small").mkdir()
    Path("p/small/a_x2.png").touch()
    assert set(targets("p", "-r", "-o", "p/small")) == {"p/a.jpg", "p/b.PNG", "p/x/d.webp", "p/x/y/e.avif"}
    assert len(targets("p/**/*", "-o", "p/small")) == 4


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (["p"], UsageError, "p is a folder: name the folder for what is made of its pictures with `out`"),
        (["p/*"], UsageError, "p/* is a pattern: name the folder for"),
        (["p", "-o", "p"], UsageError, "holds the pictures themselves"),
        (["p", "-o", "p/a.jpg"], UsageError, "is a file"),
        (["p", "-o", "small.png"], UsageError, "named like one"),
        (["p", "-o", "-"], UsageError, "p is a folder: name"),
        (["p", "-o", "o", "--name", "{stem}.png"], UsageError, "ends in {ext}"),
        (["p", "-o", "o", "--name", "../{stem}{ext}"], UsageError, "without folders"),
        (["p", "-o", "o", "--name", "{date}{ext}"], UsageError, "{date} cannot be filled in; allowed are {stem}"),
        (["p", "-o", "o", "--name", "{stem.x}{ext}"], UsageError, "cannot be filled in"),
        (["p/a.jpg", "-o", "b.png", "--name", "{stem}{ext}"], UsageError, "`name` is for folders"),
        (["p", "-o", "o", "--name", "same{ext}"], UsageError, "p/a.jpg and p/b.PNG would both become o/same.png"),
        (["p/**x", "-o", "o"], UsageError, "is no pattern"),
        (["a\0b.jpg", "-o", "o"], UsageError, "has a NUL in it"),
        (["p/*.tif", "-o", "o"], NothingMatchedError, "no pictures in"),
    ],
)
def test_what_is_refused_before_any_work(tree, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        targets(*arguments)
    assert not Path("o").exists()


def test_what_is_named_twice_is_done_once(tree, caplog):
    os.symlink("p", "same")
    with caplog.at_level("INFO", "unshrink"):
        assert targets("p/a.jpg", "./p/a.jpg", f"{tree}/p/a.jpg", "-o", "o") == {"p/a.jpg": "o/a_x2.png"}
        assert len(items("p", "p/*.jpg", "same", "-o", "o")) == 2
    assert f"{tree}/p/a.jpg is named twice, and done once" in caplog.messages
    assert targets("p/a.jpg", "p/a.jpg") == {"p/a.jpg": "p/a_x2.png"}
    assert sorted(item.target for item in items("p", "p/x", "-r", "-o", "o") if item.source == "p/x/d.webp") == [
        "o/d_x2.png",
        "o/x/d_x2.png",
    ]


@pytest.mark.parametrize("other", ["p/A.png", "p/a.png"])
def test_outputs_are_told_apart_by_more_than_case(tree, other):
    Path(other).touch()
    with pytest.raises(UsageError, match="would both become"):
        targets("p", "-o", "o")
    if other == "p/a.png":
        assert len(targets("p", "-o", "o", "--name", "{name}_x2{ext}")) == 3


def test_a_dry_run_says_what_would_be_and_does_nothing(tree, capsys):
    Path("o").mkdir()
    Path("o/a_x2.png").touch()
    assert cli.main(["downscale", "p", "-o", "o", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "p/a.jpg: would refuse to replace o/a_x2.png",
        "p/b.PNG: would write o/b_x2.png",
    ]
    assert cli.main(["downscale", "p", "-o", "o", "--dry-run", "--skip"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "p/a.jpg: would skip o/a_x2.png (exists already)"
    assert cli.main(["downscale", "p", "-o", "new", "--dry-run", "-q"]) == 0
    assert not Path("new").exists()


def test_a_share_is_settled_by_the_name_alone(tree):
    made = plan(request("p", "-r", "-o", "o"), "{stem}{ext}", lambda stem: {"stem": stem})
    shares = {item.target: [i for i in (1, 2, 3) if in_shard(item, "o", (i, 3))] for item in made}
    assert all(len(of) == 1 for of in shares.values())
    assert shares == {item.target: [i for i in (1, 2, 3) if in_shard(item, "./o", (i, 3))] for item in made}
    assert cli.main(["downscale", "p", "-o", "o", "--shard", "0/3"]) == 2


def test_what_a_killed_run_began_is_replaced_and_nothing_else(tree):
    asked = request("p", "-o", "o")
    first, second = plan(asked, "{stem}{ext}", lambda stem: {"stem": stem})
    lines = Manifest("o", {})
    lines.open()
    lines.write("begun", first.source, first.target)
    lines.close()
    for item in (first, second):
        Path(item.target).touch()
    assert asked.several
    assert settle(first, "refuse", Manifest("o", {})).overwrite
    assert not settle(second, "refuse", Manifest("o", {})).overwrite
