"""Decision of what a column's cells are, from how often each notation occurs.

A first pass over the whole column gives `Counts`; `choose` is a pure function of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cascade_tables.files.dates import Order, are_days, read_dates, read_times
from cascade_tables.files.forms import FALSE, OF_KIND, TRUE, Form, Type, is_null
from cascade_tables.files.numbers import STYLES_OF, Mark, Style, read_numbers
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.infer import MAX_EXACT
from cascade_tables.overrides import ColumnOverride
from cascade_tables.schema import Kind

# Cells in another notation count as NULL if their share is at most this.
ODD_SHARE = 0.05
# A column of which more than this share, but not all, can be read in a form is reported.
WORTH_A_WORD = 0.5
# Rows that are examined for possible readings that a user may have missed; fixed for any table.
GLANCE = 10_000


KIND_OF = {
    Type.WHOLE: Kind.INTEGER,
    Type.REAL: Kind.CONTINUOUS,
    Type.DATE: Kind.DATETIME,
    Type.TIME: Kind.INTEGER,
}


# Numbers whose commas and points are unambiguous.
SURE_COMMA = (Style.COMMA, Style.POINT_GROUPS, Style.POINT_GROUPS_COMMA, Style.GAPS_COMMA)
SURE_POINT = (Style.POINT, Style.COMMA_GROUPS, Style.COMMA_GROUPS_POINT, Style.GAPS_POINT)


@dataclass
class Counts:
    """Number of cells of a column in each notation; each cell counts for all that fit it.

    Attributes:
        text: cells that are not NULL in a column of text.
        typed: cells that are not NULL in a column of anything else.
        numbers: cells by style and affix.
        dates: by order.
        days: numbers that are days without marks, as 20241231.
        slashed: dates with slashes in which the order of day and month is ambiguous.
        times, booleans: such cells.
    """

    text: int = 0
    typed: int = 0
    numbers: Counter[tuple[Style, str]] = field(default_factory=Counter)
    dates: Counter[Order] = field(default_factory=Counter)
    days: int = 0
    slashed: int = 0
    times: int = 0
    booleans: int = 0

    def add(
        self, cells: pa.Array, weights: NDArray[np.int64], null_values: tuple[str, ...] = ()
    ) -> None:
        """Count cells.

        Args:
            cells: distinct text [n].
            weights: [n], how often each occurs.
            null_values: cells that stand for NULL besides the usual ones.
        """
        self.text += int(weights[~is_null(cells, Type.TEXT, null_values)].sum())
        present = ~is_null(cells, Type.REAL, null_values)
        self.typed += int(weights[present].sum())
        rest = pc.utf8_trim_whitespace(cells.filter(pa.array(present)))
        weights = weights[present]
        boolean = np.asarray(pc.is_in(rest, pa.array([*TRUE, *FALSE]))).astype(bool)
        self.booleans += int(weights[boolean].sum())
        # Everything else has a digit, and is short.
        digits = np.asarray(pc.match_substring_regex(rest, "[0-9]")).astype(bool)
        digits &= np.asarray(pc.utf8_length(rest)) <= 48
        rest, weights = rest.filter(pa.array(digits)), weights[digits]
        if not len(rest):
            return
        self.days += int(weights[are_days(rest)].sum())
        numbers = read_numbers(rest)
        for style, affix, weight in (
            zip(numbers.style.tolist(), numbers.affix.tolist(), weights.tolist(), strict=True)
            if (numbers.affix != "").any()
            else _by_style(numbers.style, weights)
        ):
            if style:
                self.numbers[Style(style), affix] += weight
        others = numbers.style == Style.NONE
        if others.any():
            self._add_dates(rest.filter(pa.array(others)), weights[others])

    def _add_dates(self, cells: pa.Array, weights: NDArray[np.int64]) -> None:
        fits = {order: read_dates(cells, order)[1] for order in Order}
        for order, mask in fits.items():
            self.dates[order] += int(weights[mask].sum())
        slash = np.asarray(pc.match_substring(cells, "/")).astype(bool)
        self.slashed += int(weights[fits[Order.MONTH_FIRST] & slash].sum())
        self.times += int(weights[read_times(cells)[1]].sum())

    @property
    def padded(self) -> int:
        """Count of numbers with leading zeros."""
        return self.styled(Style.PADDED)

    def styled(self, *styles: Style) -> int:
        """Return the count of numbers in any of these styles."""
        return sum(n for (style, _), n in self.numbers.items() if style in styles)


def _by_style(
    style: NDArray[np.int8], weights: NDArray[np.int64]
) -> Iterator[tuple[int, str, int]]:
    sums = np.bincount(style, weights, minlength=len(Style)).astype(int).tolist()
    return ((each, "", n) for each, n in enumerate(sums) if n)


class Decimals(StrEnum):
    """The decimal mark of a file's numbers."""

    POINT = "point"
    COMMA = "comma"
    # Only the column separator suggests it.
    LIKELY_COMMA = "likely comma"


