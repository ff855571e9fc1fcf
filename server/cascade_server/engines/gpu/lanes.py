"""A network at one batch size: its buffers on host and device, and the operations of a run.

A run copies its inputs from page-locked memory to the device, runs the network in the same stream
and copies the results back; the host waits once, at the end. If the program allows it, all of this
is one CUDA graph. The teacher's passes alternate between two buffers, so that nothing leaves the
device between passes.

If a batch is smaller than the lane, the rest of the arrays keeps its earlier content: rows do not
affect each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cascade_server.engines.gpu.device import Captured, Device
from cascade_server.engines.gpu.kernels import Reveal
from cascade_server.engines.philox import Uniform

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]


class Bound(Protocol):
    """A network over given buffers."""

    def enqueue(self) -> None:
        """Queue one run of the network on its bound buffers, without waiting."""


@dataclass(frozen=True)
class Binding:
    """The location of a network's tensor."""

    address: int
    shape: tuple[int, ...]
    dtype: DTypeLike


class Program(Protocol):
    """A network that can be bound to buffers.

    Attributes:
        capturable: whether the operations that it queues may be part of a CUDA graph.
    """

    capturable: bool

    def bind(self, rows: int, tensors: Mapping[str, Binding]) -> Bound:
        """Bind all inputs and outputs, by name, for batches of `rows`."""


@dataclass(frozen=True)
class Layout:
    """The layout of a row, as the lanes need it.

    Attributes:
        slots: T.
        columns: C.
        student_noise, teacher_noise: uniform numbers per row; the teacher's include C numbers for
            the order.
        column_of_slot: int32 [T].
        first_slot: int32 [C].
        leading: how many of the first slots are of columns that lead; see `TokenLayout`.
    """

    slots: int
    columns: int
    student_noise: int
    teacher_noise: int
    column_of_slot: NDArray[np.int32]
    first_slot: NDArray[np.int32]
    leading: int


class _Buffer:
    """The same array on the device and, page-locked, on the host."""

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.host = device.pinned(shape, dtype)
        self.address = device.allocate(max(1, self.host.nbytes))
        self.shape, self.dtype, self._device = shape, dtype, device

    @property
    def binding(self) -> Binding:
        return Binding(self.address, self.shape, self.dtype)

    def fill(self, value: NDArray[Any]) -> None:
        self.host[: len(value)] = value

    def send(self) -> None:
        self._device.copy_in(self.address, self.host)

    def fetch(self) -> None:
        self._device.copy_out(self.host, self.address)


class StudentLane:
    """The student for batches of up to `rows`."""

    def __init__(self, device: Device, program: Program, layout: Layout, rows: int) -> None:
        self.rows, self._device = rows, device
        self._tokens = _Buffer(device, (rows, layout.slots), np.int32)
        self._observed = _Buffer(device, (rows, layout.slots), np.bool_)
        self._noise = _Buffer(device, (rows, layout.student_noise), np.float32)
        self._noise.host.fill(0.5)
        self._noise.send()
        self._drawn = _Buffer(device, (rows, layout.slots), np.int32)
        self._bound = program.bind(
            rows,
            {
                "tokens": self._tokens.binding,
                "observed": self._observed.binding,
                "noise": self._noise.binding,
                "drawn": self._drawn.binding,
            },
        )
        self._graph: Captured = None
        self._once()  # a first run may allocate memory, which a graph cannot hold
        device.synchronize()
        if program.capturable:
            self._graph = device.capture(self._once)

    def draw(self, tokens: Tokens, observed: Mask, noise: Noise | Uniform) -> Tokens:
        """Complete int32 [n, T], n <= rows; noise is uniform [n, student_noise] or its location."""
        n = len(tokens)
        self._tokens.fill(tokens)
        self._observed.fill(observed)
        if isinstance(noise, Uniform):
            self._device.uniform(noise, 0, 0, self._noise.address)
        else:
            self._noise.fill(noise)
            self._device.copy_in(self._noise.address, self._noise.host[:n])
        self.queue()
        self._device.synchronize()
        return self._drawn.host[:n].copy()

    def queue(self) -> None:
        """Queue a run on the buffers' content, without waiting for it."""
        if self._graph is None:
            self._once()
        else:
            self._device.launch(self._graph)

    def _once(self) -> None:
        self._tokens.send()
        self._observed.send()
        self._bound.enqueue()
        self._drawn.fetch()


