"""A front end whose networks run on other Cascade servers, which speak the same protocol."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig
from cascade_server.counts.answer_metrics import ServersCollector

from tests.releases import TABLE, make_release
from tests.server.messages import ask, read, row
from tests.server.running import DRAWN_ANEW, Running, running
from tests.typed import CASCADE, SOON

T = TypeVar("T")


def patiently(call: Callable[[], T]) -> T:
    """Ask again while the front end has nobody: a peer that a busy machine keeps from answering a
    look for two seconds is away, and comes back."""
    end = time.monotonic() + SOON
    while True:
        try:
            return call()
        except grpc.RpcError as exc:
            refused: Any = exc
            if refused.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                raise
        time.sleep(0.05)


@pytest.fixture(scope="module")
def peers(repository: Path) -> Iterator[tuple[Running, Running]]:
    config = ServerConfig(repository=repository, port=0, **DRAWN_ANEW)
    with running(config) as first, running(config) as second:
        yield first, second


@pytest.fixture(scope="module")
def front(repository: Path, peers: tuple[Running, Running]) -> Iterator[Running]:
    runtime = "triton://" + ",".join(peer.target for peer in peers)
    config = ServerConfig(repository=repository, port=0, runtime=runtime, **DRAWN_ANEW)
    with running(config) as server:
        yield server


@pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
@pytest.mark.parametrize("draws", [1, 7, 1500])
def test_a_seed_gives_the_rows_that_it_gives_here(
    front: Running, peers: tuple[Running, Running], fidelity: Any, draws: int
) -> None:
    """1500 rows are more than go in one batch, and more than the dispatcher's parts."""
    if fidelity == "FIDELITY_FULL" and draws == 1500:
        draws = 600
    request = ask(row(items=3), draws=draws, seed=11, fidelity=fidelity)
    expected = read(peers[0].stub.Synthesize(request).rows)
    found = read(front.stub.Synthesize(request).rows)
    # A sum of another order may move a draw that is on the edge: one in a thousand rows.
    rows = (zip(*answer.values(), strict=True) for answer in (expected, found))
    assert sum(a != b for a, b in zip(*rows, strict=True)) <= 1


def test_generate(front: Running, peers: tuple[Running, Running]) -> None:
    request = pb.GenerateRequest(table="shops", count=1500, seed=2)
    rows = [sum(part.rows.count for part in s.stub.Generate(request)) for s in (front, peers[0])]
    assert rows == [1500, 1500]


def test_log_likelihoods(front: Running, peers: tuple[Running, Running]) -> None:
    request = ask(row(items=3, channel="web"), log_likelihood=True)
    found, expected = (s.stub.Synthesize(request).log_likelihood for s in (front, peers[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_routing_is_the_front_ends(front: Running) -> None:
    answer = front.stub.Synthesize(ask(row(items=3), timeout_microseconds=10_000_000, explain=True))
    considered = answer.provenance.routing.considered
    assert [each.tier for each in considered] == [pb.TIER_TEACHER, pb.TIER_STUDENT]
    assert all(each.predicted > 0 for each in considered)
    with pytest.raises(grpc.RpcError) as refused:
        front.stub.Synthesize(ask(fidelity="FIDELITY_FULL", timeout_microseconds=1))
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_what_is_counted_of_each_server(front: Running, peers: tuple[Running, Running]) -> None:
    for _ in range(4):
        front.stub.Synthesize(ask(row(items=3), fidelity="FIDELITY_FAST"))
    found = front.stub.GetStatistics(pb.GetStatisticsRequest())
    assert [server.target for server in found.servers] == [peer.target for peer in peers]
    assert all(server.up and not server.reason and server.batches for server in found.servers)
    metrics = {metric.name: metric for metric in ServersCollector(lambda: found).collect()}
    up = metrics["cascade_runtime_server_up"].samples
    assert [(s.labels["server"], s.value) for s in up] == [(peer.target, 1.0) for peer in peers]
    batches = metrics["cascade_runtime_server_batches"].samples
    assert [sample.value for sample in batches] == [server.batches for server in found.servers]
    here = peers[0].stub.GetStatistics(pb.GetStatisticsRequest())
    assert list(ServersCollector(lambda: here).collect()) == []


class TestTheCommand:
    """`cascade serve --runtime triton://...`, in processes of its own."""

    def serve(self, repository: Path, runtime: str, *options: str) -> subprocess.Popen[str]:
        command = ["serve", "--repository", str(repository), "--port", "0", "--runtime", runtime]
        return subprocess.Popen(
            [*CASCADE, *command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_workers_have_connections_of_their_own_and_no_teacher(
        self, repository: Path, peers: tuple[Running, Running]
    ) -> None:
        options = ("--workers", "2", "--pool-mib", "0", "--metrics-port", "0")
        with self.serve(repository, f"triton://{peers[0].target}", *options) as process:
            assert process.stdout is not None
            target = None
            for line in process.stdout:
                if said := re.search(r"serving on (\S+:\d+)", line):
                    target = said[1]
                    break
            assert target is not None, process.stderr and process.stderr.read()
            for _ in range(20):
                local = [("grpc.use_local_subchannel_pool", 1)]
                with grpc.insecure_channel(target, local) as channel:
                    stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
                    for fidelity in ("FIDELITY_FAST", "FIDELITY_FULL"):
                        request = ask(row(items=3), fidelity=fidelity)
                        answer = patiently(partial(stub.Synthesize, request, timeout=SOON))
                        assert answer.rows.count == 1
                    statistics = stub.GetStatistics(pb.GetStatisticsRequest(), timeout=SOON)
                    assert [server.target for server in statistics.servers] == [peers[0].target]
            process.terminate()
            assert process.wait(SOON) == 0
        assert len(statistics.workers) == 2

    def test_what_is_wrong_is_said_and_ends_it(
        self, tmp_path: Path, peers: tuple[Running, Running], repository: Path
    ) -> None:
        make_release(tmp_path, version=9)
        for folder, runtime, words in (
            (repository, "triton://127.0.0.1:1", "127.0.0.1:1: connection refused"),
            (
                tmp_path,
                f"triton://{peers[0].target}",
                f"{peers[0].target}: model '{TABLE}_student' has no version 9, the release's; its "
                "versions are: 1, 3",
            ),
            (repository, "gpu", "runtime is 'gpu'; allowed: auto, cpu,"),
        ):
            with self.serve(folder, runtime) as process:
                _, errors = process.communicate(timeout=SOON)
                assert process.returncode == 1
            assert words in errors
            assert "Traceback" not in errors
