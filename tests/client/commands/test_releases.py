"""`cascade releases` against a real gRPC server whose service is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient, Client, InvalidRequest, PermissionDenied
from cascade_client.commands.releases import not_loaded, releases
from cascade_client.values.releases import Release, ReleaseReport, ReleaseState
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import ReleasesServicer, add_ReleasesServicer_to_server
from click.testing import CliRunner, Result

Listed = tuple[int, Any, str]
LOADED, REFUSED = pb.RELEASE_STATE_LOADED, pb.RELEASE_STATE_REFUSED
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@dataclass
class Scripted(ReleasesServicer):
    """Says of each version of "credit" what it is told to; refuses calls with `error`, if any."""

    versions: list[Listed] = field(default_factory=lambda: [(1, LOADED, "")])
    error: tuple[grpc.StatusCode, str] | None = None
    requests: list[Any] = field(default_factory=list)

    def _answer(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if self.error is not None:
            context.abort(*self.error)
        return pb.ReleasesResponse(
            generation=2,
            releases=[
                pb.ReleaseStatus(
                    table="credit", version=version, state=state, reason=reason, share=1.0
                )
                for version, state, reason in self.versions
            ],
        )

    ListReleases = LoadRelease = UnloadRelease = _answer
    StartCanary = PromoteRelease = RollBackRelease = _answer


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def addresses(scripted: Scripted, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Where it listens: on the network, and on a socket in a state folder."""
    server = grpc.server(ThreadPoolExecutor(2))
    add_ReleasesServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.add_insecure_port(f"unix:{tmp_path}/control.sock")
    server.start()
    yield f"127.0.0.1:{port}", tmp_path
    server.stop(None).wait()


@pytest.fixture
def run(addresses: tuple[str, Path]) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(releases, [*arguments, "--target", addresses[0]])

    return run


class TestLoad:
    """What could not be loaded exits with status 1, and says so."""

    def test_loaded(self, run: Any, scripted: Scripted) -> None:
        result = run("load", "credit", "--version", "1")
        assert result.exit_code == 0, result.output
        assert scripted.requests == [pb.LoadReleaseRequest(table="credit", version=1)]

    def test_refused(self, run: Any, scripted: Scripted) -> None:
        scripted.versions = [(1, REFUSED, "model.onnx: its SHA-256 is another")]
        for arguments in (("credit",), ("credit", "--version", "1"), ()):
            result = run("load", *arguments)
            assert result.exit_code == 1
            assert (
                "Error: credit 1 was refused: model.onnx: its SHA-256 is another" in result.output
            )

    def test_json_is_printed_all_the_same(self, run: Any, scripted: Scripted) -> None:
        scripted.versions = [(1, LOADED, ""), (2, REFUSED, "damaged")]
        result = run("load", "credit", "--json")
        assert result.exit_code == 1
        assert [each["state"] for each in json.loads(result.stdout)["releases"]] == [
            "loaded",
            "refused",
        ]
        assert "credit 2 was refused: damaged" in result.stderr

    def test_the_server_refuses_the_call(self, run: Any, scripted: Scripted) -> None:
        scripted.error = FAILED_PRECONDITION, "credit 1: model.onnx is damaged"
        result = run("load", "credit")
        assert (result.exit_code, result.output) == (1, "Error: credit 1: model.onnx is damaged\n")

    @pytest.mark.parametrize(
        ("table", "version", "said"),
        [
            ("", 0, "b 1 was refused: damaged\nb 2 was refused: no reason was given"),
            ("a", 0, ""),
            ("a", 1, ""),
            ("a", 2, "a 2 is not loaded"),
            ("b", 1, "b 1 was refused: damaged"),
            ("c", 0, "no release of c is loaded"),
        ],
    )
    def test_what_counts(self, table: str, version: int, said: str) -> None:
        listed = [
            ("a", 1, ReleaseState.LOADED, ""),
            ("a", 2, ReleaseState.AVAILABLE, ""),
            ("b", 1, ReleaseState.REFUSED, "damaged"),
            ("b", 2, ReleaseState.REFUSED, ""),
            ("c", 1, ReleaseState.AVAILABLE, ""),
        ]
        report = ReleaseReport(
            releases=tuple(
                Release(name, number, state, 0.0, False, False, "", "", reason)
                for name, number, state, reason in listed
            ),
            generation=1,
            since=None,  # type: ignore[arg-type]
            policies={},
        )
        assert not_loaded(report, table, version) == said


