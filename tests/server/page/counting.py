"""Counts as a server makes them, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cascade_proto import synthesis_pb2 as pb
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.books import Books
from cascade_server.objectives.blame import Ending
from cascade_server.objectives.objective import SloConfig
from cascade_server.objectives.report import OK
from cascade_server.page.looking import Look
from cascade_server.page.past import Past
from cascade_server.page.sections import Section
from cascade_server.terms import ServiceClass, Tier

REALTIME, FULL, OFFLINE = ServiceClass


@dataclass
class Counted:
    """A server's books, and what its processes say."""

    tables: Sequence[str] = ("payments",)
    now: float = 1_800_000_000.0
    statistics: pb.GetStatisticsResponse = field(default_factory=pb.GetStatisticsResponse)

    def __post_init__(self) -> None:
        self.books = Books(SloConfig(), self.tables, clock=self.clock)
        self.ledger = Ledger(SloConfig(), self.tables, self.clock, self.books)

    def clock(self) -> float:
        return self.now

    def call(
        self,
        seconds: float,
        calls: int = 1,
        table: str = "payments",
        service: ServiceClass = REALTIME,
        tier: Tier | None = Tier.STUDENT,
        ending: Ending = OK,
    ) -> None:
        """Calls that end alike."""
        if ending is not OK:
            tier = None
        for _ in range(calls if ending is OK else 1):
            self.ledger.record(table, service, tier, ending, seconds, 1 if ending is OK else calls)
        self.books.places[0].calls.record((table, service, tier, ending), seconds, calls)
        if tier is not None:
            self.books.places[0].calls.record_rows((table, service, tier), calls)

    def past(self) -> Past:
        return Past(self.books, lambda: self.statistics, self.clock, self.clock)

    def look(self, *sections: Section, config: Callable[[], ServerConfig] = ServerConfig) -> Look:
        return Look(
            config(), self.ledger, lambda: self.statistics, sections, self.clock, self.clock
        )
