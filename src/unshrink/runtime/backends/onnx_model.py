"""Gives an ONNX graph its parameters back, without the onnx package.

Protocol buffers merge: a message followed by a second one is the message with the fields of both.  So a stored graph
followed by a model that holds nothing but initializers is the whole model.

Reference: protobuf.dev, Encoding, "Last One Wins"; onnx.proto3 for the numbers of the fields.
"""

from collections.abc import Mapping

import numpy as np

from unshrink.errors import WeightsError
from unshrink.network.layers import Step
from unshrink.network.subnets import Shape
from unshrink.weights import Weights

_MODEL_GRAPH, _GRAPH_INITIALIZER, _GRAPH_INPUT = 7, 5, 11
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TYPE_ELEMENT, _TYPE_SHAPE, _SHAPE_DIM, _DIM_VALUE = 1, 2, 1, 1, 2, 1, 1
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_FLOAT = 1  # TensorProto.DataType


def layer_model(weights: Weights, step: Step, part: str) -> bytes:
    """The ONNX model of a part of one layer; parameters in float32."""
    return _graph(weights, step.graph(part)) + encode_initializers(step.parameters(weights.tensors))


def open_model(weights: Weights, step: Step, part: str) -> bytes:
    """The ONNX model of all layers of one graph: their parameters are inputs, by their names in the layer."""
    shapes = {name: tensor.shape for name, tensor in step.parameters(weights.tensors).items()}
    return _graph(weights, step.graph(part)) + encode_inputs(shapes)


def gradient_model(weights: Weights) -> bytes:
    """The ONNX model of the gradient of the whole network.

    Raises:
        WeightsError: the weights do not carry that graph.
    """
    parameters = {
        f"{step.path}.{name}": tensor
        for step in weights.steps["up"]
        for name, tensor in step.parameters(weights.tensors).items()
    }
    return _graph(weights, "gradient") + encode_initializers(parameters)


def _graph(weights: Weights, name: str) -> bytes:
    if name not in weights.graphs:
        raise WeightsError(
            f"weights {weights.name} carry no ONNX graph {name!r}: "
            "add it to their file with `unshrink export FILE`, or use backend torch"
        )
    return weights.graphs[name]


def encode_initializers(tensors: Mapping[str, np.ndarray]) -> bytes:
    """An ONNX ModelProto that holds nothing but these arrays as float32 initializers."""
    return _field(_MODEL_GRAPH, b"".join(_field(_GRAPH_INITIALIZER, _tensor(*item)) for item in tensors.items()))


def encode_inputs(shapes: Mapping[str, Shape]) -> bytes:
    """An ONNX ModelProto that holds nothing but inputs of these names and shapes, float32."""
    return _field(_MODEL_GRAPH, b"".join(_field(_GRAPH_INPUT, _value(*item)) for item in shapes.items()))


def _value(name: str, shape: Shape) -> bytes:
    dims = b"".join(_field(_SHAPE_DIM, _number(_DIM_VALUE, size)) for size in shape)
    tensor = _number(_TYPE_ELEMENT, _FLOAT) + _field(_TYPE_SHAPE, dims)
    return _field(_VALUE_NAME, name.encode()) + _field(_VALUE_TYPE, _field(_TYPE_TENSOR, tensor))


def _tensor(name: str, values: np.ndarray) -> bytes:
    return b"".join(
        (
            *(_number(_TENSOR_DIMS, size) for size in values.shape),
            _number(_TENSOR_DATA_TYPE, _FLOAT),
            _field(_TENSOR_NAME, name.encode()),
            _field(_TENSOR_RAW_DATA, values.astype("<f4").tobytes()),
        )
    )


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)
