"""The port: why it cannot be had; the local socket: whose it is, and what lies in its place."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cascade_server.errors import ConfigError
from cascade_server.supervision.listening import leave_locally, listen, listen_locally, reserve


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
