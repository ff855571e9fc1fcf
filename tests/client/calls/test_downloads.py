"""Files on their way into a folder: whole or not there, whoever else brings them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cascade_client import ColumnDescription, InvalidRequest, ServerError
from cascade_client.calls import downloads
from cascade_client.calls.downloads import Download
from cascade_client.testing import FakeServer, FakeTable
from cascade_client.values.jobs import ResultFile

COLUMNS = (
    ColumnDescription("age", "integer", False, "int8", 0, 100),
    ColumnDescription("city", "categorical", True, "string", categories=("Rome", "Oslo")),
    ColumnDescription("member", "boolean", False, "bool"),
)
NAME, MINE, OTHERS = "data/part", b"mine, all of it", b"another's"


def listed(name: str, content: bytes) -> ResultFile:
    return ResultFile(name, 0, 1, len(content), hashlib.sha256(content).hexdigest())


def download(folder: Path, content: bytes = MINE, name: str = NAME) -> Download:
    return Download("job", listed(name, content), folder)


def bring(found: Download, content: bytes = MINE) -> Download:
    """Write what is missing of it, as a client does."""
    with found:
        while not found.is_right():
            found.write(content[found.done :])
    return found


def break_off(found: Download, begun: bytes) -> None:
    """Begin it, so that it breaks."""
    found.__enter__().write(begun)
    found.__exit__(ServerError)


def partials(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("*.partial")]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer({"people": FakeTable(columns=COLUMNS)}, chunk_rows=40)


class TestAtOnce:
    """Several bring the same file into one folder: one reads it, and the others find it there."""

    def test_who_comes_second_waits_and_reads_nothing(self, tmp_path: Path) -> None:
        first, second = download(tmp_path), download(tmp_path)
        first.__enter__().write(MINE[:4])
        with ThreadPoolExecutor(1) as threads:
            waits = threads.submit(lambda: second.__enter__().is_right())
            first.write(MINE[4:])
            first.__exit__(None)
            assert waits.result(30)
        second.__exit__(None)
        assert (tmp_path / NAME).read_bytes() == MINE
        assert not partials(tmp_path)

    def test_who_may_not_wait_is_told(self, tmp_path: Path) -> None:
        first, second = download(tmp_path), download(tmp_path)
        assert first.begin()
        assert not second.begin()
        bring(first)
        assert second.begin()
        assert second.is_right()

    def test_who_comes_second_goes_on_where_the_first_broke(self, tmp_path: Path) -> None:
        first, second = download(tmp_path), download(tmp_path)
        first.__enter__().write(MINE[:4])
        with ThreadPoolExecutor(1) as threads:
            waits = threads.submit(lambda: second.__enter__().done)
            first.__exit__(ServerError)
            assert waits.result(30) == 4
        bring(second)
        assert (tmp_path / NAME).read_bytes() == MINE

    def test_threads(self, server: FakeServer, tmp_path: Path) -> None:
        client = server.client()
        job = client.submit("people", 3000)
        job.wait()
        begin = threading.Barrier(4)

        def fetch(_: int) -> int:
            begin.wait(30)
            return len(client.job(job.id).fetch(tmp_path))

        with ThreadPoolExecutor(4) as threads:
            counts = set(threads.map(fetch, range(4)))
        assert len(counts) == 1
        assert len(pd.read_parquet(tmp_path / "data")) == 3000
        assert not partials(tmp_path)

    async def test_tasks(self, server: FakeServer, tmp_path: Path) -> None:
        """None keeps the event loop from the one that all wait for."""
        async with server.async_client() as client:
            job = await (await client.submit("people", 3000)).wait()
            found = await asyncio.gather(*(job.fetch(tmp_path) for _ in range(20)))
        assert len({len(paths) for paths in found}) == 1
        assert len(pd.read_parquet(tmp_path / "data")) == 3000
        assert not partials(tmp_path)

    def test_where_there_are_no_locks_one_does_without(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "fcntl", None)
        break_off(download(tmp_path), MINE[:4])
        bring(download(tmp_path))
        assert (tmp_path / NAME).read_bytes() == MINE


class TestOthers:
    """What has come of another job's file of the same name is another's."""

    def test_it_is_not_gone_on_with(self, server: FakeServer, tmp_path: Path) -> None:
        client = server.client()
        broken, whole = (client.submit("people", 200, seed=seed).wait() for seed in (1, 2))
        server.refuse(ServerError("gone"), after=1024)
        with pytest.raises(ServerError, match="gone"):
            broken.fetch(tmp_path)
        whole.fetch(tmp_path)
        assert whole.to_pandas(tmp_path).equals(whole.to_pandas())
        assert not partials(tmp_path)
        with pytest.raises(InvalidRequest, match=f"is not the file of job {broken.id}"):
            broken.fetch(tmp_path)

    def test_what_somebody_writes_is_left_to_him(self, tmp_path: Path) -> None:
        other = download(tmp_path, OTHERS)
        other.__enter__().write(OTHERS[:4])
        bring(download(tmp_path))
        other.write(OTHERS[4:])
        with pytest.raises(InvalidRequest, match="is not the file of job"):
            other.__exit__(None)
        assert (tmp_path / NAME).read_bytes() == MINE

    def test_what_is_of_other_names_stays(self, tmp_path: Path) -> None:
        for name in ("data/part2", "data", f"{NAME}.0123456789ab"):
            break_off(download(tmp_path, OTHERS, name), OTHERS[:4])
        bring(download(tmp_path))
        assert partials(tmp_path) == [OTHERS[:4]] * 3

    def test_what_versions_before_have_left_is_removed(self, tmp_path: Path) -> None:
        """They named it after the file alone."""
        (tmp_path / "data%2Fpart.partial").write_bytes(OTHERS)
        bring(download(tmp_path))
        assert not partials(tmp_path)

    @pytest.mark.parametrize("begun", [b"", b"none of it", MINE[:4], 2 * MINE, OTHERS + MINE[9:]])
    def test_what_is_wrong_is_brought_once_more(self, tmp_path: Path, begun: bytes) -> None:
        break_off(download(tmp_path), begun)
        bring(download(tmp_path))
        assert (tmp_path / NAME).read_bytes() == MINE

    def test_but_not_what_came_from_the_beginning(self, server: FakeServer, tmp_path: Path) -> None:
        job = server.client().submit("people", 200).wait()
        files: Any = server._jobs.jobs[job.id].files
        for name in files:
            files[name] = files[name][::-1]
        for _ in range(2):
            with pytest.raises(ServerError, match=r"part-00000.* what came is dropped"):
                job.fetch(tmp_path)

    def test_a_break_before_the_first_byte_leaves_nothing(self, tmp_path: Path) -> None:
        break_off(download(tmp_path), b"")
        assert not list(tmp_path.iterdir())


def test_files_of_folders_of_folders_of_equal_names(tmp_path: Path) -> None:
    """None goes on with what has come of another."""
    contents = {name: name.encode() for name in ("a/b/part", "a/c/part", "a%2Fb/part", "part")}
    downloads = []
    for name, content in contents.items():
        file = ResultFile(name, 0, 1, len(content), hashlib.sha256(content).hexdigest())
        downloads.append(Download("job", file, tmp_path))
        downloads[-1].__enter__().write(content[:2])
        downloads[-1].__exit__(ServerError)  # it was broken off
    assert len(list(tmp_path.iterdir())) == len(contents)
    for download in downloads:
        with download:
            download.write(contents[download.file.name][download.done :])
        assert download.is_there()
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "name", ["../rows", "/etc/rows", "data/../../rows", "", "data//rows", "C:a"]
)
def test_a_server_names_no_file_outside_of_the_folder(name: str, tmp_path: Path) -> None:
    file = ResultFile(name, 0, 1, 1, "ab" * 32)
    with pytest.raises(ServerError, match="no name of one"):
        Download("job", file, tmp_path)


@pytest.mark.parametrize("digest", ["", "../" + "ab" * 32, "ab" * 31, "AB" * 32])
def test_a_digest_that_is_none_names_no_file(digest: str, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="64 hexadecimal digits are one"):
        Download("job", ResultFile(NAME, 0, 1, 1, digest), tmp_path)
