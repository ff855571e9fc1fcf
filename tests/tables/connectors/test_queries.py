"""A URL asks one thing: what a database would do with a second one, nobody has to know."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cascade_tables.connectors.queries import one_query
from cascade_tables.errors import DataError
from hypothesis import given
from hypothesis import strategies as st

from tests.tables.connectors.made_up import read

KINDS = ["sqlite", "duckdb", "postgresql", "mysql+pymysql", "mssql+pyodbc", "oracle"]


@pytest.mark.parametrize("scheme", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "select 1; drop table t",
        "select ';'; drop table t;",
        "select 1 -- it's\n; drop table t",
        "select 1 /* it's */; drop table t",
        'select 1 as "a;b"; drop table t',
        "select 'it''s'; drop table t",
        "select 1; ; -- no more\n drop table t",
        "select 1; /* and */ drop table t",
    ],
)
def test_a_second_statement_is_refused_by_its_words(scheme: str, text: str) -> None:
    with pytest.raises(DataError, match=r"drop table t.* is a second statement; allowed: one que"):
        one_query(text, scheme)


@pytest.mark.parametrize("scheme", KINDS)
@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("select 1", "select 1"),
        (" select 1 ; ", "select 1"),
        ("select 1;;\n; -- done", "select 1"),
        ("select 1; /* done; */", "select 1"),
        ("select ';' as a", "select ';' as a"),
        ("select 'a'';b' as a;", "select 'a'';b' as a"),
        ("select 1 -- a; b", "select 1 -- a; b"),
        ("select /* a; b */ 1", "select /* a; b */ 1"),
        ('select 1 as "a;b"', 'select 1 as "a;b"'),
    ],
)
def test_one_statement_is_itself(scheme: str, text: str, query: str) -> None:
    assert one_query(text, scheme) == query


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("sqlite", "select 1 as `a;b`"),
        ("sqlite", "select 1 as [a;b]"),
        ("mssql+pyodbc", "select 1 as [a;]]b]"),
        ("mysql+pymysql", r"select 'it\'s; it'"),
        ("mysql+pymysql", "select 1 # a; b"),
        ("postgresql", r"select E'it\'s; it'"),
        ("postgresql", "select $$a;b$$, $q$ $$;$$ ; $q$"),
        ("duckdb", "select $$a;b$$"),
    ],
)
def test_strings_end_where_the_database_says(scheme: str, text: str) -> None:
    assert one_query(text, scheme) == text


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("sqlite", r"select 'a\'; drop table t --'"),
        ("postgresql", r"select 'a\'; drop table t --'"),
        ("postgresql", "select a$$; drop table t -- $$"),
        ("sqlite", "select $$; drop table t -- $$"),
    ],
)
def test_what_is_no_string_there_hides_nothing(scheme: str, text: str) -> None:
    with pytest.raises(DataError, match="is a second statement"):
        one_query(text, scheme)


@given(st.sampled_from(KINDS), st.text("'\"`[]$;-/*#\\ae\n ", max_size=30))
def test_any_text_is_a_query_or_refused(scheme: str, text: str) -> None:
    try:
        found = one_query(text, scheme)
    except DataError:
        return
    assert found in text


def test_nothing_is_read_of_two_statements(tmp_path: Path) -> None:
    file = tmp_path / "bank.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        connection.commit()
    for scheme in ("sqlite", "sqlite+pysqlite", "duckdb", "postgresql"):
        with pytest.raises(DataError, match="second statement"):
            read(f"{scheme}:///{file}#select a from t; drop table t", tmp_path)
    found = read(f"sqlite:///{file}#select a from t; -- all of it", tmp_path)
    assert found.to_pylist() == [{"a": 1}]
