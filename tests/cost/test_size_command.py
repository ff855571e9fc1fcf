"""`cascade size` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cascade_cost.commands import size
from click.testing import CliRunner

from tests.releases import make_release


def run(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(size, list(options))
    return done.exit_code, done.output


def test_an_answer_and_what_it_rests_on() -> None:
    code, said = run("--rate", "500", "--late", "3", "--p99", "100ms")
    assert code == 0, said
    assert "cascade serve --workers" in said
    assert "This rests on:" in said


def test_json() -> None:
    code, said = run("--rate", "5", "--p99", "1s", "--json")
    assert code == 0, said
    assert json.loads(said)["workers"] == 1


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    code, said = run("--rate", "500", "--p99", "1us")
    assert code == 1
    assert "cannot be kept by any number of cores" in said


@pytest.mark.parametrize("time", ["10", "-1ms", "0ms", "ten", "1e3ms", "1h", ""])
def test_a_time_has_a_unit(time: str) -> None:
    code, said = run("--rate", "500", f"--p99={time}")
    assert code == 2
    assert "allowed: 10ms, 0.01s or 500us" in said


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "1e99"])
def test_a_rate_is_a_number_of_calls(rate: str) -> None:
    assert run(f"--rate={rate}")[0] == 2


def test_no_more_columns_are_late_than_there_are() -> None:
    code, said = run("--rate", "5", "--p99", "1s", "--late", "4", "--columns", "3")
    assert code == 2
    assert "--late is 4; allowed: up to 3, the table's columns" in said


def test_a_release_says_how_wide_its_table_is(tmp_path: Path) -> None:
    make_release(tmp_path)
    options = ("--rate", "5", "--p99", "1s", "--release-repository", str(tmp_path), "--json")
    code, said = run(*options, "--table", "payments")
    assert code == 0, said
    assert json.loads(said)["load"]["columns"] == 6
    assert "it has: payments" in run(*options, "--table", "none")[1]
    assert "needs --table" in run(*options)[1]
