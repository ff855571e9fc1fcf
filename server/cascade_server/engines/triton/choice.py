"""Which server to ask, how long to wait for it, and what a failure means; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import grpc

from cascade_server.engines.latency_model import Line, Outlook
from cascade_server.errors import DeadlinePassed, NotReady, ServerError, TooMuch

# The last server to be asked does not get all of the remaining time: this share is kept back.
KEPT_BACK = 0.1


class View(NamedTuple):
    """A server that has a network, as far as choosing is concerned.

    Attributes:
        target: HOST:PORT.
        most: the most rows of a batch.
        underway: batches of the network that are on the server.
        outstanding: predicted seconds, when they were sent, of all batches on the server. It does
            not shrink while they run: a server that hangs is not idle.
        batches: how many batches the server has answered.
        outlook: the network's outlook there.
        suspect: a batch was given up there, and the server has answered nothing since.
    """

    target: str
    most: int
    underway: int
    outstanding: float
    batches: int
    outlook: Outlook
    suspect: bool = False


def trusted(views: Iterable[View]) -> list[View]:
    """Return the servers that are not suspects, or all if every one is."""
    views = list(views)
    return [view for view in views if not view.suspect] or views


def least_outstanding(
    views: Iterable[View], rows: int, in_flight: float = math.inf, without: Collection[str] = ()
) -> View | None:
    """Return the least loaded server that can take a batch of so many rows now; None if none can.

    Of equally loaded servers, the one that has answered the fewest batches is chosen, so that they
    take turns.

    Args:
        views: servers that are up.
        rows: the least rows of the batch.
        in_flight: the most batches of the network on one server.
        without: servers not to ask.
    """
    able = (
        view
        for view in trusted(view for view in views if view.target not in without)
        if view.most >= rows and view.underway < in_flight
    )
    return min(able, key=lambda view: (view.outstanding, view.batches), default=None)


def soonest(views: Iterable[View], now: float, rows: int, passes: int, ahead: int) -> float:
    """Predict the .99 quantile of the seconds until rows that arrive now would be done.

    Infinite if there is no server.

    Args:
        views: servers that are up.
        now: seconds on the clock of deadlines.
        rows: rows that arrive.
        passes: passes of the network.
        ahead: rows in the queue, which the servers share.
    """
    asked = trusted(views)
    each = math.ceil(ahead / max(1, len(asked)))
    return min(
        (view.outlook._replace(ahead=each).predict(now, rows, passes) for view in asked),
        default=math.inf,
    )


# Seconds for which an offline batch may keep a server from real-time batches.
OFFLINE_SECONDS = 0.1
OFFLINE_ROWS = 16


def offline_rows(line: Line, passes: int, most: int) -> int:
    """Return the rows of an offline batch, bounded so that a real-time batch does not wait long."""
    if line.a <= 0:
        return most
    fitting = (OFFLINE_SECONDS / max(1, passes) - line.b) / line.a
    return min(most, max(OFFLINE_ROWS, int(fitting)))


@dataclass(frozen=True)
class PatienceConfig:
    """When a server is considered to hang.

    Attributes:
        least: seconds to wait at least.
        times: multiple of the predicted .99 quantile to wait.
        unknown: seconds to wait if there is no prediction yet.
    """

    least: float = 0.05
    times: float = 4.0
    unknown: float = 2.0


def patience(tail: float, other: float, remaining: float, config: PatienceConfig) -> float:
    """Return the seconds after which to send a batch to another server too.

    Args:
        tail: the .99 quantile predicted for the batch on its server; 0 if nothing is known.
        other: the same for the other server.
        remaining: seconds until the earliest deadline in the batch.
    """
    hangs = max(config.least, config.times * tail) if tail > 0 else config.unknown
    # Any later, the other server could not be in time either. Before its own .99 quantile, the
    # first server is not given up.
    last = remaining * (1 - KEPT_BACK) - other
    return min(hangs, last) if last > tail else hangs


@dataclass(frozen=True)
class Hedges:
    """How many batches may be sent twice: one in ten, plus a reserve that was saved up.

    If all servers are slow, sending everything twice would make them slower.
    """

    saved: float = 10.0
    most: float = 10.0
    earned: float = 0.1

    @property
    def allowed(self) -> bool:
        return self.saved >= 1

    def after_batch(self) -> Hedges:
        return Hedges(min(self.most, self.saved + self.earned), self.most, self.earned)

    def after_hedge(self) -> Hedges:
        return Hedges(self.saved - 1, self.most, self.earned)


class Verdict(Enum):
    """What a failed call says about its server."""

    GONE = "gone"  # the server is down; the batch goes elsewhere
    FULL = "full"  # the server is overloaded; the batch goes elsewhere
    FAULTY = "faulty"  # the model failed at this batch; another server's may not
    LACKS = "lacks"  # the server no longer has the model
    SLOW = "slow"  # the batch would be late there
    LATE = "late"  # the deadline passed


_VERDICTS = {
    grpc.StatusCode.UNAVAILABLE: Verdict.GONE,
    # Cancelled by the server or the connection: a caller that cancels here knows that it did.
    grpc.StatusCode.CANCELLED: Verdict.GONE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict.FULL,
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict.SLOW,
    grpc.StatusCode.NOT_FOUND: Verdict.LACKS,
}


def verdict_of(code: grpc.StatusCode, remaining: float) -> Verdict:
    """Return what a status means, with so many seconds left for the batch.

    Triton answers UNAVAILABLE if a request's `timeout` passes in its queue.
    """
    if remaining <= 0:
        return Verdict.LATE
    return _VERDICTS.get(code, Verdict.FAULTY)


def failure_of(
    verdict: Verdict, network: str, target: str, words: str, pushback_ms: int
) -> ServerError:
    """Return the error of a request after a server's failure, if no other server answers it.

    Args:
        verdict: what the failure means.
        network, target: the network, and the server that was asked for it.
        words: the server's message; if it is down, why no server can be asked.
        pushback_ms: milliseconds after which an overloaded server may be asked again.
    """
    match verdict:
        case Verdict.GONE:
            return NotReady(words)
        case Verdict.LACKS:
            return NotReady(f"{target}: {words}")
        case Verdict.FULL:
            return TooMuch(f"{network} at {target}: {words}", pushback_ms)
        case Verdict.SLOW:
            return DeadlinePassed(f"{network} at {target}: {words}")
        case Verdict.LATE:
            return DeadlinePassed(late_at(target))
        case Verdict.FAULTY:
            return NotReady(f"{network} failed at {target}: {words}")


def late_at(targets: str) -> str:
    """Describe a deadline that passed while one or several servers had the request."""
    return f"the deadline passed while {targets} had the request"
