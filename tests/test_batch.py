"""Batches: workers that die, hang or break, Ctrl-C, manifests, and the command line over folders."""

import functools
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import folders
import numpy as np
import PIL.Image
import pytest

from unshrink.batch.items import Item, Outcome
from unshrink.batch.manifest import Manifest
from unshrink.batch.run import TRIES, Batch, _prepare, threads_each, worker_count
from unshrink.batch.worker import Worker
from unshrink.cli import main as cli
from unshrink.errors import ImageError, UnshrinkError
from unshrink.files import atomic_write
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.runtime import memory

# -- the engine, with a stand-in for the network -------------------------------------------------------------------


def prepare():
    """What the workers do here: what the source says."""
    return do


def do(item):
    order, _, rest = Path(item.source).read_text().partition(" ")
    with atomic_write(item.target, item.overwrite, error=ImageError) as stream:
        if order == "refuse":
            raise ImageError(rest)
        if order == "bug":
            raise ZeroDivisionError("mine")
        if order == "hang":
            time.sleep(600)
        if order == "die" and Path(item.source).stat().st_size > (shorter := max(len("die "), len(order + rest))):
            os.truncate(item.source, shorter)
            os.kill(os.getpid(), signal.SIGKILL)
        logging.getLogger("unshrink").warning(f"{item.source}: about to write")
        stream.write(order.encode())
    return Outcome(item.source, item.target, "done")


def kill(item):
    os.kill(os.getpid(), signal.SIGKILL)


def always_kill():
    return kill


def kill_the_first(item):
    mark = Path(item.source + ".tried")
    if not mark.exists():
        mark.touch()
        kill(item)
    return do(item)


def kill_the_first_only():
    return kill_the_first


def batch(tmp_path, orders, workers=2, timeout=60.0, make=prepare):
    items = []
    for name, order in orders.items():
        (tmp_path / name).write_text(order)
        items.append(Item(str(tmp_path / name), str(tmp_path / "out" / "deep" / name), "png"))
    return Batch(items, make, Manifest(str(tmp_path / "out"), {"a": 1}), workers, timeout)


def by_name(results):
    return {Path(result.input).name: result for result in results}


def made(tmp_path):
    return sorted(path.name for path in (tmp_path / "out" / "deep").iterdir())


def states(tmp_path):
    return [(line["output"], line["state"]) for line in map(json.loads, manifest(tmp_path).read_text().splitlines())]


def manifest(tmp_path):
    return tmp_path / "out" / "unshrink-manifest.jsonl"


def test_what_breaks_costs_one_picture(tmp_path, caplog):
    orders = {"a": "write", "b": "refuse it is torn", "c": "bug", "d": "write", "e": "write"}
    done = by_name(batch(tmp_path, orders).outcomes())
    assert {name for name, result in done.items() if result.ok} == {"a", "d", "e"}
    assert done["b"].error == "it is torn"
    assert "unexpected ZeroDivisionError: mine" in done["c"].error
    assert made(tmp_path) == ["a", "d", "e"]
    assert f"{tmp_path}/a: about to write" in caplog.messages


def test_a_picture_that_takes_too_long_is_given_up(tmp_path):
    (result,) = batch(tmp_path, {"a": "hang"}, timeout=6).outcomes()
    assert "more than 6 s" in result.error
    assert not list(tmp_path.rglob("*.part")), "a worker that is ended leaves no temporary file"


def test_a_picture_whose_worker_dies_is_tried_again(tmp_path):
    done = by_name(batch(tmp_path, {"a": "die 1", "b": "write", "c": "write"}).outcomes())
    assert all(result.ok for result in done.values())
    assert made(tmp_path) == ["a", "b", "c"]


def test_a_picture_that_kills_every_worker_is_given_up(tmp_path):
    done = by_name(batch(tmp_path, {"a": "", "b": ""}, make=always_kill).outcomes())
    for result in done.values():
        assert f"died {TRIES} times (signal 9" in result.error
    assert sorted(states(tmp_path)) == [(f"deep/{name}", state) for name in "ab" for state in ("begun", "failed")]


