"""What may be typed, and what is said to what may not."""

from __future__ import annotations

import pytest
from cascade_loadtest.run.options import parsed


def test_the_default_is_half_of_what_a_worker_can_do() -> None:
    found = parsed("", [])
    assert (found.load, found.rate, found.profile, found.arrivals) == (
        0.5,
        None,
        "constant",
        "poisson",
    )
    assert (found.job, found.fidelity) == ("full", "fast")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seconds", "0"], "--seconds is 0; allowed: above 0"),
        (["--seconds", "nan"], "--seconds is nan; allowed: above 0"),
        (["--load", "-1"], "--load is -1; allowed: above 0, at most 100"),
        (["--rate", "0"], "--rate is 0; allowed: above 0"),
        (["--users", "-1"], "--users is -1; allowed: 0 to"),
        (["--connections", "0"], "--connections is 0; allowed: 1 to 1000"),
        (["--processes", "0"], "--processes is 0; allowed: 1 to 256"),
        (["--speed", "0"], "--speed is 0; allowed: above 0"),
        (["--profile", "ramp"], "invalid choice: 'ramp'"),
        (["--profile", "replay"], "--profile replay and --trace FILE need each other"),
        (["--trace", "x.jsonl"], "--profile replay and --trace FILE need each other"),
        (["--seed", "-1"], "--seed is -1; allowed: a whole number from 0 on"),
        (["--rate", "1e6", "--seconds", "1e5"], "100,000,000,000 calls; allowed: 20,000,000"),
        (["--report", "nowhere/r.html"], "--report is nowhere/r.html; allowed: a file in a folder"),
        (["--report", "."], "--report is .; allowed: a file in a folder"),
        (
            ["--record", "nowhere/t.jsonl"],
            "--record is nowhere/t.jsonl; allowed: a file in a folder",
        ),
        (["--record", "t.csv"], "--record is t.csv; allowed: a name ending in .jsonl or .parquet"),
        (["--table", "nope"], "invalid choice: 'nope'"),
    ],
)
def test_what_cannot_be_used_is_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("", words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
