"""A generation follows another while callers ask, and what is loaded then."""

from __future__ import annotations

import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest
from cascade_client import InvalidRequest, NotFound
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from tests.integration.releases.served import command, damage, publish, serve, states, version_of
from tests.integration.serving import Served, until
from tests.releases import TABLE
from tests.server.messages import ask, row
from tests.typed import SOON, typed

# Seconds between two calls of one caller: without them, the callers would take from what loads.
REST = 0.005


class TestReloading:
    """A generation follows another."""

    def test_callers_do_not_notice(self, repository: Path, releases: Path) -> None:
        """Unary calls without a retry, sessions, and a stream that goes on where it is."""
        over = threading.Event()

        def calls(target: str) -> int:
            options = [("grpc.use_local_subchannel_pool", 1)]
            made = 0
            with grpc.insecure_channel(target, options) as channel:
                stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
                while not over.wait(REST):
                    call = stub.Synthesize.future(
                        ask(row(items=3), fidelity=pb.FIDELITY_FAST), timeout=SOON
                    )
                    # On a machine that is slow, some more than it can answer: told, and not lost.
                    if call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        made += call.result().rows.count
            return made

        def standing(served: Served) -> int:
            made = 0
            with served.client() as client, client.session() as session:
                while not over.wait(REST):
                    session.synthesize(TABLE, {"items": 3}, fidelity="fast")
                    made += 1
            return made

        def rows(served: Served) -> int:
            with served.client() as client:
                return sum(len(part.data) for part in client.stream(TABLE, 8000, timeout=SOON))

        options = ("--repository", str(repository), "--workers", "2", "--pool-mib", "0")
        with serve(*options) as served, ThreadPoolExecutor() as threads, served.client() as client:
            stream = threads.submit(rows, served)
            callers = [threads.submit(calls, served.target) for _ in range(4)]
            callers += [threads.submit(standing, served) for _ in range(2)]
            try:
                for version in (2, 3):
                    before = client.releases.list().generation
                    publish(releases, repository, TABLE, version)
                    after = client.releases.load()
                    assert after.generation == before + 1
                    assert after.answering(TABLE) == version
                    assert version_of(client) == version
            finally:
                over.set()
            assert all(caller.result() > 0 for caller in callers)
            assert stream.result() == 8000

    def test_two_tables_and_five_versions_live_at_once(self, releases: Path) -> None:
        with serve("--repository", str(releases)) as served, served.client() as client:
            for table, versions in ((TABLE, (1, 2, 3)), ("shops", (1, 2))):
                for version in versions:
                    answer = client.synthesize(table, {"items": 3}, version=version)
                    found = answer.provenance
                    assert (found.table, found.version) == (table, version)

    def test_processes_are_replaced_and_no_more_of_them_are_left(self, one: Served) -> None:
        before = {each.pid for each in one.children}
        with one.client() as client:
            for _ in range(3):
                client.releases.load()
        until(lambda: len(one.children) == len(before))
        assert not before & {each.pid for each in one.children}

    def test_a_release_that_is_damaged_changes_nothing(
        self, one: Served, repository: Path, releases: Path
    ) -> None:
        publish(releases, repository, TABLE, 2)
        path = damage(repository, 2)
        before = {each.pid for each in one.children}
        with one.client() as client:
            with pytest.raises(InvalidRequest, match=r"model\.onnx is damaged or was changed"):
                client.releases.load(TABLE, 2)
            until(lambda: {each.pid for each in one.children} == before)
            assert version_of(client) == 1
            assert states(client) == {(TABLE, 1): "loaded", (TABLE, 2): "refused"}
            (refused,) = [each for each in client.releases.list().releases if each.version == 2]
            assert path.name in refused.reason
            one.until_said("all goes on as before: payments version 2: .*damaged")
            # What else there is to load does not suffer for it, and what was mended is loaded.
            publish(releases, repository, TABLE, 3)
            with pytest.raises(InvalidRequest, match=r"onnx is damaged.*; all else is loaded"):
                client.releases.load()
            assert version_of(client) == 3
            shutil.copy(releases / f"{TABLE}_student/2/model.onnx", path)
            client.releases.load(TABLE, 2)
            assert states(client) == {(TABLE, number): "loaded" for number in (1, 2, 3)}

    @pytest.mark.parametrize("words", [(TABLE,), (TABLE, "--version", "1"), ()])
    def test_one_that_is_served_and_damaged_since_goes_on_being_served(
        self, releases: Path, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        folder = tmp_path / "model_repository"
        publish(releases, folder, TABLE, 1)
        publish(releases, folder, "shops", 1)
        with (
            serve("--repository", str(folder), "--pool-mib", "0") as served,
            served.client() as client,
        ):
            before = {each.pid for each in served.children}
            path = damage(folder, 1)
            publish(releases, folder, TABLE, 2)
            done = command(served.target, "load", *words)
            said = done.stderr.replace("\n", " ")
            assert done.returncode == 1
            assert path.name in said
            assert "is damaged or was changed" in said
            assert "what was served goes on being served" in said
            until(lambda: {each.pid for each in served.children} == before)
            assert client.synthesize(TABLE, {"items": 3}, version=1).provenance.version == 1
            assert states(client) == {
                (TABLE, 1): "loaded",
                (TABLE, 2): "available",
                ("shops", 1): "loaded",
            }

    def test_connections_that_wait_to_be_taken_are_taken_by_who_follows(self, one: Served) -> None:
        """The worker is held, so that a caller waits in the queue of the port, until another
        generation has come and answers it."""
        worker = one.children[0]
        worker.suspend()
        host, _, port = one.target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=SOON) as waiting:
            waiting.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5))
            one.process.send_signal(signal.SIGHUP)
            # The server's SETTINGS frame: it speaks.
            assert waiting.recv(9)[3] == 4
            worker.resume()
            one.until_said("generation 2 has taken over")

    def test_a_new_version_is_noticed(self, repository: Path, releases: Path) -> None:
        options = ("--repository", str(repository), "--pool-mib", "0", "--poll-seconds", "0.1")
        options = (*options, "--version-policy", "latest")
        with serve(*options) as served, served.client() as client:
            publish(releases, repository, TABLE, 2)
            until(lambda: version_of(client) == 2)
            # Who answered before is there, to go back to.
            assert client.releases.roll_back(TABLE).answering(TABLE) == 1
            assert version_of(client) == 1

    def test_a_damaged_new_version_is_tried_once(self, repository: Path, releases: Path) -> None:
        staged = repository.parent / "staged"
        publish(releases, staged, TABLE, 2)
        damage(staged, 2)
        options = ("--repository", str(repository), "--pool-mib", "0", "--poll-seconds", "0.05")
        with serve(*options) as served, served.client() as client:
            publish(staged, repository, TABLE, 2)
            served.until_said("all goes on as before")
            publish(releases, repository, TABLE, 3)
            until(lambda: version_of(client) == 3)
            assert sum("goes on as before" in line for line in served.lines) == 1

    def test_a_new_table_is_counted_too(
        self, one: Served, repository: Path, releases: Path
    ) -> None:
        with one.client() as client:
            for _ in range(5):
                version_of(client)
            publish(releases, repository, "shops", 1)
            client.releases.load("shops")
            client.synthesize("shops", {"items": 3}, fidelity="fast")
            until(lambda: sum(each.count for each in client.service_level().latencies) >= 1)
            kept = {
                each.table: each.total
                for each in client.service_level().objectives
                if (each.kind, each.service) == ("availability", "realtime")
            }
            assert kept == {TABLE: 5, "shops": 1}

    def test_a_worker_that_dies_later_is_one_of_the_new_generation(
        self, one: Served, repository: Path, releases: Path
    ) -> None:
        publish(releases, repository, TABLE, 2)
        with one.client() as client:
            client.releases.load()
            until(lambda: len(one.children) == 2)
            one.children[0].send_signal(signal.SIGKILL)
            one.until_said("worker 0 is ready again")
            client.wait_ready()
            assert version_of(client) == 2

    def test_what_is_asked_for_survives_a_restart(
        self, repository: Path, releases: Path, tmp_path: Path
    ) -> None:
        for version in (2, 3):
            publish(releases, repository, TABLE, version)
        options = ("--repository", str(repository), "--state-dir", str(tmp_path / "state"))
        with serve(*options) as served, served.client() as client:
            client.releases.unload(TABLE, 3)
            client.releases.promote(TABLE, 1)
        with serve(*options) as served, served.client() as client:
            assert version_of(client) == 1
            assert states(client)[TABLE, 3] == "available"

    def test_the_policy_of_a_table(self, releases: Path) -> None:
        options = ("--repository", str(releases), "--serve", f"{TABLE}=1,3")
        with serve(*options) as served, served.client() as client:
            found = states(client)
            assert {key for key, state in found.items() if state == "loaded"} == {
                (TABLE, 1),
                (TABLE, 3),
            }
            with pytest.raises(NotFound, match="unknown table 'shops'"):
                client.synthesize("shops", {})
            client.releases.load("shops", 1)
            assert client.synthesize("shops", {}).provenance.version == 1

    def test_a_table_that_is_not_there_is_named(self, releases: Path) -> None:
        done = typed("serve", "--port", "0", "--repository", str(releases), "--serve", "shop")
        assert done.returncode == 1
        assert "unknown table 'shop'; the tables are: payments, shops. Did you mean" in done.stderr


def test_no_process_is_left_when_a_server_is_stopped_while_it_loads(
    repository: Path,
) -> None:
    with serve("--repository", str(repository)) as served:
        served.process.send_signal(signal.SIGHUP)
        served.until_said("loading generation 2")
        children = psutil.Process(served.process.pid).children(recursive=True)
        served.process.terminate()
        assert served.process.wait(SOON) == 0
        assert not [each for each in children if each.is_running()]