def test_a_retry_replaces_nothing_that_was_there_before(tmp_path):
    work = batch(tmp_path, {"a": "write", "b": "write"}, make=kill_the_first_only)
    there = Path(work.items[0].target)
    there.parent.mkdir(parents=True)
    there.write_text("precious")
    done = by_name(work.outcomes())
    assert "exists already" in done["a"].error
    assert there.read_text() == "precious"
    assert done["b"].ok


def test_a_worker_killed_between_two_pictures_is_replaced(tmp_path):
    work = batch(tmp_path, dict.fromkeys("abcdef", "write"), workers=1).outcomes()
    killed = [next(work)]
    for pid in folders.children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    assert all(result.ok for result in [*killed, *work])
    assert made(tmp_path) == list("abcdef")


def test_the_first_ctrl_c_finishes_what_is_in_hand(tmp_path, caplog):
    work, seen = batch(tmp_path, dict.fromkeys("abcdefgh", "write"), workers=1).outcomes(), []

    def run():
        for result in work:
            seen.append(result)
            if len(seen) == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(seen) in (2, 3)
    assert len(made(tmp_path)) == len(seen)
    assert "Ctrl-C again" in caplog.text or len(seen) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_ctrl_c_stops_at_once(tmp_path):
    work = batch(tmp_path, {"a": "write", "b": "hang", "c": "write"}, workers=1).outcomes()
    next(work)
    signal.raise_signal(signal.SIGINT)  # heard between two results, too
    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(work)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - began < 20
    assert made(tmp_path) == ["a"]


def test_two_runs_do_not_fill_one_folder_at_once(tmp_path):
    one, other = batch(tmp_path, {"a": "write"}), batch(tmp_path, {"b": "write"})
    one.manifest.open()
    with pytest.raises(UnshrinkError, match="another unshrink is filling"):
        list(other.outcomes())
    one.manifest.close()
    assert [result.ok for result in other.outcomes()] == [True]


def test_workers_and_their_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert (worker_count(None, 100), worker_count(None, 3), worker_count(9, 100), worker_count(None, 0)) == (4, 3, 9, 1)
    assert (threads_each(0, 4), threads_each(0, 32), threads_each(5, 4)) == (4, 1, 5)


def test_workers_share_the_free_memory():
    worker = Worker(_prepare, prepare, 100)
    assert 0 < worker.run(60, memory.free_memory) < memory.free_memory() / 50
    worker.end()


# -- manifests -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """A source and its target, both there."""
    (tmp_path / "source").write_text("large")
    (tmp_path / "target").write_text("small")
    return str(tmp_path / "source"), str(tmp_path / "target")


def written(tmp_path, *states, options=None, shard=None):
    lines = Manifest(str(tmp_path), options or {}, shard)
    lines.open()
    for state, pair in states:
        lines.write(state, *pair)
    lines.close()


def state(tmp_path, pair, options=None, shard=None):
    return Manifest(str(tmp_path), options or {}, shard).state(*pair)


def test_a_manifest_tells_what_is_done(tmp_path, pair):
    assert state(tmp_path, pair) is None
    written(tmp_path, ("begun", pair))
    assert state(tmp_path, pair) == "begun"
    written(tmp_path, ("done", pair))
    assert state(tmp_path, pair) == "done"
    assert state(tmp_path, pair, shard=(1, 2)) == "done", "also what other shares have done"
    assert state(tmp_path, pair, options={"effort": 9}) is None
    Path(pair[0]).write_text("another")
    assert state(tmp_path, pair) is None


def test_what_is_done_and_gone_is_to_be_done_again(tmp_path, pair):
    written(tmp_path, ("done", pair))
    os.unlink(pair[1])
    assert state(tmp_path, pair) is None


