"""Gives an ONNX graph its parameters back, without the onnx package.

Protocol buffers merge: a message followed by a second one is the message with the fields of both.  So a stored graph
followed by a model that holds nothing but initializers is the whole model.

Reference: protobuf.dev, Encoding, "Last One Wins"; onnx.proto3 for the numbers of the fields.
"""

from collections.abc import Mapping

import numpy as np

from unshrink.errors import WeightsError
from unshrink.weights import Weights

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DIMS, _TENSOR_DATA_TYPE, _TENSOR_NAME, _TENSOR_RAW_DATA = 1, 2, 8, 9
_FLOAT = 1  # TensorProto.DataType


def whole_model(weights: Weights, name: str) -> bytes:
    """The ONNX model of one graph, "down", "up" or "gradient"; parameters in float32.

    Raises:
        WeightsError: the weights do not carry that graph.
    """
    if name not in weights.graphs:
        raise WeightsError(
            f"weights {weights.name} carry no ONNX graph {name!r}: "
            "add it to their file with `unshrink export FILE`, or use backend torch"
        )
    return weights.graphs[name] + encode_initializers(weights.tensors)


def encode_initializers(tensors: Mapping[str, np.ndarray]) -> bytes:
    """An ONNX ModelProto that holds nothing but these arrays as float32 initializers."""
    return _field(_MODEL_GRAPH, b"".join(_field(_GRAPH_INITIALIZER, _tensor(*item)) for item in tensors.items()))


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
