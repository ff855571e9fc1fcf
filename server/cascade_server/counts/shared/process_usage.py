"""Processor time and memory of a server's processes, by their role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from cascade_server.memory import Memory


class ProcessRole(StrEnum):
    """The role of a server's process."""

    WORKER = "worker"
    TEACHER = "teacher"
    EXECUTOR = "executor"
    KEEPER = "keeper"


class Held(NamedTuple):
    """Bytes of memory: of a process, and of its pool and cache within that."""

    process: float = 0.0
    pool: float = 0.0
    cache: float = 0.0


class ProcessUsed(NamedTuple):
    """Usage of the processes of one role.

    Attributes:
        processes: processes that are alive.
        seconds: seconds of one processor, including processes that have ended.
        held: bytes that the processes hold now.
        peak: bytes, the sum of each process's maximum.
        byte_seconds: bytes times seconds so far, including processes that have ended.
    """

    processes: int = 0
    seconds: float = 0.0
    held: Held = Held()
    peak: float = 0.0
    byte_seconds: Held = Held()

    def plus(self, other: ProcessUsed) -> ProcessUsed:
        """Return the combined usage of two groups of processes."""
        return ProcessUsed(
            self.processes + other.processes,
            self.seconds + other.seconds,
            _sum(self.held, other.held),
            self.peak + other.peak,
            _sum(self.byte_seconds, other.byte_seconds),
        )


def _sum(one: Held, other: Held) -> Held:
    return Held(*(mine + its for mine, its in zip(one, other, strict=True)))


# Positions of the numbers in a place; see `ProcessPlace`.
RESTORED, ENDED, SECONDS, ALIVE, PEAK, HELD, BYTE_SECONDS, OF_BEFORE = 0, 1, 2, 3, 4, 5, 8, 11
WIDTH = 14


class ProcessPlace:
    """A place for one process at a time, which regularly writes its usage there.

    Args:
        role: role of the processes here.
        memory: holds the numbers; any process may read.
    """

    def __init__(self, role: ProcessRole, memory: Memory) -> None:
        self.role = role
        self._numbers = memory.floats(WIDTH)

    def succeed(self) -> None:
        """Begin here: keep the usage of the process before, and drop what it held."""
        numbers = self._numbers
        numbers[ENDED] += numbers[SECONDS]
        numbers[[SECONDS, ALIVE]] = 0.0, 1.0
        numbers[HELD : HELD + 3] = 0.0

    def leave(self) -> None:
        """Close the account of a process that has ended."""
        self.succeed()
        self._numbers[ALIVE] = 0.0

    def uses(self, seconds: float) -> None:
        """Set the processor seconds of this process since it began."""
        self._numbers[SECONDS] = seconds

    def holds(self, held: Held, elapsed: float) -> None:
        """Set the current memory of this process, `elapsed` seconds after the last time."""
        numbers = self._numbers
        numbers[HELD : HELD + 3] = held
        numbers[BYTE_SECONDS : BYTE_SECONDS + 3] += [elapsed * each for each in held]
        numbers[PEAK] = max(float(numbers[PEAK]), held.process)

    def restore(self, seconds: float, byte_seconds: Held) -> None:
        """Add the usage of such processes of an earlier server."""
        self._numbers[RESTORED] = seconds
        self._numbers[OF_BEFORE : OF_BEFORE + 3] = byte_seconds

    def used_here(self) -> ProcessUsed:
        """Return the usage of all processes of this server that were here."""
        numbers = self._numbers.tolist()
        alive = numbers[ALIVE] > 0
        held = Held(*numbers[HELD : HELD + 3]) if alive else Held()
        byte_seconds = Held(*numbers[BYTE_SECONDS : BYTE_SECONDS + 3])
        seconds = numbers[ENDED] + numbers[SECONDS]
        return ProcessUsed(int(alive), seconds, held, numbers[PEAK], byte_seconds)

    def used(self) -> ProcessUsed:
        """Return the same, including such processes of earlier servers."""
        numbers = self._numbers.tolist()
        before = Held(*numbers[OF_BEFORE : OF_BEFORE + 3])
        return self.used_here().plus(ProcessUsed(seconds=numbers[RESTORED], byte_seconds=before))


def by_role(
    places: Sequence[ProcessPlace], here: bool = False
) -> Mapping[ProcessRole, ProcessUsed]:
    """Return the usage by role; with `here`, without earlier servers."""
    found: dict[ProcessRole, ProcessUsed] = {}
    for place in places:
        used = place.used_here() if here else place.used()
        found[place.role] = found.get(place.role, ProcessUsed()).plus(used)
    return found
