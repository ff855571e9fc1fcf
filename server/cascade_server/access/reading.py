"""Reads values of the access file.

Messages never repeat a value that may be a secret: a key put where its hash belongs must not end up
in a log.
"""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from cascade_tables.errors import shown
from cascade_tables.value_reader import ValueReader

from cascade_server.access.keys import PREFIX

if TYPE_CHECKING:
    from cascade_tables.yaml_files import Place


class Reader(ValueReader):
    """Reads value types specific to the access file, without repeating keys in messages."""

    def said(self, value: Any) -> str:
        """Format a value for a message; a possible key is not repeated."""
        return safe(value)

    def moment(self, value: Any, place: Place) -> float:
        """Read a time, or a date as its first moment in UTC; return Unix seconds."""
        if isinstance(value, datetime.datetime):
            found = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        elif isinstance(value, datetime.date):
            found = datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
        else:
            self.wrong(place, value, "a date such as 2027-01-31, or a time")
        try:
            seconds = found.timestamp()
        except (OverflowError, ValueError):
            seconds = math.nan
        if not math.isfinite(seconds):
            self.wrong(place, value, "a date such as 2027-01-31, or a time")
        return seconds


def safe(value: Any) -> str:
    """Format a value for a message; a possible key is not repeated."""
    if PREFIX in str(value):
        return "what looks like a key, which does not belong into a file"
    return shown(value)
