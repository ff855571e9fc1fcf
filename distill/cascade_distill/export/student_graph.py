"""The student as one ONNX graph: tokens, observed, noise in; completed tokens out.

The same arithmetic as `Student.draw`, arranged for one row on one thread:

- The Gumbel noise and the output biases of a group of slots are made by one node each, and enter
  each slot's second matrix product as its C operand, so that a slot is five nodes.
- An observed slot is "drawn" too where its batch has a row that misses it. Each slot therefore has
  one token more than its size, "already known", which wins where the slot is observed and whose
  embedding is zero.
- Groups of slots that no row misses are skipped by an If, their noise with them, so that a row pays
  for what it lacks. The logarithms of all the noise would be a third of a batch's time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cascade_distill.export.graph import BOOL, FLOAT, INT32, INT64, Graph
from cascade_distill.export.student_nearness_graph import NearnessNodes
from cascade_distill.models.student import Student

# Larger than any logit plus Gumbel noise, and far from overflow.
FORCED = 1e30

# Groups of slots, each in an If. A skipped If costs about as much as a slot: with one a slot a row
# would pay for what it has, and one for all would never be skipped. Of 2 to 6 slots a group, and of
# trees of groups, so many groups of two slots or more are the best for three missing columns.
GROUPS = 12


def student_noise_width(sizes: tuple[int, ...]) -> int:
    """Uniform numbers a row the student's graph takes: one a token, "already known" included."""
    return sum(sizes) + len(sizes)


