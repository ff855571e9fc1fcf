"""The port: why it cannot be had; the local socket: whose it is, and what lies in its place."""

from __future__ import annotations

import errno
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cascade_server.errors import ConfigError
from cascade_server.supervision.listening import (
    leave_locally,
    listen,
    listen_locally,
    own_folder,
    reserve,
)


def test_only_this_user_may_open_it_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "state" / "control.sock"
    made = listen_locally(path)
    assert made is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
    leave_locally(path, made)
    assert not path.exists()


def test_what_a_server_that_was_killed_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    made = listen_locally(path)
    assert made is not None
    leave_locally(path, made)


def test_that_of_a_server_that_lives_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    made = listen_locally(path)
    assert made is not None
    with pytest.raises(ConfigError, match="in use by another server, which listens on control"):
        listen_locally(path)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
    leave_locally(path, made)


@pytest.mark.parametrize("kind", ["file", "folder", "long"])
def test_where_there_can_be_none_a_server_goes_without(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("x" * 120 if kind == "long" else "control.sock")
    if kind == "file":
        path.write_text("precious")
    if kind == "folder":
        path.mkdir()
    assert listen_locally(path) is None
    assert f"{path} cannot be listened on, so nobody is served there" in caplog.text
    assert path.exists() is (kind != "long")


@pytest.mark.parametrize("begin", [listen, reserve])
def test_a_port_that_another_has_is_said_to_be_taken(begin: Callable[..., socket.socket]) -> None:
    with listen("127.0.0.1", 0) as other, pytest.raises(ConfigError, match="is the port taken"):
        begin("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize("begin", [listen, reserve])
def test_a_host_that_is_not_this_machines_is_not_called_a_port_that_is_taken(
    begin: Callable[..., socket.socket],
) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0: ") as caught:
        begin("192.0.2.1", 0)  # of documentation alone (RFC 5737)
    assert "taken" not in str(caught.value)


class TestOwnFolder:
    """Where a server's processes have their sockets: beside no other's, and gone afterwards."""

    def test_it_is_one_of_its_own(self) -> None:
        with own_folder() as one, own_folder() as other:
            assert one != other
            assert stat.S_IMODE(one.stat().st_mode) == 0o700
        assert not one.exists()

    def test_where_there_can_be_none_it_is_said_what_is_allowed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a container whose root is read-only."""

        def nowhere(*_: object, **__: object) -> str:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

        monkeypatch.setattr(tempfile, "mkdtemp", nowhere)
        with (
            pytest.raises(ConfigError, match=r"No usable temporary .*allowed: a /tmp that can be"),
            own_folder(),
        ):
            pass

    def test_a_name_that_leaves_no_room_for_sockets_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        long = tmp_path / ("x" * 100)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        with pytest.raises(ConfigError, match="longer than a socket's path may be"), own_folder():
            pass
        assert list(long.iterdir()) == []
