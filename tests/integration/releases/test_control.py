"""How releases are changed from outside: commands, who may, and Triton's protocol."""

from __future__ import annotations

import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import Client
from cascade_proto import inference_pb2 as oip
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_proto.synthesis_pb2_grpc import ReleasesStub

from tests.integration import serving
from tests.integration.releases.served import command, publish, version_of
from tests.integration.serving import Served
from tests.releases import TABLE
from tests.typed import SOON, typed

# Of the models of a table.
ENDS = ("", "_student", "_teacher")


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

    def test_several_who_ask_at_once_are_all_answered(self, one: Served) -> None:
        def load(_: int) -> int:
            with Client(one.target, timeout=SOON) as client:
                return client.releases.load(TABLE).generation

        with ThreadPoolExecutor(4) as pool:
            found = set(pool.map(load, range(4)))
        # Those who waited together have one made together, and none has been made for nobody.
        with Client(one.target, timeout=SOON) as client:
            assert found == set(range(2, client.releases.list().generation + 1))

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
            done = typed("serve", "--port", "0", *options)
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
