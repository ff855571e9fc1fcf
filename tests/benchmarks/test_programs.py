"""Each benchmark, as it is typed: one JSON object on its last line, with the keys it promises."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from cascade_cost.curves import load_curves
from cascade_loadtest import servers

from benchmarks import ROOMS
from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_server import installed
from tests.distill.made_up import payments
from tests.releases import TABLE, make_release
from tests.typed import EAGER

ROOT = Path(__file__).parents[2]
NO_H2LOAD = "h2load is not on PATH; the package `nghttp2-client` of Debian has it"
needs_h2load = pytest.mark.skipif(not shutil.which("h2load"), reason=NO_H2LOAD)
FIDELITY = {
    "shape_err_pct",
    "trend_err_pct",
    "xgb_auc",
    "xgb_c2st",
    "xgb_auc_heldout",
    "relational_c2st",
    "lr_c2st",
    "mle_auc",
    "dcr_share",
}


class Done(Protocol):
    """What a program said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


# As `python -m benchmarks.NAME`, but for the priorities within the servers that it starts.
BENCHMARK = f"""
import runpy, sys
from cascade_loadtest import servers
servers.PROGRAM = {EAGER + servers.PROGRAM!r}
runpy.run_module(f"benchmarks.{{sys.argv.pop(1)}}", run_name="__main__", alter_sys=True)
"""


