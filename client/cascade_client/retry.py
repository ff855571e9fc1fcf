"""Retry policy for failed calls, as pure functions; the clients do the waiting.

No call of this service has side effects, so a retry is always safe, and the only question is
whether it can help: the server did not take the call (UNAVAILABLE), or asked for a later retry
(RESOURCE_EXHAUSTED with a pushback). Backoff and pushback follow gRFC A6, but not its limit of five
attempts, which would be used up long before a crashed process is back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import grpc

from cascade_client.errors import Failure


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to retry. `Retry(attempts=1)` never does.

    Attributes:
        attempts: total calls, including the first; >= 1.
        unavailable_attempts: total calls while a server can be reached but cannot answer, for
            example while one of its processes restarts: eight take 2.3 s, if the deadline allows
            that. None: twice `attempts`, unless that is 1.
        initial_backoff: seconds before the second attempt, > 0.
        multiplier: growth of the backoff from one attempt to the next, >= 1.
        maximum_backoff: upper limit of the backoff in seconds, >= initial_backoff.
        jitter: share by which a backoff varies up or down at random, in [0, 1).

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """

    attempts: int = 4
    initial_backoff: float = 0.02
    multiplier: float = 2.0
    maximum_backoff: float = 1.0
    jitter: float = 0.2
    unavailable_attempts: int | None = None

    def __post_init__(self) -> None:
        for field, value, holds, allowed in (
            ("attempts", self.attempts, self.attempts >= 1, "at least 1"),
            ("initial_backoff", self.initial_backoff, self.initial_backoff > 0, "above 0"),
            ("multiplier", self.multiplier, self.multiplier >= 1, "at least 1"),
            (
                "maximum_backoff",
                self.maximum_backoff,
                self.maximum_backoff >= self.initial_backoff,
                f"at least initial_backoff ({self.initial_backoff})",
            ),
            ("jitter", self.jitter, 0 <= self.jitter < 1, "in [0, 1)"),
            (
                "unavailable_attempts",
                self.unavailable_attempts,
                self.unavailable_attempts is None or self.unavailable_attempts >= 1,
                "at least 1",
            ),
        ):
            if not holds:
                raise ValueError(f"{field} is {value}; it must be {allowed}")

    def delay(
        self, failure: Failure, attempt: int, remaining: float | None, uniform: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Args:
            failure: of the last attempt.
            attempt: attempts made so far, >= 1.
            remaining: seconds left until the deadline; None: there is none.
            uniform: a random number in [0, 1).
        """
        if attempt >= self._most(failure):
            return None
        asked = failure.pushback
        if asked is not None and asked < 0:
            return None
        if failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if asked is None:
                return None
        elif failure.code is not grpc.StatusCode.UNAVAILABLE:
            return None
        wait = self.backoff(attempt, uniform) if asked is None else asked
        return None if remaining is not None and wait >= remaining else wait

    def _most(self, failure: Failure) -> int:
        """Return the total number of calls allowed after such a failure."""
        if not failure.is_passing:
            return self.attempts
        if self.unavailable_attempts is not None:
            return self.unavailable_attempts
        return 2 * self.attempts if self.attempts > 1 else 1

    def patient(self) -> Retry:
        """Return the settings for offline work, which is retried for eight seconds longer.

        Offline work would have to start again if it were given up.
        """
        most = self.unavailable_attempts
        if most is None:
            most = 4 * self.attempts if self.attempts > 1 else 1
        return replace(self, unavailable_attempts=most)

    def backoff(self, attempt: int, uniform: float) -> float:
        """Return the seconds of backoff after `attempt` attempts, including jitter."""
        # An exponent of 64 is past any maximum; higher ones would overflow a float.
        grown = self.initial_backoff * self.multiplier ** min(attempt - 1, 64)
        return min(grown, self.maximum_backoff) * (1 + self.jitter * (2 * uniform - 1))
