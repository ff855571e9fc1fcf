"""`cascade health` against a server that says what a test has it say."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cascade_cli.program import main
from cascade_client import Client
from cascade_client.calls import health
from click.testing import CliRunner, Result

Statuses = dict[str, str]
TABLES = {"cascade.v1.Synthesis/credit": "SERVING", "cascade.v1.Synthesis/adult": "NOT_SERVING"}
SERVES: Mapping[str, str] = {"": "SERVING", "cascade.v1.Synthesis": "SERVING", **TABLES}


def listed(statuses: Mapping[str, str]) -> bytes:
    """A HealthListResponse of short names."""
    out = b""
    for name, status in statuses.items():
        value = bytes((0x12, 2, 0x08, health.STATUSES.index(status)))
        entry = bytes((0x0A, len(name))) + name.encode() + value
        out += bytes((0x0A, len(entry))) + entry
    return out


@pytest.fixture
def said() -> Statuses:
    return dict(SERVES)


@pytest.fixture(params=["List", "Check"])
def method(request: pytest.FixtureRequest) -> str:
    """What the server has; servers of before have no list."""
    return str(request.param)


@pytest.fixture
def target(said: Statuses, method: str) -> Iterator[str]:
    def answer(_: bytes, __: object) -> bytes:
        if method == "List":
            return listed(said)
        return bytes((0x08, health.STATUSES.index(said[""])))

    server = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def run(target: str) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["health", *arguments], env={"CASCADE_TARGET": target})

    return run


@pytest.mark.parametrize(("status", "code"), [("SERVING", 0), ("NOT_SERVING", 1)])
def test_the_server_as_a_whole(
    run: Callable[..., Result], said: Statuses, status: str, code: int
) -> None:
    said[""] = status
    result = run()
    assert result.exit_code == code
    assert result.output.splitlines()[0].split() == ["the", "server", status]
    assert run("--quiet").output == ""
    document = json.loads(run("--json").output)
    assert (document["serving"], document["services"][""]) == (code == 0, status)


@pytest.mark.parametrize("method", ["List"], indirect=True)
@pytest.mark.parametrize(
    ("tables", "code"), [(["credit"], 0), (["adult"], 1), (["credit", "adult"], 1), (["cred"], 2)]
)
def test_tables(run: Callable[..., Result], tables: list[str], code: int) -> None:
    result = run(*(f"--table={table}" for table in tables))
    assert result.exit_code == code
    if code == 2:
        assert "unknown table 'cred'; the tables are: adult, credit" in result.output
    else:
        assert "table credit          SERVING" in result.output


def test_the_client_tells_the_same(target: str, method: str) -> None:
    with Client(target) as client:
        assert client.health() == (SERVES if method == "List" else {"": "SERVING"})


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nobody_is_there(options: list[str]) -> None:
    result = CliRunner().invoke(main, ["health", "--target", "127.0.0.1:1", *options])
    assert result.exit_code == 2
    assert "127.0.0.1:1" in result.output
    assert "Traceback" not in result.output


def test_whoever_is_there_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        result = CliRunner().invoke(main, ["health", "--target", target, "--timeout", "0.2"])
    assert result.exit_code == 2
    assert f"no answer from {target} in 0.2 s: " in result.output