def benchmark(name: str, *options: str) -> Done:
    """A program that starts servers and loads them, as it is typed."""
    return subprocess.run(
        [sys.executable, "-c", BENCHMARK, name, *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@dataclass
class Ended:
    """A program that ran in this process."""

    returncode: int
    stdout: str
    stderr: str


class InThisProcess:
    """Programs whose imports take longer than what they are asked for here: torch is there already,
    and all else is as with `benchmark`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(servers, "PROGRAM", EAGER + servers.PROGRAM)

    def __call__(self, name: str, *options: str) -> Done:
        self._monkeypatch.setattr(sys, "argv", [name, *options])
        status: int | str | None = 0
        try:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            status = ended.code
        said = self._capsys.readouterr()
        # As the interpreter has it: a message is written, and the status is 1.
        message, code = (status, 1) if isinstance(status, str) else ("", status or 0)
        return Ended(code, said.out, said.err + message)


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> InThisProcess:
    return InThisProcess(monkeypatch, capsys, tmp_path)


def last_line(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def programs() -> list[str]:
    """Every module, and every package, that can be run, as it is typed: without its room."""
    folder = ROOT / "benchmarks"
    every = (path for path in folder.rglob("*.py") if path.name != "__init__.py")
    found = [path for path in every if 'if __name__ == "__main__":' in path.read_text()]
    found = [path.parent if path.name == "__main__.py" else path.with_suffix("") for path in found]
    parts = [path.relative_to(folder).parts for path in found]
    return sorted(".".join(each[each[0] in ROOMS :]) for each in parts)


# A benchmark that another imports has been imported, and is run anew.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options for a repository of one small release, which is loaded in a moment."""
    folder = tmp_path_factory.mktemp("small")
    make_release(folder)
    return ("--repository", str(folder), "--table", TABLE)


@pytest.mark.parametrize("name", programs())
def test_each_says_how_it_is_used(name: str, here: InThisProcess) -> None:
    done = here(name, "--help")
    assert done.returncode == 0
    assert f"usage: python -m benchmarks.{name} " in done.stdout


def test_a_name_is_one_program() -> None:
    """Whichever room comes first on the path."""
    names = [
        path.stem
        for room in ("", *ROOMS)
        for path in (ROOT / "benchmarks" / room).iterdir()
        if not path.name.startswith("_") and path.name not in ROOMS
    ]
    assert len(names) == len(set(names))


def test_what_docs_and_make_run_is_there() -> None:
    pages = [ROOT / "Makefile", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    typed = set(re.findall(r"-m benchmarks\.([a-z_.]*[a-z])", text))
    kept = re.findall(r"-m benchmarks\.keep\s+\S+\s+(?:\\\n\s*)?([a-z_]+)", text)
    assert len(kept) > 10
    assert typed | set(kept) <= {*programs()}


def test_cost(small: tuple[str, ...]) -> None:
    few = ("--calls", "8", "--pooled", "1", "--full", "2", "--generated", "64")
    job = ("--job-rows", "64", "--idle-seconds", "0.1", "--tables", TABLE)
    found = last_line(benchmark("cost", *small[:2], *few, *job))
    tiers = {"pool", "cache", "student", "teacher", "job"}
    assert tiers <= found["usd_per_10k"].keys()
    assert tiers <= found["peak_memory_mb"].keys()
    assert found["saved_ratio"] is not None
    assert [each["draws"] for each in found["by_draws"]] == [1, 8, 32]
    assert [each["columns"] for each in found["by_columns"]] == [6]


@needs_h2load
def test_sizing(small: tuple[str, ...], tmp_path: Path) -> None:
    curves = tmp_path / "curves.json"
    few = ("--calls", "40", "--seconds", "0.5", "--tables", TABLE, "--curves", str(curves))
    found = last_line(benchmark("sizing", *small[:2], *few))
    assert len(load_curves(curves).points) == len(found["points"]) == 4


def test_fidelity_of_any_table(tmp_path: Path, here: InThisProcess) -> None:
    """The student's run goes on with the teacher that is there, and the floor is measured once."""
    path = tmp_path / "payments.csv"
    payments(600, 0).to_csv(path, index=False)
    overrides = tmp_path / "payments.yaml"
    overrides.write_text("columns:\n  at: {drop: true}\n")
    options = ["--csv", str(path), "--schema", str(overrides), "--target", "fraud"]
    options += ["--steps", "20", "--rows", "2000", "--samples", "1"]
    options += ["--runs", str(tmp_path / "runs")]
    for tier in ("teacher", "student"):
        done = here("fidelity", *options, "--tier", tier)
        found = last_line(done)
        assert found["tier"] == tier
        assert found.keys() >= FIDELITY | {"train_seconds", "floor"}
        assert found["floor"].keys() >= FIDELITY
        assert found["train_seconds"] > 0
        assert "at: asked for in the overrides" in done.stderr
        # Hardly trained: a detector tells its rows from real ones, which teach the target better.
        assert found["lr_c2st"] < found["floor"]["lr_c2st"] - 0.1
        assert found["mle_auc"] < found["floor"]["mle_auc"] - 0.1


def test_fidelity_names_a_table_it_does_not_know(here: InThisProcess) -> None:
    done = here("fidelity", "--table", "adlut", "--tier", "student")
    assert done.returncode == 1
    assert "unknown table 'adlut'" in done.stderr
    assert "Traceback" not in done.stderr


def test_relations_of_a_ledger_that_was_hardly_learnt(tmp_path: Path, here: InThisProcess) -> None:
    options = ["--table", "claims", "--rows", "600", "--runs", str(tmp_path / "runs")]
    found = last_line(here("relations", *options))
    assert found["missed"] == 0
    assert found["worst_gap_points"] is None
    # Four standard deviations of a share of 5,000 rows.
    assert found["held_out_gap_points"] < 100 * 4 * 0.5 / 5000**0.5
    options += ["--learn", "--steps", "5", "--teacher-rows", "1500"]
    found = last_line(here("relations", *options))
    shares = found["tables"]["claims"]["relations"]["total = injury + property + vehicle"]
    tiers = {"teacher", "teacher_given", "student", "student_given"}
    assert shares.keys() == tiers | {"real", "held_out"}
    assert found["worst_gap_points"] > 30
    assert found["violations"] > 1200


def test_student(small: tuple[str, ...], here: InThisProcess) -> None:
    found = last_line(here("student", *small, "--calls", "20", "--batches", "1"))
    keys = {"p50_us_all", "p50_us_three", "rows_per_s_1024", "teacher_rows_per_s_1024"}
    assert found.keys() >= keys
    assert all(found[key] > 0 for key in keys)


def test_student_names_a_table_without_a_release(tmp_path: Path, here: InThisProcess) -> None:
    make_release(tmp_path)
    done = here("student", "--table", "nope", "--repository", str(tmp_path))
    assert done.returncode == 2
    assert "has no release of 'nope'" in done.stderr


def test_pool(here: InThisProcess) -> None:
    options = ["--table", "adult", "--conditions", "5", "--per-second", "50"]
    options += ["--warm-seconds", "1", "--seconds", "0.4", "--whole", "4", "--rows", "160"]
    found = last_line(here("pool", *options))
    assert found.keys() >= {"hit_rate", "server_time_ratio", "pooled_c2st", "teacher_c2st"}
    assert 0 < found["hit_rate"] <= 1
    assert found["server_time_ratio"] > 0
    # Rows of a trained teacher: a detector does little better than chance.
    assert found["pooled_c2st"] > 0.5
    assert found["teacher_c2st"] > 0.5


def test_outside() -> None:
    found = last_line(benchmark("outside", "--table", "credit"))
    assert found["answered_share"] == 1
    assert found["refused"] == 0
    assert found["tables"]["credit"]["rows"] == 6000
    assert found["tables"]["credit"]["strictly_refused"]


def test_pool_names_a_table_without_a_release(tmp_path: Path, here: InThisProcess) -> None:
    make_release(tmp_path)
    done = here("pool", "--table", "credit", "--repository", str(tmp_path))
    assert done.returncode == 2
    assert "has no release of 'credit'" in done.stderr


def test_sizes(tmp_path: Path) -> None:
    options = ["--steps", "2", "--teacher-rows", "1000", "--folder", str(tmp_path)]
    found = last_line(benchmark("sizes", "--tables", "400x5", *options))
    assert (found["steps"], found["teacher_rows"], found["samples"]) == (2, 1000, 1)
    assert found["tables"].keys() == {"400x5"}
    for each in found["tables"].values():
        fit, distill, evaluate = (each[part] for part in ("fit", "distill", "evaluate"))
        assert fit.keys() == {"seconds", "peak_mib", "read_seconds", "seconds_a_step"}
        assert distill.keys() == {"seconds", "peak_mib", "rows_per_s", "seconds_a_step"}
        assert evaluate.keys() == {"seconds", "peak_mib"}
        # Each imports torch, of which no process has less.
        assert all(part["peak_mib"] > 100 for part in each.values())
    assert not list(tmp_path.iterdir())


def test_sizes_names_what_is_no_size() -> None:
    done = benchmark("sizes", "--tables", "10kx20")
    assert done.returncode == 2
    assert "'10kx20' is no size of a table; allowed: rows and columns" in done.stderr


@needs_h2load
def test_latency() -> None:
    """Of the table that is bundled, whose release ships, as one who names neither has it; the
    others are of a small one."""
    found = last_line(benchmark("latency", "--rounds", "1", "--calls", "64"))
    assert found["table"] == "credit"
    assert found.keys() >= {"p50_ratio", "p99_ratio", "throughput_ratio"}
    assert all(found[key] > 0 for key in ("p50_ratio", "p99_ratio", "throughput_ratio"))
    assert 0 <= found["pooled_share"] <= 1


@needs_h2load
def test_access(small: tuple[str, ...]) -> None:
    few = ("--starts", "1", "--rounds", "1", "--calls", "20")
    found = last_line(benchmark("access", *small, *few))
    assert (found["blocks"], found["calls"]) == (1, 20)
    assert found["worst_key_ratio"] == max(found["key_p50_ratio"], found["key_p99_ratio"]) > 0


@needs_h2load
def test_telemetry(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("telemetry", *small, "--rounds", "1", "--calls", "64"))
    assert all(found[f"{share}p99_ratio"] > 0 for share in ("", "all_"))


@needs_h2load
def test_memory(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("memory", *small, "--calls", "200"))
    assert found["rss_mib_before"] > 0
    assert len(found["rss_mib"]) == 10


@needs_h2load
def test_overload(small: tuple[str, ...]) -> None:
    options = [*small, "--rounds", "1", "--seconds", "0.1", "--loads", "3", "--calls", "500"]
    found = last_line(benchmark("overload", *options, "--only", "alone,beside_a_flood,sdk"))
    ratios = {"min_goodput_ratio", "min_goodput_ratio_sdk"}
    assert {key for key in found if key.startswith("min_goodput_ratio")} == ratios
    assert all(0 <= found[key] <= 1 for key in ratios)
    assert found["late_executions"] == 0
    assert "realtime_p99_ms" in found
    for name in ("alone", "beside_a_flood", "sdk"):
        assert [each["load"] for each in found[name]] == [3.0]
        assert all(each["failed"] == 0 for each in found[name])


def test_overload_names_a_part_it_does_not_know(here: InThisProcess) -> None:
    done = here("overload", "--only", "alone,waitin")
    assert done.returncode == 2
    assert "--only has 'waitin'; allowed: alone, over_many" in done.stderr


@pytest.fixture(scope="module")
def tritons_environment() -> None:
    try:
        installed()
    except NotInstalled as exc:
        pytest.skip(str(exc))


@needs_h2load
@pytest.mark.usefixtures("tritons_environment")
def test_triton(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("triton", *small, "--rounds", "1", "--calls", "64"))
    ratios = {
        *("p50_ratio_1", "p99_ratio_1", "p99_ratio_16", "throughput_ratio_16"),
        *("stream_throughput_ratio_16", "rows_ratio_16", "open_inference_throughput_ratio_16"),
    }
    assert found.keys() >= ratios
    assert all(found[key] > 0 for key in ratios)
    assert found["workers_16"] == 2


@needs_h2load
@pytest.mark.usefixtures("tritons_environment")
def test_call(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("call", *small, "--rounds", "1", "--calls", "64"))
    keys = {"cascade_p50", "bare_p50", "triton_p50", "bare_cpu_ms", "triton_queue", "warm_run"}
    assert found.keys() >= keys


@needs_h2load
def test_processes(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("processes", *small, "--rounds", "1", "--calls", "64"))
    assert found["p50_ratio"] > 0
    assert found["throughput_ratio"] > 0
    assert found["in_process_flood_rows_per_s"] > 0
    assert found["own_process_flood_rows_per_s"] > 0


@needs_h2load
def test_in_flight(small: tuple[str, ...]) -> None:
    options = [*small, "--seconds", "0.1", "--calls", "500"]
    found = last_line(benchmark("in_flight", *options))
    assert found["capacity_per_s"] > 0
    for kind in ("fast", "auto"):
        assert [each["load"] for each in found[kind]] == [0.25, 0.5, 0.75, 1.0]
        assert all(each["in_flight"] > 0 for each in found[kind])


def test_reload() -> None:
    options = ["--reloads", "1", "--quiet-seconds", "0.2", "--warm-seconds", "0.2"]
    options += ["--between", "0"]
    options += ["--per-s", "50"]
    found = last_line(benchmark("reload", *options))
    assert found.keys() >= {"p99_ratio", "rss_growth_ratio", "p99_with_ms", "reload_s"}
    # Others may be late: that is the machine's affair.
    assert (found["reloads"], found["lost_requests"]) == (1, 0)
    assert found["reconnected"] == 4
    assert found["requests"] > 0


def test_jobs(small: tuple[str, ...]) -> None:
    options = (
        *small,
        "--teacher-rows",
        "500",
        "--student-rows",
        "20000",
        "--kill-rows",
        "300000",
        "--ray-rows",
        "0",
    )
    found = last_line(benchmark("jobs", *options, "--rounds", "1", "--seconds", "0.5"))
    assert found["identical_after_kill"] is True
    assert {
        *("teacher_rows_per_s", "student_rows_per_s", "peak_rss_mb", "resume_seconds"),
        *("realtime_p99_ratio", "one_counter_p99_ratio", "counters_p99_ratio", "beside_rows_per_s"),
        *("flight_mb_per_s", "pyarrow_flight_mb_per_s", "flight_ratio"),
    } <= set(found)


def test_flight(small: tuple[str, ...]) -> None:
    found = last_line(benchmark("flight", *small, "--rows", "5000", "--rounds", "1"))
    assert {"flight_mb_per_s", "pyarrow_flight_mb_per_s", "flight_ratio"} <= set(found)
