"""One file that is written whole: what a killed process leaves of it, and who writes at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables.connectors import sinks
from cascade_tables.connectors.writing import Mark, TableTaken

from tests.tables.connectors.made_up import ROWS, TABLE, read

MARK = Mark("5f3a9c1e7b20", 3, "digest")
OTHER = Mark("0123456789ab", 3, "digest")
# Writes all rows, and is killed before the file has its name.
KILLED = """
import os, signal, sys
from cascade_tables.connectors import sinks
from cascade_tables.connectors.writing import Mark
from tests.tables.connectors.made_up import TABLE
end = lambda: os.kill(os.getpid(), signal.SIGKILL)
mark = Mark(sys.argv[2], 3, "digest") if sys.argv[2] else None
sinks.write_chunks(sys.argv[1], TABLE.schema, lambda: iter(TABLE.to_batches()), mark, False, end)
"""


def killed(url: str, job: str = MARK.job, temporary: Path | None = None) -> None:
    """Have a process write to a URL that is killed meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, job],
        cwd=Path(__file__).parents[3],
        env={"TMPDIR": str(temporary or "/tmp"), "PATH": ""},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def write(url: str, mark: Mark | None, rows: pa.Table = TABLE) -> bool:
    return sinks.write_chunks(url, rows.schema, lambda: iter(rows.to_batches()), mark)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the file is to be, and nothing else is."""
    made = tmp_path / "made"
    made.mkdir()
    return made


@pytest.mark.parametrize("mark", [MARK, OTHER, None])
def test_what_a_killed_process_has_left_is_gone_when_the_file_is_there(
    folder: Path, tmp_path: Path, mark: Mark | None
) -> None:
    path = folder / "rows.parquet"
    for job in (MARK.job, MARK.job, ""):
        killed(str(path), job)
    assert len(names(folder)) == 1
    assert write(str(path), mark)
    assert names(folder) == ["rows.parquet"]
    assert read(f"file://{path}", tmp_path).to_pylist() == ROWS


def test_or_when_it_is_no_longer_wanted(folder: Path) -> None:
    path = folder / "rows.csv"
    killed(str(path))
    sinks.remove(str(path), MARK)
    assert names(folder) == []


def test_of_what_goes_to_a_url_it_leaves_nothing_here(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("fsspec")
    for url in ("memory://made/rows.csv", "memory://made/rows.parquet"):
        killed(url, temporary=folder)
    assert names(folder) == []


def test_and_what_it_left_there_is_written_over_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    files, folder = fsspec.filesystem("memory"), f"/{tmp_path.name}"
    url = f"memory:/{folder}/rows.parquet"

    class KilledError(BaseException):
        pass

    def move(*_: object) -> None:
        raise KilledError

    for end in (lambda: write(url, MARK), lambda: sinks.remove(url, MARK)):
        with monkeypatch.context() as patched:
            patched.setattr(type(files), "mv", move)
            with pytest.raises(KilledError):
                write(url, MARK)
        assert len(files.ls(folder)) == 1
        end()
        assert [each["name"] for each in files.ls(folder)] in ([f"{folder}/rows.parquet"], [])
        files.rm(folder, recursive=True)


@pytest.mark.parametrize("mark", [MARK, None])
def test_of_two_who_write_at_once_each_has_its_own(
    folder: Path, tmp_path: Path, mark: Mark | None
) -> None:
    """The second one begins and ends while the first one writes."""
    path = folder / "rows.parquet"

    def chunks() -> Iterator[pa.RecordBatch]:
        assert write(str(path), mark)
        assert read(f"file://{path}", tmp_path).to_pylist() == ROWS
        yield from TABLE.to_batches()

    if mark is None:
        with pytest.raises(TableTaken):
            sinks.write_chunks(str(path), TABLE.schema, chunks, mark)
    else:
        assert not sinks.write_chunks(str(path), TABLE.schema, chunks, mark)
    assert names(folder) == ["rows.parquet"]
    assert pq.read_table(path).to_pylist() == ROWS


def test_what_is_being_made_is_not_swept(folder: Path) -> None:
    path = folder / "rows.csv"

    def chunks() -> Iterator[pa.RecordBatch]:
        sinks.remove(str(path), MARK)
        yield from TABLE.to_batches()

    assert sinks.write_chunks(str(path), TABLE.schema, chunks, MARK)
    assert names(folder) == ["rows.csv"]


@pytest.mark.parametrize("name", ["r" * 247 + ".parquet", "r" * 230 + ".csv.gz"])
def test_a_name_so_long_that_none_is_made_of_it(folder: Path, name: str) -> None:
    assert write(str(folder / name), None)
    assert names(folder) == [name]


def test_somebody_elses_link_is_not_followed(folder: Path) -> None:
    path, precious = folder / "rows.csv", folder / "precious"
    killed(str(path))
    (left,) = folder.iterdir()
    left.unlink()
    precious.write_text("precious")
    left.symlink_to(precious)
    assert write(str(path), MARK)
    assert precious.read_text() == "precious"
    assert path.read_text().startswith('"name"')
