import importlib
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from networks import LAYOUTS, graphs, portable_weights, random_weights
from unshrink.architectures import expected_shapes
from unshrink.backends.onnx_model import encode_initializers, whole_model
from unshrink.errors import MissingDependencyError, WeightsError
from unshrink.export import export
from unshrink.weights import Weights

pytestmark = pytest.mark.xdist_group("export")  # one worker exports the graphs, once


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "direction, inputs, output",
    [("down", ["hr"], "lr"), ("up", ["lr", "z"], "hr"), ("gradient", ["lr", "z", "hr"], "gradient")],
)
def test_a_graph_and_the_parameters_make_a_model(scale, direction, inputs, output):
    weights = portable_weights(scale)
    model = onnx.load_from_string(whole_model(weights, direction))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == inputs
    assert [value.name for value in model.graph.output] == [output]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, tensor in weights.tensors.items():
        assert values[name].dtype == np.float32
        assert np.array_equal(values[name], tensor.astype(np.float32))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_graph_names_every_parameter_that_it_needs_and_holds_none(scale):
    names = set(random_weights(scale).tensors)
    last = f"layers.{len(LAYOUTS[scale]) + sum(LAYOUTS[scale]) - 1}"
    unseen = {name for name in names if name.startswith((f"{last}.g.", f"{last}.h."))}  # only z depends on them
    for direction, graph in graphs(scale).items():
        model = onnx.load_from_string(graph)
        assert len(graph) < 50_000
        assert all(np.prod(tensor.dims) < 10 for tensor in model.graph.initializer)
        assert not model.metadata_props
        used = {name for node in model.graph.node for name in node.input}
        assert names & used == (names - unseen if direction == "down" else names)


def test_initializers_of_every_shape():
    tensors = {
        "scalar": np.array(1.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "a.long.name" * 20: np.arange(300, dtype=np.float16).reshape(3, 100)[:, ::2],
        "wide": np.ones(20_000, np.float16),
    }
    model = onnx.load_from_string(encode_initializers(tensors))
    assert [tensor.name for tensor in model.graph.initializer] == list(tensors)
    for tensor in model.graph.initializer:
        assert np.array_equal(numpy_helper.to_array(tensor), tensors[tensor.name].astype(np.float32))


def test_what_onnx_cannot_say_is_an_error():
    config = {"scale": 3, "blocks": [0], "growth": 4, "clamp": 1.0, "latent": "zero"}
    tensors = {name: np.ones(shape, np.float16) for name, shape in expected_shapes("irn", config).items()}
    with pytest.raises(WeightsError, match="runs on backend torch alone"):
        export(Weights("x3", "irn", config, tensors))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "unshrink.export")
    with pytest.raises(MissingDependencyError, match=r"pip install 'unshrink\[export\]'"):
        importlib.import_module("unshrink.export")
