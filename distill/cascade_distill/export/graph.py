"""A thin builder over onnx.helper: nodes and weights by name, no exporter's leftovers.

Graphs are written by hand because their node count is what a single row pays for: ONNX Runtime
spends more on dispatching a small node than on its arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9

# Elements from which an array's size in the file matters.
LARGE = 1024

FLOAT, INT32, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)


class Graph:
    """Collects nodes and initialisers; every method returns the name of what it made."""

    def __init__(self, name: str, parent: Graph | None = None) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        # Weights live in the outermost graph, so that ONNX Runtime prepacks them once.
        self.weights: dict[str, onnx.TensorProto] = {} if parent is None else parent.weights
        self._casts: list[onnx.NodeProto] = [] if parent is None else parent._casts
        self._names: list[int] = [0] if parent is None else parent._names

    def fresh(self, hint: str) -> str:
        self._names[0] += 1
        return f"{hint}_{self._names[0]}"

    def weight(self, hint: str, value: NDArray[Any]) -> str:
        """An initialiser; a large one whose values are all half-precision numbers is stored so.

        The cast back to float32 is folded away when a session is made, so that the file is half
        as large and the arithmetic the same.
        """
        name = self.fresh(hint)
        value = np.asarray(value, order="C")
        large = value.dtype == np.float32 and value.size >= LARGE
        with np.errstate(over="ignore"):
            half = value.astype(np.float16) if large else value
        if large and bool((half == value).all()):
            self.weights[name + "_half"] = numpy_helper.from_array(half, name + "_half")
            self._casts.append(helper.make_node("Cast", [name + "_half"], [name], to=FLOAT))
        else:
            self.weights[name] = numpy_helper.from_array(value, name)
        return name

    def axes(self, *axes: int) -> str:
        name = "axes_" + "_".join(str(a) for a in axes)
        self.weights.setdefault(name, numpy_helper.from_array(np.array(axes, np.int64), name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=[out or self.fresh(kind)], **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: Sequence[str] | int, **attributes: Any
    ) -> list[str]:
        names = (
            [self.fresh(kind) for _ in range(outputs)]
            if isinstance(outputs, int)
            else list(outputs)
        )
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [value]
        lengths = self.weight("sizes", np.array(sizes, np.int64))
        return self.ops("Split", value, lengths, outputs=len(sizes), axis=axis)

    def branch(self, outputs: Sequence[tuple[str, int]]) -> onnx.GraphProto:
        """This graph as a branch of an If: no inputs, the given (name, element type) outputs."""
        infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        return helper.make_graph(self.nodes, self.name, [], infos)

    def model(
        self,
        inputs: Sequence[tuple[str, int, int]],
        outputs: Sequence[tuple[str, int, int]],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """The finished, checked model; inputs and outputs are (name, element type, width).

        Args:
            inputs: of the graph.
            outputs: of the graph.
            metadata: what the model says of itself beside it.
        """

        def infos(specs: Sequence[tuple[str, int, int]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, kind, ["n", w]) for n, kind, w in specs]

        graph = helper.make_graph(
            self._casts + self.nodes,
            self.name,
            infos(inputs),
            infos(outputs),
            list(self.weights.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="cascade",
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
