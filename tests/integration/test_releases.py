"""Releases that are loaded, tried, promoted and taken back while callers ask."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import psutil
import pytest
from cascade_client import Client, InvalidRequest, NotFound
from cascade_proto import inference_pb2 as oip
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_proto.synthesis_pb2_grpc import ReleasesStub, SynthesisStub
from cascade_tables import load_release, write_release
from cascade_tables.releases.remote import RemoteRepository
from onnx import helper, numpy_helper

from tests.integration import serving
from tests.integration.serving import CASCADE, SOON, Served, until
from tests.releases import TABLE, make_release
from tests.server.messages import ask, row


# Callers over the network may, but where the test is of whether they may.
def serve(*options: str) -> AbstractContextManager[Served]:
    return serving.serve("--release-control", *options)


# Of the models of a table.
ENDS = ("", "_student", "_teacher")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`payments` in versions 1 to 3, `shops` in 1 and 2."""
    folder: Path = tmp_path_factory.mktemp("releases")
    for version in (1, 2, 3):
        make_release(folder, version=version, seed=version)
    for version in (1, 2):
        make_release(folder, table="shops", version=version, seed=version)
    return folder


@pytest.fixture
def repository(releases: Path, tmp_path: Path) -> Path:
    """Version 1 of `payments`; more may be published."""
    folder = tmp_path / "model_repository"
    publish(releases, folder, TABLE, 1)
    return folder


def publish(source: Path, folder: Path, table: str, version: int) -> None:
    """As `cascade release` does: each folder whole, the manifest's last."""
    for name in (f"{table}_student", f"{table}_teacher", table):
        staged = folder / f".{name}-{version}"
        shutil.copytree(source / name / str(version), staged)
        (folder / name).mkdir(exist_ok=True)
        staged.rename(folder / name / str(version))


def damage(folder: Path, version: int) -> Path:
    path = folder / f"{TABLE}_student" / str(version) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    return path


@pytest.fixture
def one(repository: Path) -> Iterator[Served]:
    with serve("--repository", str(repository), "--pool-mib", "0") as served:
        yield served


def command(target: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CASCADE, "releases", *words, "--target", target],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )


def states(client: Client) -> dict[tuple[str, int], str]:
    report = client.releases.list()
    return {(each.table, each.version): str(each.state) for each in report.releases}


def version_of(client: Client, **options: Any) -> int:
    return client.synthesize(TABLE, {"items": 3}, fidelity="fast", **options).provenance.version


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
                while not over.is_set():
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
                while not over.is_set():
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
        done = subprocess.run(
            [*CASCADE, "serve", "--port", "0", "--repository", str(releases), "--serve", "shop"],
            capture_output=True,
            text=True,
            timeout=SOON,
            check=False,
        )
        assert done.returncode == 1
        assert "unknown table 'shop'; the tables are: payments, shops. Did you mean" in done.stderr


