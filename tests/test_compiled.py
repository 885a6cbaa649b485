import dataclasses
import os

import numpy as np
import pytest

from networks import portable_weights
from unshrink.runtime import backends
from unshrink.runtime.backends import compiled
from unshrink.weights import Weights


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of compiled networks, which is not there yet."""
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path / "a" / "b"))
    return tmp_path / "a" / "b"


def test_what_is_stored_comes_back_under_its_key_alone(kept):
    compiled.store(b"blob", "key", 1)
    assert compiled.load("key", 1) == b"blob"
    assert compiled.load("key", 2) is None


def test_what_is_damaged_does_not_come_back(kept):
    compiled.store(b"blob", "key")
    (path,) = kept.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert compiled.load("key") is None


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "off")
    compiled.store(b"blob", "key")
    assert compiled.folder() is None
    assert compiled.load("key") is None


def test_without_the_variable_it_is_the_folder_of_the_user(monkeypatch):
    monkeypatch.delenv(compiled.VARIABLE)
    assert compiled.folder().name == "unshrink"


def test_a_place_that_cannot_be_written_to_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path / "file"))
    compiled.store(b"blob", "key")
    assert compiled.load("key") is None


def test_what_was_used_longest_ago_goes(kept, monkeypatch):
    monkeypatch.setattr(compiled, "LIMIT", 300)
    for number, age in enumerate((20, 30, 10)):
        compiled.store(bytes(100), number)
        newest = max(kept.iterdir(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age,) * 2)
    assert [compiled.load(number) is None for number in range(3)] == [False, True, False]


@pytest.mark.xdist_group("export")  # one worker exports the graphs, once
def test_openvino_starts_from_what_another_compiled(kept, monkeypatch):
    openvino = pytest.importorskip("unshrink.runtime.backends.openvino")
    hr = np.random.default_rng(0).random((1, 12, 8, 12), np.float32)
    weights = portable_weights(2)

    def run(made: Weights, threads: int = 1) -> np.ndarray:
        return backends.make(made, "openvino", threads).run(made.steps["down"][1], hr)

    first = run(weights)
    monkeypatch.setattr(openvino._core(), "read_model", None)  # what compiling begins with
    assert np.array_equal(run(weights), first)
    other = dataclasses.replace(weights, tensors={name: values + 1 for name, values in weights.tensors.items()})
    assert not np.array_equal(run(other), first), "parameters are not part of it"
    graphs = {**weights.graphs, "down.x2.block.low": portable_weights(4).graphs["down.x4.block.low"]}
    for changed in ((dataclasses.replace(weights, graphs=graphs), 1), (weights, 2)):
        with pytest.raises(TypeError):
            run(*changed)
