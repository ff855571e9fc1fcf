"""The audit log on a disk that fills in the midst of an entry, or that cannot be written."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cascade_jobs.audit.log import CHECKPOINTS, LOG, AuditLog
from cascade_jobs.audit.verifying import content_of, verify


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process becomes larger, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def written(folder: Path) -> list[bytes]:
    """What stands in the files of a log; nothing where there is none."""
    paths = [folder / name for name in (LOG, CHECKPOINTS)]
    return [path.read_bytes() if path.exists() else b"" for path in paths]


class TestAFullDisk:
    """There is room for an entry, and none for its checkpoint, or for a part of it."""

    @pytest.mark.parametrize("entries", [0, 1, 3])
    @pytest.mark.parametrize("room", [0, 20])
    def test_nothing_is_written_however_often_it_is_tried(
        self, tmp_path: Path, entries: int, room: int
    ) -> None:
        log = AuditLog(tmp_path)
        for number in range(entries):
            log.append({"number": number})
        before = written(tmp_path)
        assert len(before[0]) + 60 < len(before[1]) or not entries
        with files_of_at_most(max(len(before[1]), 60) + room):
            for _ in range(4):
                with pytest.raises(OSError, match="File too large"):
                    log.append({})
                assert written(tmp_path) == before
        # There is room again, for who has tried and for others.
        assert [each.append({}) for each in (log, AuditLog(tmp_path))] == [entries, entries + 1]
        findings = verify(content_of(tmp_path))
        assert (findings.size, findings.faults, findings.remarks) == (entries + 2, (), ())

    @pytest.mark.parametrize("entries", [0, 3])
    @pytest.mark.parametrize("failing", [1, 2])
    def test_nor_is_what_may_not_have_reached_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int, failing: int
    ) -> None:
        log = AuditLog(tmp_path)
        log.append({})
        for _ in range(entries):
            log.append({})
        before, calls, fsync = written(tmp_path), iter(range(1, 100)), os.fsync

        def fails(descriptor: int) -> None:
            if next(calls) == failing:
                raise OSError(5, "Input/output error")
            fsync(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fails)
            with pytest.raises(OSError, match="Input/output error"):
                log.append({})
        assert written(tmp_path) == before

    @pytest.mark.parametrize("entries", [0, 3])
    def test_an_entry_that_a_killed_process_left_stays_the_only_one_without_a_checkpoint(
        self, tmp_path: Path, entries: int
    ) -> None:
        for _ in range(entries + 1):
            AuditLog(tmp_path).append({})
        kept = (tmp_path / CHECKPOINTS).read_bytes().splitlines(keepends=True)[:-1]
        (tmp_path / CHECKPOINTS).write_bytes(b"".join(kept))
        before = written(tmp_path)
        log = AuditLog(tmp_path)
        with files_of_at_most(max(len(before[1]), 90)):
            for _ in range(3):
                with pytest.raises(OSError, match="File too large"):
                    log.append({})
        assert written(tmp_path) == before
        assert log.append({}) == entries + 1
        assert [verify(content_of(tmp_path)).faults, len(content_of(tmp_path).checkpoints)] == [
            (),
            entries + 2,
        ]
