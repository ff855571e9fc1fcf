"""A cache in Valkey or Redis that processes and machines share; requests work without it.

Whatever it does, it costs a request a few milliseconds at most: every look-up has a time limit, a
circuit breaker stops look-ups while they fail, and a checksum covers all content.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from cascade_server.addresses import without_password
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.server")

# Start of an envelope: a name and a version.
MAGIC = b"CASC\x01"
CHECKSUM = 16
PREFIX = "cascade:"
# Remaining time of a value if unknown; the server also returns this for a value that never expires.
UNKNOWN = -1
# TLS files, in the query of a URL.
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
# Reasons why it was of no use.
TIMEOUT, ERROR, CORRUPT, BUSY, OPEN = "timeout", "error", "corrupt", "busy", "open"
FAILURES = (TIMEOUT, ERROR, CORRUPT, BUSY, OPEN)


def seal(key: bytes, content: bytes) -> bytes:
    """Wrap content in an envelope with its kind and key."""
    return MAGIC + _checksum(key, content) + content


def unseal(key: bytes, envelope: bytes) -> bytes | None:
    """Return the content given to `seal`; None if it is damaged, another key's or anything else."""
    content = envelope[len(MAGIC) + CHECKSUM :]
    whole = envelope[: len(MAGIC) + CHECKSUM] == MAGIC + _checksum(key, content)
    return content if whole else None


def _checksum(key: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECKSUM, key=key).digest()


@dataclass(frozen=True)
class SecondLevelConfig:
    """How long to wait for it.

    Attributes:
        timeout: seconds that a request waits for a look-up.
        share: the largest share of the request's remaining time to wait.
        limit: seconds after which a look-up or write that no request waits for is abandoned; enough
            to connect.
        most: the most look-ups and writes at the same time; any beyond are skipped.
        failures: failures in a row after which it is not used for a while.
        pause, longest_pause: seconds of that while, at first and at most; each failure doubles it.
    """

    timeout: float = ServerConfig.cache_timeout_seconds
    share: float = 0.2
    limit: float = 1.0
    most: int = 16
    failures: int = 5
    pause: float = 1.0
    longest_pause: float = 60.0


class Kept(NamedTuple):
    """An answer that was found.

    Attributes:
        content: the stored content.
        age: seconds since it was stored, by the cache server's clock, to be deducted from its
            lifetime. The clocks of the machines that share it may differ. Infinite if unknown.
    """

    content: bytes
    age: float


class Breaker:
    """Stops what keeps failing, and lets one attempt through after a while.

    The caller passes the time.
    """

    def __init__(self, config: SecondLevelConfig) -> None:
        self._config = config
        self._failed = 0
        self._pause = 0.0
        self._until = 0.0

    @property
    def open(self) -> bool:
        return self._pause > 0

    def allows(self, now: float) -> bool:
        """Return whether an attempt is allowed now.

        While the breaker is open, an attempt shuts out all others until it is over, or for as long
        as a pause.
        """
        if not self.open:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause
        return True

    def worked(self) -> None:
        """Close the breaker: it works again."""
        self._failed, self._pause = 0, 0.0

    def failed(self, now: float) -> None:
        """Open the breaker after some failures in a row, for longer each time."""
        self._failed += 1
        if self._failed >= self._config.failures:
            pause = 2 * self._pause or self._config.pause
            self._pause = min(pause, self._config.longest_pause)
            self._until = now + self._pause


