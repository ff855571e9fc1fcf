"""Reads what stands at a place of a file; what is not allowed there is refused by its line.

A value is never repeated where it may be a secret: somebody who puts a key where its hash belongs
is not to find it in a log.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cascade_tables.errors import did_you_mean, listing, shown

from cascade_server.access.keys import PREFIX
from cascade_server.errors import ConfigError

if TYPE_CHECKING:
    from cascade_tables.yaml_files import Place

T = TypeVar("T")

LONGEST_NAME, LONGEST_TEXT = 64, 1000


@dataclass(frozen=True)
class Reader:
    """Reads a file's values.

    Attributes:
        name: of the file.
        lines: by place.
    """

    name: str
    lines: Mapping[Place, int]

    def refuse(self, place: Place, why: str) -> NoReturn:
        """Raise ConfigError, with the line of the place or of what it is in."""
        while place and place not in self.lines:
            place = place[:-1]
        line = f" line {self.lines[place]}" if place in self.lines else ""
        raise ConfigError(f"{self.name}{line}: {why}")

    def wrong(self, place: Place, value: Any, allowed: str) -> NoReturn:
        """Refuse a value, which is shown, and say what is allowed."""
        self.refuse(place, f"{where(place)} is {safe(value)}; allowed: {allowed}")

    def mapping(self, value: Any, place: Place, keys: Collection[str] = ()) -> dict[str, Any]:
        """Names and what they hold; nothing is none. With keys, no others."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(place, value, "names and their values")
        for key in value:
            if keys and key not in keys:
                hint = did_you_mean(key, keys)
                self.refuse(
                    (*place, key),
                    f"{where(place)} has {safe(key)}; allowed: {listing(keys)}.{hint}",
                )
        return value

    def items(self, value: Any, place: Place, most: int = 1000) -> list[tuple[Place, Any]]:
        """The values of a list, with their places; a value that is no list is one of one."""
        if value is None:
            return []
        values = value if isinstance(value, list) else [value]
        if len(values) > most:
            self.refuse(place, f"{where(place)} has {len(values):,} values; allowed: {most:,}")
        return [((*place, number), each) for number, each in enumerate(values)]

    def required(
        self, found: Mapping[str, Any], key: str, place: Place, read: Callable[[Any, Place], T]
    ) -> T:
        """What a key holds, which has to be there."""
        if found.get(key) is None:
            self.refuse(place, f"{where(place)} has no {key}")
        return read(found[key], (*place, key))

    def optional(
        self, found: Mapping[str, Any], key: str, place: Place, read: Callable[[Any, Place], T]
    ) -> T | None:
        """What a key holds; None where it is not there."""
        return None if found.get(key) is None else read(found[key], (*place, key))

    def one_of(self, value: Any, place: Place, known: Collection[str]) -> str:
        """A word of a few."""
        if not isinstance(value, str) or value not in known:
            hint = did_you_mean(value, known) if isinstance(value, str) else ""
            self.refuse(place, f"{where(place)} is {safe(value)}; allowed: {listing(known)}.{hint}")
        return value

    def text(self, value: Any, place: Place) -> str:
        """A text on one line, not empty."""
        if (
            not isinstance(value, str)
            or not value.strip()
            or not value.isprintable()
            or len(value) > LONGEST_TEXT
        ):
            self.wrong(place, value, f"a text on one line, of up to {LONGEST_TEXT:,} characters")
        return value

    def number(self, low: float, high: float) -> Callable[[Any, Place], float]:
        """Reads a number of a range."""

        def read(value: Any, place: Place) -> float:
            if type(value) not in (int, float) or not low <= value <= high:
                self.wrong(place, value, f"a number, {low:g} to {high:g}")
            return float(value)

        return read

    def whole(self, low: int, high: int) -> Callable[[Any, Place], int]:
        """Reads a whole number of a range."""

        def read(value: Any, place: Place) -> int:
            if type(value) is not int or not low <= value <= high:
                self.wrong(place, value, f"a whole number, {low:,} to {high:,}")
            return value

        return read

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


def where(place: Place) -> str:
    """A place, as a message says it."""
    return ".".join(map(str, place)) or "the file"


def safe(value: Any) -> str:
    """A value for a message; what may be a key is not repeated."""
    if PREFIX in str(value):
        return "what looks like a key, which does not belong into a file"
    return shown(value)
