"""A thin builder over onnx.helper: nodes and weights by name, without an exporter's extra nodes.

Graphs are written by hand because a single row pays for each node: ONNX Runtime spends more time on
dispatching a small node than on its arithmetic.

Work that a runtime does once, when a session is created, costs a row nothing. So the file stores
compact inputs: nodes that depend only on weights widen half-precision values and compute tables
from smaller data (`Graph.folded`).
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

# Elements from which an array is large enough that its size in the file matters.
LARGE = 256
# An array in which at most one in this many elements is nonzero is stored as its nonzero elements
# and their positions.
SPARSE = 16
# Elements per block in `Graph.blocks`; tables indexed by token pairs have a multiple of it per row.
BLOCK = 8

FLOAT, FLOAT16, DOUBLE, INT32, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
)


class Graph:
    """Collector of nodes and initialisers; every method returns the name of what it made."""

    def __init__(self, name: str, parent: Graph | None = None) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        # Weights live in the outermost graph, so that ONNX Runtime prepacks them once.
        self.weights: dict[str, onnx.TensorProto] = {} if parent is None else parent.weights
        # Nodes that depend only on weights, placed before all other nodes.
        self._folded: list[onnx.NodeProto] = [] if parent is None else parent._folded
        self._names: list[int] = [0] if parent is None else parent._names

    def fresh(self, hint: str) -> str:
        self._names[0] += 1
        return f"{hint}_{self._names[0]}"

    def weight(self, hint: str, value: NDArray[Any]) -> str:
        """Add an initialiser; a large one is stored in a compact form.

        An array that is nearly all zeros is stored as its nonzero elements, NAME_values, their
        positions, NAME_at, and its shape, NAME_shape. Values that are all representable in half
        precision are stored as NAME_half, and 8-byte integers that fit fewer bytes as NAME_short.
        The arithmetic is the same.
        """
        name = self.fresh(hint)
        value = np.asarray(value, order="C")
        if value.dtype == np.int64 and value.size >= LARGE:
            for kind in (np.int16, np.int32):
                short = value.astype(kind)
                if (short == value).all():
                    stored = self._stored(f"{name}_short", short)
                    return self.folded("Cast", stored, to=INT64, out=name)
        large = value.dtype == np.float32 and value.size >= LARGE
        if large and np.count_nonzero(value) * SPARSE <= value.size:
            # At least one: few readers accept a tensor without elements.
            nonzero = np.argwhere(value) if value.any() else np.zeros((1, value.ndim), np.int64)
            shape = self._stored(f"{name}_shape", np.array(value.shape, np.int64))
            parts = (
                self._stored(f"{name}_at", nonzero.astype(np.int64)),
                self._stored(f"{name}_values", value[tuple(nonzero.T)]),
            )
            return self.folded("ScatterND", self.folded("ConstantOfShape", shape), *parts, out=name)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16) if large else value
        if large and bool((half == value).all()):
            return self.folded("Cast", self._stored(f"{name}_half", half), to=FLOAT, out=name)
        return self._stored(name, value)

    def blocks(self, hint: str, value: NDArray[Any]) -> str:
        """Add a table [m] in which blocks of `BLOCK` elements repeat.

        The file holds each distinct block once, NAME_blocks, and the index of each block,
        NAME_which. The result may have some more elements than m, which are meaningless.
        """
        name = self.fresh(hint)
        rows = np.pad(value, (0, -len(value) % BLOCK)).reshape(-1, BLOCK)
        # Compared by bytes, since NaN equals nothing.
        _, first, which = np.unique(
            rows.view(np.dtype((np.void, rows.strides[0]))), return_index=True, return_inverse=True
        )
        small = np.int16 if len(first) < 2**15 else np.int32
        stored = self._stored(f"{name}_which", which.reshape(-1).astype(small))
        index = self.folded("Cast", stored, to=INT32)
        table = self.folded("Gather", self._stored(f"{name}_blocks", rows[first]), index, axis=0)
        whole = self.weight("shape", np.array([-1], np.int64))
        return self.folded("Reshape", table, whole, out=name)

    def _stored(self, name: str, value: NDArray[Any]) -> str:
        self.weights[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def folded(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node that depends only on weights; it is computed once per session."""
        name = out or self.fresh(kind)
        self._folded.append(helper.make_node(kind, list(inputs), [name], **attributes))
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
        """Return this graph as a branch of an If: no inputs, the given (name, element type)
        outputs.
        """
        infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        return helper.make_graph(self.nodes, self.name, [], infos)

    def model(
        self,
        inputs: Sequence[tuple[str, int, int]],
        outputs: Sequence[tuple[str, int, int]],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the finished, checked model; inputs and outputs are (name, element type, width).

        Args:
            inputs: of the graph.
            outputs: of the graph.
            metadata: of the model.
        """

        def infos(specs: Sequence[tuple[str, int, int]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, kind, ["n", w]) for n, kind, w in specs]

        graph = helper.make_graph(
            self._folded + self.nodes,
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
