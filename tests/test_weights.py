import contextlib
import dataclasses
import hashlib
import json
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors

from networks import config, random_weights
from unshrink import weights as zoo
from unshrink.errors import ModelNotFoundError, UnshrinkError, WeightsError
from unshrink.network.architectures import from_dict, shapes
from unshrink.weights import Entry, Weights, catalogue

LAYERS = [
    f"{way}.x2.{kind}"
    for way, kind in (
        *(("down", "split"), ("down", "block.low")),
        *(("up", "block.detail"), ("up", "block.low"), ("up", "split")),
    )
]
GRAPHS = {**{name: f"a graph, {name}".encode() * 100 for name in LAYERS}, "gradient": b"another"}


@pytest.fixture
def weights():
    return dataclasses.replace(random_weights(2), graphs=GRAPHS)


@pytest.fixture
def installed(weights, tmp_path, monkeypatch):
    """One row, as if shipped."""
    monkeypatch.setattr(catalogue, "_ZOO", tmp_path)
    path = tmp_path / "irn-x2.safetensors"
    zoo.save(path, weights)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = Entry(
        "irn-x2", path.name, digest, path.stat().st_size, weights.identity, "irn", 2, "zero", "Apache-2.0", "card"
    )
    monkeypatch.setattr(catalogue, "ENTRIES", (row,))
    return row


def file_of(path, header, tensors):
    metadata = None if header is None else {"unshrink": header if isinstance(header, str) else json.dumps(header)}
    path.write_bytes(to_safetensors(tensors, metadata))
    return path


def good_header(**changes):
    return {"format": 1, "name": "x", "architecture": "irn", "config": config(2), **changes}


def test_what_is_saved_is_loaded(weights, tmp_path):
    zoo.save(tmp_path / "w.safetensors", weights)
    back = zoo.load(tmp_path / "w.safetensors")
    assert (back.name, back.architecture, back.config) == (weights.name, weights.architecture, weights.config)
    assert (back.graphs, back.about, back.identity) == (GRAPHS, {"licence": "none"}, weights.identity)
    assert (back.scale, back.latent) == (2, "zero")
    assert back.tensors.keys() == weights.tensors.keys()
    assert all(np.array_equal(back.tensors[name], weights.tensors[name]) for name in weights.tensors)


