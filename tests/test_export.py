import importlib
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from networks import portable_weights
from unshrink.errors import MissingDependencyError
from unshrink.runtime.backends.onnx_model import encode_initializers, gradient_model, layer_model, open_model

pytestmark = pytest.mark.xdist_group("export")  # one worker exports the graphs, once


def check(model: onnx.ModelProto, inputs: list[str], output: str, tensors: dict[str, np.ndarray]) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == inputs
    assert [value.name for value in model.graph.output] == [output]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, tensor in tensors.items():
        assert values[name].dtype == np.float32
        assert np.array_equal(values[name], tensor.astype(np.float32))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_graph_and_the_parameters_make_a_model(scale):
    weights = portable_weights(scale)
    check(onnx.load_from_string(gradient_model(weights)), ["lr", "z", "hr", "metric"], "gradient", weights.tensors)
    for step in (step for steps in weights.steps.values() for step in steps):
        prefix = f"{step.path}."
        own = {name.removeprefix(prefix): value for name, value in weights.tensors.items() if name.startswith(prefix)}
        for part, inputs in step.parts.items():
            check(onnx.load_from_string(layer_model(weights, step, part)), list(inputs), "y", own)
            check(onnx.load_from_string(open_model(weights, step, part)), [*inputs, *own], "y", {})


@pytest.mark.parametrize("scale", [2, 4])
def test_a_graph_names_every_parameter_that_it_needs_and_holds_none(scale):
    weights = portable_weights(scale)
    assert weights.graphs.keys() == {
        graph for steps in weights.steps.values() for step in steps for graph in step.graphs
    } | {"gradient"}
    block = {name.split(".", 2)[2] for name in weights.tensors}
    for name, graph in weights.graphs.items():
        model = onnx.load_from_string(graph)
        assert len(graph) < 50_000
        assert all(np.prod(tensor.dims) < 10 for tensor in model.graph.initializer)
        assert not model.metadata_props
        used = {parameter for node in model.graph.node for parameter in node.input}
        if name == "gradient":
            assert used >= weights.tensors.keys()
        else:
            needed = {"low": ("f.",), "detail": ("g.", "h."), "split": ()}[name.rpartition(".")[2]]
            assert block & used == {parameter for parameter in block if parameter.startswith(needed)}


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


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "unshrink.weights.export")
    with pytest.raises(
        MissingDependencyError,
        match=r'pip install "unshrink\[export\]", or in a clone of it pip install "\.\[export\]"',
    ):
        importlib.import_module("unshrink.weights.export")