class TestTrials:
    """A canary gets a share, and is judged by what callers get."""

    @staticmethod
    def refuses_seven_items(source: Path, folder: Path) -> None:
        """Version 2, whose student fails for a value that its rehearsal does not have."""
        release = load_release(source, TABLE, 2)
        model = onnx.load_from_string(release.student)
        encoded = release.codec.encode_partial({"items": [7]}, 1)
        slot = int(np.flatnonzero(encoded.observed[0])[0])
        seven = np.full((1, encoded.tokens.shape[1]), -1, np.int32)
        seven[0, slot] = encoded.tokens[0, slot]
        graph = model.graph
        graph.initializer.append(numpy_helper.from_array(seven, "seven"))
        graph.initializer.append(numpy_helper.from_array(np.array(10**6, np.int32), "nowhere"))
        at = next(i for i, node in enumerate(graph.node) if node.op_type == "Where")
        index = graph.node[at].output[0]
        graph.node[at].output[0] = "index_before"
        graph.node.insert(at + 1, helper.make_node("Equal", ["tokens", "seven"], ["is_seven"]))
        graph.node.insert(
            at + 2, helper.make_node("And", ["is_seven", "observed"], ["is_known_seven"])
        )
        where = helper.make_node("Where", ["is_known_seven", "nowhere", "index_before"], [index])
        graph.node.insert(at + 3, where)
        write_release(
            folder, release.manifest, release.codec, model.SerializeToString(), release.teacher
        )

    @staticmethod
    def ask_for(client: Client, items: int, times: int) -> set[int]:
        """Versions that answered."""
        versions = set()
        for _ in range(times):
            try:
                answer = client.synthesize(TABLE, {"items": items}, fidelity="fast")
            except Exception:
                continue
            versions.add(answer.provenance.version)
        return versions

    def test_a_bad_one_is_rolled_back(self, repository: Path, releases: Path) -> None:
        self.refuses_seven_items(releases, repository)
        options = ("--repository", str(repository), "--pool-mib", "0", "--canary-seconds", "3600")
        with serve(*options) as served, served.client() as client:
            client.releases.promote(TABLE, 1)
            report = client.releases.canary(TABLE, 2, 0.3)
            (trial,) = [each for each in report.releases if each.version == 2]
            assert (trial.canary, trial.share) == (True, 0.3)
            # Every call of the canary fails, and of no other version.
            assert self.ask_for(client, 7, 60) == {1}
            served.until_said(f"{TABLE} version 2 is rolled back: .*availability")
            assert client.releases.list().answering(TABLE) == 1
            assert self.ask_for(client, 3, 40) == {1}

    def test_a_good_one_is_promoted(self, repository: Path, releases: Path) -> None:
        options = ("--repository", str(repository), "--pool-mib", "0", "--canary-share", "50%")
        options = (*options, "--canary-seconds", "0", "--canary-calls", "30")
        options = (*options, "--slo", str(self.slack(repository.parent)), "--metrics-port", "0")
        with serve(*options) as served, served.client() as client:
            publish(releases, repository, TABLE, 2)
            report = client.releases.load()
            assert report.answering(TABLE) in (1, 2)
            assert {each.version: each.canary for each in report.releases} == {1: False, 2: True}
            assert self.ask_for(client, 3, 100) == {1, 2}
            served.until_said(f"{TABLE} version 2 is promoted: .*kept every objective")
            assert self.ask_for(client, 3, 20) == {2}
            # And back, at once.
            assert client.releases.roll_back(TABLE).answering(TABLE) == 1
            assert self.ask_for(client, 3, 20) == {1}

    @staticmethod
    def slack(folder: Path) -> Path:
        """An objective that a slow machine keeps."""
        path = folder / "slo.yaml"
        path.write_text(
            'objectives:\n  - {table: "*", class: realtime, availability: {target: 0.5}}\n'
        )
        return path

    def test_a_seed_has_one_version(self, repository: Path, releases: Path) -> None:
        publish(releases, repository, TABLE, 2)
        options = ("--repository", str(repository), "--canary-seconds", "3600")
        with serve(*options) as served, served.client() as client:
            client.releases.promote(TABLE, 1)
            client.releases.canary(TABLE, 2, 0.5)
            first = [version_of(client, seed=seed) for seed in range(30)]
            assert set(first) == {1, 2}
            assert first == [version_of(client, seed=seed) for seed in range(30)]
            # Who names a version gets it, whatever is on trial.
            assert {version_of(client, seed=seed, version=1) for seed in range(10)} == {1}


