"""`SynthesizeStream`: many requests over one standing connection, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig
from cascade_server.server import Server

from tests.releases import TABLE
from tests.server.messages import ask, column, row
from tests.server.running import DRAWN_ANEW, Running, running

FAST = pb.FIDELITY_FAST


def message(*requests: pb.SynthesizeRequest, first: int = 0) -> pb.SynthesizeStreamRequest:
    """One message; ids count from `first`."""
    return pb.SynthesizeStreamRequest(
        requests=[pb.StreamedRequest(id=first + i, request=r) for i, r in enumerate(requests)]
    )


def answers(
    stub: Any, messages: Iterable[pb.SynthesizeStreamRequest], **options: Any
) -> dict[int, pb.StreamedAnswer]:
    """Send all, half-close, and collect what comes, by id."""
    found: dict[int, pb.StreamedAnswer] = {}
    for part in stub.SynthesizeStream(iter(messages), **options):
        for each in part.answers:
            assert each.id not in found
            found[each.id] = each
    return found


def refusal(stub: Any, request: pb.SynthesizeRequest) -> tuple[int, str]:
    """What the unary call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Synthesize(request)
    error: Any = caught.value
    return error.code().value[0], error.details()


class TestAnswers:
    """Each request is answered once, as the unary call would."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL", "FIDELITY_AUTO"])
    def test_rows_are_those_of_synthesize(self, serving: Running, fidelity: Any) -> None:
        asked = [
            ask(row(items=1 + i % 8), seed=i, draws=1 + i % 3, fidelity=fidelity) for i in range(40)
        ]
        found = answers(serving.stub, [message(*asked)])
        assert sorted(found) == list(range(40))
        for at, request in enumerate(asked):  # by the tier that answered, which AUTO leaves open
            response = found[at].response
            teacher = response.provenance.tier == pb.TIER_TEACHER
            request.fidelity = pb.FIDELITY_FULL if teacher else FAST
            assert response.rows == serving.stub.Synthesize(request).rows

    def test_many_messages_of_one_request(self, serving: Running) -> None:
        asked = [message(ask(seed=i, fidelity=FAST), first=i) for i in range(100)]
        found = answers(serving.stub, asked)
        assert sorted(found) == list(range(100))
        assert {found[i].response.provenance.seed for i in range(100)} == set(range(100))

    def test_ids_are_the_callers_whatever_they_are(self, serving: Running) -> None:
        odd = pb.SynthesizeStreamRequest(
            requests=[pb.StreamedRequest(id=2**64 - 1, request=ask(seed=1, fidelity=FAST))]
        )
        assert list(answers(serving.stub, [odd])) == [2**64 - 1]

    def test_requests_of_one_message_share_a_run(self, serving: Running) -> None:
        def runs() -> int:
            found = serving.stub.GetStatistics(pb.GetStatisticsRequest()).engines
            return sum(e.runs for e in found if e.tier == pb.TIER_STUDENT)

        before = runs()
        asked = [ask(row(items=3), fidelity=FAST) for _ in range(16)]
        assert len(answers(serving.stub, [message(*asked)])) == 16
        # One, unless the machine has just paused, and turns are short for a while.
        assert runs() - before < len(asked) // 2

    def test_a_seed_that_was_answered_comes_from_the_cache(self, repository: Path) -> None:
        config = ServerConfig(repository=repository, port=0, cache_bytes=1_000_000)
        with running(config) as caching:
            asked = message(ask(seed=3, fidelity=FAST))
            first, again = (answers(caching.stub, [asked])[0].response for _ in range(2))
        assert (first.provenance.cached, again.provenance.cached) == (False, True)
        assert first.rows == again.rows

    def test_what_is_quick_does_not_wait_for_what_is_slow(self, serving: Running) -> None:
        slow, quick = ask(draws=500, fidelity=pb.FIDELITY_FULL), ask(fidelity=FAST)
        order = [
            each.id
            for part in serving.stub.SynthesizeStream(iter([message(slow, quick)]))
            for each in part.answers
        ]
        assert order == [1, 0]

    def test_large_answers(self, serving: Running) -> None:
        """More than one message of them."""
        asked = [ask(draws=4000, fidelity=FAST, seed=i) for i in range(12)]
        found = answers(serving.stub, [message(*asked)])
        assert {found[i].response.rows.count for i in range(12)} == {4000}

    def test_an_empty_stream_and_an_empty_message(self, serving: Running) -> None:
        assert answers(serving.stub, []) == {}
        assert answers(serving.stub, [message(), message(ask(fidelity=FAST))]).keys() == {0}


class TestErrors:
    """The failure of one request is an answer."""

    def test_they_say_what_the_unary_call_says(self, serving: Running) -> None:
        bad = [
            ask(table="payment"),
            ask(version=2),
            ask(pb.Rows(count=0)),
            ask(row(items=9), strict=True),
            ask(draws=5000),
            ask(columns=["colour"]),
            ask(pb.Rows(count=1, columns=[column("channel", ["web"], states=[7])])),
        ]
        good = ask(row(items=3), seed=1, fidelity=FAST)
        mixed = [each for request in bad for each in (request, good)]
        found = answers(serving.stub, [message(*mixed)])
        expected = serving.stub.Synthesize(good).rows
        for at, request in enumerate(bad):
            failure = found[2 * at].failure
            assert (failure.code, failure.message) == refusal(serving.stub, request)
            assert found[2 * at + 1].response.rows == expected

    def test_a_message_that_is_none_ends_the_stream_after_those_before_it(
        self, serving: Running
    ) -> None:
        method = serving.channel.stream_stream("/cascade.v1.Synthesis/SynthesizeStream")
        sent = [message(ask(fidelity=FAST)).SerializeToString(), b"\xff"]
        call = method(iter(sent))
        assert len(pb.SynthesizeStreamResponse.FromString(next(call)).answers) == 1
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_full_server_says_when_to_come_back(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running(ServerConfig(repository=repository, port=0)) as full:
            gate = full.server.service.dispatcher.gate
            monkeypatch.setattr(gate, "limit", type(gate.limit)(0.0, 0.02))
            failure = answers(full.stub, [message(ask(fidelity=FAST))])[0].failure
            assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert failure.pushback_milliseconds == 20


class TestDeadlines:
    """Each request has its own; the stream's bounds them."""

    def test_a_request_of_its_own(self, serving: Running) -> None:
        late = ask(timeout_microseconds=1, fidelity=FAST)
        found = answers(serving.stub, [message(late, ask(fidelity=FAST))])
        assert found[0].failure.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert found[1].HasField("response")

    def test_one_whose_turn_would_come_too_late_is_not_even_read(self, repository: Path) -> None:
        """A turn is expected to take a minute for each request; the first is always taken."""
        with running(ServerConfig(repository=repository, port=0)) as slow:
            gate = slow.server.service.dispatcher.gate
            gate.turn_ended(60.0, 1)
            timeout = 30_000_000
            hurried = [ask(timeout_microseconds=timeout, fidelity=FAST) for _ in range(3)]
            found = answers(slow.stub, [message(*hurried, ask(fidelity=FAST))])
            refused = gate.refused
        assert [found[i].HasField("response") for i in range(4)] == [True, False, False, True]
        full = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert [found[i].failure.code for i in (1, 2)] == [full, full]
        assert found[1].failure.pushback_milliseconds > 0
        assert refused == 2

    def test_one_that_cannot_be_kept_is_refused_at_once(self, serving: Running) -> None:
        hopeless = ask(draws=4000, fidelity=pb.FIDELITY_FULL, timeout_microseconds=2000)
        failure = answers(serving.stub, [message(hopeless)])[0].failure
        assert failure.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert "refused before it was late" in failure.message

    def test_the_streams(self, serving: Running) -> None:
        """Refused one by one, or all at once if gRPC is quicker to notice."""
        hopeless = message(*(ask(draws=4000, fidelity=pb.FIDELITY_FULL) for _ in range(4)))
        try:
            found = answers(serving.stub, [hopeless], timeout=0.01)
            codes = {each.failure.code for each in found.values()}
        except grpc.RpcError as exc:
            error: Any = exc
            codes = {error.code().value[0]}
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED.value[0]}


