"""What a tenant is charged for its requests: what it was sent, and nothing else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.access import rates
from cascade_server.access.grants import Caller as Asking
from cascade_server.cascade.token_draw import TokenDraw
from cascade_server.config import ServerConfig
from cascade_server.counts.metering import Metering
from cascade_server.counts.outside_counts import OutsideCounts
from cascade_server.counts.sla import Sla
from cascade_server.engines.noise import noise_of, stream
from cascade_server.errors import DeadlinePassed, NotReady
from cascade_server.services.allowance import Allowance
from cascade_server.services.answering import Answering, Serving
from cascade_server.services.exchange import Exchange
from cascade_server.services.synthesize_message import SynthesizeMessage
from cascade_server.terms import ServiceClass, Tier
from cascade_server.wire.synthesis_request import Heading

from tests.releases import TABLE
from tests.server.access.examples import Clock, access_of, headers, key_of, lines
from tests.server.cascade.stalled import Cascade
from tests.server.messages import ask
from tests.server.services.test_answering import Caller, Sent

TENANTS = f"""
tenants:
  batch:
    keys: {lines("batch")}
    tables: "*"
    may: [synthesize]
    quotas: {{rows: 100}}
    rates: {{rows: {{per_second: 1, burst: 100}}}}
"""
FAST, AUTO, FULL = pb.FIDELITY_FAST, pb.FIDELITY_AUTO, pb.FIDELITY_FULL


class TokenMessage:
    """Forty rows of tokens for the teacher, with no cascade in between."""

    def heading(self) -> Heading:
        return Heading(TABLE, 0, ServiceClass.REALTIME, None, 0, 40)

    def read(self, runtime: Any, work: Any) -> TokenDraw:
        tokens = np.zeros((40, runtime.slots), np.int32)
        noise = noise_of(stream(1))
        return TokenDraw(runtime, Tier.TEACHER, tokens, tokens > 0, noise, 1, work)

    def pack(self, answer: Any) -> bytes:
        return b""


class Bench:
    """A tenant of a hundred rows a day, and as many at once, and a cascade that it asks."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.cascade, self.clock = Cascade(repository), Clock()
        self.access = access_of(TENANTS, folder, self.clock)
        found = self.access.caller(headers(key_of("batch")[0]))
        assert isinstance(found, Asking)
        self.tenant = found
        cascade, config = self.cascade, ServerConfig(repository=repository)
        sla = Sla(config)
        self.answering = Answering(
            lambda: Serving(cascade.repository, cascade.dispatcher, cascade.answers),
            partial(sla.call, ServiceClass.REALTIME),
            config,
            OutsideCounts(),
            Metering(sla.ledger.book.compute),
            allowance=Allowance(self.access),
        )

    def ask(self, message: Any) -> Caller:
        """Ask in a turn of its own; whoever has to wait does so in his task."""
        caller = Caller()
        self.answering.answer([Exchange(message, caller, 0.0, math.inf, self.tenant)])
        return caller

    def left(self) -> tuple[int, int, float]:
        """Rows left of the day, rows that it was let have, and seconds until all may be asked for
        at once again."""
        counts, slot = self.access.counts.all, self.tenant.slot
        day = rates.day_of(self.clock.now)
        full = max(0.0, counts.rows[slot] / 1e9 - self.clock.now)
        return 100 - counts.today("rows", slot, day), counts.total("answered", slot), round(full)


@pytest.fixture
def bench(repository: Path, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(repository, tmp_path)
    yield found
    found.cascade.dispatcher.close()


def rows(fidelity: Any, **how: Any) -> SynthesizeMessage:
    return SynthesizeMessage(Sent(ask(draws=40, fidelity=fidelity, **how)))


NOTHING, FORTY = (100, 0, 0), (60, 40, 40)


async def test_what_is_sent_is_charged(bench: Bench) -> None:
    assert bench.ask(rows(FAST)).code is grpc.StatusCode.OK
    assert bench.left() == FORTY


@pytest.mark.parametrize("message", [partial(rows, FULL), TokenMessage])
async def test_so_it_is_where_it_has_to_wait(bench: Bench, message: Callable[[], Any]) -> None:
    caller = bench.ask(message())
    assert caller.task is not None
    # Of many that come at once, no more are drawn than its rows last for.
    assert bench.left() == (60, 0, 40)
    bench.cascade.teacher.may_draw.set()
    await caller.task
    assert bench.left() == FORTY


@pytest.mark.parametrize("message", [partial(rows, FULL), TokenMessage])
async def test_what_is_refused_later_is_not(bench: Bench, message: Callable[[], Any]) -> None:
    bench.cascade.teacher.fails = NotReady("it died")
    bench.cascade.teacher.may_draw.set()
    for _ in range(5):
        caller = bench.ask(message())
        assert caller.task is not None
        await caller.task
        assert caller.code is grpc.StatusCode.UNAVAILABLE
    assert bench.left() == NOTHING


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("message", [partial(rows, FULL), TokenMessage])
async def test_who_hangs_up_before_anything_is_sent_is_not(
    bench: Bench, message: Callable[[], Any], begun: bool
) -> None:
    caller = bench.ask(message())
    assert caller.task is not None
    if begun:
        await bench.cascade.until(lambda: bench.cascade.teacher.asked == 1)
        caller.task.cancel()
    else:
        caller.gone = True
    await asyncio.gather(caller.task, return_exceptions=True)
    assert bench.left() == NOTHING


async def test_what_is_refused_in_its_turn_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = DeadlinePassed("refused before it was late")
    monkeypatch.setattr(bench.cascade.answers, "answer_now", lambda asked: [late for _ in asked])
    for _ in range(5):
        assert bench.ask(rows(FAST)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert bench.left() == NOTHING


async def test_nothing_comes_back_to_a_day_that_is_over(bench: Bench) -> None:
    """Nor to a rate that has been whole since."""
    caller = bench.ask(rows(FULL))
    bench.clock.now += rates.DAY
    assert bench.ask(rows(FAST)).code is grpc.StatusCode.OK
    assert bench.left() == FORTY
    assert caller.task is not None
    bench.cascade.teacher.fails = NotReady("it died")
    bench.cascade.teacher.may_draw.set()
    await caller.task
    assert bench.left() == FORTY
