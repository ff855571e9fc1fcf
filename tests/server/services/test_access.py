"""A real server that asks who asks: by SDK and grpcio, over both transports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import (
    Client,
    NotFound,
    Overloaded,
    PermissionDenied,
    Retry,
    Unauthenticated,
)
from cascade_proto import inference_pb2, synthesis_pb2
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig
from cascade_server.transport.strangers import OPEN_CALLS
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.server.access.examples import jwk, key_of, lines, rsa_key, token
from tests.server.access.issuing import Issuing, issuing
from tests.server.running import DRAWN_ANEW, Running, running
from tests.typed import SOON

FILE = """
issuers:
  local: {{issuer: "{issuer}", audience: cascade, algorithms: [RS256]}}
tenants:
  fraud:
    keys: {fraud}
    tables: [payments]
    may: [synthesize, statistics]
    limits: {{rows: 8, draws: 4}}
  batch:
    keys: {batch}
    tables: "*"
    may: [synthesize, generate]
    priority: offline
  slow:
    keys: {slow}
    tables: [payments]
    may: [synthesize, generate]
    rates: {{requests: {{per_second: 0.001, burst: 4}}}}
    quotas: {{rows: 20}}
  tokens:
    tokens: [{{issuer: local, claims: {{azp: service}}}}]
    tables: [shops]
    may: [synthesize]
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuing]:
    with issuing() as found:
        found.keys = [jwk(rsa_key(), "one")]
        yield found


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def asked(
    request: pytest.FixtureRequest,
    repository: Path,
    issuer: Issuing,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("access")
    names = ("fraud", "batch", "slow")
    path = folder / "access.yaml"
    path.write_text(FILE.format(issuer=issuer.url, **{name: lines(name) for name in names}))
    config = ServerConfig(
        repository=repository,
        port=0,
        transport=request.param,
        access=path,
        state_dir=folder / "state",
        chunk_rows=8,
        **DRAWN_ANEW,
    )
    with running(config) as server:
        yield server


def client(asked: Running, name: str = "", **options: Any) -> Client:
    key = key_of(name)[0] if name else None
    # Who is told to come back in a minute is not to.
    once = Retry(attempts=1)
    return Client(asked.target, api_key=key, timeout=SOON, retry=once, **options)


def metadata(name: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key_of(name)[0]}"),)


class TestStrangers:
    """Whoever has shown nothing is told nothing but whether the server lives."""

    def test_no_call_of_any_kind(self, asked: Running) -> None:
        with client(asked) as stranger:
            for call in (
                lambda: stranger.synthesize("payments", {}),
                lambda: stranger.generate("payments", 3, kind="rows"),
                stranger.tables,
                stranger.statistics,
                lambda: stranger.releases.list(),
            ):
                with pytest.raises(Unauthenticated, match="authorization: Bearer"):
                    call()

    def test_a_key_that_is_empty(self, asked: Running) -> None:
        """A variable that was not set is no word for a certificate."""
        call = asked.channel.unary_unary("/cascade.v1.Synthesis/ListTables")
        with pytest.raises(grpc.RpcError, match="is not understood") as caught:
            call(b"", metadata=(("x-api-key", ""),), timeout=SOON)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    def test_a_key_that_is_none(self, asked: Running) -> None:
        with client(asked, "unknown") as wrong, pytest.raises(Unauthenticated) as caught:
            wrong.synthesize("payments", {})
        assert key_of("unknown")[0] not in str(caught.value)
        assert key_of("unknown")[0] not in repr(wrong)

    def test_what_they_send_is_small_and_their_watches_are_few(self, asked: Running) -> None:
        """Over grpcio all methods have the same bounds."""
        if asked.server.config.transport == "grpcio":
            pytest.skip("grpcio's server has no bounds of a method")
        large = health_pb2.HealthCheckRequest(service="x" * 2000)
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(asked.target, options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.RpcError, match="larger than max"):
                stub.Check(large, timeout=SOON)
            watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(OPEN_CALLS)]
            assert [next(each).status for each in watches] == [1] * OPEN_CALLS
            with pytest.raises(grpc.RpcError, match="calls at once"):
                next(stub.Watch(health_pb2.HealthCheckRequest()))
            for each in watches:
                each.cancel()

    def test_health_is_open_and_names_no_table(self, asked: Running) -> None:
        stub = health_pb2_grpc.HealthStub(asked.channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == 1
        named = health_pb2.HealthCheckRequest(service="cascade.v1.Synthesis/payments")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(named)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert stub.Check(named, metadata=metadata("fraud")).status == 1
        inference = GRPCInferenceServiceStub(asked.channel)
        assert inference.ServerLive(inference_pb2.ServerLiveRequest()).live

    def test_reflection_is_for_who_is_known(self, asked: Running) -> None:
        call = asked.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        with pytest.raises(grpc.RpcError) as caught:
            next(call(iter([b""])))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


class TestTables:
    """A tenant sees its own, and of others not even that there are any."""

    def test_its_own(self, asked: Running) -> None:
        with client(asked, "fraud") as fraud:
            assert [each.table for each in fraud.tables()] == ["payments"]
            assert fraud.synthesize("payments", {"items": 3}).data["items"] == 3
            assert fraud.describe("payments").max_rows == 8

    @pytest.mark.parametrize("table", ["shops", "nothing"])
    def test_one_that_is_not_and_one_that_there_is_not_are_told_alike(
        self, asked: Running, table: str
    ) -> None:
        with client(asked, "fraud") as fraud, pytest.raises(NotFound) as caught:
            fraud.describe(table)
        assert str(caught.value) == f"unknown table '{table}'; the tables are: payments"
        stub = SynthesisStub(asked.channel)
        with pytest.raises(grpc.RpcError) as unseen:
            stub.Synthesize(
                synthesis_pb2.SynthesizeRequest(table=table, rows=synthesis_pb2.Rows(count=1)),
                metadata=metadata("fraud"),
            )
        assert unseen.value.code() is grpc.StatusCode.NOT_FOUND
        assert unseen.value.details() == str(caught.value)

    def test_models_of_the_other_protocol(self, asked: Running) -> None:
        stub, own = GRPCInferenceServiceStub(asked.channel), metadata("fraud")
        index = stub.RepositoryIndex(inference_pb2.RepositoryIndexRequest(), metadata=own)
        assert {each.name for each in index.models} == {
            "payments",
            "payments_student",
            "payments_teacher",
        }
        ready = inference_pb2.ModelReadyRequest(name="shops")
        assert not stub.ModelReady(ready, metadata=own).ready
        assert stub.ModelReady(ready, metadata=metadata("batch")).ready
        for model in ("shops", "shops_student"):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(inference_pb2.ModelInferRequest(model_name=model), metadata=own)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert "unknown model" in caught.value.details()

    def test_figures_of_others_are_left_out(self, asked: Running) -> None:
        with client(asked, "batch") as batch:
            batch.synthesize("shops", {})
        with client(asked, "fraud") as fraud:
            level, statistics = fraud.service_level(), fraud.statistics()
        assert "shops" not in repr(level)
        assert "shops" not in repr(statistics)
        assert "payments" in repr(statistics)


class TestKinds:
    """What a tenant may ask for, and how much at once."""

    def test_what_it_may_not(self, asked: Running) -> None:
        with client(asked, "fraud") as fraud, pytest.raises(PermissionDenied) as caught:
            fraud.generate("payments", 3, kind="rows")
        assert "may not ask for generate" in str(caught.value)
        with client(asked, "batch") as batch:
            with pytest.raises(PermissionDenied, match="may not ask for statistics"):
                batch.statistics()
            assert len(batch.generate("payments", 20, kind="rows").data) == 20

    def test_rows_and_draws(self, asked: Running) -> None:
        stub = SynthesisStub(asked.channel)
        for rows, draws, why in (
            (1, 5, "draws is 5; allowed for this caller: 1 to 4"),
            (9, 1, "9"),
        ):
            request = synthesis_pb2.SynthesizeRequest(
                table="payments", rows=synthesis_pb2.Rows(count=rows), draws=draws
            )
            with pytest.raises(grpc.RpcError, match=why) as caught:
                stub.Synthesize(request, metadata=metadata("fraud"))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with client(asked, "fraud") as fraud:
            frame = [{"items": n % 5} for n in range(20)]
            assert len(fraud.synthesize("payments", frame).data) == 20  # in parts of 8 at most

    def test_streams(self, asked: Running) -> None:
        with client(asked, "fraud") as fraud, fraud.session() as session:
            assert session.synthesize("payments", {"items": 2}).data["items"] == 2
            with pytest.raises(NotFound):
                session.synthesize("shops", {})
        nobody = client(asked)
        with nobody, nobody.session() as session, pytest.raises(Unauthenticated):
            session.synthesize("payments", {})


class TestRatesAndQuotas:
    """RESOURCE_EXHAUSTED, with a time to come back where that helps; nobody's budget suffers."""

    def test_rows_of_a_day_then_requests(self, asked: Running) -> None:
        before = faults(asked)
        with client(asked, "slow") as slow:
            slow.describe("payments")
            with pytest.raises(Overloaded, match="20 are left of the 20 rows") as caught:
                slow.synthesize("payments", [{}] * 21)
            assert caught.value.retry_after is None
            # All that are left, in messages of 8: the last is as good as the others.
            assert len(slow.generate("payments", 20, kind="rows").data) == 20
            with pytest.raises(Overloaded, match="0 are left"):
                slow.synthesize("payments", {})
            with pytest.raises(Overloaded, match="requests a second") as rate:
                slow.tables()
            assert rate.value.retry_after == 60
        assert faults(asked) == before


def faults(asked: Running) -> int:
    """Calls that the server is to blame for."""
    report = asked.server.sla.ledger.report()
    return sum(status.events.total - status.events.good for status in report.statuses)


class TestTokens:
    """Of an issuer that really answers."""

    def test_a_token_and_what_gives_them(self, asked: Running, issuer: Issuing) -> None:
        import time

        given: list[str] = []

        def fresh() -> str:
            given.append(token(time.time(), iss=issuer.url, azp="service"))
            return given[-1]

        with Client(asked.target, token=fresh, timeout=SOON) as service:
            assert service.synthesize("shops", {})
            assert service.synthesize("shops", {})
            with pytest.raises(NotFound):
                service.synthesize("payments", {})
        assert len(given) == 1
        late = token(time.time() - 1000, iss=issuer.url, azp="service")
        with Client(asked.target, token=late) as service, pytest.raises(Unauthenticated) as caught:
            service.tables()
        assert "expired" in str(caught.value)
        assert late not in str(caught.value)

    async def test_asyncio(self, asked: Running) -> None:
        from cascade_client import AsyncClient

        key, _ = key_of("fraud")
        async with AsyncClient(asked.target, api_key=key, timeout=SOON) as fraud:
            answer = await fraud.synthesize("payments", {"items": 1})
            assert answer.data["items"] == 1
        async with AsyncClient(asked.target, timeout=SOON) as nobody:
            with pytest.raises(Unauthenticated):
                await nobody.synthesize("payments", {})


def test_the_audit_log_has_refusals_and_no_secret(asked: Running) -> None:
    with client(asked, "unknown") as wrong, pytest.raises(Unauthenticated):
        wrong.tables()
    folder = asked.server.config.state_dir
    assert folder is not None
    text = (folder / "audit" / "audit.log").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert all(each["event"] == "access refused" for each in entries)
    assert {"", "fraud"} & {each["tenant"] for each in entries}
    assert "csk_" not in text


def test_a_new_file_holds_without_a_lost_call(asked: Running) -> None:
    from tests.integration.serving import until

    path = asked.server.config.access
    assert path is not None
    before = path.read_text()
    with client(asked, "fraud") as fraud:
        path.write_text("tenants: [broken")
        asked.loop.call_soon_threadsafe(asked.server.look_at_files)
        access = asked.server.access
        assert access is not None
        until(lambda: access.failed_reloads > 0)
        assert fraud.synthesize("payments", {})
        path.write_text(before.replace(lines("fraud"), lines("newer")))
        asked.loop.call_soon_threadsafe(asked.server.look_at_files)
        until(lambda: access.reloads > 0)
        with pytest.raises(Unauthenticated):
            fraud.synthesize("payments", {})
    with client(asked, "newer") as newer:
        assert newer.synthesize("payments", {})
    path.write_text(before)
    asked.loop.call_soon_threadsafe(asked.server.look_at_files)
    until(lambda: access.reloads > 1)
