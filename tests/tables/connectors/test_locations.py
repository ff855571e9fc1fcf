"""URLs of tables: what they name, and that no password of theirs is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_tables.connectors.locations import (
    PASSWORD,
    PASSWORD_FILE,
    Kind,
    Location,
    full_url,
    is_single,
    location_of,
    others_location,
    password_of,
    redacted,
)
from cascade_tables.errors import DataError

SECRET = "s3cr3t p@ss/word"


class TestWhatIsNamed:
    @pytest.mark.parametrize(
        ("url", "kind", "table", "query", "name"),
        [
            ("postgresql://ann@db/bank#payments", "database", ("payments",), "", "payments"),
            (
                "postgresql://db/bank#sales.payments",
                "database",
                ("sales", "payments"),
                "",
                "payments",
            ),
            ('postgresql://db/bank#"a.b"."c ""d"', "database", ("a.b", 'c "d'), "", 'c "d'),
            ("sqlite:///bank.db#payments", "database", ("payments",), "", "payments"),
            ("mysql+pymysql://db/bank#t", "database", ("t",), "", "t"),
            ("duckdb:////data/x.duckdb#select 1 as a;", "database", (), "select 1 as a", "query"),
            ("delta:///data/rows", "delta", (), "", "rows"),
            ("delta+s3://bucket/rows", "delta", (), "", "rows"),
            ("s3://bucket/2024/pay.csv.gz", "files", (), "", "pay"),
            ("s3://bucket/a#b.csv", "files", (), "", "a"),
        ],
    )
    def test_a_url(
        self, url: str, kind: str, table: tuple[str, ...], query: str, name: str
    ) -> None:
        found = location_of(url)
        assert (found.kind, found.table, found.query, found.name) == (kind, table, query, name)
        if kind == "database":
            assert location_of(str(found)) == found

    def test_a_file_of_a_database_is_three_slashes_away_or_four(self) -> None:
        assert location_of("sqlite:///bank.db#t").path == Path("bank.db")
        assert location_of("sqlite:////data/my%20bank.db#t").path == Path("/data/my bank.db")

    @pytest.mark.parametrize(
        "fragment", ["a b", "selekt 1", 'a"', "a.b.c.d", "..", "delete from t"]
    )
    def test_what_is_no_table_is_refused(self, fragment: str) -> None:
        with pytest.raises(DataError, match="is no name of a table; allowed: table"):
            location_of(f"postgresql://db/bank#{fragment}")

    def test_one_thing_is_no_folder(self) -> None:
        single = ["delta:///a", "sqlite:///a#t", "s3://b/a.csv", "/data/a.parquet", "a.CSV.GZ"]
        assert [is_single(each) for each in single] == [True] * 5
        assert [is_single(each) for each in ("/data/a", "s3://bucket/a")] == [False] * 2


class TestPasswords:
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://ann:geheim@db/bank#t",
            "postgresql://db/bank?user=ann&password=geheim#t",
            "mysql+pymysql://ann:geheim@db/bank#t",
            "https://ann:geheim@host/rows.csv",
            "https://host/rows.csv?X-Amz-Signature=geheim",
            "s3://bucket/rows.csv?secret_access_key=geheim",
            "delta+s3://key:geheim@bucket/rows",
            "postgresql://ann:ge/geheim@db/bank#t",
            "postgresql://ann:?geheim@db/bank#t",
            "postgresql://ann:ge#geheim@db/bank#t",
            "s3://KEY:ge@/geheim@bucket/rows.csv",
            "mysql+pymysql://ann:ge heim/geheim@db/bank#t",
        ],
    )
    def test_a_url_with_one_is_refused_and_does_not_show_it(self, url: str) -> None:
        with pytest.raises(DataError) as caught:
            location_of(url)
        assert "geheim" not in str(caught.value)
        assert "env:NAME" in str(caught.value)

    def test_what_is_no_url_does_not_show_it_either(self) -> None:
        with pytest.raises(DataError, match=r"\*\*\*@\[::1/rows.csv' is no URL"):
            location_of("https://ann:geheim@[::1/rows.csv")

    def test_one_that_the_environment_holds_is_kept_apart(self) -> None:
        held = {"BANK": "postgresql://ann:s3cr3t%20p%40ss%2Fword@db/bank"}
        found = location_of("env:BANK#payments", held)
        assert password_of(found, {}) == SECRET
        assert (str(found), found.table) == ("postgresql://ann@db/bank#payments", ("payments",))
        assert "s3cr3t" not in repr(found)
        assert full_url(found, SECRET) == "postgresql://ann:s3cr3t%20p%40ss%2Fword@db/bank"
        signed = location_of("env:SIGNED", {"SIGNED": "https://host/a.csv?v=1&sig=xyz"})
        assert (str(signed), full_url(signed, "")) == (
            "https://host/a.csv?v=1",
            "https://host/a.csv?v=1&sig=xyz",
        )

    @pytest.mark.parametrize(
        "held",
        ["geheim", "postgresql://ann:ge/geheim@db/bank", "https://u:geheim@[/a"],
    )
    def test_what_a_variable_holds_is_in_no_message(self, held: str) -> None:
        with pytest.raises(DataError, match="the environment variable BANK") as caught:
            location_of("env:BANK#t u", {"BANK": held})
        assert "geheim" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "http://host:8080/a@b/rows.csv",
            "https://host:8443?who=a@b",
            "postgresql://db:5432/bank#select '@'",
            "s3://bucket/a:b@c/rows.csv",
            "https://[::1]:80/a@b.csv",
            "sqlite:///a:b/c@d#t",
        ],
    )
    def test_what_only_looks_like_one_is_none(self, url: str) -> None:
        assert location_of(url).secrets == {}
        assert redacted(url) == url

    def test_others_have_no_variables_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BANK", "postgresql://ann:geheim@db/bank")
        with pytest.raises(
            DataError, match=r"'env:BANK#t' names an environment variable"
        ) as caught:
            others_location("env:BANK#t")
        assert "ann" not in str(caught.value)
        assert others_location("postgresql://db/bank#t") == location_of("postgresql://db/bank#t")

    def test_a_variable_that_there_is_not_is_named(self) -> None:
        with pytest.raises(DataError, match="there is no environment variable 'BANK'"):
            location_of("env:BANK#t", {})

    def test_it_is_taken_from_a_variable_or_a_file(self, tmp_path: Path) -> None:
        location = location_of("postgresql://ann@db/bank#t")
        file = tmp_path / "password"
        file.write_text(SECRET + "\n")
        assert password_of(location, {}) == ""
        assert password_of(location, {PASSWORD: SECRET}) == SECRET
        assert password_of(location, {PASSWORD_FILE: str(file)}) == SECRET
        with pytest.raises(
            DataError, match=f"{PASSWORD_FILE} names .*absent, which cannot be read"
        ):
            password_of(location, {PASSWORD_FILE: str(tmp_path / "absent")})

    @pytest.mark.parametrize(
        "text",
        [
            "could not open postgresql://ann:geheim@db/bank",
            "bad dsn: host=db password=geheim user=ann",
            "https://h/a?token=geheim&b=1",
            "could not open 'postgresql://ann:ge/geheim@db/bank' twice",
            "could not open s3://key:ge@x#geheim@bucket: no",
            "it was geheim",
        ],
    )
    def test_other_programs_messages_are_cleaned(self, text: str) -> None:
        assert "geheim" not in redacted(text, "geheim")
        if "it was" not in text:
            assert "geheim" not in redacted(text)


class TestWhereOneIsPermitted:
    """A URL below another one, as operators name what callers may write to."""

    @pytest.mark.parametrize(
        ("below", "above", "is_permitted"),
        [
            ("postgresql://db/bank#made.rows", "postgresql://db/bank#made", True),
            ("postgresql://db/bank#rows", "postgresql://db/bank", True),
            ("postgresql://db/bank#rows", "postgresql://db/bank#rows", True),
            ("postgresql://db/bank#other.rows", "postgresql://db/bank#made", False),
            ("postgresql://db/bank2#made.rows", "postgresql://db/bank", False),
            ("postgresql://db/bank?host=elsewhere#made.rows", "postgresql://db/bank", False),
            ("postgresql://root@db/bank#made.rows", "postgresql://db/bank", False),
            ("delta+s3://b/made/rows", "delta+s3://b/made", True),
            ("delta+s3://b/madeup", "delta+s3://b/made", False),
            ("delta:///made/../etc", "delta:///made", False),
            ("delta+s3://b/made/%2e%2E/etc", "delta+s3://b/made", False),
            ("delta+s3://b/made/.%252e/etc", "delta+s3://b/made", False),
        ],
    )
    def test_below(self, below: str, above: str, is_permitted: bool) -> None:
        assert location_of(below).is_below(location_of(above)) is is_permitted

    def test_a_query_is_nowhere(self) -> None:
        query = Location(Kind.DATABASE, "sqlite", "sqlite:///a", (), "select 1")
        assert not query.is_below(location_of("sqlite:///a"))
