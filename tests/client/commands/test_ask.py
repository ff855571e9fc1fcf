"""`cascade ask` against a real gRPC server whose service is scripted."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import grpc
import pytest
from cascade_client.commands.ask import ask, parse_columns, parse_given
from cascade_client.commands.ask_printing import explained, fitting, print_rows
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import ColumnDescription, TableDescription
from cascade_client.values.provenance import Considered, Provenance, Routing, Tier
from click import BadParameter
from click.testing import CliRunner, Result
from rich.console import Console


@pytest.fixture
def run(target: str) -> Any:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(ask, [*arguments, "--target", target])

    return run


class TestAsking:
    """What is known goes out typed; what comes back is printed."""

    def test_prints_rows_and_their_provenance(self, run: Any) -> None:
        result = run("people", "--given", "age=30", "--given", "city=null", "--draws", "2")
        assert result.exit_code == 0, result.output
        lines = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line}
        assert lines["column"] == ["row", "1", "row", "2"]
        assert lines["age"] == ["given", "30", "30"]
        assert lines["city"] == ["given", "NULL", "NULL"]
        assert lines["income"] == ["1.5", "1.5"]
        assert "people v3 · student, 1 step" in result.output
        assert "0.25 ms" in result.output

    @pytest.mark.parametrize("value", ["age=900", "city=Bonn", "joined=1999-01-01", "income=inf"])
    def test_a_value_that_was_never_learnt_is_the_servers_to_judge(
        self, run: Any, service: Any, value: str
    ) -> None:
        for strict in (False, True):
            result = run("people", "--given", value, *(["--strict"] if strict else []))
            assert result.exit_code == 0, result.output
            assert service.requests[-1].strict is strict

    def test_it_is_noted(self, run: Any) -> None:
        assert "note: column 'age': 900 is above" in run("people", "--given", "age=900").output
        printed = json.loads(run("people", "--given", "age=900", "--json").output)["provenance"]
        assert printed["outside_totals"] == [{"column": "age", "kind": "above", "values": 1}]
        assert printed["outside_values"][0]["conditioned_on"] == "100"

    def test_values_are_typed_by_the_schema(self, run: Any, service: Any) -> None:
        given = {
            "age": "30",
            "income": "12",
            "city": "Oslo",
            "shade": "9",
            "member": "no",
            "joined": "1970-01-01 00:00:01",
        }
        options = [part for name, value in given.items() for part in ("-g", f"{name}={value}")]
        assert run("people", *options).exit_code == 0
        sent = {
            column.name: getattr(column, column.WhichOneof("values")).values[0]
            for column in service.requests[-1].rows.columns
        }
        assert sent == {
            "age": 30,
            "income": 12.0,
            "city": "Oslo",
            "shade": "9",
            "member": False,
            "joined": 1_000_000,
        }

    def test_options_reach_the_request(self, run: Any, service: Any) -> None:
        result = run("people", "--full", "--seed", "7", "--columns", "age, city", "--version", "2")
        assert result.exit_code == 0, result.output
        request = service.requests[-1]
        assert (request.fidelity, request.seed, request.version) == (2, 7, 2)
        assert list(request.columns) == ["age", "city"]

    def test_json(self, run: Any) -> None:
        document = json.loads(run("people", "--json", "--given", "age=3").output)
        assert document["rows"][0]["age"] == 3
        assert document["rows"][0]["joined"] == "1970-01-01T01:00:00"
        assert document["provenance"]["tier"] == "student"
        assert document["provenance"]["synthetic"] is True

    def test_generate(self, run: Any) -> None:
        result = run("people", "--generate", "3", "--given", "age=3", "--json")
        document = json.loads(result.stdout)
        assert [row["age"] for row in document["rows"]] == [3, 3, 3]
        assert document["provenance"]["tier"] == "teacher"


class TestOddNames:
    """Names and values are taken as they are, blanks, "=" and "," included."""

    SCHEMA = TableDescription(
        "n",
        1,
        (
            ColumnDescription("sex", "categorical", False, "s", categories=("Male", "Male ", "F")),
            ColumnDescription(" lead", "integer", False, "int64", 0, 9),
            ColumnDescription("x", "categorical", False, "s", categories=("y=3", "1")),
            ColumnDescription("x=y", "integer", False, "int64", 0, 9),
            ColumnDescription("p,q", "integer", False, "int64", 0, 9),
            ColumnDescription("p", "integer", False, "int64", 0, 9),
            ColumnDescription(
                "shade", "categorical", True, "s", categories=("1", " dark"), other="rest"
            ),
        ),
    )

    @pytest.mark.parametrize(
        ("text", "name", "value"),
        [
            ("sex=Male", "sex", "Male"),
            ("sex=Male ", "sex", "Male "),
            ("sex= F", "sex", "F"),
            (" sex = F", "sex", "F"),
            (" lead=3", " lead", 3),
            (" lead= 3 ", " lead", 3),
            ("x=y=3", "x=y", 3),
            ("x=1", "x", "1"),
            ("p,q=3", "p,q", 3),
            ("p=3", "p", 3),
            ("shade= dark", "shade", " dark"),
            ("shade=1 ", "shade", "1"),
            ("shade= null", "shade", None),
            ("shade= new ", "shade", " new "),
        ],
    )
    def test_given(self, text: str, name: str, value: Any) -> None:
        assert parse_given(text, self.SCHEMA) == (name, value)

    def test_a_name_without_its_blank_is_no_other_column(self) -> None:
        with pytest.raises(BadParameter, match=r"no column 'lead'\. Did you mean ' lead'\?"):
            parse_given("lead=3", self.SCHEMA)

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("p,q", ["p,q"]),
            ("p", ["p"]),
            ("sex, p,q", ["sex", "p,q"]),
            ("p,q,p, lead", ["p,q", "p", " lead"]),
            ("x=y,x", ["x=y", "x"]),
        ],
    )
    def test_columns(self, text: str, names: list[str]) -> None:
        assert parse_columns(text, self.SCHEMA) == names

    def test_columns_may_be_repeated(self, run: Any, service: Any) -> None:
        assert run("people", "--columns", "age", "--columns", "city, income").exit_code == 0
        assert list(service.requests[-1].columns) == ["age", "city", "income"]


class TestRefusing:
    """A mistake is named, with what is allowed."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--given", "ag=3"], "people has no column 'ag'. Did you mean 'age'? Its columns:"),
            (["--given", "age"], "'age' has no '='"),
            (["--given", "age=old"], "age cannot be 'old'; allowed: an integer from 0 to 100"),
            (["--given", "age=3.5"], "age cannot be '3.5'"),
            (["--given", "age=null"], "age cannot be 'null'"),
            (["--given", "income=nan"], "income cannot be 'nan'"),
            (["--given", "member=maybe"], "allowed: true or false"),
            (["--given", "joined=soon"], "a date-time from 1970-01-01 00:00:00 to 1970-01-02"),
            (["--given", "age=1", "--given", "age=2"], "age is given twice"),
            (["--columns", "age,heigth"], "people has no column 'heigth'"),
            (["--generate", "3", "--draws", "2"], "leave out --draws"),
            (["--generate", "3", "--fast"], "leave out --draws"),
        ],
    )
    def test_bad_options(self, run: Any, arguments: list[str], message: str) -> None:
        result = run("people", *arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())

    def test_an_unknown_table(self, run: Any) -> None:
        result = run("persons")
        assert (result.exit_code, result.output) == (1, "Error: no table 'persons': people\n")

    def test_the_servers_own_words(self, run: Any, service: Any, fault: Any) -> None:
        service.faults = [fault(grpc.StatusCode.INVALID_ARGUMENT, "draws is 5000; at most 1024")]
        result = run("people", "--draws", "5000")
        assert (result.exit_code, result.output) == (1, "Error: draws is 5000; at most 1024\n")

    def test_no_server(self) -> None:
        with socket.socket() as taken:  # bound and not listening: nobody answers there
            taken.bind(("127.0.0.1", 0))
            target = f"127.0.0.1:{taken.getsockname()[1]}"
            result = CliRunner().invoke(ask, ["people", "--target", target])
        assert result.exit_code == 1
        assert f"no server is ready at {target}" in result.output
        assert "cascade serve" in result.output

    def test_help_has_an_example(self) -> None:
        help_text = CliRunner().invoke(ask, ["--help"]).output
        assert "cascade ask credit --given limit_bal=20000 --given age=25 --draws 5" in help_text


