"""How a server ends, whoever is still there, and what keeps one from starting."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.serving import Served, serve, until
from tests.releases import TABLE
from tests.typed import CASCADE, SOON, typed

SERVING = health_pb2.HealthCheckResponse.SERVING


NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_drain_lets_calls_finish(repository: Path) -> None:
    options = ("--repository", str(repository), "--workers", "2", "--drain-seconds", "3600")
    with serve(*options) as served, served.client() as client:
        stream = client.stream(TABLE, 5_000, timeout=SOON)
        rows = len(next(stream).data)
        served.process.terminate()
        rows += sum(len(chunk.data) for chunk in stream)
        assert rows == 5_000
        assert served.process.wait(SOON) == 0
        served.until_said("stopped")


def test_a_server_whose_workers_cannot_start_ends_and_lets_go_of_its_port(
    repository: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "model_repository"
    shutil.copytree(repository, damaged)
    with serve("--repository", str(damaged), "--workers", "2", "--pool-mib", "0") as served:
        (damaged / f"{TABLE}_student" / "1" / "model.onnx").write_bytes(b"not a model")
        for worker in served.children[:2]:
            worker.send_signal(signal.SIGKILL)
        said = served.until_said("Error")
        assert re.search(r"no worker can start, after \d+ tries in a row: .*model\.onnx", said)
        assert served.process.wait(SOON) == 1
        host, _, port = served.target.rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=SOON)


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_an_end_does_not_wait_for_who_watches(repository: Path, transport: str) -> None:
    """With a grace of an hour, a stream that has no end of its own is ended by the server."""
    options = ("--repository", str(repository), "--drain-seconds", "3600")
    with (
        serve(*options, "--transport", transport) as served,
        grpc.insecure_channel(served.target) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        assert [next(each).status for each in watches] == [SERVING] * 3
        watches.pop().cancel()  # who leaves takes no other with it
        served.process.terminate()
        for each in watches:
            assert next(each).status == NOT_SERVING
            with pytest.raises(grpc.RpcError) as caught:
                next(each)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert served.process.wait(SOON) == 0


def test_an_end_does_not_wait_for_who_says_nothing(repository: Path) -> None:
    """Connections of load balancers that only look whether the port is open; a peer that hangs."""
    options = ("--repository", str(repository), "--drain-seconds", "3600")
    with serve(*options) as served:
        host, _, port = served.target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=SOON),
            socket.create_connection((host, int(port)), timeout=SOON) as begun,
        ):
            begun.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
            assert begun.recv(9)[3] == 4  # the server's SETTINGS; nothing is answered to its PING
            served.process.terminate()
            assert served.process.wait(SOON) == 0


def test_an_end_while_it_loads_waits_for_nothing(repository: Path, tmp_path: Path) -> None:
    """The teacher is held, so that the worker would wait for it for ever."""
    with subprocess.Popen(
        [*CASCADE, "serve", "--port", "0", "--drain-seconds", "3600", "--repository", repository],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("loading")
        until(lambda: len(psutil.Process(process.pid).children()) == 2)
        worker, teacher = sorted(psutil.Process(process.pid).children(), key=lambda each: each.pid)
        teacher.suspend()
        process.terminate()
        try:
            assert process.wait(SOON) == 0
        finally:  # or this would wait for it too
            process.kill()
        assert not worker.is_running()


def test_nobody_outlives_a_supervisor_that_is_killed(two: Served) -> None:
    children = two.children
    two.process.kill()
    _, alive = psutil.wait_procs(children, SOON)
    assert not alive


def test_what_cannot_start_says_so_once(repository: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "model_repository"
    shutil.copytree(repository, damaged)
    (damaged / f"{TABLE}_student" / "1" / "model.onnx").write_bytes(b"not a model")
    done = typed("serve", "--port", "0", "--workers", "2", "--repository", str(damaged))
    assert done.returncode == 1
    assert done.stderr.count("Error:") == 1
    assert "model.onnx" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"{}"])
def test_state_that_is_damaged_does_not_stop_the_start(
    repository: Path, tmp_path: Path, content: bytes
) -> None:
    names = ("ledger.json", "releases.json")
    for name in names:
        (tmp_path / name).write_bytes(content)
    with (
        serve("--repository", str(repository), "--state-dir", str(tmp_path)) as served,
        served.client() as client,
    ):
        client.wait_ready()
        assert client.synthesize(TABLE, {"items": 3}).data["items"] == 3
        for name in names:
            assert sum(f"{name} is damaged" in line for line in served.lines) == 1
            assert (tmp_path / f"{name}.damaged-1").read_bytes() == content
    assert served.process.returncode == 0


def test_a_port_that_is_taken_is_named(two: Served, repository: Path) -> None:
    port = two.target.rpartition(":")[2]
    done = typed("serve", "--port", port, "--repository", str(repository))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: is the port taken?" in done.stderr
