"""API keys: a name and 256 random bits. The server keeps the name and a hash.

A fast hash is sufficient for random keys: see docs/adr/. Comparison takes constant time; if the
name is unknown, the key is compared with a hash that no key has.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

# Identifies a key to secret scanners and to people.
PREFIX = "csk_"
ID_DIGITS, SECRET_BYTES = 12, 32
ID = re.compile(r"csk_[0-9a-f]{12}")
KEY = re.compile(r"(csk_[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
DIGEST = re.compile(r"[0-9a-f]{64}")
_NOTHING = bytes(32)


@dataclass(frozen=True)
class KeyRecord:
    """The server's record of a key.

    Attributes:
        id: the name that the key begins with; not secret.
        sha256: the hash of the whole key, 32 bytes.
        expires: Unix seconds; None: never.
    """

    id: str
    sha256: bytes
    expires: float | None = None


def new_key() -> tuple[str, KeyRecord]:
    """Create a new key, and the record that a server keeps of it."""
    name = PREFIX + secrets.token_hex(ID_DIGITS // 2)
    key = f"{name}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return key, KeyRecord(name, digest(key))


def digest(key: str) -> bytes:
    """Return the hash of a key."""
    return hashlib.sha256(key.encode()).digest()


def find(key: str, records: Mapping[str, KeyRecord]) -> KeyRecord | None:
    """Return the record of a presented key; None: the key is unknown.

    Args:
        key: as it was sent.
        records: by id.
    """
    found = KEY.fullmatch(key)
    record = None if found is None else records.get(found[1])
    kept = _NOTHING if record is None else record.sha256
    is_equal = hmac.compare_digest(digest(key), kept)
    return record if is_equal else None
