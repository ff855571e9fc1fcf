"""`cascade serve` over TLS as it is typed: workers share connections, and certificates change while
calls are answered."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from cascade_cli.program import main
from cascade_client import AsyncClient, Client, Retry, Tls, Unavailable
from cascade_server.objectives.metric_names import CERTIFICATE_EXPIRY as EXPIRY
from cascade_server.objectives.metric_names import CERTIFICATE_REFUSED as REFUSED
from click.testing import CliRunner

from tests.certificates import Authority, Pair, client_context
from tests.integration.serving import Served, serve, until
from tests.releases import TABLE
from tests.typed import SOON


@dataclass
class Mounted:
    """A secret as Kubernetes mounts it: files are links into `..data`, a link that is turned."""

    folder: Path
    number: int = 0

    def turn(self, certificate: bytes, key: bytes, ca: bytes) -> None:
        """Put other content there, all at once."""
        self.number += 1
        content = self.folder / f"..{self.number}"
        content.mkdir(parents=True)
        for name, each in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)):
            (content / name).write_bytes(each)
            with suppress(FileExistsError):
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(content.name)
        (self.folder / "..new").replace(self.folder / "..data")


@dataclass
class Secure:
    """A server over TLS that asks for certificates, and who may ask it."""

    served: Served
    mounted: Mounted
    authority: Authority
    pair: Pair
    mine: Pair
    state_dir: Path

    @property
    def tls(self) -> Tls:
        return Tls(self.authority.path, self.mine.certificate, self.mine.key)

    def client(self) -> Client:
        return Client(self.served.target, timeout=SOON, tls=self.tls)

    def turn(self, pair: Pair) -> None:
        ca = self.authority.path.read_bytes()
        self.mounted.turn(pair.certificate.read_bytes(), pair.key.read_bytes(), ca)

    def shown(self) -> bytes:
        """The certificate that a new connection is shown."""
        host, _, port = self.served.target.rpartition(":")
        context = client_context(self.authority.path, self.mine)
        with (
            socket.create_connection((host, int(port)), timeout=SOON) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    def shows(self, pair: Pair) -> bool:
        """Whether all of many new connections, which both workers get some of, are shown one."""
        expected = ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())
        return all(self.shown() == expected for _ in range(12))


@pytest.fixture(scope="module")
def secure(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    pair, mine = authority.server(), authority.signs("scoring")
    mounted = Mounted(folder / "mounted")
    mounted.turn(pair.certificate.read_bytes(), pair.key.read_bytes(), authority.path.read_bytes())
    with serve(
        *("--repository", str(repository), "--workers", "2", "--pool-mib", "0"),
        *("--tls-certificate", f"{mounted.folder}/tls.crt"),
        *("--tls-key", f"{mounted.folder}/tls.key"),
        *("--tls-client-ca", f"{mounted.folder}/ca.crt"),
        *("--tls-client-certificates", "required", "--tls-poll-seconds", "0.1"),
        *("--metrics-port", "0", "--state-dir", str(folder / "state")),
    ) as served:
        yield Secure(served, mounted, authority, pair, mine, folder / "state")


def test_both_clients_ask_and_every_worker_answers(secure: Secure) -> None:
    assert any("over TLS with 2 workers" in line for line in secure.served.lines)

    def workers() -> set[int]:
        with secure.client() as client:
            client.synthesize(TABLE, {"items": 5})
            return {each.pid for each in client.statistics().workers if each.calls}

    until(lambda: len(workers()) == 2)


async def test_with_asyncio_too(secure: Secure) -> None:
    async with AsyncClient(secure.served.target, timeout=SOON, tls=secure.tls) as client:
        assert (await client.synthesize(TABLE, {"items": 5})).data


def test_who_shows_nothing_is_told_what_is_wanted(secure: Secure) -> None:
    ca = secure.authority.path
    with (
        Client(secure.served.target, retry=Retry(attempts=1), tls=Tls(ca)) as client,
        pytest.raises(Unavailable, match=r"no TLS could be agreed on: .*--cert and --key"),
    ):
        client.tables()
    secure.served.until_said("has shown no certificate")


def test_the_program_speaks_it(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(*words: str) -> None:
        said = CliRunner().invoke(main, words)
        assert said.exit_code == 0, said.output

    options = ("--target", secure.served.target, "--ca", str(secure.authority.path))
    mine = ("--cert", str(secure.mine.certificate), "--key", str(secure.mine.key))
    for command in (("ask", TABLE), ("sla",), ("health",), ("releases", "list"), ("jobs", "list")):
        says(*command, *options, *mine)
    # Said to the group, it holds for its commands.
    says("releases", *options, *mine, "list")
    # So does what the environment says,
    for name, value in (
        ("CASCADE_TARGET", secure.served.target),
        ("CASCADE_CA", secure.authority.path),
        ("CASCADE_CERT", secure.mine.certificate),
        ("CASCADE_KEY", secure.mine.key),
    ):
        monkeypatch.setenv(name, str(value))
    says("sla")
    # but not for a socket of this machine's.
    says("releases", "list", "--state-dir", str(secure.state_dir))
    says("health", "--target", f"unix:{secure.state_dir}/control.sock")


def test_a_certificate_changes_while_calls_are_answered(secure: Secure) -> None:
    """No call is lost, neither of who is connected nor of who comes anew."""
    stop = threading.Event()
    errors: list[BaseException] = []
    calls = [0, 0]

    def once() -> Client:
        return Client(secure.served.target, timeout=SOON, retry=Retry(attempts=1), tls=secure.tls)

    def standing() -> None:
        with once() as client:
            while not stop.is_set():
                client.synthesize(TABLE, {"items": 5})
                calls[0] += 1

    def coming() -> None:
        while not stop.is_set():
            with once() as client:
                client.synthesize(TABLE, {"items": 5})
            calls[1] += 1

    def caught(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:
            errors.append(exc)

    def more_than(before: list[int]) -> bool:
        grown = all(now > then for now, then in zip(calls, before, strict=True))
        return bool(errors) or grown

    threads = [threading.Thread(target=caught, args=(work,)) for work in (standing, coming)]
    for each in threads:
        each.start()
    try:
        for days in (60, 90):
            new, before = secure.authority.server(days), list(calls)
            secure.turn(new)
            until(partial(secure.shows, new))
            until(partial(more_than, before))
            until(lambda: scraped(secure, EXPIRY) == new.ends)  # noqa: B023 (called at once)
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert errors == []


def test_files_that_are_not_sound_are_refused(secure: Secure) -> None:
    """The certificate from before goes on being shown, and what is wrong is said and counted."""
    good, other = secure.authority.server(), secure.authority.server()
    secure.turn(good)
    until(partial(secure.shows, good))
    secure.turn(replace(good, key=other.key))
    secure.served.until_said("new TLS files are refused.*is not the key of the certificate", 3)
    until(lambda: scraped(secure, REFUSED) == 1)
    assert secure.shows(good)
    with secure.client() as client:
        assert client.synthesize(TABLE, {"items": 5}).data
    secure.turn(other)
    until(partial(secure.shows, other))
    until(lambda: scraped(secure, REFUSED) == 0)


def scraped(secure: Secure, name: str) -> float:
    """A metric, as it is now."""
    url = secure.served.until_said("metrics on").split()[-1]
    with urllib.request.urlopen(url, timeout=SOON) as answer:
        (said,) = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(said)
