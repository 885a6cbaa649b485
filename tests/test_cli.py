import ast
import dataclasses
import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from networks import Samples, random_weights
from unshrink import batch, weights
from unshrink.cli import doctor, pictures, terminal
from unshrink.cli import main as cli
from unshrink.cli.arguments import make_parser
from unshrink.cli.tasks import Result, Task, attempt
from unshrink.errors import UnshrinkWarning
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.runtime.rescaler import Rescaler
from unshrink.weights import catalogue

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "downscale",
    "upscale",
    "compare",
    "info",
    "sites",
    "simulate",
    "models",
    "convert",
    "export",
    "train",
    "eval",
    "report",
    "serve",
    "doctor",
)
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """Two small networks with random parameters; without graphs, so they run on torch."""
    import torch

    from unshrink.network.network import build

    folder = tmp_path_factory.mktemp("zoo")
    for scale, blocks in ((4, [1, 1]), (2, [1])):
        torch.manual_seed(scale)
        config = {"scale": scale, "blocks": blocks, "growth": 4, "clamp": 1.0, "latent": "zero"}
        net = build("irn", config)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0, 1e-3)
        tensors = {name: value.numpy() for name, value in net.state_dict().items()}
        made = weights.Weights(f"tiny-x{scale}", "irn", config, tensors, about={"licence": "CC0-1.0"})
        weights.save(folder / f"tiny-x{scale}.safetensors", made)
    return folder


@pytest.fixture(autouse=True)
def installed(zoo, monkeypatch):
    """The small networks in the place of the shipped ones, and the one of scale 4 as the default."""
    monkeypatch.setattr(weights, "DEFAULT_SCALE", 4)
    monkeypatch.setattr(catalogue, "ENTRIES", tuple(row(zoo / f"tiny-x{scale}.safetensors") for scale in (4, 2)))


def row(path):
    made, data = weights.load(path), path.read_bytes()
    return catalogue.Entry(
        name=made.name,
        file=str(path),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        identity=made.identity,
        architecture="irn",
        scale=made.scale,
        latent="zero",
        licence="CC0-1.0",
        card="",
        figures={"Set5 PSNR-Y": 33.25},
    )


@pytest.fixture
def photo(tmp_path):
    return photo_at(tmp_path / "photo.png")


def photo_at(path, dtype=np.uint8, width=37, **metadata):
    y, x = np.mgrid[:29, :width]
    top = np.iinfo(dtype).max
    pixels = np.stack([x / width, y / 29, (x + y) / (29 + width)], axis=2) * top
    write(Image(pixels.astype(dtype), **metadata), path)
    return path


def unshrink(*args):
    return cli.main([str(arg) for arg in args])


# -- the main job --------------------------------------------------------------------------------------------------


def test_a_picture_goes_small_and_comes_back(photo, tmp_path, capsys):
    assert unshrink("downscale", photo, "--verify") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"unshrink: {photo} -> {tmp_path}/photo_x4.png: 37x29 -> 10x8 pixels")
    assert "dB (luma)" in err
    assert unshrink("upscale", tmp_path / "photo_x4.png") == 0
    assert read(tmp_path / "photo_x4.png").size == (10, 8)
    assert read(tmp_path / "photo_restored.png").size == (37, 29)
    assert len(list(tmp_path.iterdir())) == 3


