"""Makes snapshots of everything known about a server, in a separate thread."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cascade_proto import synthesis_pb2 as pb

from cascade_server.addresses import host_port
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.objectives.burn import Alert
from cascade_server.objectives.report import Report
from cascade_server.page import snapshot as parts
from cascade_server.page.episodes import reaches_back, since
from cascade_server.page.findings import state_of
from cascade_server.page.past import Past
from cascade_server.page.sections import Section
from cascade_server.page.tables import tables_of
from cascade_server.page.trials import TrialsSeen
from cascade_server.supervision.facts import ProcessFacts, unpacked
from cascade_server.terms import ServiceClass

log = logging.getLogger("cascade.server")

FINE_SECONDS, COARSE_SECONDS = 10.0, 300.0
# The most objectives whose past is searched: the worst, if many are missed.
MOST_EPISODES = 100
HOUR_SECONDS = 3600.0


@dataclass
class Grown:
    """The growth of counts within a period, if only their current values are known."""

    seconds: float

    def __post_init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def look(self, at: float, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the counts since the oldest reading within the period."""
        while self._seen and self._seen[0][0] < at - self.seconds:
            self._seen.popleft()
        # One reading per ten seconds is enough.
        if not self._seen or at - self._seen[-1][0] >= FINE_SECONDS:
            self._seen.append((at, dict(counts)))
        before = self._seen[0][1]
        return {
            key: number - before.get(key, 0)
            for key, number in counts.items()
            if number > before.get(key, 0)
        }


class _Seen(NamedTuple):
    """What is known besides the past.

    Attributes:
        facts, releases: from the supervisor.
        standing: state of each trial, by table.
        events: events of the last hour.
        failures: failures of the shared cache in the last minute, by reason.
    """

    facts: tuple[ProcessFacts, ...]
    releases: dict[str, Any]
    standing: dict[str, dict[str, Any]]
    events: dict[str, int]
    failures: dict[str, int]