def decimals_of(columns: Iterable[Counts], semicolons: bool) -> Decimals:
    """Decide the decimal mark from all columns: "1.234" is over a thousand if another column has
    "5,5", which no other notation allows.

    Args:
        columns: of one file.
        semicolons: whether these separate columns, as is usual with decimal commas.
    """
    commas = points = False
    for counts in columns:
        commas |= 2 * counts.styled(*SURE_COMMA) > counts.typed
        points |= 2 * counts.styled(*SURE_POINT) > counts.typed
    if commas != points:
        return Decimals.COMMA if commas else Decimals.POINT
    return Decimals.LIKELY_COMMA if semicolons else Decimals.POINT


@dataclass(frozen=True)
class Choice:
    """Decision about a column's cells.

    Attributes:
        form: how they are read.
        odd: cells in another notation, which count as NULL.
        present: cells that are not NULL in this form, including odd ones.
        nearly: for a text column, the form that most cells have, if that is worth reporting.
        unlike: cells that do not have it.
        ambiguous: whether the column has dates of which none shows whether its day or month is
            first, or numbers of which none shows whether their points mark decimals or thousands.
    """

    form: Form
    odd: int
    present: int
    nearly: Form | None = None
    unlike: int = 0
    ambiguous: bool = False

    @property
    def doubt(self) -> str:
        """Description of what is ambiguous in a column, and how to resolve it."""
        if self.form.type is Type.DATE:
            return (
                f"nothing shows whether days or months come first; read as "
                f"{self.form.order.describe()}, which dates: day_first or dates: month_first in "
                "the file of --schema decides"
            )
        return (
            "nothing shows whether points stand before decimals or thousands; 1.234 is read as "
            "less than two, which decimal_mark: point or decimal_mark: comma in the file of "
            "--schema decides"
        )


def choose(
    counts: Counts,
    kind: Kind | None = None,
    order: Order | None = None,
    null_values: tuple[str, ...] = (),
    decimals: Decimals = Decimals.POINT,
    decimal_mark: str | None = None,
    odd_share: float = ODD_SHARE,
) -> Choice | None:
    """Decide what a column's cells are.

    A column has the form that most cells fit, if the others are few; else it is text. Numbers of
    which some have leading zeros are codes, and so text.

    Args:
        counts: of the whole column.
        kind: the kind named by the user; the form is then one of that kind, whatever the share of
            cells that do not fit it.
        order: the date order named by the user.
        null_values: cells that stand for NULL besides the usual ones.
        decimals: how to read "1,234" and "1.234" if no other cell of the column decides.
        decimal_mark: the user's choice, "comma" or "point".
        odd_share: largest share of odd cells among those that are not NULL.

    Returns:
        None: the user named a kind that no cell fits.
    """
    text = Form(Type.TEXT, null_values=null_values)
    found = [
        (form, fits)
        for form, fits in _candidates(
            counts, kind is not None, order, _marks(counts, decimals, decimal_mark)
        )
        if fits and (kind is None or form.type in OF_KIND[kind])
    ]
    if kind is Kind.CATEGORICAL or (not found and (kind is None or counts.typed == 0)):
        return Choice(text, 0, counts.text)
    if not found:
        return None
    # If several fit equally many cells, take the first, which is the simplest.
    form, fits = max(found, key=lambda pair: pair[1])
    odd = counts.typed - fits
    form = Form(form.type, form.mark, form.affix, form.padded, form.order, null_values)
    codes = kind is None and form.type in (Type.WHOLE, Type.REAL) and counts.padded > 0
    if codes or (kind is None and odd > odd_share * counts.typed):
        if fits < WORTH_A_WORD * counts.typed:
            return Choice(text, 0, counts.text)
        return Choice(text, 0, counts.text, form, odd)
    ambiguous = (
        form.type is Type.DATE
        and order is None
        and form.order is not Order.YEAR_FIRST
        and counts.dates[Order.DAY_FIRST] == counts.dates[Order.MONTH_FIRST]
    ) or (
        decimals is Decimals.LIKELY_COMMA
        and decimal_mark is None
        and (form.type, form.mark) == (Type.REAL, Mark.POINT)
        and counts.styled(Style.POINT_TRIPLE) > 0
        and not counts.styled(Style.POINT, Style.BIG)
    )
    return Choice(form, odd, counts.typed, ambiguous=ambiguous)


