"""Adds to weights the ONNX graphs with which they run without torch."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

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
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from unshrink.network import fast as fused
from unshrink.network.architectures import COLOURS, Layer, layers
from unshrink.network.build import build
from unshrink.network.irn import IRN
from unshrink.weights import Weights


def export(weights: Weights) -> Weights:
    """The same weights with their graphs, which know parameters by their names but hold none of them.

    Takes a few minutes for a published network, most of them for the graph of the gradient.

    Raises:
        WeightsError: ONNX has no operation for a part of the network (the matrix inverse of scale 3).
    """
    net = build(weights.architecture, weights.config).eval().requires_grad_(False)
    graphs: dict[str, bytes] = {}
    for layer, module in zip(layers(weights.architecture, weights.config), net.layers, strict=True):
        for direction, run in (("down", fused.low if layer.last else fused.down), ("up", fused.up)):
            if layer.graph(direction) not in graphs:
                graphs[layer.graph(direction)] = _layer(layer, module, direction, run)
    return dataclasses.replace(weights, graphs={**graphs, "gradient": _gradient(net, weights.scale)})


def _layer(layer: Layer, module: nn.Module, direction: str, run: Callable[..., Tensor]) -> bytes:
    """The graph of a layer, whose parameters go by their names in it."""
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    shape, sides = (1, layer.channels, 8, 12), {2: h, 3: w}
    if direction == "down":
        factor = layer.factor
        shape = 1, layer.channels // factor**2, 8 * factor, 12 * factor
        sides = {2: factor * h, 3: factor * w}
    parameters = {f"net.{name}": value for name, value in module.state_dict().items()}
    return _trace(_of(module, run), parameters, {"x": torch.rand(shape)}, (sides,), "y")


def _gradient(net: IRN, scale: int) -> bytes:
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    small = 8, 12
    hr = torch.rand(1, COLOURS, scale * small[0], scale * small[1])
    lr, z = torch.rand(1, COLOURS, *small), torch.rand(1, COLOURS * (scale**2 - 1), *small)
    free, large = {2: h, 3: w}, {2: scale * h, 3: scale * w}
    parameters = {f"net.{name}": value for name, value in net.state_dict().items()}
    inputs = parameters, lr, z, hr
    # ONNX knows no gradients: differentiated here, its steps are written out one by one.
    gradient = make_fx(_of(net, IRN.gradient), decomposition_table=_PLAIN, tracing_mode="symbolic")(*inputs)
    return _trace(gradient, parameters, {"lr": lr, "z": z, "hr": hr}, (free, free, large), "gradient")


Traceable = Callable[..., Tensor]  # (parameters by name, *inputs) -> result


class _Call(nn.Module):
    def __init__(self, net: nn.Module, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net, self.run = net, run

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.run(self.net, *inputs)


def _of(net: nn.Module, run: Callable[..., Tensor]) -> Traceable:
    """A function of the parameters, too."""
    return lambda parameters, *inputs: cast(Tensor, functional_call(_Call(net, run), parameters, inputs))


class _Traced(nn.Module):
    def __init__(self, function: Traceable) -> None:
        super().__init__()
        self.function = function

    def forward(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        return self.function(parameters, *inputs)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, None, None]:
    """Of the 3x3 convolutions of `DenseBlock` by their input alone; it reads the parameters as they are stored."""
    return nn.functional.conv_transpose2d(grad, weight, padding=1), None, None


def _leaky_relu_backward(grad: Tensor, x: Tensor, slope: float, is_result: bool) -> Tensor:
    return torch.where(x > 0, grad, grad * slope)


_PLAIN: dict[Any, Callable[..., Any]] = {  # what ONNX lacks, said in what it has
    torch.ops.aten.convolution_backward.default: _convolution_backward,
    torch.ops.aten.leaky_relu_backward.default: _leaky_relu_backward,
}


def _trace(
    function: Traceable,
    parameters: dict[str, Tensor],
    inputs: dict[str, Tensor],
    shapes: tuple[dict[int, Any], ...],
    output: str,
) -> bytes:
    names = [name.removeprefix("net.") for name in parameters]
    try:
        with _quiet():
            program = torch.onnx.export(
                _Traced(function).eval(),
                (parameters, *inputs.values()),
                input_names=[*names, *inputs],
                output_names=[output],
                dynamic_shapes=(dict.fromkeys(parameters), shapes),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as exc:
        raise WeightsError("a part of this network cannot be said in ONNX: it runs on backend torch alone") from exc
    assert program is not None
    return _without_parameters(program.model_proto, set(names))


def _without_parameters(model: onnx.ModelProto, parameters: set[str]) -> bytes:
    """The bare graph: no parameters, though it names them, and none of the exporter's notes.

    They were inputs, since the exporter folds, merges and computes with values that it knows.
    """
    graph = model.graph
    for message in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        message.ClearField("doc_string")
        message.ClearField("metadata_props")
    for node in graph.node:
        node.name = ""
    inputs = [value for value in graph.input if value.name not in parameters]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
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