class TestTheCommands:
    """What is typed, and how it reads."""

    def test_a_session(self, one: Served, repository: Path, releases: Path) -> None:
        publish(releases, repository, TABLE, 2)
        listed = command(one.target, "list")
        assert listed.returncode == 0
        for words in (TABLE, "loaded", "100 %", "available", "policy: payments all"):
            assert words in listed.stdout
        loaded = command(one.target, "load", TABLE, "--version", "2", "--json")
        found = json.loads(loaded.stdout)
        assert [each["state"] for each in found["releases"]] == ["loaded", "loaded"]
        assert found["generation"] == 2
        assert "canary" in command(one.target, "canary", TABLE, "--version", "1").stdout
        assert "canary" not in command(one.target, "promote", TABLE).stdout
        back = command(one.target, "rollback", TABLE, "--json")
        shares = {each["version"]: each["share"] for each in json.loads(back.stdout)["releases"]}
        assert shares == {1: 0, 2: 1}
        assert command(one.target, "unload", TABLE, "--version", "1").returncode == 0

    def test_what_cannot_be_is_said_in_words(self, one: Served) -> None:
        for words, said in (
            (("load", TABLE, "--version", "9"), "has no version 9; its versions are: 1"),
            (("load", "paiments"), "Did you mean 'payments'?"),
            (("unload", TABLE), "payments is all that this server serves"),
            (("canary", TABLE, "--version", "1"), "is the one that answers"),
            (("canary", TABLE, "--version", "1", "--share", "many"), "allowed: as in 5% or 0.05"),
            (("promote", TABLE), "has no canary"),
            (("rollback", TABLE), "neither a canary nor a version that answered before"),
        ):
            done = command(one.target, *words)
            assert done.returncode != 0
            assert said in done.stderr.replace("\n", " ")
            assert "Traceback" not in done.stderr


class TestWhoMayAsk:
    """Over the network nobody is asked who they are, and so nobody may, unless it is said."""

    CHANGES = (
        ("LoadRelease", pb.LoadReleaseRequest(table=TABLE)),
        ("UnloadRelease", pb.UnloadReleaseRequest(table=TABLE)),
        ("StartCanary", pb.StartCanaryRequest(table=TABLE, version=1, share=0.1)),
        ("PromoteRelease", pb.PromoteReleaseRequest(table=TABLE)),
        ("RollBackRelease", pb.RollBackReleaseRequest(table=TABLE)),
    )

    @staticmethod
    def refusal(call: Any, request: object) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=SOON)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        return str(caught.value.details())

    @pytest.mark.parametrize("options", [(), ("--no-release-control",)])
    def test_over_the_network(self, repository: Path, options: tuple[str, ...]) -> None:
        with (
            serving.serve("--repository", str(repository), *options) as served,
            grpc.insecure_channel(served.target) as channel,
        ):
            stub: Any = ReleasesStub(channel)  # type: ignore[no-untyped-call]
            assert len(stub.ListReleases(pb.ListReleasesRequest(), timeout=SOON).releases) == 1
            for name, request in self.CHANGES:
                said = self.refusal(getattr(stub, name), request)
                assert "control.sock" in said
                assert "--release-control" in said
            models: Any = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            load = oip.RepositoryModelLoadRequest(model_name=TABLE)
            assert "control.sock" in self.refusal(models.RepositoryModelLoad, load)
            unload = oip.RepositoryModelUnloadRequest(model_name=TABLE)
            assert "control.sock" in self.refusal(models.RepositoryModelUnload, unload)
            assert command(served.target, "load").returncode == 1

    @pytest.mark.parametrize("transport", ["http2", "grpcio"])
    def test_by_the_socket_of_the_state_folder(
        self, repository: Path, releases: Path, tmp_path: Path, transport: str
    ) -> None:
        path = tmp_path / "state" / "control.sock"
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))  # by a server that was killed
        options = ("--repository", str(repository), "--transport", transport)
        options = (*options, "--state-dir", str(path.parent), "--pool-mib", "0")
        with serving.serve(*options) as served:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with grpc.insecure_channel(f"unix:{path}") as channel:
                stub: Any = ReleasesStub(channel)  # type: ignore[no-untyped-call]
                for version in (2, 3):
                    publish(releases, repository, TABLE, version)
                    told = stub.LoadRelease(pb.LoadReleaseRequest(), timeout=SOON)
                    assert told.generation == version
                stub.RollBackRelease(pb.RollBackReleaseRequest(table=TABLE), timeout=SOON)
                models: Any = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
                load = oip.RepositoryModelLoadRequest(model_name=TABLE)
                models.RepositoryModelLoad(load, timeout=SOON)
            with served.client() as client:
                assert version_of(client) == 2
            done = subprocess.run(
                [*CASCADE, "serve", "--port", "0", *options],
                capture_output=True,
                text=True,
                timeout=SOON,
                check=False,
            )
            assert done.returncode == 1
            assert "is in use by another server" in done.stderr
            assert path.exists()
        assert not path.exists()


