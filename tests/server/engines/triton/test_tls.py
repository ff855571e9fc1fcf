"""Networks on servers that speak TLS."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from cascade_server.addresses import servers_of
from cascade_server.config import ServerConfig
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.triton.fleet import Fleet
from cascade_server.engines.triton.tls import credentials_of
from cascade_server.errors import ConfigError

from tests.certificates import Authority
from tests.server.engines.triton.asked import networks, soon, task
from tests.server.engines.triton.fakes import FakeServer


async def test_a_server_that_asks_for_a_certificate(runtime: Runtime, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, mine = authority.server(), authority.signs("cascade")
    offered = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.certificate.read_bytes())],
        authority.path.read_bytes(),
        require_client_auth=True,
    )
    server = FakeServer(networks(runtime), offered)
    await server.start()
    config = ServerConfig(
        runtime=f"tritons://{server.target}",
        runtime_ca=authority.path,
        runtime_certificate=mine.certificate,
        runtime_key=mine.key,
    )
    fleet = Fleet(servers_of(config.runtime), credentials=credentials_of(config))
    await fleet.start([runtime])
    await fleet.student(runtime).submit(task(runtime), soon())
    await fleet.stop()
    stranger = Authority(tmp_path, "stranger")
    distrusting = ServerConfig(runtime=config.runtime, runtime_ca=stranger.path)
    fleet = Fleet(servers_of(config.runtime), credentials=credentials_of(distrusting))
    with pytest.raises(ConfigError, match="CERTIFICATE_VERIFY_FAILED"):
        await fleet.start([runtime])
    await fleet.stop()
    await server.stop()


def test_in_the_clear_there_are_none() -> None:
    assert credentials_of(ServerConfig(runtime="triton://a:1")) is None
    assert credentials_of(ServerConfig()) is None


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    config = ServerConfig(runtime="tritons://a:1", runtime_ca=tmp_path / "no")
    with pytest.raises(ConfigError, match=r"runtime_ca is .*no, which cannot be read"):
        credentials_of(config)
    (tmp_path / "junk").write_text("junk")
    config = ServerConfig(runtime="tritons://a:1", runtime_ca=tmp_path / "junk")
    with pytest.raises(ConfigError, match=r"runtime_ca is .*junk, which holds no certificate"):
        credentials_of(config)
