"""The Grafana dashboard: its file by Grafana's schema, its queries by a Prometheus that has scraped
a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import Client
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.objectives import dashboard
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.integration.serving import Served, serve, until
from tests.releases import TABLE
from tests.server.messages import ask, row

FILE = Path(__file__).parents[3] / "deploy/grafana/cascade.json"
SAID = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = SAID["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
# A metric's name in a query: what stands before its matchers, or its range, or in an aggregation.
NAME = re.compile(r"\b(?:cascade_|rpc_server_|slo:)[a-z0-9_:]+")
# There is none until a budget has burnt too fast.
RARE = "cascade_steps_down"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class TestFile:
    """What is in the repository."""

    def test_is_what_the_program_writes(self) -> None:
        assert dashboard.as_json() == FILE.read_text(), "it is not; run: make dashboard"

    def test_numbers_are_told_apart_and_nothing_overlaps(self) -> None:
        assert max(Counter(panel["id"] for panel in PANELS).values()) == 1
        taken: Counter[tuple[int, int]] = Counter()
        for panel in PANELS:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= dashboard.WIDTH, panel["title"]
            taken.update(
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            )
        assert max(taken.values()) == 1

    def test_is_by_grafanas_schema(self) -> None:
        """Its own classes, made from the schema, read all that the file says, and say it again."""
        models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.cog.plugins import register_default_plugins

        register_default_plugins()
        read = models.Dashboard.from_json(SAID)
        again = json.loads(JSONEncoder(sort_keys=True).encode(read))
        assert list(lost(SAID, again)) == []

    def test_shows_what_operators_look_for(self) -> None:
        rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
        assert len(rows) == 9
        assert len(QUERIES) > 30

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's `prometheus`")
    @pytest.mark.parametrize(
        ("title", "worst"), [("Error budget left", "-0.5"), ("Burn rate, 5 minutes", "2")]
    )
    def test_of_several_servers_the_worst_is_shown(
        self, title: str, worst: str, tmp_path: Path
    ) -> None:
        [query] = [
            target["expr"]
            for panel in PANELS
            if panel["title"] == title
            for target in panel["targets"]
        ]
        labels = 'table="credit", class="realtime", sloth_slo="credit-realtime-availability"'
        name = NAME.findall(query)[0]
        values = {"one": "-0.5", "other": "2"}
        document = {
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": f'{name}{{{labels}, instance="{each}"}}', "values": value}
                        for each, value in values.items()
                    ],
                    "promql_expr_test": [
                        {
                            "expr": filled_in(query),
                            "eval_time": "0m",
                            "exp_samples": [{"labels": f"{{{labels}}}", "value": float(worst)}],
                        }
                    ],
                }
            ]
        }
        (tmp_path / "test.json").write_text(json.dumps(document))
        found = subprocess.run(
            ["promtool", "test", "rules", str(tmp_path / "test.json")],
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stdout + found.stderr


def lost(said: Any, again: Any, path: str = "") -> Iterator[str]:
    """What of one document is not in another."""
    if isinstance(said, dict) and isinstance(again, dict):
        for key, value in said.items():
            if key not in again:
                yield f"{path}.{key}"
            else:
                yield from lost(value, again[key], f"{path}.{key}")
    elif isinstance(said, list) and isinstance(again, list) and len(said) == len(again):
        for place, (one, other) in enumerate(zip(said, again, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")
    elif said != again:
        yield f"{path}: {said!r} became {again!r}"


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("state")
    with serve(
        *("--repository", str(repository), "--state-dir", str(state), "--metrics-port", "0")
    ) as server:
        exercise(server.target)
        yield server


def exercise(target: str) -> None:
    """Have something of all: tiers, refusals, seeds, values that were never learnt."""
    traced = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)
        for fidelity in (pb.FIDELITY_FAST, pb.FIDELITY_FULL):
            stub.Synthesize(ask(fidelity=fidelity), metadata=traced, timeout=60)
        for _ in range(2):
            stub.Synthesize(ask(seed=1), timeout=60)
        stub.Synthesize(ask(row(channel="fax")), timeout=60)
        with pytest.raises(grpc.RpcError):
            stub.Synthesize(ask(table="nowhere"), timeout=60)
    with Client(target, timeout=60) as client:
        client.generate(TABLE, 10)


def url_of(served: Served) -> str:
    return served.until_said("metrics on").split()[-1]


def scraped(served: Served) -> set[str]:
    """Names of all samples."""
    asked = urllib.request.Request(url_of(served), headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name for family in families for sample in family.samples}


def test_every_name_is_one_that_a_server_has(served: Served) -> None:
    wanted = {name for query in QUERIES for name in NAME.findall(query)}
    assert RARE in wanted

    def missing() -> set[str]:
        return wanted - scraped(served)

    # A worker tells of itself twice a second.
    until(lambda: missing() <= {RARE})


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes a server, and its address."""
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: cascade, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r'msg="Listening on" address=(\S+)', line):
                    break
            else:
                raise AssertionError("prometheus has ended")
            address = f"http://{found[1]}"
            until(lambda: is_ready(address))
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=60)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/-/ready", timeout=60):
            return True
    except urllib.error.HTTPError:
        return False


def asked(address: str, path: str, **parameters: str) -> Any:
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as exc:
        raise AssertionError(f"{parameters}: {exc.read().decode()}") from exc


def filled_in(query: str) -> str:
    """As Grafana sends it."""
    return query.replace("$__rate_interval", "5m").replace("$table", ".*")


@pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not on PATH; the package `prometheus` of Debian has it",
)
def test_prometheus_answers_every_query_and_has_the_exemplars(
    served: Served, tmp_path: Path
) -> None:
    with prometheus(tmp_path, urllib.parse.urlsplit(url_of(served)).netloc) as address:

        def twice() -> bool:
            found = asked(address, "query", query="count_over_time(up[1h]) > 2")["result"]
            return bool(found)

        until(twice)
        exercise(served.target)

        def empty() -> list[str]:
            return [
                query
                for query in QUERIES
                if not asked(address, "query", query=filled_in(query))["result"]
            ]

        until(lambda: all(RARE in each for each in empty()))
        now = time.time()
        span = {"start": str(now - 3600), "end": str(now + 60)}
        name = "cascade_request_duration_seconds_bucket"
        until(lambda: bool(asked(address, "query_exemplars", query=name, **span)))
        found = asked(address, "query_exemplars", query=name, **span)
        assert {each["labels"]["trace_id"] for part in found for each in part["exemplars"]} == {
            TRACE
        }
