"""Common part of the two clients: settings, deadlines, cached schemas; no I/O."""

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
# URLs that gRPC does not accept as an address. For an address without a port, gRPC would use 443.
_URL = re.compile(r"(https?|grpcs?|tcp)://", re.I)
_HOST = re.compile(r"[\w.-]+|\[[0-9a-f:]+\]", re.I)

# Longest call in seconds: 31 years. Python can wait for at most nine times as long.
LONGEST = 1_000_000_000

# Seconds between two health checks of a server that is not ready, and most seconds for one check.
POLL_INTERVAL = 0.1
POLL_TIMEOUT = 1.0

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    # Answers are as large as their caller requested; gRPC's default limit is 4 MiB.
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    # By default gRPC waits a second before it reconnects, longer than most callers' deadlines.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Calls rotate over all servers behind a name; gRPC would use only one of them by default.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # A server that asks to be left has often gained siblings since the last name lookup.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A call beyond the connection's limit fails at once, so that calls wait only in the client's
    # own queue. Without this, gRPC would let it wait after all.
    ("grpc.http.max_concurrent_streams_reject_on_client", 1),
    ("grpc.enable_retries", 0),
    # Clients of one process do not share a connection, and so do not share its limit of calls.
    ("grpc.use_local_subchannel_pool", 1),
)

# Concurrent calls of a client. The client learns its connection's limit. If the caller provides a
# channel in which calls wait inside gRPC, nothing can be learnt; the limit is then the default of
# Cascade's servers.
LEARNT_LIMITS = Limits()
GIVEN_LIMITS = Limits(most=Limits.first)
# Concurrent requests of a standing stream; the server reads at most this many before it has
# answered.
STREAM_LIMITS = Limits(first=64, most=256)
# Kind of the parts of frames in the queue of turns: they take longer than calls of any other kind.
IN_PARTS = "in parts"
# Extra seconds per row of a call for several rows, if the caller gives no timeout.
SECONDS_A_ROW = 1e-3
# For calls that must not wait for other calls of the same caller.
NO_LIMITS = Limits(first=1_000_000, most=1_000_000)


class SynthesizeOptions(TypedDict, total=False):
    """Keywords of `synthesize` about its rows that do not change the return type."""

    columns: Sequence[str] | None
    seed: int | None
    fidelity: wire.Fidelity
    log_likelihood: bool
    explain: bool
    strict: bool
    version: int | None
    nulls: Nulls


class SynthesizeKeywords(SynthesizeOptions, total=False):
    """These keywords, and those for the timeout and for progress reports."""

    timeout: float | None
    progress: Progress | bool | None


class GenerateOptions(TypedDict, total=False):
    """Keywords of `generate` and `stream` that do not change the return type."""

    given: Any
    columns: Sequence[str] | None
    seed: int | None
    version: int | None
    timeout: float | None


class BaseClient:
    """Settings, deadlines and cached schemas of a client."""

    # A client and its sessions share these.
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
        """Whether the client was closed, or the client to which this session belongs."""
        return self._closed or self._channel.closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError(f"{self!r} answers no more calls")

    def _expiry(self, timeout: float | None) -> float:
        """Return the absolute deadline of a call; the client's own timeout is the default."""
        self._check_open()
        return self._clock() + (self.timeout if timeout is None else checked_timeout(timeout))

    def _expiry_of_rows(self, expiry: float, timeout: float | None, rows: int) -> float:
        """Return the deadline of a call for several rows.

        The client's own timeout is meant for the single row of a real-time call; thousands of rows
        take longer than that on a busy machine.
        """
        return expiry + SECONDS_A_ROW * rows if timeout is None else expiry

    def _open_expiry(self, timeout: float | None) -> float:
        """Return the deadline of a bulk call, which has none by default."""
        return self._expiry(math.inf if timeout is None else timeout)

    def _left(self, expiry: float) -> float | None:
        """Return the seconds until the deadline, as gRPC expects them: None without a deadline."""
        left = expiry - self._clock()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the server was asked")
        return None if math.isinf(left) else left

    def _wait_or_raise(
        self, exc: grpc.RpcError, attempt: int, expiry: float, tries_again: bool
    ) -> float:
        """Return the seconds until the next attempt; raise this attempt's error if there is none.

        Args:
            tries_again: whether a refused call may be retried.
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
        """Return the seconds until a stream is resumed; raise the reason if it is not."""
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
        """Return the seconds for one health check; raise if the time is up."""
        left = expiry - self._clock()
        if left <= 0:
            raise Unavailable(f"{self.target} is not ready after {timeout:g} s: {said}")
        return min(left, POLL_TIMEOUT)

    def _why_not_ready(self, exc: grpc.RpcError) -> str:
        """Return the reason to keep waiting; raise if waiting cannot help."""
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
    """Return a server's address in gRPC's form; the default port is that of Cascade's servers.

    With credentials it is gRPC's default, 443: the TLS endpoint is usually a balancer in front of
    them.

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
    """Check a call's timeout in seconds.

    Raises:
        InvalidRequest: it is no number, or outside the allowed range.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, Real):
        raise InvalidRequest(f"timeout is {timeout!r}; a number of seconds is allowed")
    if not 0 < timeout <= LONGEST and timeout != math.inf:
        raise InvalidRequest(
            f"timeout is {timeout}; seconds above 0 are allowed, {LONGEST:,} at most, or infinity"
        )
    return float(timeout)