class TestSocket:
    """A server that takes no control over the network takes it over its own socket."""

    def test_by_its_path_or_its_folder(
        self, addresses: tuple[str, Path], scripted: Scripted
    ) -> None:
        _, folder = addresses
        for options in (
            ["list", "--socket", f"{folder}/control.sock"],
            ["list", "--state-dir", str(folder)],
            ["--socket", f"{folder}/control.sock", "list"],
            ["--state-dir", str(folder), "list"],
        ):
            result = CliRunner().invoke(releases, options)
            assert result.exit_code == 0, result.output
            assert f"releases at unix:{folder}/control.sock" in result.output.replace("\n", "")
        assert len(scripted.requests) == 4

    def test_a_path_from_here(
        self, addresses: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(addresses[1])
        assert CliRunner().invoke(releases, ["list", "--socket", "control.sock"]).exit_code == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--socket", "a", "--state-dir", "b"], "give one of them"),
            (["--socket", "a", "--target", "b:1"], "give one of them"),
            (["--socket", "a" * 120], "longer than the 107 bytes"),
        ],
    )
    def test_what_names_no_server(self, options: list[str], message: str) -> None:
        result = CliRunner().invoke(releases, ["list", *options])
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())

    def test_nobody_there(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(releases, ["list", "--state-dir", str(tmp_path)])
        assert result.exit_code == 1
        assert f"no server is ready at unix:{tmp_path}/control.sock" in result.output
        assert "name another with --socket PATH, --state-dir PATH" in result.output

    def test_by_the_sdk(self, addresses: tuple[str, Path], scripted: Scripted) -> None:
        with Client(f"unix:{addresses[1]}/control.sock", timeout=10) as client:
            assert client.releases.promote("credit").answering("credit") == 1
        assert scripted.requests == [pb.PromoteReleaseRequest(table="credit")]

    async def test_by_tasks(self, addresses: tuple[str, Path], scripted: Scripted) -> None:
        async with AsyncClient(f"unix:{addresses[1]}/control.sock", timeout=10) as client:
            report = await client.releases.canary("credit", 1, 0.05)
            assert report.answering("credit") == 1
            await client.releases.unload("credit")
            await client.releases.roll_back("credit")
            await client.releases.load()
        assert scripted.requests == [
            pb.StartCanaryRequest(table="credit", version=1, share=0.05),
            pb.UnloadReleaseRequest(table="credit"),
            pb.RollBackReleaseRequest(table="credit"),
            pb.LoadReleaseRequest(),
        ]


class TestOffOverTheNetwork:
    """The error says where control is taken."""

    @pytest.mark.parametrize(
        "error",
        [
            (grpc.StatusCode.PERMISSION_DENIED, "not over the network"),
            (grpc.StatusCode.UNIMPLEMENTED, ""),
            (FAILED_PRECONDITION, "this server was started with --no-release-control"),
        ],
    )
    def test_there(
        self, addresses: tuple[str, Path], scripted: Scripted, run: Any, error: Any
    ) -> None:
        scripted.error = error
        with Client(addresses[0], timeout=10) as client, pytest.raises(PermissionDenied) as raised:
            client.releases.load("credit")
        assert "cascade releases ... --state-dir STATE_DIR" in str(raised.value)
        assert "Client('unix:STATE_DIR/control.sock')" in str(raised.value)
        assert raised.value.code is error[0]
        assert "--state-dir STATE_DIR" in run("load", "credit").output

    def test_not_twice_where_the_server_says_it(
        self, addresses: tuple[str, Path], scripted: Scripted
    ) -> None:
        said = "not over the network: ask at the Unix socket control.sock"
        scripted.error = grpc.StatusCode.PERMISSION_DENIED, said
        with Client(addresses[0], timeout=10) as client, pytest.raises(PermissionDenied) as raised:
            client.releases.load("credit")
        assert str(raised.value) == said

    async def test_for_tasks(self, addresses: tuple[str, Path], scripted: Scripted) -> None:
        scripted.error = grpc.StatusCode.PERMISSION_DENIED, "not over the network"
        async with AsyncClient(addresses[0], timeout=10) as client:
            with pytest.raises(PermissionDenied, match="--state-dir STATE_DIR"):
                await client.releases.load("credit")

    def test_other_errors_are_as_they_were(
        self, addresses: tuple[str, Path], scripted: Scripted
    ) -> None:
        scripted.error = FAILED_PRECONDITION, "credit 2: model.onnx is damaged"
        with (
            Client(addresses[0], timeout=10) as client,
            pytest.raises(InvalidRequest, match=r"^credit 2: model\.onnx is damaged$"),
        ):
            client.releases.load("credit")

    def test_nor_is_there_more_to_say_on_the_socket(
        self, addresses: tuple[str, Path], scripted: Scripted
    ) -> None:
        scripted.error = grpc.StatusCode.PERMISSION_DENIED, "not you"
        with (
            Client(f"unix:{addresses[1]}/control.sock", timeout=10) as client,
            pytest.raises(PermissionDenied, match=r"^not you$"),
        ):
            client.releases.load("credit")
