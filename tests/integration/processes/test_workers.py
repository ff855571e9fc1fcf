"""`cascade serve --workers N`: who answers, processes that die, and what callers notice of it."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from cascade_client import Client, Overloaded, Retry, Unavailable
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.config import ServerConfig

from tests.integration.processes.asked import (
    ask_over_new_connections,
    calls_that_ended_well,
    connections,
    statistics,
    student_runs,
)
from tests.integration.serving import Served, serve, until
from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.server.running import running
from tests.typed import SOON


def test_every_worker_answers_and_the_terminal_reads_well(two: Served) -> None:
    assert len(two.children) == 3
    # All would reach one of the workers once in 10^12 times.
    ask_over_new_connections(two.target, 40)
    found: dict[int, int] = {}

    def all_told() -> bool:
        # One answer: the next may be from a worker that does not know yet.
        found.update({each.pid: each.calls for each in statistics(two.target).workers})
        return sum(found.values()) == 40

    until(all_told)
    assert set(found) == {each.pid for each in two.children[:2]}
    assert all(found.values())
    assert sum("columns, verified and warm" in line for line in two.lines) == 1
    assert sum("with 2 workers (Ctrl-C stops)" in line for line in two.lines) == 1


def test_whichever_worker_is_asked_tells_of_all(repository: Path, tmp_path: Path) -> None:
    """Statistics, metrics, error budgets; also when a worker or the teacher has died since."""
    options = ("--repository", str(repository), "--workers", "2", "--pool-mib", "0")
    options = (*options, "--metrics-port", "0", "--state-dir", str(tmp_path))
    with serve(*options) as served:
        url = served.until_said("metrics on").split()[-1]

        def all_say(calls: int) -> None:
            until(lambda: student_runs(served.target) == calls)
            assert calls_that_ended_well(url) == calls
            with served.client() as client:
                level = client.service_level()
            (kept,) = [
                each
                for each in level.objectives
                if (each.kind, each.service) == ("availability", "realtime")
            ]
            assert (kept.good, kept.total) == (calls, calls)
            assert [each.count for each in level.latencies] == [calls]

        ask_over_new_connections(served.target, 20)
        for _ in range(4):
            all_say(20)
        # What a worker tells of its engines is half a second old at most: until the other one
        # knows, it would be lost with it.
        knowing: set[int] = set()

        def both_know() -> bool:
            first, *_ = workers = statistics(served.target).workers
            if sum(each.calls for each in workers) == 20:
                knowing.add(first.pid)
            return len(knowing) == 2

        until(both_know)
        served.children[0].send_signal(signal.SIGKILL)
        served.until_said("worker . is ready again")
        all_say(20)
        served.children[-1].send_signal(signal.SIGKILL)
        served.until_said("the teacher is ready again")
        all_say(20)
        ask_over_new_connections(served.target, 5)
        all_say(25)
    with serve(*options) as again, again.client() as client:
        client.wait_ready()
        assert max(each.total for each in client.service_level().objectives) == 25


@pytest.mark.parametrize("fidelity", [pb.FIDELITY_FAST, pb.FIDELITY_FULL])
def test_a_seed_gives_the_same_rows_whatever_the_processes(
    two: Served, repository: Path, fidelity: int
) -> None:
    request = ask(row(items=3), seed=7, draws=20, fidelity=fidelity)
    with running(ServerConfig(repository=repository, port=0)) as alone:
        expected = alone.stub.Synthesize(request)
    with grpc.insecure_channel(two.target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        found = stub.Synthesize(request, timeout=SOON)
    assert found.rows == expected.rows
    assert found.provenance.tier == expected.provenance.tier


def test_a_worker_that_dies_takes_only_its_own_calls(two: Served) -> None:
    """Streams to both, one of which is killed."""
    killed = threading.Event()
    begun = threading.Semaphore(0)

    def stream() -> str:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(two.target, options)
        # What is lost is not to be resumed on another worker.
        with Client(two.target, channel=channel, retry=Retry(attempts=1)) as client:
            try:
                for number, _ in enumerate(client.stream(TABLE, 10_000_000, timeout=SOON)):
                    if number == 0:
                        begun.release()
                    if killed.is_set():
                        return "goes on"
            except Unavailable:
                pass
            return "unavailable"

    with ThreadPoolExecutor(32) as threads:
        workers, streams = two.children[:2], []
        while not all(connections(each) for each in workers):
            streams.append(threads.submit(stream))
            assert begun.acquire(timeout=SOON)
        workers[0].send_signal(signal.SIGKILL)
        two.until_said("worker . .process .* was ended by SIGKILL; starting it again")
        killed.set()
        assert {each.result() for each in streams} == {"unavailable", "goes on"}
    two.until_said("is ready again")
    with two.client() as client:  # whichever worker it meets
        client.wait_ready()
        for _ in range(20):
            assert client.synthesize(TABLE, {"items": 3}).data["items"] == 3


def test_connections_are_spread_evenly(two: Served) -> None:
    """The system alone would spread them by chance."""
    workers = two.children[:2]

    def of_each() -> list[int]:
        return [connections(worker) for worker in workers]

    for _ in range(3):
        until(lambda: of_each() == [0, 0])
        with ExitStack() as stack:
            for _ in range(8):
                channel = grpc.insecure_channel(
                    two.target, options=[("grpc.use_local_subchannel_pool", 1)]
                )
                stub = SynthesisStub(stack.enter_context(channel))  # type: ignore[no-untyped-call]
                stub.ListTables(pb.ListTablesRequest(), timeout=SOON)
            assert of_each() == [4, 4]


@pytest.mark.parametrize("standing", [False, True])
def test_callers_of_the_sdk_do_not_notice_a_worker_that_dies(two: Served, standing: bool) -> None:
    stop = threading.Event()

    def call() -> int:
        calls = 0
        with two.client() as client:
            asked = client.session() if standing else client
            while not stop.is_set():
                # Time enough: how fast this machine is, is not asked; nor whether a server that is
                # very slow for a while refuses calls.
                with suppress(Overloaded):
                    asked.synthesize(TABLE, {"items": 3}, fidelity="fast", timeout=SOON)
                    calls += 1
        return calls

    with ThreadPoolExecutor() as threads:
        callers = [threads.submit(call) for _ in range(4)]
        for times in range(1, 4):
            two.children[0].send_signal(signal.SIGKILL)
            two.until_said("is ready again", times)
        stop.set()
        assert all(caller.result() > 0 for caller in callers)


def test_without_the_teacher_auto_is_the_student_and_full_is_unavailable(two: Served) -> None:
    """What was inside the teacher's process, or comes for it alone, is UNAVAILABLE."""
    with grpc.insecure_channel(two.target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]

        def tier(fidelity: int) -> int:
            try:
                answer = stub.Synthesize(ask(fidelity=fidelity), timeout=SOON)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return pb.TIER_UNSPECIFIED
            found: int = answer.provenance.tier
            return found

        until(lambda: tier(pb.FIDELITY_AUTO) == pb.TIER_TEACHER)  # as soon as it is quick enough
        # The supervisor is held, so that the teacher is away for as long as it takes to look.
        two.process.send_signal(signal.SIGSTOP)
        two.children[-1].send_signal(signal.SIGKILL)
        until(lambda: tier(pb.FIDELITY_AUTO) == pb.TIER_STUDENT)
        assert tier(pb.FIDELITY_FULL) == pb.TIER_UNSPECIFIED
        two.process.send_signal(signal.SIGCONT)
        until(lambda: tier(pb.FIDELITY_FULL) == pb.TIER_TEACHER)


