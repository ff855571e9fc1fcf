"""API keys: 256 random bits after a name, of which the server keeps the name and a hash.

A fast hash is right for them: see docs/adr/. What is compared is compared in constant time, and
where there is no key of the name, with a hash that nothing has.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

# Tells scanners for secrets, and people, what they have found.
PREFIX = "csk_"
ID_DIGITS, SECRET_BYTES = 12, 32
ID = re.compile(r"csk_[0-9a-f]{12}")
KEY = re.compile(r"(csk_[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
DIGEST = re.compile(r"[0-9a-f]{64}")
_NOTHING = bytes(32)


@dataclass(frozen=True)
class KeyRecord:
    """What a server keeps of a key.

    Attributes:
        id: the name that the key begins with; it is no secret.
        sha256: of the whole key, 32 bytes.
        expires: Unix seconds; None: never.
    """

    id: str
    sha256: bytes
    expires: float | None = None


def new_key() -> tuple[str, KeyRecord]:
    """A key that nobody has had before, and what a server is to keep of it."""
    name = PREFIX + secrets.token_hex(ID_DIGITS // 2)
    key = f"{name}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, KeyRecord(name, digest(key))


def digest(key: str) -> bytes:
    """The hash that is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def find(key: str, records: Mapping[str, KeyRecord]) -> KeyRecord | None:
    """The record of a key that somebody has shown; None: there is none, or it is another key.

    Args:
        key: as it was sent.
        records: by id.
    """
    found = KEY.fullmatch(key)
    record = None if found is None else records.get(found[1])
    kept = _NOTHING if record is None else record.sha256
    is_equal = hmac.compare_digest(digest(key), kept)
    return record if is_equal else None
