"""Tokens on disk: whole or absent, in the smallest integers, read where they lie."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from cascade_distill.errors import DiskFull
from cascade_distill.runs import token_store
from cascade_distill.runs.checkpoint import load_tensors
from cascade_distill.runs.token_store import StoredTokens, TokenWriter


def tokens(rows: int, most: int, slots: int = 5) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, most + 1, (rows, slots), dtype=np.int32)
    drawn[0, 0] = most
    return drawn


def write(path: Path, whole: np.ndarray, most: int, identity: str = "me") -> str:
    rows, slots = whole.shape
    with TokenWriter(path, rows, slots, most, identity) as writer:
        for part in np.array_split(whole, 3):
            writer.append(part)
        writer.commit()
        return writer.digest


@pytest.mark.parametrize(("most", "width"), [(255, 1), (256, 2), (32_767, 2), (32_768, 4)])
def test_any_reader_of_safetensors_reads_them(tmp_path: Path, most: int, width: int) -> None:
    path, whole = tmp_path / "tokens.safetensors", tokens(100, most)
    digest = write(path, whole, most)
    tensors, metadata = load_tensors(path)
    assert tensors["tokens"].element_size() == width
    assert tensors["tokens"].tolist() == whole.tolist()
    assert metadata == {"identity": "me"}
    assert digest == hashlib.sha256(whole.tobytes()).hexdigest()


def test_rows_are_taken_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the memory that was read has been given back."""
    monkeypatch.setattr(token_store, "MOST_RESIDENT", 1)
    path, whole = tmp_path / "tokens.safetensors", tokens(10_000, 1_000)
    write(path, whole, 1_000)
    stored = StoredTokens(path)
    assert (len(stored), stored.slots, stored.identity) == (10_000, 5, "me")
    rng = np.random.default_rng(1)
    for _ in range(5):
        rows = rng.integers(0, 10_000, 64)
        taken = stored[torch.from_numpy(rows)]
        assert taken.dtype == torch.int64
        assert taken.tolist() == whole[rows].tolist()
    assert stored[:].tolist() == whole.tolist()


def test_without_rows_there_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.safetensors"
    write(path, np.zeros((0, 5), np.int32), 3)
    assert StoredTokens(path)[:].shape == (0, 5)


class TestWholeOrAbsent:
    def test_what_is_not_committed_is_not_there(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens.safetensors"
        write(path, tokens(10, 9), 9)
        before = path.read_bytes()
        with TokenWriter(path, 20, 5, 9, "other") as writer:
            writer.append(tokens(20, 9))
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [path.name]

    def test_fewer_rows_than_were_promised_are_not_taken_as_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens.safetensors"
        with TokenWriter(path, 20, 5, 9, "me") as writer:
            writer.append(tokens(19, 9))
            with pytest.raises(ValueError, match="19 of 20 rows were written"):
                writer.commit()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("when", ["posix_fallocate", "fsync"])
    def test_a_full_disk_is_named_and_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        path = tmp_path / "tokens.safetensors"
        write(path, tokens(10, 9), 9)
        before = path.read_bytes()
        monkeypatch.setattr(os, when, full)
        with pytest.raises(DiskFull, match=r"no space left to write .*tokens\.safetensors"):
            write(path, tokens(20, 9), 9)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == [path.name]

    def test_a_file_system_that_reserves_nothing_is_written_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cannot(*_: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(os, "posix_fallocate", cannot)
        path, whole = tmp_path / "tokens.safetensors", tokens(10, 9)
        write(path, whole, 9)
        assert StoredTokens(path)[:].tolist() == whole.tolist()
