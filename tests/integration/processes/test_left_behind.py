"""What a process leaves behind that is killed while others take over from it."""

from __future__ import annotations

import signal
from pathlib import Path

from cascade_client import CascadeError, Client, Retry

from tests.integration.serving import SOON, Served, serve, until
from tests.releases import TABLE
from tests.server.access.examples import key_of, lines

TENANTS = f"""
tenants:
  one:
    keys: {lines("one")}
    tables: "*"
    limits: {{connections: 1}}
  many:
    keys: {lines("many")}
    tables: "*"
"""


def client(served: Served, name: str) -> Client:
    return Client(served.target, api_key=key_of(name)[0], timeout=SOON, retry=Retry(attempts=1))


def is_let_in(served: Served, name: str) -> bool:
    with client(served, name) as asks:
        try:
            return [each.table for each in asks.tables()] == [TABLE]
        except CascadeError:
            return False


def test_a_tenants_connections_end_with_the_process_that_had_them(
    repository: Path, tmp_path: Path
) -> None:
    access = tmp_path / "access.yaml"
    access.write_text(TENANTS)
    options = ("--repository", str(repository), "--access", str(access), "--pool-mib", "0")
    with serve(*options) as served, client(served, "one") as first:
        assert first.tables()
        assert not is_let_in(served, "one")  # it has the one that it may have
        worker = served.children[0]
        # It can neither end what is inside, nor leave by itself.
        worker.suspend()
        served.process.send_signal(signal.SIGHUP)
        until(lambda: is_let_in(served, "many"))
        worker.kill()
        served.until_said("has taken over")
        until(lambda: is_let_in(served, "one"))
