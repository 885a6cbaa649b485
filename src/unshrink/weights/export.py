"""Adds to weights the ONNX graphs with which they run without torch."""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

from unshrink.errors import WeightsError, not_installed

try:
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it and says so only after a minute of work
    import torch
except ImportError as exc:
    raise not_installed(f"export needs torch, onnx and onnxscript ({exc})", "export") from exc

from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from unshrink.network import fast
from unshrink.network.layers import COLOURS, Step
from unshrink.network.network import Network, build
from unshrink.weights import Weights


def export(weights: Weights) -> Weights:
    """The same weights with their graphs, which know parameters by their names but hold none of them.

    Takes a few minutes for a published network, most of them for the graph of the gradient.

    Raises:
        WeightsError: ONNX has no operation for a part of the network.
    """
    net = build(weights.architecture, weights.config).fix()
    graphs: dict[str, bytes] = {}
    for step in (*net.encoder_steps, *net.decoder_steps):
        for part in step.parts:
            if step.graph(part) not in graphs:
                graphs[step.graph(part)] = _layer(step, part, net.module(step))
    return dataclasses.replace(weights, graphs={**graphs, "gradient": _gradient(net, weights.scale)})


def _layer(step: Step, part: str, module: nn.Module) -> bytes:
    """The graph of a part of a layer, whose parameters go by their names in it."""
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    size, sides = (8 * step.shrinks, 12 * step.shrinks), {2: h, 3: w}
    if step.shrinks > 1:
        sides = {2: step.shrinks * h, 3: step.shrinks * w}
    inputs = {name: torch.rand(1, channels, *size) for name, channels in step.parts[part].items()}
    parameters = {f"net.{name}": value for name, value in module.state_dict().items()}
    return _trace(_of(module, fast.part(step, part)), parameters, inputs, (sides,) * len(inputs), "y")


def _gradient(net: Network, scale: int) -> bytes:
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    small = _unlike_any(net, scale)
    free, large = {2: h, 3: w}, {2: scale * h, 3: scale * w}
    inputs = {"lr": (torch.rand(1, COLOURS, *small), free)}
    if net.z_channels:
        inputs["z"] = torch.rand(1, net.z_channels, *small), free
    inputs["hr"] = torch.rand(1, COLOURS, scale * small[0], scale * small[1]), large
    inputs["metric"] = torch.eye(COLOURS), {}
    tensors, shapes = zip(*inputs.values(), strict=True)
    parameters = {f"net.{name}": value for name, value in net.state_dict().items()}
    # ONNX knows no gradients: differentiated here, its steps are written out one by one.
    run = Network.gradient if net.z_channels else _gradient_without_z
    gradient = make_fx(_of(net, run), decomposition_table=_PLAIN, tracing_mode="symbolic")(parameters, *tensors)
    return _trace(gradient, parameters, dict(zip(inputs, tensors, strict=True)), shapes, "gradient")


def _unlike_any(net: Network, scale: int) -> tuple[int, int]:
    """Sides of a small picture that stand out: the tracer takes sizes that are equal for ones that always are."""
    taken = {side for value in net.state_dict().values() for side in value.shape}
    first, second, *_ = (side for side in range(7, 200) if side % 2 and not {side, side * scale} & taken)
    return first, second


def _gradient_without_z(net: Network, lr: Tensor, hr: Tensor, metric: Tensor) -> Tensor:
    return net.gradient(lr, lr[:, :0], hr, metric)


Traceable = Callable[..., Tensor]  # (parameters by name, *inputs) -> result


class _Call(nn.Module):
    def __init__(self, net: nn.Module, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net, self.run = net, run

    def forward(self, *inputs: Tensor) -> Tensor:
        """What ``run`` gives for the network."""
        return self.run(self.net, *inputs)


def _of(net: nn.Module, run: Callable[..., Tensor]) -> Traceable:
    """A function of the parameters, too."""
    return lambda parameters, *inputs: cast(Tensor, functional_call(_Call(net, run), parameters, inputs))


class _Traced(nn.Module):
    def __init__(self, function: Traceable) -> None:
        super().__init__()
        self.function = function

    def forward(self, parameters: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(parameters, *inputs)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *how: Any) -> tuple[Tensor, None, None]:
    """By the input alone, of convolutions of stride 1 that keep the size: one by the kernel turned round.

    Not a transposed one: of 3x3 kernels with as many channels in as out, OpenVINO 2026.4 computes it wrongly.
    """
    _, _, padding, _, _, _, groups, _ = how
    turned = weight.flip(2, 3).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return nn.functional.conv2d(grad, turned, padding=padding, groups=groups), None, None


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
