"""Delimiter and column names of a text file.

Libraries' sniffers guess until something fits: for a file with one short line, or with commas in
its text, they silently return a table of another shape. Here the header decides which delimiters
are possible, and the lines below it select one; a line that does not fit is then an error with its
number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from cascade_tables.errors import DataError, listing, shown
from cascade_tables.files.opening import Source
from cascade_tables.frame import Frame, check_unique

DELIMITERS = (",", ";", "\t", "|")
MARK = re.compile('"?sep=([^"])"?[\r\n]*', re.IGNORECASE)
LOOKED_AT = 200
LONGEST_MARK = 16


@dataclass(frozen=True)
class Dialect:
    """How a file's lines become rows.

    Attributes:
        delimiter: between columns.
        names: of the columns; nameless ones are named by their position.
        nameless: such generated names.
        blank_lines: above the header.
        marked: whether the first line is Excel's declaration of the delimiter: "sep=;".
    """

    delimiter: str
    names: tuple[str, ...]
    nameless: tuple[str, ...]
    blank_lines: int = 0
    marked: bool = False

    @property
    def lines_above(self) -> int:
        """Number of lines before the header."""
        return self.blank_lines + self.marked

    def reader(self, text: TextIO, strict: bool = False) -> Any:
        """Return Python's reader of the file's records, after Excel's line, which its `line_num`
        does not count; blank lines are empty records.

        Args:
            text: of the file, from its beginning.
            strict: whether text after a quote raises an error.
        """
        if self.marked:
            next(text)
        return csv.reader(text, delimiter=self.delimiter, strict=strict)


def dialect_of(source: Source, delimiter: str | None = None) -> Dialect:
    """Determine the dialect from a file's beginning.

    Args:
        source: the file.
        delimiter: between its columns; None: the one that fits its header and the lines below.

    Raises:
        DataError: it is empty, has no text in its encoding, or two columns share a name.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"{shown(delimiter)} cannot separate columns; allowed: one character")
    mark = _mark(source)
    marked = mark is not None
    chosen = (
        delimiter or mark or max(DELIMITERS, key=lambda each: _suits(source, Dialect(each, (), ())))
    )
    blank_lines, header = 0, None
    for record in _records(source, Dialect(chosen, (), (), marked=marked)):
        if record:
            header = record
            break
        blank_lines += 1
    if header is None:
        raise DataError(f"{source.name} is empty; expected a header line and rows")
    if any("\0" in name for name in header):
        raise source.not_text(ValueError("its first line has zero bytes"))
    names, nameless = _named(source, header)
    check_unique(names, f"{source.name}: ")
    return Dialect(chosen, names, nameless, blank_lines, marked)


def _mark(source: Source) -> str | None:
    """Return the delimiter in Excel's first line; None: the first line is not such a line."""
    with source.text() as text:
        found = MARK.fullmatch(text.readline(LONGEST_MARK))
    return None if found is None else found[1]


def _suits(source: Source, dialect: Dialect) -> tuple[float, int]:
    """Return the share of the first lines with as many fields as the header, and how many lines."""
    rows = filter(None, _records(source, dialect))
    lengths = [len(row) for row in islice(rows, LOOKED_AT)]
    if not lengths or lengths[0] < 2:
        return (0.0, 0)
    # Up to half of the lines may be wrong: the reader reports them.
    share = sum(length == lengths[0] for length in lengths) / len(lengths)
    return (share, lengths[0])


def _records(source: Source, dialect: Dialect) -> Iterator[list[str]]:
    """Yield lines of a file as lists of fields, up to a malformed one; blank lines are empty."""
    with source.text() as text:
        try:
            yield from dialect.reader(text)
        except csv.Error:
            return


def _named(source: Source, header: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of all columns, and the generated ones."""
    taken, names, made = set(header), [], []
    for place, name in enumerate(header, start=1):
        if not name.strip():
            name = f"column_{place}"
            while name in taken:
                name += "_"
            made.append(name)
        names.append(name)
    if len(made) == len(header):
        raise DataError(
            f"{source.name}: none of its {len(header)} columns has a name; the first line must be "
            "a header"
        )
    return tuple(names), tuple(made)


def same_columns(first: Source, dialect: Dialect, other: Source, found: Dialect) -> None:
    """Refuse a file whose columns differ from those of another, in whatever order.

    Raises:
        DataError: names the missing and the extra columns.
    """
    missing = [name for name in dialect.names if name not in set(found.names)]
    extra = [name for name in found.names if name not in set(dialect.names)]
    if missing or extra:
        parts = [f"lacks {listing(map(shown, missing))}"] * bool(missing)
        parts += [f"has {listing(map(shown, extra))} besides"] * bool(extra)
        raise DataError(
            f"{other.name} does not have the columns of {first.name}: it {' and '.join(parts)}"
        )


def looks_like_a_row(names: Sequence[str], frame: Frame) -> bool:
    """Return whether the header looks like the first row of a file without one.

    That is the case for numbers above numbers, within their range, and text that also occurs below.
    Numbers counting from 0 are pandas' names of nameless columns.
    """
    if list(names) == [str(number) for number in range(len(names))]:
        return False
    numbers = 0
    for name in names:
        if name not in frame.columns:
            return False
        values = frame[name].present()
        if values.dtype.kind == "O":
            if not (values == name).any():
                return False
        elif values.dtype.kind in "if" and len(values):
            if not _is_number(name) or not values.min() <= float(name) <= values.max():
                return False
            numbers += 1
        else:
            return False
    return numbers > 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
