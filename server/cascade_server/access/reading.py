"""Reads what stands at a place of the file that says who may ask.

A value is never repeated where it may be a secret: somebody who puts a key where its hash belongs
is not to find it in a log.
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
    """Reads what only such a file has, and repeats no key."""

    def said(self, value: Any) -> str:
        """A value for a message; what may be a key is not repeated."""
        return safe(value)

    def moment(self, value: Any, place: Place) -> float:
        """A date, whose first moment of UTC is meant, or a time; Unix seconds."""
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
    """A value for a message; what may be a key is not repeated."""
    if PREFIX in str(value):
        return "what looks like a key, which does not belong into a file"
    return shown(value)
