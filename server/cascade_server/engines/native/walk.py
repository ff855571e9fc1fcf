"""The student's walk in compiled code: the same draws as its ONNX graph, several times as fast.

A row's walk through the student is a chain of small products, each of which waits for the token
before it. ONNX Runtime takes a microsecond or two for every node of the graph whatever the node
computes, and a row of 36 slots needs some 200 nodes; the compiled walk takes only the time of the
arithmetic. From the same noise it draws what the graph draws, unless two tokens' logits are equal
up to the last bits. docs/adr/0018 has the figures, and explains why this is compiled code and not
another runtime.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cascade_tables import TokenLayout
from numpy.typing import NDArray

from cascade_server.engines.native.library import Argument, Library, load_library
from cascade_server.engines.native.walk_nearness import KERNEL, WalkNearness
from cascade_server.engines.native.walk_weights import (
    NotThisStudent,
    WalkWeights,
    read_walk_weights,
)

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]
Floats = NDArray[np.float32]
Draw = Callable[[Tokens, Mask, Noise], Tokens]

log = logging.getLogger("cascade.server")

# As in student_walk.c.
PAD, STEPS = 16, 64
# Arrays begin at multiples of this many bytes: a cache line.
ALIGNED = 64
# Bytes of a large page, and bytes reserved at once, which is enough for most students.
LARGE_PAGE, BLOCK_BYTES = 1 << 21, 1 << 24
# A call of at most this many multiplications keeps the interpreter's lock; some .2 ms.
HOLDING_PRODUCTS = 2_000_000
# How many rows of the walk are compared with the graph, and how many may differ: if two logits are
# equal, either token is right.
COMPARED, MAY_DIFFER = 48, 1


class _Model(ctypes.Structure):
    """The struct `Model` of student_walk.c, field by field."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("slots", "width", "head", "widest")),
        ("noise_width", ctypes.c_int64),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("sizes", "padded", "noise_begin", "offsets", "embedding", "embedding_half"),
                *("weight_in", "bias_in", "weight_out", "bias_out"),
                *("barred_begin", "barred_slot", "barred_token", "barred_value"),
                *("near_of", "near", "near_codes", "near_values", "near_steps"),
            )
        ),
        ("near_equal", ctypes.c_int64),
    ]


class _Near(ctypes.Structure):
    """The struct `Near` of student_walk.c, field by field."""

    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("slot", "bins_from", "masses", "numbers", "sums", "unused")
        ),
        *(
            (name, ctypes.c_void_p)
            for name in ("neighbour", "begin", "signs", "between", "inside", "kernel", "place")
        ),
    ]


