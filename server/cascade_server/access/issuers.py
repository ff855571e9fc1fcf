"""Fetches and caches the keys of issuers outside the event loop.

Keys are fetched again when a token names an unknown one, at a rate that spares the issuer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

from cascade_server.access.access_file import is_safe_url
from cascade_server.access.grants import Issuer
from cascade_server.access.tokens import KeySet, key_set_of

log = logging.getLogger("cascade.access")

DISCOVERY = "/.well-known/openid-configuration"
MOST_BYTES = 512 * 1024
# Seconds: timeout of a fetch; least time between two fetches for unknown keys; first and longest
# wait after a failed fetch.
TIMEOUT, SPACING, FIRST_RETRY, LAST_RETRY = 5.0, 10.0, 1.0, 60.0
# Seconds within which a running fetch is likely to complete.
SOON = 0.5
# Most unknown key names that are remembered.
MOST_SOUGHT = 256
# Times that the wait between two attempts doubles.
DOUBLINGS = 6

# Most characters quoted from an invalid answer, because its sender may choose the text.
LONGEST_WHY = 200

Fetch = Callable[[str], bytes]
T = TypeVar("T")


class KeysNotFetched(Exception):
    """An issuer's keys cannot be fetched now; says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Refuse redirects, which could lead anywhere."""
        return


def fetch(url: str, timeout: float = TIMEOUT) -> bytes:
    """Fetch the content of a URL.

    Raises:
        KeysNotFetched: no content, too much, not HTTP, or not complete in time.
    """
    opener = urllib.request.build_opener(_NoRedirects)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    content, late = bytearray(), time.monotonic() + timeout
    try:
        with opener.open(request, timeout=timeout) as answer:
            while part := answer.read1(MOST_BYTES):
                content += part
                if len(content) > MOST_BYTES:
                    raise KeysNotFetched(f"{url} has more than {MOST_BYTES:,} bytes")
                if time.monotonic() > late:
                    raise TimeoutError(f"not in {timeout:g} s")
    except (URLError, HTTPException, OSError, ValueError) as exc:
        if isinstance(exc, HTTPError):
            exc.close()  # the error holds the response and its connection
        said = str(getattr(exc, "reason", None) or exc) or type(exc).__name__
        why = "".join(each if each.isprintable() else "?" for each in said[:LONGEST_WHY])
        raise KeysNotFetched(f"{url} does not answer: {why}") from exc
    return bytes(content)