class TeacherLane:
    """All passes of the teacher for batches of up to `rows`."""

    def __init__(self, device: Device, program: Program, layout: Layout, rows: int) -> None:
        self.rows, self._device, self._layout = rows, device, layout
        shape = (rows, layout.slots)
        uniform = layout.teacher_noise - layout.columns
        self._tokens = _Buffer(device, shape, np.int32)
        self._observed = _Buffer(device, shape, np.bool_)
        self._at = _Buffer(device, shape, np.int32)
        self._at.host.fill(-1)
        self._order = device.allocate(max(1, 4 * rows * layout.columns))
        self._noise = _Buffer(device, (rows, uniform), np.float32)
        self._noise.host.fill(0.5)
        self._noise.send()
        self._step = _Buffer(device, (1,), np.int32)
        self._first_slot = device.allocate(layout.first_slot.nbytes)
        self._column = device.allocate(layout.column_of_slot.nbytes)
        device.copy_in(self._first_slot, layout.first_slot)
        device.copy_in(self._column, layout.column_of_slot)
        other = Binding(device.allocate(self._tokens.host.nbytes), shape, np.int32)
        other_step = Binding(device.allocate(4), (1,), np.int32)
        here, there = (self._tokens.binding, self._step.binding), (other, other_step)
        self._there, self._back = (
            program.bind(
                rows,
                {
                    "tokens": source[0],
                    "step": source[1],
                    "at": self._at.binding,
                    "noise": self._noise.binding,
                    "next_tokens": target[0],
                    "next_step": target[1],
                },
            )
            for source, target in ((here, there), (there, here))
        )
        self._graph: Captured = None
        self._twice()
        device.synchronize()
        if program.capturable:
            self._graph = device.capture(self._twice)

    def complete(
        self, tokens: Tokens, revealing_pass: Tokens, noise: Noise, passes: int, step: int = 0
    ) -> Tokens:
        """Take rows through their passes, starting with `step`.

        Args:
            tokens: int32 [n, T], n <= rows; 0 if nothing is known yet.
            revealing_pass: int32 [n, T], the pass that reveals each slot; see
                `sampling.reveal_passes`.
            noise: uniform float32 [n, N].
            passes: total number of passes.
            step: the first pass that is still to come.
        """
        n = len(tokens)
        self._tokens.fill(tokens)
        self._at.fill(revealing_pass)
        self._noise.fill(noise)
        self._device.copy_in(self._noise.address, self._noise.host[:n])
        self._at.send()
        return self._passes(n, passes, step)

    def generate(
        self, tokens: Tokens, observed: Mask, parts: Sequence[tuple[Uniform, int]]
    ) -> Tokens:
        """Complete rows with noise made on the device.

        Args:
            tokens, observed: int32 and bool [n, T], n <= rows.
            parts: consecutive parts of the rows, n rows in all. Each gives teacher_noise numbers
                per row and the most passes.
        """
        n, layout = len(tokens), self._layout
        self._tokens.fill(np.where(observed, tokens, 0))
        self._observed.fill(observed)
        self._observed.send()
        begin = passes = 0
        for noise, steps in parts:
            order = self._order + 4 * begin * layout.columns
            rest = self._noise.address + 4 * begin * (layout.teacher_noise - layout.columns)
            self._device.uniform(noise, order, layout.columns, rest)
            reveal = Reveal(
                *(noise.rows, steps, layout.columns, layout.slots, layout.leading),
                *(self._first_slot, self._column),
            )
            known = self._observed.address + begin * layout.slots
            revealing_pass = self._at.address + 4 * begin * layout.slots
            self._device.reveal(reveal, known, order, revealing_pass)
            missing = ~observed[begin : begin + noise.rows, layout.first_slot]
            passes = max(passes, min(steps, int(missing.sum(axis=1).max(initial=0))))
            begin += noise.rows
        return self._passes(n, passes, 0)

    def queue(self) -> None:
        """Queue two passes on the buffers' content, without waiting for them."""
        if self._graph is None:
            self._twice()
        else:
            self._device.launch(self._graph)

    def _passes(self, n: int, passes: int, step: int) -> Tokens:
        self._step.host[0] = step
        self._step.send()
        self._tokens.send()
        # Passes run in pairs, there and back. If their number is odd, the last pass reveals
        # nothing.
        for _ in range(-(-(passes - step) // 2)):
            self.queue()
        self._tokens.fetch()
        self._device.synchronize()
        return self._tokens.host[:n].copy()

    def _twice(self) -> None:
        self._there.enqueue()
        self._back.enqueue()
