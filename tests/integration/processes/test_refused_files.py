"""A server whose files somebody breaks while it serves, and whose processes die meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cascade_client import Client, Retry, Unauthenticated

from tests.integration.serving import SOON, Served, serve, until
from tests.releases import TABLE
from tests.server.access.examples import key_of, lines

PRICES = "currency: EUR\ncore_hour: 0.04\n"


def tenants(*names: str) -> str:
    found = [f"  {name}:\n    keys: {lines(name)}\n    tables: '*'\n" for name in names]
    return "tenants:\n" + "".join(found)


def is_let_in(served: Served, name: str) -> bool:
    once = Retry(attempts=1)
    with Client(served.target, api_key=key_of(name)[0], timeout=SOON, retry=once) as client:
        try:
            return [each.table for each in client.tables()] == [TABLE]
        except Unauthenticated:
            return False


def test_who_takes_the_place_of_one_that_died_does_what_that_one_did(
    repository: Path, tmp_path: Path
) -> None:
    """As the files were when they were last right, and not when the server was started."""
    access, prices = tmp_path / "access.yaml", tmp_path / "prices.yaml"
    access.write_text(tenants("alice", "bob"))
    prices.write_text(PRICES)
    options = ("--repository", str(repository), "--access", str(access), "--prices", str(prices))
    with serve(*options, "--ops-port", "0", "--pool-mib", "0") as served:
        access.write_text(tenants("alice"))
        served.process.send_signal(signal.SIGHUP)
        until(lambda: not is_let_in(served, "bob"))
        access.write_text(tenants("alice").replace("tables", "tabels"))
        prices.write_text(PRICES.replace("core", "cores"))
        # The worker and who keeps the books; the teacher, which reads neither, is the last.
        for each in served.children[:2]:
            each.kill()
        served.until_said("is ready again", times=2)
        assert is_let_in(served, "alice")
        assert not is_let_in(served, "bob")
        said = "".join(served.lines)
        assert "Did you mean 'tables'" in said
        assert "Did you mean 'core_hour'" in said
        assert said.count("what held before still does") >= 3


@pytest.mark.parametrize("broken", ["access", "prices"])
def test_a_server_does_not_start_with_one_that_never_was_right(
    repository: Path, tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("none")
    with (
        pytest.raises(AssertionError, match=r"broken\.yaml"),
        serve("--repository", str(repository), f"--{broken}", str(path)),
    ):
        pass
