"""The secrets of a confirmation: codes, links and pages. Random ones are kept as digests only.

The link to refuse is not kept at all: it is the confirmation's id and a keyed digest of it, so it works from every
message of that confirmation, and nobody can make it, or the link to confirm, from the other.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from hashlib import sha256
from uuid import UUID

from app import crypto

LONGEST = 100
_ID, _MAC = 16, 14


def new() -> str:
    """32 random bytes for an address of a page."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is kept of a token: it is random, so a plain hash hides it well enough."""
    return sha256(b"wardlink.confirmation" + token[: LONGEST + 1].encode("utf-8", "replace")).digest()


def new_code() -> str:
    return f"{secrets.randbelow(1_000_000):06d}"


def code_digest(confirmation: UUID, code: str) -> bytes:
    """A code has few values, so its digest needs our key; it opens one confirmation only."""
    return crypto.keyring().digest("code", f"{confirmation.hex}.{code}")


def no_code() -> bytes:
    """Stands where a code's digest would, when none was sent: nothing that can be typed matches it."""
    return secrets.token_bytes(32)


def not_me(confirmation: UUID) -> str:
    """40 characters for the link by which the holder of an address refuses: short, for it goes into a text."""
    return base64.urlsafe_b64encode(confirmation.bytes + _mac(confirmation)).decode()


def read_not_me(token: str) -> UUID | None:
    """Which confirmation a link refuses; None when it is not one of ours."""
    if len(token) != (_ID + _MAC) * 4 // 3 or not token.isascii():
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    found = UUID(bytes=raw[:_ID])
    return found if hmac.compare_digest(raw[_ID:], _mac(found)) else None


def _mac(confirmation: UUID) -> bytes:
    return crypto.keyring().digest("not-me", confirmation.hex)[:_MAC]
