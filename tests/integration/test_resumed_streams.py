"""Generated rows whose connection is lost on the way: the SDK has the rest of the same rows."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from cascade_client import AsyncClient, Client, Retry, Unavailable
from cascade_server.config import ServerConfig

from tests.releases import TABLE, make_release
from tests.server.running import running

ROWS = 800
# Less than the stream takes, and more than two of its messages do.
CUT = 8_000


class CuttingProxy:
    """Passes connections on to a server, and cuts the first of them after so many bytes of answers.

    Args:
        target: of the server.
        cuts: connections that are cut; the rest are left alone.
    """

    def __init__(self, target: str, cuts: int) -> None:
        host, _, port = target.rpartition(":")
        self._server = host, int(port)
        self.cuts_left = cuts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self._threads: list[threading.Thread] = []
        self.target = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._start(self._accept)

    def close(self) -> None:
        for each in self._sockets:
            _shut(each)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _start(self, do: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=do, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._sockets += [caller, server]
                self._start(self._pass_on, caller, server, False)
                self._start(self._pass_on, server, caller, True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(2_000):
                passed += len(data)
                if answers and passed > CUT and self.cuts_left:
                    self.cuts_left -= 1
                    break
                sink.sendall(data)
        _shut(source)
        _shut(sink)


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository: Path = tmp_path_factory.mktemp("model_repository")
    make_release(repository)
    with running(ServerConfig(repository=repository, port=0, chunk_rows=50)) as found:
        yield found.target


@pytest.fixture(scope="module")
def whole(server: str) -> pd.DataFrame:
    """What comes where nothing breaks."""
    with Client(server, timeout=30) as client:
        return client.generate(TABLE, ROWS, seed=11).data


@pytest.fixture
def proxy(server: str) -> Iterator[CuttingProxy]:
    found = CuttingProxy(server, cuts=3)
    yield found
    found.close()


def test_threads(proxy: CuttingProxy, whole: pd.DataFrame) -> None:
    reports: list[int] = []
    with Client(proxy.target, timeout=30) as client:
        client.describe(TABLE)
        answer = client.generate(
            TABLE, ROWS, seed=11, progress=lambda done, total: reports.append(done)
        )
    assert proxy.cuts_left == 0
    pd.testing.assert_frame_equal(answer.data, whole)
    assert reports == list(range(50, ROWS + 1, 50))


async def test_tasks(proxy: CuttingProxy, whole: pd.DataFrame) -> None:
    async with AsyncClient(proxy.target, timeout=30) as client:
        answer = await client.generate(TABLE, ROWS, seed=11)
    assert proxy.cuts_left == 0
    await asyncio.to_thread(pd.testing.assert_frame_equal, answer.data, whole)


def test_not_where_nothing_is_retried(proxy: CuttingProxy, whole: pd.DataFrame) -> None:
    with (
        Client(proxy.target, timeout=30, retry=Retry(attempts=1)) as client,
        pytest.raises(Unavailable) as raised,
    ):
        client.generate(TABLE, ROWS, seed=11)
    [note] = raised.value.__notes__
    assert "800 rows had come, with seed 11 from version 1" in note
