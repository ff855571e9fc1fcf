"""Turns whose event loop, clock and callers are of the tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from unittest.mock import Mock

from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import Gate
from cascade_server.services.exchange import Exchange
from cascade_server.services.turns import Turns


class Clock:
    """Goes on by as much as it is told at each look."""

    def __init__(self, *steps: float) -> None:
        self.now, self._steps = 0.0, list(steps)

    def __call__(self) -> float:
        if self._steps:
            self.now += self._steps.pop(0)
        return self.now


class Caller:
    """Somebody who may be patient, or gone."""

    paused = False

    def __init__(self, patient: bool = False, gone: bool = False) -> None:
        self.patient, self.gone = patient, gone
        self.opens = True

    def open(self) -> bool:
        return self.opens

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()


class Compressed(Caller):
    """Somebody whose message is not to be inflated yet."""

    paused = True


class Bench:
    """Turns whose event loop is a list, and what they have had answered."""

    def __init__(self, most: int = 2, clock: Clock | None = None, room: int | None = None) -> None:
        self.gate = Gate(LimitConfig(promised=50e-3))
        if room is not None:
            self.gate.room = lambda: room  # type: ignore[method-assign]
        self.soon: list[Callable[[], None]] = []
        self.answered: list[tuple[list[str], int]] = []
        self.gone: list[str] = []
        self.started = 0
        answering = Mock(answer=self.answer, gave_up=lambda each: self.gone.append(each.message))
        self.turns = Turns(answering, lambda: self.gate, most, clock or Clock(), self.soon.append)

    def answer(self, exchanges: Sequence[Any], waiting: int) -> int:
        self.answered.append(([each.message for each in exchanges], waiting))
        return self.started

    def add(self, name: Any, deadline: float = math.inf, caller: Any = None) -> None:
        self.turns.add(Exchange(name, caller or Caller(), 0.0, deadline))

    def turn(self) -> None:
        """One turn of the event loop."""
        due, self.soon[:] = list(self.soon), []
        for each in due:
            each()
