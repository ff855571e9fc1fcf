"""Budgets on the disk: whole, or set aside; never a crash, never two writers."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_server.counts.state_file import NAME, Cells, State, StateFile, decode, encode
from cascade_server.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st


def state_of(names: tuple[str, ...] = ("a", "b"), cells: int = 5, seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 1000, (cells, 2 * len(names)))
    counts[:, ::2] += counts[:, 1::2]  # a total is no less than the good ones of it
    return State(1_800_000_000.5, names, (Cells(10, 180_000_000, counts), Cells(300, 6, counts)))


def same(one: State, other: State) -> bool:
    return (one.since, one.names) == (other.since, other.names) and all(
        (a.step, a.newest) == (b.step, b.newest) and np.array_equal(a.counts, b.counts)
        for a, b in zip(one.rings, other.rings, strict=True)
    )


@pytest.fixture
def file(tmp_path: Path) -> Iterator[StateFile]:
    file = StateFile(tmp_path / "state")
    yield file
    file.close()


class TestRoundTrip:
    """What is saved is what is loaded."""

    def test_on_the_disk(self, file: StateFile) -> None:
        assert file.load() is None
        for seed in (1, 2):
            file.save(state_of(seed=seed))
        loaded = file.load()
        assert loaded is not None
        assert same(loaded, state_of(seed=2))
        assert sorted(path.name for path in file.path.parent.iterdir()) == [
            "ledger.json",
            "ledger.lock",
        ]

    @given(st.lists(st.text(), max_size=4, unique=True), st.integers(0, 20))
    def test_of_anything(self, names: list[str], cells: int) -> None:
        state = state_of(tuple(names), cells)
        assert same(decode(encode(state)), state)


def changed(edit: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        document = json.loads(content)
        edit(document)
        return json.dumps(document).encode()

    return spoil


def bomb() -> str:
    """Of 64 MiB, where 160 bytes are announced."""
    return base64.b64encode(zlib.compress(bytes(64 * 2**20), 9)).decode()


class TestDamage:
    """A file that is not whole is reported and kept under another name; counting starts anew."""

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda content: b"",
            lambda content: content[: len(content) // 2],
            lambda content: b"\xff" + content,
            lambda content: b"[]",
            lambda content: b"null",
            lambda content: b"[" * 100_000,
            lambda content: b'{"format": 1' + b"0" * 5000 + b"}",
            changed(lambda d: d["rings"][0].update(newest=10**30)),
            changed(lambda d: d["rings"][0].update(step=-10)),
            changed(lambda d: d["rings"][0].update(cells=10**12)),
            changed(lambda d: d["rings"][0].update(counts=bomb())),
            changed(lambda d: d.update(format=2)),
            changed(lambda d: d.pop("rings")),
            changed(lambda d: d.update(since="soon")),
            changed(lambda d: d.update(since=float("nan"))),
            changed(lambda d: d.update(objectives=["a"])),
            changed(lambda d: d.update(objectives=[1, 2])),
            changed(lambda d: d["rings"][0].update(cells=4)),
            changed(lambda d: d["rings"][0].update(newest=None)),
            changed(lambda d: d["rings"][0].update(counts="not base64")),
            changed(lambda d: d["rings"][0].update(counts="A" * 8 + d["rings"][0]["counts"][8:])),
            changed(lambda d: d.update(objectives=["a", "b"], rings={"step": 10})),
        ],
    )
    def test_is_reported_and_set_aside(
        self, file: StateFile, spoil: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        file.save(state_of())
        spoilt = spoil(file.path.read_bytes())
        file.path.write_bytes(spoilt)
        with caplog.at_level(logging.WARNING):
            assert file.load() is None
        assert "is damaged" in caplog.text
        assert "ledger.json.damaged-1" in caplog.text
        assert file.path.with_name(f"{NAME}.damaged-1").read_bytes() == spoilt
        file.save(state_of())
        assert file.load() is not None

    def test_more_good_events_than_events(self, file: StateFile) -> None:
        counts = np.array([[1, 2]])
        file.save(State(0.0, ("a",), (Cells(10, 1, counts),)))
        assert file.load() is None

    def test_every_byte_counts(self, file: StateFile) -> None:
        """A byte of the counts that is changed is found, wherever it is."""
        file.save(state_of(cells=2))
        content = file.path.read_bytes()
        start = content.index(b'"counts": "') + len(b'"counts": "')
        end = content.index(b'"', start)
        for at in range(start, end):
            other = b"B" if content[at : at + 1] == b"A" else b"A"
            file.path.write_bytes(content[:at] + other + content[at + 1 :])
            loaded = file.load()
            # Base64 has a few bits at its end that mean nothing.
            assert loaded is None or same(loaded, state_of(cells=2))

    def test_a_crash_while_writing_leaves_the_old_state(self, file: StateFile) -> None:
        file.save(state_of())
        file.path.with_suffix(".tmp").write_bytes(b"half of")
        loaded = file.load()
        assert loaded is not None
        assert same(loaded, state_of())


class TestTheFolder:
    """It can be written to, and belongs to one server."""

    def test_two_servers(self, file: StateFile) -> None:
        with pytest.raises(ConfigError, match="in use by another server"):
            StateFile(file.path.parent)

    def test_where_nothing_can_be_locked_that_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_locks(*_: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(ConfigError, match=r"cannot be locked \(No locks available\); allowed"):
            StateFile(tmp_path)

    def test_is_free_again_afterwards(self, tmp_path: Path) -> None:
        StateFile(tmp_path).close()
        StateFile(tmp_path).close()

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("")
        with pytest.raises(ConfigError, match="state cannot be used: File exists"):
            StateFile(tmp_path / "state")

    def test_one_that_takes_no_files_is_read_and_not_written_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = StateFile(tmp_path)
        before.save(state_of())
        before.close()
        opened = os.open

        def read_only(path: Any, flags: int, *more: Any) -> int:
            if flags & os.O_ACCMODE != os.O_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return opened(path, flags, *more)

        monkeypatch.setattr(os, "open", read_only)
        file = StateFile(tmp_path)
        assert file.is_read_only
        assert caplog.text.count("cannot be written to (Read-only file system)") == 1
        loaded = file.load()
        assert loaded is not None
        assert same(loaded, state_of())
        file.close()
