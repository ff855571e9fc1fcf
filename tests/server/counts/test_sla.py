"""Service levels of a real server: asked for over gRPC, kept over a restart."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.counts.sla import Sla, open_books
from cascade_server.counts.state_file import NAME
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import ConfigError, DeadlinePassed
from cascade_server.server import Server
from cascade_server.terms import ServiceClass

from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.server.running import DRAWN_ANEW, Running, running

UNTOLD = "this process could not tell the others of itself"
SLO = """
service: scoring
objectives:
  - table: "*"
    class: realtime
    availability: {target: 0.9}
    latency: {threshold_ms: 60000, target: 0.99}
    fidelity: {tier: teacher, target: 0.5}
  - table: payments
    class: full
    availability: {target: 0.9}
    fidelity: {tier: teacher, target: 0.5}
  - table: payments
    class: offline
    availability: {target: 0.9}
    fidelity: {tier: student, target: 0.5}
"""


@pytest.fixture
def slo(tmp_path: Path) -> Path:
    path = tmp_path / "slo.yaml"
    path.write_text(SLO)
    return path


@pytest.fixture
def config(repository: Path, slo: Path) -> ServerConfig:
    return ServerConfig(repository=repository, port=0, slo=slo, chunk_rows=64, **DRAWN_ANEW)


def level(server: Running) -> pb.GetServiceLevelResponse:
    return server.stub.GetServiceLevel(pb.GetServiceLevelRequest())


def events(server: Running) -> dict[str, tuple[int, int]]:
    """Good events and all, of the objectives that have any."""
    return {each.name: (each.good, each.total) for each in level(server).objectives if each.total}


def counted(server: Running, name: str) -> tuple[int, int]:
    """What an objective has counted, once it has; a call's end may be behind its caller's."""
    for _ in range(10_000):
        if found := events(server).get(name):
            return found
    raise AssertionError(f"{name} has counted nothing: {events(server)}")


def late(*_: Any) -> None:
    """Stands for work that took too long."""
    raise DeadlinePassed("too late")


def fails(call: Any, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() is code


class TestCounting:
    """Every answer and every failure, against the objectives of its table and class."""

    def test_answers(self, config: ServerConfig) -> None:
        with running(config) as server:
            server.stub.Synthesize(ask(row(items=3), draws=5, fidelity="FIDELITY_FAST"))
            assert events(server) == {
                "payments-realtime-availability": (1, 1),
                "payments-realtime-latency-60000ms": (1, 1),
                "payments-realtime-fidelity-teacher": (0, 5),
            }
            server.stub.Synthesize(ask(fidelity="FIDELITY_FULL"))
            server.stub.Synthesize(ask(fidelity="FIDELITY_FAST", log_likelihood=True))
            list(server.stub.Generate(pb.GenerateRequest(table=TABLE, count=150)))
            assert events(server) == {
                "payments-realtime-availability": (1, 1),
                "payments-realtime-latency-60000ms": (1, 1),
                "payments-realtime-fidelity-teacher": (0, 5),
                "payments-full-availability": (2, 2),
                "payments-full-fidelity-teacher": (1, 2),
                "payments-offline-availability": (1, 1),
                "payments-offline-fidelity-student": (150, 150),
            }
            latencies = {
                (each.table, each.class_of_service, each.tier): each
                for each in level(server).latencies
            }
            assert set(latencies) == {
                (TABLE, pb.CLASS_OF_SERVICE_REALTIME, pb.TIER_STUDENT),
                (TABLE, pb.CLASS_OF_SERVICE_FULL, pb.TIER_STUDENT),
                (TABLE, pb.CLASS_OF_SERVICE_FULL, pb.TIER_TEACHER),
                (TABLE, pb.CLASS_OF_SERVICE_OFFLINE, pb.TIER_TEACHER),
            }
            for each in latencies.values():
                assert [q.quantile for q in each.quantiles] == [0.5, 0.9, 0.99, 0.999]
                assert each.count == 1
                assert all(q.microseconds > 0 for q in each.quantiles)

    def test_failures(self, config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server's own count, the caller's do not."""
        name = "payments-realtime-availability"
        with running(config) as server:
            synthesize = server.stub.Synthesize
            fails(lambda: synthesize(ask(table="nope")), grpc.StatusCode.NOT_FOUND)
            fails(lambda: synthesize(ask(draws=0)), grpc.StatusCode.INVALID_ARGUMENT)
            garbled = server.channel.unary_unary("/cascade.v1.Synthesis/Synthesize")
            fails(lambda: garbled(b"\xff\xff"), grpc.StatusCode.INVALID_ARGUMENT)
            hopeless = ask(timeout_microseconds=1)
            fails(lambda: synthesize(hopeless), grpc.StatusCode.DEADLINE_EXCEEDED)
            assert events(server) == {}
            with monkeypatch.context() as patch:
                patch.setattr("cascade_server.services.answering.check", late)
                fails(lambda: synthesize(ask()), grpc.StatusCode.DEADLINE_EXCEEDED)
            assert events(server) == {name: (0, 1)}
            monkeypatch.setattr(server.server.service.dispatcher.gate, "enter", None)
            fails(lambda: synthesize(ask()), grpc.StatusCode.INTERNAL)
            assert events(server) == {name: (0, 2)}
            found = next(each for each in level(server).objectives if each.name == name)
            # All failed where a tenth may: ten times too fast.
            assert [round(burn.rate, 9) for burn in found.burn_rates] == [10.0] * 6
            assert [burn.window_seconds for burn in found.burn_rates] == [
                300,
                1800,
                3600,
                21_600,
                86_400,
                259_200,
            ]
            assert found.budget_remaining == pytest.approx(-9)
            # Two bad events are nothing to get up for, however fast they burn it.
            assert found.alert == pb.ALERT_STATE_OK

    @pytest.mark.parametrize("how", ["the caller gives up", "the deadline passes"])
    def test_a_call_that_is_given_up(
        self, config: ServerConfig, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """A deadline that passes is the server's fault, a caller who changes its mind is not."""
        inside, go_on = threading.Event(), threading.Event()
        denoise = Runtime.denoise
        with running(config) as server:

            def held(self: Runtime, *args: Any) -> Any:
                inside.set()
                assert go_on.wait(30)
                return denoise(self, *args)

            monkeypatch.setattr(Runtime, "denoise", held)
            request = pb.GenerateRequest(table=TABLE, count=64)
            if how == "the caller gives up":
                call = server.stub.Generate(request)
                assert inside.wait(30)
                call.cancel()
            else:
                # On a busy machine a second may pass before the server has heard of the call, and
                # what it has not heard of it does not count.
                for calls in range(1, 9):
                    call = server.stub.Generate(request, timeout=2.0**calls / 2)
                    fails(lambda call=call: list(call), grpc.StatusCode.DEADLINE_EXCEEDED)
                    # Nor does what it has heard of so late that nobody could have answered it.
                    if inside.is_set() and any(events(server) for _ in range(1000)):
                        break
                good, total = counted(server, "payments-offline-availability")
                assert (good, 1 <= total <= calls) == (0, True)
            go_on.set()
            assert server.stub.Synthesize(ask(fidelity="FIDELITY_FULL")).rows.count == 1
            if how == "the caller gives up":
                assert set(events(server)) == {
                    "payments-full-availability",
                    "payments-full-fidelity-teacher",
                }

    async def test_calls_while_loading_count(self, config: ServerConfig) -> None:
        loading, go_on = threading.Event(), threading.Event()

        def report(_: Any) -> None:
            loading.set()
            assert go_on.wait(30)

        server = Server(config, report)
        startup = asyncio.create_task(server.startup())
        await asyncio.to_thread(loading.wait, 30)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary("/cascade.v1.Synthesis/Synthesize")
            with pytest.raises(grpc.aio.AioRpcError):
                await call(ask().SerializeToString())
        go_on.set()
        await startup
        await server.shutdown()
        (found,) = [each for each in server.sla.ledger.report().statuses if each.events.total]
        assert found.objective.name == "payments-realtime-availability"
        assert (found.events.good, found.events.total) == (0, 1)


class TestWhatIsPromised:
    """From the file, or the defaults."""

    def test_the_file_s(self, config: ServerConfig) -> None:
        with running(config) as server:
            found = level(server)
            assert (found.service, found.window_seconds) == ("scoring", 30 * 86_400)
            assert found.since > 1.7e15
            named = {each.name: each for each in found.objectives}
            assert {each.table for each in found.objectives} == {TABLE, "shops"}
            latency = named["shops-realtime-latency-60000ms"]
            assert (latency.kind, latency.threshold_microseconds) == (
                pb.OBJECTIVE_KIND_LATENCY,
                60_000_000,
            )
            fidelity = named["payments-offline-fidelity-student"]
            assert (fidelity.kind, fidelity.tier) == (
                pb.OBJECTIVE_KIND_FIDELITY,
                pb.TIER_STUDENT,
            )
            assert {each.alert for each in found.objectives} == {pb.ALERT_STATE_OK}
            assert {each.budget_remaining for each in found.objectives} == {1.0}

    def test_the_defaults(self, serving: Running) -> None:
        names = [each.name for each in level(serving).objectives if each.table == TABLE]
        assert names == [
            "payments-realtime-latency-50ms",
            "payments-realtime-availability",
            "payments-full-latency-1000ms",
            "payments-full-availability",
            "payments-offline-availability",
        ]

    def test_a_table_that_is_not_served_is_named(self, repository: Path, slo: Path) -> None:
        slo.write_text(SLO.replace("table: payments", "table: payment"))
        config = ServerConfig(repository=repository, port=0, slo=slo)
        with (
            pytest.raises(ConfigError, match=r"'payment'; allowed: .* Did you mean 'payments'\?"),
            running(config),
        ):
            pass


class TestRestart:
    """Budgets are those of the deployment, not of the process."""

    @pytest.fixture
    def kept(self, repository: Path, slo: Path, tmp_path: Path) -> ServerConfig:
        return ServerConfig(repository=repository, port=0, slo=slo, state_dir=tmp_path / "state")

    def test_they_go_on(self, kept: ServerConfig) -> None:
        with running(kept) as server:
            server.stub.Synthesize(ask())
            since = level(server).since
        with running(kept) as server:
            assert level(server).since == since
            assert events(server)["payments-realtime-availability"] == (1, 1)
            server.stub.Synthesize(ask())
        with running(kept) as server:
            assert events(server)["payments-realtime-availability"] == (2, 2)

    @pytest.mark.parametrize("earlier", [None, "damaged"])
    async def test_who_keeps_the_books_after_one_that_died_counts_nothing_twice(
        self, kept: ServerConfig, earlier: str | None
    ) -> None:
        assert kept.state_dir is not None
        if earlier is not None:
            kept.state_dir.mkdir()
            (kept.state_dir / NAME).write_text(earlier)
        books = open_books(kept)
        first = Sla(kept, books=books)
        await first.start()
        code = grpc.StatusCode.UNAVAILABLE
        first.ledger.record(TABLE, ServiceClass.REALTIME, None, code, 0.0)
        await first.save()
        # It dies, and what it held is let go.
        await first.stop()
        second = Sla(kept, books=books)
        await second.start()
        statuses = second.ledger.report().statuses
        found = {each.objective.name: each.events.total for each in statuses}
        await second.stop()
        assert found[f"{TABLE}-realtime-availability"] == 1

    def test_a_damaged_file_is_set_aside(
        self, kept: ServerConfig, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert kept.state_dir is not None
        with running(kept) as server:
            server.stub.Synthesize(ask())
        path = kept.state_dir / NAME
        damaged = path.read_bytes()[:100]
        path.write_bytes(damaged)
        with caplog.at_level(logging.WARNING), running(kept) as server:
            assert "is damaged" in caplog.text
            assert events(server) == {}
            assert server.stub.Synthesize(ask()).rows.count == 1
        assert (kept.state_dir / f"{NAME}.damaged-1").read_bytes() == damaged
        with running(kept) as server:
            assert events(server)["payments-realtime-availability"] == (1, 1)

    def test_two_servers_do_not_share_a_folder(self, kept: ServerConfig) -> None:
        with (
            running(kept),
            pytest.raises(ConfigError, match="in use by another server"),
            running(kept),
        ):
            pass

    async def test_they_are_written_every_so_often(self, kept: ServerConfig) -> None:
        """A process that dies without a word loses what came after the last save."""
        assert kept.state_dir is not None
        server = Server(kept)
        await server.startup()
        path = kept.state_dir / NAME
        before = path.read_bytes()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = channel.unary_unary("/cascade.v1.Synthesis/Synthesize")
            await call(ask().SerializeToString())
        await server.sla.save()
        assert path.read_bytes() != before
        await server.shutdown()

    async def test_a_full_disk_is_reported_and_survived(
        self,
        kept: ServerConfig,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server = Server(kept)
        await server.startup()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            await server.sla.save()
        assert "ledger.json cannot be written: No space left on device" in caplog.text
        await server.shutdown()

    async def test_a_defect_ends_neither_the_saving_nor_what_others_are_told(
        self,
        kept: ServerConfig,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        assert kept.state_dir is not None
        monkeypatch.setattr("cascade_server.server.SECONDS_BETWEEN_NOTES", 0)
        books = open_books(kept, 1)
        keeper = Sla(replace(kept, state_seconds=0.1), books=books, place=1)
        server = Server(kept, sla=Sla(kept, books=books, place=0))

        def fails() -> Any:
            raise ArithmeticError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(server.service, "own_statistics", fails)
            await keeper.start()
            patch.setattr(keeper.ledger, "state", fails)
            await server.startup()
            while not {"error budgets could not be saved", UNTOLD} <= set(caplog.messages):
                await asyncio.sleep(0)
        path = kept.state_dir / NAME
        path.unlink()
        while not (path.exists() and books.places[0].now.read()[0]):
            await asyncio.sleep(0)
        await server.shutdown()
        await keeper.stop()