def export_student(student: Student, group: int | None = None) -> bytes:
    """Serialise the student to ONNX; see the module's docstring and `student_noise_width`.

    Args:
        student: as trained.
        group: slots that are skipped together; None: enough for `GROUPS` groups.
    """
    layout = student.layout
    sizes, slots = layout.sizes, len(layout.sizes)
    group = group or max(2, -(-slots // GROUPS))
    width = student.config.width
    embedding = student.embedding.weight.detach().float().cpu().numpy()
    start = student.start.detach().float().cpu().numpy()
    weight_in = student.weight_in.detach().float().cpu().numpy()
    bias_in = student.bias_in.detach().float().cpu().numpy()
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    padded = [size + 1 for size in sizes]

    g = Graph("student")
    # h: the sum of what is observed. Hidden slots take the zero row at the end.
    table = g.weight("embedding", np.vstack([embedding, np.zeros((1, width), np.float32)]))
    index = g.op("Add", "tokens", g.weight("offsets", offsets[None, :-1].astype(np.int32)))
    nothing = g.weight("nothing", np.array(offsets[-1], np.int32))
    index = g.op("Where", "observed", index, nothing)
    state = g.op("ReduceSum", g.op("Gather", table, index, axis=0), g.axes(1), keepdims=0)

    high, low = (g.weight("forced", np.array(v, np.float32)) for v in (FORCED, -FORCED))
    forced = g.op("Where", "observed", high, low)
    missing_slots = ""
    if student.marked:
        one, zero = (g.weight("is_missing", np.array(v, np.float32)) for v in (1, 0))
        missing_slots = g.op("Where", "observed", zero, one)
    near = student.nearness
    nearness = None if near is None else NearnessNodes(g, near)
    groups = _groups(slots, group, () if nearness is None else nearness.coarse_slots)
    longest = max(map(len, groups))
    # Any row misses any slot of the group: the smallest entry of `forced` is negative.
    members = np.array([[min(i, r[-1]) for i in range(r[0], r[0] + longest)] for r in groups])
    smallest = g.op("ReduceMin", forced, g.axes(0), keepdims=0)
    smallest = g.op("Gather", smallest, g.weight("members", members.astype(np.int64)), axis=0)
    smallest = g.op("ReduceMin", smallest, g.axes(1), keepdims=0)
    missing = g.op("Less", smallest, g.weight("zero", np.array(0, np.float32)))
    conditions = g.split(missing, [1] * len(groups), axis=0)
    uniform = g.split("noise", [sum(padded[i] for i in r) for r in groups], axis=1)
    # What a skipped group says it drew; `observed` overrules it.
    first = g.op("Gather", "tokens", g.weight("first", np.array(0, np.int64)), axis=1)
    filler = g.op("Cast", first, to=INT64)
    fillers = {
        n: filler if n == 1 else g.op("Concat", *[filler] * n, axis=0)
        for n in {len(r) for r in groups}
    }

    drawn = []
    pairs: dict[int, str] = {}
    for members_of, condition, noise in zip(groups, conditions, uniform, strict=True):
        then, otherwise = Graph(g.fresh("draw"), g), Graph(g.fresh("skip"), g)
        # Gumbel noise, output biases, and which slots are forced to "already known".
        ends = np.cumsum([padded[i] for i in members_of])
        bias = np.zeros((1, int(ends[-1])), np.float32)
        known_at = np.zeros((slots, int(ends[-1])), np.float32)
        for slot, (begin, end) in zip(members_of, pairwise([0, *ends]), strict=True):
            bias[0, begin : end - 1] = student.heads[slot].bias.detach().float().cpu().numpy()
            known_at[slot, end - 1] = 1.0
        exponential = then.op("Neg", then.op("Log", noise))
        gumbel = then.op("Sub", g.weight("bias_out", bias), then.op("Log", exponential))
        gumbel = then.op("Gemm", forced, g.weight("known_at", known_at), gumbel)
        if any(slot in student.marked for slot in members_of):
            barred = _barred(student, members_of, padded)
            gumbel = then.op("Gemm", missing_slots, g.weight("barred", barred), gumbel)
        offset_of = then.split(gumbel, [padded[i] for i in members_of], axis=1)
        after, seen = state, ""
        choices: list[str] = []
        pairs_here = dict(pairs)
        for slot, offset in zip(members_of, offset_of, strict=True):
            w1 = g.weight("weight_in", weight_in[slot])
            # The start state's share is constant: it goes into the bias.
            b1 = g.weight("bias_in", bias_in[slot] + start @ weight_in[slot])
            out = student.heads[slot].weight.detach().float().cpu().numpy().T
            w2 = g.weight("weight_out", np.pad(out, ((0, 0), (0, 1))))
            hidden = then.op("Relu", then.op("Gemm", after, w1, b1))
            if near is not None and nearness is not None and slot in near.told:
                if slot in near.coarse:
                    seen = nearness.seen(then, slot, pairs_here)
                    added = nearness.coarse(then, slot, hidden, seen)
                else:
                    added = nearness.fine(then, slot - 1, hidden, seen, choices[-1])
                offset = then.op("Add", offset, added)
            logits = then.op("Gemm", hidden, w2, offset)
            choice = then.op("ArgMax", logits, axis=1, keepdims=0)
            choices.append(choice)
            if nearness is not None and slot - 1 in nearness.neighbours:
                two = choices[-2:]
                pairs_here[slot - 1] = nearness.known_pair(then, slot - 1, *two)
            if slot != slots - 1:
                # Its own rows of the table, and the zeros at the end.
                own = [*range(offsets[slot], offsets[slot + 1]), offsets[-1]]
                rows = g.folded("Gather", table, g.weight("own", np.array(own, np.int32)), axis=0)
                after = then.op("Add", after, then.op("Gather", rows, choice, axis=0))
        if len(choices) > 1:
            choices = [then.op("Concat", *choices, axis=0)]
        outputs = [(choices[0], INT64)]
        skipped = [(otherwise.op("Identity", fillers[len(members_of)]), INT64)]
        names = [g.fresh("choices")]
        if members_of[-1] != slots - 1:
            outputs.append((after, FLOAT))
            skipped.append((otherwise.op("Identity", state), FLOAT))
            names.append(g.fresh("state"))
        if nearness is not None:
            for slot in sorted({*nearness.neighbours} & {*members_of}):
                outputs.append((pairs_here[slot], INT64))
                skipped.append((nearness.given_pair(otherwise, slot), INT64))
                pairs[slot] = g.fresh("pair")
                names.append(pairs[slot])
        g.ops(
            "If",
            condition,
            outputs=names,
            then_branch=then.branch(outputs),
            else_branch=otherwise.branch(skipped),
        )
        drawn.append(names[0])
        if members_of[-1] != slots - 1:
            state = names[1]

    # Slot-major [T * n] to [n, T].
    flat = drawn[0] if len(drawn) == 1 else g.op("Concat", *drawn, axis=0)
    shape = g.weight("shape", np.array([slots, -1], np.int64))
    columns = g.op("Transpose", g.op("Reshape", flat, shape), perm=[1, 0])
    g.op("Where", "observed", "tokens", g.op("Cast", columns, to=INT32), out="drawn")
    return g.model(
        inputs=[
            ("tokens", INT32, slots),
            ("observed", BOOL, slots),
            ("noise", FLOAT, student_noise_width(sizes)),
        ],
        outputs=[("drawn", INT32, slots)],
        metadata=None if nearness is None else nearness.metadata(),
    )


def _groups(slots: int, group: int, coarse: Collection[int]) -> list[range]:
    """Slots that are skipped together; a coarse slot and its fine slot are in one group."""
    groups, begin = [], 0
    while begin < slots:
        end = min(begin + group, slots)
        end += end - 1 in coarse
        groups.append(range(begin, end))
        begin = end
    return groups


def _barred(student: Student, slots: Sequence[int], padded: Sequence[int]) -> NDArray[np.float32]:
    """What each missing slot adds to the logits of a group's marks: [T, tokens of the group]."""
    offsets, layout = student.offsets.tolist(), student.layout
    forbidden = student.forbidden.float().cpu().numpy()
    out = np.zeros((len(layout.sizes), sum(padded[slot] for slot in slots)), np.float32)
    first = student.marks.first_slot.tolist()
    begin = 0
    for slot in slots:
        size = layout.sizes[slot]
        out[first, begin : begin + size] = forbidden[:, offsets[slot] : offsets[slot] + size]
        begin += padded[slot]
    return out