def _candidates(
    counts: Counts, named: bool, order: Order | None, marks: Sequence[Mark]
) -> Iterator[tuple[Form, int]]:
    """Yield forms, simplest first, with the number of cells that fit each."""
    yield Form(Type.BOOLEAN), counts.booleans
    affixes = dict.fromkeys(["", *(affix for _, affix in counts.numbers)])
    for affix in affixes:
        for mark in marks:
            whole, real = (
                sum(counts.numbers[style, each] for style in styles for each in {"", affix})
                for styles in STYLES_OF[mark]
            )
            zeros = sum(counts.numbers[Style.PADDED, each] for each in {"", affix}) * named
            type_ = Type.REAL if real else Type.WHOLE
            yield Form(type_, mark, affix, padded=bool(zeros)), whole + real + zeros
    # Numbers are days only if a user says so.
    days = counts.days if named else 0
    yield from (
        (Form(Type.DATE, order=each), counts.dates[each] + days) for each in _orders(counts, order)
    )
    yield Form(Type.TIME), counts.times


def _marks(counts: Counts, decimals: Decimals, decimal_mark: str | None) -> list[Mark]:
    """Return the marks that a column's numbers may have, in order of preference."""
    if decimal_mark is not None:
        wanted = "," if decimal_mark == Decimals.COMMA else "."
        return [mark for mark in Mark if mark.decimal == wanted]
    if decimals is Decimals.POINT:
        return list(Mark)
    # Plain whole numbers have no mark at all; "1.234" has one if commas mark decimals.
    plain = not (decimals is Decimals.COMMA and counts.styled(Style.POINT_TRIPLE))
    return sorted(Mark, key=lambda mark: mark.decimal == "." and not (plain and mark is Mark.POINT))


def _orders(counts: Counts, order: Order | None) -> tuple[Order, ...]:
    if order is not None:
        return (order,)
    last = (Order.DAY_FIRST, Order.MONTH_FIRST)
    # Prefer the American order for slashes, as most files with slashes use it.
    return (Order.YEAR_FIRST, *(reversed(last) if counts.slashed else last))


def could_be(frame: Frame, overrides: Mapping[str, ColumnOverride]) -> Iterator[str]:
    """Yield a line for each column that could be read otherwise and whose kind the user has not
    named.

    These are text that stands for something else, in typed files, and whole numbers that are days.

    Args:
        frame: the columns, as they are read now.
        overrides: the user's corrections.
    """
    rows = np.unique(np.linspace(0, len(frame) - 1, GLANCE).astype(np.int64))
    for name, data in frame.columns.items():
        override = overrides.get(name, ColumnOverride())
        if override.kind is not None or override.drop:
            continue
        seen = ColumnData(data.values[rows], data.null[rows]).present()
        if data.values.dtype.kind == "O" and len(seen):
            cells = pa.array(seen, pa.string()).value_counts()
            counts = Counts()
            counts.add(cells.field("values"), np.asarray(cells.field("counts")))
            choice = choose(counts)
            # Few distinct whole numbers that a program stores as text are codes.
            codes = choice is None or (choice.form.type is Type.WHOLE and len(cells) <= MAX_EXACT)
            if choice is not None and choice.form.type in KIND_OF and not codes:
                yield (
                    f"{name}: text that is {choice.form.describe()}; kind: "
                    f"{KIND_OF[choice.form.type]} in the file of --schema has it read so"
                )
        elif (
            data.values.dtype.kind in "if"
            and len(np.unique(seen)) > MAX_EXACT
            and are_days(pa.array(seen).cast(pa.string())).all()
        ):
            yield (
                f"{name}: whole numbers that are all days, such as {seen[0]:.0f}; kind: datetime "
                "in the file of --schema has them read so, else there may be numbers in the rows "
                "that are no days"
            )