def test_effort_says_what_it_gained(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    photo = tmp_path / "noise.png"
    write(Image(noise), photo)
    assert unshrink("downscale", photo, "--effort", 3) == 0
    said = re.search(
        r"; effort 3: restored picture (\S+) dB \(luma\), (\S+) \(RGB\), (\S+) \(chroma\); "
        r"small picture (\S+) dB \(luma\), (\S+) \(chroma\)",
        capsys.readouterr().err,
    )
    assert said is not None
    assert unshrink("downscale", photo, "--effort", 3, "--overwrite", "--verify", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["effort"] == 3
    keys = ("gain_luma", "gain_rgb", "gain_chroma", "lr_change_luma", "lr_change_chroma")
    assert [f"{found[f'effort_{key}']:+.2f}" for key in keys] == list(said.groups())
    assert min(found[f"effort_{key}"] for key in keys[:3]) > 0
    assert unshrink("downscale", photo, "--overwrite", "--verify", "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["effort"] == 0
    assert found["psnr_rgb"] - plain["psnr_rgb"] > 0
    assert unshrink("downscale", photo, "--effort", 10, "--overwrite") == 2


@pytest.mark.parametrize("option", [("-s", 2), ("-m", "tiny-x2"), ("-s", 2, "-m", "tiny-x2")])
def test_scale_and_model_choose_the_weights(photo, tmp_path, option):
    assert unshrink("downscale", photo, *option) == 0
    assert read(tmp_path / "photo_x2.png").size == (19, 15)


@pytest.mark.parametrize(
    ("option", "name", "size", "model"),
    [
        (("-s", 1.5), "photo_x1.5.png", (25, 20), "tiny-x2"),
        (("-s", "2.0"), "photo_x2.png", (19, 15), "tiny-x2"),
        (("-s", 2.3), "photo_x2.3.png", (17, 13), "tiny-x2"),
        (("-s", 3.5), "photo_x3.5.png", (11, 9), "tiny-x4"),
        (("-s", 2.5, "-m", "tiny-x2"), "photo_x2.5.png", (15, 12), "tiny-x2"),
        (("--fit", 30), "photo_small.png", (30, 24), "tiny-x2"),
        (("--fit", "30x13"), "photo_small.png", (17, 13), "tiny-x2"),
        (("--fit", "9"), "photo_small.png", (9, 8), "tiny-x4"),
        (("--max-pixels-out", "0.3k"), "photo_small.png", (19, 15), "tiny-x2"),
    ],
)
def test_any_scale_or_size_comes_back_to_the_size_it_was(photo, tmp_path, option, name, size, model, capsys):
    assert unshrink("downscale", photo, *option, "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"] == model
    assert read(tmp_path / name).size == size
    assert unshrink("upscale", tmp_path / name) == 0
    assert capsys.readouterr().err.count("warning") == 0
    assert read(tmp_path / "photo_restored.png").size == (37, 29)
    if size != (19, 15):
        assert unshrink("info", tmp_path / name) == 0
        assert " resized to {}x{},".format(*(side * int(model[-1]) for side in size)) in capsys.readouterr().out


# -- lossy small pictures ------------------------------------------------------------------------------------------


@pytest.fixture
def noise(tmp_path):
    draw = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    write(Image(draw), tmp_path / "noise.png")
    return tmp_path / "noise.png"


@pytest.fixture
def lossy_weights(zoo, monkeypatch):
    """Weights that are made for lossy formats, beside the others; they are the same."""
    rows = (dataclasses.replace(entry, lossy=True, number=n) for n, entry in enumerate(catalogue.ENTRIES, 1))
    monkeypatch.setattr(catalogue, "ENTRIES", tuple(rows))


def told(capsys):
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", ["jpg", "avif", "webp"])
def test_quality_reaches_the_file_and_85_is_the_default(noise, lossy_weights, tmp_path, form, capsys):
    sizes = {}
    for quality in (20, 85, 95, None):
        asked = () if quality is None else ("--quality", quality)
        target = tmp_path / f"{quality}.{form}"
        assert unshrink("downscale", noise, "-o", target, *asked, "--json") == 0
        assert told(capsys).get("quality") == (quality or (None if form == "webp" else 85))
        sizes[quality] = target.stat().st_size
    assert sizes[20] < sizes[85] < sizes[95]
    assert sizes[None] == sizes[85] if form != "webp" else sizes[None] > sizes[95]  # WebP is lossless unless asked


def test_chroma_reaches_the_file(noise, lossy_weights, tmp_path):
    for chroma, sampling in ((None, (2, 2)), ("4:2:0", (2, 2)), ("4:4:4", (1, 1))):
        asked = ("--chroma", chroma) if chroma else ()
        assert unshrink("downscale", noise, "-o", tmp_path / "small.jpg", *asked, "--overwrite") == 0
        with PIL.Image.open(tmp_path / "small.jpg") as file:
            assert file.layer[0][1:3] == sampling


def test_weights_for_lossy_formats_need_no_leave_and_others_do(noise, zoo, tmp_path, capsys, monkeypatch):
    target = tmp_path / "small.jpg"
    assert unshrink("downscale", noise, "-o", target) == 1
    assert "only the exact values" in capsys.readouterr().err
    assert not target.exists()
    rows = [dataclasses.replace(entry, lossy=True) for entry in catalogue.ENTRIES]
    monkeypatch.setattr(catalogue, "ENTRIES", tuple(rows))
    assert unshrink("downscale", noise, "-o", target, "--no-mark", "--verify") == 0
    assert "warning" not in capsys.readouterr().err


def test_as_many_bytes_as_are_allowed(noise, lossy_weights, tmp_path, capsys):
    target = tmp_path / "small.jpg"
    common = ("downscale", noise, "-o", target, "--overwrite", "--json", "-s", 2, "--no-mark")
    sizes = {}
    for quality in (30, 70, 71):
        assert unshrink(*common, "--quality", quality) == 0
        sizes[quality] = told(capsys)["small_bytes"]
    for most, quality, scale in (
        (sizes[71] - 1, 70, 2),
        (sizes[70], 70, 2),
        (sizes[30], 30, 2),
        (sizes[30] - 1, None, 4),
    ):
        assert unshrink(*common, "--max-bytes", most) == 0
        facts = told(capsys)
        assert (facts["scale"], facts["quality"]) == (scale, quality or facts["quality"])
        assert facts["small_bytes"] == target.stat().st_size <= most
    assert unshrink(*common, "--max-bytes", 200) == 1
    smallest = int(re.search(r"smallest possible has ([\d,]+)", told(capsys)["error"])[1].replace(",", ""))
    assert unshrink(*common, "--max-bytes", smallest) == 0
    assert target.stat().st_size == smallest


def test_bytes_of_a_lossless_format_are_kept_by_the_scale(noise, tmp_path, capsys):
    assert unshrink("downscale", noise, "-s", 2, "--json") == 0
    large = told(capsys)["small_bytes"]
    assert unshrink("downscale", noise, "-s", 2, "--json", "--max-bytes", large - 1) == 0
    facts = told(capsys)
    assert (facts["scale"], Path(facts["output"]).name) == (4, "noise_small.png")
    assert unshrink("downscale", noise, "-m", "tiny-x2", "-o", tmp_path / "n.png", "--max-bytes", large - 1) == 1
    assert not (tmp_path / "n.png").exists()


def test_verify_measures_what_was_written(noise, lossy_weights, tmp_path, capsys):
    found = []
    for quality in (30, 95):
        target = tmp_path / f"{quality}.jpg"
        assert unshrink("downscale", noise, "-o", target, "--quality", quality, "--verify", "--json") == 0
        found.append(told(capsys)["psnr_y"])
    assert found[0] < found[1]


def test_a_folder_is_fitted_each_by_its_own_weights_and_done_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for width in (12, 24, 60):
        photo_at(tmp_path / "in" / f"{width}.png", width=width)
    assert unshrink("downscale", "in", "-o", "small", "--fit", 16, "--workers", 1) == 0
    assert [read(path).size for path in sorted((tmp_path / "small").glob("*.png"))] == [(7, 16), (14, 16), (16, 8)]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "small").glob("*.png")}
    assert unshrink("downscale", "in", "-o", "small", "--fit", 16, "--workers", 1) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "small").glob("*.png")} == before
    assert unshrink("downscale", "in", "-o", "small", "--fit", 15, "--workers", 1, "--overwrite") == 0
    assert max(max(read(path).size) for path in (tmp_path / "small").glob("*.png")) == 15
    assert unshrink("downscale", "in", "-o", "new", "--fit", 16, "--name", "{stem}-{scale}{ext}") == 2


