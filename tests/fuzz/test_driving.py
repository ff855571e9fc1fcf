"""A process that fuzzes finds what is there to be found, and what it finds can be read again."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import child, inputs, program, sanitised
from tests.fuzz.changing import changed
from tests.fuzz.judging import Bounds, Defect, judge, listening
from tests.fuzz.registry import TARGETS
from tests.fuzz.target import Target

NATIVE = [name for name, target in TARGETS.items() if target.native]


def fragile() -> Any:
    """A reader with a defect: it divides by what it was sent."""

    def run(data: bytes) -> None:
        if data.startswith(b"number ") and data[7:8] == b"0":
            raise ZeroDivisionError

    return run


FRAGILE = Target("fragile", "numbers", fragile, lambda: [b"number 1"])


class TestADefect:
    def test_it_is_found_and_kept(self, tmp_path: Path) -> None:
        reading = child.Reading(FRAGILE, tmp_path)
        with listening() as taken:
            for data in (b"number 1", b"number 0", b"number 0 again"):
                reading.read(data, taken)
        (found,) = tmp_path.glob("found-*.txt")
        assert found.read_text().startswith("ZeroDivisionError")
        assert found.with_suffix("").read_bytes() == b"number 0"
        assert (reading.note.count, reading.note.current) == (3, b"number 0 again")

    def test_chance_comes_upon_it(self) -> None:
        rng = random.Random(1)
        made = {changed(b"number 1", rng) for _ in range(20_000)}
        assert any(each.startswith(b"number 0") for each in made)

    def test_what_is_logged_as_unforeseen_is_one(self) -> None:
        import logging

        def run(_: bytes) -> None:
            logging.getLogger("cascade.server").error("unforeseen")

        with listening() as taken, pytest.raises(Defect, match="unforeseen"):
            judge(run, b"", taken, Bounds())

    def test_one_that_takes_too_long_is_one(self) -> None:
        with listening() as taken, pytest.raises(Defect, match="of a processor"):
            judge(lambda _: None, b"", taken, Bounds(seconds=-1.0))


def test_counts_of_runs_add_up(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for _ in range(2):
        program.note(path, [program.Result("yaml", {"coverage": 5}, 1.5)])
    import json

    kept = json.loads(path.read_text())
    assert kept["inputs"] == 10
    assert kept["targets"]["yaml"]["inputs"] == {"coverage": 10}
    assert "| `yaml` |" in program.table(kept)


@pytest.mark.skipif(sanitised.gcc_runtime() is None, reason="GCC with AddressSanitizer is not here")
def test_kept_inputs_do_no_harm_in_sanitised_code() -> None:
    """What reads beyond an array, or is undefined, ends the process."""
    script = (
        "from tests.fuzz import inputs, sanitised\n"
        "sanitised.install()\n"
        "from tests.fuzz.registry import TARGETS\n"
        f"for name in {NATIVE!r}:\n"
        "    target = TARGETS[name]\n"
        "    run = target.opened()\n"
        "    for each in (*target.seeds(), *inputs.kept(name)):\n"
        "        run(each)\n"
        "    print(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=inputs.HERE.parents[1],
        env=sanitised.environment(by_coverage=False),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == NATIVE
