"""What the processes of a server take, whatever for: processors and memory, by what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from cascade_server.memory import Memory


class ProcessRole(StrEnum):
    """What a process of a server does."""

    WORKER = "worker"
    TEACHER = "teacher"
    EXECUTOR = "executor"
    KEEPER = "keeper"


class Held(NamedTuple):
    """Bytes of memory: of a process, and, of these, of its pool and of its cache."""

    process: float = 0.0
    pool: float = 0.0
    cache: float = 0.0


class ProcessUsed(NamedTuple):
    """What processes of one role have used.

    Attributes:
        processes: that live.
        seconds: of one processor, also of those that have ended.
        held: bytes that they have now.
        peak: bytes, the sum of the most that each of them has had.
        byte_seconds: bytes times seconds so far, also of those that have ended.
    """

    processes: int = 0
    seconds: float = 0.0
    held: Held = Held()
    peak: float = 0.0
    byte_seconds: Held = Held()

    def plus(self, other: ProcessUsed) -> ProcessUsed:
        """The sum of what two groups of processes have used."""
        return ProcessUsed(
            self.processes + other.processes,
            self.seconds + other.seconds,
            _sum(self.held, other.held),
            self.peak + other.peak,
            _sum(self.byte_seconds, other.byte_seconds),
        )


def _sum(one: Held, other: Held) -> Held:
    return Held(*(mine + its for mine, its in zip(one, other, strict=True)))


# Numbers of a place: see `ProcessPlace`.
RESTORED, ENDED, SECONDS, ALIVE, PEAK, HELD, BYTE_SECONDS, OF_BEFORE = 0, 1, 2, 3, 4, 5, 8, 11
WIDTH = 14


class ProcessPlace:
    """The place of one process at a time, which writes to it now and then.

    Args:
        role: what the processes here do.
        memory: where it lies; any process may look.
    """

    def __init__(self, role: ProcessRole, memory: Memory) -> None:
        self.role = role
        self._numbers = memory.floats(WIDTH)

    def succeed(self) -> None:
        """Begin here: what the one before has used is kept, what it held is gone."""
        numbers = self._numbers
        numbers[ENDED] += numbers[SECONDS]
        numbers[[SECONDS, ALIVE]] = 0.0, 1.0
        numbers[HELD : HELD + 3] = 0.0

    def leave(self) -> None:
        """Close the account of a process that has ended."""
        self.succeed()
        self._numbers[ALIVE] = 0.0

    def uses(self, seconds: float) -> None:
        """Processor seconds of this process since it began."""
        self._numbers[SECONDS] = seconds

    def holds(self, held: Held, elapsed: float) -> None:
        """Memory of this process now, and seconds since it was last said."""
        numbers = self._numbers
        numbers[HELD : HELD + 3] = held
        numbers[BYTE_SECONDS : BYTE_SECONDS + 3] += [elapsed * each for each in held]
        numbers[PEAK] = max(float(numbers[PEAK]), held.process)

    def restore(self, seconds: float, byte_seconds: Held) -> None:
        """What such processes of an earlier server have used."""
        self._numbers[RESTORED] = seconds
        self._numbers[OF_BEFORE : OF_BEFORE + 3] = byte_seconds

    def used_here(self) -> ProcessUsed:
        """Of all that were here, of this server."""
        numbers = self._numbers.tolist()
        alive = numbers[ALIVE] > 0
        held = Held(*numbers[HELD : HELD + 3]) if alive else Held()
        byte_seconds = Held(*numbers[BYTE_SECONDS : BYTE_SECONDS + 3])
        seconds = numbers[ENDED] + numbers[SECONDS]
        return ProcessUsed(int(alive), seconds, held, numbers[PEAK], byte_seconds)

    def used(self) -> ProcessUsed:
        """The same, and of such processes of earlier servers."""
        numbers = self._numbers.tolist()
        before = Held(*numbers[OF_BEFORE : OF_BEFORE + 3])
        return self.used_here().plus(ProcessUsed(seconds=numbers[RESTORED], byte_seconds=before))


def by_role(
    places: Sequence[ProcessPlace], here: bool = False
) -> Mapping[ProcessRole, ProcessUsed]:
    """What all of them have used, by what they do; `here`: without that of earlier servers."""
    found: dict[ProcessRole, ProcessUsed] = {}
    for place in places:
        used = place.used_here() if here else place.used()
        found[place.role] = found.get(place.role, ProcessUsed()).plus(used)
    return found
