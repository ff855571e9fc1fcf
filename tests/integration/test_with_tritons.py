"""Two real Triton servers behind one front end: killed, hung, and taken back, under load."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig
from cascade_tables import load_release
from cascade_tables.releases.triton_files import CONFIG, TritonRuntime, write_files

from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_messages import LOG_SETTINGS, log_settings
from benchmarks.peers.triton_server import Triton, installed, triton
from tests.releases import TABLE, make_release
from tests.server.messages import ask, read, row
from tests.server.running import DRAWN_ANEW, Running, running

# Longer than anything here takes.
SOON = 120.0
# Seconds between two requests of a caller.
REST = 0.02
CALLERS = 6
VERSIONS = (1, 3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    for version in VERSIONS:
        make_release(folder, version=version, seed=version)
    return folder


@pytest.fixture(scope="module")
def tritons(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Triton, Triton]]:
    try:
        installed()
    except NotInstalled as exc:
        pytest.skip(str(exc))
    folder: Path = tmp_path_factory.mktemp("triton") / "model_repository"
    shutil.copytree(repository, folder)
    for version in VERSIONS:
        write_files(folder, load_release(folder, TABLE, version), TritonRuntime.PYTHON)
    for config in folder.glob(f"*/{CONFIG}"):
        served = config.read_text().replace("latest {\n    num_versions: 1\n  }", "all {\n  }")
        config.write_text(served)
    networks = (f"{TABLE}_student", f"{TABLE}_teacher")
    with triton(folder, models=networks) as first, triton(folder, models=networks) as second:
        yield first, second


@pytest.fixture(scope="module")
def local(repository: Path) -> Iterator[Running]:
    with running(ServerConfig(repository=repository, port=0, **DRAWN_ANEW)) as server:
        yield server


@pytest.fixture(scope="module")
def front(repository: Path, tritons: tuple[Triton, Triton]) -> Iterator[Running]:
    runtime = "triton://" + ",".join(each.target for each in tritons)
    config = ServerConfig(repository=repository, port=0, runtime=runtime, **DRAWN_ANEW)
    with running(config) as server:
        yield server


def servers(front: Running) -> dict[str, Any]:
    found = front.stub.GetStatistics(pb.GetStatisticsRequest()).servers
    return {server.target: server for server in found}


def until(holds: Callable[[], bool]) -> None:
    """Look again and again, for as long as is reasonable."""
    end = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Load:
    """What callers that ask all the time were told."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def more(self, answers: int) -> Callable[[], bool]:
        """Whether so many more have been answered since now; nobody waits after a failure."""
        goal = self.answers + answers
        return lambda: self.answers >= goal or bool(self.failures)


