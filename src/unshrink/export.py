"""Adds to weights the two ONNX graphs with which they run without torch."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from unshrink.errors import MissingDependencyError, WeightsError

try:
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it and says so only after a minute of work
    import torch
except ImportError as exc:
    raise MissingDependencyError(
        f"export needs torch, onnx and onnxscript: pip install 'unshrink[export]' ({exc})"
    ) from exc

from torch import Tensor, nn

from unshrink.architectures import COLOURS
from unshrink.models import IRN, build
from unshrink.weights import Weights


def export(weights: Weights) -> Weights:
    """The same weights with their graphs, which know every parameter by its name but hold none of them.

    Takes about a minute for a published network.

    Raises:
        WeightsError: ONNX has no operation for a part of the network (the matrix inverse of scale 3).
    """
    net = build(weights.architecture, weights.config)
    for index, parameter in enumerate(net.parameters()):
        # The exporter merges equal tensors.  Different values keep it from that: the graph must fit any parameters.
        nn.init.constant_(parameter, 1 / (index + 2))
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    scale, small = weights.scale, (8, 12)
    hr = torch.rand(1, COLOURS, scale * small[0], scale * small[1])
    lr, z = torch.rand(1, COLOURS, *small), torch.rand(1, COLOURS * (scale**2 - 1), *small)
    free = {2: h, 3: w}
    graphs = {
        "down": _trace(_Down(net), {"hr": hr}, ({2: scale * h, 3: scale * w},), "lr"),
        "up": _trace(_Up(net), {"lr": lr, "z": z}, (free, free), "hr"),
    }
    return dataclasses.replace(weights, graphs=graphs)


class _Down(nn.Module):
    def __init__(self, net: IRN) -> None:
        super().__init__()
        self.net = net.eval()

    def forward(self, hr: Tensor) -> Tensor:
        return self.net(hr)[0]


class _Up(nn.Module):
    def __init__(self, net: IRN) -> None:
        super().__init__()
        self.net = net.eval()

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:
        return self.net.inverse(lr, z)


def _trace(module: nn.Module, inputs: dict[str, Tensor], shapes: tuple[dict[int, Any], ...], output: str) -> bytes:
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as exc:
        raise WeightsError("a part of this network cannot be said in ONNX: it runs on backend torch alone") from exc
    assert program is not None
    return _without_parameters(program.model_proto)


def _without_parameters(model: onnx.ModelProto) -> bytes:
    """The bare graph: no parameters, none of the exporter's notes, names as in the network's state dict."""
    graph, prefix = model.graph, "net."
    constants = [tensor for tensor in graph.initializer if not tensor.name.startswith(prefix)]
    for message in (model, graph, *graph.node, *graph.input, *graph.output, *constants):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for node in graph.node:
        node.name = ""
        node.input[:] = [name.removeprefix(prefix) for name in node.input]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(constants)
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks about packages and dimensions that do not concern us."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
