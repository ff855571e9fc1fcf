"""The keys of issuers: fetched beside the event loop, kept, and fetched anew when a token names one
that is not there, but not more often than is good for the issuer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import URLError

from cascade_server.access.access_file import Issuer, is_safe_url
from cascade_server.access.tokens import KeySet, key_set_of

log = logging.getLogger("cascade.access")

DISCOVERY = "/.well-known/openid-configuration"
MOST_BYTES = 512 * 1024
# Seconds that a fetch may take; between two that a strange key's name asks for; and after one that
# failed, the first time and at most.
TIMEOUT, SPACING, FIRST_RETRY, LAST_RETRY = 5.0, 10.0, 1.0, 60.0
# Times that the wait between two attempts doubles.
DOUBLINGS = 6

Fetch = Callable[[str], bytes]


class KeysNotFetched(Exception):
    """An issuer's keys cannot be had now; says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """To be sent elsewhere is to be sent to anybody."""
        return


def fetch(url: str) -> bytes:
    """What there is at a URL.

    Raises:
        KeysNotFetched: nothing, too much, or not in time.
    """
    opener = urllib.request.build_opener(_NoRedirects)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(MOST_BYTES + 1)
    except (URLError, OSError, ValueError) as exc:
        why = getattr(exc, "reason", None) or exc
        raise KeysNotFetched(f"{url} does not answer: {why}") from exc
    if len(content) > MOST_BYTES:
        raise KeysNotFetched(f"{url} has more than {MOST_BYTES:,} bytes")
    return content


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
    """

    issuer: Issuer
    keys: KeySet | None = None
    due: float = 0.0
    fetched: float = -1e18
    failures: int = 0

    def came(self, keys: KeySet, now: float) -> None:
        """They were fetched."""
        self.keys, self.failures, self.due = keys, 0, now + self.issuer.refresh

    def failed(self, now: float) -> None:
        """They could not be; those there are stay, and it is tried again, ever more patiently."""
        self.failures += 1
        # Doubled so often at most: of an issuer that is away for a day the power has no float.
        wait = min(FIRST_RETRY * 2 ** min(self.failures - 1, DOUBLINGS), LAST_RETRY)
        self.due = now + min(wait, self.issuer.refresh)

    def wanted(self, now: float) -> bool:
        """A token names a key that is not there; whether it is worth while to wait for it."""
        self.due = min(self.due, max(now, self.fetched + SPACING))
        return self.due <= now


@dataclass
class Issuers:
    """The keys of all issuers.

    Attributes:
        changed: called when some have come that were not there.
        clock: monotonic seconds.
        get: fetches.
    """

    changed: Callable[[], None]
    clock: Callable[[], float]
    get: Fetch = fetch
    _held: dict[Issuer, Held] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def use(self, issuers: Mapping[str, Issuer]) -> None:
        """From now on these are the issuers; keys of those that stay are kept."""
        self._held = {each: self._held.get(each, Held(each)) for each in issuers.values()}
        self._wake.set()

    def keys(self, issuer: Issuer) -> KeySet | None:
        """Those there are; None: none have come yet."""
        held = self._held.get(issuer)
        return None if held is None else held.keys

    def wanted(self, issuer: Issuer) -> bool:
        """A token names a key that is not there; whether keys are being fetched anew for that."""
        held = self._held.get(issuer)
        if held is None or not held.wanted(self.clock()):
            return False
        self._wake.set()
        return True

    async def refresh(self) -> None:
        """Fetch what is due, once."""
        now = self.clock()
        due = [each for each in self._held.values() if each.due <= now]
        await asyncio.gather(*map(self._fetch, due))

    async def _fetch(self, held: Held) -> None:
        held.fetched = self.clock()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(None, keys_of, held.issuer, self.get)
        except KeysNotFetched as exc:
            if not held.failures:
                log.warning("%s; those there are stay, and it is tried again", exc)
            held.failed(self.clock())
            return
        if held.failures:
            log.warning("the keys of %s are there again", held.issuer.name)
        is_news = found != held.keys
        held.came(found, self.clock())
        if is_news:
            self.changed()

    async def keep(self) -> None:
        """Fetch whenever something is due, for ever."""
        while True:
            self._wake.clear()
            await self.refresh()
            due = min((each.due for each in self._held.values()), default=None)
            wait = None if due is None else max(0.05, due - self.clock())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
