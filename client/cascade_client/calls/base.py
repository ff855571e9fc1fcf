"""What the two clients share: settings, deadlines, remembered schemas; no I/O."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypedDict

import grpc

from cascade_client.calls.lines import Lines
from cascade_client.calls.resuming import Attempts
from cascade_client.calls.showing import Showing
from cascade_client.errors import (
    CascadeError,
    DeadlineExceeded,
    Failure,
    InvalidRequest,
    Unavailable,
)
from cascade_client.messages import wire
from cascade_client.messages.cells import Nulls
from cascade_client.progress import Progress
from cascade_client.retry import Retry
from cascade_client.turns.queue import Limits
from cascade_client.values.descriptions import TableDescription

DEFAULT_PORT = 8470
DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"
# What is no address of gRPC's, though it looks like one, and an address without a port, for which
# gRPC would take 443.
_URL = re.compile(r"(https?|grpcs?|tcp)://", re.I)
_HOST = re.compile(r"[\w.-]+|\[[0-9a-f:]+\]", re.I)

# Seconds that a call may take: 31 years. Python waits for no more than nine times as long.
LONGEST = 1_000_000_000

# Seconds between two looks at a server that is not ready, and for one look at most.
POLL_INTERVAL = 0.1
POLL_TIMEOUT = 1.0

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Answers are as large as their caller asked for; gRPC's own limit is 4 MiB.
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # gRPC waits a second before it connects again, longer than most callers' whole deadline.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Calls go in turn to all servers that a name stands for; gRPC's own choice is one of them.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # A server that asks to be left has often had company since the name was looked up.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A call beyond those that the server lets a connection have comes back at once: who waits,
    # waits in the client's own queue. gRPC's own retries would have it wait after all.
    ("grpc.http.max_concurrent_streams_reject_on_client", 1),
    ("grpc.enable_retries", 0),
    # Clients of one process do not share a connection, and with it the calls that it may have.
    ("grpc.use_local_subchannel_pool", 1),
)

# Calls of a client that may be in flight at once: what its connection may have is learnt. A channel
# that was given may have gRPC wait, which tells nothing: there are as many as Cascade's servers let
# a connection have unless told otherwise.
LEARNT_LIMITS = Limits()
GIVEN_LIMITS = Limits(most=Limits.first)
# Requests of a standing stream; the server reads no more than so many before it has answered.
STREAM_LIMITS = Limits(first=64, most=256)
# What the queue of turns calls the parts of frames: they take longer than calls of any other kind.
IN_PARTS = "in parts"
# That a call for several rows may take longer, for each of them, where nobody says how long.
SECONDS_A_ROW = 1e-3
# Of calls that may not wait for others of the same caller.
NO_LIMITS = Limits(first=1_000_000, most=1_000_000)


class SynthesizeOptions(TypedDict, total=False):
    """The keywords of `synthesize` that are about its rows, and do not change the type."""

    columns: Sequence[str] | None
    seed: int | None
    fidelity: wire.Fidelity
    log_likelihood: bool
    explain: bool
    strict: bool
    version: int | None
    nulls: Nulls


class SynthesizeKeywords(SynthesizeOptions, total=False):
    """The same, and how long to wait and whom to tell of progress."""

    timeout: float | None
    progress: Progress | bool | None


class GenerateOptions(TypedDict, total=False):
    """The keywords of `generate` and `stream` that do not change the type they return."""

    given: Any
    columns: Sequence[str] | None
    seed: int | None
    version: int | None
    timeout: float | None


class BaseClient:
    """Settings, deadlines and remembered schemas of a client."""

    # The same of a client and of its sessions.
    _channel: Lines

    def __init__(
        self,
        target: str,
        timeout: float,
        retry: Retry | None,
        clock: Callable[[], float] | None,
        rng: Callable[[], float],
        showing: Showing,
    ) -> None:
        self._showing = showing
        self.target = target
        self.timeout = checked_timeout(timeout)
        self.retry = Retry() if retry is None else retry
        self._clock = time.monotonic if clock is None else clock
        self._rng = rng
        self._schemas: dict[tuple[str, int | None], TableDescription] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.target}{', closed' * self._is_closed}>"

    @property
    def _is_closed(self) -> bool:
        """Whether it was closed: it, or the client whose session it is."""
        return self._closed or self._channel.closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self!r} answers no more calls")

    def _expiry(self, timeout: float | None) -> float:
        """The absolute deadline of a call; the client's own timeout where none is given."""
        self._check_open()
        return self._clock() + (self.timeout if timeout is None else checked_timeout(timeout))

    def _expiry_of_rows(self, expiry: float, timeout: float | None, rows: int) -> float:
        """The deadline of a call for several rows: the client's own timeout is one for a row that a
        payment waits for, and thousands take longer than that on a busy machine."""
        return expiry + SECONDS_A_ROW * rows if timeout is None else expiry

    def _open_expiry(self, timeout: float | None) -> float:
        """The same for bulk calls, which may take for ever unless told otherwise."""
        return self._expiry(math.inf if timeout is None else timeout)

    def _left(self, expiry: float) -> float | None:
        """Seconds until the deadline, as gRPC wants them: None where there is none."""
        left = expiry - self._clock()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the server was asked")
        return None if math.isinf(left) else left

    def _wait_or_raise(
        self, exc: grpc.RpcError, attempt: int, expiry: float, tries_again: bool
    ) -> float:
        """Seconds until the next attempt; raises the error of this one if there is none.

        Args:
            tries_again: whether what the server has refused may be tried again.
        """
        failure = Failure.of(exc)
        if failure.code is grpc.StatusCode.UNAUTHENTICATED and self._showing.renews():
            return 0.0
        if not tries_again and failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise failure.error(self.target) from exc
        left = expiry - self._clock()
        delay = self.retry.delay(failure, attempt, None if math.isinf(left) else left, self._rng())
        if delay is None:
            raise self._error(exc) from exc
        return delay

    def _resume_or_raise(
        self, stream: Attempts, failure: Failure, cause: Exception | None, expiry: float
    ) -> float:
        """Seconds until a stream is resumed; raises why it is not."""
        if failure.code is grpc.StatusCode.UNAUTHENTICATED and self._showing.renews():
            return 0.0
        left = expiry - self._clock()
        delay = stream.delay(failure, None if math.isinf(left) else left, self._rng())
        if delay is None:
            raise stream.explain(failure.error(self.target)) from cause
        return delay

    def _error(self, exc: grpc.RpcError) -> CascadeError:
        return Failure.of(exc).error(self.target)

    def _remember(self, schema: TableDescription, version: int | None) -> TableDescription:
        self._schemas[schema.table, version] = schema
        return schema

    def _recall(self, table: str, version: int | None) -> TableDescription | None:
        return self._schemas.get((table, version))

    def _poll_or_raise(self, expiry: float, timeout: float, said: str) -> float:
        """Seconds for one look at the server's health; raises when time is up."""
        left = expiry - self._clock()
        if left <= 0:
            raise Unavailable(f"{self.target} is not ready after {timeout:g} s: {said}")
        return min(left, POLL_TIMEOUT)

    def _why_not_ready(self, exc: grpc.RpcError) -> str:
        """The reason to go on waiting; raises where waiting cannot help."""
        failure = Failure.of(exc)
        if failure.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.CANCELLED,
        ):
            return failure.details
        raise self._error(exc) from exc


def checked_target(target: str, credentials: grpc.ChannelCredentials | None = None) -> str:
    """A server's address as gRPC takes it, with the port that servers have where none is named.

    With credentials that is gRPC's own, 443: who speaks TLS is mostly a balancer before them.

    Raises:
        InvalidRequest: it is a URL of another kind, or no text.
    """
    if not isinstance(target, str) or not target or _URL.match(target):
        raise InvalidRequest(
            f"target is {target!r}; HOST:PORT is allowed, such as {DEFAULT_TARGET!r}"
        )
    if credentials is not None or not _HOST.fullmatch(target):
        return target
    return f"{target}:{DEFAULT_PORT}"


def checked_timeout(timeout: float) -> float:
    """Seconds that a call may take, as they can be sent and waited for.

    Raises:
        InvalidRequest: they are no number, or none that a call may take.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise InvalidRequest(f"timeout is {timeout!r}; a number of seconds is allowed")
    if not 0 < timeout <= LONGEST and timeout != math.inf:
        raise InvalidRequest(
            f"timeout is {timeout}; seconds above 0 are allowed, {LONGEST:,} at most, or infinity"
        )
    return float(timeout)
