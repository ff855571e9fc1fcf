"""Every refusal of a real server spends an error budget; what callers bring upon themselves does
not."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import headers as names
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig
from cascade_server.counts.shared.idle_times import ENOUGH
from cascade_server.counts.shared.trial import outcomes
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed
from cascade_server.objectives.burn import Events
from cascade_server.objectives.canary import CanaryConfig, Verdict, judge
from cascade_server.services.unread_calls import UnreadCalls
from cascade_server.terms import ServiceClass, Tier
from cascade_server.transport.http2.headers import head_of
from cascade_server.transport.peer import NOBODY

from tests.releases import TABLE
from tests.server.messages import ask
from tests.server.running import DRAWN_ANEW, Running, running

OTHER = "shops"
STUDENTS = (TABLE, ServiceClass.REALTIME, Tier.STUDENT)
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def server(repository: Path) -> Iterator[Running]:
    with running(ServerConfig(repository=repository, port=0)) as server:
        yield server


@pytest.fixture
def refusing(server: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called on, calls are refused at their headers."""

    def full(*_: Any) -> str:
        return "full"

    return lambda: monkeypatch.setattr(server.server.service.dispatcher.gate, "objection", full)


def level(server: Running) -> pb.GetServiceLevelResponse:
    return server.stub.GetServiceLevel(pb.GetServiceLevelRequest())


def availability(server: Running) -> dict[str, pb.ObjectiveStatus]:
    """Objectives that have counted anything, by name; how long answers took is none of them."""
    return {
        each.name: each
        for each in level(server).objectives
        if each.kind == pb.OBJECTIVE_KIND_AVAILABILITY and each.total
    }


def bad(server: Running) -> dict[str, int]:
    """Calls that were not answered, of the objectives that have any."""
    found = {name: each.total - each.good for name, each in availability(server).items()}
    return {name: number for name, number in found.items() if number}


def faults(server: Running) -> dict[tuple[str, str], int]:
    """Callers' own, by table and fault."""
    return {
        (each.table, pb.CallerFault.Name(each.fault).removeprefix("CALLER_FAULT_")): each.calls
        for each in level(server).caller_faults
    }


def refused(server: Running, times: int, *metadata: tuple[str, str], **given: Any) -> None:
    for _ in range(times):
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Synthesize(ask(**given), metadata=metadata)
        error: Any = caught.value
        assert error.code() is EXHAUSTED


class TestAtTheHeaders:
    """The message, which names the table, is never read."""

    def test_a_thousand_refusals(self, server: Running, refusing: Callable[[], None]) -> None:
        server.stub.Synthesize(ask())
        refusing()
        refused(server, 1000)
        (found,) = availability(server).values()
        assert (found.name, found.good, found.total) == (f"{TABLE}-realtime-availability", 1, 1001)
        # All but one failed where a thousandth may.
        assert found.budget_remaining == pytest.approx(1 - 1000 / 1001 / 0.001)
        assert found.alert == pb.ALERT_STATE_PAGE

    def test_each_table_has_its_share(self, server: Running, refusing: Callable[[], None]) -> None:
        for _ in range(3):
            server.stub.Synthesize(ask())
        server.stub.Synthesize(ask(table=OTHER))
        refusing()
        refused(server, 100)
        assert bad(server) == {
            f"{TABLE}-realtime-availability": 75,
            f"{OTHER}-realtime-availability": 25,
        }

    def test_a_caller_who_says_which(self, server: Running, refusing: Callable[[], None]) -> None:
        server.stub.Synthesize(ask())
        refusing()
        refused(server, 3, (names.TABLE, OTHER))
        refused(server, 5, (names.TABLE, OTHER), (names.CLASS, "full"))
        assert bad(server) == {
            f"{OTHER}-realtime-availability": 3,
            f"{OTHER}-full-availability": 5,
        }

    def test_a_server_that_has_answered_nothing_yet(
        self, server: Running, refusing: Callable[[], None]
    ) -> None:
        refusing()
        refused(server, 10)
        assert bad(server) == {
            f"{TABLE}-realtime-availability": 5,
            f"{OTHER}-realtime-availability": 5,
        }

    def test_auto_steps_down(self, server: Running, refusing: Callable[[], None]) -> None:
        server.stub.Synthesize(ask())
        refusing()
        refused(server, 20)
        stepping = server.server.service.dispatcher.stepping
        stepping.look()
        assert stepping.down(TABLE) == 1


