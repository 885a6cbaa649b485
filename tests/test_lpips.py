"""LPIPS agrees with its authors' example, and is left out where nobody asks for it."""

import numpy as np
import pytest

from figures import Nearest
from unshrink.cli import main as cli
from unshrink.errors import ConfigError
from unshrink.evaluation.lpips import LPIPS
from unshrink.evaluation.protocol import trips_of
from unshrink.evaluation.sets import find_set
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write


@pytest.fixture(scope="module")
def lpips(data):
    return LPIPS(data / "perceptual")


@pytest.mark.parametrize("name, expected", [("ex_p0.png", 0.711), ("ex_p1.png", 0.148), ("ex_ref.png", 0.0)])
def test_the_example_of_its_authors(data, lpips, name, expected):
    first, second = (read(data / "perceptual" / file).pixels[..., :3] for file in ("ex_ref.png", name))
    assert lpips(first, second) == pytest.approx(expected, abs=5e-4)


def test_it_is_measured_without_the_border_and_only_if_asked_for():
    hr = np.zeros((32, 48, 3), np.uint8)
    assert trips_of(Nearest(), lambda a, b: float(a.shape == b.shape == (28, 44, 3)))("a", hr)["lpips"] == 1
    assert "lpips" not in trips_of(Nearest())("a", hr)


def test_a_folder_without_its_weights_is_named(tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"squeezenet1_1_\*\.pth"):
        LPIPS(tmp_path)
    write(Image(np.zeros((32, 32, 3), np.uint8)), tmp_path / "a.png")
    (tmp_path / "squeezenet1_1_x.pth").write_bytes(b"no weights")
    assert cli.main(["eval", "irn-x2", "--data", str(find_set(str(tmp_path)).folder), "--lpips", str(tmp_path)]) == 1
    assert "no weights of LPIPS" in capsys.readouterr().err