@contextmanager
def load(front: Running, local: Running) -> Iterator[Load]:
    """Callers with time enough for each request, student and teacher by turns, each with a seed.

    Every answer must be the one that the local server gives.
    """
    asks = [
        ask(
            row(items=1 + seed % 8),
            draws=1 + seed % 5,
            seed=seed,
            fidelity=pb.FIDELITY_FULL if seed % 3 == 0 else pb.FIDELITY_FAST,
            version=1 + 2 * (seed % 2),
        )
        for seed in range(60)
    ]
    expected = [read(local.stub.Synthesize(request).rows) for request in asks]
    found, stop, lock = Load(), threading.Event(), threading.Lock()

    def caller(number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(front.target, options) as channel:
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            at = number * 7
            # Without a rest, they would take what the server needs that is to come back.
            while not stop.wait(REST):
                at = (at + 1) % len(asks)
                failure = None
                try:
                    answer = stub.Synthesize(asks[at], timeout=SOON)
                    if read(answer.rows) != expected[at]:
                        failure = f"request {at} has other rows than it has locally"
                except grpc.RpcError as exc:
                    failure = f"{exc.code().name}: {exc.details()}"  # type: ignore[attr-defined]
                with lock:
                    found.answers += 1
                    if failure is not None:
                        found.failures.append(failure)

    callers = [threading.Thread(target=caller, args=[number]) for number in range(CALLERS)]
    for thread in callers:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in callers:
            thread.join(SOON)


class TestTheSame:
    """Whoever runs the networks, what is answered is the same."""

    @pytest.mark.parametrize("fidelity", ["FIDELITY_FAST", "FIDELITY_FULL"])
    @pytest.mark.parametrize("draws", [1, 200])
    def test_a_seed_gives_the_same_rows(
        self, front: Running, local: Running, fidelity: Any, draws: int
    ) -> None:
        """200 rows are more than the models take at once."""
        request = ask(row(items=3), draws=draws, seed=5, fidelity=fidelity, version=1)
        expected = read(local.stub.Synthesize(request).rows)
        assert read(front.stub.Synthesize(request).rows) == expected

    def test_log_likelihoods(self, front: Running, local: Running) -> None:
        request = ask(row(items=3, channel="web"), log_likelihood=True)
        found, expected = (
            server.stub.Synthesize(request).log_likelihood for server in (front, local)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_generate(self, front: Running, local: Running) -> None:
        """Offline work, which Triton is told by its priority."""
        request = pb.GenerateRequest(table=TABLE, count=300, seed=9)
        found, expected = (
            [read(part.rows) for part in server.stub.Generate(request)] for server in (front, local)
        )
        assert found == expected


@contextmanager
def verbose(server: Triton) -> Iterator[None]:
    """Have a Triton write what becomes of each call."""
    with grpc.insecure_channel(server.target) as channel:
        settings = channel.unary_unary(LOG_SETTINGS)
        settings(log_settings(1), timeout=SOON)
        yield
        settings(log_settings(0), timeout=SOON)


@contextmanager
def hung(server: Triton) -> Iterator[None]:
    """Stop a Triton, but not the processes that run its models.

    When they go on together with it, Triton 2.51 takes those for dead that have not been heard of
    for a second, frees the memory that they still write to, and ends by that: without any
    cancellation too, and whoever asks it.
    """
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_no_call_is_cancelled_there(front: Running, tritons: tuple[Triton, Triton]) -> None:
    """2.51 may end by it: who waits gives up in time, and the servers go on until they are done."""

    def rows() -> int:
        return sum(int(server.outstanding_rows) for server in servers(front).values())

    request = ask(row(items=3), draws=8, fidelity=pb.FIDELITY_FULL, version=1)
    with verbose(tritons[0]), verbose(tritons[1]):
        with hung(tritons[0]), hung(tritons[1]):
            given_up = [front.stub.Synthesize.future(request, timeout=SOON) for _ in range(2)]
            late = [front.stub.Synthesize.future(request, timeout=0.5) for _ in range(2)]
            until(lambda: rows() >= 4 * 8)
            for call in given_up:
                call.cancel()
            for call in late:
                assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert rows() >= 4 * 8
        until(lambda: rows() == 0)
    for each in tritons:
        said = each.log.read_text().splitlines()
        assert any("InferResponseComplete" in line for line in said)
        assert [line for line in said if "Cancellation notification received" in line] == []
    assert front.stub.Synthesize(request).rows.count == 8


def test_one_is_killed_under_load_and_comes_back(
    front: Running, local: Running, tritons: tuple[Triton, Triton]
) -> None:
    """No request fails: all have time left."""
    first, second = (each.target for each in tritons)
    with load(front, local) as found:
        until(found.more(100))
        before = servers(front)
        assert min(server.batches for server in before.values()) > 0
        tritons[0].kill()
        until(lambda: not servers(front)[first].up or bool(found.failures))
        until(found.more(100))
        away = servers(front)
        assert (away[first].up, away[second].up) == (False, True)
        assert away[second].batches > before[second].batches
        assert "connection refused" in away[first].reason
        tritons[0].start()
        until(lambda: servers(front)[first].up or bool(found.failures))
        until(found.more(100))
    assert found.failures == []
    back = servers(front)
    assert back[first].batches > away[first].batches
    assert back[first].times_away == away[first].times_away == before[first].times_away + 1


def test_one_hangs_under_load_and_goes_on(
    front: Running, local: Running, tritons: tuple[Triton, Triton]
) -> None:
    """Its connection stays, and nothing is heard of it: another one is asked instead."""
    second = tritons[1].target
    with load(front, local) as found:
        until(found.more(50))
        with hung(tritons[1]):
            until(lambda: not servers(front)[second].up or bool(found.failures))
            until(found.more(100))
        until(lambda: servers(front)[second].up or bool(found.failures))
        until(found.more(50))
    assert found.failures == []


def test_when_all_are_gone_callers_are_told_to_come_again(
    front: Running, tritons: tuple[Triton, Triton]
) -> None:
    for each in tritons:
        each.kill()
    until(lambda: not any(server.up for server in servers(front).values()))
    for fidelity in ("FIDELITY_FAST", "FIDELITY_FULL", "FIDELITY_AUTO"):
        with pytest.raises(grpc.RpcError) as refused:
            front.stub.Synthesize(ask(fidelity=fidelity), timeout=SOON)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert f"{tritons[0].target}: connection refused" in error.details()
    for each in tritons:
        each.start()
    until(lambda: all(server.up for server in servers(front).values()))
    assert front.stub.Synthesize(ask(), timeout=SOON).rows.count == 1
