"""The script that fetches public sets, against a server of its own and small archives."""

import functools
import hashlib
import http.server
import importlib.util
import io
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from films import film
from unshrink.evaluation.sets import find_set
from unshrink.pictures.find import find_pictures

SCRIPT = Path(__file__).parents[1] / "tools/fetch_data.py"
spec = importlib.util.spec_from_file_location("fetch_data", SCRIPT)
fetch_data = importlib.util.module_from_spec(spec)
sys.modules["fetch_data"] = fetch_data
spec.loader.exec_module(fetch_data)


def png(width: int = 60, height: int = 40, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def served(tmp_path):
    """A folder and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Tells nothing, and of a file named "cut" promises more than it gives."""

    def log_message(self, *args):
        pass

    def send_header(self, keyword, value):
        longer = keyword == "Content-Length" and "cut" in self.path
        super().send_header(keyword, str(int(value) + 10) if longer else value)


@pytest.fixture
def toy_set(monkeypatch):
    """Makes a set of two pictures the only one there is, with any values replaced."""

    def make(*sources, place="test/Toy", count=2, longer=(50, 70)) -> None:
        made = fetch_data.PublicSet(place, sources, count, longer, "free")
        monkeypatch.setattr(fetch_data, "SETS", {"Toy": made})

    return make


def zipped(path: Path, files: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path.read_bytes()


PAIR = {"Toy_HR/a.png": png(seed=1), "Toy_HR/b.png": png(seed=2), "Toy_HR/readme.txt": b"no picture"}


def left(home: Path) -> list[str]:
    """The files of the folder that UNSHRINK_DATA names."""
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_a_set_is_fetched_checked_and_found_by_its_name(tmp_path, served, toy_set, monkeypatch, capsys):
    folder, address = served
    sha256 = hashlib.sha256(zipped(folder / "toy.zip", PAIR)).hexdigest()
    toy_set(fetch_data.Source(f"{address}/toy.zip", f"sha256:{sha256}", "its authors"))
    home = tmp_path / "data"
    assert fetch_data.main(["Toy", "--to", str(home)]) == 0
    assert left(home) == ["test/Toy/SOURCE.txt", "test/Toy/a.png", "test/Toy/b.png"]
    assert (home / "test/Toy/a.png").read_bytes() == PAIR["Toy_HR/a.png"]
    assert "as published by its authors" in (home / "test/Toy/SOURCE.txt").read_text()
    assert f"export UNSHRINK_DATA={home}" in capsys.readouterr().out
    monkeypatch.setenv("UNSHRINK_DATA", str(home))
    assert [path.name for path in find_set("Toy").files] == ["a.png", "b.png"]

    (home / "test/Toy/a.png").unlink()
    assert fetch_data.main(["Toy", "--to", str(home)]) == 0
    assert "is there already" in capsys.readouterr().out
    assert left(home) == ["test/Toy/SOURCE.txt", "test/Toy/b.png"], "what is there is left as it is"


@pytest.mark.parametrize("way", ["sha256", "md5"])
def test_another_hash_than_the_published_one_is_refused(tmp_path, served, toy_set, way, capsys):
    folder, address = served
    zipped(folder / "toy.zip", PAIR)
    toy_set(fetch_data.Source(f"{address}/toy.zip", f"{way}:{hashlib.new(way, b'other').hexdigest()}", "its authors"))
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data")]) == 1
    assert "and its authors published" in capsys.readouterr().err
    assert left(tmp_path / "data") == []


def test_a_hash_that_nobody_published_is_printed_as_such(tmp_path, served, toy_set, capsys):
    folder, address = served
    sha256 = hashlib.sha256(zipped(folder / "toy.zip", PAIR)).hexdigest()
    toy_set(fetch_data.Source("https://nowhere.invalid/toy.zip"))
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data"), "--mirror", address]) == 0
    assert f"toy.zip: sha256 {sha256}, which nobody published" in capsys.readouterr().out


def test_a_set_of_single_files_is_fetched_file_by_file(tmp_path, served, toy_set):
    folder, address = served
    for number in (1, 2):
        (folder / f"kodim{number:02}.png").write_bytes(png(seed=number))
    toy_set(*(fetch_data.Source(f"{address}/kodim{number:02}.png") for number in (1, 2)))
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data")]) == 0
    assert left(tmp_path / "data/test/Toy") == ["SOURCE.txt", "kodim01.png", "kodim02.png"]


@pytest.mark.parametrize("name", ["none.zip", "cut.zip"])
def test_what_cannot_be_fetched_whole_leaves_nothing(tmp_path, served, toy_set, name, capsys):
    folder, address = served
    zipped(folder / "cut.zip", PAIR)
    toy_set(fetch_data.Source(f"{address}/{name}"))
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data")]) == 1
    assert "again" in capsys.readouterr().err
    assert left(tmp_path / "data") == []


def test_ones_own_copy_may_be_a_folder_or_an_archive_with_more_in_it(tmp_path, toy_set, capsys):
    toy_set(fetch_data.Source("https://nowhere.invalid/toy.zip"))
    more = {f"benchmark/{name}": data for name, data in PAIR.items()}
    more |= {"benchmark/Toy_LR/a.png": png(30, 20), "benchmark/Toy_LR/c.png": png(30, 20), "benchmark/._a.png": b""}
    path = tmp_path / "benchmark.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in more.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    home = str(tmp_path / "data")
    assert fetch_data.main(["Toy", "--to", home, "--from", str(path)]) == 1
    assert "holds a.png twice" in capsys.readouterr().err
    assert fetch_data.main(["Toy", "--to", home, "--from", str(path), "--only", "*/Toy_HR/*"]) == 0
    taken = tmp_path / "data/test/Toy"
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "again"), "--from", str(taken)]) == 0
    assert [path.name for path in find_pictures(tmp_path / "again/test/Toy")] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.png": png()}, "Toy has 2 pictures, and 1 were found"),
        ({"a.png": png(), "b.png": png(30, 20)}, "b.png is 30x20: the longer sides of Toy are 50 to 70 pixels"),
        ({"a.png": png(), "b.png": png()[:-100]}, "cannot read b.png"),
    ],
    ids=["too few", "too small", "damaged"],
)
def test_another_set_is_refused(tmp_path, toy_set, files, message, capsys):
    toy_set(fetch_data.Source("https://nowhere.invalid/toy.zip"))
    zipped(tmp_path / "own.zip", files)
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data"), "--from", str(tmp_path / "own.zip")]) == 1
    assert message in capsys.readouterr().err
    assert left(tmp_path / "data") == []