def test_half_a_line_and_nonsense_are_left_aside(tmp_path, pair):
    written(tmp_path, ("done", pair))
    path = tmp_path / "unshrink-manifest.jsonl"
    path.write_bytes(b'[1]\n{"output": 3}\nnonsense\xff\n' + path.read_bytes() + b'{"output": "tar')
    assert state(tmp_path, pair) == "done"
    written(tmp_path, ("begun", pair))
    assert state(tmp_path, pair) == "begun", "a new line does not continue the half one"


NESTED = b"[" * 100_000


def test_a_line_that_is_nested_too_deep_is_left_aside(tmp_path, pair):
    written(tmp_path, ("done", pair))
    path = tmp_path / "unshrink-manifest.jsonl"
    path.write_bytes(b'{"output": ' + NESTED + b"\n" + path.read_bytes())
    assert state(tmp_path, pair) == "done"


def to_nowhere(path):
    path.symlink_to(path.parent / "planted")


def to_a_file(path):
    (path.parent / "mine.txt").write_text("mine\n")
    path.symlink_to("mine.txt")


@pytest.mark.parametrize("make", [to_nowhere, to_a_file, os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["unshrink-manifest.jsonl", "unshrink-manifest-1-of-2.jsonl"])
def test_a_manifest_that_is_no_file_of_its_own_is_one_line(tmp_path, capsys, make, name):
    out = tmp_path / "out"
    out.mkdir()
    make(out / name)
    assert unshrink("downscale", picture(tmp_path / "photos/a.png").parent, "-o", out) == 1
    assert "is a link, a folder or a device; remove it" in (err := capsys.readouterr().err)
    assert err.count("\n") == 1
    assert not (out / "planted").exists()
    assert not (out / "mine.txt").exists() or (out / "mine.txt").read_text() == "mine\n"


def test_a_link_that_is_planted_under_an_open_manifest_is_not_written(tmp_path):
    lines = Manifest(str(tmp_path), {})
    to_nowhere(tmp_path / "unshrink-manifest.jsonl")
    with pytest.raises(UnshrinkError, match="remove it"):
        lines.open()
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("option, code", [("--overwrite", 1), ("--skip", 0), ("--rename", 0), ("-q", 1)])
@pytest.mark.parametrize("several", [False, True])
def test_a_link_to_nowhere_under_the_name_of_an_output_is_not_followed(tmp_path, option, code, several, capsys):
    source, out = picture(tmp_path / "photos" / "a.png"), tmp_path / "out"
    out.mkdir()
    (out / "a_x2.png").symlink_to(tmp_path / "planted")
    assert unshrink("downscale", source.parent if several else source, "-o", out, option) == code
    assert not (tmp_path / "planted").exists()
    assert (out / "a_x2.png").is_symlink()
    assert (out / "a_x2-2.png").exists() is (option == "--rename")
    if code:
        assert "a link that leads nowhere; remove it" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnshrinkError, match=r"cannot write .*unshrink-manifest"):
        Manifest(str(tmp_path / "file" / "folder"), {}).open()


# -- the command line ----------------------------------------------------------------------------------------------


def unshrink(*args):
    return cli.main([str(arg) for arg in args])


def picture(path, width=9):
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Image(np.full((7, width, 3), width % 256, np.uint8)), path)
    return path