class TestPrinting:
    """Rows stand beside each other while the terminal has room."""

    def test_rows_that_do_not_fit_go_below(self) -> None:
        cells = [["wide" * 3, "x"]] * 5
        assert fitting(cells, 30) == [(0, 2), (2, 4), (4, 5)]
        assert fitting(cells, 1) == [(n, n + 1) for n in range(5)]
        assert fitting(cells, 1000) == [(0, 5)]

    def test_many_rows_are_cut_and_counted(self) -> None:
        made = Provenance(True, "t", 1, Tier.TEACHER, 8, 5, notices=("city 'Bonn' became other",))
        console = Console(width=60, record=True, file=io.StringIO())
        print_rows(console, Synthesis([{"a": n, "b": None} for n in range(50)], made), {})
        text = console.export_text()
        assert "row 20" in text
        assert "row 21" not in text
        assert "and 30 more rows" in text
        assert "note: city 'Bonn' became other" in text
        assert "teacher, 8 steps" in text

    def test_a_long_value_is_cut_and_says_how_long_it_is(self) -> None:
        made = Provenance(True, "t", 1, Tier.STUDENT, 1, 5)
        console = Console(width=60, record=True, file=io.StringIO())
        print_rows(console, Synthesis([{"a": "x" * 30_000}], made), {})
        text = console.export_text()
        assert text.count("x") < 250
        assert "30,000 characters" in " ".join(text.split())


def test_rows_made_ahead_of_time_are_told_apart() -> None:
    pool = Considered(Tier.TEACHER, 24, 0.00005, from_pool=True)
    routing = Routing("made ahead", (pool, Considered(Tier.STUDENT, 1, 0.0002)))
    assert explained(routing) == [
        "why: made ahead",
        "  teacher, 24 steps from the pool: 0.05 ms predicted",
        "  student, 1 step: 0.20 ms predicted",
    ]


class TestAllowed:
    """What a column may hold, in words."""

    @pytest.mark.parametrize(
        ("column", "words"),
        [
            (ColumnDescription("x", "integer", False, "int64", 21, 79), "an integer from 21 to 79"),
            (
                ColumnDescription("x", "continuous", True, "f", 0.5, 2),
                "a number from 0.5 to 2, or NULL",
            ),
            (ColumnDescription("x", "boolean", False, "bool"), "true or false"),
            (
                ColumnDescription("x", "categorical", False, "s", categories=("a",), other="rest"),
                "one of 'a'; others become 'rest'",
            ),
            (
                ColumnDescription(
                    "x", "categorical", False, "s", categories=tuple(map(str, range(14)))
                ),
                "one of '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11' and 2 more",
            ),
        ],
    )
    def test_words(self, column: ColumnDescription, words: str) -> None:
        assert column.allowed == words