def test_model_may_be_a_file(photo, zoo, tmp_path):
    assert unshrink("downscale", photo, "-m", zoo / "tiny-x2.safetensors", "-o", tmp_path / "s.webp") == 0
    assert (tmp_path / "s.webp").read_bytes()[8:12] == b"WEBP"


def test_scale_and_model_in_conflict_are_wrong_usage(photo, capsys):
    assert unshrink("downscale", photo, "-s", 4, "-m", "tiny-x2") == 2
    assert "contradicts" in capsys.readouterr().err


@pytest.mark.parametrize(
    "depth, form, expected", [(None, "png", 16), (8, "png", 8), (None, "webp", 8), (16, "tiff", 16)]
)
def test_depth_is_the_pictures_or_what_is_asked(tmp_path, depth, form, expected):
    photo = photo_at(tmp_path / "deep.png", np.uint16)
    options = [] if depth is None else ["--depth", depth]
    assert unshrink("downscale", photo, "--format", form, *options) == 0
    small = next(tmp_path.glob("deep_x4.*"))
    assert read(small).depth == expected
    assert unshrink("upscale", small) == 0
    assert read(tmp_path / "deep_restored.png").depth == 16


def test_metadata_survives_and_strip_removes_it(tmp_path):
    photo = photo_at(tmp_path / "photo.png", icc=b"profile", exif=EXIF, dpi=(300.0, 300.0))
    assert unshrink("downscale", photo) == 0
    assert unshrink("upscale", tmp_path / "photo_x4.png") == 0
    back = read(tmp_path / "photo_restored.png")
    assert (back.icc, back.exif) == (b"profile", EXIF)
    assert unshrink("upscale", tmp_path / "photo_x4.png", "--strip", "--overwrite") == 0
    assert read(tmp_path / "photo_restored.png").icc is None
    assert unshrink("downscale", photo, "--strip", "--overwrite") == 0
    stripped = read(tmp_path / "photo_x4.png")
    assert (stripped.icc, stripped.exif, stripped.dpi) == (None, None, None)
    assert provenance.extract(stripped)[0].size == (37, 29)


def test_standard_input_and_output_carry_pictures(photo, zoo, tmp_path):
    command = [sys.executable, "-m", "unshrink"]
    small = subprocess.run(
        [*command, "downscale", "-", "-m", zoo / "tiny-x4.safetensors"],
        input=photo.read_bytes(),
        capture_output=True,
        env=environment(),
    )
    assert small.returncode == 0, small.stderr
    assert small.stderr.startswith(b"unshrink: - -> -: 37x29 -> 10x8")
    assert read(small.stdout).size == (10, 8)


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m unshrink doctor --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment())
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def shell(command, **variables):
    """What bash makes of a command, in which ``unshrink`` is ours."""
    ours = f'unshrink() {{ {sys.executable} -m unshrink "$@"; }}; {command}'
    env = {key: value for key, value in environment().items() if key != "PYTHONUNBUFFERED"} | variables
    return subprocess.run(["bash", "-c", ours], capture_output=True, env=env, timeout=120)


FULL = b"cannot write to standard output: No space left on device"
CLOSED = b"cannot write to standard output: Bad file descriptor"


@pytest.mark.parametrize(
    "command, code, said",
    [
        ("unshrink info photo.png > /dev/full", 1, FULL),
        ("unshrink info photo.png --json > /dev/full", 1, FULL),
        ("unshrink info photo.png >&-", 1, CLOSED),
        ("unshrink downscale photo.png -o - >&-", 1, CLOSED),
        ("unshrink downscale photo.png -o - > /dev/full", 1, FULL),
        ("unshrink downscale photo.png -o /dev/full", 1, b"cannot write to /dev/full: No space left on device"),
        ("unshrink info - <&-", 1, b"cannot read standard input: Bad file descriptor"),
        ("unshrink simulate whatsapp - <&-", 1, b"cannot read -: Bad file descriptor"),
        ("unshrink --help > /dev/full", 1, b""),
        ("unshrink info none.png 2> /dev/full", 1, b""),
        ("unshrink info photo.png > /dev/null 2>&-", 0, b""),
    ],
)
def test_streams_that_are_closed_or_full_are_one_line(photo, monkeypatch, command, code, said):
    monkeypatch.chdir(photo.parent)
    done = shell(command)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count(b"\n") == bool(said), done.stderr


