"""Tokens: which hold, and the ways in which others are made to look as if they did."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cascade_server.access.grants import Reason
from cascade_server.access.tokens import (
    KeySet,
    TokenRefused,
    VerifyingKey,
    issuer_of,
    key_set_of,
    unverified,
    verify,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.server.access.examples import BANK, ec_key, jwk, jwks, rsa_key, token

NOW = 1_800_000_000.0


def keys() -> KeySet:
    return key_set_of(jwks(jwk(rsa_key(), "one"), jwk(ec_key(), "two")))


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def pem() -> bytes:
    return bytes(
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def why(text: str, known: KeySet | None = None, now: float = NOW) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        verify(text, BANK, known or keys(), now)
    return caught.value


class TestHolding:
    """A token of the issuer's, for this server, in its time."""

    @pytest.mark.parametrize(
        ("kid", "algorithm", "key"), [("one", "RS256", rsa_key), ("two", "ES256", ec_key)]
    )
    def test_by_either_kind_of_key(self, kid: str, algorithm: str, key: Any) -> None:
        claims = verify(token(NOW, kid, algorithm, key()), BANK, keys(), NOW)
        assert claims["sub"] == "svc"

    def test_without_a_kid_where_one_key_fits(self) -> None:
        assert verify(token(NOW, kid=""), BANK, keys(), NOW)

    def test_by_a_key_in_pem(self) -> None:
        assert verify(token(NOW, kid=""), BANK, key_set_of(pem()), NOW)

    def test_within_the_leeway_of_both_ends(self) -> None:
        assert verify(token(NOW), BANK, keys(), NOW + 309)
        assert verify(token(NOW, nbf=NOW), BANK, keys(), NOW - 9)


class TestNotHolding:
    """Each refused, with a word that says why and nothing of the token."""

    @pytest.mark.parametrize(
        ("claims", "now", "reason"),
        [
            ({}, NOW + 310, Reason.EXPIRED),
            ({"nbf": NOW + 11}, NOW, Reason.EXPIRED),
            ({"iat": NOW + 11}, NOW, Reason.EXPIRED),
            ({"exp": None}, NOW, Reason.BAD_CREDENTIAL),
            ({"aud": "another"}, NOW, Reason.BAD_CREDENTIAL),
            ({"aud": None}, NOW, Reason.BAD_CREDENTIAL),
            ({"iss": "https://evil.example"}, NOW, Reason.BAD_CREDENTIAL),
        ],
    )
    def test_by_its_claims(self, claims: Any, now: float, reason: Reason) -> None:
        assert why(token(NOW, **claims), now=now).reason is reason

    @pytest.mark.parametrize("exp", ["soon", [], True, {}])
    def test_a_time_that_is_none(self, exp: Any) -> None:
        forged = token(NOW)
        head, _, _ = forged.split(".")
        assert why(f"{head}.{part({'exp': exp})}.AAAA")

    def test_without_a_signature(self) -> None:
        claims = token(NOW).split(".")[1]
        for name in ("none", "None", "nOnE", ""):
            head = part({"alg": name, "kid": "one"})
            assert "algorithm" in str(why(f"{head}.{claims}."))

    def test_signed_with_what_everybody_can_read(self) -> None:
        """The public key as the secret of an HMAC, which verifiers that trust `alg` accept."""
        head = part({"alg": "HS256", "typ": "JWT", "kid": "one"})
        text = f"{head}.{token(NOW).split('.')[1]}"
        signature = hmac.new(pem(), text.encode(), hashlib.sha256).digest()
        forged = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert "algorithm" in str(why(forged))

    def test_signed_by_somebody_else_under_a_known_name(self) -> None:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        assert "signature" in str(why(token(NOW, key=other)))

    def test_an_algorithm_of_the_issuer_with_a_key_of_another_kind(self) -> None:
        assert "key" in str(why(token(NOW, kid="one", algorithm="ES256", key=ec_key())))

    def test_a_key_that_is_for_another_algorithm(self) -> None:
        known = key_set_of(jwks(jwk(rsa_key(), "one", alg="RS512")))
        assert not why(token(NOW), known).unknown_kid

    def test_a_name_that_may_be_new(self) -> None:
        assert why(token(NOW, kid="three")).unknown_kid

    def test_a_short_key(self) -> None:
        short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        known = KeySet((VerifyingKey(short.public_key(), "one"),))
        assert known.find("one", "RS256") is None

    def test_claims_that_were_changed(self) -> None:
        head, _, signature = token(NOW).split(".")
        claims = part({"iss": BANK.issuer, "aud": "cascade", "exp": NOW + 9e9, "sub": "admin"})
        assert "signature" in str(why(f"{head}.{claims}.{signature}"))

    @pytest.mark.parametrize("ends", ["1" + "0" * 400, "1e999", "NaN", "true", '"soon"'])
    def test_an_end_that_is_no_time(self, ends: str) -> None:
        claims = f'{{"iss": "{BANK.issuer}", "aud": "cascade", "exp": {ends}}}'.encode()
        sent = jwt.PyJWS().encode(claims, rsa_key(), "RS256", {"kid": "one"})
        assert str(why(sent)) == "the token's exp is no time"

    def test_what_is_critical_is_not_passed_over(self) -> None:
        claims = {"iss": BANK.issuer, "aud": "cascade", "exp": NOW + 300}
        head = {"kid": "one", "crit": ["odd"], "odd": 1}
        assert "crit" in str(why(jwt.encode(claims, rsa_key(), "RS256", head)))

    def test_a_token_is_never_repeated(self) -> None:
        text = token(NOW, aud="another")
        assert not any(each in str(why(text)) for each in text.split("."))

    @given(
        st.text(max_size=60) | st.lists(st.text(max_size=20), min_size=3, max_size=3).map(".".join)
    )
    def test_any_text_is_refused(self, text: str) -> None:
        assert why(text)

    @given(
        st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5u"]),
            st.sampled_from(["RS256", "ES256", "none", "one", 1, None, [], {}, True]),
        ),
        st.binary(max_size=40),
    )
    def test_any_header_is_refused(self, head: Any, signature: bytes) -> None:
        end = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        assert why(f"{part(head)}.{token(NOW).split('.')[1]}.{end}")


class TestKeySets:
    """Of what an issuer publishes, what can verify signatures."""

    def test_what_is_for_something_else_is_left_out(self) -> None:
        secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "hmac"}
        encrypting = jwk(rsa_key(), "enc", use="enc")
        published = {**jwk(rsa_key(), "private"), "d": "AQAB"}
        found = key_set_of(jwks(secret, encrypting, published, jwk(rsa_key(), "one")))
        assert [each.kid for each in found.keys] == ["one"]

    @pytest.mark.parametrize(
        "content",
        [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [1, {}, null]}', b"-----BEGIN X-----"],
    )
    def test_what_is_none(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r".+"):
            key_set_of(content)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r".+"):
            key_set_of(content)


class TestIssuers:
    """Who is said to have signed, before that is known."""

    def test_by_issuer_and_audience(self) -> None:
        issuers = {"bank": BANK}
        assert issuer_of(unverified(token(NOW))[1], issuers) is BANK
        assert issuer_of(unverified(token(NOW, aud=["x", "cascade"]))[1], issuers) is BANK
        for claims in ({"iss": "x"}, {"aud": "x"}, {"aud": 1}):
            with pytest.raises(TokenRefused):
                issuer_of(unverified(token(NOW, **claims))[1], issuers)
