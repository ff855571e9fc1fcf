"""Authentication of a client: a key or a token, sent with every call.

It is never part of a message, a `repr` or an error.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from typing import Any

from cascade_client.errors import InvalidRequest

KEY_VARIABLE = "CASCADE_API_KEY"
HEADER = "authorization"
# Seconds before a token's expiry at which a new one is requested, and the age below which a refused
# token is not renewed.
EARLY, JUST_NOW = 30.0, 1.0

Token = str | Callable[[], str]
Metadata = tuple[tuple[str, str], ...]


class Showing:
    """Credentials to send with each call.

    Args:
        api_key: from `cascade access new-key`; None: that of CASCADE_API_KEY, if it is set and
            there is no token.
        token: a JWT, or a function that returns one: it is called when the last one is about to
            expire, and when a server refuses it.
        wall, clock: Unix seconds, for the expiry of tokens, and monotonic seconds.

    Raises:
        InvalidRequest: both are given, or one is no text that can be sent.
    """

    def __init__(
        self,
        api_key: str | None = None,
        token: Token | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if api_key is not None and token is not None:
            raise InvalidRequest("api_key and token are given; one of them is allowed")
        if api_key is None and token is None:
            api_key = os.environ.get(KEY_VARIABLE) or None
        self._token = token if callable(token) else None
        self._wall, self._clock = wall, clock
        self._ends, self._given_at = float("inf"), float("-inf")
        self._metadata: Metadata = ()
        fixed = token if isinstance(token, str) else api_key
        if fixed is not None:
            self._metadata = _metadata(fixed, "token" if token is not None else "api_key")

    def __repr__(self) -> str:
        return "<Showing>"

    @property
    def shows(self) -> bool:
        """Whether there are any credentials."""
        return bool(self._metadata) or self._token is not None

    @property
    def key(self) -> object:
        """Clients with equal keys use the same identity."""
        return self._token or self._metadata

    def metadata(self) -> Metadata:
        """Return the metadata to send with a call now."""
        # Read once: another thread may reset it for renewal, and no call must go without
        # credentials.
        found = self._metadata
        if self._token is not None and (not found or self._wall() >= self._ends - EARLY):
            given = self._token()
            found = self._metadata = _metadata(given, "what token() gives")
            self._ends, self._given_at = end_of(given), self._clock()
        return found

    def renews(self) -> bool:
        """Handle a refused authentication; return whether a new token, to be sent next,
        may help.
        """
        if self._token is None or self._clock() - self._given_at < JUST_NOW:
            return False
        self._metadata = ()
        return True


def _metadata(secret: Any, name: str) -> Metadata:
    text = secret.strip() if isinstance(secret, str) else ""
    if not text or not all("!" <= each <= "~" for each in text):
        raise InvalidRequest(f"{name} cannot be sent; a text of printable ASCII is allowed")
    return ((HEADER, f"Bearer {text}"),)


def end_of(token: str) -> float:
    """Return when a token expires, in Unix seconds; infinite if it does not say."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")
