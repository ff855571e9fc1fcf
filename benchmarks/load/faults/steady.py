"""A steady open-loop load of the SDK's users, whose every call is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import uvloop
from cascade_client import AsyncClient, CascadeError, Client, Retry
from cascade_client.errors import Failure

from benchmarks.load.faults.judging import OK, Call

# Attempts of the call of this task that were made again.
_retried: ContextVar[list[str]] = ContextVar("retried")
# Seconds that the last calls get to end.
LAST_CALLS = 15.0


@dataclass(frozen=True)
class TellingRetry(Retry):
    """The SDK's own policy, which writes down what it tries again."""

    def delay(
        self, failure: Failure, attempt: int, remaining: float | None, uniform: float
    ) -> float | None:
        wait = super().delay(failure, attempt, remaining, uniform)
        if wait is not None and (told := _retried.get(None)) is not None:
            told.append(failure.code.name)
        return wait


@dataclass(frozen=True)
class SteadyConfig:
    """What is offered.

    Attributes:
        rate: calls a second, evenly apart.
        clients: with a connection each, by turns.
        timeout: seconds of a call; the SDK's own, as it comes.
        kinds: fidelities, by turns.
        seeds: whether each call has a seed of its own, so that caches are asked; every other call
            asks again what the one before has asked.
    """

    rate: float = 100.0
    clients: int = 4
    timeout: float = 1.0
    kinds: Sequence[str] = ("fast", "fast", "auto", "fast")
    seeds: bool = False


def late_rows(target: str, table: str, count: int = 32, late: int = 3) -> list[dict[str, Any]]:
    """Rows of a table of which some features have not come, drawn from its own server."""
    with Client(target, timeout=30) as client:
        rows = client.generate(table, count, seed=1, kind="rows").data
    names = list(rows[0])
    return [
        {
            name: row[name]
            for name in names
            if name not in names[place % (len(names) - late) :][:late]
        }
        for place, row in enumerate(rows)
    ]


class Steady:
    """Offers calls in a thread of its own until it is stopped.

    Args:
        target, table: who is asked for what.
        rows: that are to be completed, by turns.
        config: how many, and how.
    """

    def __init__(
        self,
        target: str,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        config: SteadyConfig | None = None,
    ) -> None:
        self._target, self._table, self._rows = target, table, rows
        self._config = config or SteadyConfig()
        self._calls: list[Call] = []
        self._over, self.lag = threading.Event(), 0.0
        self._thread = threading.Thread(target=lambda: uvloop.run(self._offer()), daemon=True)

    @contextmanager
    def running(self) -> Iterator[Steady]:
        """While the block runs, and until the last calls have ended."""
        self._thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._thread.join()

    @property
    def calls(self) -> list[Call]:
        """Those that have ended, in the order in which they were due."""
        return sorted(self._calls, key=lambda call: call.due)

    async def _offer(self) -> None:
        config, tasks = self._config, set()
        clients = [
            AsyncClient(self._target, timeout=config.timeout, retry=TellingRetry())
            for _ in range(config.clients)
        ]
        begin, number = time.monotonic() + 0.1, 0
        try:
            while not self._over.is_set():
                due = begin + number / config.rate
                wait = due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                self.lag = max(self.lag, time.monotonic() - due)
                work = self._call(clients[number % len(clients)], number, due)
                task = asyncio.create_task(work)
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
            if tasks:
                await asyncio.wait(tasks, timeout=LAST_CALLS)
        finally:
            for client in clients:
                await client.close()

    async def _call(self, client: AsyncClient, number: int, due: float) -> None:
        told: list[str] = []
        _retried.set(told)
        kind = self._config.kinds[number % len(self._config.kinds)]
        seed = number // 2 if self._config.seeds else None
        try:
            await client.synthesize(
                self._table, self._rows[number % len(self._rows)], fidelity=kind, seed=seed
            )
            code = OK
        except CascadeError as exc:
            code = exc.code.name if exc.code is not None else type(exc).__name__
        self._calls.append(Call(due, time.monotonic(), code, tuple(told), kind))
