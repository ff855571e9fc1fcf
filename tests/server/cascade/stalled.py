"""A cascade whose teacher does what a test says; nothing of it is served."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cascade_server.cascade.answer import Answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import CheckedRequest, check
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.deadline import Work
from cascade_server.engines.engine import EngineStatistics
from cascade_server.engines.runtime import Tokens
from cascade_server.engines.teacher import TeacherInput
from cascade_server.objectives.objective import SloConfig
from cascade_server.store.answers import Answers
from cascade_server.terms import Wanted
from cascade_server.wire.synthesis_request import SynthesisRequest

from tests.releases import TABLE

# What AUTO is promised: short beside the deadlines of tests, and so the end of its patience.
PROMISED = 0.1
# Longer than anything here takes.
SOON = 60.0


class Teacher:
    """Predicts little, and draws no row before it may.

    Attributes:
        may_draw: to be set for that.
        asked: how often it was to draw.
        fails: what it raises then in place of rows.
        scoring: is called when it scores.
    """

    most_rows = 1024

    def __init__(self) -> None:
        self.may_draw, self.asked = asyncio.Event(), 0
        self.fails: Exception | None = None
        self.scoring: Callable[[], None] = int

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        self.asked += 1
        await self.may_draw.wait()
        await asyncio.sleep(0)  # no teacher has its rows at once
        if self.fails is not None:
            raise self.fails
        return given.tokens.copy(), 0.0

    async def log_likelihood(self, tokens: Tokens, *_: Any) -> Any:
        self.scoring()
        return np.zeros(len(tokens))

    def predict(self, rows: int, passes: int) -> float:
        return 1e-6

    def statistics(self) -> EngineStatistics:
        return EngineStatistics()

    def away(self) -> str:
        return "the teacher is away"


class Cascade:
    """One process's, with a cache, on a clock that stands still until it is told to go on."""

    def __init__(self, repository: Path) -> None:
        self.now = time.monotonic()
        config = ServerConfig(repository=repository, pool_bytes=0, cache_bytes=2**20)
        self.repository = Repository.load(repository, 1, lambda _: None, wanted={TABLE: [1]})
        ledger = Ledger(SloConfig(objectives=()), [TABLE])
        self.teacher = Teacher()
        self.dispatcher = Dispatcher(
            self.repository, config, ledger.report, teachers=lambda _: self.teacher
        )
        self.dispatcher.promised[TABLE] = PROMISED
        self.answers = Answers(self.dispatcher, self.repository, config, ledger)

    def request(self, wanted: Wanted, remaining: float = math.inf, **how: Any) -> CheckedRequest:
        """A request for a whole row."""
        asked = SynthesisRequest(1, wanted=wanted, **how)
        work = Work(self.now + remaining, clock=lambda: self.now)
        return check(asked, self.repository.find(TABLE), work, 16)

    def ask(self, wanted: Wanted, remaining: float = math.inf, **how: Any) -> asyncio.Task[Answer]:
        """Ask for it, as one that has to wait."""
        return asyncio.create_task(self.answers.answer(self.request(wanted, remaining, **how)))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(SOON):
            while not holds():
                await asyncio.sleep(0)