def test_no_message_is_written_into_the_picture(photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    said = shell("unshrink downscale photo.png -o -")
    assert said.stderr.count(b"\n") == 1
    unsaid = shell("unshrink downscale photo.png -o - 2>&-")
    assert (unsaid.returncode, unsaid.stdout) == (0, said.stdout)
    assert read(unsaid.stdout).size == (19, 15)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["smile \N{GRINNING FACE}.png", os.fsdecode(b"\xff\xfe.png")])
def test_names_that_the_terminal_cannot_show(photo, monkeypatch, encoding, name):
    monkeypatch.chdir(photo.parent)
    photo.rename(name)
    done = shell("unshrink info *.png; unshrink info none-*.png *.png --json", PYTHONIOENCODING=encoding)
    assert done.stdout.count(b"picture   37x29") == 1
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["input"] == name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    assert b"Traceback" not in done.stderr


def test_pipes_are_read_and_written(photo, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shell("unshrink downscale photo.png -o expected.png").returncode == 0
    expected = Path("expected.png").read_bytes()
    for command in (
        "unshrink downscale <(cat photo.png) -o out.png",
        "unshrink downscale /dev/stdin -o out.png < photo.png",
        "cat photo.png | unshrink downscale /dev/stdin > out.png",
        "unshrink downscale photo.png -o /dev/stdout > out.png",
        "unshrink downscale photo.png -o >(cat > out.png); while [ ! -s out.png ]; do sleep 0.1; done",
        "mkfifo fifo; cat fifo > out.png & unshrink downscale photo.png -o fifo; wait",
        "cat photo.png > fifo & unshrink downscale fifo -o out.png",
    ):
        Path("out.png").unlink(missing_ok=True)
        done = shell(command)
        assert done.returncode == 0, (command, done.stderr)
        assert Path("out.png").read_bytes() == expected, command
    assert json.loads(shell("unshrink info <(cat photo.png) --json").stdout)["size"] == [37, 29]
    done = shell("cat photo.png > photo.txt; unshrink downscale photo.txt -o - --format tiff >> photo.txt")
    assert done.returncode == 0, done.stderr
    both = Path("photo.txt").read_bytes()
    assert read(both[photo.stat().st_size :]).size == (19, 15), "a TIFF after what is there is whole"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs there")
def test_pipes_that_cannot_be_meant_are_refused(photo, tmp_path, capsys):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert unshrink("downscale", fifo) == 2
    assert "is a pipe: name the file for what is made of it with -o" in capsys.readouterr().err
    assert unshrink("downscale", fifo, photo, "-o", tmp_path) == 2
    assert "take one picture" in capsys.readouterr().err
    assert unshrink("downscale", "/dev/zero", "-o", tmp_path / "a.png") == 1
    assert "a folder or a device" in capsys.readouterr().err
    assert unshrink("downscale", photo, "-o", fifo, "--dry-run") == 0
    assert capsys.readouterr().out == f"{photo}: would write {fifo}\n"


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


# -- several files -------------------------------------------------------------------------------------------------


def test_two_inputs_for_one_output_are_refused_before_any_work(photo, tmp_path, capsys):
    for name in ("a", "b", "out"):
        (tmp_path / name).mkdir()
    pair = [photo_at(tmp_path / name / "same.png") for name in ("a", "b")]
    assert unshrink("downscale", *pair, "-o", tmp_path / "out") == 2
    assert "would both become" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert unshrink("downscale", photo, "-o", photo, "--overwrite") == 2
    assert unshrink("downscale", *pair, "-o", "-") == 2


@pytest.mark.parametrize("out", ["missing/", "missing/small.png"])
def test_a_missing_folder_is_an_error(photo, tmp_path, out, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert unshrink("downscale", photo, "-o", f"{tmp_path}/{out}") == 1
    assert "folder" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_progress_is_for_terminals_and_slow_work(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(terminal, "PATIENCE", -1)
    assert unshrink("info", photo, photo) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert unshrink("info", photo, photo) == 0
    assert "[##########----------] 1/2, " in capsys.readouterr().err


def test_progress_of_a_picture_has_the_time_left(photo, monkeypatch, capsys):
    shown = []
    clock = iter([100.0, 104.0, 160.0])
    monkeypatch.setattr(terminal.status, "show", shown.append)
    args = make_parser().parse_args(["downscale", "a.png"])
    monkeypatch.setattr("unshrink.cli.pictures.time.perf_counter", lambda: next(clock))
    tell = pictures._progress(args)
    for share in (0.0, 0.25, 0.5):
        tell(share)
    assert shown == ["a.png: 25%, 0:12 left", "a.png: 50%, 1:00 left"]
    assert terminal.minutes(3661) == "1:01:01"


def test_a_file_that_grew_is_said_with_what_helps(tmp_path, capsys, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (640, 960, 3)).astype(np.uint8)
    photos = tmp_path / "photos"
    photos.mkdir()
    write(Image(noise), photos / "noise.jpg", lossy=True)
    PIL.Image.fromarray(noise).save(photos / "noise.jpg", quality=5)
    write(Image(noise), photos / "sound.png")
    assert unshrink("downscale", photos / "noise.jpg", "-o", tmp_path / "a.png") == 0
    grew, helps = capsys.readouterr().err.splitlines()[-1].split("; ", 1)
    assert grew == "unshrink: the small file is larger than before, since every value is kept"
    assert "(--format webp)" in helps
    assert "(--scale 4)" in helps
    assert "lossy" not in helps
    robust = dataclasses.replace(catalogue.ENTRIES[0], name="robust-x4", lossy=True)
    monkeypatch.setattr(catalogue, "ENTRIES", (*catalogue.ENTRIES, robust))
    assert unshrink("downscale", photos / "noise.jpg", "-m", "tiny-x4", "-o", tmp_path / "c.png") == 0
    assert "lossy formats take far smaller files (--model robust-x4)" in capsys.readouterr().err
    assert unshrink("downscale", photos / "noise.jpg", "-s", 2, "-o", tmp_path, "--format", "webp") == 0
    assert capsys.readouterr().err.endswith("since every value is kept\n")
    assert unshrink("downscale", photos / "sound.png", "-o", tmp_path / "b.png") == 0
    assert "larger" not in capsys.readouterr().err
    assert unshrink("downscale", photos, "-o", tmp_path / "small", "--name", "{name}{ext}") == 0
    assert "unshrink: 1 of 2 small files are larger than before" in capsys.readouterr().err


def test_messages_name_options_as_flags_here_and_as_names_in_python(photo, tmp_path, capsys):
    (tmp_path / "photo_x4.png").write_text("precious")
    (outcome,) = batch.downscale(photo)
    assert "(`overwrite`)" in outcome.error
    assert unshrink("downscale", photo, "--json") == 1
    out, err = capsys.readouterr()
    assert "(--overwrite)" in json.loads(out)["error"]
    assert "(--overwrite)" in err
    assert unshrink("downscale", tmp_path) == 2
    assert "name the folder for what is made of its pictures with -o" in capsys.readouterr().err


def test_no_text_of_the_library_names_a_flag():
    for path in sorted((ROOT / "src/unshrink").rglob("*.py")):
        if path.parent.name == "cli" or path.name == "environment.py":  # which calls git
            continue
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        said = [text for text in texts if isinstance(text, str) and "\n" not in text and "curl" not in text]
        assert [text for text in said if re.search(r"(^|[ (])--[a-z]", text)] == [], path


# -- bad input -----------------------------------------------------------------------------------------------------


def bomb(path):
    head = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452000fffff000fffff0802000000")
    path.write_bytes(head + bytes(4) + bytes.fromhex("0000000049454e44ae426082"))


def truncated(path):
    path.write_bytes(photo_at(path).read_bytes()[:60])


def text(path):
    path.write_text("no picture")


@pytest.mark.parametrize("make, message", [(bomb, "--max-pixels"), (truncated, "cut off"), (text, "not a PNG")])
@pytest.mark.parametrize("command", ["downscale", "upscale", "compare", "info"])
def test_bad_files_are_one_line(tmp_path, make, message, command, capsys):
    make(tmp_path / "bad.png")
    assert unshrink(command, tmp_path / "bad.png") == 1
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert len(list(tmp_path.iterdir())) == 1


def test_max_pixels_counts_what_is_read_and_what_is_restored(photo, tmp_path, capsys):
    assert unshrink("downscale", photo, "--max-pixels", 1000) == 1
    assert unshrink("downscale", photo) == 0
    assert unshrink("upscale", tmp_path / "photo_x4.png", "--max-pixels", 1279) == 1
    assert "would become 40 x 32" in capsys.readouterr().err
    assert unshrink("upscale", tmp_path / "photo_x4.png", "--max-pixels", 1280) == 0


def test_lossy_formats_are_refused_with_the_reason_unless_forced(photo, tmp_path, capsys):
    assert unshrink("downscale", photo, "-o", tmp_path / "small.jpg") == 1
    assert "only the exact values" in capsys.readouterr().err
    assert not (tmp_path / "small.jpg").exists()
    assert unshrink("downscale", photo, "-o", tmp_path / "small.jpg", "--lossy", "--verify") == 0
    said = capsys.readouterr().err
    assert "comes back at" in said
    assert "changed" not in said, "that the format changes values is what was asked for"
    assert unshrink("upscale", tmp_path / "small.jpg", "-o", tmp_path / "large.jpg") == 0
    assert "pixels were changed" in capsys.readouterr().err


def test_a_small_picture_without_a_record_comes_back_to_the_size_that_is_named(photo, tmp_path, capsys):
    assert unshrink("downscale", photo) == 0
    small = tmp_path / "photo_x4.png"
    bare = read(small).strip()
    assert unshrink("upscale", small, "-o", tmp_path / "true.png") == 0
    write(bare, small, overwrite=True)
    named = "-m", "tiny-x4", "--size", "37x29"
    capsys.readouterr()
    assert unshrink("upscale", small, "-o", tmp_path / "back.png", *named) == 0
    assert "if tiny-x4 made it and no pixel was changed, it comes back" in capsys.readouterr().err
    assert (read(tmp_path / "back.png").pixels == read(tmp_path / "true.png").pixels).all()
    assert unshrink("upscale", small, "-o", tmp_path / "no.png", "-m", "tiny-x4", "--size", "99x29") == 1
    assert "size 99x29 does not fit a small picture of 10x8" in capsys.readouterr().err
    for wrong in ("37", "37x", "0x29", "37x29x1", "-1x4", "axb"):
        assert unshrink("upscale", small, f"--size={wrong}") == 2
        assert "is no size: give width and height in pixels" in capsys.readouterr().err


def test_files_are_replaced_only_when_asked(photo, tmp_path, capsys):
    target = tmp_path / "photo_x4.png"
    target.write_text("precious")
    assert unshrink("downscale", photo) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert unshrink("downscale", photo, "--overwrite") == 0


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("-m", "tiny-x9"), 1, "did you mean tiny-x"),
        (("-s", 8), 1, "8 times smaller: installed weights make it 4 times smaller at most"),
        (("-s", 1.05), 2, "must be a number from 1.1 to 8, not '1.05'"),
        (("-s", "two"), 2, "must be a number from 1.1 to 8"),
        (("--fit", "1280x"), 2, "must be a side or WIDTHxHEIGHT"),
        (("--fit", 0), 2, "must be a side or WIDTHxHEIGHT"),
        (("--max-pixels-out", 0), 2, "must be a number of at least 1, with k, M or G"),
        (("--max-pixels-out", "8.3 M"), 2, "must be a number of at least 1, with k, M or G"),
        (("--fit", 8, "-s", 2), 2, "not allowed with argument"),
        (("--quality", 0), 2, "must be a whole number from 1 to 100"),
        (("--quality", 101), 2, "must be a whole number from 1 to 100"),
        (("--quality", 80), 1, "png keeps every value: quality and chroma are for webp, jpeg, avif"),
        (("--format", "webp", "--chroma", "4:4:4", "--lossy"), 1, "webp has chroma 4:2:0 alone"),
        (("--chroma", "4:1:1"), 2, "invalid choice"),
        (("--max-bytes", 0), 2, "must be a number of at least 1"),
        (("--max-bytes", "3 kB"), 2, "must be a number of at least 1"),
        (("--max-bytes", "50"), 1, "the smallest possible has"),
        (("--fit", 5000), 1, "fits into 5000x5000 already"),
        (("--site", "signl"), 2, "no site named 'signl': did you mean signal?"),
        (("--site", "signal", "--max-bytes", "50", "-s", 2, "--no-mark"), 1, "the smallest possible has"),
        (("-o", "small.xyz"), 1, "unknown extension"),
        (("-o", "small.png", "--format", "webp"), 2, "contradicts"),
        (("--max-pixels", 0), 2, "whole number"),
        (("-o", "-", "--json"), 2, "standard output is for the picture"),
        (("--backend", "abacus"), 2, "invalid choice"),
    ],
)
def test_wrong_arguments_say_what_is_right(photo, arguments, code, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert unshrink("downscale", photo, *arguments) == code
    assert message in (said := capsys.readouterr().err)
    assert len(said.splitlines()) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_no_command_is_wrong_usage(capsys):
    assert unshrink() == 2
    assert unshrink("enlarge") == 2


def test_errors_of_the_whole_command_are_json_too(photo, capsys):
    assert unshrink("downscale", photo, "-m", "none", "--json") == 1
    assert "no weights named" in json.loads(capsys.readouterr().out)["error"]


def test_bugs_keep_their_traceback(photo, monkeypatch):
    monkeypatch.setattr("unshrink.batch.rescale.load", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        unshrink("downscale", photo)


def test_ctrl_c_ends_with_130(photo, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("unshrink.batch.rescale.read", interrupt)
    assert unshrink("downscale", photo) == 130
    assert capsys.readouterr().err == "unshrink: interrupted\n"
    assert len(list(tmp_path.iterdir())) == 1


# -- records -------------------------------------------------------------------------------------------------------


def test_a_foreign_picture_needs_a_model_and_gets_a_warning(photo, tmp_path, capsys):
    assert unshrink("upscale", photo) == 1
    assert "has no record of unshrink" in (err := capsys.readouterr().err)
    assert "--model" in err
    assert "tiny-x4" in err
    assert unshrink("upscale", photo, "--model", "tiny-x2", "--quiet") == 0
    assert capsys.readouterr().err.startswith(f"unshrink: warning: {photo}: it has no record")
    assert read(tmp_path / "photo_restored.png").size == (74, 58)


def recorded(path, **changes):
    image = read(path)
    record, bare = provenance.extract(image)
    write(provenance.embed(bare, dataclasses.replace(record, **changes)), path, overwrite=True)


def test_weights_that_are_not_installed_are_named(photo, tmp_path, capsys, zoo):
    small = tmp_path / "photo_x4.png"
    assert unshrink("downscale", photo) == 0
    recorded(small, model="irn-x4-v9", weights="0123456789abcdef")
    capsys.readouterr()
    assert unshrink("upscale", small) == 1
    assert "'irn-x4-v9' (0123456789abcdef)" in (err := capsys.readouterr().err)
    assert "install" in err
    assert "--model FILE.safetensors" in err
    assert unshrink("upscale", small, "-m", zoo / "tiny-x4.safetensors") == 0
    assert "made by other weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"&quot;format&quot;:1", b"&quot;format&quot;:2", "newer version"),
        (b"&quot;scale&quot;:4", b"&quot;scale&quot;:-1", "malformed"),
    ],
)
def test_records_that_cannot_be_used_are_errors_unless_a_model_is_named(photo, tmp_path, old, new, message, capsys):
    small = tmp_path / "photo_x4.tif"
    assert unshrink("downscale", photo, "-o", small) == 0
    image = read(small)
    assert old in image.xmp
    write(dataclasses.replace(image, xmp=image.xmp.replace(old, new)), small, overwrite=True)
    capsys.readouterr()
    assert unshrink("upscale", small) == 1
    assert message in capsys.readouterr().err
    assert unshrink("info", small) == 1
    assert message in capsys.readouterr().out
    assert unshrink("upscale", small, "-m", "tiny-x4") == 0
    assert "is left aside" in capsys.readouterr().err


# -- what commands say ---------------------------------------------------------------------------------------------


def test_json_of_downscale_and_upscale(photo, tmp_path, capsys):
    assert unshrink("downscale", photo, "--json", "--verify", "-v") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["model"], row["scale"], row["size"], row["small_size"]) == ("tiny-x4", 4, [37, 29], [10, 8])
    assert row["small_bytes"] == (tmp_path / "photo_x4.png").stat().st_size
    assert row["psnr_y"] > 20
    assert unshrink("upscale", tmp_path / "photo_x4.png", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["unchanged"], row["size"], row["backend"]) == (True, [37, 29], "torch")


