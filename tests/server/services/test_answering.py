"""The life of requests that come together: read, checked, answered, packed, counted."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.errors import Refusal
from cascade_server.services.exchange import Exchange
from cascade_server.services.synthesize_message import SynthesizeMessage

from tests.releases import TABLE, make_release
from tests.server.messages import ask, row
from tests.server.running import Running, running

OK = grpc.StatusCode.OK


class Sent:
    """A message that has come."""

    def __init__(self, request: pb.SynthesizeRequest | bytes) -> None:
        self.message = request if isinstance(request, bytes) else request.SerializeToString()


class Caller:
    """Keeps what it is told; its tasks are those of the event loop."""

    patient = paused = False
    is_rpc, method, headers = True, "/cascade.v1.Synthesis/Synthesize", ()

    def __init__(self, gone: bool = False) -> None:
        self.gone = gone
        self.answer: pb.SynthesizeResponse | None = None
        self.refusal: Refusal | None = None
        self.task: asyncio.Task[None] | None = None

    def open(self) -> bool:
        return True

    def send(self, message: bytes) -> None:
        self.answer = pb.SynthesizeResponse.FromString(message)

    def refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.create_task(work)

    @property
    def code(self) -> grpc.StatusCode:
        return OK if self.refusal is None else self.refusal.code


class Bench:
    """A server that is asked from inside, whatever its transport is."""

    def __init__(self, server: Running) -> None:
        self.server, self.service = server, server.server.service
        self.codes: list[Any] = []
        record = server.server.sla.record

        def note(*outcome: Any) -> None:
            self.codes.append(outcome[3])
            record(*outcome)

        server.server.sla.record = note  # type: ignore[method-assign]

    def together(
        self,
        *requests: pb.SynthesizeRequest | bytes,
        change: Callable[[list[Exchange]], None] = len,  # type: ignore[assignment]
    ) -> list[Any]:
        """Ask in one turn, and wait until all have been told something."""
        callers: list[Any] = [Caller() for _ in requests]

        async def turn() -> None:
            exchanges = [
                Exchange(SynthesizeMessage(Sent(request)), caller, 0.0, math.inf)
                for request, caller in zip(requests, callers, strict=True)
            ]
            change(exchanges)
            self.service.answering.answer(exchanges)
            for caller in callers:
                if caller.task is not None:
                    await caller.task

        self.server.run(turn())
        return callers

    def student_runs(self) -> int:
        found = self.service.own_statistics().engines
        return sum(engine.runs for engine in found if engine.tier == pb.TIER_STUDENT)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    make_release(folder, table="shops")
    return folder


@pytest.fixture
def bench(models: Path) -> Iterator[Bench]:
    """Pool and cache as they are by default; the pool holds what a test has made."""
    config = ServerConfig(repository=models, port=0, pool_bytes=2**22, cache_bytes=2**20)
    with running(config) as server:
        server.server.service.dispatcher.last_offline = math.inf
        yield Bench(server)


FAST = pb.FIDELITY_FAST


class TestTogether:
    """What neither pool nor cache knows is drawn in one run, without a task a request."""

    def test_without_a_seed(self, bench: Bench) -> None:
        before = bench.student_runs()
        callers = bench.together(*[ask(row(items=3), fidelity=FAST) for _ in range(8)])
        assert [(each.code, each.task) for each in callers] == [(OK, None)] * 8
        assert bench.student_runs() - before == 1
        assert len({each.answer.provenance.seed for each in callers}) == 8

    def test_with_seeds_that_are_new(self, bench: Bench) -> None:
        before = bench.student_runs()
        callers = bench.together(*[ask(row(items=3), seed=i, fidelity=FAST) for i in range(8)])
        assert [(each.code, each.task) for each in callers] == [(OK, None)] * 8
        assert bench.student_runs() - before == 1

    def test_pool_and_cache_and_draw_in_one_turn(self, bench: Bench) -> None:
        pooled = bench.service.answers.pooled
        assert pooled is not None
        bench.server.run(pooled.refill.fill())
        known = ask(row(items=3), seed=7, fidelity=FAST)
        (first,) = bench.together(known)
        from_pool, cached, drawn = bench.together(ask(), known, ask(row(items=4), fidelity=FAST))
        assert [each.task for each in (from_pool, cached, drawn)] == [None] * 3
        assert from_pool.answer.provenance.from_pool
        assert cached.answer.provenance.cached
        assert cached.answer.rows == first.answer.rows
        said = drawn.answer.provenance
        assert (said.from_pool, said.cached, said.tier) == (False, False, pb.TIER_STUDENT)

    def test_equal_requests_with_a_seed_are_drawn_once(self, bench: Bench) -> None:
        request = ask(row(items=3), seed=11, draws=4, fidelity=FAST)
        callers = bench.together(request, request, request)
        assert [each.task for each in callers] == [None] * 3
        assert [each.answer.provenance.cached for each in callers] == [False, True, True]
        assert callers[0].answer.rows == callers[1].answer.rows == callers[2].answer.rows
        told = bench.service.own_statistics().cache
        assert (told.misses, told.joined, told.hits) == (1, 2, 0)

    def test_equal_requests_that_have_to_wait_are_drawn_once(self, bench: Bench) -> None:
        request = ask(row(items=3), seed=12, fidelity=pb.FIDELITY_FULL)
        callers = bench.together(request, request)
        assert [each.answer.provenance.cached for each in callers] == [False, True]
        told = bench.service.own_statistics().cache
        assert (told.misses, told.joined) == (1, 1)


class TestFailures:
    """What goes wrong with one changes nothing for the others of its turn."""

    def test_at_every_step(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        good = ask(row(items=3), seed=1, fidelity=FAST)

        def broken(*_: Any) -> bytes:
            raise RuntimeError("no such thing")

        def change(exchanges: list[Exchange]) -> None:
            exchanges[3].message.pack = broken  # type: ignore[method-assign]
            exchanges[4].caller.send = broken  # type: ignore[method-assign,assignment]
            exchanges[5].caller.gone = True  # type: ignore[misc]
            exchanges[6].caller.send = exchanges[6].caller.refuse = broken  # type: ignore[method-assign,assignment]

        class Message(SynthesizeMessage):
            """One that takes other attributes."""

        monkeypatch.setattr(
            "tests.server.services.test_answering.SynthesizeMessage", Message, raising=True
        )
        some = [ask(row(items=5), seed=i, fidelity=FAST) for i in range(20, 24)]
        callers = bench.together(
            b"\xff", ask(table="nope"), ask(row(items=99), strict=True), *some, good, change=change
        )
        codes = [each.code for each in callers]
        assert codes[:3] == [
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
        ]
        assert codes[3:5] == [grpc.StatusCode.INTERNAL] * 2
        assert callers[5].answer is None
        assert callers[7].answer.rows.count == 1
        assert len(bench.codes) == len(callers)

    @pytest.mark.parametrize("seed", [None, 5])
    def test_what_pool_or_cache_fail_with(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int | None
    ) -> None:
        """A request that the pool, or the cache, cannot even be asked for."""
        answers = bench.service.answers
        assert answers.pooled is not None
        assert answers.cached is not None
        took, looked = answers.pooled.answer, answers.cached.look

        def fails(of: Any) -> Any:
            def look(request: Any) -> Any:
                if request.given["items"] == [8]:
                    raise RuntimeError("broken")
                return of(request)

            return look

        monkeypatch.setattr(answers.pooled, "answer", fails(took))
        monkeypatch.setattr(answers.cached, "look", fails(looked))
        named = {} if seed is None else {"seed": seed}
        callers = bench.together(
            *[ask(row(items=items), fidelity=FAST, **named) for items in (7, 8, 7)]
        )
        assert [each.code for each in callers] == [OK, grpc.StatusCode.INTERNAL, OK]

    def test_the_first_of_equal_requests_is_not_packed(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next of them is drawn for."""
        from cascade_server.store import answers

        decode, calls = answers.drawn_answer, []

        def fails_once(request: Any, drawn: Any) -> Any:
            calls.append(request)
            if len(calls) == 1:
                raise RuntimeError("broken")
            return decode(request, drawn)

        monkeypatch.setattr(answers, "drawn_answer", fails_once)
        request = ask(row(items=3), seed=13, fidelity=FAST)
        callers = bench.together(request, request)
        assert [each.code for each in callers] == [grpc.StatusCode.INTERNAL, OK]
        assert not callers[1].answer.provenance.cached

    def test_a_run_that_fails_is_told_to_all_of_it_and_pooled_rows_are_given(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pooled = bench.service.answers.pooled
        assert pooled is not None
        bench.server.run(pooled.refill.fill())

        def broken(*_: Any) -> Any:
            raise RuntimeError("no memory")

        for runtime, engines in bench.service.dispatcher.engines.items():
            if runtime.release.manifest.table == TABLE:
                monkeypatch.setattr(engines, "draw_now", broken)
        other = ask(table="shops", fidelity=FAST, seed=1)
        fast = [ask(row(items=items), fidelity=FAST, seed=2) for items in (3, 4)]
        callers = bench.together(ask(), *fast, other)
        internal = grpc.StatusCode.INTERNAL
        assert [each.code for each in callers] == [OK, internal, internal, OK]

    def test_a_request_that_cannot_be_routed_fails_alone(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        route = bench.service.dispatcher.route

        def fails_once(request: Any) -> Any:
            if request.seed == 7:
                raise RuntimeError("no way")
            return route(request)

        monkeypatch.setattr(bench.service.dispatcher, "route", fails_once)
        callers = bench.together(
            *[ask(row(items=3), fidelity=FAST, seed=seed) for seed in (6, 7, 8)]
        )
        assert [each.code for each in callers] == [OK, grpc.StatusCode.INTERNAL, OK]
