"""`Tls`: what it may be, what it becomes, and what is said where no TLS can be agreed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from cascade_client import AsyncClient, Client, InvalidRequest, Tls
from cascade_client.errors import Failure

from tests.certificates import Authority, Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mine(authority: Authority) -> Pair:
    return authority.signs("me")


class TestWhatItMayBe:
    """Files of PEM, or what is in them."""

    def test_files_and_their_content(self, authority: Authority, mine: Pair) -> None:
        for read in (str, Path.read_bytes, Path):
            tls = Tls(read(authority.path), read(mine.certificate), read(mine.key))
            assert isinstance(tls.credentials(), grpc.ChannelCredentials)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"certificate": "a.crt"}, "tls.certificate is given and tls.key is not"),
            ({"key": "a.key"}, "tls.key is given and tls.certificate is not"),
            ({"ca": 7}, "tls.ca is int; a path, or PEM as bytes is allowed"),
            ({"ca": ""}, "tls.ca is empty"),
            ({"server_name": b"x"}, "tls.server_name is bytes; a name is allowed"),
        ],
    )
    def test_what_it_may_not(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidRequest, match=said):
            Tls(**given)

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_files_are_read_when_a_client_is_made(
        self, kind: type, tmp_path: Path, mine: Pair
    ) -> None:
        with pytest.raises(InvalidRequest, match=r"tls.ca is .*no, which cannot be read: No such"):
            kind(tls=Tls(tmp_path / "no"))
        with pytest.raises(InvalidRequest, match=r"tls.ca is .*key, which holds no certificate"):
            kind(tls=Tls(mine.key))
        with pytest.raises(InvalidRequest, match=r"tls.key is .*crt, which holds no private key"):
            kind(tls=Tls(certificate=mine.certificate, key=mine.certificate))
        with pytest.raises(InvalidRequest, match="PEM given as bytes, which holds no certificate"):
            kind(tls=Tls(b"junk"))

    def test_a_key_is_in_no_words(self, mine: Pair) -> None:
        tls = Tls(certificate=mine.certificate, key=mine.key.read_bytes())
        assert "PRIVATE" not in repr(tls)

    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_one_way_to_speak_it(self, kind: type) -> None:
        with pytest.raises(InvalidRequest, match="tls and credentials are both given"):
            kind(tls=True, credentials=grpc.ssl_channel_credentials())
        with pytest.raises(InvalidRequest, match="tls is 'yes'; True, False or Tls"):
            kind(tls="yes")


async def test_the_port_is_the_servers() -> None:
    """A server that speaks it listens where it does otherwise."""
    with Client("cascade.bank", tls=True) as client:
        assert client.target == "cascade.bank:8470"
    async with AsyncClient("cascade.bank", tls=Tls()) as other:
        assert other.target == "cascade.bank:8470"


def test_what_grpc_says_is_put_into_words() -> None:
    """As gRPC 1.76 says it; tests with real servers show that it still does."""
    said = {
        "CERTIFICATE_VERIFY_FAILED: certificate has expired: OK": "has expired",
        "CERTIFICATE_VERIFY_FAILED: self signed certificate in certificate chain": r"Tls\(ca=",
        "UNAUTHENTICATED: Hostname Verification Check failed.": r"Tls\(server_name=",
        "SSL_ERROR_SSL: error:100000f7: WRONG_VERSION_NUMBER: OK": "speaks no TLS",
        "ipv4:127.0.0.1:1: Unwrap failed (TSI_DATA_CORRUPTED)": "--cert and --key",
        "Expected SETTINGS frame as the first frame, got frame type 7": "tls=True",
    }
    for details, words in said.items():
        failure = Failure(grpc.StatusCode.UNAVAILABLE, f"connections to all backends: {details}")
        with pytest.raises(Exception, match=f"^host:1: no TLS could be agreed on: .*{words}"):
            raise failure.error("host:1")