class TestOpenInference:
    """The protocol's own way to load and unload."""

    def test_load_and_unload(self, one: Served, repository: Path, releases: Path) -> None:
        publish(releases, repository, "shops", 1)
        with grpc.insecure_channel(one.target) as channel:
            stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]

            def index(ready: bool = False) -> dict[str, str]:
                request = oip.RepositoryIndexRequest(ready=ready)
                found = stub.RepositoryIndex(request, timeout=SOON).models
                return {f"{each.name}:{each.version}": each.state for each in found}

            def is_ready(name: str) -> bool:
                request = oip.ModelReadyRequest(name=name)
                return bool(stub.ModelReady(request, timeout=SOON).ready)

            ready = dict.fromkeys((f"{TABLE}{end}:1" for end in ENDS), "READY")
            assert index(ready=True) == ready
            assert index() == ready | {f"shops{end}:1": "UNAVAILABLE" for end in ENDS}
            load = oip.RepositoryModelLoadRequest(model_name="shops")
            stub.RepositoryModelLoad(load, timeout=SOON)
            assert index(ready=True)["shops:1"] == "READY"
            assert is_ready("shops")
            assert is_ready("shops_student")
            unload = oip.RepositoryModelUnloadRequest(model_name=TABLE)
            stub.RepositoryModelUnload(unload, timeout=SOON)
            assert not is_ready(TABLE)
            assert index()[f"{TABLE}:1"] == "UNAVAILABLE"
            assert f"{TABLE}:1" not in index(ready=True)
            for request, code in (
                (oip.RepositoryModelUnloadRequest(model_name="shops_student"), "FAILED_"),
                (oip.RepositoryModelUnloadRequest(model_name="nope"), "NOT_FOUND"),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    stub.RepositoryModelUnload(request, timeout=SOON)
                assert caught.value.code().name.startswith(code)
            load.parameters["config"].string_param = "{}"
            with pytest.raises(grpc.RpcError, match="parameter 'config' is not served"):
                stub.RepositoryModelLoad(load, timeout=SOON)


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


class TestBehindAURL:
    """A repository that is not on this machine; `file://` goes the same way as `s3://`."""

    def test_serve_load_and_refuse(
        self, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        url = f"file://{tmp_path}/remote"
        remote = RemoteRepository(url)
        remote.publish(releases, TABLE, 1)
        with serve("--repository", url, "--pool-mib", "0") as served, served.client() as client:
            assert version_of(client) == 1
            remote.publish(releases, TABLE, 2)
            remote.publish(releases, "shops", 1)
            damage(tmp_path / "remote", 2)
            with pytest.raises(InvalidRequest, match=r"file://.*model\.onnx is damaged"):
                client.releases.load(TABLE, 2)
            assert states(client)[TABLE, 2] == "refused"
            assert client.releases.load("shops").answering("shops") == 1
            remote.publish(releases, TABLE, 3)
            with pytest.raises(InvalidRequest, match=r"onnx is damaged.*; all else is loaded"):
                client.releases.load()
            assert version_of(client) == 3
            with pytest.raises(NotFound, match="no version 9"):
                client.releases.load(TABLE, 9)

    def test_one_that_cannot_be_reached_is_named(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [*CASCADE, "serve", "--port", "0", "--repository", f"file://{tmp_path}/nothing"],
            capture_output=True,
            text=True,
            timeout=SOON,
            check=False,
        )
        assert done.returncode == 1
        assert f"model repository file://{tmp_path}/nothing holds no release" in done.stderr
