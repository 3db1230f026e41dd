"""Signed links: checked by computation, no look-up, one purpose each (design §5).

``/{purpose}/{token}`` with ``token = key id . contact (16 hex) dispatch (32 hex) [. expiry
(10 hex)] . MAC (32 hex)``. The MAC is keyed BLAKE2b over purpose, key id, dispatch, expiry and
contact, each of fixed length. A stop link never expires and outlives the ledger; every other
purpose must expire. Key ids stand in the link because link keys are never retired.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

STOP: Final = "s"
MANAGE: Final = "m"
REPLY: Final = "r"
ANSWER: Final = "a"
CAMERA: Final = "c"  # a request to somebody with a camera
KEEP: Final = "k"  # "do you still have your camera?": the owner in place of a sending
PURPOSES: Final = frozenset({STOP, MANAGE, REPLY, ANSWER, CAMERA, KEEP})
LASTING: Final = frozenset({STOP})
LIVES: Final = timedelta(days=60)  # what a message's other links are good for

MAC_BYTES: Final = 16
MAX_CONTACT: Final = (1 << 63) - 1
_MAX_KEY_ID: Final = 999_999_999
_NO_EXPIRY: Final = bytes(8)
_TOKEN = re.compile(
    r"(?P<key>0|[1-9][0-9]{0,8})\.(?P<contact>[0-7][0-9a-f]{15})(?P<dispatch>[0-9a-f]{32})"
    r"(?:\.(?P<expiry>[0-9a-f]{10}))?\.(?P<mac>[0-9a-f]{32})"
)


class LinkTarget(NamedTuple):
    """Whom a link is for, and which sending carried it."""

    contact: int
    dispatch: UUID


class LinkError(ValueError):
    """``code``: malformed, unknown-key, forged or expired."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Signer:
    """Makes and checks links. ``keys``: id → 16 to 64 secret bytes; ``current`` signs new ones."""

    def __init__(self, keys: Mapping[int, bytes], current: int) -> None:
        if current not in keys:
            raise ValueError(f"link key {current} is to sign new links but is not among the keys")
        for key_id, key in keys.items():
            if not 0 <= key_id <= _MAX_KEY_ID:
                raise ValueError("a link key's id is a number from 0 to 999,999,999")
            if not 16 <= len(key) <= 64:
                raise ValueError(f"link key {key_id} must be 16 to 64 bytes long")
        self._keys = dict(keys)
        self._current = current

    def __repr__(self) -> str:
        return f"Signer(keys={sorted(self._keys)}, current={self._current})"

    def batch(
        self, purpose: str, dispatch: UUID, expires_at: datetime | None = None, base_url: str = ""
    ) -> Callable[[int], str]:
        """A function from contact id to ``{base_url}/{purpose}/{token}`` for one dispatch.

        The part that all recipients share is hashed once and its state copied for each.
        ValueError for an unknown purpose, a stop link that expires, or another that does not;
        the function raises OverflowError for a contact id outside 0 … 2**63 - 1.
        """
        shared, head, middle = self._shared(purpose, dispatch, expires_at, base_url)

        def link(contact: int) -> str:
            if contact > MAX_CONTACT:
                raise OverflowError("a contact id has 63 bits")
            raw = contact.to_bytes(8, "big")  # OverflowError for a negative one
            state = shared.copy()
            state.update(raw)
            return f"{head}{raw.hex()}{middle}{state.hexdigest()}"

        return link

    def links(
        self,
        purpose: str,
        dispatch: UUID,
        contacts: Sequence[int],
        expires_at: datetime | None = None,
        base_url: str = "",
    ) -> list[str]:
        """The links of many contacts, as ``batch`` makes them: a fifth faster than one call each."""
        shared, head, middle = self._shared(purpose, dispatch, expires_at, base_url)
        if contacts and max(contacts) > MAX_CONTACT:
            raise OverflowError("a contact id has 63 bits")
        copied, made = shared.copy, []
        for contact in contacts:
            raw = contact.to_bytes(8, "big")
            state = copied()
            state.update(raw)
            made.append(f"{head}{raw.hex()}{middle}{state.hexdigest()}")
        return made

    def _shared(
        self, purpose: str, dispatch: UUID, expires_at: datetime | None, base_url: str
    ) -> tuple[blake2b, str, str]:
        """What all links of a dispatch share: the state of the MAC, the text before the contact and after it."""
        if purpose not in PURPOSES:
            raise ValueError(f"no such purpose of a link: {purpose!r}")
        if (expires_at is None) != (purpose in LASTING):
            raise ValueError("a stop link never expires and every other link must")
        expiry, middle = _NO_EXPIRY, f"{dispatch.hex}."
        if expires_at is not None:
            seconds = _seconds(expires_at)
            expiry, middle = seconds.to_bytes(8, "big"), f"{dispatch.hex}.{seconds:010x}."
        state = _state(self._keys[self._current], purpose, self._current, dispatch, expiry)
        return state, f"{base_url}/{purpose}/{self._current}.", middle

    def verify(self, purpose: str, token: str, now: datetime) -> LinkTarget:
        """Whom ``token`` is for, if it is ours, for this purpose and still valid; else LinkError."""
        match = _TOKEN.fullmatch(token)
        if match is None or purpose not in PURPOSES or (match["expiry"] is None) != (purpose in LASTING):
            raise LinkError("malformed", "This link is not complete. Check that you copied all of it.")
        key_id, dispatch = int(match["key"]), UUID(hex=match["dispatch"])
        key = self._keys.get(key_id)
        if key is None:
            raise LinkError("unknown-key", "This link was not made by this service.")
        seconds = int(match["expiry"] or "0", 16)
        state = _state(key, purpose, key_id, dispatch, seconds.to_bytes(8, "big"))
        state.update(bytes.fromhex(match["contact"]))
        if not hmac.compare_digest(state.hexdigest(), match["mac"]):
            raise LinkError("forged", "This link was not made by this service.")
        if purpose not in LASTING and now.astimezone(UTC).timestamp() >= seconds:
            raise LinkError("expired", "This link has expired. Ask for a new one.")
        return LinkTarget(int(match["contact"], 16), dispatch)


def expiry_of(dispatch: UUID) -> datetime:
    """When the links of a dispatch end: its id (UUIDv7) says when it was made, so every try says the same."""
    return datetime.fromtimestamp((dispatch.int >> 80) / 1000, UTC) + LIVES


def sample(purpose: str, base_url: str = "") -> str:
    """What a link looks like, and at least as long as every real one: a count of it is never too low."""
    expiry = "" if purpose in LASTING else f"{'0' * 10}."
    return f"{base_url}/{purpose}/00.{'0' * 48}.{expiry}{'0' * 2 * MAC_BYTES}"


def _seconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("an expiry needs a time zone")
    seconds = int(moment.timestamp())
    if not 0 < seconds < 1 << 40:
        raise ValueError("an expiry lies after 1970 and within reach of a calendar")
    return seconds


def _state(key: bytes, purpose: str, key_id: int, dispatch: UUID, expiry: bytes) -> blake2b:
    prefix = b"wl1" + purpose.encode("ascii") + key_id.to_bytes(4, "big") + dispatch.bytes + expiry
    return blake2b(prefix, digest_size=MAC_BYTES, key=key)
