"""The teacher's denoiser as one ONNX graph: a forward pass, its draw, and log p of the given
tokens.

The arithmetic equals `Denoiser.draw` and `Denoiser.log_prob`. The log-normalisers of all slots come
from one exponential and one matrix product instead of one softmax per slot. `centred_head` centres
the logits, and the graph clips them at ±60, where exp is far from the limits of float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cascade_distill.export.features_graph import features_of
from cascade_distill.export.graph import BOOL, FLOAT, INT32, INT64, Graph
from cascade_distill.export.nearness_graph import coarse_bias, fine_told, place_table, seen_codes
from cascade_distill.models.features import WIDTH, fine_slot_of
from cascade_distill.models.teacher import Denoiser

CLIP = 60.0


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


def export_teacher(model: Denoiser) -> bytes:
    """Serialise the denoiser to ONNX.

    Inputs `tokens` int32 [n, T], `observed` bool [n, T], `noise` uniform float32 [n, sum(sizes)];
    outputs `drawn` int32 [n, T] and `log_prob` float32 [n, T] (nats, 0 where observed).
    """
    sizes = model.layout.sizes
    g = Graph("denoiser")
    stream = _trunk(g, model)
    tokens = g.op("Cast", "tokens", to=INT64)
    seen = None if model.nearness is None else seen_codes(g, model.nearness, tokens)
    logits = _head(g, model, stream, seen)
    noise = g.op("Log", g.op("Neg", g.op("Log", "noise")))  # minus Gumbel
    minus_gumbel = g.split(noise, list(sizes), axis=1)

    value_sizes = [sizes[s] for s in model.slots]
    order = [minus_gumbel[s] for s in model.slots]
    perturbed = g.op("Sub", logits, order[0] if len(order) == 1 else g.op("Concat", *order, axis=1))
    drawn: dict[int, str] = {
        slot: g.op("ArgMax", part, axis=1, keepdims=1)
        for slot, part in zip(model.slots, g.split(perturbed, value_sizes, axis=1), strict=True)
    }
    score: dict[int, str] = dict(
        zip(
            model.slots,
            g.split(_value_scores(g, model, logits, tokens), [1] * len(model.slots), axis=1),
            strict=True,
        )
    )
    if model.coarse:
        _fine(g, model, stream, tokens, noise, drawn, score, seen)

    everything = [drawn[s] for s in range(len(sizes))]
    joined = everything[0] if len(everything) == 1 else g.op("Concat", *everything, axis=1)
    g.op("Where", "observed", "tokens", g.op("Cast", joined, to=INT32), out="drawn")
    terms = [score[s] for s in range(len(sizes))]
    zero = g.weight("zero", np.array(0, np.float32))
    joined = terms[0] if len(terms) == 1 else g.op("Concat", *terms, axis=1)
    g.op("Where", "observed", zero, joined, out="log_prob")
    return g.model(
        inputs=[
            ("tokens", INT32, len(sizes)),
            ("observed", BOOL, len(sizes)),
            ("noise", FLOAT, sum(sizes)),
        ],
        outputs=[("drawn", INT32, len(sizes)), ("log_prob", FLOAT, len(sizes))],
    )


def _trunk(g: Graph, model: Denoiser) -> str:
    """Build the normalised residual stream [n, width]."""
    offsets = model.offsets.cpu().numpy().astype(np.int32)[None]
    hidden = model.hidden_index.cpu().numpy().astype(np.int32)[None]
    index = g.op("Add", "tokens", g.weight("offsets", offsets))
    rows = model.row_of_token.cpu().numpy().astype(np.int32)
    index = g.op("Gather", g.weight("rows", rows), index, axis=0)
    index = g.op("Where", "observed", index, g.weight("hidden", hidden))
    table = g.weight("embedding", _array(model.embedding.weight))
    x = g.op("ReduceSum", g.op("Gather", table, index, axis=0), g.axes(1), keepdims=0)
    if model.numeric:
        x = g.op("Add", x, _number_features(g, model))
    for block in model.blocks:
        into, out = block.into, block.out
        y = _layer_norm(g, x, block.norm)
        y = g.op("Gemm", y, g.weight("w", _array(into.weight).T), g.weight("b", _array(into.bias)))
        y = g.op("Mul", y, g.op("Sigmoid", y))
        y = g.op("Gemm", y, g.weight("w", _array(out.weight).T), g.weight("b", _array(out.bias)))
        x = g.op("Add", x, y)
    return _layer_norm(g, x, model.norm)


def _layer_norm(g: Graph, x: str, norm: nn.LayerNorm) -> str:
    scale, shift = g.weight("scale", _array(norm.weight)), g.weight("shift", _array(norm.bias))
    return g.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def _number_features(g: Graph, model: Denoiser) -> str:
    """Build what the observed numbers' features add to the stream [n, width]."""
    layout, slots = model.layout, model.numeric
    table, start_of, none = features_of(g, layout, slots)
    fine = [fine_slot_of(layout, s) for s in slots]
    scale = [1 if f is None else layout.sizes[f] for f in fine]
    picked = g.weight("slots", np.array(slots, np.int64))
    index = g.op("Gather", "tokens", picked, axis=1)
    if any(f is not None for f in fine):
        index = g.op("Mul", index, g.weight("scale", np.array([scale], np.int32)))
        # A slot without a fine slot reads any slot and multiplies it by zero.
        beside = g.weight(
            "fine",
            np.array([s if f is None else f for s, f in zip(slots, fine, strict=True)], np.int64),
        )
        has = g.weight("has", np.array([[f is not None for f in fine]], np.int32))
        index = g.op("Add", index, g.op("Mul", g.op("Gather", "tokens", beside, axis=1), has))
    starts = np.array([[start_of[s] for s in slots]], np.int32)
    index = g.op("Add", index, g.weight("starts", starts))
    known = g.op("Gather", "observed", picked, axis=1)
    index = g.op("Where", known, index, g.weight("none", np.array(none, np.int32)))
    features = g.op("Gather", table, index, axis=0)
    shape = g.weight("shape", np.array([-1, len(slots) * WIDTH], np.int64))
    flat = g.op("Reshape", features, shape)
    linear = model.from_features
    return g.op(
        "Gemm", flat, g.weight("w", _array(linear.weight).T), g.weight("b", _array(linear.bias))
    )


