"""Parses and verifies tokens (JWT, RFC 7519; best practices of RFC 8725).

No I/O; callers pass in the time. The algorithm must be in the issuer's list and the key must be for
that algorithm: a token cannot influence how it is verified. Symmetric keys (HMAC) are never used.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from cascade_server.access.grants import Issuer, Reason

# Issuers do not give longer tokens, because a token is sent with every call.
MOST_BYTES = 8192
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


class TokenRefused(Exception):
    """A token is not valid; says why without repeating any of it.

    Attributes:
        reason: the reason, for metrics.
        unknown_kid: the name of an unknown key that would verify it, and that the issuer may have
            by now; "": none.
    """

    def __init__(
        self, message: str, reason: Reason = Reason.BAD_CREDENTIAL, unknown_kid: str = ""
    ) -> None:
        super().__init__(message)
        self.reason, self.unknown_kid = reason, unknown_kid


@dataclass(frozen=True)
class VerifyingKey:
    """A public key of an issuer.

    Attributes:
        key: a key object of `cryptography`.
        kid: its name; "": none.
        algorithm: the only algorithm that it is for; "": any that fits its kind.
    """

    key: Any
    kid: str = ""
    algorithm: str = ""

    def fits(self, algorithm: str) -> bool:
        """Return whether the key can verify signatures of an algorithm."""
        if self.algorithm not in ("", algorithm):
            return False
        if algorithm.startswith(("RS", "PS")):
            return isinstance(self.key, rsa.RSAPublicKey) and self.key.key_size >= LEAST_RSA_BITS
        if algorithm in CURVES:
            is_curve = isinstance(self.key, ec.EllipticCurvePublicKey)
            return is_curve and self.key.curve.name == CURVES[algorithm]
        kinds = (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)
        return algorithm == "EdDSA" and isinstance(self.key, kinds)


@dataclass(frozen=True)
class KeySet:
    """The public keys of an issuer.

    Attributes:
        keys: the usable keys.
    """

    keys: Sequence[VerifyingKey] = field(default_factory=tuple)

    def find(self, kid: str, algorithm: str) -> VerifyingKey | None:
        """Return the key that a token names or, if it names none, the only one that fits."""
        fitting = [each for each in self.keys if each.fits(algorithm)]
        if kid:
            return next((each for each in fitting if each.kid == kid), None)
        return fitting[0] if len(fitting) == 1 else None

    def knows(self, kid: str) -> bool:
        """Return whether there is a key of this name, for any algorithm."""
        return any(each.kid == kid for each in self.keys)


def key_set_of(content: bytes) -> KeySet:
    """Parse a JWK Set (RFC 7517) or a public key in PEM, without unusable keys.

    Raises:
        ValueError: the content is neither, or has no usable key.
    """
    if content.lstrip().startswith(b"-----BEGIN"):
        return KeySet((VerifyingKey(_pem(content)),))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ValueError("it is neither a JWK Set nor a key in PEM") from exc
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError(f"it is no JWK Set of up to {MOST_KEYS} keys")
    keys = tuple(key for each in listed if (key := _jwk(each)) is not None)
    if not keys:
        raise ValueError("no key in it can be used; allowed: public keys for signatures")
    return KeySet(keys)


def _pem(content: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    try:
        if b"BEGIN CERTIFICATE" in content:
            return load_pem_x509_certificate(content).public_key()
        return load_pem_public_key(content)
    except Exception as exc:  # cryptography's errors share no base class of their own
        raise ValueError("its PEM holds no public key") from exc


def _jwk(content: Any) -> VerifyingKey | None:
    """Parse a key of a set; None: not for verifying signatures, or of an unsupported kind."""
    if not isinstance(content, dict) or content.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    operations = content.get("key_ops", ["verify"])
    if content.get("use", "sig") != "sig" or not isinstance(operations, list):
        return None
    kid, algorithm = content.get("kid", ""), content.get("alg", "")
    if "verify" not in operations or "d" in content:
        # A published private key is not secret any more.
        return None
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    try:
        return VerifyingKey(jwt.PyJWK.from_dict(content).key, kid, algorithm)
    except Exception:
        # One key that PyJWT or cryptography trips over must not take those beside it from the set.
        return None


def looks_like_token(text: str) -> bool:
    """Return whether a text is probably meant as a token."""
    return text.count(".") == 2


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse a token's header and claims, which are not verified and may be forged.

    Raises:
        TokenRefused: the text is not a token.
    """
    if len(token) > MOST_BYTES:
        raise TokenRefused(f"the token has {len(token):,} bytes; allowed: {MOST_BYTES:,}")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise TokenRefused("the token is none: a JWT has three parts with dots in between")
    return _json(parts[0]), _json(parts[1])


def _json(part: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError) as exc:
        raise TokenRefused("the token is none: its parts are no JSON in base64url") from exc
    if not isinstance(found, dict):
        raise TokenRefused("the token is none: its parts are no JSON objects")
    return found


def issuer_of(claims: Mapping[str, Any], issuers: Mapping[str, Issuer]) -> Issuer:
    """Return the issuer that a token claims.

    Raises:
        TokenRefused: no issuer whose tokens are accepted.
    """
    named = claims.get("iss")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    of_issuer = [each for each in issuers.values() if each.issuer == named]
    if not of_issuer:
        raise TokenRefused("the token's issuer is none of those whose tokens are taken here")
    for each in of_issuer:
        if each.audience in audiences:
            return each
    raise TokenRefused("the token is for another audience than this server")


def verify(token: str, issuer: Issuer, keys: KeySet, now: float) -> dict[str, Any]:
    """Verify a token and return its claims.

    Args:
        token: as it was sent.
        issuer: the issuer that must have signed it.
        keys: the issuer's keys.
        now: Unix seconds.

    Raises:
        TokenRefused: the token is not valid; says why.
    """
    header, _ = unverified(token)
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        allowed = ", ".join(issuer.algorithms)
        raise TokenRefused(f"the token's algorithm is not allowed; allowed: {allowed}")
    if not isinstance(kid, str):
        raise TokenRefused("the token's kid is no text")
    if "crit" in header:
        # RFC 7515, 4.1.11: a token with unknown critical headers must be refused.
        raise TokenRefused("the token's crit names what is not known here; allowed: none")
    key = keys.find(kid, algorithm)
    if key is None:
        missing = "" if keys.knows(kid) else kid
        raise TokenRefused("the token's key is none of its issuer's", unknown_kid=missing)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            # The times are checked below, by the given clock.
            options={
                "require": ["exp", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidSignatureError as exc:
        raise TokenRefused("the token's signature is not its issuer's") from exc
    except jwt.MissingRequiredClaimError as exc:
        raise TokenRefused(f"the token has no claim {exc.claim}") from exc
    except Exception as exc:
        # All exceptions: a crafted token may raise anything in the library.
        raise TokenRefused("the token is none that could be verified") from exc
    _check_times(claims, issuer.leeway, now)
    return claims


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> None:
    if now >= time_of(claims, "exp") + leeway:
        raise TokenRefused("the token has expired", Reason.EXPIRED)
    for name in ("nbf", "iat"):
        if name in claims and time_of(claims, name) > now + leeway:
            raise TokenRefused("the token does not hold yet", Reason.EXPIRED)


def time_of(claims: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a time in Unix seconds; raises TokenRefused if it is not."""
    value = claims[name]
    try:
        found = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise TokenRefused(f"the token's {name} is no time")
    return found
