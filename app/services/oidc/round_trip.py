"""One way to a provider and back: the authorization code flow with PKCE, state and nonce, each used once.

The browser holds one secret, and the table digests of it and of the state: a copy of either opens nothing.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

import orjson
import sqlalchemy as sa
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from sqlalchemy.orm import Session

from app.models.sign_in import Ceremony
from app.services import limits
from app.services.limits import Limit
from app.services.oidc import discovery, tokens, transport
from app.services.oidc.discovery import Metadata
from app.services.oidc.providers import Provider
from app.services.oidc.refusals import Refused

LIFETIME = timedelta(minutes=10)
# A station of many officers is one network; a row lives ten minutes.
PER_NETWORK, WINDOW = 300, timedelta(minutes=15)
SCOPES = "openid profile email"
LONGEST = 4_096  # of anything that comes back
Purpose = Literal["sign-in", "step-up"]


@dataclass(frozen=True, slots=True)
class Trip:
    """``state`` goes to the provider and comes back; ``browser`` is what the cookie holds."""

    state: str = field(repr=False)
    browser: str = field(repr=False)

    @property
    def nonce(self) -> str:
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        """PKCE's: 43 characters that nobody else can find."""
        return self._derived(b"verifier")

    @property
    def key(self) -> bytes:
        return sha256(b"wardlink.oidc.state" + self.state.encode("utf-8", "replace")).digest()

    @property
    def held_by(self) -> str:
        return sha256(b"wardlink.oidc.browser" + self.browser.encode("utf-8", "replace")).hexdigest()

    def _derived(self, what: bytes) -> str:
        text = f"{len(self.state)}.{self.state}{self.browser}".encode("utf-8", "replace")
        return (
            base64.urlsafe_b64encode(sha256(b"wardlink.oidc." + what + text).digest()).rstrip(b"=").decode()
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a trip was begun for. ``staff_id`` and ``back``: who shows a factor again, and where they go then."""

    purpose: Purpose
    at: datetime
    staff_id: UUID | None = None
    back: str = ""


def set_out() -> Trip:
    return Trip(secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def begin(
    session: Session,
    provider: Provider,
    trip: Trip,
    asked: Asked,
    *,
    neighbours: str,
) -> bool:
    """Remember a trip for ten minutes. False when a network began too many."""
    limit = Limit("oidc-begin", neighbours, PER_NETWORK, WINDOW)
    if limits.take(session, [limit], now=asked.at) is not None:
        return False
    data: dict[str, Any] = {
        "organisation": str(provider.organisation_id),
        "issuer": provider.issuer,
        "browser": trip.held_by,
        "purpose": asked.purpose,
        "at": asked.at.isoformat(),
        "staff": str(asked.staff_id) if asked.staff_id else None,
        "back": asked.back,
    }
    session.add(Ceremony(digest=trip.key, kind="oidc", data=data, expires_at=asked.at + LIFETIME))
    session.flush()
    return True


def come_back(session: Session, provider: Provider, trip: Trip, *, now: datetime) -> Asked | None:
    """What a trip was begun for, once. None when it was not begun here, by this browser, with this provider, or lately."""
    if not 0 < len(trip.state) <= 200 or not 0 < len(trip.browser) <= 200:
        return None
    data = session.execute(
        sa.delete(Ceremony)
        .where(
            Ceremony.digest == trip.key,
            Ceremony.kind == "oidc",
            Ceremony.expires_at > now,
            Ceremony.data["browser"].astext == trip.held_by,
            Ceremony.data["organisation"].astext == str(provider.organisation_id),
            Ceremony.data["issuer"].astext == provider.issuer,
        )
        .returning(Ceremony.data)
    ).scalar_one_or_none()
    if data is None:
        return None
    staff_id = UUID(data["staff"]) if data["staff"] else None
    return Asked(data["purpose"], datetime.fromisoformat(data["at"]), staff_id, data["back"])


def address(
    provider: Provider, metadata: Metadata, trip: Trip, purpose: Purpose, *, redirect_uri: str
) -> str:
    """Where the browser goes. Whoever steps up is asked for their factors anew."""
    more: dict[str, str] = {}
    known = [one for one in provider.factors if one in metadata.acr_values]
    if known:
        more["acr_values"] = " ".join(known)
    contexts = [one for one in provider.factors if _is_context(one)]
    if contexts:  # as Entra ID has it
        which = {"value": contexts[0]} if len(contexts) == 1 else {"values": contexts}
        wanted = {"id_token": {"acrs": {"essential": True} | which}}
        more["claims"] = orjson.dumps(wanted).decode()
    if purpose == "step-up":
        more |= {"prompt": "login", "max_age": "0"}
    found: str = prepare_grant_uri(
        metadata.authorization,
        provider.client_id,
        "code",
        redirect_uri=redirect_uri,
        scope=f"{SCOPES} groups" if "groups" in metadata.scopes else SCOPES,
        state=trip.state,
        nonce=trip.nonce,
        code_challenge=create_s256_code_challenge(trip.verifier),
        code_challenge_method="S256",
        **more,
    )
    return found


def fetch(
    provider: Provider,
    metadata: Metadata,
    trip: Trip,
    code: str,
    *,
    redirect_uri: str,
    sandbox: bool,
    now: datetime,
) -> tokens.Claims:
    """Change a code for the claims of whoever came. No transaction is open meanwhile. Refused when anything is amiss."""
    if not 0 < len(code) <= LONGEST or not code.isascii() or not code.isprintable():
        raise Refused("token", "code")
    body = prepare_token_request(
        "authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=trip.verifier
    )
    basic = (
        "client_secret_basic" in metadata.auth_methods or "client_secret_post" not in metadata.auth_methods
    )
    # RFC 6749, 2.3.1: both are encoded as in a form before they go into the header.
    names = (provider.client_id, provider.client_secret)
    auth = ClientAuth(
        *((quote(name, safe="") for name in names) if basic else names),
        auth_method="client_secret_basic" if basic else "client_secret_post",
    )
    headers: dict[str, str] = {}
    url, headers, body = auth.prepare("POST", metadata.token, headers, body)
    answer = transport.post(url, body, headers, sandbox=sandbox)
    access_token = answer.get("access_token")
    claims = tokens.identity(
        answer.get("id_token"),
        metadata,
        provider.client_id,
        nonce=trip.nonce,
        access_token=access_token if isinstance(access_token, str) else None,
        sandbox=sandbox,
        now=int(now.timestamp()),
    )
    tokens.second_factor(claims, provider.factors)
    lacks = "email" not in claims or provider.groups_claim not in claims
    if lacks and metadata.userinfo is not None and isinstance(access_token, str):
        claims = _with_userinfo(metadata.userinfo, access_token, claims, sandbox=sandbox)
    return claims


def end_session(provider: Provider, *, back: str, sandbox: bool) -> str | None:
    """Where somebody signs out of the provider itself, if it has such a page and answers."""
    try:
        found = discovery.of(provider.issuer, sandbox=sandbox).end_session
    except Refused:
        return None
    if found is None:
        return None
    query = urlencode({"client_id": provider.client_id, "post_logout_redirect_uri": back})
    return f"{found}{'&' if '?' in found else '?'}{query}"


def _with_userinfo(url: str, access_token: str, claims: tokens.Claims, *, sandbox: bool) -> tokens.Claims:
    """Claims that the ID token lacks. Those that it has count: they are signed."""
    if not access_token.isascii() or not access_token.isprintable() or len(access_token) > tokens.LONGEST:
        raise Refused("token", "access-token")
    found = transport.get(url, sandbox=sandbox, bearer=access_token)
    if found.get("sub") != claims["sub"]:
        raise Refused("token", "userinfo-sub")
    return found | claims


def _is_context(word: str) -> bool:
    """Whether a word is an authentication context of Entra ID: c1 to c99."""
    return word[:1] == "c" and word[1:].isdigit() and len(word) <= 3