def _head(g: Graph, model: Denoiser, stream: str, seen: str | None) -> str:
    """Build the logits [n, sum of value and coarse sizes]."""
    weight, bias = model.centred_head()
    out = g.op("Gemm", stream, g.weight("w", _array(weight).T), g.weight("b", _array(bias)))
    if model.nearness is not None and seen is not None:
        indices = model.near_tokens.numpy()
        out = g.op("Add", out, coarse_bias(g, model.nearness, stream, seen, indices, len(weight)))
    if not model.marks.count:
        return out
    # Allow marks only if the other columns are observed.
    one, zero = (g.weight("is_hidden", np.array(v, np.float32)) for v in (1, 0))
    first = g.weight("slots", np.array(model.marks.first_slot.tolist(), np.int64))
    hidden = g.op("Where", g.op("Gather", "observed", first, axis=1), zero, one)
    return g.op("Gemm", hidden, g.weight("forbidden", _array(model.forbidden)), out)


def _value_scores(g: Graph, model: Denoiser, logits: str, tokens: str) -> str:
    """Build ln p of each value or coarse slot's given token [n, slots]."""
    sizes = [model.layout.sizes[s] for s in model.slots]
    starts = np.cumsum([0, *sizes])
    low, high = (g.weight("clip", np.array(v, np.float32)) for v in (-CLIP, CLIP))
    clipped = g.op("Clip", logits, low, high)
    picked = g.op("Gather", tokens, g.weight("slots", np.array(model.slots, np.int64)), axis=1)
    picked = g.op("Add", picked, g.weight("starts", starts[None, :-1].astype(np.int64)))
    picked = g.op("GatherElements", clipped, picked, axis=1)
    every = g.weight("every", np.eye(len(sizes), dtype=np.float32))
    slot_of = np.arange(len(sizes), dtype=np.int32).repeat(sizes)
    member = g.folded("Gather", every, g.weight("slot_of", slot_of), axis=0)
    total = g.op("MatMul", g.op("Exp", clipped), member)
    return g.op("Sub", picked, g.op("Log", total))