def rows(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_tree_goes_small_and_comes_back(tmp_path, capsys):
    for name, width in (("a.png", 9), ("one/b.png", 10), ("one/two/c.png", 11), ("one/.hidden.png", 12)):
        picture(tmp_path / "photos" / name, width)
    (tmp_path / "photos/one/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/one/notes.txt").write_text("no picture")
    small, back = tmp_path / "small", tmp_path / "back"
    assert unshrink("downscale", tmp_path / "photos", "-r", "-o", small, "--json") == 0
    assert {row["output"] for row in rows(capsys)} == {
        f"{small}/{name}" for name in ("a_x2.png", "one/b_x2.png", "one/two/c_x2.png")
    }
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*.png")}
    assert unshrink("downscale", tmp_path / "photos", "-r", "-o", small, "--json", "--overwrite") == 0
    assert {row["skipped"] for row in rows(capsys)} == {"done already"}
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*.png")} == before
    assert unshrink("upscale", small, "-r", "-o", back) == 0
    assert capsys.readouterr().err == "unshrink: 3 done, 0 failed, 0 skipped\n"
    sizes = {path.relative_to(back).as_posix(): read(path).size for path in back.rglob("*.png")}
    assert sizes == {"a_restored.png": (9, 7), "one/b_restored.png": (10, 7), "one/two/c_restored.png": (11, 7)}


def test_a_bad_file_does_not_stop_the_rest(tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    good = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    assert unshrink("downscale", good[0], bad, good[1], "--json") == 3
    out, err = capsys.readouterr()
    found = {Path(row["input"]).name: row.get("error", "") for row in map(json.loads, out.splitlines())}
    assert [name for name, error in found.items() if error] == ["bad.png"]
    assert "not a PNG" in found["bad.png"]
    assert err.count("\n") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a_x2.png", "b.png", "b_x2.png", "bad.png"]
    assert unshrink("downscale", bad, bad.with_name("none.png"), "-q") == 1


@pytest.mark.parametrize(
    "option, code, kept", [("--skip", 0, True), ("--overwrite", 0, False), ("--rename", 0, True), ("-q", 3, True)]
)
def test_what_exists_is_kept_replaced_or_sidestepped(tmp_path, option, code, kept, capsys):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    target = tmp_path / "out" / "a_x2.png"
    target.parent.mkdir()
    target.write_text("precious")
    for _ in range(2):  # the second finds all done, or exactly the same obstacle
        assert unshrink("downscale", tmp_path, "-o", target.parent, option) == code
        assert (target.read_bytes() == b"precious") is kept
        names = sorted(path.name for path in target.parent.glob("*.png"))
        assert names == ["a_x2-2.png", "a_x2.png", "b_x2.png"] if option == "--rename" else ["a_x2.png", "b_x2.png"]


def test_exit_code_4_where_nothing_matches(tmp_path, capsys):
    assert unshrink("downscale", tmp_path, "-o", tmp_path / "out") == 4
    assert "-r looks into subfolders" in capsys.readouterr().err
    assert unshrink("upscale", f"{tmp_path}/*.png", "-o", tmp_path / "out", "--json") == 4
    assert "no pictures in" in json.loads(capsys.readouterr().out)["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_batch_says_and_keeps_what_single_runs_say(tmp_path, capsys):
    frames = [PIL.Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    photos = tmp_path / "photos"
    photos.mkdir()
    frames[0].save(photos / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("CMYK").save(photos / "b.jpg")
    assert unshrink("downscale", photos, "-o", tmp_path / "small", "--json") == 0
    out, err = capsys.readouterr()
    notes = {Path(row["input"]).name: row["notes"] for row in map(json.loads, out.splitlines())}
    assert "only the first of several pictures in the file was read" in notes["a.gif"]
    assert "CMYK was converted to RGB without a colour profile" in notes["b.jpg"]
    assert all(f"unshrink: {photos / name}: {note}\n" in err for name, said in notes.items() for note in said)
    kept = folders.lines(tmp_path / "small", "done")
    assert {Path(line["input"]).name: line["result"]["notes"] for line in kept} == notes
    assert unshrink("upscale", photos, "-o", tmp_path / "back", "-m", "irn-x2", "--json") == 0
    for row in rows(capsys):
        assert "no record" in row["notes"][-1], "warnings too"


@pytest.mark.parametrize("several", [False, True])
def test_files_have_the_times_of_their_pictures_where_asked_for(tmp_path, several):
    source = picture(tmp_path / "photos" / "a.png")
    long_ago = 1_000_000_000_123_456_789
    os.utime(source, ns=(long_ago, long_ago))
    given = source.parent if several else source
    small, back = tmp_path / "small", tmp_path / "back"
    small.mkdir()
    back.mkdir()
    assert unshrink("downscale", given, "-o", small) == 0
    assert (small / "a_x2.png").stat().st_mtime > 1_700_000_000
    (small / "a_x2.png").unlink()
    assert unshrink("downscale", given, "-o", small, "--times") == 0
    assert (small / "a_x2.png").stat().st_mtime_ns == long_ago
    assert unshrink("upscale", small if several else small / "a_x2.png", "-o", back, "--times") == 0
    assert (back / "a_restored.png").stat().st_mtime_ns == long_ago


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("several", [False, True])
def test_what_is_made_of_a_private_picture_is_private(tmp_path, several):
    source = picture(tmp_path / "photos" / "a.png")
    open_one = picture(tmp_path / "photos" / "b.png")
    source.chmod(0o600)
    open_one.chmod(0o644)
    mode = lambda path: stat.S_IMODE(path.stat().st_mode)
    small, back = tmp_path / "small", tmp_path / "back"
    small.mkdir()
    back.mkdir()
    for given in [source.parent] if several else [source, open_one]:
        assert unshrink("downscale", given, "-o", f"{small}{os.sep}") == 0
    assert (mode(small / "a_x2.png"), mode(small / "b_x2.png")) == (0o600, 0o644)
    for given in [small] if several else [small / "a_x2.png"]:
        assert unshrink("upscale", given, "-o", f"{back}{os.sep}") == 0
    assert mode(back / "a_restored.png") == 0o600
    assert unshrink("compare", source, "-o", tmp_path / "figure.png") == 0
    assert mode(tmp_path / "figure.png") == 0o600, "the picture is in it"
    assert unshrink("simulate", "whatsapp", source, "-o", tmp_path / "sent.jpg") == 0
    assert mode(tmp_path / "sent.jpg") == 0o600


def leftover(folder):
    """What a killed writer leaves."""
    path = folder / ".unshrink-0123456789abcdef.part"
    path.write_bytes(b"half")
    return path


def test_a_single_run_sweeps_what_a_killed_one_left(tmp_path):
    source = picture(tmp_path / "a.png")
    left = leftover(tmp_path)
    assert unshrink("downscale", source) == 0
    assert not left.exists()
    left = leftover(tmp_path)
    assert unshrink("compare", source) == 0
    assert not left.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("several", [False, True])
def test_a_signal_that_ends_it_leaves_no_half_file(tmp_path, number, several):
    for name in "abcd" if several else "a":
        picture(tmp_path / "photos" / f"{name}.png", 20_000)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "unshrink", "downscale", "photos" if several else "photos/a.png", "-o", "out"]
    heard = functools.partial(signal.signal, number, signal.SIG_DFL)  # also under nohup
    command += ["--effort", "9"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=heard) as process:
        while not list(out.glob("*.part")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(60) == -number
    assert {path.name for path in out.iterdir() if path.is_file()} <= {"unshrink-manifest.jsonl"}


def test_killed_runs_and_workers_leave_no_trace(tmp_path):
    check = folders.Check(tmp_path, 24, 4)
    check.unbroken()
    check.killed(0.5)
    check.workers_killed()


def test_shares_are_all_together_everything_once(tmp_path, capsys):
    for number in range(12):
        picture(tmp_path / "photos" / f"{number}.png")
    done = functools.partial(unshrink, "downscale", tmp_path / "photos", "-o", tmp_path / "out", "--json")
    assert [done("--shard", share) for share in ("1/2", "2/2")] == [0, 0]
    shares = rows(capsys)
    assert len({row["input"] for row in shares}) == len(shares) == 12
    assert len(list((tmp_path / "out").glob("unshrink-manifest-?-of-2.jsonl"))) == 2
    assert done() == 0
    assert {row["skipped"] for row in rows(capsys)} == {"done already"}