def keys_of(issuer: Issuer, get: Fetch = fetch) -> KeySet:
    """Read an issuer's current keys; blocks on disk or network.

    Raises:
        KeysNotFetched: the keys cannot be read; says why.
    """
    try:
        if issuer.keys is not None:
            return key_set_of(issuer.keys.read_bytes())
        return key_set_of(get(issuer.jwks or _jwks_uri(issuer, get)))
    except OSError as exc:
        raise KeysNotFetched(f"{issuer.keys} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise KeysNotFetched(f"the keys of {issuer.name} cannot be used: {exc}") from exc


def _jwks_uri(issuer: Issuer, get: Fetch) -> str:
    """Read the URL of the keys in an issuer's discovery document (OpenID Connect)."""
    url = issuer.issuer.rstrip("/") + DISCOVERY
    try:
        found = json.loads(get(url))
    except (ValueError, RecursionError) as exc:
        raise KeysNotFetched(f"{url} is no JSON") from exc
    if not isinstance(found, dict) or found.get("issuer") != issuer.issuer:
        raise KeysNotFetched(f"{url} is not the document of {issuer.issuer}")
    uri = found.get("jwks_uri")
    if not isinstance(uri, str) or not is_safe_url(uri):
        raise KeysNotFetched(f"{url} names no jwks_uri with https")
    return uri


@dataclass
class Held:
    """The cached keys of one issuer, and the state of fetching them.

    Attributes:
        issuer: the issuer.
        keys: the keys; None: never fetched.
        due: when to fetch them next, monotonic seconds.
        fetched: when the last fetch began.
        failures: number of failed fetches in a row.
        is_fetching: whether a fetch is running.
        fetches, last_good: number of fetches begun, and the number of the last successful one.
        sought: unknown key names in tokens, as hashes because a token may name a long one, each
            with the number of fetches begun when it was first seen.
        is_outdated: whether the keys have changed since the last fetch began.
    """

    issuer: Issuer
    keys: KeySet | None = None
    due: float = 0.0
    fetched: float = -1e18
    failures: int = 0
    is_fetching: bool = False
    fetches: int = 0
    last_good: int = 0
    sought: dict[int, int] = field(default_factory=dict)
    is_outdated: bool = False

    def begins(self, now: float) -> None:
        """Note that a fetch begins."""
        self.is_fetching, self.is_outdated = True, False
        self.fetched, self.fetches = now, self.fetches + 1

    def came(self, keys: KeySet, now: float) -> None:
        """Store fetched keys, and decide when to fetch again."""
        self.keys, self.failures, self.due = keys, 0, now + self.issuer.refresh
        self.last_good = self.fetches
        if self.is_outdated:
            self.due = now
        elif self.fetches in self.sought.values():
            # A token with yet another key arrived during the fetch.
            self.due = max(now, self.fetched + SPACING)

    def failed(self, now: float) -> None:
        """Keep the current keys after a failed fetch, and retry after a growing wait."""
        self.failures += 1
        # The exponent is bounded: after a day of failures the power would overflow a float.
        wait = min(FIRST_RETRY * 2 ** min(self.failures - 1, DOUBLINGS), LAST_RETRY)
        self.due = now + min(wait, self.issuer.refresh)

    def outdated(self, now: float) -> None:
        """Note that the keys have changed, and make a fetch due at once."""
        self.due, self.is_outdated = now, True

    def wanted(self, kid: str, now: float) -> float | None:
        """Note that a token names an unknown key.

        Returns:
            Seconds until the key may be known; None: keys were fetched since the name was first
            seen, without this one. A token of a withdrawn key is thus refused for good, and its
            caller gets a new token. The key is still looked for once more when a fetch is due,
            because an issuer may sign before it publishes.
        """
        self.due = min(self.due, max(now, self.fetched + SPACING))
        # The newest name is last. A flood of new names evicts the oldest ones; a token with an
        # evicted name merely waits once more.
        name = hash(kid)
        since = self.sought.pop(name, self.fetches)
        self.sought[name] = since
        if len(self.sought) > MOST_SOUGHT:
            self.sought.pop(next(iter(self.sought)), None)
        return None if self.last_good > since else max(SOON, self.due - now)


@dataclass
class Issuers:
    """The keys of all issuers. A slow issuer does not delay the others.

    Attributes:
        changed: called when new keys have arrived.
        clock: monotonic seconds.
        get: fetches a URL.
        patience: seconds after which a fetch counts as failed, even if it still runs.
    """

    changed: Callable[[], None]
    clock: Callable[[], float]
    get: Fetch = fetch
    # Covers the discovery document and the keys that it names.
    patience: float = 3 * TIMEOUT
    _held: dict[Issuer, Held] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    # The event loop of `keep`; metric scrapes call in from other threads.
    _loop: asyncio.AbstractEventLoop | None = None

    def use(self, issuers: Mapping[str, Issuer]) -> None:
        """Replace the issuers; keys of issuers that stay are kept."""
        self._held = {each: self._held.get(each, Held(each)) for each in issuers.values()}
        self._rouse()

    def keys(self, issuer: Issuer) -> KeySet | None:
        """Return an issuer's keys; None: none have been fetched yet."""
        held = self._held.get(issuer)
        return None if held is None else held.keys

    def wanted(self, issuer: Issuer, kid: str) -> float | None:
        """Note that a token names an unknown key; return as `Held.wanted`."""
        held = self._held.get(issuer)
        if held is None:
            return None
        seconds = held.wanted(kid, self.clock())
        self._rouse()
        return seconds

    def outdated(self, which: Callable[[Issuer], bool] = lambda _: True) -> None:
        """Fetch the keys of some issuers at once, because they may have changed.

        Args:
            which: selects the issuers; all by default.
        """
        for issuer, held in self._held.items():
            if which(issuer):
                held.outdated(self.clock())
        self._rouse()

    def _rouse(self) -> None:
        if self._loop is None:
            self._wake.set()
        else:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def refresh(self) -> None:
        """Fetch the keys that are due, once."""
        await asyncio.gather(*map(self._fetch, self._take_due()))

    def _take_due(self) -> Iterator[Held]:
        now = self.clock()
        for held in list(self._held.values()):
            if held.due <= now and not held.is_fetching:
                held.begins(now)
                yield held

    async def _fetch(self, held: Held) -> None:
        try:
            found = await asyncio.wait_for(
                _beside(lambda: keys_of(held.issuer, self.get)), self.patience
            )
        except Exception as exc:
            # All exceptions: no answer of an issuer may end the task that refreshes keys.
            if not held.failures:
                why = str(exc) if isinstance(exc, KeysNotFetched) else type(exc).__name__
                log.warning(
                    "the keys of %s cannot be had: %s; those there are stay, and it is tried again",
                    held.issuer.name,
                    why,
                )
            held.failed(self.clock())
            return
        finally:
            held.is_fetching = False
        if held.failures:
            log.warning("the keys of %s are there again", held.issuer.name)
        is_news = found != held.keys
        held.came(found, self.clock())
        if is_news:
            self.changed()

    async def keep(self) -> None:
        """Fetch keys whenever they are due, forever."""
        self._loop = asyncio.get_running_loop()
        fetching: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            fetching.discard(task)
            self._wake.set()

        try:
            while True:
                self._wake.clear()
                for held in self._take_due():
                    task = asyncio.create_task(self._fetch(held))
                    fetching.add(task)
                    task.add_done_callback(ended)
                rest = [each.due for each in self._held.values() if not each.is_fetching]
                wait = max(0.05, min(rest) - self.clock()) if rest else None
                # `wait_for` would lose a cancellation that arrives as it wakes up.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
        finally:
            self._loop = None
            for task in fetching:
                task.cancel()


def _beside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run work in a thread of its own.

    If the work never ends, it blocks neither a place in a thread pool nor the process's exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(end: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            end(outcome)

    def run() -> None:
        try:
            found = work()
        except Exception as exc:  # else all that is known is that it took too long
            end, outcome = future.set_exception, exc
        else:
            end, outcome = future.set_result, found  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, end, outcome)

    threading.Thread(target=run, name="issuer-keys", daemon=True).start()
    return future
