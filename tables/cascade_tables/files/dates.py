"""Parsing of dates and times of day in common notations, in whole arrays at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CLOCK = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]{1,9}))?)?"
    r"\s?(?P<half>[AaPp]\.?[Mm]\.?)?"
)
AFTER_DATE = rf"(?:(?:T|,?\s+){CLOCK}\s?(?P<zone>Z|UTC|[+-][0-9]{{2}}:?(?:[0-9]{{2}})?)?)?$"
NUMERIC = r"^(?P<a>[0-9]{1,4})(?P<mark>[-/.])(?P<b>[0-9]{1,2})(?P<again>[-/.])(?P<c>[0-9]{1,4})"
# A day without marks, which is a number: pandas appends ".0" if some are missing.
COMPACT = r"^([0-9]{4})([0-9]{2})([0-9]{2})(?:\.0)?($|[T ].*$)"
MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
YEAR = r"(?P<year>[0-9]{4}|[0-9]{2})"
NAMED = (
    rf"^(?:[A-Za-z]{{3,9}}\.?,?\s+)?{DAY}[-/\s]+{MONTH},?[-/\s]+{YEAR}",
    rf"^(?:[A-Za-z]{{3,9}}\.?,?\s+)?{MONTH}[-/\s]+{DAY}(?:,|\s|[-/])\s*{YEAR}",
)
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
MONTH_OF = {
    text: number
    for number, name in enumerate(MONTHS, start=1)
    for text in (name, name[:3], *(["sept"] if number == 9 else []))
}
# Microseconds since 1970 of the years 1 and 10,000.
EARLIEST, LATEST = (int(np.datetime64(year, "us").astype(np.int64)) for year in ("0001", "10000"))
# Two-digit years mean 1969 to 2068, as in POSIX's strptime.
PIVOT = 69


class Order(StrEnum):
    """The first part in a date of three numbers."""

    YEAR_FIRST = "year_first"
    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"

    def describe(self) -> str:
        """Describe the order: "day first"."""
        return self.value.replace("_", " ")


def read_dates(cells: pa.Array, order: Order) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Parse dates, with or without a time of day; UTC if they have a zone.

    A date with a month's name, one whose year comes first, and a day as 20241231 can be read in any
    order.

    Args:
        cells: text [n], without blanks around it.
        order: of ambiguous dates.

    Returns:
        datetime64[us] [n], and which of the cells are dates.
    """
    values = np.zeros(len(cells), "datetime64[us]")
    fits = np.zeros(len(cells), bool)
    rest = np.arange(len(cells))
    for pattern in (NUMERIC, COMPACT, *NAMED):
        left = cells if len(rest) == len(cells) else cells.take(pa.array(rest))
        if pattern is COMPACT:
            left, pattern = pc.replace_substring_regex(left, COMPACT, r"\1-\2-\3\4"), NUMERIC
        parts = pc.extract_regex(left, pattern + AFTER_DATE)
        found = np.asarray(parts.is_valid()).astype(bool)
        if not found.any():
            continue
        numbers = _calendar(parts.filter(pa.array(found)), order)
        at = rest[found]
        values[at], fits[at] = numbers
        rest = rest[~found]
        if not len(rest):
            break
    return values, fits


def are_days(cells: pa.Array) -> NDArray[np.bool_]:
    """Return which cells are numbers that are days of 1800 to 2199, as 20241231: bool [n]."""
    likely = pc.match_substring_regex(cells, r"^(?:1[89]|2[01])[0-9]{6}(?:\.0)?$")
    days = np.asarray(likely).astype(bool)
    if days.any():
        days[days] = read_dates(cells.filter(pa.array(days)), Order.YEAR_FIRST)[1]
    return days


