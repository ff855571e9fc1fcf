"""Reads the values of a file that a person wrote; what is not allowed is refused by its line.

`yaml_files.parse_yaml` says what a file holds and in which line; a `ValueReader` is asked for each
value that a program expects there. Readers of one kind of file (a policy, prices, who may ask) add
what only their files have.

    content, lines = parse_yaml(text, "policy.yaml")
    reader = ValueReader("policy.yaml", lines, PolicyRefused)
    top = reader.mapping(content, (), ("tables", "executors"))
    owner = reader.optional(top, "owner", (), reader.text)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cascade_tables.errors import did_you_mean, listing, shown

if TYPE_CHECKING:  # importing it imports PyYAML, which is for who has such a file
    from cascade_tables.yaml_files import Place

T = TypeVar("T")

LONGEST_NAME, LONGEST_TEXT = 100, 1000


@dataclass(frozen=True)
class ValueReader:
    """Reader of a file's values.

    Attributes:
        name: of the file, in messages.
        lines: of its values, by place.
        refused: type of the error, constructed with a message.
    """

    name: str
    lines: Mapping[Place, int]
    refused: Callable[[str], Exception]

    def refuse(self, place: Place, why: str) -> NoReturn:
        """Raise the reader's error with the line of the place, or of its parent."""
        while place and place not in self.lines:
            place = place[:-1]
        line = f" line {self.lines[place]}" if place in self.lines else ""
        raise self.refused(f"{self.name}{line}: {why}")

    def wrong(self, place: Place, value: Any, allowed: str) -> NoReturn:
        """Refuse a value; the message shows it and says what is allowed."""
        self.refuse(place, f"{where(place)} is {self.said(value)}; allowed: {allowed}")

    def said(self, value: Any) -> str:
        """Format a value for a message; a reader of files with secrets hides them."""
        return shown(value)

    def mapping(self, value: Any, place: Place, keys: Collection[str] = ()) -> dict[str, Any]:
        """Read a mapping; an empty value is an empty mapping. With `keys`, other keys are
        refused.
        """
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(place, value, "names and their values")
        for key in value:
            if keys and key not in keys:
                hint = did_you_mean(key, keys)
                self.refuse(
                    (*place, key),
                    f"{where(place)} has {self.said(key)}; allowed: {listing(keys)}.{hint}",
                )
            if len(key) > LONGEST_NAME:
                why = f"has a name of {len(key):,} characters; allowed: {LONGEST_NAME}"
                self.refuse((*place, key), f"{where(place)} {why}")
        return value

    def items(self, value: Any, place: Place, most: int = 1000) -> list[tuple[Place, Any]]:
        """Read a list's values with their places; a single value is a list of one."""
        if value is None:
            return []
        values = value if isinstance(value, list) else [value]
        if len(values) > most:
            self.refuse(place, f"{where(place)} has {len(values):,} values; allowed: {most:,}")
        return [((*place, number), each) for number, each in enumerate(values)]

    def required(
        self, found: Mapping[str, Any], key: str, place: Place, read: Callable[[Any, Place], T]
    ) -> T:
        """Read a key's required value."""
        if found.get(key) is None:
            self.refuse(place, f"{where(place)} has no {key}")
        return read(found[key], (*place, key))

    def optional(
        self, found: Mapping[str, Any], key: str, place: Place, read: Callable[[Any, Place], T]
    ) -> T | None:
        """Read a key's value; None if it is missing."""
        return None if found.get(key) is None else read(found[key], (*place, key))

    def one_of(self, value: Any, place: Place, known: Collection[str]) -> str:
        """Read a text that is one of the known ones; a misspelt one gets a suggestion."""
        if not isinstance(value, str) or value not in known:
            hint = did_you_mean(value, known) if isinstance(value, str) else ""
            self.wrong(place, value, f"{listing(known)}.{hint}")
        return value

    def text(self, value: Any, place: Place) -> str:
        """Read a non-empty text on one line."""
        is_line = isinstance(value, str) and value.strip() and value.isprintable()
        if not is_line or len(value) > LONGEST_TEXT:
            self.wrong(place, value, f"a text on one line, of up to {LONGEST_TEXT:,} characters")
        return str(value)

    def number(self, low: float, high: float) -> Callable[[Any, Place], float]:
        """Return a reader of numbers in an inclusive range."""

        def read(value: Any, place: Place) -> float:
            if type(value) not in (int, float) or not low <= value <= high:
                self.wrong(place, value, f"a number, {low:g} to {high:g}")
            return float(value)

        return read

    def whole(self, low: int, high: int) -> Callable[[Any, Place], int]:
        """Return a reader of integers in an inclusive range."""

        def read(value: Any, place: Place) -> int:
            if type(value) is not int or not low <= value <= high:
                self.wrong(place, value, f"a whole number, {low:,} to {high:,}")
            return value

        return read


def where(place: Place) -> str:
    """Format a place for a message."""
    return ".".join(map(str, place)) or "the file"
