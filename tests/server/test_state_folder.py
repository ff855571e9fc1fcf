"""What a server keeps in its state folder: whole, or set aside, and never what stops it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cascade_server import state_folder


def test_what_is_saved_is_loaded_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert state_folder.load(path, json.loads, "all is lost") is None
    for content in (b"[1]", b"[2]"):
        state_folder.save(path, content)
    assert state_folder.load(path, json.loads, "all is lost") == [2]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_full_disk_takes_in_part_is_let_go_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.json"
    state_folder.save(path, b"[1]")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        state_folder.save(path, b"[2]")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [
        ("kept.json", b"[1]")
    ]


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"1" * 5000])
def test_what_is_damaged_is_set_aside_each_time_under_another_name(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.json"
    for number in (1, 2):
        path.write_bytes(content)
        caplog.clear()
        assert state_folder.load(path, json.loads, "all is lost") is None
        (record,) = caplog.records
        assert f"all is lost, and it is kept as kept.json.damaged-{number}" in record.getMessage()
        assert path.with_name(f"kept.json.damaged-{number}").read_bytes() == content
        assert not path.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.json"
    make(path)
    assert state_folder.load(path, json.loads, "all is lost") is None
    assert "is damaged (it is not a regular file)" in caplog.text


def test_what_is_far_too_large_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.json"
    with path.open("wb") as file:
        file.truncate(state_folder.MOST_BYTES + 1)
    assert state_folder.load(path, json.loads, "all is lost") is None
    assert "268,435,457 bytes; at most 268,435,456 are read" in caplog.text


def test_where_nothing_can_be_renamed_it_is_left_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(b"")

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rename", read_only)
    assert state_folder.load(path, json.loads, "all is lost") is None
    assert "left where it is" in caplog.text
    assert "Read-only file system" in caplog.text
