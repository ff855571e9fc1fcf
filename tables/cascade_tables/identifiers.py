"""Detection of identifiers: columns whose values stand for single rows or persons, such as row
numbers, keys and account numbers.

There is nothing to learn from them, and a release that kept some would disclose real ones. A
detected identifier is left out with a reason, and kept if the user names its kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import MAX_CATEGORIES, category_counts
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Kind

# From this many rows, values that never (or hardly ever) repeat identify a row.
IDENTIFIER_ROWS = 10
IDENTIFIER_SHARE = 0.95
# Whole numbers that never repeat identify a row if equally many independent draws would have
# repeated with a probability above 1 − e^−20.
IDENTIFIER_EXPONENT = 20
# ... or where they hardly ever do, and are called so.
IDENTIFIER_WORDS = re.compile(
    "ids?|uids?|uuid|guid|identifier|key|pk|index|idx|row|no|nr|num|number|serial|ref|reference"
    "|account|acct|konto|(?:account|claim|client|customer|device|employee|loan|member|order|patient"
    "|policy|product|record|row|session|student|tax|transaction|user|vat)(?:id|no|nr|num|number)"
    "|ssns?|nino|itin|ssnr|bsn|cpf|cnpj|curp|rfc|nif|nie|dni|pesel|aadhaar|npi|mrn|iban|bban"
    "|bic|routing|passport|licen[cs]e|tele?phone|phones?|phone(?:no|nr|num|number)|tel|mobile"
    "|cellphone|handy|fax|msisdn|imei|imsi|iccid|vin|isbn|ean|gtin|(?:credit)?card"
    "|(?:card|passport|serial)(?:no|nr|num|number)",
    re.IGNORECASE,
)
# Last words of names that measure something about an account, a card or a phone.
MEASURES = re.compile(
    "age|amount|amt|area|avg|balance|bytes|charge|cost|count|days?|debt|fee|height|hours?|income"
    "|interest|length|limit|max|mean|min|minutes?|months?|paid|payments?|population|price|profit"
    "|revenue|salary|score|size|spend|spent|sum|total|usage|value|volume|weight|width|years?",
    re.IGNORECASE,
)
# ... or have as many digits as numbers of persons, phones and accounts, and all as many. Longer
# ones may have lost a zero before them, as one in ten does.
FEWEST_DIGITS, MANY_DIGITS, SHARE_OF_LONGEST = 7, 9, 0.8
# ... or are so large, nearly all of them, as are ninety-eight of a hundred numbers of 63 bits or
# 64; amounts reach lower.
FAR, SHARE_OF_FAR = 10**17, 0.95
# In fewer rows, distinct numbers may as well be amounts.
LONG_ROWS = 50


def identifier(name: str, data: ColumnData, kind: Kind) -> str:
    """Return why a column's values identify rows; empty if they do not.

    Args:
        name: of the column.
        data: its values.
        kind: of the values.
    """
    present = data.present()
    if len(present) < IDENTIFIER_ROWS:
        return ""
    if kind is Kind.CATEGORICAL:
        counts = category_counts(data)
        distinct, rows = len(counts), counts.total()
        if distinct == rows:
            return f"identifier: all {distinct:,} values differ"
        hardly = distinct >= IDENTIFIER_SHARE * rows
        if hardly and (distinct > MAX_CATEGORIES or _are_codes(list(counts), rows)):
            return f"identifier: {distinct:,} of {rows:,} values differ"
    if kind is Kind.CONTINUOUS and _beyond_reals(present):
        # 64-bit integers, possibly stored as reals because some were missing, with the precision of
        # reals.
        words = _words(name)
        if words and MEASURES.fullmatch(words[-1]):
            return ""
        return _called_so(words, present) or _hashes(present)
    if kind is Kind.INTEGER:
        whole = present.astype(np.int64)
        words = _words(name)
        if words and MEASURES.fullmatch(words[-1]):
            return _row_label(whole)
        return _row_label(whole) or _called_so(words, whole) or _long(whole) or _hashes(whole)
    return ""


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)


def _beyond_reals(values: NDArray[np.float64]) -> bool:
    """Return whether reals are 64-bit integers that need more digits than reals have."""
    largest = np.abs(values).max()
    return bool(2.0**53 <= largest <= 2.0**64 and (values == np.floor(values)).all())


def _hashes(values: NDArray[Any]) -> str:
    """Return why whole numbers are hash-like identifiers, if they are.

    Hardly any repeats, and they spread over all 64 bits, as generated keys and hashes do, also
    below zero. Timestamps are not identifiers.
    """
    rows = len(values)
    if rows < LONG_ROWS or _are_moments(values):
        return ""
    distinct = np.unique(values)
    far = np.abs(distinct.astype(np.float64)) >= FAR
    if len(distinct) < IDENTIFIER_SHARE * rows or far.mean() < SHARE_OF_FAR:
        return ""
    return f"identifier: {_differing(len(distinct), rows)}, and are spread over 64 bits"


def _called_so(words: Sequence[str], values: NDArray[Any]) -> str:
    """Return why whole numbers are identifiers by name, if they are: hardly any repeats, and a word
    of their name says so.
    """
    called = next((word for word in words if IDENTIFIER_WORDS.fullmatch(word)), "")
    distinct = len(np.unique(values))
    if not called or distinct < IDENTIFIER_SHARE * len(values):
        return ""
    return f"identifier: named {called!r}, and {_differing(distinct, len(values))}"


def _differing(distinct: int, rows: int) -> str:
    share = f"all {rows:,}" if distinct == rows else f"{distinct:,} of {rows:,}"
    return f"{share} values differ"


def _row_label(values: NDArray[np.int64]) -> str:
    """Return why whole numbers label rows, if they do: all differ, which chance does not
    explain.
    """
    rows, low, high = len(values), int(values.min()), int(values.max())
    if len(np.unique(values)) < rows:
        return ""
    span = high - low + 1
    if span == rows:
        return f"row number: {low} to {high}, each once"
    # The birthday bound: n draws from R values all differ with probability at most
    # exp(−n(n − 1) / 2R), reached where all R are equally likely.
    if rows * (rows - 1) / (2 * span) > IDENTIFIER_EXPONENT:
        return f"identifier: all {rows:,} values differ, of only {span:,} between {low} and {high}"
    return ""


def _long(values: NDArray[np.int64]) -> str:
    """Return why whole numbers are long identifiers, if they are.

    Hardly any repeats, and all are as long as the numbers that authorities and companies assign to
    people. Timestamps and round amounts are not identifiers.
    """
    rows = len(values)
    if rows < LONG_ROWS or int(values.min()) < 0 or _are_moments(values):
        return ""
    distinct = np.unique(values)
    if len(distinct) < IDENTIFIER_SHARE * rows:
        return ""
    lengths = np.array([len(str(value)) for value in distinct.tolist()])
    longest = int(lengths.max())
    share = float((lengths == longest).mean())
    enough = share == 1 if longest < MANY_DIGITS else share >= SHARE_OF_LONGEST
    step = int(np.gcd.reduce(distinct - distinct[0]))
    if longest < FEWEST_DIGITS or not enough or step > 1:
        return ""
    return f"identifier: {_differing(len(distinct), rows)}, of {longest} digits"


def _are_codes(texts: list[str], rows: int) -> bool:
    """Return whether text consists of numbers as long as those of `_long`, without loss."""
    lengths = {len(text) for text in texts}
    return (
        rows >= LONG_ROWS
        and len(lengths) == 1
        and lengths.pop() >= FEWEST_DIGITS
        and all(text.isdigit() for text in texts)
    )


def _are_moments(values: NDArray[Any]) -> bool:
    """Return whether all are dates such as 20241231, with or without a time, or Unix timestamps of
    this century in seconds, milliseconds or microseconds.
    """
    low, high = int(values.min()), int(values.max())
    if any(10**9 * unit <= low and high < 22 * 10**8 * unit for unit in (1, 10**3, 10**6, 10**9)):
        return True
    for behind in (1, 10**4, 10**6):
        days = values // behind
        year, month, day = days // 10_000, days // 100 % 100, days % 100
        dates = (year >= 1800) & (year < 2200) & (month >= 1) & (month <= 12)
        if bool((dates & (day >= 1) & (day <= 31)).all()):
            return True
    return False
