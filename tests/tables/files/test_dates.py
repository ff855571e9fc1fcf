"""Dates and times of day as people write them."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest
from cascade_tables.files.dates import Order, read_dates, read_times
from hypothesis import given
from hypothesis import strategies as st


def read(order: Order, *cells: str) -> list[datetime | None]:
    values, fits = read_dates(pa.array(cells, pa.string()), order)
    return [v if fit else None for v, fit in zip(values.tolist(), fits.tolist(), strict=True)]


NEW_YEAR_EVE = datetime(2024, 12, 31)


class TestDates:
    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("2024-12-31", NEW_YEAR_EVE),
            ("2024/12/31", NEW_YEAR_EVE),
            ("31 Dec 2024", NEW_YEAR_EVE),
            ("31-Dec-24", NEW_YEAR_EVE),
            ("December 31st, 2024", NEW_YEAR_EVE),
            ("Tue, 31 December 2024", NEW_YEAR_EVE),
            ("2024-12-31T23:59:30.25", datetime(2024, 12, 31, 23, 59, 30, 250_000)),
            ("2024-12-31 01:00:00+05:30", datetime(2024, 12, 30, 19, 30)),
            ("2024-12-31T01:00:00-0800", datetime(2024, 12, 31, 9)),
            ("2024-12-31T01:00Z", datetime(2024, 12, 31, 1)),
            ("2024-12-31 1:05 PM", datetime(2024, 12, 31, 13, 5)),
            ("2024-12-31 12:05 am", datetime(2024, 12, 31, 0, 5)),
            ("2024-02-29", datetime(2024, 2, 29)),
            ("0001-01-01", datetime(1, 1, 1)),
            ("9999-12-31", datetime(9999, 12, 31)),
            ("20241231", NEW_YEAR_EVE),
            ("20241231.0", NEW_YEAR_EVE),
            ("20241231T10:30", datetime(2024, 12, 31, 10, 30)),
        ],
    )
    def test_some_can_be_read_in_one_way_only(
        self, cell: str, expected: datetime, order: Order
    ) -> None:
        assert read(order, cell) == [expected]

    @pytest.mark.parametrize(
        ("cell", "day_first", "month_first"),
        [
            ("31/12/2024", NEW_YEAR_EVE, None),
            ("12/31/2024", None, NEW_YEAR_EVE),
            ("1/2/24", datetime(2024, 2, 1), datetime(2024, 1, 2)),
            ("01.02.1969", datetime(1969, 2, 1), datetime(1969, 1, 2)),
            ("01.02.69", datetime(1969, 2, 1), datetime(1969, 1, 2)),
            ("1-2-2068 10:30", datetime(2068, 2, 1, 10, 30), datetime(2068, 1, 2, 10, 30)),
        ],
    )
    def test_others_depend_on_what_comes_first(
        self, cell: str, day_first: datetime | None, month_first: datetime | None
    ) -> None:
        assert read(Order.DAY_FIRST, cell) == [day_first]
        assert read(Order.MONTH_FIRST, cell) == [month_first]
        assert read(Order.YEAR_FIRST, cell) == [None]

    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize(
        "cell",
        [
            *("0000-00-00", "2024-13-01", "2023-02-29", "2024-04-31", "2024-1-0", "12-34"),
            *("1.10.25", "1/2-2024", "31 Foo 2024", "2024-12-31 24:00", "2024-12-31 13:00 pm"),
            *("0001-01-01 00:00+05:00", "9999-12-31 23:00-05:00"),
            *(
                "20241331",
                "2024123",
                "202412311",
                "2024",
                "",
                "x",
                "1/2/3",
                "2024-12-31 10:60",
                "2024-12-31T",
            ),
        ],
    )
    def test_what_is_no_date(self, cell: str, order: Order) -> None:
        assert read(order, cell) == [None]

    @given(st.datetimes())
    def test_what_was_written_is_read(self, moment: datetime) -> None:
        assert read(Order.YEAR_FIRST, moment.isoformat()) == [moment]
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        assert read(Order.DAY_FIRST, f"{day:%d/%m/}{day.year:04}") == [day]
        assert read(Order.MONTH_FIRST, f"{day:%m/%d/}{day.year:04}") == [day]

    @given(st.text())
    def test_any_text_is_a_date_or_none(self, text: str) -> None:
        read(Order.DAY_FIRST, text.replace("\0", ""))


class TestTimes:
    def test_they_are_seconds_since_midnight(self) -> None:
        cells = ["13:45:00", "1:05", "11:59 pm", "12:00 AM", "00:00:00.25", "25:00", "1:2", "x"]
        values, fits = read_times(pa.array(cells))
        assert fits.tolist() == [True] * 5 + [False] * 3
        assert values[:5].tolist() == [49_500, 3_900, 86_340, 0, 0.25]
