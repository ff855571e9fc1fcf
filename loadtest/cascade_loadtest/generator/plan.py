"""What the processes of a load do: every call, when it is due, and what it asks for.

A plan is made once and shared out, call by call, so that the processes together do what one would
have done. It travels as a file of NumPy's (`.npz`, no pickle).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cascade_loadtest.requests import SYNTHESIZE


@dataclass(frozen=True)
class Plan:
    """The calls of a load.

    Attributes:
        target: "host:port".
        kinds: names of the kinds of call.
        messages: serialised requests that calls send, over and over.
        due: seconds from the beginning, increasing.
        message: of each call, its place in `messages`.
        kind: of each call, its place in `kinds`.
        deadline: of each call, seconds from when it is due.
        connections: the calls go round them.
        window: seconds of a point of what is told over time.
        in_flight: calls that are always under way, in the place of `due`: a closed loop, for
            `seconds`; 0: there is none.
        seconds: how long the run is.
    """

    target: str
    kinds: Sequence[str]
    messages: Sequence[bytes]
    due: NDArray[np.float64]
    message: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    deadline: NDArray[np.float64]
    seconds: float
    connections: int = 4
    window: float = 1.0
    in_flight: int = 0
    method: str = SYNTHESIZE

    def __len__(self) -> int:
        return len(self.due)

    def share(self, number: int, processes: int) -> Plan:
        """What one of some processes does: every so-manieth call, on its part of connections."""
        own = slice(number, None, processes)
        return Plan(
            self.target,
            self.kinds,
            self.messages,
            self.due[own],
            self.message[own],
            self.kind[own],
            self.deadline[own],
            self.seconds,
            max(1, len(range(number, self.connections, processes))),
            self.window,
            self.in_flight,
            self.method,
        )

    def save(self, path: Path) -> None:
        """Write it for another process."""
        lengths = np.array([len(each) for each in self.messages], np.int64)
        said = {
            "target": self.target,
            "kinds": list(self.kinds),
            "seconds": self.seconds,
            "connections": self.connections,
            "window": self.window,
            "in_flight": self.in_flight,
            "method": self.method,
        }
        np.savez(
            path,
            said=np.frombuffer(json.dumps(said).encode(), np.uint8),
            bodies=np.frombuffer(b"".join(self.messages), np.uint8),
            lengths=lengths,
            due=self.due,
            message=self.message,
            kind=self.kind,
            deadline=self.deadline,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan that `save` wrote."""
        with np.load(path, allow_pickle=False) as found:
            said: dict[str, Any] = json.loads(found["said"].tobytes())
            bodies, ends = found["bodies"].tobytes(), np.cumsum(found["lengths"])
            begins = ends - found["lengths"]
            messages = [bodies[a:b] for a, b in zip(begins, ends, strict=True)]
            return cls(
                messages=messages,
                due=found["due"],
                message=found["message"],
                kind=found["kind"],
                deadline=found["deadline"],
                **said,
            )
