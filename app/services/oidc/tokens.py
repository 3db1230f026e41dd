"""What a provider signed: the ID token of whoever comes, the logout token of whoever must go."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.services.oidc import discovery
from app.services.oidc.discovery import Metadata
from app.services.oidc.refusals import Refused

LEEWAY = 60  # seconds that clocks may differ
OLDEST = 600  # seconds since it was issued: a sign-in lasts no longer
OLDEST_LOGOUT = 180
LONGEST = 64 * 1024
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
LONGEST_SUBJECT = 255
Claims = dict[str, Any]


def identity(
    raw: object,
    metadata: Metadata,
    client_id: str,
    *,
    nonce: str,
    access_token: str | None,
    sandbox: bool,
    now: int,
) -> Claims:
    """The claims of an ID token that is ours, of now and of this very sign-in. Refused when anything is amiss."""
    header, claims = _opened(raw, metadata, sandbox=sandbox)
    try:
        token = CodeIDToken(
            claims,
            header,
            options={
                "iss": {"essential": True, "value": metadata.issuer},
                "aud": {"essential": True, "value": client_id},
            },
            params={"client_id": client_id, "nonce": nonce, "access_token": access_token},
        )
        token.validate(now=now, leeway=LEEWAY)
    except (JoseError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Refused("token", _name(error)) from None
    _audience(claims, client_id)
    if claims["iat"] < now - OLDEST - LEEWAY:
        raise Refused("token", "old")
    subject(claims)
    return claims


def logout(raw: object, metadata: Metadata, client_id: str, *, sandbox: bool, now: int) -> Claims:
    """The claims of a logout token (OpenID Connect Back-Channel Logout 1.0, 2.6). Refused when anything is amiss."""
    header, claims = _opened(raw, metadata, sandbox=sandbox)
    if str(header.get("typ", "JWT")).lower() not in {"jwt", "logout+jwt"}:
        raise Refused("token", "typ")
    registry = jwt.JWTClaimsRegistry(
        now=now,
        leeway=LEEWAY,
        iss={"essential": True, "value": metadata.issuer},
        aud={"essential": True, "value": client_id},
        iat={"essential": True},
        jti={"essential": True},
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError, OverflowError) as error:
        raise Refused("token", _name(error)) from None
    _audience(claims, client_id)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT), dict) or "nonce" in claims:
        raise Refused("token", "no-logout")
    if claims["iat"] < now - OLDEST_LOGOUT - LEEWAY:
        raise Refused("token", "old")
    if "sub" in claims:
        subject(claims)
    if "sub" not in claims and session_of(claims) is None:
        raise Refused("token", "nobody")
    return claims


def subject(claims: Claims) -> str:
    """Who it is, as the provider calls them for good."""
    found = claims.get("sub")
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST_SUBJECT or not found.isprintable():
        raise Refused("token", "sub")
    return found


def session_of(claims: Claims) -> str | None:
    """What the provider calls their session; None when it does not say."""
    found = claims.get("sid")
    return found if isinstance(found, str) and 0 < len(found) <= 255 and found.isprintable() else None


def factors(claims: Claims) -> frozenset[str]:
    """All that it says of how they were let in: ``acr``, ``amr``, and ``acrs`` as Entra ID calls it."""
    said: set[str] = set()
    for name in ("acr", "amr", "acrs"):
        value = claims.get(name)
        listed = value if isinstance(value, list) else [value]
        said.update(one for one in listed if isinstance(one, str))
    return frozenset(said)


def second_factor(claims: Claims, wanted: Collection[str]) -> None:
    """Refused unless one of these words was said."""
    if factors(claims).isdisjoint(wanted):
        raise Refused("factor")


def _opened(raw: object, metadata: Metadata, *, sandbox: bool) -> tuple[dict[str, Any], Claims]:
    if not isinstance(raw, str) or not raw.isascii() or len(raw) > LONGEST:
        raise Refused("token", "shape")
    try:
        # Not yet believed: it says which key to look for, and only the algorithms of the provider's document count.
        header = jws.extract_compact(raw.encode()).headers()
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Refused("token", _name(error)) from None
    kid = header.get("kid")
    if header.get("alg") not in metadata.algorithms or not isinstance(kid, str | None):
        raise Refused("token", "algorithm")
    found = discovery.keys(metadata.issuer, kid, sandbox=sandbox)
    registry = jws.JWSRegistry(algorithms=sorted(metadata.algorithms), strict_check_header=False)
    try:
        token = jwt.decode(raw, _fitting(found, kid, str(header["alg"])), registry=registry)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Refused("token", _name(error)) from None
    return token.header, token.claims


def _fitting(keys: KeySet, kid: str | None, algorithm: str) -> KeySet:
    """The keys that may have made a signature: by name; without one, all of the algorithm's kind if that is one."""
    kind = {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm != "EdDSA" else "OKP"
    found = [key for key in keys if key.key_type == kind and (kid is None or key.kid == kid)]
    if len(found) != 1:
        raise Refused("token", "key")
    return KeySet(found)


def _audience(claims: Claims, client_id: str) -> None:
    """Ours alone: of a token that others may use as well, nobody knows who brought it."""
    audience = claims["aud"]
    if (audience if isinstance(audience, list) else [audience]) != [client_id]:
        raise Refused("token", "aud")


def _name(error: Exception) -> str:
    claim = getattr(error, "claim", None)
    return f"{type(error).__name__} {claim}" if isinstance(claim, str) else type(error).__name__
