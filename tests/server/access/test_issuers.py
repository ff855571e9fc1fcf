"""Keys of a real issuer on this machine: fetched, kept, changed, away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cascade_server.access.access import Access
from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Caller, Issuer, Reason
from cascade_server.access.issuers import Held, Issuers, KeysNotFetched, fetch, keys_of
from cascade_server.access.watching import Watch

from tests.server.access.examples import (
    AUDIENCE,
    Clock,
    access_of,
    ec_key,
    headers,
    jwk,
    jwks,
    rsa_key,
    token,
)
from tests.server.access.issuing import Issuing, issuing


@pytest.fixture
def issuer() -> Iterator[Issuing]:
    with issuing() as found:
        found.keys = [jwk(rsa_key(), "one")]
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def access_to(issuer: Issuing, folder: Path, clock: Clock) -> Access:
    text = f"""
issuers:
  local: {{issuer: "{issuer.url}", audience: {AUDIENCE}, algorithms: [RS256, ES256]}}
tenants:
  fraud:
    tokens: [{{issuer: local, claims: {{scope: score, azp: service}}}}]
    tables: [credit]
    may: [synthesize]
"""
    return access_of(text, folder, clock)


def sent(issuer: Issuing, clock: Clock, **more: object) -> tuple[tuple[bytes, bytes], ...]:
    claims = {"iss": issuer.url, "scope": "read score", "azp": "service", **more}
    return headers(token(clock.now, **claims))  # type: ignore[arg-type]


class TestFetching:
    """What an issuer publishes, by its discovery document or a URL."""

    def test_by_discovery(self, issuer: Issuing) -> None:
        found = keys_of(Issuer("local", issuer.url, AUDIENCE, ("RS256",)))
        assert [each.kid for each in found.keys] == ["one"]

    def test_by_url(self, issuer: Issuing) -> None:
        known = Issuer("local", "any", AUDIENCE, ("RS256",), jwks=issuer.url + "/keys")
        assert keys_of(known).keys
        assert issuer.fetched == ["/keys"]

    def test_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        path.write_bytes(jwks(jwk(ec_key(), "two")))
        assert keys_of(Issuer("local", "any", AUDIENCE, ("ES256",), keys=path)).keys
        path.unlink()
        with pytest.raises(KeysNotFetched, match="cannot be read"):
            keys_of(Issuer("local", "any", AUDIENCE, ("ES256",), keys=path))

    def test_a_document_of_another(self, issuer: Issuing) -> None:
        other = Issuer("local", issuer.url + "/", AUDIENCE, ("RS256",))
        with pytest.raises(KeysNotFetched, match="is not the document of"):
            keys_of(other)

    @pytest.mark.parametrize("uri", ["http://keys.example/", "file:///etc/passwd", None, 1])
    def test_keys_somewhere_unsafe(self, uri: object) -> None:
        import json

        document = json.dumps({"issuer": "https://b.example", "jwks_uri": uri}).encode()
        known = Issuer("local", "https://b.example", AUDIENCE, ("RS256",))
        with pytest.raises(KeysNotFetched, match="https"):
            keys_of(known, lambda _: document)

    def test_nobody_there(self, issuer: Issuing) -> None:
        issuer.is_away = True
        with pytest.raises(KeysNotFetched, match="does not answer"):
            keys_of(Issuer("local", issuer.url, AUDIENCE, ("RS256",)))

    @pytest.mark.parametrize(
        "said",
        [
            b"\x1b[31mgarbage\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 503 \x1b]0;owned\x07\r\n\r\n",
        ],
    )
    def test_what_is_no_http(self, issuer: Issuing, said: bytes) -> None:
        issuer.says = said
        with pytest.raises(KeysNotFetched) as caught:
            keys_of(Issuer("local", "any", AUDIENCE, ("RS256",), jwks=issuer.url + "/keys"))
        assert str(caught.value).isprintable()

    def test_what_trickles_in_is_late(self) -> None:
        read = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                # For as long as it is read: each byte comes in time, and the last never does.
                with contextlib.suppress(OSError):
                    while not read.wait(0.02):
                        self.wfile.write(b" ")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            try:
                with pytest.raises(KeysNotFetched, match="not in"):
                    fetch(f"http://127.0.0.1:{server.server_port}/", timeout=0.3)
            finally:
                read.set()
                server.shutdown()


class TestTokens:
    """Of who is known by a token."""

    async def test_a_token_is_verified_once(
        self, issuer: Issuing, tmp_path: Path, clock: Clock
    ) -> None:
        access, call = access_to(issuer, tmp_path, clock), sent(issuer, clock)
        assert access.issuers is not None
        found = access.caller(call)
        assert isinstance(found, Refused)
        assert found.reason is Reason.KEYS_NOT_READY
        await access.issuers.refresh()
        caller = access.caller(call)
        assert isinstance(caller, Caller)
        assert (caller.tenant, caller.credential) == ("fraud", "local: svc")
        assert access.caller(call) is caller
        clock.now += 331  # its 300 s, and the leeway of 30
        late = access.caller(call)
        assert isinstance(late, Refused)
        assert late.reason is Reason.EXPIRED

    async def test_claims_name_the_tenant(
        self, issuer: Issuing, tmp_path: Path, clock: Clock
    ) -> None:
        access = access_to(issuer, tmp_path, clock)
        assert access.issuers is not None
        await access.issuers.refresh()
        for claims in ({"scope": "scores"}, {"azp": "other"}, {"azp": None}, {"scope": 1}):
            found = access.caller(sent(issuer, clock, **claims))
            assert isinstance(found, Refused)
            assert found.reason is Reason.NO_TENANT

    async def test_keys_change_and_no_call_is_lost(
        self, issuer: Issuing, tmp_path: Path, clock: Clock
    ) -> None:
        access = access_to(issuer, tmp_path, clock)
        assert access.issuers is not None
        await access.issuers.refresh()
        old = sent(issuer, clock)
        assert isinstance(access.caller(old), Caller)
        issuer.keys = [jwk(ec_key(), "two")]
        clock.now += 60
        claims = {"iss": issuer.url, "scope": "score", "azp": "service"}
        new = headers(token(clock.now, "two", "ES256", ec_key(), **claims))
        told = access.caller(new)
        assert isinstance(told, Refused)
        assert told.reason is Reason.KEYS_NOT_READY  # UNAVAILABLE, which clients try again
        await access.issuers.refresh()
        assert isinstance(access.caller(new), Caller)
        # What the issuer has withdrawn opens no more, though it was verified before.
        assert isinstance(access.caller(old), Refused)

    async def test_strange_names_of_keys_do_not_flood_the_issuer(
        self, issuer: Issuing, tmp_path: Path, clock: Clock
    ) -> None:
        access = access_to(issuer, tmp_path, clock)
        assert access.issuers is not None
        await access.issuers.refresh()
        before = len(issuer.fetched)
        for number in range(50):
            claims = {"iss": issuer.url}
            access.caller(headers(token(clock.now, f"kid-{number}", **claims)))
            await access.issuers.refresh()
            clock.now += 0.1
        assert len(issuer.fetched) == before
        clock.now += 10
        await access.issuers.refresh()
        assert len(issuer.fetched) == before + 2


class TestKeeping:
    """Keys that are there stay, and are fetched anew in time."""

    async def test_an_issuer_that_is_away(
        self, issuer: Issuing, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        known = Issuer("local", issuer.url, AUDIENCE, ("RS256",), refresh=600)
        changes: list[None] = []
        issuers = Issuers(lambda: changes.append(None), clock)
        issuers.use({"local": known})
        await issuers.refresh()
        issuer.is_away = True
        clock.now += 601
        for _ in range(3):
            await issuers.refresh()
            clock.now += 60
        assert issuers.keys(known)
        assert len(changes) == 1
        assert caplog.text.count("does not answer") == 1
        issuer.is_away = False
        await issuers.refresh()
        assert "are there again" in caplog.text

    async def test_whatever_is_raised_it_is_tried_again(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        known = Issuer("local", "any", AUDIENCE, ("RS256",), jwks="https://keys.example/")
        odd = [ZeroDivisionError("odd")]

        def get(_: str) -> bytes:
            if odd:
                raise odd.pop()
            return jwks(jwk(rsa_key(), "one"))

        issuers = Issuers(lambda: None, clock, get)
        issuers.use({"local": known})
        await issuers.refresh()
        assert "the keys of local cannot be had: ZeroDivisionError" in caplog.text
        clock.now += 60
        await issuers.refresh()
        assert issuers.keys(known)

    async def test_one_that_never_ends_keeps_no_other_waiting(self, clock: Clock) -> None:
        stuck, fast = (
            Issuer(name, "any", AUDIENCE, ("RS256",), jwks=f"https://{name}.example/")
            for name in ("stuck", "fast")
        )
        ends, there = threading.Event(), asyncio.Event()

        def get(url: str) -> bytes:
            if "stuck" in url:
                ends.wait()
            return jwks(jwk(rsa_key(), "one"))

        issuers = Issuers(there.set, clock, get)
        issuers.use({"stuck": stuck, "fast": fast})
        keeping = asyncio.create_task(issuers.keep())
        await asyncio.wait_for(there.wait(), 20)
        assert issuers.keys(fast)
        assert issuers.keys(stuck) is None
        there.clear()
        ends.set()
        await asyncio.wait_for(there.wait(), 20)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert issuers.keys(stuck)

    def test_an_issuer_that_is_away_for_weeks_is_asked_again(self) -> None:
        held = Held(Issuer("local", "https://issuer", AUDIENCE, ("RS256",), refresh=600))
        waits = []
        for _ in range(2000):
            held.failed(1000.0)
            waits.append(held.due - 1000.0)
        assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
        assert set(waits[7:]) == {60}

    async def test_a_file_without_issuers_gets_some(
        self, issuer: Issuing, tmp_path: Path, clock: Clock
    ) -> None:
        access = access_of("tenants: {a: {}}", tmp_path, clock)
        watch = Watch(access, 0.01)
        watch.start()
        access_to(issuer, tmp_path, clock)  # which writes the same file

        async def known() -> None:
            while not isinstance(access.caller(sent(issuer, clock)), Caller):
                await asyncio.sleep(0.01)

        await asyncio.wait_for(known(), 20)
        await watch.stop()