class _Memory:
    """Memory for arrays that never move, one after another.

    It uses large pages if the system has some: a row reads all of the memory, and an ordinary page
    holds a tenth of a slot's weights. Page lookups took a sixth of a row's time.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []
        self._used = BLOCK_BYTES

    def keep(self, values: NDArray[np.generic]) -> int:
        """Copy an array to the start of a cache line; return its address."""
        if not self._blocks or self._used + values.nbytes > len(self._blocks[-1]):
            self._blocks.append(_large_pages(max(BLOCK_BYTES, values.nbytes)))
            self._used = 0
        kept = self._blocks[-1][self._used : self._used + values.nbytes]
        kept[:] = np.frombuffer(values.tobytes(), np.uint8)
        self._used += -(-values.nbytes // ALIGNED) * ALIGNED
        return int(kept.ctypes.data)


def _large_pages(size: int) -> NDArray[np.uint8]:
    """Return memory that begins at a large page; numpy requests large pages for large arrays.

    The memory takes up no room until it is written to.
    """
    space = np.empty(size + LARGE_PAGE, np.uint8)
    begin = -space.ctypes.data % LARGE_PAGE
    return space[begin : begin + size]


class StudentWalk:
    """Draws rows as a student's graph does; several threads may call it at once.

    Args:
        library: the compiled functions.
        weights: the student's weights.
    """

    def __init__(self, library: Library, weights: WalkWeights) -> None:
        sizes = [len(bias) for bias in weights.bias_out]
        self._sizes = sizes
        self._slots = len(sizes)
        width, head = weights.weight_in[0].shape
        width, head = _round_up(width), _round_up(head)
        weight_out, bias_out = _with_gates(weights)
        padded = [_round_up(len(bias)) for bias in bias_out]
        self._noise_width = sum(sizes) + len(sizes)
        # The most products of a slot.
        self._products = head * (width + max(padded))
        self._half = library.half
        self._kept = _Memory()
        barred = [
            (slot, int(missing), int(token), values[missing, token])
            for slot, values in sorted(weights.barred.items())
            for missing, token in zip(*np.nonzero(values), strict=True)
        ]
        entries = np.bincount([slot for slot, *_ in barred], minlength=self._slots)
        # A slot's weights are stored one after another.
        of_slots = [
            (
                self._matrix(weights.weight_in[slot], width, head),
                self._floats(weights.bias_in[slot], head),
                self._matrix(weight_out[slot], head, padded[slot]),
                self._floats(bias_out[slot], padded[slot]),
            )
            for slot in range(self._slots)
        ]
        self._model = _Model(
            *(self._slots, width, head, max(padded), self._noise_width),
            self._ints(sizes),
            self._ints(padded),
            self._ints(np.cumsum([0, *(size + 1 for size in sizes)])[:-1]),
            self._ints(np.cumsum([0, *sizes])[:-1]),
            *self._matrix(weights.embedding, len(weights.embedding), width),
            *map(self._every, zip(*of_slots, strict=True)),
            self._ints(np.cumsum([0, *entries])),
            self._ints([missing for _, missing, _, _ in barred]),
            self._ints([token for _, _, token, _ in barred]),
            self._floats(np.array([value for *_, value in barred], np.float32)),
            *self._nearness(weights.nearness),
        )
        self._address = ctypes.addressof(self._model)
        self._holding, self._releasing = library.holding, library.releasing

    def __call__(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        """Complete tokens int32 [n, T].

        Args:
            tokens: int32 [n, T]; only observed ones are read.
            observed: bool [n, T].
            noise: float32 [n, sum of the sizes + T], uniform in [0, 1); only the numbers of slots
                that are not observed are read.

        Raises:
            ValueError: an array has another shape or type, or an observed token does not exist in
                its slot; names the row.
        """
        rows = len(tokens)
        shape, wide = (rows, self._slots), (rows, self._noise_width)
        if tokens.shape != shape or observed.shape != shape or noise.shape != wide:
            raise ValueError(
                f"the student takes tokens and observed {shape} and noise {wide}, "
                f"not {tokens.shape}, {observed.shape} and {noise.shape}"
            )
        drawn = np.array(tokens, np.int32, order="C")
        products = tokens.size * self._products
        if products > HOLDING_PRODUCTS:
            products -= int(np.count_nonzero(observed)) * self._products
        walk = self._holding if products <= HOLDING_PRODUCTS else self._releasing
        failed = walk(
            *(self._address, rows, _passed(drawn, np.int32)),
            *(_passed(observed, np.bool_), _passed(noise, np.float32)),
        )
        if failed < 0:
            raise MemoryError(f"there is no memory to draw {rows} rows")
        if failed:
            row = failed - 1
            bad = observed[row] & ((tokens[row] < 0) | (tokens[row] >= self._sizes))
            slot = int(bad.argmax())
            raise ValueError(
                f"row {row} has token {tokens[row, slot]} in slot {slot}; "
                f"allowed: 0 to {self._sizes[slot] - 1}"
            )
        return drawn

    def _nearness(self, nearness: WalkNearness | None) -> tuple[Any, ...]:
        """Store what the walk knows of neighbours; return the last fields of `Model`."""
        of_slot = np.full(self._slots, -1)
        if nearness is None:
            return self._ints(of_slot), None, None, None, None, 0
        numbers = (_Near * len(nearness.numbers))()
        for index, number in enumerate(nearness.numbers):
            of_slot[number.slot : number.slot + 2] = index
            sums = len(number.kernel) - number.numbers
            numbers[index] = _Near(
                *(number.slot, number.bins_from, number.masses, number.numbers, sums, 0),
                self._ints(number.neighbours),
                self._ints(number.begins),
                self._floats(np.array(number.signs, np.float32)),
                self._floats(number.between),
                self._floats(number.inside),
                self._kept.keep(np.pad(number.kernel, ((0, 0), (0, 0), (0, STEPS - KERNEL)))),
                self._kept.keep(number.place),
            )
        self._numbers = numbers
        return (
            self._ints(of_slot),
            ctypes.addressof(numbers),
            self._kept.keep(nearness.codes),
            self._floats(nearness.values),
            self._kept.keep(nearness.steps),
            # The step of the last distance but one, which only an equal point mass has.
            int(nearness.steps[-2]),
        )

    def _ints(self, values: Sequence[int] | NDArray[np.integer]) -> int:
        """Store int32 numbers; return their address."""
        return self._kept.keep(np.asarray(values, np.int32))

    def _floats(self, values: Floats, columns: int | None = None) -> int:
        """Store float32 numbers, with zeros behind them; return their address."""
        more = 0 if columns is None else columns - len(values)
        return self._kept.keep(np.pad(values, (0, more)))

    def _matrix(self, values: Floats, rows: int, columns: int) -> tuple[int, int]:
        """Store a matrix, zero-padded in rows and columns; return a `Matrix` of student_walk.c.

        The matrix is in half precision if all its numbers fit and the processor can widen them.
        """
        values = np.pad(values, ((0, rows - len(values)), (0, columns - values.shape[1])))
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        is_half = self._half and bool((half == values).all())
        return self._kept.keep(half if is_half else values), int(is_half)

    def _every(self, of_slots: Sequence[int | tuple[int, int]]) -> int:
        """Store the addresses, or the `Matrix`, of each slot's array; return the list's address."""
        return self._kept.keep(np.asarray(of_slots, np.uint64))


def open_walk(student: bytes, layout: TokenLayout, graph: Draw, name: str) -> StudentWalk | None:
    """Return a release's student in compiled code; None if only ONNX Runtime can run it.

    Before any request is answered, the two are compared on some rows; a warning says if they
    differ.

    Args:
        student: the student's ONNX graph.
        layout: layout of the release's rows.
        graph: draws rows with ONNX Runtime.
        name: the student's name, for the log.
    """
    library = load_library()
    if isinstance(library, str):
        log.info("%s is run by ONNX Runtime: %s", name, library)
        return None
    try:
        walk = StudentWalk(library, read_walk_weights(student, layout.sizes))
    except NotThisStudent as exc:
        log.warning("%s is run by ONNX Runtime, not compiled: %s", name, exc)
        return None
    try:
        differ = _differing(walk, graph, layout)
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        kind = type(exc).__name__
        log.warning("%s is run by ONNX Runtime, where it failed for some rows (%s)", name, kind)
        return None
    if differ > MAY_DIFFER:
        log.warning(
            "%s is run by ONNX Runtime: compiled it drew other rows, %d of %d",
            name,
            differ,
            COMPARED,
        )
        return None
    return walk


def _differing(walk: Draw, graph: Draw, layout: TokenLayout) -> int:
    """Count the rows that two ways of drawing complete differently.

    They complete `COMPARED` rows, of which more and more columns are known.
    """
    rng = np.random.default_rng(0)
    sizes, column = np.array(layout.sizes), np.array(layout.column)
    tokens = (rng.random((COMPARED, len(sizes))) * sizes).astype(np.int32)
    known = rng.random((COMPARED, column.max() + 1)) < np.linspace(0, 1, COMPARED)[:, None]
    observed = known[:, column]
    noise = rng.random((COMPARED, int(sizes.sum()) + len(sizes)), np.float32)
    return int((walk(tokens, observed, noise) != graph(tokens, observed, noise)).any(axis=1).sum())


def _with_gates(weights: WalkWeights) -> tuple[list[Floats], list[Floats]]:
    """Return each slot's last layer, with the gates as columns behind the logits.

    The gates say how much the slot takes from its neighbours; one product makes both.
    """
    weight_out, bias_out = [*weights.weight_out], [*weights.bias_out]
    for number in () if weights.nearness is None else weights.nearness.numbers:
        for slot, gate, bias in (
            (number.slot, number.gate, number.gate_bias),
            (number.slot + 1, number.fine_gate, number.fine_gate_bias),
        ):
            weight_out[slot] = np.concatenate([weight_out[slot], gate], axis=1)
            bias_out[slot] = np.concatenate([bias_out[slot], bias])
    return weight_out, bias_out


def _passed(values: NDArray[Any], dtype: type[np.generic]) -> Any:
    """Return an array as an argument of C, copied if it is not contiguous or not writable."""
    if values.dtype.type is dtype and values.flags.carray:
        return Argument.from_buffer(values)
    passed: Any = np.ascontiguousarray(values, dtype)
    return Argument.from_buffer(passed if passed.flags.writeable else passed.copy())


def _round_up(count: int) -> int:
    return -(-count // PAD) * PAD