def test_a_set_of_clips_leaves_the_pictures_of_its_archive(tmp_path, monkeypatch, capsys):
    clip = Path(film(tmp_path / "video.mp4", times=(0, 3000))).read_bytes()
    made = fetch_data.PublicSet("clips/Toy", (), 1, (64, 64), "free", "clips")
    monkeypatch.setattr(fetch_data, "SETS", {"Toy": made})
    home = tmp_path / "data"
    zipped(tmp_path / "own.zip", {"package/video.mp4": clip, "package/poster.png": png()})
    assert fetch_data.main(["Toy", "--to", str(home), "--from", str(tmp_path / "own.zip")]) == 0
    assert left(home) == ["clips/Toy/SOURCE.txt", "clips/Toy/video.mp4"]
    assert "1 clips in" in capsys.readouterr().out
    zipped(tmp_path / "cut.zip", {"video.mp4": clip[:200]})
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "new"), "--from", str(tmp_path / "cut.zip")]) == 1
    assert "no video that can be read" in capsys.readouterr().err
    assert left(tmp_path / "new") == []


def test_an_archive_writes_nowhere_but_into_its_set(tmp_path, toy_set):
    toy_set(fetch_data.Source("https://nowhere.invalid/toy.zip"))
    zipped(tmp_path / "own.zip", {"../../a.png": png(seed=1), "/tmp/b.png": png(seed=2)})
    assert fetch_data.main(["Toy", "--to", str(tmp_path / "data"), "--from", str(tmp_path / "own.zip")]) == 0
    assert left(tmp_path / "data/test/Toy") == ["SOURCE.txt", "a.png", "b.png"]
    assert not (tmp_path / "a.png").exists()


def test_the_sets_of_the_field_are_listed_with_what_vouches_for_them(capsys):
    assert fetch_data.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {
        "DIV2K-train",
        "DIV2K",
        "Set5",
        "Set14",
        "BSD100",
        "Urban100",
        "Kodak",
        "BigBuckBunny",
    }
    assert sum("no hash published" in line for line in lines) == 4
    with pytest.raises(SystemExit):
        fetch_data.main(["Set6"])
