"""`cascade sla` against a real gRPC server whose service is scripted."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from cascade_cli.program import main
from cascade_client import (
    CallerFault,
    CallerFaults,
    CascadeError,
    Client,
    ServiceClass,
    ServiceLevel,
    Unavailable,
)
from cascade_client.commands import sla as sla_commands
from cascade_client.commands.sla import looks
from cascade_client.commands.sla_printing import rendered
from click.testing import CliRunner, Result
from rich.console import Console


@pytest.fixture
def run(target: str) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["sla", *arguments], env={"CASCADE_TARGET": target})

    return run


def stop_after(looks: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Ctrl-C while waiting for the look after so many; what was waited."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == looks:
            raise KeyboardInterrupt

    monkeypatch.setattr(sla_commands.time, "sleep", sleep)
    return waited


def table(level: ServiceLevel, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(rendered(level, "there:8470", console))
    return console.export_text()


class TestTheTable:
    """A line an objective, in words that need no colours."""

    def test_what_an_operator_reads(self, run: Any) -> None:
        result = run()
        assert result.exit_code == 0, result.output
        lines = [" ".join(line.split()) for line in result.output.splitlines()]
        assert lines[0].endswith(": 1 page")
        assert lines[1] == "budgets of 30d, counted since 2026-01-02 03:04 UTC"
        assert lines[3] == "table class objective kept budget burn 1h alert"
        assert lines[4] == "people realtime 99.9 % answered 99 % -900 % 15.5 page"
        assert lines[5] == "99 % within 50 ms 99.9 % 90 % 0.1 ok"
        assert lines[6] == "full 50 % by the teacher – 100 % – ok"
        assert lines[8] == "last hour class tier answers p50 ms p90 ms p99 ms p99.9 ms"
        assert lines[9] == "people realtime student 1234 0.31 0.42 1.11 5.2"

    def test_no_alerts(self, client: Client) -> None:
        level = client.service_level()
        quiet = ServiceLevel(level.service, level.window, level.since, level.objectives[1:], ())
        assert table(quiet, 80).splitlines()[0] == "scoring at there:8470: no alerts"

    def test_what_is_the_callers_own_is_below(self, client: Client) -> None:
        faults = (
            CallerFaults("people", ServiceClass.FULL, CallerFault.DEADLINE_TOO_SHORT, 12),
            CallerFaults("people", ServiceClass.FULL, CallerFault.HUNG_UP, 1),
        )
        level = replace(client.service_level(), caller_faults=faults)
        assert table(level, 200).splitlines()[-3:] == [
            "callers' own, in no budget, since the server's start:",
            "  12 people full calls with less time than an idle server needs",
            "  1 people full call given up by the caller before the deadline",
        ]

    @pytest.mark.parametrize(
        ("width", "heads"),
        [
            (200, "kept events budget burn 5m 30m 1h 6h 1d 3d alert"),
            (105, "kept events budget burn 5m 1h 6h 3d alert"),
            (90, "kept budget burn 5m 1h 3d alert"),
            (80, "kept budget burn 1h alert"),
        ],
    )
    def test_as_many_columns_as_there_is_room_for(
        self, client: Client, width: int, heads: str
    ) -> None:
        lines = table(client.service_level(), width).splitlines()
        assert lines[3].split()[3:] == heads.split()
        assert all("…" not in line for line in lines)

    def test_many_events_are_short(self, client: Client) -> None:
        text = table(client.service_level(), 200)
        assert " 100k " in text
        assert " 10k " in text


class TestJson:
    """For programs."""

    def test_a_document(self, run: Any) -> None:
        document = json.loads(run("--json").stdout)
        assert document["service"] == "scoring"
        assert document["since"] == "2026-01-02T03:04:05Z"
        assert [each["alert"] for each in document["objectives"]] == ["page", "ok", "ok"]
        latency = document["objectives"][1]
        assert (latency["kind"], latency["threshold"], latency["tier"]) == ("latency", 0.05, None)
        assert latency["burn_rates"]["1h"]["rate"] == 0.1
        assert document["latencies"][0]["quantiles"] == {
            "p50": 0.00031,
            "p90": 0.00042,
            "p99": 0.00111,
            "p999": 0.0052,
        }


class TestWatching:
    """Looks again and again, through troubles, until Ctrl-C."""

    def test_a_line_of_json_a_look(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        waited = stop_after(3, monkeypatch)
        result = run("--json", "--watch", "--every", "5")
        assert result.exit_code == 0, result.output
        assert [json.loads(line)["service"] for line in result.stdout.splitlines()] == [
            "scoring"
        ] * 3
        assert waited == [5.0] * 3

    def test_a_table(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        stop_after(2, monkeypatch)
        result = run("--watch")
        assert result.exit_code == 0, result.output
        assert "99 % within 50 ms" in result.output

    def test_a_table_a_look_where_there_is_no_terminal(
        self, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stop_after(3, monkeypatch)
        result = run("--watch")  # into a file or a log, where nothing can be drawn over
        assert result.output.count("budgets of 30d") == 3

    def test_trouble_is_shown_beside_what_was_known(self, client: Client) -> None:
        level = client.service_level()
        answers: list[ServiceLevel | CascadeError] = [level, Unavailable("it is gone"), level]

        def fetch() -> ServiceLevel:
            answer = answers.pop(0)
            if isinstance(answer, CascadeError):
                raise answer
            return answer

        seen = looks(fetch, lambda: None)
        assert [next(seen) for _ in range(3)] == [
            (level, ""),
            (level, "no answer, trying again: it is gone"),
            (level, ""),
        ]

    def test_trouble_of_a_watch_in_json_is_on_standard_error(
        self, run: Any, service: Any, fault: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sleep(_: float) -> None:
            if service.faults:
                raise KeyboardInterrupt
            service.faults += [fault(grpc.StatusCode.INTERNAL), fault(grpc.StatusCode.INTERNAL)]

        monkeypatch.setattr(sla_commands.time, "sleep", sleep)
        result = run("--json", "--watch")
        assert len(result.stdout.splitlines()) == 1
        assert "no answer, trying again" in result.stderr


class TestRefusing:
    """A mistake is named, with what is allowed."""

    def test_no_server(self) -> None:
        with socket.socket() as taken:  # bound and not listening: nobody answers there
            taken.bind(("127.0.0.1", 0))
            target = f"127.0.0.1:{taken.getsockname()[1]}"
            result = CliRunner().invoke(main, ["sla", "--target", target])
        assert result.exit_code == 1
        assert f"no server is ready at {target}" in result.output
        assert "cascade serve" in result.output

    def test_no_time_between_looks(self, run: Any) -> None:
        result = run("--watch", "--every", "0")
        assert result.exit_code == 2
        assert "0.0 is not in the range x>=0.1" in result.output

    def test_an_older_server(self, run: Any, service: Any, fault: Any) -> None:
        service.faults.append(fault(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
        result = run()
        assert result.exit_code == 1
        assert "Method not found!" in result.output

    def test_help_has_an_example(self, run: Any) -> None:
        result = run("--help")
        assert "Example" in result.output
        assert "cascade sla" in result.output
