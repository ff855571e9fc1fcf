"""Values that a column cannot have, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from cascade_tables import (
    ABSENT,
    Codec,
    ColumnOverride,
    DataError,
    UnknownColumn,
    ValueNotAllowed,
    ValuesNotAllowed,
)

from tests.tables.codecs.given.encoded import EARLY, fitted

BAD = [
    ("items", 0, "whole numbers from 1 to 8; not NULL"),
    ("items", 9, "whole numbers from 1 to 8; not NULL"),
    ("items", 2.5, "whole numbers from 1 to 8; not NULL"),
    ("items", 10**400, "whole numbers from 1 to 8; not NULL"),
    ("items", True, "whole numbers from 1 to 8; not NULL"),
    ("items", np.True_, "whole numbers from 1 to 8; not NULL"),
    ("items", "3", "whole numbers from 1 to 8; not NULL"),
    ("items", None, "whole numbers from 1 to 8; not NULL"),
    ("items", float("nan"), "whole numbers from 1 to 8; not NULL"),
    ("items", float("inf"), "whole numbers from 1 to 8; not NULL"),
    ("items", Decimal(3), "whole numbers from 1 to 8; not NULL"),
    ("items", 3 + 0j, "whole numbers from 1 to 8; not NULL"),
    ("items", [3], "whole numbers from 1 to 8; not NULL"),
    ("items", np.array([3]), "whole numbers from 1 to 8; not NULL"),
    ("items", np.datetime64(3, "us"), "whole numbers from 1 to 8; not NULL"),
    ("items", np.datetime64(3, "ns"), "whole numbers from 1 to 8; not NULL"),
    ("items", np.timedelta64(3, "us"), "whole numbers from 1 to 8; not NULL"),
    ("items", datetime(1970, 1, 1), "whole numbers from 1 to 8; not NULL"),
    ("size", 7.6, "numbers from 0 to 7.5; not NULL"),
    ("size", np.float32("nan"), "numbers from 0 to 7.5; not NULL"),
    ("size", "a lot", "numbers from 0 to 7.5; not NULL"),
    ("score", -0.01, "numbers from 0.00"),
    ("score", float("-inf"), "numbers from 0.00"),
    ("score", False, "numbers from 0.00"),
    ("score", None, "; not NULL"),
    ("channel", 3, "one of app, web, shop or NULL"),
    ("channel", "fax", "one of app, web, shop or NULL"),
    ("channel", "", "one of app, web, shop or NULL"),
    ("channel", True, "one of app, web, shop or NULL"),
    ("channel", b"web", "one of app, web, shop or NULL"),
    ("channel", ["web"], "one of app, web, shop or NULL"),
    ("member", 1, "true or false; not NULL"),
    ("member", "true", "true or false; not NULL"),
    ("member", None, "true or false; not NULL"),
    ("at", 0, "date-times from 2026-01-01T0"),
    ("at", "2026-01-02", "date-times from 2026-01-01T0"),
    ("at", datetime(2027, 1, 1, tzinfo=UTC), "date-times from 2026-01-01T0"),
    ("at", datetime(1, 1, 1, tzinfo=EARLY), "date-times from 2026-01-01T0"),
    ("at", np.datetime64("2025-12-31"), "date-times from 2026-01-01T0"),
    ("at", np.datetime64("NaT"), "date-times from 2026-01-01T0"),
    ("at", 1_767_312_000_000_000.5, "date-times from 2026-01-01T0"),
    ("at", True, "date-times from 2026-01-01T0"),
    ("at", None, "; not NULL"),
]


def is_wrong(name: str, value: Any) -> bool:
    """Whether a value of `BAD` is nothing that its column can hold, strictly or not."""
    if value is None or (name == "channel" and isinstance(value, str)):
        return False
    if name in ("size", "score"):
        return isinstance(value, bool | str)
    if name == "items":
        return not (type(value) is int and value in (0, 9))
    if name == "at":
        if isinstance(value, datetime):
            return False
        return bool(np.isnat(value)) if isinstance(value, np.datetime64) else value != 0
    return True


class TestRefused:
    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_strictly_a_value_the_column_cannot_have(
        self, codec: Codec, name: str, value: Any, allowed: str
    ) -> None:
        with pytest.raises(ValueNotAllowed) as caught:
            codec.encode_partial({name: [value]}, 1, strict=True)
        assert caught.value.column == name
        assert allowed in caught.value.allowed
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        start = f"column {name!r}: {shown} is not allowed; allowed: "
        assert str(caught.value) == start + caught.value.allowed

    @pytest.mark.parametrize(("name", "value", "allowed"), BAD)
    def test_strictly_all_of_several_rows_are_named(
        self, codec: Codec, name: str, value: Any, allowed: str
    ) -> None:
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial({name: [value, ABSENT, value]}, 3, strict=True)
        assert caught.value.column == name
        assert [(cell.column, cell.row) for cell in caught.value.cells] == [(name, 0), (name, 2)]
        assert str(caught.value).startswith(f"2 values are not allowed: {name!r} row 0 ")
        assert f", {name!r} row 2 " in str(caught.value)
        assert str(caught.value).endswith(f"; allowed: {name!r}: {caught.value.allowed}")
        assert allowed in caught.value.allowed

    @pytest.mark.parametrize(("name", "value", "allowed"), [b for b in BAD if is_wrong(*b[:2])])
    @pytest.mark.parametrize("rows", [1, 2])
    def test_a_value_of_another_type(
        self, codec: Codec, name: str, value: Any, allowed: str, rows: int
    ) -> None:
        with pytest.raises(ValueNotAllowed) as caught:
            codec.encode_partial({name: [value] * rows}, rows)
        assert allowed in caught.value.allowed

    def test_bad_cells_of_several_columns_are_told_together(self, codec: Codec) -> None:
        given = {"items": [3, 9, 3.5], "channel": ["fax", "web", None], "member": [True] * 3}
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial(given, 3, strict=True)
        assert str(caught.value) == (
            "3 values are not allowed: 'items' row 1 9, 'items' row 2 3.5, 'channel' row 0 'fax'; "
            "allowed: 'items': whole numbers from 1 to 8; not NULL; "
            "'channel': one of app, web, shop or NULL"
        )
        # Not strictly, only what is no whole number.
        with pytest.raises(ValueNotAllowed, match=r"^column 'items', row 2: 3\.5 is not"):
            codec.encode_partial(given, 3)

    def test_of_many_bad_cells_the_first_are_named_and_all_counted(self, codec: Codec) -> None:
        values = list(range(9, 5009))
        with pytest.raises(ValuesNotAllowed) as caught:
            codec.encode_partial({"items": values}, len(values), strict=True)
        assert caught.value.number == 5000
        assert [cell.value for cell in caught.value.cells] == values[:12]
        assert " and 4,988 more; allowed: " in str(caught.value)

    def test_the_bounds_in_a_message_are_exact(self) -> None:
        """A rounded bound would call the value allowed that it refuses."""
        real = fitted(a=[0.25, 1_234_567.891])
        with pytest.raises(ValueNotAllowed, match=r"numbers from 0\.25 to 1,234,567\.891; "):
            real.encode_partial({"a": [1_234_568.0]}, 1, strict=True)
        at = fitted(at=[datetime(2024, 1, 1, 0, 0, 0, 500_000), datetime(2024, 1, 2)])
        with pytest.raises(
            ValueNotAllowed, match=r"from 2024-01-01T00:00:00\.500000 to 2024-01-02; "
        ):
            at.encode_partial({"at": [datetime(2024, 1, 1)]}, 1, strict=True)

    def test_many_categories_are_not_all_listed(self) -> None:
        codec = fitted(a=[f"c{i:03d}" for i in range(100)] * 2)
        with pytest.raises(ValueNotAllowed, match=r"one of c000, .*, c011 and 88 more; not NULL"):
            codec.encode_partial({"a": ["x"]}, 1, strict=True)

    def test_null_may_be_allowed_before_there_is_one(self) -> None:
        codec = fitted({"a": ColumnOverride(nullable=True)}, a=[1, 2], b=[1, 2])
        assert codec.encode_partial({"a": [None]}, 1).observed.tolist() == [[True, False]]
        with pytest.raises(ValueNotAllowed, match="whole numbers from 1 to 2 or NULL"):
            codec.encode_partial({"a": [3]}, 1, strict=True)

    def test_an_unknown_column(self, codec: Codec) -> None:
        with pytest.raises(UnknownColumn) as caught:
            codec.encode_partial({"amuont": [1.0]}, 1)
        assert caught.value.column == "amuont"
        assert caught.value.allowed == codec.schema.names
        assert "unknown column 'amuont'; the columns are: amount, channel," in str(caught.value)
        assert str(caught.value).endswith("Did you mean 'amount'?")

    def test_a_column_that_was_left_out(self, codec: Codec) -> None:
        with pytest.raises(UnknownColumn) as caught:
            codec.encode_partial({"gone": [5]}, 1)
        assert "'gone' (left out: constant: every value is 5)" in str(caught.value)

    @pytest.mark.parametrize(("values", "rows"), [([], 1), ([1, 2], 1), ([1], 2), ([1, 2, 3], 2)])
    def test_a_column_of_another_length(self, codec: Codec, values: list[int], rows: int) -> None:
        with pytest.raises(DataError) as caught:
            codec.encode_partial({"items": values}, rows)
        assert f"column 'items' has {len(values)} value" in str(caught.value)
        assert f"expected {rows}, one a row" in str(caught.value)
