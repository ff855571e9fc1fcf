"""What was asked of the releases, over a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cascade_server.releases.desired_file import NAME, DesiredFile
from cascade_server.releases.policy import Desired, TableState

STATE = TableState(also=frozenset({3}), without=frozenset({1}), stable=2, canary=3, share=0.25)
DESIRED = Desired(tables={"payments": STATE})


def test_it_is_as_it_was(tmp_path: Path) -> None:
    file = DesiredFile(tmp_path / "state")
    assert file.restored(Desired()) == Desired()
    file.save(DESIRED)
    assert file.restored(Desired()) == DESIRED


def test_nothing_is_kept_without_a_folder() -> None:
    file = DesiredFile(None)
    file.save(DESIRED)
    assert file.restored(Desired()) == Desired()


def spoilt(**change: Any) -> bytes:
    document = {"format": 1, "tables": DESIRED.to_dict()}
    document["tables"]["payments"].update(change)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"format": 2, "tables": {}}',
        b'{"format": 1, "tables": {"payments": {}}}',
        spoilt(also=["x"]),
        spoilt(also=None),
        spoilt(stable=10**30),
        spoilt(canary=-1),
        spoilt(previous=1.5),
        spoilt(share=float("nan")),
        spoilt(share=7),
    ],
)
def test_one_that_is_damaged_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    file = DesiredFile(tmp_path)
    assert file.restored(Desired()) == Desired()
    assert "what was asked of the releases is forgotten" in caplog.text
    assert path.with_name(f"{NAME}.damaged-1").read_bytes() == content
    file.save(DESIRED)
    assert file.restored(Desired()) == DESIRED


def test_a_folder_that_takes_no_file_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_bytes(b"")
    DesiredFile(tmp_path / "state").save(DESIRED)
    assert "releases.json cannot be written: File exists" in caplog.text