def test_saving_replaces_and_leaves_nothing_else(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    zoo.save(path, weights)
    assert zoo.load(str(path)).name == weights.name
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_an_error(weights, tmp_path):
    with pytest.raises(WeightsError, match="folder does not exist"):
        zoo.save(tmp_path / "none" / "w.safetensors", weights)


@pytest.mark.parametrize("name", ["", "My weights", "x" * 65, "-x"])
def test_weights_of_a_name_that_no_record_holds_are_not_saved(weights, tmp_path, name):
    with pytest.raises(WeightsError, match=r"cannot have the name .*: allowed are up to 64 of a-z, 0-9"):
        zoo.save(tmp_path / "w.safetensors", dataclasses.replace(weights, name=name))
    assert not list(tmp_path.iterdir())


def test_identity_is_pinned_for_ever():
    tensors = {"b": np.arange(3, dtype=np.float16), "a": np.ones((2, 2), np.float16)}
    assert Weights("x", "irn", {"scale": 2, "blocks": (1,)}, tensors).identity == IDENTITY


IDENTITY = "df5fc36e4fc7867c02d773c1a2d237ee968e56491b0f90c1424421129ea2f658"


def test_identity_is_of_what_decides_the_result(weights):
    def changed(**changes):
        return dataclasses.replace(weights, **changes).identity

    assert changed(name="other", graphs={}, about={}) == weights.identity
    assert changed(tensors=dict(reversed(weights.tensors.items()))) == weights.identity
    assert changed(config={**weights.config, "latent": "gaussian"}) != weights.identity
    assert changed(architecture="other") != weights.identity
    wide = {name: tensor.astype(np.float32) for name, tensor in weights.tensors.items()}
    assert changed(tensors=wide) != weights.identity
    name = next(iter(weights.tensors))
    nudged = weights.tensors[name].copy()
    nudged.flat[-1] += np.float16(0.5)
    assert changed(tensors={**weights.tensors, name: nudged}) != weights.identity


def test_installed_weights_by_name_scale_and_identity(installed, weights):
    assert zoo.list_models() == ["irn-x2"]
    assert zoo.load("irn-x2").identity == weights.identity
    assert zoo.for_scale(2) is installed
    assert zoo.find("renamed since", weights.identity[:16]).identity == weights.identity


def test_unknown_weights(installed, tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"'irn-x3': installed are irn-x2.*did you mean irn-x2\?"):
        zoo.load("irn-x3")
    with pytest.raises(ModelNotFoundError, match="no weights file"):
        zoo.load(tmp_path / "absent")
    with pytest.raises(ModelNotFoundError, match="no weights file"):
        zoo.load("absent.safetensors")
    with pytest.raises(ModelNotFoundError, match="scale 5: installed are irn-x2"):
        zoo.for_scale(5)


@pytest.mark.parametrize(
    ("ratio", "scale"),
    [("1.01", 2), (2, 2), ("2.6", 2), ("2.61", 3), (3, 3), ("3.01", 4), (4, 4), (6, 4), ("6.1", 8), (8, 8)],
)
def test_weights_for_a_ratio(ratio, scale):
    assert zoo.for_ratio(Fraction(ratio)).scale == scale


def test_weights_for_lossy_formats_are_for_these_alone():
    assert zoo.for_ratio(Fraction(3, 2)).name == "irn-x2"
    assert zoo.for_ratio(Fraction(3, 2), lossy=True).name == "irn-x2-jpeg"
    assert zoo.for_ratio(Fraction(4), lossy=True).name == "irn-x4-jpeg"
    assert zoo.for_ratio(Fraction(8), lossy=True).name == "irn-x8"  # there are none that are made for it


def test_no_weights_make_a_picture_smaller_than_their_scale():
    with pytest.raises(
        ModelNotFoundError, match=r"8\.5 times smaller: installed weights make it 8 times smaller at most"
    ):
        zoo.for_ratio(Fraction(17, 2))


def test_the_weights_for_a_ratio_are_those_that_were_measured_to_be_best():
    rows = json.loads((Path(__file__).parents[1] / "results" / "ratios.json").read_text())["rows"]
    best = {r["ratio"]: max(o["psnr_y"] for o in rows if o["ratio"] == r["ratio"]) for r in rows}
    for row in rows:
        if zoo.for_ratio(Fraction(str(row["ratio"]))).name == row["model"]:
            assert row["psnr_y"] > best.pop(row["ratio"]) - 0.1
    assert not best


def test_pictures_of_other_weights(installed, weights):
    with pytest.raises(ModelNotFoundError, match=f"but the installed irn-x2 are {weights.identity[:16]}"):
        zoo.find("irn-x2", "0" * 16)
    with pytest.raises(ModelNotFoundError, match=r"'mine'.*but installed are irn-x2"):
        zoo.find("mine", "0" * 16)
    with pytest.raises(ModelNotFoundError):
        zoo.find("irn-x2", "")


def test_an_altered_installed_file(installed):
    installed.path.write_bytes(installed.path.read_bytes()[:-1] + b"\0")
    with pytest.raises(WeightsError, match=f"altered: its sha256 is .*, not {installed.sha256}; reinstall"):
        zoo.load("irn-x2")
    installed.path.unlink()
    with pytest.raises(WeightsError, match="reinstall"):
        zoo.load("irn-x2")


def test_shipped_rows_are_consistent():
    for row in catalogue.ENTRIES:
        weights = zoo.load(row.name)
        assert (weights.name, weights.identity, weights.architecture) == (row.name, row.identity, row.architecture)
        assert (weights.scale, weights.latent) == (row.scale, row.latent)
        assert weights.graphs.keys() == {
            *(graph for steps in weights.steps.values() for step in steps for graph in step.graphs),
            "gradient",
        }
        assert row.path.stat().st_size == row.bytes


@pytest.mark.parametrize(
    "header, message",
    [
        (None, "no unshrink header"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "names no format"),
        (good_header(format="1"), "names no format"),
        (good_header(format=2), "format is 2, this unshrink reads up to 1: install a newer"),
        (good_header(name=3), "no valid 'name'"),
        (good_header(name=""), "the name '', which no small picture could say: allowed are up to 64 of a-z"),
        (good_header(name="My weights"), "the name 'My weights'"),
        (good_header(name="../irn-x2"), "the name '../irn-x2'"),
        (good_header(name="a" * 65), "the name 'aaa"),
        (good_header(name="x\n"), "the name 'x"),
        (good_header(config=[]), "no valid 'config'"),
        (good_header(architecture="gan"), "unknown architecture 'gan': known are irn, pair"),
        (good_header(config={**config(2), "attention": 1}), "'attention', which this unshrink does not know"),
        (good_header(config={"scale": 2}), "missing: layers.2.f.convs.0.weight"),
        (good_header(config={**config(2), "scale": 5}), "its config is impossible: model.scale is 5"),
        (good_header(config={**config(2), "scale": [2]}), "model.scale is"),
        (good_header(config={**config(2), "blocks": [10**9]}), "model.blocks is"),
        (good_header(config={**config(2), "blocks": {"a": 1}}), "model.blocks is"),
        (good_header(config={**config(2), "blocks": [1, 1]}), "scale 2 takes 1 numbers of blocks"),
        (good_header(config={**config(2), "growth": 0}), "model.growth is 0"),
        (good_header(config={**config(2), "clamp": float("nan")}), "model.clamp is nan"),
        (good_header(config={**config(2), "latent": ["zero"]}), "model.latent is"),
        (
            good_header(config={**config(2), "growth": 9}),
            "do not fit its config; wrong shape: layers.1.f.convs.0.weight is",
        ),
        (good_header(config={**config(2), "blocks": [2]}), "missing: layers.2.f.convs.0.weight.* and 27 more"),
        (good_header(config={**config(2), "blocks": [0]}), "unexpected: layers.1"),
    ],
)
def test_a_bad_header(tmp_path, header, message):
    with pytest.raises(WeightsError, match=message):
        zoo.load(file_of(tmp_path / "w.safetensors", header, random_weights(2).tensors))


def test_bad_tensors(tmp_path):
    tensors, path = random_weights(2).tensors, tmp_path / "w.safetensors"
    name = next(iter(tensors))

    def refused(message, **changes):
        with pytest.raises(WeightsError, match=message):
            zoo.load(file_of(path, good_header(), {**tensors, **changes}))

    refused("tensors are float16, float32", **{name: tensors[name].astype(np.float32)})
    refused("tensors are float16, int16", **{name: tensors[name].astype(np.int16)})
    refused(f"not finite in {name}", **{name: tensors[name] * np.float16(np.inf)})
    refused("lacks some of its graphs: down.x2.block.low", **{"graph.up.x2.split": np.zeros(3, np.uint8)})
    junk = {f"graph.{name}": np.zeros(9, np.uint8) for name in LAYERS}
    refused("graph.down.x2.block.low is damaged", **junk)
    short = np.frombuffer(zlib.compress(b"graph")[:-4], np.uint8)
    refused("graph.down.x2.block.low is cut short", **dict.fromkeys(junk, short))
    bomb = np.frombuffer(zlib.compress(bytes(17 << 20)), np.uint8)
    refused("larger than 16 MiB", **dict.fromkeys(junk, bomb))


def test_graphs_of_whole_networks_count_as_none(tmp_path):
    """Files of unshrink before it ran layer by layer."""
    old = {f"graph.{name}": np.zeros(9, np.uint8) for name in ("down", "up", "gradient")}
    path = file_of(tmp_path / "w.safetensors", good_header(), {**random_weights(2).tensors, **old})
    assert zoo.load(path).graphs == {}


def test_files_that_are_not_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    for content in (b"", b"\x80\x02payload", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not a readable safetensors file"):
            zoo.load(path)
    with pytest.raises(WeightsError, match="not a readable"):
        zoo.load(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans(), head=st.booleans())
def test_a_damaged_file_is_refused_or_loads(tmp_path, position, value, cut, head):
    path = tmp_path / "w.safetensors"
    zoo.save(path, dataclasses.replace(random_weights(2), graphs=GRAPHS))
    data = bytearray(path.read_bytes())
    place = int(position * (min(len(data), 8000) if head else len(data)))
    data[place] = value
    path.write_bytes(data[:place] if cut else data)
    with contextlib.suppress(UnshrinkError):
        assert isinstance(zoo.load(path), Weights)


@pytest.mark.parametrize("scale, blocks", [(2, [2]), (3, [1]), (4, [1, 2]), (8, [0, 1, 1])])
def test_expected_shapes_are_those_of_the_network(scale, blocks):
    from unshrink.network.network import build

    shape = {"scale": scale, "blocks": blocks, "growth": 4, "clamp": 1.0, "latent": "zero"}
    state = build("irn", shape).state_dict()
    assert list(shapes(from_dict("irn", shape)).items()) == [
        (name, tuple(value.shape)) for name, value in state.items()
    ]


def test_importing_brings_no_runtime():
    code = (
        "import sys, unshrink.weights, unshrink.runtime.backends, unshrink.runtime.backends.onnx_model;"
        "assert not {'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
