"""A release's graphs in torch, node by node, to measure torch with the very same arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

KINDS = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
}


class OnnxModule(torch.nn.Module):
    """An ONNX graph without branches; inputs and outputs in the graph's order.

    What depends on weights alone is done once.
    """

    def __init__(self, model: bytes, device: str) -> None:
        super().__init__()
        graph = onnx.load_from_string(model).graph
        self.inputs = [each.name for each in graph.input]
        self.outputs = [each.name for each in graph.output]
        self.known: dict[str, Any] = {
            each.name: torch.from_numpy(numpy_helper.to_array(each).copy()).to(device)
            for each in graph.initializer
        }
        # Sizes and axes are Python's numbers: reading them from the device would wait for it.
        self.numbers = {
            each.name: numpy_helper.to_array(each).tolist()
            for each in graph.initializer
            if each.data_type == onnx.TensorProto.INT64
        }
        self.steps: list[tuple[Callable[..., Any], list[str], list[str], dict[str, Any]]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            call = OPS[node.op_type]
            if node.op_type == "ConstantOfShape":
                call = partial(torch.zeros, device=device)
            step = (call, list(node.input), list(node.output), attributes)
            if all(name in self.known for name in node.input):
                self._run(step, self.known)
            else:
                self.steps.append(step)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The student's outputs for its inputs, as one torch module."""
        known = dict(self.known)
        known.update(zip(self.inputs, values, strict=True))
        for step in self.steps:
            self._run(step, known)
        return tuple(known[name] for name in self.outputs)

    def _run(self, step: Any, known: dict[str, Tensor]) -> None:
        call, inputs, outputs, attributes = step
        made = call(
            *(self.numbers.get(n, known[n]) if at else known[n] for at, n in enumerate(inputs))
            if call in NUMBERED or isinstance(known[inputs[0]], torch.Size)
            else (known[n] for n in inputs),
            **attributes,
        )
        several = isinstance(made, (tuple, list)) and not isinstance(made, torch.Size)
        made = made if several else (made,)
        known.update(zip(outputs, made, strict=True))


def _gemm(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.addmm(c, a, b)


def _concat(*parts: Any, axis: int) -> Any:
    if isinstance(parts[0], torch.Size):
        return torch.Size(size for part in parts for size in part)
    return torch.cat(parts, axis)


def _div(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _unsqueeze(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _scatter(x: Tensor, at: Tensor, values: Tensor, axis: int, reduction: bytes) -> Tensor:
    return x.scatter_reduce(axis, at, values, {b"add": "sum"}[reduction])


def _gather(table: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    if axis == 0 and table.dim() == 2:
        return F.embedding(index, table)
    if axis == 0:
        return table[index.long()]
    return table.index_select(axis, index.long().reshape(-1)).reshape(
        *table.shape[:axis], *index.shape, *table.shape[axis + 1 :]
    )


def _norm(x: Tensor, scale: Tensor, shift: Tensor, axis: int, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[axis:], scale, shift, epsilon)


OPS: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Log": torch.log,
    "Exp": torch.exp,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Less": torch.lt,
    "Equal": torch.eq,
    "Where": torch.where,
    "MatMul": torch.matmul,
    "Gemm": _gemm,
    "Gather": _gather,
    "LayerNormalization": _norm,
    "Cast": lambda x, to: x.to(KINDS[to]),
    "ArgMax": lambda x, axis, keepdims: torch.argmax(x, axis, keepdim=bool(keepdims)),
    "Concat": _concat,
    "Transpose": lambda x, perm: x.permute(perm),
    "Split": lambda x, sizes, axis: torch.split(x, sizes, axis),
    "Reshape": lambda x, shape: x.reshape(shape),
    "ReduceSum": lambda x, axes, keepdims: x.sum(axes, keepdim=bool(keepdims)),
    "And": torch.logical_and,
    "Not": torch.logical_not,
    "GreaterOrEqual": torch.ge,
    "Clip": torch.clamp,
    "Mod": torch.remainder,
    "Div": _div,
    "Shape": lambda x, start, end: x.shape[start:end],
    "ConstantOfShape": torch.zeros,
    "CumSum": lambda x, axis: x.cumsum(axis),
    "ScatterElements": _scatter,
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda x, axes: x.squeeze(tuple(axes)),
    "IsNaN": torch.isnan,
    "GatherElements": lambda x, at, axis: torch.gather(x, axis, at),
}
NUMBERED = {
    OPS[name] for name in ("Split", "Reshape", "ReduceSum", "Unsqueeze", "Squeeze", "CumSum")
}


def check(module: OnnxModule, feed: dict[str, np.ndarray], device: str) -> np.ndarray:
    """The first output for NumPy inputs."""
    with torch.inference_mode():
        out = module(*(torch.from_numpy(feed[name]).to(device) for name in module.inputs))
    drawn: np.ndarray = out[0].cpu().numpy()
    return drawn