def read_times(cells: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Parse times of day as seconds since midnight, float64 [n]; also return which cells
    are such.
    """
    parts = pc.extract_regex(cells, f"^{CLOCK}$")
    found = np.asarray(parts.is_valid()).astype(bool)
    values, fits = np.zeros(len(cells)), np.zeros(len(cells), bool)
    if found.any():
        micros, valid = _of_day(parts.filter(pa.array(found)))
        values[found], fits[found] = micros / 1e6, valid
    return values, fits


def _calendar(parts: pa.Array, order: Order) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    names = {field.name for field in parts.type}
    if "mark" in names:
        year, month, day, valid = _three_numbers(parts, order)
    else:
        lower = pc.utf8_lower(pc.struct_field(parts, "month"))
        known = pc.index_in(lower, pa.array(list(MONTH_OF)))
        valid = np.asarray(known.is_valid()).astype(bool)
        month_numbers = np.array(list(MONTH_OF.values()))
        month = np.where(valid, month_numbers[np.asarray(pc.fill_null(known, 0))], 1)
        day = _number(parts, "day")
        year = _full_year(_number(parts, "year"), _length(parts, "year"))
    valid = valid & (month >= 1) & (month <= 12) & (year >= 1) & (day >= 1)
    month = np.where(valid, month, 1)
    year = np.where(valid, year, 1970)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    begin = months.astype("datetime64[D]")
    days = ((months + 1).astype("datetime64[D]") - begin).astype(np.int64)
    valid &= day <= days
    micros, clock = _of_day(parts)
    valid &= clock
    at = (
        begin.astype("datetime64[us]").astype(np.int64)
        + (np.where(valid, day, 1) - 1) * 86_400_000_000
    )
    at += np.where(valid, micros - _ahead(parts), 0)
    # A zone may move a date beyond the range of Python's date-times.
    valid &= (at >= EARLIEST) & (at < LATEST)
    return at.astype("datetime64[us]"), valid


def _three_numbers(
    parts: pa.Array, order: Order
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    a, b, c = (_number(parts, name) for name in "abc")
    a_length, b_length, c_length = (_length(parts, name) for name in "abc")
    mark = pc.struct_field(parts, "mark")
    same = np.asarray(pc.equal(mark, pc.struct_field(parts, "again"))).astype(bool)
    year_first = (a_length == 4) & (c_length <= 2)
    # "1.10.25" is more likely a version than a day.
    versions = np.asarray(pc.equal(mark, ".")).astype(bool) & (c_length == 2)
    versions &= (a_length < 2) | (b_length < 2)
    year_last = (a_length <= 2) & ((c_length == 4) | (c_length == 2)) & ~versions
    day_first = order is not Order.MONTH_FIRST
    year = np.where(year_first, a, _full_year(c, c_length))
    month = np.where(year_first, b, b if day_first else a)
    day = np.where(year_first, c, a if day_first else b)
    # In a column of years first, other dates do not have the year last.
    last = year_last & (order is not Order.YEAR_FIRST)
    return year, month, day, same & (year_first | last)


def _of_day(parts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return microseconds since midnight, 0 if there is no time, and which of them are valid."""
    hour, minute, second = (_number(parts, name) for name in ("hour", "minute", "second"))
    part = pc.utf8_rpad(pc.fill_null(pc.struct_field(parts, "part"), ""), 6, "0")
    micros = np.asarray(pc.cast(pc.utf8_slice_codeunits(part, 0, 6), pa.int64()))
    half = pc.utf8_lower(pc.fill_null(pc.struct_field(parts, "half"), ""))
    pm = np.asarray(pc.starts_with(half, "p")).astype(bool)
    am = np.asarray(pc.starts_with(half, "a")).astype(bool)
    valid = (hour <= 23) & (minute <= 59) & (second <= 59)
    valid &= ~(am | pm) | ((hour >= 1) & (hour <= 12))
    hour = np.where(am | pm, hour % 12 + 12 * pm, hour)
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, valid


def _ahead(parts: pa.Array) -> NDArray[np.int64]:
    """Return the offset of local time from UTC, in microseconds."""
    zone = pc.fill_null(pc.struct_field(parts, "zone"), "")
    digits = pc.replace_substring_regex(zone, "[^0-9]", "")
    padded = pc.utf8_rpad(digits, 4, "0")
    number = np.asarray(pc.cast(padded, pa.int64()))
    minutes = number // 100 * 60 + number % 100
    west = np.asarray(pc.starts_with(zone, "-")).astype(bool)
    return np.where(west, -minutes, minutes) * 60_000_000


def _number(parts: pa.Array, name: str) -> NDArray[np.int64]:
    """Convert a part of digits to numbers, 0 if it is left out."""
    text = pc.fill_null(pc.struct_field(parts, name), "")
    return np.asarray(pc.cast(pc.if_else(pc.equal(text, ""), "0", text), pa.int64()))


def _length(parts: pa.Array, name: str) -> NDArray[np.int64]:
    return np.asarray(pc.utf8_length(pc.fill_null(pc.struct_field(parts, name), ""))).astype(int)


def _full_year(year: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(length == 2, year + np.where(year < PIVOT, 2000, 1900), year)
