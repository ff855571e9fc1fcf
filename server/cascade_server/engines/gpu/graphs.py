"""Rewrites a release's ONNX graphs for GPUs: no branches, whole passes, other precisions.

Rewritten graphs keep the weights and the noise of the released graph, so equal noise gives equal
tokens up to rounding:

- `folded` computes first what depends on weights alone, as ONNX Runtime does when it creates a
  session. The file stores some weights in fewer bytes, in forms that not every runtime supports.
- `straight` removes the student's Ifs, which a CUDA graph cannot hold, and makes the noise of all
  slots at once. The Ifs skip work that costs a single row on a CPU, but not a GPU.
- `teacher_pass` adds to the denoiser the steps from its draws to the next pass's inputs, so that
  the passes of a row follow each other on the device.
- `with_precision` rounds the operands of the large matrix products. Noise, sums of embeddings,
  normalisation and the choice of a token stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PRECISIONS = ("fp32", "fp16", "bf16")
# A weight matrix with at least this many elements is worth another precision.
LARGE = 1024
# ONNX Runtime cannot join more tensors in a CUDA graph.
MOST_JOINED = 32
HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def folded(model: bytes) -> onnx.ModelProto:
    """Return the graph with everything that depends on weights alone turned into weights."""
    proto = onnx.load_from_string(model)
    known = {each.name for each in proto.graph.initializer}
    once: list[onnx.NodeProto] = []
    rest: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        alone = bool(node.input) and known.issuperset(node.input)
        (once if alone else rest).append(node)
        if alone:
            known.update(node.output)
    made = {name for node in once for name in node.output}
    wanted = sorted(made & _used(rest, {each.name for each in proto.graph.output}))
    if not wanted:
        return proto
    read = _used(once, set(wanted))
    graph = helper.make_graph(
        once,
        proto.graph.name,
        [],
        [onnx.ValueInfoProto(name=name) for name in wanted],
        [each for each in proto.graph.initializer if each.name in read],
    )
    constants = helper.make_model(
        graph, opset_imports=proto.opset_import, ir_version=proto.ir_version
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(
        constants.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(wanted, {})
    del proto.graph.node[:]
    proto.graph.node.extend(rest)
    for name, value in zip(wanted, values, strict=True):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return proto


def _used(nodes: Iterable[onnx.NodeProto], names: set[str]) -> set[str]:
    """Return the names that nodes and their branches read, and `names`."""
    for node in nodes:
        names |= set(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _used(attribute.g.node, names)
                names |= {each.name for each in attribute.g.output}
    return names


def straight(model: bytes) -> bytes:
    """Return the student without Ifs: it draws every slot, and `observed` overrules known ones.

    Inputs and outputs are those of the released graph.
    """
    proto = folded(model)
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.op_type != "If":
            nodes.append(node)
            continue
        then = next(a.g for a in node.attribute if a.name == "then_branch")
        renamed = dict(zip((o.name for o in then.output), node.output, strict=True))
        for inner in then.node:
            nodes.append(_renamed(inner, renamed))
    weights = {each.name: each for each in proto.graph.initializer}
    return _model(proto, _with_noise_at_once(nodes, weights), weights)


def teacher_pass(model: bytes) -> bytes:
    """Return the graph of one pass of the teacher, from its inputs to those of the next pass.

    Inputs `tokens` int32 [n, T], `at` int32 [n, T] (the pass that reveals each slot, -1 where
    observed; see `sampling.reveal_passes`), `step` int32 [1] (this pass), `noise` uniform float32
    [n, N]. Outputs `next_tokens` int32 [n, T] and `next_step` int32 [1].
    """
    proto = folded(model)
    slots = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    weights = {each.name: each for each in proto.graph.initializer}
    weights["one"] = numpy_helper.from_array(np.ones(1, np.int32), "one")
    nodes = [
        helper.make_node("Less", ["at", "step"], ["observed"]),
        *proto.graph.node,
        helper.make_node("Equal", ["at", "step"], ["revealed"]),
        helper.make_node("Where", ["revealed", "drawn", "tokens"], ["next_tokens"]),
        helper.make_node("Add", ["step", "one"], ["next_step"]),
    ]
    tokens, _, noise = proto.graph.input
    revealing_pass, step = _info("at", ["n", slots]), _info("step", [1])
    outputs = [_info("next_tokens", ["n", slots]), _info("next_step", [1])]
    return _model(proto, nodes, weights, [tokens, revealing_pass, step, noise], outputs)


def with_precision(model: bytes, precision: str) -> bytes:
    """Return the graph with the operands of its large matrix products in another precision.

    A matrix of zeros and ones only selects; float32 does that exactly, so it stays. Whatever is
    added to a product, including the noise, also stays in float32.

    Raises:
        ValueError: the precision is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return model
    half = HALVES[precision]
    proto = onnx.load_from_string(model)
    arrays = _arrays(proto)
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        weight = arrays.get(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
        if weight is None or weight.size < LARGE or _selects(weight):
            nodes.append(node)
            continue
        name = node.output[0]
        plain = not node.attribute
        assert plain, f"{name}: a product with attributes is not one of ours"
        for number, operand in enumerate(node.input[:2]):
            nodes.append(helper.make_node("Cast", [operand], [f"{name}_half_{number}"], to=half))
        halves = [f"{name}_half_0", f"{name}_half_1"]
        nodes.append(helper.make_node("MatMul", halves, [f"{name}_half"]))
        added = node.input[2] if len(node.input) == 3 else None
        product = f"{name}_product" if added else name
        cast = helper.make_node("Cast", [f"{name}_half"], [product], to=TensorProto.FLOAT)
        nodes.append(cast)
        if added:
            nodes.append(helper.make_node("Add", [product, added], [name]))
    weights = {each.name: each for each in proto.graph.initializer}
    return _model(proto, nodes, weights)


def operations(model: bytes) -> int:
    """Count the floating-point operations of a row's matrix products, two per multiplication."""
    proto = onnx.load_from_string(model)
    arrays = _arrays(proto)
    total = 0
    for node in proto.graph.node:
        weight = arrays.get(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
        if weight is not None and not _selects(weight):
            total += 2 * weight.size
    return total


def weight_bytes(model: bytes, width: int = 4) -> int:
    """Count the bytes of the weights of the matrix products, at `width` bytes each."""
    return operations(model) // 2 * width


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    out = onnx.NodeProto()
    out.CopyFrom(node)
    for field in (out.input, out.output):
        field[:] = [names.get(name, name) for name in field]
    return out


def _info(name: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT32, shape)


def _arrays(proto: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}


def _selects(weight: NDArray[Any]) -> bool:
    return bool(np.isin(weight, (0.0, 1.0)).all())


def _model(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, onnx.TensorProto],
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
) -> bytes:
    """Return a checked model with only the nodes and weights that its outputs need."""
    outputs = list(proto.graph.output) if outputs is None else outputs
    inputs = list(proto.graph.input) if inputs is None else inputs
    wanted = {each.name for each in outputs}
    kept: list[onnx.NodeProto] = []
    for node in reversed(list(_narrow(nodes))):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    graph = helper.make_graph(
        kept[::-1],
        proto.graph.name,
        inputs,
        outputs,
        [tensor for name, tensor in weights.items() if name in wanted],
    )
    model = helper.make_model(
        graph,
        opset_imports=proto.opset_import,
        producer_name=proto.producer_name,
        ir_version=proto.ir_version,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _narrow(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    """Return the nodes, split so that none joins more than `MOST_JOINED` tensors."""
    for node in nodes:
        while node.op_type == "Concat" and len(node.input) > MOST_JOINED:
            axis = next(a.i for a in node.attribute if a.name == "axis")
            first, rest = node.input[:MOST_JOINED], node.input[MOST_JOINED:]
            part = f"{node.output[0]}_{len(rest)}"
            yield helper.make_node("Concat", first, [part], axis=axis)
            node = helper.make_node("Concat", [part, *rest], node.output, axis=axis)
        yield node


# What each group of slots applies to its share of the noise, before cutting it into slots.
CHAIN = ("Log", "Neg", "Log", "Sub", "Gemm", "Split")


def _with_noise_at_once(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Merge the groups' chains from noise to the slots' offsets; keeps unknown graphs unchanged."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    split = next((n for n in nodes if n.op_type == "Split" and n.input[0] == "noise"), None)
    chains = [] if split is None else [_chain(part, users) for part in split.output]
    if split is None or not all(chains):
        return list(nodes)
    arrays = {name: numpy_helper.to_array(each) for name, each in weights.items()}

    def joined(pick: Callable[[list[onnx.NodeProto]], str], name: str, axis: int) -> str:
        value = np.concatenate([arrays[pick(chain)] for chain in chains], axis)
        weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    bias = joined(lambda chain: chain[3].input[0], "bias_out_all", 1)
    known_at = joined(lambda chain: chain[4].input[1], "known_at_all", 1)
    sizes = joined(lambda chain: chain[5].input[1], "sizes_all", 0)
    offsets = [name for chain in chains for name in chain[5].output]
    once = [
        helper.make_node("Log", ["noise"], ["log_noise"]),
        helper.make_node("Neg", ["log_noise"], ["exponential"]),
        helper.make_node("Log", ["exponential"], ["minus_gumbel"]),
        helper.make_node("Sub", [bias, "minus_gumbel"], ["biased_gumbel"]),
        helper.make_node("Gemm", [chains[0][4].input[0], known_at, "biased_gumbel"], ["offset"]),
        helper.make_node("Split", ["offset", sizes], offsets, axis=1),
    ]
    gone = {id(node) for chain in chains for node in chain} | {id(split)}
    first = min(i for i, node in enumerate(nodes) if node in chains[0])
    kept = [node for node in nodes[:first] if id(node) not in gone]
    return [*kept, *once, *(node for node in nodes[first:] if id(node) not in gone)]


def _chain(name: str, users: dict[str, list[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """Return the nodes of `CHAIN` after a value if each is the only user of the last, else []."""
    chain: list[onnx.NodeProto] = []
    for kind in CHAIN:
        using = users.get(name, [])
        if len(using) != 1 or using[0].op_type != kind:
            return []
        chain.append(using[0])
        name = using[0].output[0]
    return chain
