"""The keys of issuers: fetched beside the event loop, kept, and fetched anew when a token names one
that is not there, but not more often than is good for the issuer."""

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
# Seconds that a fetch may take; between two that a strange key's name asks for; and after one that
# failed, the first time and at most.
TIMEOUT, SPACING, FIRST_RETRY, LAST_RETRY = 5.0, 10.0, 1.0, 60.0
# Seconds in which keys that are being fetched are likely to be there.
SOON = 0.5
# Names of keys that are not there, of which it is remembered since when.
MOST_SOUGHT = 256
# Times that the wait between two attempts doubles.
DOUBLINGS = 6

# Of what is wrong with an answer, that is said: whoever answers may have chosen the words.
LONGEST_WHY = 200

Fetch = Callable[[str], bytes]
T = TypeVar("T")


class KeysNotFetched(Exception):
    """An issuer's keys cannot be had now; says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """To be sent elsewhere is to be sent to anybody."""
        return


def fetch(url: str, timeout: float = TIMEOUT) -> bytes:
    """What there is at a URL.

    Raises:
        KeysNotFetched: nothing, too much, no HTTP, or not in time, however it trickles in.
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
            exc.close()  # it is an answer, and keeps its connection
        said = str(getattr(exc, "reason", None) or exc) or type(exc).__name__
        why = "".join(each if each.isprintable() else "?" for each in said[:LONGEST_WHY])
        raise KeysNotFetched(f"{url} does not answer: {why}") from exc
    return bytes(content)


def keys_of(issuer: Issuer, get: Fetch = fetch) -> KeySet:
    """An issuer's keys as they are now; it waits for a disk or a network.

    Raises:
        KeysNotFetched: they cannot be had, and why.
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
    """Where an issuer's discovery document says that its keys are (OpenID Connect)."""
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
    """What is held of one issuer.

    Attributes:
        issuer: whose.
        keys: None: they have never been there.
        due: when they are to be fetched, monotonic seconds.
        fetched: when they were asked for last.
        failures: in a row.
        is_fetching: whether they are being fetched.
        fetches, last_good: how often that was begun, and which of these times they came last.
        sought: names of keys that tokens have and the issuer has not, by their hashes, for anybody
            can write long ones; and how many fetches had begun when the first such token came.
        is_outdated: whether they have changed since they were asked for last.
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
        """They are asked for."""
        self.is_fetching, self.is_outdated = True, False
        self.fetched, self.fetches = now, self.fetches + 1

    def came(self, keys: KeySet, now: float) -> None:
        """Take keys that have been fetched, and decide when to fetch again."""
        self.keys, self.failures, self.due = keys, 0, now + self.issuer.refresh
        self.last_good = self.fetches
        if self.is_outdated:
            self.due = now
        elif self.fetches in self.sought.values():
            # Somebody came with another key while they were on their way.
            self.due = max(now, self.fetched + SPACING)

    def failed(self, now: float) -> None:
        """They could not be; those there are stay, and it is tried again, ever more patiently."""
        self.failures += 1
        # Doubled so often at most: of an issuer that is away for a day the power has no float.
        wait = min(FIRST_RETRY * 2 ** min(self.failures - 1, DOUBLINGS), LAST_RETRY)
        self.due = now + min(wait, self.issuer.refresh)

    def outdated(self, now: float) -> None:
        """They are others than those that were asked for last: it is not waited for any more."""
        self.due, self.is_outdated = now, True

    def wanted(self, kid: str, now: float) -> float | None:
        """A token names a key that is not there.

        Returns:
            Seconds until it may be; None: keys were fetched since somebody came with it first, and
            it was not among them. So a token of a key that was withdrawn is refused for good, and
            its caller gets another. It is looked for once more all the same, when that is due: an
            issuer may sign before it publishes.
        """
        self.due = min(self.due, max(now, self.fetched + SPACING))
        # Last is who came last. Of those who never come again, whoever sends ever new names has the
        # first forgotten; to wait once more is all that becomes of one who does.
        name = hash(kid)
        since = self.sought.pop(name, self.fetches)
        self.sought[name] = since
        if len(self.sought) > MOST_SOUGHT:
            self.sought.pop(next(iter(self.sought)), None)
        return None if self.last_good > since else max(SOON, self.due - now)


@dataclass
class Issuers:
    """The keys of all issuers. One that is slow keeps none of the others waiting.

    Attributes:
        changed: called when some have come that were not there.
        clock: monotonic seconds.
        get: fetches.
        patience: seconds after which a fetch counts as failed, whatever becomes of it.
    """

    changed: Callable[[], None]
    clock: Callable[[], float]
    get: Fetch = fetch
    # Of a discovery document, and of what it names.
    patience: float = 3 * TIMEOUT
    _held: dict[Issuer, Held] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    # Of whoever keeps them; scrapes of metrics ask from threads of their own.
    _loop: asyncio.AbstractEventLoop | None = None

    def use(self, issuers: Mapping[str, Issuer]) -> None:
        """From now on these are the issuers; keys of those that stay are kept."""
        self._held = {each: self._held.get(each, Held(each)) for each in issuers.values()}
        self._rouse()

    def keys(self, issuer: Issuer) -> KeySet | None:
        """Those there are; None: none have come yet."""
        held = self._held.get(issuer)
        return None if held is None else held.keys

    def wanted(self, issuer: Issuer, kid: str) -> float | None:
        """A token names a key that is not there; seconds until it may be, as `Held.wanted`."""
        held = self._held.get(issuer)
        if held is None:
            return None
        seconds = held.wanted(kid, self.clock())
        self._rouse()
        return seconds

    def outdated(self, which: Callable[[Issuer], bool] = lambda _: True) -> None:
        """Fetch the keys of some issuers at once: they may be others by now.

        Args:
            which: of whom; all of them, where nothing is said.
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
        """Fetch what is due, once."""
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
            # Not a list of kinds: what keeps keys fresh is not to end by what somebody answers.
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
        """Fetch whenever something is due, for ever."""
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
                # `wait_for` would miss that it is to end at the moment at which it is woken.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
        finally:
            self._loop = None
            for task in fetching:
                task.cancel()


def _beside(work: Callable[[], T]) -> asyncio.Future[T]:
    """What work gives, in a thread that nobody waits for where it does not end: neither others'
    work, as for a place in a pool, nor the process."""
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