def test_a_worker_comes_back_while_the_teacher_cannot(two: Served) -> None:
    """The student needs no teacher; what does is UNAVAILABLE until there is one."""
    supervisor, (*workers, teacher) = psutil.Process(two.process.pid), two.children
    paths = {each.laddr for each in teacher.net_connections("unix") if each.laddr}
    (path,) = (Path(each) for each in paths)
    supervisor.suspend()  # or it would start a teacher before its place is taken
    teacher.send_signal(signal.SIGKILL)
    path.unlink()
    path.mkdir()
    supervisor.resume()
    two.until_said("the teacher .process .* ended with status 1")
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    two.until_said("worker 0 is ready again")
    two.until_said("worker 1 is ready again")
    with two.client() as client:
        client.wait_ready()
        answer = client.synthesize(TABLE, {"items": 3})
        assert answer.provenance.tier == "student"
        with pytest.raises(Unavailable):
            client.synthesize(TABLE, {"items": 3}, fidelity="full", timeout=1.0)
        path.rmdir()
        two.until_said("the teacher is ready again")

        def full() -> bool:
            """Not while a worker has yet to meet the teacher that is ready."""
            try:
                answer = client.synthesize(TABLE, {"items": 3}, fidelity="full")
            except Unavailable:
                return False
            return bool(answer.provenance.tier == "teacher")

        until(full)