class SecondLevel:
    """Reads and writes sealed answers.

    Args:
        url: redis://, rediss:// or unix://, with user, password and database if needed.
        max_age: seconds that an answer is kept.
        config: how long to wait.
        clock: monotonic seconds.

    Raises:
        ConfigError: the URL is invalid, or the client library is not installed.
    """

    def __init__(
        self,
        url: str,
        max_age: float,
        config: SecondLevelConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or SecondLevelConfig()
        self.breaker = Breaker(self.config)
        self._failures: Counter[str] = Counter()
        self._max_age, self._clock = max_age, clock
        self._underway: set[asyncio.Future[Any]] = set()
        self._given_up: set[asyncio.Future[Any]] = set()
        self._client = _client(url, self.config)

    @property
    def failures(self) -> Mapping[str, int]:
        """How often it was of no use, by reason."""
        return {why: self._failures[why] for why in FAILURES}

    @property
    def underway(self) -> int:
        """Number of look-ups and writes in progress."""
        return len(self._underway)

    async def get(self, key: bytes, remaining: float) -> Kept | None:
        """Return an answer; None if there is none, or none in time. Never raises.

        Args:
            key: 32 bytes.
            remaining: seconds until the deadline.
        """
        task = self._begin(lambda: self._look(_name(key)))
        if task is None:
            return None
        timeout = min(self.config.timeout, self.config.share * max(0.0, remaining))
        # A look-up that takes longer continues: once it has connected, the next one is in time.
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            self._given_up.add(task)
            # A timeout that was shortened by the deadline says nothing about the other end.
            self._failed(TIMEOUT, blame=timeout == self.config.timeout)
            return None
        found = None if task.cancelled() or task.exception() else task.result()
        if found is None:
            return None
        content = unseal(key, found.content)
        if content is None:
            self.corrupt()
            return None
        return Kept(content, found.age)

    async def _look(self, name: str) -> Kept | None:
        """Return a value and its age; usually there is none, and that needs one command."""
        envelope = await self._client.get(name)
        if envelope is None:
            return None
        if not isinstance(envelope, bytes):
            # The client accepts any type of the protocol as an answer to any command.
            raise TypeError(f"a value came as {type(envelope).__name__}")
        try:
            left = await self._client.pttl(name)
        except Exception:  # a user who may only read values
            left = UNKNOWN
        known = isinstance(left, int) and left >= 0
        return Kept(envelope, max(0.0, self._max_age - left / 1e3) if known else math.inf)

    def corrupt(self) -> None:
        """Count content that is of no use."""
        self._failures[CORRUPT] += 1

    def put(self, key: bytes, content: bytes) -> None:
        """Write an answer, without waiting for it."""
        life = max(1, round(1e3 * self._max_age))
        envelope = seal(key, content)
        self._begin(lambda: self._client.set(_name(key), envelope, px=life))

    async def close(self) -> None:
        """Abandon what is in progress, and disconnect."""
        for task in self._underway:
            task.cancel()
        await asyncio.gather(*self._underway, return_exceptions=True)
        await self._client.aclose()

    def _begin(self, command: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any] | None:
        """Start a command, unless it is not allowed now."""
        began = self._clock()
        if len(self._underway) >= self.config.most:
            self._failures[BUSY] += 1
            return None
        if not self.breaker.allows(began):
            self._failures[OPEN] += 1
            return None
        task = asyncio.ensure_future(command())
        self._underway.add(task)
        task.add_done_callback(partial(self._ended, began))
        return task

    def _ended(self, began: float, task: asyncio.Future[Any]) -> None:
        self._underway.discard(task)
        given_up = task in self._given_up
        self._given_up.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            # What is too slow to be waited for does not count as working.
            if self._clock() - began <= self.config.timeout:
                self.breaker.worked()
        elif not given_up:
            log.debug("the shared cache failed", exc_info=error)
            self._failed(ERROR)

    def _failed(self, why: str, blame: bool = True) -> None:
        self._failures[why] += 1
        if not blame:
            return
        was_open = self.breaker.open
        self.breaker.failed(self._clock())
        if self.breaker.open and not was_open:
            log.warning("the shared cache fails (%s); it is left alone for a while", why)


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _client(url: str, config: SecondLevelConfig) -> Any:
    try:
        from redis.asyncio import ConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as exc:
        raise ConfigError(
            "cache_url needs the client of Redis: pip install 'cascade-synthesis[cache]'"
        ) from exc
    try:
        pool = ConnectionPool.from_url(
            url,
            max_connections=config.most,
            socket_timeout=config.limit,
            socket_connect_timeout=config.limit,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
            # Before version 6 the client accepts any name in a certificate.
            **({"ssl_check_hostname": True} if url.startswith("rediss://") else {}),
        )
    except ValueError as exc:
        raise ConfigError(
            f"cache_url is {without_password(url)!r}; allowed: redis://HOST:PORT/DATABASE, "
            "rediss://HOST:PORT/DATABASE (TLS) or unix:///PATH"
        ) from exc
    for name in FILES:
        path = pool.connection_kwargs.get(name)
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(f"cache_url has {name}={path}, which cannot be read")
    return Redis.from_pool(pool)