class TestTrials:
    """What is refused before a version was chosen is told of both."""

    def test_a_canary_is_not_blamed_for_it_nor_kept_from_it(
        self, server: Running, refusing: Callable[[], None]
    ) -> None:
        sla = server.server.sla
        sla.books.live_versions.put(TABLE, stable=1, canary=3, share=0.5)
        refusing()
        refused(server, 200, (names.TABLE, TABLE))
        found = outcomes(sla.ledger.objectives, TABLE, sla.books.trial())
        (each,) = (e for e in found if e.stable.total or e.canary.total)
        assert (each.objective.kind, each.objective.service) == ("availability", "realtime")
        assert each.stable.total + each.canary.total == 200
        # By chance it has fewer than 60 of them, or more than 140, once in 10^8 times.
        assert 60 <= each.canary.total <= 140
        assert each.stable.good == each.canary.good == 0
        assert judge(found, 60.0, CanaryConfig()).verdict is Verdict.WAIT


class TestCutShort:
    """Calls that the server ends, not their callers."""

    def test_a_server_that_has_no_time_left(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = ServerConfig(repository=repository, port=0, drain_seconds=0.0, **DRAWN_ANEW)
        inside, go_on = threading.Event(), threading.Event()
        denoise = Runtime.denoise

        def held(self: Runtime, *args: Any) -> Any:
            inside.set()
            assert go_on.wait(30)
            return denoise(self, *args)

        with ExitStack() as stack:
            # A channel that outlives the server, else it would hang up first.
            with running(config) as server:
                monkeypatch.setattr(Runtime, "denoise", held)
                channel = stack.enter_context(grpc.insecure_channel(server.target))
                stub: Any = SynthesisStub(channel)  # type: ignore[no-untyped-call]
                call = stub.Generate(pb.GenerateRequest(table=TABLE, count=64))
                assert inside.wait(30)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        go_on.set()
        found = {s.objective.name: s.events for s in server.server.sla.ledger.report().statuses}
        assert found[f"{TABLE}-offline-availability"] == Events(good=0, total=1)

    def test_a_transport_that_has_no_room(self, server: Running) -> None:
        """For a message, which therefore nobody has read."""
        refused = UnreadCalls(server.server.sla).refused
        paths = ("Synthesis/Synthesize", "Synthesis/Generate", "Synthesis/ListTables")
        for path in paths:
            head = head_of(
                [
                    (b":method", b"POST"),
                    (b":scheme", b"http"),
                    (b":path", f"/cascade.v1.{path}".encode()),
                    (b"content-type", b"application/grpc"),
                    (b"cascade-table", OTHER.encode()),
                ]
            )
            refused(head, 0.0, math.inf, EXHAUSTED, NOBODY)
        assert bad(server) == {
            f"{OTHER}-realtime-availability": 1,
            f"{OTHER}-offline-availability": 1,
        }


class TestCallersOwn:
    """Counted apart, and in no budget."""

    def test_each_fault(self, server: Running) -> None:
        for request in (ask(timeout_microseconds=1), ask(table="nope"), ask(draws=0)):
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(request)
        assert faults(server) == {
            (TABLE, "DEADLINE_TOO_SHORT"): 1,
            ("(unknown)", "BAD_REQUEST"): 1,
            (TABLE, "BAD_REQUEST"): 1,
        }
        assert bad(server) == {}

    def test_what_an_idle_server_needs_is_learnt(
        self, server: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A deadline that is long enough, and one that never was, on a server that is late."""
        for _ in range(2 * ENOUGH):
            server.stub.Synthesize(ask(fidelity="FIDELITY_FAST"))
        needed = server.server.sla.needed(STUDENTS, 1)
        assert needed > 0

        def late(*_: Any) -> None:
            raise DeadlinePassed("too late")

        monkeypatch.setattr("cascade_server.services.answering.check", late)
        for share in (0.5, 100):
            timeout = round(1e6 * share * needed)
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(ask(timeout_microseconds=timeout))
        assert faults(server) == {(TABLE, "DEADLINE_TOO_SHORT"): 1}
        assert bad(server)[f"{TABLE}-realtime-availability"] == 1

    def test_hopeless_callers_do_not_step_others_down(self, server: Running) -> None:
        server.stub.Synthesize(ask())
        for _ in range(20):
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(ask(timeout_microseconds=1))
        stepping = server.server.service.dispatcher.stepping
        stepping.look()
        assert stepping.down(TABLE) == 0
