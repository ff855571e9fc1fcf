"""Messages stay short, and are made in a time that their reader does not wait for."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from cascade_tables import UnknownColumn, errors
from cascade_tables.errors import did_you_mean, listing, repeated, shown


class TestShown:
    """A value of any size, in a few words."""

    @pytest.mark.parametrize("value", ["a", 1, 2.5, None, [1, "b"], {"a": [1]}, (1,), b"\0"])
    def test_a_short_one_is_written_as_python_writes_it(self, value: Any) -> None:
        assert shown(value) == repr(value)

    @pytest.mark.parametrize(
        "value", ["a" * 10**6, list(range(10**6)), dict.fromkeys(range(99), "x" * 99), b"x" * 10**6]
    )
    def test_a_long_one_is_cut(self, value: Any) -> None:
        text = shown(value)
        assert len(text) == 60
        assert text.endswith("...")

    def test_what_repeats_a_billion_times_is_not_written_out(self) -> None:
        """As a YAML file of a few hundred bytes can have it; its text would take gigabytes."""
        value: Any = ["x"] * 9
        for _ in range(30):
            value = [value] * 9
        assert shown(value).startswith("[[[")

    def test_a_list_in_itself(self) -> None:
        value: list[Any] = []
        value.append(value)
        assert shown(value).startswith("[[")

    def test_a_number_that_python_does_not_write(self) -> None:
        assert shown(10**5000) == "a whole number of 16,610 bits"


class TestListing:
    """Choices, as many and as long as a message has room for."""

    def test_all_of_a_few(self) -> None:
        assert listing(["a", "b"]) == "a, b"

    def test_the_first_of_many(self) -> None:
        assert listing(range(2000)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 1,988 more"

    def test_long_ones_are_cut(self) -> None:
        assert len(listing(["a" * 10**6] * 20)) < 2000


class TestDidYouMean:
    """The nearest of the known names, if finding it costs little."""

    @pytest.mark.parametrize("name", ["amuont", "amount_", "ammount"])
    def test_a_near_one(self, name: str) -> None:
        assert did_you_mean(name, ["channel", "amount"]) == " Did you mean 'amount'?"

    def test_none_is_near(self) -> None:
        assert did_you_mean("weather", ["channel", "amount"]) == ""

    def test_one_of_many(self) -> None:
        known = [f"column_{at}" for at in range(60_000)] + ["Amount"]
        assert did_you_mean("amuont", known) == " Did you mean 'Amount'?"

    def test_few_and_short_names_are_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a comparison takes grows with the square of the names' lengths."""
        compared: list[str] = []

        def count(name: str, known: list[str], n: int) -> list[str]:
            compared.extend([name, *known])
            return difflib.get_close_matches(name, known, n=n)

        monkeypatch.setattr(errors, "get_close_matches", count)
        known = ["a" * 10**6, *(f"amount_{at}" for at in range(60_000))]
        assert did_you_mean("amount_7", known) != ""
        assert len(compared) <= 101
        assert max(map(len, compared)) <= 40
        compared.clear()
        assert did_you_mean("a" * 10**6, known) == ""
        assert compared == []


def test_a_column_of_any_length_is_refused_in_a_short_message() -> None:
    error = UnknownColumn("x" * 10**6, [f"column_{at}" for at in range(60_000)])
    assert len(str(error)) < 400
    assert error.column == "x" * 10**6


def test_names_that_repeat_are_told_once_and_in_order() -> None:
    assert repeated(["b", "a", "c", "a", "b", "a"]) == ["b", "a"]
