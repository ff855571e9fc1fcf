"""Relations as text: what a person may write, and how it is written back."""

from __future__ import annotations

import contextlib
import json

import pytest
from cascade_tables import Formula, Relation, SchemaError
from hypothesis import given, settings
from hypothesis import strategies as st

several = settings(deadline=None, derandomize=True, database=None)
names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable() or "\n" in name)


@st.composite
def formulas(draw: st.DrawFn) -> Formula:
    columns = draw(st.lists(names, min_size=2, max_size=4, unique=True))
    plus = draw(st.integers(1, len(columns) - 1))
    unit = draw(st.sampled_from([None, "days", "seconds"]))
    return Formula(columns[0], tuple(columns[1 : 1 + plus]), tuple(columns[1 + plus :]), unit)


class TestText:
    @several
    @given(formulas())
    def test_what_is_written_says_the_same_when_it_is_read(self, formula: Formula) -> None:
        assert Formula.parse(str(formula)).key == formula.key

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("a = b", "a = b"),
            ("after = before - amount", "before = after + amount"),
            ("after = before \N{MINUS SIGN} amount", "before = after + amount"),
            ("a - b = c", "a = b + c"),
            ("- a + b = c + d", "b = a + c + d"),
            ("a + d = b + c", "c = a + d - b"),
            ("closed = opened + open in days", "closed = opened + open in days"),
            ("open = closed - opened in hours", "closed = open + opened in hours"),
            ("capital-gain = x", "capital-gain = x"),
            ('"total due" = "in" + "a\\"b"', '"total due" = "in" + "a\\"b"'),
        ],
    )
    def test_ways_to_write_it(self, text: str, written: str) -> None:
        assert str(Formula.parse(text)) == written

    def test_the_same_said_differently_has_the_same_key(self) -> None:
        same = ["a = b + c", "b = a - c", "c + b = a", "a - b = c"]
        assert len({Formula.parse(text).key for text in same}) == 1
        other = ["a = b - c", "a = b + d", "a = b", "a = b + c in days"]
        assert len({Formula.parse(text).key for text in [*same, *other]}) == 5

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("", "expected one '='"),
            ("a", "expected one '='"),
            ("a=b", "expected one '=' with a space on either side"),
            ("a = b = c", "expected one '='"),
            ("a =", "expected a column's name on either side"),
            ("a = b +", "expected a column's name after '+'"),
            ("a = b c", "expected '+' or '-' (a name with spaces is quoted) instead of 'c'"),
            ("a = b + + c", "expected a column's name instead of '+'"),
            ("a = a", "names 'a' twice"),
            ("a + b = a", "names 'a' twice"),
            ("a = b + c + d + e", "has 5 columns"),
            ("a = - b", "is no relation"),
            ("a = b + c in dayz", "unknown unit 'dayz'"),
            ("a = b + c in dayz", "Did you mean 'days'?"),
            ('a = "b', "the name '\"b' has no end"),
        ],
    )
    def test_what_is_no_relation_says_what_was_expected(self, text: str, part: str) -> None:
        with pytest.raises(SchemaError) as caught:
            Formula.parse(text)
        assert part in str(caught.value)

    @several
    @given(st.text(max_size=40))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(SchemaError):
            assert Formula.parse(str(Formula.parse(text))).key == Formula.parse(text).key


class TestRelation:
    def test_it_comes_back_from_json(self) -> None:
        relation = Relation(Formula.parse("a = b + c"), 2, 0.25, 0.24, always=True, declared=True)
        assert Relation.from_dict(json.loads(json.dumps(relation.to_dict()))) == relation

    @pytest.mark.parametrize(
        ("share", "always", "said"),
        [
            (0.041, False, "in 4.1 % of the rows"),
            (0.99999, False, "in more than 99.9 % of the rows"),
            (0.0001, False, "in less than 0.1 % of the rows"),
            (1.0, True, "always"),
            (0.5, True, "always (in 50 % of the rows no part of it is zero)"),
        ],
    )
    def test_how_often_it_holds_in_words(self, share: float, always: bool, said: str) -> None:
        assert Relation(Formula.parse("a = b"), 0, share, share, always).describe() == said

    def test_numbers_without_an_end_have_no_sums(self) -> None:
        with pytest.raises(SchemaError, match="more than six decimals has no exact sum"):
            Relation(Formula.parse("a = b + c"), None, 0.5, 0.5)
