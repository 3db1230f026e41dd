"""What a provider says of itself: where its doors are, and with which keys it signs. Kept for minutes in each process."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock
from typing import Any

from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from app.services.oidc import transport
from app.services.oidc.refusals import Refused

# Signatures that only the provider can make: never "none", never one whose key we would share or publish.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
KEPT = 600.0  # seconds that documents and keys are believed without looking again
# A token under an unknown key makes us look at once, but strangers cannot make us look all the time.
LOOK_AGAIN = 10.0  # seconds
# One that does not answer is not asked again by everybody who comes: each of them would wait as long.
LEFT_ALONE = 10.0  # seconds
MOST_KEYS = 100
MOST_KEPT = 500  # providers


@dataclass(frozen=True, slots=True)
class Metadata:
    """A provider's document of discovery, checked. ``algorithms``: what it signs with, of those we accept."""

    issuer: str
    authorization: str
    token: str
    jwks: str
    userinfo: str | None
    end_session: str | None
    algorithms: frozenset[str]
    acr_values: frozenset[str]
    auth_methods: frozenset[str]
    scopes: frozenset[str]
    says_issuer: bool  # in every answer of its, as RFC 9207 has it


@dataclass(slots=True)
class _Kept:
    metadata: Metadata
    at: float
    keys: KeySet | None = None
    keys_at: float = 0.0
    looked_at: float = float("-inf")


_kept: dict[tuple[str, bool], _Kept] = {}
_away: dict[str, tuple[float, Refused]] = {}  # address → when it may be asked again, and what came of it
_lock = Lock()


def of(issuer: str, *, sandbox: bool) -> Metadata:
    """The document of an issuer. Refused when it is not to be had, or not of this issuer."""
    return _entry(issuer, sandbox=sandbox).metadata


def keys(issuer: str, kid: str | None, *, sandbox: bool) -> KeySet:
    """The keys that an issuer signs with; looked up anew when none of them is called ``kid``."""
    entry = _entry(issuer, sandbox=sandbox)
    now = time.monotonic()
    stale = entry.keys is None or now - entry.keys_at > KEPT
    unknown = entry.keys is not None and kid is not None and kid not in {key.kid for key in entry.keys}
    if stale or (unknown and now - entry.looked_at > LOOK_AGAIN):
        if unknown:
            entry.looked_at = now
        entry.keys = _read_keys(_get(entry.metadata.jwks, sandbox=sandbox))
        entry.keys_at = time.monotonic()
    assert entry.keys is not None
    return entry.keys


def forget() -> None:
    """Look everything up anew."""
    with _lock:
        _kept.clear()
        _away.clear()


def _get(url: str, *, sandbox: bool) -> dict[str, Any]:
    """What a provider says at an address; for a moment after it did not answer, what came of that."""
    with _lock:
        until, refused = _away.get(url, (0.0, None))
    if refused is not None and time.monotonic() < until:
        raise Refused(refused.code, refused.why)
    try:
        return transport.get(url, sandbox=sandbox)
    except Refused as error:
        with _lock:
            if len(_away) >= MOST_KEPT:
                _away.clear()
            _away[url] = (time.monotonic() + LEFT_ALONE, error)
        raise


def _entry(issuer: str, *, sandbox: bool) -> _Kept:
    name = (issuer, sandbox)
    with _lock:
        found = _kept.get(name)
    if found is not None and time.monotonic() - found.at <= KEPT:
        return found
    if not transport.allowed(issuer, sandbox=sandbox):
        raise Refused("setting", "issuer")
    metadata = _read(issuer, _get(get_well_known_url(issuer, external=True), sandbox=sandbox), sandbox)
    made = _Kept(metadata, time.monotonic())
    with _lock:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[name] = made
    return made


def _read(issuer: str, document: dict[str, Any], sandbox: bool) -> Metadata:
    if document.get("issuer") != issuer:
        raise Refused("setting", "another-issuer")

    def address(name: str, *, needed: bool) -> str | None:
        value = document.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or not transport.allowed(value, sandbox=sandbox):
            raise Refused("setting", name)
        return value

    authorization, token, jwks = (
        address(name, needed=True) or "" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    )
    signed = _words(document.get("id_token_signing_alg_values_supported"), {"RS256"}) & ALGORITHMS
    if not signed:
        raise Refused("setting", "algorithms")
    if "S256" not in _words(document.get("code_challenge_methods_supported"), {"S256"}):
        raise Refused("setting", "pkce")
    return Metadata(
        issuer=issuer,
        authorization=authorization,
        token=token,
        jwks=jwks,
        userinfo=address("userinfo_endpoint", needed=False),
        end_session=address("end_session_endpoint", needed=False),
        algorithms=signed,
        acr_values=_words(document.get("acr_values_supported"), ()),
        auth_methods=_words(document.get("token_endpoint_auth_methods_supported"), {"client_secret_basic"}),
        scopes=_words(document.get("scopes_supported"), ()),
        says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _words(value: object, otherwise: Collection[str]) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset(otherwise)
    return frozenset(one for one in value if isinstance(one, str))


def _read_keys(document: dict[str, Any]) -> KeySet:
    """The public keys that may sign. Keys of kinds we do not know are passed over, and so are shared secrets."""
    listed = document.get("keys")
    found = []
    for data in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        if not isinstance(data, dict) or data.get("kty") not in {"RSA", "EC", "OKP"}:
            continue
        if data.get("use", "sig") != "sig":
            continue
        try:
            found.append(JWKRegistry.import_key(data))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not found:
        raise Refused("setting", "no-keys")
    return KeySet(found)