def _fine(
    g: Graph,
    model: Denoiser,
    stream: str,
    tokens: str,
    minus_gumbel: str,
    drawn: dict[int, str],
    score: dict[int, str],
    seen: str | None,
) -> None:
    """Add the fine slots' draws and scores: [n, 1] each."""
    coarse, fine_width = model.coarse, model.config.fine_width
    count, most = len(coarse), model.fine_coarse.shape[1]
    into = model.fine_in
    told = g.weight("told", _array(model.fine_coarse).reshape(count * most, fine_width))
    starts = g.weight("starts", (np.arange(count, dtype=np.int64) * most)[None])
    shape = g.weight("shape", np.array([-1, count, fine_width], np.int64))
    base = g.op(
        "Gemm", stream, g.weight("w", _array(into.weight).T), g.weight("b", _array(into.bias))
    )
    base = g.op("Reshape", base, shape)
    out = g.weight("w", _array(model.fine_out))
    bias = g.weight("b", _array(model.fine_bias + model.padding)[None])

    places = "" if model.nearness is None else place_table(g, model.nearness)

    def logits(chosen: str) -> str:
        given = g.op("Gather", told, g.op("Add", chosen, starts), axis=0)
        if model.nearness is not None and seen is not None:
            near = fine_told(g, model.nearness, places, seen, chosen, model.near_fine, count)
            given = g.op("Add", given, near)
        y = g.op("Add", base, given)
        y = g.op("Mul", y, g.op("Sigmoid", y))
        # [n, f, w] x [f, w, o]: batched over f.
        y = g.op("MatMul", g.op("Transpose", y, perm=[1, 0, 2]), out)
        return g.op("Add", g.op("Transpose", y, perm=[1, 0, 2]), bias)

    slots = g.weight("slots", np.array(coarse, np.int64))
    given = g.op("Gather", tokens, slots, axis=1)
    chosen = g.op("Concat", *[drawn[s] for s in coarse], axis=1) if count > 1 else drawn[coarse[0]]
    known = g.op("Gather", "observed", slots, axis=1)
    chosen = g.op("Where", known, given, chosen)
    shape = g.weight("shape", np.array([-1, count, model.fine_size], np.int64))
    # Slots with fewer tokens than the largest use arbitrary noise for the missing tokens.
    offsets = model.offsets.tolist()
    picked = [
        offsets[s + 1] + min(token, model.layout.sizes[s + 1] - 1)
        for s in coarse
        for token in range(model.fine_size)
    ]
    joined = g.op("Gather", minus_gumbel, g.weight("picked", np.array(picked, np.int64)), axis=1)
    perturbed = g.op("Sub", logits(chosen), g.op("Reshape", joined, shape))
    draws = g.op("ArgMax", perturbed, axis=2, keepdims=0)

    fine = g.weight("slots", np.array([s + 1 for s in coarse], np.int64))
    target = g.op("Unsqueeze", g.op("Gather", tokens, fine, axis=1), g.axes(2))
    scores = g.op("LogSoftmax", logits(given), axis=2)
    scores = g.op("Squeeze", g.op("GatherElements", scores, target, axis=2), g.axes(2))
    for slot, draw, value in zip(
        coarse, g.split(draws, [1] * count, 1), g.split(scores, [1] * count, 1), strict=True
    ):
        drawn[slot + 1], score[slot + 1] = draw, value
