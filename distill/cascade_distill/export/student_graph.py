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
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
    sizes, slots = student.layout.sizes, len(student.layout.sizes)
    g = Graph("student")
    nodes = _StudentNodes(g, student)
    groups = _groups(slots, group or max(2, -(-slots // GROUPS)), nodes.coarse_slots)
    drawn = nodes.draw(groups)
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
        metadata=nodes.metadata(),
    )


@dataclass
class _Walk:
    """How far the branch that draws a group has come.

    Attributes:
        graph: the branch.
        state: the sum of what is observed and of what is drawn so far [n, width].
        pairs: of the numbers before, by coarse slot.
        choices: of the group's slots so far, int64 [n] each.
        seen: codes of the neighbours of the number whose coarse slot was drawn last.
    """

    graph: Graph
    state: str
    pairs: dict[int, str]
    choices: list[str] = field(default_factory=list)
    seen: str = ""


class _StudentNodes:
    """Makes the nodes of a draw: those that all groups need, then an If for each group.

    Args:
        g: the outermost graph.
        student: as trained.

    Attributes:
        coarse_slots: whose fine slot has to be in the same group.
    """

    def __init__(self, g: Graph, student: Student) -> None:
        self._g, self._student, self._sizes = g, student, student.layout.sizes
        self._padded = [size + 1 for size in self._sizes]
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)])
        self._start, self._weight_in = _array(student.start), _array(student.weight_in)
        self._bias_in = _array(student.bias_in)
        zeros = np.zeros((1, student.config.width), np.float32)
        embedding = np.vstack([_array(student.embedding.weight), zeros])
        self._table = g.weight("embedding", embedding)
        self._state = self._observed_state()
        high, low = (g.weight("forced", np.array(v, np.float32)) for v in (FORCED, -FORCED))
        self._forced = g.op("Where", "observed", high, low)
        self._missing_slots = ""
        if student.marked:
            one, zero = (g.weight("is_missing", np.array(v, np.float32)) for v in (1, 0))
            self._missing_slots = g.op("Where", "observed", zero, one)
        near = student.nearness
        self._nearness = None if near is None else NearnessNodes(g, near)
        # Of the numbers drawn so far, by coarse slot.
        self._pairs: dict[int, str] = {}
        self.coarse_slots: Collection[int] = (
            () if self._nearness is None else self._nearness.coarse_slots
        )

    def metadata(self) -> dict[str, str] | None:
        """What the model says of itself; None: nothing."""
        return None if self._nearness is None else self._nearness.metadata()

    def draw(self, groups: Sequence[range]) -> list[str]:
        """What is drawn of each group: int64 [slots * n], slot-major.

        Args:
            groups: of slots that are skipped together, in order.
        """
        g, conditions = self._g, self._any_missing(groups)
        noise = g.split("noise", [sum(self._padded[i] for i in r) for r in groups], axis=1)
        fillers = self._fillers({len(r) for r in groups})
        return [
            self._draw_group(slots, condition, uniform, fillers[len(slots)])
            for slots, condition, uniform in zip(groups, conditions, noise, strict=True)
        ]

    def _observed_state(self) -> str:
        """The sum of what is observed [n, width]. Hidden slots take the zero row at the end."""
        g, offsets = self._g, self._offsets
        index = g.op("Add", "tokens", g.weight("offsets", offsets[None, :-1].astype(np.int32)))
        nothing = g.weight("nothing", np.array(offsets[-1], np.int32))
        index = g.op("Where", "observed", index, nothing)
        return g.op("ReduceSum", g.op("Gather", self._table, index, axis=0), g.axes(1), keepdims=0)

    def _any_missing(self, groups: Sequence[range]) -> list[str]:
        """Whether any row misses any slot of a group, for each of them: the smallest entry of
        `forced` is negative."""
        g, longest = self._g, max(map(len, groups))
        members = np.array([[min(i, r[-1]) for i in range(r[0], r[0] + longest)] for r in groups])
        smallest = g.op("ReduceMin", self._forced, g.axes(0), keepdims=0)
        smallest = g.op("Gather", smallest, g.weight("members", members.astype(np.int64)), axis=0)
        smallest = g.op("ReduceMin", smallest, g.axes(1), keepdims=0)
        missing = g.op("Less", smallest, g.weight("zero", np.array(0, np.float32)))
        return g.split(missing, [1] * len(groups), axis=0)

    def _fillers(self, lengths: Collection[int]) -> dict[int, str]:
        """What skipped groups of these lengths say they drew; `observed` overrules it."""
        g = self._g
        first = g.op("Gather", "tokens", g.weight("first", np.array(0, np.int64)), axis=1)
        filler = g.op("Cast", first, to=INT64)
        return {n: filler if n == 1 else g.op("Concat", *[filler] * n, axis=0) for n in lengths}

    def _draw_group(self, slots: range, condition: str, uniform: str, filler: str) -> str:
        """Make the If of a group; from here on the state and the pairs are those after it.

        Args:
            slots: of the group.
            condition: whether any of them is missing.
            uniform: their noise.
            filler: what they are said to be where none is.

        Returns:
            Their tokens.
        """
        g = self._g
        then, otherwise = Graph(g.fresh("draw"), g), Graph(g.fresh("skip"), g)
        walk = _Walk(then, self._state, dict(self._pairs))
        for slot, offset in zip(slots, self._perturbation(then, slots, uniform), strict=True):
            self._draw_slot(walk, slot, offset)
        choices = walk.choices
        drawn = choices[0] if len(choices) == 1 else then.op("Concat", *choices, axis=0)
        outputs = [(drawn, INT64)]
        skipped = [(otherwise.op("Identity", filler), INT64)]
        names = [g.fresh("choices")]
        if slots[-1] != len(self._sizes) - 1:
            outputs.append((walk.state, FLOAT))
            skipped.append((otherwise.op("Identity", self._state), FLOAT))
            self._state = g.fresh("state")
            names.append(self._state)
        if self._nearness is not None:
            for slot in sorted({*self._nearness.neighbours} & {*slots}):
                outputs.append((walk.pairs[slot], INT64))
                skipped.append((self._nearness.given_pair(otherwise, slot), INT64))
                self._pairs[slot] = g.fresh("pair")
                names.append(self._pairs[slot])
        g.ops(
            "If",
            condition,
            outputs=names,
            then_branch=then.branch(outputs),
            else_branch=otherwise.branch(skipped),
        )
        return names[0]

    def _perturbation(self, then: Graph, slots: range, uniform: str) -> list[str]:
        """What is added to the logits of each slot of a group: Gumbel noise, output biases, and
        what forces "already known" where the slot is observed."""
        g, student, padded = self._g, self._student, self._padded
        ends = np.cumsum([padded[i] for i in slots])
        bias = np.zeros((1, int(ends[-1])), np.float32)
        known = np.zeros((len(self._sizes), int(ends[-1])), np.float32)
        for slot, (begin, end) in zip(slots, pairwise([0, *ends]), strict=True):
            bias[0, begin : end - 1] = _array(student.heads[slot].bias)
            known[slot, end - 1] = 1.0
        exponential = then.op("Neg", then.op("Log", uniform))
        gumbel = then.op("Sub", g.weight("bias_out", bias), then.op("Log", exponential))
        gumbel = then.op("Gemm", self._forced, g.weight("known_at", known), gumbel)
        if any(slot in student.marked for slot in slots):
            barred = g.weight("barred", _barred(student, slots, padded))
            gumbel = then.op("Gemm", self._missing_slots, barred, gumbel)
        return then.split(gumbel, [padded[i] for i in slots], axis=1)

    def _draw_slot(self, walk: _Walk, slot: int, offset: str) -> None:
        """Draw one slot, and let those after it see what was drawn.

        Args:
            walk: so far.
            slot: which.
            offset: what is added to its logits, as of `_perturbation`.
        """
        g, then, nearness = self._g, walk.graph, self._nearness
        weight_in = g.weight("weight_in", self._weight_in[slot])
        # The start state's share is constant: it goes into the bias.
        bias_in = self._bias_in[slot] + self._start @ self._weight_in[slot]
        bias_in = g.weight("bias_in", bias_in)
        out = np.pad(_array(self._student.heads[slot].weight).T, ((0, 0), (0, 1)))
        weight_out = g.weight("weight_out", out)
        hidden = then.op("Relu", then.op("Gemm", walk.state, weight_in, bias_in))
        if nearness is not None and slot in nearness.told:
            offset = then.op("Add", offset, self._nearness_bias(nearness, walk, slot, hidden))
        logits = then.op("Gemm", hidden, weight_out, offset)
        choice = then.op("ArgMax", logits, axis=1, keepdims=0)
        walk.choices.append(choice)
        if nearness is not None and slot - 1 in nearness.neighbours:
            coarse, fine = walk.choices[-2:]
            walk.pairs[slot - 1] = nearness.known_pair(then, slot - 1, coarse, fine)
        if slot != len(self._sizes) - 1:
            # Its own rows of the table, and the zeros at the end.
            own = [*range(self._offsets[slot], self._offsets[slot + 1]), self._offsets[-1]]
            rows = g.folded("Gather", self._table, g.weight("own", np.array(own, np.int32)), axis=0)
            walk.state = then.op("Add", walk.state, then.op("Gather", rows, choice, axis=0))

    def _nearness_bias(self, nearness: NearnessNodes, walk: _Walk, slot: int, hidden: str) -> str:
        """What the logits of a number's slot get from its neighbours.

        Args:
            nearness: makes the nodes.
            walk: so far; of a coarse slot it keeps what its neighbours are, for its fine one.
            slot: coarse or fine.
            hidden: of the slot's head [n, head].
        """
        if slot in nearness.coarse_told:
            walk.seen = nearness.seen(walk.graph, slot, walk.pairs)
            return nearness.coarse(walk.graph, slot, hidden, walk.seen)
        return nearness.fine(walk.graph, slot - 1, hidden, walk.seen, walk.choices[-1])


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


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