def test_compare_prints_a_table_and_writes_a_figure(photo, tmp_path, capsys):
    assert unshrink("compare", photo, "-s", 2) == 0
    out, err = capsys.readouterr()
    assert "tiny-x2" in out
    assert "bicubic" in out
    assert err == f"unshrink: the figure is {tmp_path}/photo_compare_x2.png\n"
    assert read(tmp_path / "photo_compare_x2.png").size[0] == 1600
    assert unshrink("compare", photo, "-o", tmp_path / "figure.png", "--json", "-q") == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) >= {"unshrink", "bicubic", "lanczos", "small_fidelity", "bytes", "small_bytes", "output"}
    assert unshrink("compare", photo, "-o", "-") == 2


def test_info_of_pictures(photo, tmp_path, capsys):
    assert unshrink("downscale", photo) == 0
    small = tmp_path / "photo_x4.png"
    capsys.readouterr()
    assert unshrink("info", photo, small) == 0
    out = capsys.readouterr().out
    assert "37x29, 8-bit RGB, png" in out
    assert "record    none" in out
    assert "made by tiny-x4" in out
    assert "unchanged" in out
    image = read(small)
    write(dataclasses.replace(image, pixels=image.pixels ^ 1, notes=()), small, overwrite=True)
    assert unshrink("info", small, "--json") == 0
    record = json.loads(capsys.readouterr().out)["record"]
    assert (record["unchanged"], record["installed"], record["size"]) == (False, True, [37, 29])