class Look:
    """Makes snapshots; call it from one thread only.

    Args:
        config: the server's configuration, with the port that it listens on.
        ledger: provides the books and the report on objectives.
        statistics: returns the statistics of all processes.
        sections: parts from other packages; the one named "jobs" has its own place.
        wall, clock: seconds since 1970-01-01 UTC, and monotonic ones.
    """

    def __init__(
        self,
        config: ServerConfig,
        ledger: Ledger,
        statistics: Callable[[], pb.GetStatisticsResponse],
        sections: Sequence[Section] = (),
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._ledger, self._sections = config, ledger, sections
        self._wall, self._clock = wall, clock
        self._books: Books = ledger.books
        self.past = Past(self._books, statistics, wall, clock)
        self._trials = TrialsSeen(self._books)
        self._second_level, self._events = Grown(60.0), Grown(HOUR_SECONDS)
        self._began = wall()
        self._complained: set[str] = set()

    def snapshot(self) -> dict[str, Any]:
        """Return everything that is known now."""
        seen = self._look()
        now, found = self._wall(), self.past.found
        minute, lately = self.past.last_minute(), self.past.last_five_minutes()
        report = self._ledger.report()
        objectives, quiet = parts.objectives_of(report, self._since(report, now))
        tables = tables_of(
            sorted(self._books.tables), minute, self._ledger.latencies(), report, found.steps_down
        )
        refused = parts.refused_of(self.past.reading, minute, lately)
        outside = parts.outside_of(found, minute, self.past.reading)
        sections, failing = self._provided()
        config, workers = self._config, self._config.workers
        out: dict[str, Any] = {
            "at": round(now, 3),
            "service": report.service,
            "target": host_port(config.host, config.port),
            "window_days": report.window / 86_400,
            "since": report.since,
            "past_since": self._began,
            "steps": self.past.steps,
            "totals": self._totals(tables, found),
            "tables": tables[: parts.MOST_ROWS],
            "tables_served": len(self._books.tables),
            "tables_left_out": max(0, len(tables) - parts.MOST_ROWS),
            "objectives": objectives[: parts.MOST_ROWS],
            "objectives_left_out": max(0, len(objectives) - parts.MOST_ROWS),
            "objectives_without_calls": quiet,
            "refused": refused[: parts.MOST_ROWS],
            "refused_left_out": max(0, len(refused) - parts.MOST_ROWS),
            "outside": outside[: parts.MOST_ROWS],
            "outside_left_out": max(0, len(outside) - parts.MOST_ROWS),
            "pool": parts.pool_of(found, config.pool_bytes, workers),
            "cache": parts.cache_of(found, config.cache_bytes, workers),
            "servers": parts.servers_of(found),
            "engines": parts.engines_of(found, now)[: parts.MOST_ROWS],
            "jobs": sections.pop("jobs", None),
            "sections": sections,
            "failing_sections": failing,
            **self._told(found, now, seen),
        }
        if out["cache"] is not None:
            out["cache"]["second_level_failing"] = seen.failures
        out["state"] = state_of(out)
        return out

    def packed(self) -> bytes:
        """Return a snapshot as JSON, or an error if none can be made."""
        try:
            return packed(self.snapshot())
        except Exception as exc:
            # Who watches is to see that the page fails, whatever it fails by, not old numbers.
            self._complain("the operations page", exc)
            why = f"{type(exc).__name__}: {exc}"
        state: dict[str, Any] = {
            "level": "ticket",
            "sentence": "This page cannot be made; the server's log says why.",
            "since": None,
            "cause": why,
            "findings": [],
        }
        return packed({"at": self._wall(), "state": state})

    def packed_past(self, table: str, service: ServiceClass) -> bytes:
        """Return the last hour of a table ("": all tables) and class, as JSON."""
        return packed({"table": table, "class": str(service), **self.past.series(table, service)})

    def remember(self) -> None:
        """Read the counts while nobody watches."""
        try:
            self._look()
        except Exception as exc:
            # It would end the loop that calls this, and all of the past from then on would be lost.
            self._complain("what the operations page remembers", exc)

    def _look(self) -> _Seen:
        """Read the counts and the supervisor's report, whether or not anybody watches.

        A person who opens the page should also see the time before.
        """
        self.past.look()
        at, cache = self._clock(), self.past.found.cache
        facts, releases = unpacked(self._books.told.read()[0])
        canaries = {
            each["table"]: each["version"]
            for each in releases.get("releases", ())
            if each["canary"]
        }
        return _Seen(
            facts,
            releases,
            self._trials.look(canaries),
            self._events.look(at, self._books.live_versions.totals()),
            self._second_level.look(at, cache.second_level_failures),
        )

    def _since(self, report: Report, now: float) -> dict[str, float | None]:
        """Return by name when the current episodes of burning objectives began."""
        burning = [
            number
            for number, status in enumerate(report.statuses)
            if status.alert is not Alert.OK or status.burn_rates["5m"] > 1
        ]
        burning.sort(key=lambda number: -report.statuses[number].burn_rates["1h"])
        burning = burning[:MOST_EPISODES]
        if not burning:
            return {}
        fine = self._ledger.past(burning)
        coarse: list[Any] | None = None
        out: dict[str, float | None] = {}
        for place, number in enumerate(burning):
            objective = report.statuses[number].objective
            cells, step = fine[place], FINE_SECONDS
            if reaches_back(cells, objective.target) or not any(
                each.total > each.good for each in cells
            ):
                coarse = coarse or self._ledger.past(burning, coarse=True)
                cells, step = coarse[place], COARSE_SECONDS
            out[objective.name] = since(cells, objective.target, step, now)
        return out

    def _totals(
        self, tables: Sequence[Mapping[str, Any]], found: pb.GetStatisticsResponse
    ) -> dict[str, Any]:
        classes = [each for table in tables for each in table["classes"]]

        def total(name: str) -> float:
            return float(f"{sum(each[name] for each in classes):.4g}")

        return {
            "answered_per_second": total("answered_per_second"),
            "failed_per_second": total("failed_per_second"),
            "faults_per_second": total("faults_per_second"),
            "rows_per_second": total("rows_per_second"),
            "inside": found.inside,
            "limit": found.limit,
        }

    def _told(self, found: pb.GetStatisticsResponse, now: float, seen: _Seen) -> dict[str, Any]:
        """Return what the supervisor reports: processes, releases, and which of them answer."""
        releases, standing = seen.releases, seen.standing
        listed = releases.get("releases", [])
        for each in listed:
            each["trial"] = standing.get(each["table"]) if each["canary"] else None
            each["share"] = (
                self._books.live_versions.shares(each["table"]).get(each["version"], 0.0)
                if each["table"] in self._books.tables
                else 0.0
            )
        events = self._books.live_versions.totals()
        events["canary_rolled_back_lately"] = seen.events.get("canary_rolled_back", 0)
        return {
            "processes": parts.processes_of(seen.facts, found, self._clock(), now),
            "releases": listed[: 2 * parts.MOST_ROWS],
            "releases_left_out": releases.get("left_out", 0)
            + max(0, len(listed) - 2 * parts.MOST_ROWS),
            "release_events": events,
            "generation": releases.get("generation", 0),
            "generation_since": releases["since"] / 1e6 if releases.get("since") else None,
        }

    def _provided(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the sections' content, and the errors of those that failed."""
        given: dict[str, Any] = {}
        failing: dict[str, str] = {}
        for section in self._sections:
            try:
                value = section.provide()
                if value is not None:
                    # A value that cannot be sent fails here, and not the whole page.
                    given[section.name] = json.loads(json.dumps(value, allow_nan=False))
            except Exception as exc:
                # A section may ask anything, such as a ledger: only its own part is to be missing.
                failing[section.name] = f"{type(exc).__name__}: {exc}"
                self._complain(f"the part {section.name} of the operations page", exc)
        return given, failing

    def _complain(self, what: str, exc: Exception) -> None:
        """Log each kind of error once, not every second."""
        key = f"{what}: {type(exc).__name__}: {exc}"
        if key not in self._complained and len(self._complained) < 100:
            self._complained.add(key)
            log.error("%s cannot be made", what, exc_info=exc)


def packed(found: Mapping[str, Any]) -> bytes:
    """Convert to JSON.

    Raises:
        ValueError: a number does not exist in JSON.
    """
    return json.dumps(found, separators=(",", ":"), allow_nan=False).encode()
