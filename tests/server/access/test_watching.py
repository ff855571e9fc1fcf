"""When the file of who may ask is read anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cascade_server.access.grants import AccessConfig
from cascade_server.access.watching import Changes, Watch
from cascade_server.errors import ConfigError

from tests.server.access.examples import Clock, access_of

TENANTS = "tenants: {a: {}}"


class TestChanges:
    """A file is read when it has changed, and is not being written any more."""

    HALF, WHOLE = (1, 10, 7), (2, 20, 7)

    def test_a_file_that_is_being_written_waits(self) -> None:
        changes = Changes(self.HALF)
        assert changes.look(self.HALF)  # it may have changed between its reading and the first look
        assert not changes.look(self.HALF)
        for growing in ((2, 12, 7), (2, 14, 7), self.WHOLE):
            assert not changes.look(growing)
        assert changes.look(self.WHOLE)
        assert not changes.look(self.WHOLE)

    def test_who_says_that_it_is_ready_waits_for_nothing(self) -> None:
        changes = Changes(self.HALF)
        assert changes.look(self.WHOLE, at_once=True)
        assert not changes.look(self.WHOLE)

    def test_one_that_goes_is_told_once(self) -> None:
        changes = Changes(self.HALF)
        assert [changes.look(each) for each in (self.HALF, None, None, None)] == [
            True,
            False,
            True,
            False,
        ]

    async def test_a_file_that_may_be_read_at_last_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody writes it: it is given to the server's user."""
        access = access_of(TENANTS, tmp_path, Clock())
        access.path.chmod(0o600)
        refused, read = asyncio.Event(), asyncio.Event()

        as_it_is = access.file.now

        def now() -> AccessConfig:
            if not access.path.stat().st_mode & 0o040:
                loop.call_soon_threadsafe(refused.set)
                raise ConfigError(f"{access.path} cannot be read: Permission denied")
            loop.call_soon_threadsafe(read.set)
            return as_it_is()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(access.file, "now", now)
        watch = Watch(access, 0.001)
        watch.start()
        await asyncio.wait_for(refused.wait(), 20)
        access.path.chmod(0o640)
        await asyncio.wait_for(read.wait(), 20)
        await watch.stop()

    async def test_what_cannot_be_done_once_is_tried_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        looks, twice = [], asyncio.Event()

        def also() -> None:
            looks.append(1)
            if len(looks) > 1:
                twice.set()
            raise ZeroDivisionError("odd")

        watch = Watch(access_of(TENANTS, tmp_path, Clock()), 0.001, also)
        watch.start()
        await asyncio.wait_for(twice.wait(), 20)
        await watch.stop()
        assert "could not be looked after" in caplog.text
