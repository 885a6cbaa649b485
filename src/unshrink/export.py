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

from unshrink.architectures import COLOURS
from unshrink.models import IRN, build
from unshrink.weights import Weights


def export(weights: Weights) -> Weights:
    """The same weights with their graphs, which know every parameter by its name but hold none of them.

    Takes a few minutes for a published network, most of them for the graph of the gradient.

    Raises:
        WeightsError: ONNX has no operation for a part of the network (the matrix inverse of scale 3).
    """
    net = build(weights.architecture, weights.config)
    for index, parameter in enumerate(net.parameters()):
        # The exporter merges equal tensors.  Different values keep it from that: the graph must fit any parameters.
        nn.init.constant_(parameter, 1 / (index + 2)).requires_grad_(False)
    h, w = torch.export.Dim("h"), torch.export.Dim("w")
    scale, small = weights.scale, (8, 12)
    hr = torch.rand(1, COLOURS, scale * small[0], scale * small[1])
    lr, z = torch.rand(1, COLOURS, *small), torch.rand(1, COLOURS * (scale**2 - 1), *small)
    free = {2: h, 3: w}
    graphs = {
        "down": _trace(_Down(net), {"hr": hr}, ({2: scale * h, 3: scale * w},), "lr"),
        "up": _trace(_Up(net), {"lr": lr, "z": z}, (free, free), "hr"),
    }
    inputs = {"lr": lr, "z": z, "hr": hr}
    shapes = (free, free, {2: scale * h, 3: scale * w})
    graphs["gradient"] = _trace(_Gradient(net, inputs), inputs, shapes, "gradient")
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


class _Gradient(nn.Module):
    """`IRN.gradient`, differentiated here: ONNX knows no gradients, so its steps are written out one by one."""

    def __init__(self, net: IRN, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.net = net.eval()

        def gradient(parameters: dict[str, Tensor], lr: Tensor, z: Tensor, hr: Tensor) -> Tensor:
            return cast(Tensor, functional_call(_GradientOf(net), parameters, (lr, z, hr)))

        written_out = make_fx(gradient, decomposition_table=_PLAIN, tracing_mode="symbolic")
        self.steps = written_out(dict(self.named_parameters()), *inputs.values())

    def forward(self, lr: Tensor, z: Tensor, hr: Tensor) -> Tensor:
        parameters = {name: value for name, value in self.named_parameters() if name.startswith("net.")}
        return cast(Tensor, self.steps(parameters, lr, z, hr))


class _GradientOf(nn.Module):
    def __init__(self, net: IRN) -> None:
        super().__init__()
        self.net = net

    def forward(self, lr: Tensor, z: Tensor, hr: Tensor) -> Tensor:
        return self.net.gradient(lr, z, hr)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, None, None]:
    """Of the 3x3 convolutions of `DenseBlock` by their input alone; it reads the parameters as they are stored."""
    return nn.functional.conv_transpose2d(grad, weight, padding=1), None, None


def _leaky_relu_backward(grad: Tensor, x: Tensor, slope: float, is_result: bool) -> Tensor:
    return torch.where(x > 0, grad, grad * slope)


_PLAIN: dict[Any, Callable[..., Any]] = {  # what ONNX lacks, said in what it has
    torch.ops.aten.convolution_backward.default: _convolution_backward,
    torch.ops.aten.leaky_relu_backward.default: _leaky_relu_backward,
}


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
