"""The tables of docs/ say what was measured."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from benchmarks.report.glance import LINES
from benchmarks.report.pages import DOCS, FORMER, NOT_MEASURED, filled
from benchmarks.tables import ROOT


def keep(folder: Path, name: str, **figures: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(figures))


def test_a_table_a_marker(tmp_path: Path) -> None:
    floor = {"shape_err_pct": 0.757}
    keep(tmp_path, "fidelity-adult-teacher", shape_err_pct=0.4059, train_seconds=526.2, floor=floor)
    keep(tmp_path, "fidelity-adult-student", shape_err_pct=0.441, floor=floor)
    page = "above\n<!-- fidelity adult -->\nold\n<!-- end -->\nbelow\n"
    assert filled(page, tmp_path) == (
        "above\n<!-- fidelity adult -->\n\n"
        "|  | teacher | student | floor |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| Shape, error % | 0.406 | 0.441 | 0.757 |\n"
        "| training, s | 526 |  |  |\n"
        "\n<!-- end -->\nbelow\n"
    )


def test_one_column_a_table_for_the_student(tmp_path: Path) -> None:
    keep(tmp_path, "student-adult", p50_us_all=89.3, rows_per_s_1024=118351)
    keep(tmp_path, "student-credit", p50_us_all=150.0)
    found = filled("<!-- student -->\n<!-- end -->", tmp_path)
    assert "|  | adult | credit |" in found
    assert "| rows/s in batches of 1,024 | 118,351 |  |" in found


def test_jobs_with_what_was_measured_and_no_more(tmp_path: Path) -> None:
    figures = {"teacher_rows": 20000, "teacher_rows_per_s": 1267, "flight_ratio": 0.581}
    keep(tmp_path, "jobs", table="adult", cores=2, **figures)
    assert filled("<!-- jobs -->\n<!-- end -->", tmp_path) == (
        "<!-- jobs -->\n\n"
        "|  | adult |\n"
        "| --- | ---: |\n"
        "| the teacher, 20,000 rows, rows/s | 1,267 |\n"
        "| of that server's, the median of rounds | 0.581 |\n"
        "\n<!-- end -->"
    )
    (tmp_path / "jobs.json").unlink()
    assert "| --- |" in filled("<!-- jobs -->\n<!-- end -->", tmp_path)


def test_a_size_of_a_table_a_column(tmp_path: Path) -> None:
    few = {"fit": {"seconds": 12.5, "peak_mib": 640}, "evaluate": {"seconds": 4.0}}
    many = {"fit": {"seconds": 151.2, "peak_mib": 1820}}
    keep(tmp_path, "sizes", tables={"1000x20": few, "10000000x20": many})
    assert filled("<!-- sizes -->\n<!-- end -->", tmp_path) == (
        "<!-- sizes -->\n\n"
        "|  | 1,000 × 20 | 10,000,000 × 20 |\n"
        "| --- | ---: | ---: |\n"
        "| `fit`: all of it, s | 12.5 | 151 |\n"
        "| `fit`: memory at most, MiB | 640 | 1,820 |\n"
        "| `evaluate`: all of it, s | 4.000 |  |\n"
        "\n<!-- end -->"
    )


def test_a_relation_a_line(tmp_path: Path) -> None:
    shares = {"real": 0.154, "held_out": 0.15, "student": 0.01}
    rare = {"real": 0.01, "held_out": 0.01, "student": 0.01}
    tables = {"credit": {"relations": {"a = b": shares, "a = c": rare}}}
    keep(tmp_path, "relations", tables=tables)
    assert filled("<!-- relations credit -->\n<!-- end -->", tmp_path) == (
        "<!-- relations credit -->\n\n"
        "|  | learnt from | held out | student |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| `a = b`, % | 15.4 | 15.0 | 1.000 |\n"
        "\n<!-- end -->"
    )
    assert NOT_MEASURED in filled("<!-- relations claims -->\n<!-- end -->", tmp_path)


def test_figures_that_do_not_say_of_which_server_are_named_as_such(tmp_path: Path) -> None:
    page = "<!-- latency credit -->\n<!-- end -->"
    keep(tmp_path, "latency-credit", p50_ratio=1.1)
    assert FORMER in filled(page, tmp_path)
    keep(tmp_path, "latency-credit", p50_ratio=1.1, server="cascade serve")
    assert FORMER not in filled(page, tmp_path)
    assert FORMER not in filled("<!-- student -->\n<!-- end -->", tmp_path)


def test_a_load_that_was_not_measured_says_so(tmp_path: Path) -> None:
    keep(tmp_path, "overload-credit", alone=[])
    assert NOT_MEASURED in filled("<!-- overload waiting -->\n<!-- end -->", tmp_path)


def test_the_pages_are_up_to_date() -> None:
    for path in [ROOT / "README.md", *DOCS.glob("**/*.md")]:
        assert filled(path.read_text(), DOCS / "figures") == path.read_text(), path.name


def test_readme_says_no_more_than_what_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, "jobs", student_rows_per_s=51897, teacher_rows_per_s=1347, peak_rss_mb=210)
    found = filled("<!-- glance -->\n<!-- end -->", tmp_path)
    assert "student 51,897, teacher 1,347; 210 MB" in found
    assert found.count("`benchmarks.") == 1


def test_every_line_of_readme_names_what_measures_it() -> None:
    for line in LINES:
        assert find_spec(line.command.partition(" ")[0]) is not None
