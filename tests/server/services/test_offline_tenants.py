"""What a tenant asks who lets others go first spends no budget of theirs, however it ends."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cascade_proto import headers as names
from cascade_proto import synthesis_pb2 as pb
from cascade_server.access.grants import ANYBODY, Caller, Grant, Known
from cascade_server.config import ServerConfig
from cascade_server.counts.outside_counts import OutsideCounts
from cascade_server.counts.sla import Sla
from cascade_server.errors import NotReady, TooMuch
from cascade_server.server import Server
from cascade_server.services.answering import Answering, Serving
from cascade_server.services.exchange import Exchange
from cascade_server.services.synthesize_message import StreamedMessage
from cascade_server.services.unread_calls import UnreadCalls
from cascade_server.terms import Priority, ServiceClass
from cascade_server.transport.http2.headers import head_of
from cascade_server.transport.peer import NOBODY

from tests.releases import TABLE
from tests.server.access.examples import key_of, lines
from tests.server.messages import ask
from tests.server.running import DRAWN_ANEW, Running, running

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
OFFLINE, REALTIME = f"{TABLE}-offline-availability", f"{TABLE}-realtime-availability"
FILE = """
tenants:
  batch: {{keys: {batch}, tables: "*", may: [synthesize], priority: offline}}
  fraud: {{keys: {fraud}, tables: "*", may: [synthesize]}}
"""


def failed(sla: Sla) -> dict[str, int]:
    """Calls that the server failed, by the objective of availability that they spend."""
    found = {each.objective.name: each.events.bad for each in sla.ledger.report().statuses}
    return {name: bad for name, bad in found.items() if bad}


class Waiting:
    """The caller of a stream's request."""

    patient, paused, is_rpc, gone = True, False, False, False
    method, headers = "/cascade.v1.Synthesis/SynthesizeStream", ()

    def refuse(self, _: Any) -> None:
        pass


class TestRead:
    """Of requests whose messages are there, wherever they end: at a stream's door, in their turn,
    or while they wait for it."""

    @pytest.fixture
    def sla(self, repository: Path) -> Sla:
        return Sla(ServerConfig(repository=repository))

    @pytest.fixture
    def answering(self, sla: Sla, repository: Path) -> Answering:
        def loading() -> Serving:
            raise NotReady("releases are still being loaded")

        call = partial(sla.call, ServiceClass.REALTIME)
        config = ServerConfig(repository=repository)
        return Answering(loading, call, config, OutsideCounts(), sla.metering)

    @staticmethod
    def exchange(caller: Caller, deadline: float = math.inf) -> Exchange:
        streamed = pb.StreamedRequest(id=1, request=ask())
        waiting: Any = Waiting()
        arrived = time.monotonic() - 60.0
        return Exchange(StreamedMessage(streamed), waiting, arrived, deadline, caller)

    @pytest.mark.parametrize(
        ("caller", "spends"),
        [
            (ANYBODY, REALTIME),
            (Caller("batch", Known.KEY, Grant(priority=Priority.OFFLINE)), OFFLINE),
        ],
    )
    def test_wherever_it_ends(
        self, sla: Sla, answering: Answering, caller: Caller, spends: str
    ) -> None:
        answering.answer([self.exchange(caller)])
        assert failed(sla) == {spends: 1}
        answering.refuse_unread(self.exchange(caller), TooMuch("full", 5))
        assert failed(sla) == {spends: 2}
        answering.gave_up(self.exchange(caller, deadline=time.monotonic() - 1e-3))
        assert failed(sla) == {spends: 3}

    def test_what_cannot_be_read_yet(self, sla: Sla, answering: Answering) -> None:
        """A request that names a model is no table's until releases are loaded: it counts as one
        that was read, of its table."""

        def not_ready() -> Any:
            raise NotReady("releases are still being loaded")

        sla.reads(ServiceClass.REALTIME, TABLE, ServiceClass.REALTIME)
        exchange = self.exchange(Caller("batch", Known.KEY, Grant(priority=Priority.OFFLINE)))
        exchange.message = SimpleNamespace(heading=not_ready)  # type: ignore[assignment]
        answering.answer([exchange])
        assert failed(sla) == {OFFLINE: 1}


class TestAtTheDoor:
    """Of calls that are refused at their headers, by a real server that knows its tenants."""

    @pytest.fixture
    def config(self, repository: Path, tmp_path: Path) -> ServerConfig:
        path = tmp_path / "access.yaml"
        path.write_text(FILE.format(batch=lines("batch"), fraud=lines("fraud")))
        return ServerConfig(repository=repository, port=0, access=path, **DRAWN_ANEW)

    @pytest.fixture(params=["http2", "grpcio"])
    def asked(self, request: pytest.FixtureRequest, config: ServerConfig) -> Iterator[Running]:
        with running(replace(config, transport=request.param)) as server:
            yield server

    @staticmethod
    def refused(server: Running, tenant: str, *more: tuple[str, str]) -> dict[str, int]:
        """What a call spends."""
        sla, key = server.server.sla, ("authorization", f"Bearer {key_of(tenant)[0]}")
        before = failed(sla)
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.Synthesize(ask(), metadata=(key, *more))
        error: Any = caught.value
        assert error.code() is EXHAUSTED
        return dict(Counter(failed(sla)) - Counter(before))

    def test_by_who_asks(self, asked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> str:
            return "full"

        key = ("authorization", f"Bearer {key_of('fraud')[0]}")
        asked.stub.Synthesize(ask(), metadata=(key,))
        gate = asked.server.service.dispatcher.gate
        monkeypatch.setattr(gate, "objection", full)
        table = (names.TABLE, TABLE)
        for more in ((), (table,), (table, (names.CLASS, "full"))):
            assert self.refused(asked, "batch", *more) == {OFFLINE: 1}
        assert self.refused(asked, "fraud") == {REALTIME: 1}
        assert self.refused(asked, "fraud", table) == {REALTIME: 1}
        assert self.refused(asked, "fraud", table, (names.CLASS, "offline")) == {OFFLINE: 1}

    def test_what_the_transport_has_no_room_for(self, config: ServerConfig) -> None:
        server = Server(config)
        refused = UnreadCalls(server.sla, server.access).refused
        for tenant in ("batch", "fraud"):
            head = head_of(
                [
                    (b":method", b"POST"),
                    (b":scheme", b"http"),
                    (b":path", b"/cascade.v1.Synthesis/Synthesize"),
                    (b"content-type", b"application/grpc"),
                    (b"authorization", f"Bearer {key_of(tenant)[0]}".encode()),
                    (b"cascade-table", TABLE.encode()),
                ]
            )
            refused(head, 0.0, math.inf, EXHAUSTED, NOBODY)
        assert failed(server.sla) == {OFFLINE: 1, REALTIME: 1}
