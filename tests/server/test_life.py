"""From loading to drained: what the server does when nobody asks for rows."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.cascade.repository import Loaded
from cascade_server.config import ServerConfig
from cascade_server.errors import ConfigError
from cascade_server.server import Server
from cascade_tables import ReleaseError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.releases import TABLE, make_release
from tests.server.messages import ask
from tests.server.running import Running, running
from tests.typed import CASCADE, SOON

SERVICES = ["", "cascade.v1.Synthesis"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", SERVICES)
def test_health_says_serving(serving: Running, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(serving.channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


def test_reflection_knows_the_services(serving: Running) -> None:
    database = ProtoReflectionDescriptorDatabase(serving.channel)
    assert set(database.get_services()) >= {
        "cascade.v1.Synthesis",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    found = database.FindFileContainingSymbol("cascade.v1.Synthesis")
    assert [method.name for method in found.service[0].method] == [
        "Synthesize",
        "SynthesizeStream",
        "Generate",
        "ListTables",
        "DescribeTable",
        "GetStatistics",
        "GetUsage",
        "GetServiceLevel",
    ]


def test_list_tables(serving: Running) -> None:
    tables = serving.stub.ListTables(pb.ListTablesRequest()).tables
    assert [(t.table, list(t.versions), t.columns) for t in tables] == [
        (TABLE, [1, 3], 6),
        ("shops", [1], 5),
    ]


class TestDescribeTable:
    """Schema, releases and fidelity figures."""

    def test_columns(self, serving: Running) -> None:
        found = serving.stub.DescribeTable(pb.DescribeTableRequest(table=TABLE))
        columns = {column.name: column for column in found.columns}
        assert [(c.name, c.kind, c.nullable, c.dtype) for c in found.columns] == [
            ("amount", "continuous", False, "double"),
            ("channel", "categorical", True, "string"),
            ("items", "integer", False, "int8"),
            ("at", "datetime", False, "timestamp[us]"),
            ("member", "boolean", False, "bool"),
            ("fraud", "integer", False, "int8"),
        ]
        assert sorted(columns["channel"].categories) == ["app", "shop", "web"]
        assert (columns["items"].minimum, columns["items"].maximum) == (1, 8)
        assert not columns["member"].HasField("minimum")

    def test_what_was_left_out_and_what_folds(self, serving: Running) -> None:
        found = serving.stub.DescribeTable(pb.DescribeTableRequest(table="shops"))
        assert [(d.name, d.reason) for d in found.dropped] == [
            ("member", "asked for in the overrides")
        ]
        assert [c.other for c in found.columns if c.name == "channel"] == ["(other)"]

    def test_releases(self, serving: Running) -> None:
        def versions(version: int) -> list[int]:
            request = pb.DescribeTableRequest(table=TABLE, version=version)
            return [release.version for release in serving.stub.DescribeTable(request).releases]

        assert (versions(0), versions(1)) == ([1, 3], [1])
        release = serving.stub.DescribeTable(pb.DescribeTableRequest(table=TABLE)).releases[0]
        assert {f.tier: dict(f.figures) for f in release.fidelity} == {
            "student": {"shape_err_pct": 1.5},
            "teacher": {"shape_err_pct": 0.5},
        }
        assert len(release.schema_fingerprint) == 64
        assert "torch" in release.libraries


async def test_a_stream_that_is_refused_reads_what_it_was_sent(tmp_path: Path) -> None:
    """Whenever that comes: grpc.aio calls it INTERNAL if its first message finds no stream."""
    make_release(tmp_path)
    loading, go_on = threading.Event(), threading.Event()

    def report(_: Loaded) -> None:
        loading.set()
        assert go_on.wait(30)

    server = Server(ServerConfig(repository=tmp_path, port=0), report)
    startup = asyncio.create_task(server.startup())
    await asyncio.to_thread(loading.wait, 30)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = SynthesisStub(channel)
        call = stub.SynthesizeStream()
        await call.wait_for_connection()
        # By then the server has long seen the headers of the stream.
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Synthesize(ask())
        await call.write(pb.SynthesizeStreamRequest())
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    go_on.set()
    await startup
    await server.shutdown()


async def test_not_ready_while_loading(tmp_path: Path) -> None:
    """Listens at once, so that health can say NOT_SERVING; calls are UNAVAILABLE until loaded."""
    make_release(tmp_path)
    loading, go_on = threading.Event(), threading.Event()

    def report(_: Loaded) -> None:
        loading.set()
        assert go_on.wait(30)

    server = Server(ServerConfig(repository=tmp_path, port=0), report)
    startup = asyncio.create_task(server.startup())
    await asyncio.to_thread(loading.wait, 30)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = SynthesisStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        for service in SERVICES:
            said = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert said.status == NOT_SERVING
        for call in (
            stub.Synthesize(ask()),
            stub.SynthesizeStream(iter([pb.SynthesizeStreamRequest()])).read(),
            stub.Generate(pb.GenerateRequest(table=TABLE, count=1)).read(),
            stub.ListTables(pb.ListTablesRequest()),
            stub.DescribeTable(pb.DescribeTableRequest(table=TABLE)),
            stub.GetStatistics(pb.GetStatisticsRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "still being loaded" in (caught.value.details() or "")
        go_on.set()
        await startup
        said = await health.Check(health_pb2.HealthCheckRequest())
        assert said.status == SERVING
        assert (await stub.Synthesize(ask())).rows.count == 1
    await server.shutdown()


async def test_draining_finishes_what_is_in_flight_and_refuses_what_is_new(tmp_path: Path) -> None:
    make_release(tmp_path)
    server = Server(ServerConfig(repository=tmp_path, port=0, chunk_rows=64))
    await server.startup()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = SynthesisStub(channel)
        messages = aiter(stub.Generate(pb.GenerateRequest(table=TABLE, count=640)))
        first = await anext(messages)
        drained = asyncio.create_task(server.shutdown())
        rest = [message async for message in messages]
        assert [first.done, *(message.done for message in rest)] == list(range(64, 641, 64))
        await drained
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Synthesize(ask())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_taken_port_is_named(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"),
            running(ServerConfig(repository=repository, port=port)),
        ):
            pass


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), ["damaged or was changed", "SHA-256"]),
        (lambda f: f.write_bytes(b"\0" + f.read_bytes()[1:]), ["damaged or was changed"]),
        (lambda f: f.unlink(), ["cannot be read: No such file"]),
    ],
    ids=["truncated", "tampered", "missing"],
)
@pytest.mark.parametrize("what", ["payments_student/1/model.onnx", "payments/1/codec.json"])
def test_a_spoilt_release_is_not_served(
    tmp_path: Path, repository: Path, what: str, spoil: Any, words: list[str]
) -> None:
    """Nothing is served, not even the tables that are whole; the error names the file."""
    folder = tmp_path / "model_repository"
    shutil.copytree(repository, folder)
    spoil(folder / what)
    with (
        pytest.raises(ReleaseError) as caught,
        running(ServerConfig(repository=folder, port=0)),
    ):
        pass
    assert [word for word in [what, *words] if word not in str(caught.value)] == []


class TestTheCommand:
    """`cascade serve`, in a process of its own."""

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CASCADE, "serve", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_drains_and_ends_with_0(
        self, repository: Path, tmp_path: Path, number: signal.Signals
    ) -> None:
        """What it says on the way is what is meant, also of a folder that is called like markup."""
        folder = tmp_path / "[models]"
        folder.symlink_to(repository)
        with self.start("--repository", str(folder)) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("serving on"):
                    process.send_signal(number)
            assert process.wait(SOON) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        assert said[0] == f"loading {folder}\n"
        assert [line.split(":")[0].strip() for line in said[1:4]] == [
            f"{TABLE} version 1",
            f"{TABLE} version 3",
            "shops version 1",
        ]
        assert said[5:] == ["draining\n", "stopped\n"]

    def test_a_cache_that_cannot_be_is_said_before_anything_is_loaded(
        self, repository: Path
    ) -> None:
        url = "http://me:secret@cache"
        with self.start("--repository", str(repository), "--cache-url", url) as process:
            said, errors = process.communicate(timeout=SOON)
            assert process.returncode == 1
        assert "Error: cache_url is 'http://…@cache'; allowed: redis://" in errors
        assert said == ""

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("nothing", "is not a folder"),
            ("empty", "holds no release; `cascade release` writes one"),
            ("tampered", f"{TABLE}_student/1/model.onnx is damaged or was changed"),
        ],
    )
    def test_what_cannot_be_served_ends_with_1(
        self, tmp_path: Path, content: str, words: str
    ) -> None:
        folder = tmp_path / "model_repository"
        if content != "nothing":
            folder.mkdir()
        if content == "tampered":
            make_release(folder)
            model = folder / f"{TABLE}_student/1/model.onnx"
            model.write_bytes(model.read_bytes() + b"\0")
        with self.start("--repository", str(folder)) as process:
            _, errors = process.communicate(timeout=SOON)
            assert process.returncode == 1
        assert words in errors
        assert "Traceback" not in errors

    def test_what_it_does_without_is_not_imported(self, repository: Path) -> None:
        program = f"""
import asyncio, sys
from pathlib import Path
import cascade_server.commands
from cascade_server.config import ServerConfig
from cascade_server.server import Server

async def life():
    server = Server(ServerConfig(repository=Path({str(repository)!r}), port=0))
    await server.startup()
    await server.shutdown()

asyncio.run(life())
others = {{"torch", "pandas", "pyarrow", "sklearn", "yaml", "prometheus_client", "rich"}}
print(sorted(others & set(sys.modules)))
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=SOON,
            check=True,
        )
        assert done.stdout == "[]\n"