@pytest.fixture
async def served(repository: Path) -> AsyncIterator[Server]:
    server = Server(
        ServerConfig(repository=repository, port=0, max_stream_in_flight=4, **DRAWN_ANEW)
    )
    await server.startup()
    yield server
    await server.shutdown()


async def until(holds: Any) -> None:
    """Let the event loop turn until something holds."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)


def waiting(server: Server) -> int:
    return sum(engine.waiting for engine in server.service.dispatcher.statistics().engines)


def slow(count: int) -> list[pb.SynthesizeRequest]:
    return [ask(draws=300, fidelity=pb.FIDELITY_FULL, seed=i) for i in range(count)]


async def collect(call: Any, ids: list[int]) -> list[int]:
    """Ids of what comes, until the stream ends."""
    while (part := await call.read()) is not grpc.aio.EOF:
        ids += [each.id for each in part.answers]
    return ids


class TestLife:
    """Flow control, cancellation, draining."""

    async def test_no_more_than_so_many_are_in_flight(self, served: Server) -> None:
        dispatcher = served.service.dispatcher
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, sum(dispatcher.gate.inside.values()))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            for first in range(0, 12, 3):
                await call.write(message(*slow(3), first=first))
            await call.done_writing()
            assert sorted(await collect(call, [])) == list(range(12))
        watching.cancel()
        assert most == 4

    async def test_more_than_the_server_admits_wait_and_are_not_refused(
        self, repository: Path
    ) -> None:
        server = Server(ServerConfig(repository=repository, port=0))
        await server.startup()
        gate = server.service.dispatcher.gate
        gate.limit = type(gate.limit)(2.0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(*slow(10)))
            await call.done_writing()
            assert sorted(await collect(call, [])) == list(range(10))
        assert gate.refused == 0
        await server.shutdown()

    async def test_cancelling_the_stream_cancels_what_is_queued(self, served: Server) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(*slow(8)))
            await until(lambda: waiting(served) >= 3)
            call.cancel()
            await until(lambda: waiting(served) == 0)
            gate = served.service.dispatcher.gate
            await until(lambda: sum(gate.inside.values()) == 0)

    async def test_draining_answers_what_was_read_and_ends_the_stream(
        self, repository: Path
    ) -> None:
        server = Server(ServerConfig(repository=repository, port=0, drain_seconds=60))
        await server.startup()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(*slow(6)))
            await until(lambda: waiting(server) >= 1)
            stopped = asyncio.create_task(server.shutdown())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await collect(call, ids := [])
            assert sorted(ids) == list(range(6))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "draining" in (caught.value.details() or "")
            await stopped

    async def test_an_idle_stream_does_not_hold_up_the_shutdown(self, repository: Path) -> None:
        server = Server(ServerConfig(repository=repository, port=0, drain_seconds=600))
        await server.startup()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(ask(fidelity=FAST)))
            assert len((await call.read()).answers) == 1
            async with asyncio.timeout(60):
                await server.shutdown()


class Recorded:
    """Keeps what a ledger is told."""

    def __init__(self, server: Server) -> None:
        self.codes: list[grpc.StatusCode] = []
        self.rows = 0
        record, record_rows = server.sla.record, server.sla.record_rows

        def note(table: str, service: Any, tier: Any, code: Any, seconds: float) -> None:
            assert (table, seconds > 0) == (TABLE, True)
            self.codes.append(code)
            record(table, service, tier, code, seconds)

        def note_rows(table: str, service: Any, tier: Any, rows: int) -> None:
            self.rows += rows
            record_rows(table, service, tier, rows)

        server.sla.record, server.sla.record_rows = note, note_rows  # type: ignore[method-assign]

    def count(self) -> dict[str, int]:
        return {code.name: self.codes.count(code) for code in set(self.codes)}


class TestLedger:
    """Every request counts as a call."""

    async def of(self, served: Server, requests: Sequence[pb.SynthesizeRequest]) -> Recorded:
        told = Recorded(served)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(*requests))
            await call.done_writing()
            await collect(call, [])
        return told

    async def test_answers_and_failures(self, served: Server) -> None:
        quick = [ask(draws=3, fidelity=FAST)] * 5
        told = await self.of(
            served, [*quick, *slow(2), ask(row(items=99), strict=True), ask(draws=0)]
        )
        assert told.count() == {"OK": 7, "INVALID_ARGUMENT": 2}
        assert told.rows == 5 * 3 + 2 * 300

    async def test_those_that_were_given_up(self, served: Server) -> None:
        told = Recorded(served)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            call = SynthesisStub(channel).SynthesizeStream()  # type: ignore[no-untyped-call]
            await call.write(message(*slow(8)))
            await until(lambda: waiting(served) >= 3)
            call.cancel()
            await until(lambda: len(told.codes) == 8)
        assert told.count()["CANCELLED"] >= 4