def test_info_of_standard_input(photo, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    assert unshrink("info", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["format"] == "png"


def test_info_of_weights(zoo, tmp_path, capsys):
    assert unshrink("info", zoo / "tiny-x4.safetensors") == 0
    assert "tiny-x4, scale 4" in (out := capsys.readouterr().out)
    assert "CC0-1.0" in out
    assert unshrink("info", zoo / "tiny-x4.safetensors", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["installed"], data["config"]["blocks"], data["graphs"]) == (True, [1, 1], {})
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    assert unshrink("info", tmp_path / "bad.safetensors") == 1


def test_hostile_names_cannot_steer_the_terminal(tmp_path, capsys):
    path = tmp_path / "a\x1b[31m\nb.png"
    path.write_text("no picture")
    assert unshrink("info", path) == 1
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert err.count("\n") == 1


def test_models_lists_what_is_installed(capsys, monkeypatch):
    assert unshrink("models") == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "scale", "bytes"]
    assert first.split()[:2] == ["tiny-x4", "x4,"]
    assert second.endswith("PSNR-Y 33.25")
    assert unshrink("models", "--json") == 0
    assert [(row["scale"], row["default"]) for row in json.loads(capsys.readouterr().out)["models"]] == [
        (4, True),
        (2, True),
    ]
    monkeypatch.setattr(
        catalogue, "ENTRIES", (catalogue.ENTRIES[0], dataclasses.replace(catalogue.ENTRIES[0], name="other-x4"))
    )
    assert unshrink("models") == 0
    assert [line.split()[:3][-1] == "default" for line in capsys.readouterr().out.splitlines()] == [False, True, False]
    monkeypatch.setattr(catalogue, "ENTRIES", (dataclasses.replace(catalogue.ENTRIES[0], lossy=True),))
    assert unshrink("models") == 0
    assert "x4, default, bears re-encoding" in capsys.readouterr().out
    monkeypatch.setattr(catalogue, "ENTRIES", ())
    assert unshrink("models") == 1


def test_doctor_finds_all_well_or_says_what_to_do(capsys, monkeypatch):
    assert unshrink("doctor", "--json") == 0, capsys.readouterr().out
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert set(checks) >= {"Python", "CPU", "openvino", "torch", "backend", "tiny-x4", "self-test", "png", "avif"}
    altered = tuple(dataclasses.replace(row, sha256="0" * 64) for row in catalogue.ENTRIES)
    monkeypatch.setattr(catalogue, "ENTRIES", altered)
    assert unshrink("doctor") == 1
    out = capsys.readouterr().out
    assert "BROKEN" in out
    assert "reinstall unshrink" in out


def test_doctor_sees_a_compiled_network_that_gives_other_pixels(capsys, monkeypatch):
    """As one that was altered where it is kept: what is compiled anew tells."""

    class Darkening(Samples):
        def run(self, steps, x):
            return super().run(steps, x) * np.float32(0.9)

    def load_model(args, name):
        kept = os.environ.get("UNSHRINK_CACHE") != "off"
        return Rescaler(random_weights(2), Darkening() if kept else Samples())

    monkeypatch.setenv("UNSHRINK_CACHE", "on")
    monkeypatch.setattr(doctor, "load_model", load_model)
    assert unshrink("doctor") == 1
    assert "give other pixels than new ones; delete them" in capsys.readouterr().out
    assert os.environ["UNSHRINK_CACHE"] == "on"
    monkeypatch.setattr(Darkening, "run", Samples.run)
    unshrink("doctor")
    assert "give other pixels" not in capsys.readouterr().out


# -- weights and training ------------------------------------------------------------------------------------------


@pytest.fixture
def no_exporter(monkeypatch):
    """Exporting takes half a minute: here it gives graphs that say nothing."""
    import types

    module = types.ModuleType("unshrink.weights.export")
    names = lambda made: {graph for steps in made.steps.values() for step in steps for graph in step.graphs}
    module.export = lambda made: dataclasses.replace(made, graphs=dict.fromkeys(names(made), b"graph"))
    monkeypatch.setitem(sys.modules, "unshrink.weights.export", module)


def checkpoint(path):
    """A published checkpoint of one Haar transform and one block."""
    import torch

    from unshrink.network.irn import IRNConfig
    from unshrink.weights.convert import _published, shapes

    config = IRNConfig(scale=2, blocks=(1,), latent="gaussian")
    state = {_published(name): torch.zeros(shape) for name, shape in shapes(config).items()}
    signs = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]).float()
    state["operations.0.haar_weights"] = signs[:, None].repeat(3, 1, 1, 1)
    torch.save(state, path)
    return path


