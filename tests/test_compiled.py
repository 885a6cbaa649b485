import dataclasses
import hashlib
import os

import numpy as np
import pytest

from networks import portable_weights
from unshrink.errors import UnshrinkWarning
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


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_what_others_can_write_is_not_used_and_that_is_said_once(kept, mode):
    compiled._say.cache_clear()
    compiled.store(b"blob", "key")
    (path,) = kept.iterdir()
    for place, before in ((kept, 0o700), (path, 0o600)):
        place.chmod(mode)
        with pytest.warns(UnshrinkWarning, match="others can write to it; chmod go-w it") as said:
            assert [compiled.load("key"), compiled.load("key")] == [None, None]
        assert len(said) == 1
        place.chmod(before)
        assert compiled.load("key") == b"blob"
    kept.chmod(mode)
    compiled.store(b"other", "other")
    assert list(kept.iterdir()) == [path]


def test_what_another_user_has_made_is_not_used(kept, monkeypatch):
    compiled._say.cache_clear()
    compiled.store(b"blob", "key")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(UnshrinkWarning, match="it belongs to another user"):
        assert compiled.load("key") is None


def test_links_are_not_followed_and_files_are_for_this_user_alone(kept, tmp_path):
    compiled.store(b"blob", "key")
    (path,) = kept.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert compiled.load("key") is None


@pytest.mark.xdist_group("export")  # one worker exports the graphs, once
@pytest.mark.parametrize("damage", ["noise", "middle", "another"])
def test_whatever_is_wrong_with_a_blob_the_network_is_compiled_again(kept, damage):
    pytest.importorskip("unshrink.runtime.backends.openvino")
    weights, hr = portable_weights(2), np.random.default_rng(0).random((1, 12, 8, 12), np.float32)

    def run() -> np.ndarray:
        return backends.make(weights, "openvino", 1).run([weights.steps["down"][1]], hr)

    first = run()
    (path,) = kept.iterdir()
    good = path.read_bytes()[32:]
    blob = {
        "noise": b"\xff" * 1000,
        "middle": good[:100] + b"\xff\xfe\x80" * 300 + good[1000:],
        "another": _another_network(),
    }[damage]
    path.write_bytes(hashlib.sha256(blob).digest() + blob)  # as whoever knows the format could
    assert np.array_equal(run(), first)
    assert path.read_bytes()[32:] != blob, "what is of use is kept in its place"


def _another_network() -> bytes:
    """A compiled model that is read, and does not take what ours does."""
    openvino = pytest.importorskip("openvino")
    parameter = openvino.opset8.parameter([1, 2], np.float32, name="other")
    model = openvino.Model([openvino.opset8.relu(parameter)], [parameter], "other")
    return openvino.Core().compile_model(model, "CPU").export_model().getvalue()


@pytest.mark.xdist_group("export")  # one worker exports the graphs, once
def test_openvino_starts_from_what_another_compiled(kept, monkeypatch):
    openvino = pytest.importorskip("unshrink.runtime.backends.openvino")
    hr = np.random.default_rng(0).random((1, 12, 8, 12), np.float32)
    weights = portable_weights(2)

    def run(made: Weights, threads: int = 1) -> np.ndarray:
        return backends.make(made, "openvino", threads).run([made.steps["down"][1]], hr)

    first = run(weights)
    monkeypatch.setattr(openvino._core(), "read_model", None)  # what compiling begins with
    assert np.array_equal(run(weights), first)
    other = dataclasses.replace(weights, tensors={name: values + 1 for name, values in weights.tensors.items()})
    assert not np.array_equal(run(other), first), "parameters are not part of it"
    graphs = {**weights.graphs, "down.x2.block.low": portable_weights(4).graphs["down.x4.block.low"]}
    for changed in ((dataclasses.replace(weights, graphs=graphs), 1), (weights, 2)):
        with pytest.raises(TypeError):
            run(*changed)
