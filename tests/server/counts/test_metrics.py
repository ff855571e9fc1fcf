"""Prometheus metrics: scraped over HTTP from a real server, and parsed."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.metrics import Metrics
from cascade_server.counts.shared.call_counts import buckets
from cascade_server.errors import ConfigError
from cascade_server.objectives.blame import BLAMED
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.report import OK
from cascade_server.server import Server
from cascade_server.terms import ServiceClass, Tier
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.releases import TABLE
from tests.server.access.examples import key_of, lines
from tests.server.messages import ask
from tests.server.running import DRAWN_ANEW, Running, running

REALTIME, FULL, OFFLINE = ServiceClass
SLO = """
window_days: 7
objectives:
  - table: payments
    class: realtime
    availability: {target: 0.9}
    latency: {threshold_ms: 12345, target: 0.5}
"""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def get(series: Series, name: str, **labels: str) -> float:
    """The one value of a name whose labels include these; `class_` is `class`."""
    wanted = {(key.rstrip("_"), value) for key, value in labels.items()}
    found = [value for (n, have), value in series.items() if n == name and wanted <= have]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


def scrape(server: Running) -> Series:
    url = f"http://{server.server.config.host}:{server.server.sla.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return parsed(answer.read().decode())


def test_names_keep_their_colons_whatever_is_asked_for(config: ServerConfig) -> None:
    with running(config) as server:
        url = f"http://{server.server.config.host}:{server.server.sla.metrics_port}/metrics"
        prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        for accept in ("text/plain", prometheus):
            asked = urllib.request.Request(url, headers={"Accept": accept})
            with urllib.request.urlopen(asked, timeout=30) as answer:
                text = answer.read().decode()
            assert "\nslo:objective:ratio{" in text
            assert "slo_objective" not in text


def full(*_: Any) -> str:
    """Refuses a call at its headers."""
    return "full"


@pytest.fixture
def config(repository: Path, tmp_path: Path) -> ServerConfig:
    (tmp_path / "slo.yaml").write_text(SLO)
    return ServerConfig(
        repository=repository,
        port=0,
        slo=tmp_path / "slo.yaml",
        metrics_port=0,
        chunk_rows=64,
        **DRAWN_ANEW,
    )


class TestScraping:
    """What Prometheus sees of a server."""

    def test_calls(self, config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        with running(config) as server:
            before = scrape(server)
            server.stub.Synthesize(ask(draws=5, fidelity="FIDELITY_FAST"))
            list(server.stub.Generate(pb.GenerateRequest(table=TABLE, count=150)))
            for request in (ask(timeout_microseconds=1), ask(table="nope")):
                with pytest.raises(grpc.RpcError):
                    server.stub.Synthesize(request)
            monkeypatch.setattr(server.server.service.dispatcher.gate, "objection", full)
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(ask())
            after = scrape(server)
        fast: Any = {"table": TABLE, "class_": "realtime", "tier": "student", "code": "OK"}
        bulk: Any = {"table": TABLE, "class_": "offline", "tier": "teacher", "code": "OK"}
        nobody: Any = {"table": TABLE, "class_": "realtime", "tier": "none"}
        refused = nobody | {"code": "RESOURCE_EXHAUSTED"}
        hopeless = nobody | {"code": "DEADLINE_TOO_SHORT"}
        lost = nobody | {"table": "(unknown)", "code": "NOT_FOUND"}
        for labels in (fast, bulk, refused, hopeless):
            assert get(before, "cascade_requests_total", **labels) == 0
        for labels in (fast, bulk, refused, hopeless, lost):
            assert get(after, "cascade_requests_total", **labels) == 1
            assert get(after, "cascade_request_duration_seconds_count", **labels) == 1
        for labels, rows in ((fast, 5), (bulk, 150)):
            assert get(after, "cascade_request_duration_seconds_sum", **labels) > 0
            assert get(after, "cascade_request_duration_seconds_bucket", le="+Inf", **labels) == 1
            del labels["code"]
            assert get(after, "cascade_rows_total", **labels) == rows

    def test_objectives(self, config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        with running(config) as server:
            server.stub.Synthesize(ask())
            monkeypatch.setattr(server.server.service.dispatcher.gate, "objection", full)
            with pytest.raises(grpc.RpcError):
                server.stub.Synthesize(ask())
            series = scrape(server)
        labels = {
            "sloth_id": "cascade-payments-realtime-availability",
            "sloth_service": "cascade",
            "sloth_slo": "payments-realtime-availability",
            "table": TABLE,
            "class_": "realtime",
        }
        assert get(series, "slo:objective:ratio", **labels) == 0.9
        assert get(series, "slo:error_budget:ratio", **labels) == pytest.approx(0.1)
        assert get(series, "slo:time_period:days", **labels) == 7
        for window in ("5m", "30m", "1h", "6h", "1d", "3d", "7d"):
            name = f"slo:sli_error:ratio_rate{window}"
            assert get(series, name, sloth_window=window, **labels) == 0.5
        assert get(series, "slo:current_burn_rate:ratio", **labels) == pytest.approx(5)
        assert get(series, "slo:period_burn_rate:ratio", **labels) == pytest.approx(5)
        remaining = "slo:period_error_budget_remaining:ratio"
        assert get(series, remaining, **labels) == pytest.approx(-4)
        latency = "cascade-payments-realtime-latency-12345ms"
        assert get(series, remaining, sloth_id=latency) == 1

    def test_of_the_process(self, config: ServerConfig) -> None:
        with running(config) as server:
            assert get(scrape(server), "process_resident_memory_bytes") > 0


class TestTheirLife:
    """On while the server is, where it was asked for."""

    def test_off_unless_asked_for(self, serving: Running) -> None:
        assert serving.server.sla.metrics_port is None

    def test_end_with_the_server(self, config: ServerConfig) -> None:
        with running(config) as server:
            port = server.server.sla.metrics_port
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30)

    def test_a_taken_port_is_named(self, repository: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            config = ServerConfig(repository=repository, port=0, metrics_port=port)
            with (
                pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port} for metrics"),
                running(config),
            ):
                pass


class TestWhoScrapes:
    """Where callers are asked who they are, so is whoever scrapes, and nobody keeps others out."""

    @pytest.fixture
    def access(self, tmp_path: Path) -> Path:
        path = tmp_path / "access.yaml"
        tenants = (
            f"  watcher: {{keys: {lines('watcher')}, tables: '*', may: [statistics]}}\n"
            f"  caller: {{keys: {lines('caller')}, tables: '*', may: [synthesize]}}\n"
        )
        path.write_text(f"tenants:\n{tenants}")
        return path

    async def test_from_before_releases_are_loaded(self, repository: Path, access: Path) -> None:
        config = ServerConfig(repository=repository, port=0, metrics_port=0, access=access)
        server = Server(config)
        await server.sla.start()

        def status(name: str) -> int:
            shown = {"Authorization": f"Bearer {key_of(name)[0]}"} if name else {}
            url = f"http://127.0.0.1:{server.sla.metrics_port}/metrics"
            try:
                asked = urllib.request.Request(url, headers=shown)
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as exc:
                return exc.code

        try:
            found = [await asyncio.to_thread(status, name) for name in ("", "caller", "watcher")]
        finally:
            await server.sla.stop()
        assert found == [401, 403, 200]


class TestBuckets:
    """A threshold is a bound of the histogram, so that its objective is exact."""

    CONFIG = SloConfig(
        objectives=tuple(
            Objective("*", REALTIME, Kind.LATENCY, 0.9, threshold=threshold)
            for threshold in (0.0125, 0.05, 1e-5, 2.0)
        )
    )

    def test_thresholds_are_bounds(self) -> None:
        found = buckets(self.CONFIG.objectives)
        assert {0.0125, 0.05, 1e-5, 2.0} <= set(found)
        assert found == sorted(set(found))

    def test_what_takes_as_long_is_good_in_both_counts(self) -> None:
        ledger = Ledger(self.CONFIG, ["credit"])
        metrics = Metrics(ledger, ["credit"])
        for seconds in (0.0125, 0.05, 0.01251, 1e-5):
            ledger.record("credit", REALTIME, Tier.STUDENT, OK, seconds)
            ledger.book.calls.record(("credit", REALTIME, Tier.STUDENT, OK), seconds)
        series = parsed(generate_latest(metrics.registry).decode())
        for status in ledger.report().statuses:
            assert status.objective.threshold is not None
            good = get(
                series,
                "cascade_request_duration_seconds_bucket",
                tier="student",
                class_="realtime",
                le=str(status.objective.threshold),
            )
            assert good == status.events.good


def test_every_series_is_there_before_its_first_event() -> None:
    """A counter that appears with its first error has no rate."""
    metrics = Metrics(Ledger(SloConfig(), ["credit"]), ["credit"])
    series = parsed(generate_latest(metrics.registry).decode())
    for service in ServiceClass:
        for code in BLAMED:
            labels = {"class_": str(service), "code": code.name, "tier": "none"}
            assert get(series, "cascade_requests_total", **labels) == 0
        # Offline too: who lets others go first may ask for the student.
        for tier in Tier:
            labels = {"class_": str(service), "tier": str(tier)}
            assert get(series, "cascade_requests_total", **labels, code="OK") == 0
            assert get(series, "cascade_rows_total", **labels) == 0
    assert not any(name.endswith("_created") for name, _ in series)