def test_convert_makes_weights_that_can_be_used(tmp_path, photo, no_exporter, capsys):
    source, target = checkpoint(tmp_path / "IRN_x2.pth"), tmp_path / "out.safetensors"
    assert unshrink("convert", source, "-o", target, "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["model"], row["scale"], row["graphs"]) == ("irn_x2", 2, True)
    assert unshrink("convert", source, "-o", target) == 1
    assert unshrink("convert", source, "-o", target, "--overwrite", "--name", "Not This") == 2
    assert unshrink("convert", source, "-o", tmp_path / "out.pth") == 2
    assert unshrink("convert", source, "-o", target, "--overwrite", "--name", "mine") == 0
    assert weights.load(target).name == "mine"
    assert unshrink("downscale", photo, "-m", target, "--backend", "torch") == 0
    assert unshrink("convert", photo, "-o", tmp_path / "x.safetensors") == 1


def test_convert_without_the_exporter_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    from unshrink.errors import MissingDependencyError

    def missing(made):
        raise MissingDependencyError("export needs onnx: pip install 'unshrink[export]'")

    monkeypatch.setattr("unshrink.cli.weights._exported", missing)
    target = tmp_path / "out.safetensors"
    assert unshrink("convert", checkpoint(tmp_path / "a.pth"), "-o", target) == 0
    assert "pip install" in capsys.readouterr().err
    assert not weights.load(target).graphs


def test_export_adds_graphs_in_place(zoo, tmp_path, no_exporter):
    path = tmp_path / "mine.safetensors"
    path.write_bytes((zoo / "tiny-x2.safetensors").read_bytes())
    assert unshrink("export", path) == 0
    made = weights.load(path)
    assert set(made.graphs) == {graph for steps in made.steps.values() for step in steps for graph in step.graphs}
    assert unshrink("export", tmp_path / "none.safetensors") == 1


def test_train_passes_its_options_on(tmp_path, monkeypatch, capsys):
    seen = {}

    def train(config, *, resume, report):
        seen.update(config=config, resume=resume)
        report("step 1")
        return None if resume else tmp_path / "mine.safetensors"

    monkeypatch.setattr("unshrink.training.loop.train", train)
    (tmp_path / "c.toml").write_text("[run]\nname = 'mine'\n")
    assert unshrink("train", tmp_path / "c.toml", "--max-time", 3, "--set", "optim.lr=1e-3", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"weights": str(tmp_path / "mine.safetensors")}
    assert err == "unshrink: step 1\n"
    assert (seen["config"].run.max_time, seen["config"].optim.lr) == (3.0, 1e-3)
    assert unshrink("train", tmp_path / "c.toml", "--resume") == 130
    assert unshrink("train", tmp_path / "c.toml", "--set", "run.nam=x") == 1
    assert "did you mean run.name" in capsys.readouterr().err


def test_train_without_torch_names_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("unshrink.training", "unshrink.network."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("unshrink.training.config", raising=False)
    monkeypatch.delattr("unshrink.training.loop", raising=False)
    assert unshrink("train", "c.toml") == 1
    assert 'pip install "unshrink[train]", or in a clone of it pip install ".[train]"' in capsys.readouterr().err


# -- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert unshrink(command, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: unshrink {command}")


def test_version(capsys):
    assert unshrink("--version") == 0
    assert capsys.readouterr().out.startswith("unshrink ")


def test_what_libraries_warn_of_is_for_verbose_alone(caplog, capfd):
    def warn():
        for category in (UserWarning, UnshrinkWarning):
            warnings.warn(f"a tag is broken, a {category.__name__}", category, stacklevel=1)
        return Result({})

    caplog.set_level(logging.DEBUG, "unshrink")
    attempt(Task("a.tif", warn))
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    assert levels == {
        "a.tif: a tag is broken, a UserWarning": logging.DEBUG,
        "a.tif: a tag is broken, a UnshrinkWarning": logging.WARNING,
    }
    assert capfd.readouterr().err == ""


def test_help_answers_at_once():
    """In processor seconds: others may keep the machine busy."""
    resource = pytest.importorskip("resource")  # Windows has none

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "unshrink", "--help"], capture_output=True, check=True, env=environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="argparse lays its pages out differently from 3.13 on")
def test_the_documented_help_is_the_real_one():
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    generate_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_cli)
    page = generate_cli.PAGE.read_text(encoding="utf-8")
    assert generate_cli.refresh(page) == page, "run: python docs/generate_cli.py"
    assert set(generate_cli.BLOCK.findall(page) and (name for _, name, _ in generate_cli.BLOCK.findall(page))) == {
        "",
        *COMMANDS,
    }
