"""What a column's cells are, decided from how often each way of writing stands in it.

`Counts` is what a first look at the whole column gives; `choose` is a pure function of it.
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

# Cells that are not written as the others count as NULL where they are no more than this share.
ODD_SHARE = 0.05
# A column of which more than this share can be read in a form, and not all, is worth a word.
WORTH_A_WORD = 0.5
# Rows that are looked at, of any table the same, for what a person may not have seen.
GLANCE = 10_000


KIND_OF = {
    Type.WHOLE: Kind.INTEGER,
    Type.REAL: Kind.CONTINUOUS,
    Type.DATE: Kind.DATETIME,
    Type.TIME: Kind.INTEGER,
}


# Numbers of which there is no doubt what their commas and points are.
SURE_COMMA = (Style.COMMA, Style.POINT_GROUPS, Style.POINT_GROUPS_COMMA, Style.GAPS_COMMA)
SURE_POINT = (Style.POINT, Style.COMMA_GROUPS, Style.COMMA_GROUPS_POINT, Style.GAPS_POINT)


@dataclass
class Counts:
    """How often each way of writing stands in a column; each cell counts for all that fit it.

    Attributes:
        text: cells that are not NULL in a column of text.
        typed: cells that are not NULL in a column of anything else.
        numbers: cells by style and affix.
        dates: by order.
        days: numbers that are days without marks, as 20241231.
        slashed: dates of which it cannot be seen whether day or month comes first, with slashes.
        times, booleans: cells that are such.
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
            weights: [n], how often each stands there.
            null_values: cells that stand for NULL besides the usual ones.
        """
        self.text += int(weights[~is_null(cells, Type.TEXT, null_values)].sum())
        present = ~is_null(cells, Type.REAL, null_values)
        self.typed += int(weights[present].sum())
        rest = pc.utf8_trim_whitespace(cells.filter(pa.array(present)))
        weights = weights[present]
        boolean = np.asarray(pc.is_in(rest, pa.array([*TRUE, *FALSE]))).astype(bool)
        self.booleans += int(weights[boolean].sum())
        # All else has a digit, and is short.
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
        """Numbers that begin with zeros."""
        return self.styled(Style.PADDED)

    def styled(self, *styles: Style) -> int:
        """Numbers that are written in one of these styles."""
        return sum(n for (style, _), n in self.numbers.items() if style in styles)


def _by_style(
    style: NDArray[np.int8], weights: NDArray[np.int64]
) -> Iterator[tuple[int, str, int]]:
    sums = np.bincount(style, weights, minlength=len(Style)).astype(int).tolist()
    return ((each, "", n) for each, n in enumerate(sums) if n)


class Decimals(StrEnum):
    """What stands before the decimals of a file's numbers."""

    POINT = "point"
    COMMA = "comma"
    # Nothing but what is between its columns says so.
    LIKELY_COMMA = "likely comma"


def decimals_of(columns: Iterable[Counts], semicolons: bool) -> Decimals:
    """What the columns of a file say together: "1.234" is a thousand and more where another column
    has "5,5", which no other way to write numbers allows for.

    Args:
        columns: of one file.
        semicolons: whether these are between its columns, as where commas are before decimals.
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
    """What a column's cells are.

    Attributes:
        form: how they are read.
        odd: cells that are not written so, and count as NULL.
        present: cells that are not NULL in this form, the odd ones too.
        nearly: the form that most cells of a column of text have, where that is worth a word.
        unlike: cells that do not have it.
        ambiguous: the column holds dates of which none shows whether its day or month is first, or
            numbers of which none shows whether their points are before decimals or thousands.
    """

    form: Form
    odd: int
    present: int
    nearly: Form | None = None
    unlike: int = 0
    ambiguous: bool = False

    @property
    def doubt(self) -> str:
        """In words, what nothing shows of a column that is ambiguous, and what decides it."""
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

    A column has the form that most cells fit, if all others are few; else it is text.
    Numbers of which some begin with zeros are codes, and so text.

    Args:
        counts: of the whole column.
        kind: what a person says the column is; then the form is one of that kind's, whatever the
            share of cells that do not fit it.
        order: what a person says comes first in its dates.
        null_values: cells that stand for NULL besides the usual ones.
        decimals: what "1,234" and "1.234" are where no other cell of the column says.
        decimal_mark: what a person says of it, "comma" or "point".
        odd_share: how many cells are few, as a share of those that are not NULL.

    Returns:
        None: a kind is asked for that no cell fits.
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
    # Of those that fit as many cells, the first, which is the simplest.
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
    """Forms, simplest first, and how many cells each fits."""
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
    # Numbers are days only where a person says so.
    days = counts.days if named else 0
    yield from (
        (Form(Type.DATE, order=each), counts.dates[each] + days) for each in _orders(counts, order)
    )
    yield Form(Type.TIME), counts.times


def _marks(counts: Counts, decimals: Decimals, decimal_mark: str | None) -> list[Mark]:
    """Marks that a column's numbers may have, in the order in which they are preferred."""
    if decimal_mark is not None:
        wanted = "," if decimal_mark == Decimals.COMMA else "."
        return [mark for mark in Mark if mark.decimal == wanted]
    if decimals is Decimals.POINT:
        return list(Mark)
    # Plain whole numbers have no mark at all; "1.234" has, where commas are before decimals.
    plain = not (decimals is Decimals.COMMA and counts.styled(Style.POINT_TRIPLE))
    return sorted(Mark, key=lambda mark: mark.decimal == "." and not (plain and mark is Mark.POINT))


def _orders(counts: Counts, order: Order | None) -> tuple[Order, ...]:
    if order is not None:
        return (order,)
    last = (Order.DAY_FIRST, Order.MONTH_FIRST)
    # As Americans write it, who are most of those that write slashes.
    return (Order.YEAR_FIRST, *(reversed(last) if counts.slashed else last))


def could_be(frame: Frame, overrides: Mapping[str, ColumnOverride]) -> Iterator[str]:
    """What columns could be read as that nobody has named a kind for, a line each: text that stands
    for something else, in files that have types, and whole numbers that are days.

    Args:
        frame: the columns, as they are read now.
        overrides: what a person says of them.
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
            # A few whole numbers that a program keeps as text are codes.
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
