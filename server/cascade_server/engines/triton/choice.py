"""Which server is asked, for how long it is waited for, and what a failure means; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import grpc

from cascade_server.engines.latency_model import Line, Outlook
from cascade_server.errors import DeadlinePassed, NotReady, ServerError, TooMuch

# What is left of a deadline is not given to the last server to the last microsecond.
KEPT_BACK = 0.1


class View(NamedTuple):
    """A server that has a network, as far as choosing goes.

    Attributes:
        target: HOST:PORT.
        most: rows of one batch.
        underway: batches of the network that it has.
        outstanding: seconds that all batches that it has were predicted to take when they were
            sent. It does not shrink while they run: a server that hangs is not idle.
        batches: that it has answered.
        outlook: of the network there.
        suspect: it has been given up on, and has not answered anything since.
    """

    target: str
    most: int
    underway: int
    outstanding: float
    batches: int
    outlook: Outlook
    suspect: bool = False


def trusted(views: Iterable[View]) -> list[View]:
    """Those that are no suspects; all, if each is one."""
    views = list(views)
    return [view for view in views if not view.suspect] or views


def least_outstanding(
    views: Iterable[View], rows: int, in_flight: float = math.inf, without: Collection[str] = ()
) -> View | None:
    """The server with the least work that takes a batch of so many rows now; None: none does.

    Of equals the one that has answered fewest, so that they take turns.

    Args:
        views: servers that are there.
        rows: of the batch, at least.
        in_flight: batches of the network that one server may have.
        without: servers that are not to be asked.
    """
    able = (
        view
        for view in trusted(view for view in views if view.target not in without)
        if view.most >= rows and view.underway < in_flight
    )
    return min(able, key=lambda view: (view.outstanding, view.batches), default=None)


def soonest(views: Iterable[View], now: float, rows: int, passes: int, ahead: int) -> float:
    """The .99 quantile of the seconds until rows that came now would be done; infinite: nowhere.

    Args:
        views: servers that are there.
        now: on the clock of deadlines.
        rows: that come.
        passes: of the network.
        ahead: rows in the queue, which the servers share.
    """
    asked = trusted(views)
    each = math.ceil(ahead / max(1, len(asked)))
    return min(
        (view.outlook._replace(ahead=each).predict(now, rows, passes) for view in asked),
        default=math.inf,
    )


# Seconds that a batch that nobody waits for may keep a server from those that somebody does.
OFFLINE_SECONDS = 0.1
OFFLINE_ROWS = 16


def offline_rows(line: Line, passes: int, most: int) -> int:
    """Rows of a batch of offline work: what a real-time batch behind it is to wait is bounded."""
    if line.a <= 0:
        return most
    fitting = (OFFLINE_SECONDS / max(1, passes) - line.b) / line.a
    return min(most, max(OFFLINE_ROWS, int(fitting)))


@dataclass(frozen=True)
class PatienceConfig:
    """When a server is taken to hang.

    Attributes:
        least: seconds.
        times: what was predicted of it, the .99 quantile.
        unknown: seconds, where nothing has been learnt yet.
    """

    least: float = 0.05
    times: float = 4.0
    unknown: float = 2.0


def patience(tail: float, other: float, remaining: float, config: PatienceConfig) -> float:
    """Seconds after which a batch is sent to another server too.

    Args:
        tail: the .99 quantile predicted for the batch where it is; 0: nothing is known.
        other: where it would be sent.
        remaining: seconds to the first deadline of the batch.
    """
    hangs = max(config.least, config.times * tail) if tail > 0 else config.unknown
    # Later than this the other one could not make it either; sooner than its .99 quantile the
    # first one is not given up.
    last = remaining * (1 - KEPT_BACK) - other
    return min(hangs, last) if last > tail else hangs


@dataclass(frozen=True)
class Hedges:
    """How many batches may be sent twice: one in ten, and as many more as were saved up.

    When all servers are slow, sending everything again would make them slower.
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
    """What a failed call says of the server that it was sent to."""

    GONE = "gone"  # it went away; the batch goes elsewhere
    FULL = "full"  # it has too much to do; the batch goes elsewhere
    FAULTY = "faulty"  # the model failed at this batch; another server's may not
    LACKS = "lacks"  # it no longer has the model
    SLOW = "slow"  # it would be late there
    LATE = "late"  # the deadline passed


_VERDICTS = {
    grpc.StatusCode.UNAVAILABLE: Verdict.GONE,
    # By the server, or because of the connection: who cancels a call here knows that it did.
    grpc.StatusCode.CANCELLED: Verdict.GONE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict.FULL,
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict.SLOW,
    grpc.StatusCode.NOT_FOUND: Verdict.LACKS,
}


def verdict_of(code: grpc.StatusCode, remaining: float) -> Verdict:
    """What a status means, with so many seconds left for the batch.

    Triton says UNAVAILABLE of a request whose `timeout` has passed in its queue.
    """
    if remaining <= 0:
        return Verdict.LATE
    return _VERDICTS.get(code, Verdict.FAULTY)


def failure_of(
    verdict: Verdict, network: str, target: str, words: str, pushback_ms: int
) -> ServerError:
    """What a request ends with that a server failed at, if no other one answers it.

    Args:
        verdict: what the failure means.
        network, target: what was asked of whom.
        words: what the server said; where it is gone, why no server can be asked.
        pushback_ms: after which a server that has too much to do may be asked again.
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
    """Words for a deadline that passed while one or several servers had the request."""
    return f"the deadline passed while {targets} had the request"
