"""Erasing addresses and people by the table of ``stores``: set-wise, beside senders, and twice is once.

Locks are taken in one order: preferences (as a freeze takes them), contact points by id, everything that hangs on
them, deliveries as receipts are merged. What two statements at once could still leave behind, ``again`` removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import utc_now
from app.models.people import ContactPoint
from app.services.erasure.stores import STORES
from messaging import email_address

__all__ = ["LATE", "MOST", "Bound", "Erased", "again", "bound", "contacts", "people", "unbound"]

MOST = 500  # addresses or people in one transaction
# For so long after an erasure something may still come in about it: a worker's answer, a receipt, an open page.
LATE = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Erased:
    """What one call removed. ``addresses``: contact points; ``shared``: addresses that others read and that stay."""

    addresses: int = 0
    people: int = 0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """The addresses of somebody: those that go with them, and those that stay because somebody else reads there."""

    alone: tuple[int, ...]
    shared: tuple[int, ...]


_IDS = "CAST(:contacts AS bigint[])"
_PEOPLE = "CAST(:people AS uuid[])"
_LOCK_PREFERENCES = sa.text(
    f"SELECT 1 FROM contact_preferences WHERE contact_id = ANY({_IDS}) ORDER BY contact_id FOR UPDATE"
)
_LOCK_ADDRESSES = sa.text(f"SELECT id FROM contact_points WHERE id = ANY({_IDS}) ORDER BY id FOR UPDATE")
_STATEMENTS = {one.table: sa.text(one.sql) for one in STORES if one.sql}
_JOURNAL = """
    INSERT INTO erasures ({who}, at)
    SELECT * FROM unnest(CAST(:ids AS {type}[]), CAST(:ats AS timestamptz[])) ORDER BY 1 ON CONFLICT DO NOTHING
"""
_JOURNAL_CONTACTS = sa.text(_JOURNAL.format(who="contact_id", type="bigint"))
_JOURNAL_PEOPLE = sa.text(_JOURNAL.format(who="person_id", type="uuid"))
_READERS = sa.text(
    f"""
    SELECT r.contact_id, bool_or(EXISTS (
        SELECT 1 FROM person_contact_points o
        WHERE o.contact_id = r.contact_id AND o.person_id <> ALL({_PEOPLE})))
    FROM person_contact_points r WHERE r.person_id = ANY({_PEOPLE})
    GROUP BY r.contact_id ORDER BY r.contact_id
    """
)
# At an address that others read too, nobody can say whose name it was: each may give theirs again.
_UNNAME = (
    sa.text(
        f"UPDATE contact_points SET salutation_enc = NULL WHERE id = ANY({_IDS}) AND salutation_enc IS NOT NULL"
    ),
    sa.text(f"UPDATE replies SET name_enc = NULL WHERE contact_id = ANY({_IDS}) AND name_enc IS NOT NULL"),
)
_UNPLACE = sa.text(
    f"""
    UPDATE places SET person_id = NULL WHERE person_id = ANY({_PEOPLE})
      AND EXISTS (SELECT 1 FROM subscriptions s WHERE s.place_id = places.id)
    """
)
_DELETE_PEOPLE = sa.text(f"DELETE FROM people WHERE id = ANY({_PEOPLE})")
_THERE = sa.text(f"SELECT count(*) FROM people WHERE id = ANY({_PEOPLE})")


def contacts(
    session: Session,
    ids: Sequence[int],
    *,
    actor: audit.Actor,
    why: str | None = None,
    now: datetime | None = None,
    ats: Mapping[int, datetime] | None = None,
) -> Erased:
    """Erase these contact points everywhere, ``MOST`` at most. Twice is once.

    ``ats``: when each was erased first, for a replay. Every id goes into the journal and on the record, whether or not
    it was there: what is in no store now may be in a backup.
    """
    wanted = _few(ids)
    if not wanted:
        return Erased()
    found = len(_locked(session, wanted))
    _erase(session, wanted, ats or dict.fromkeys(wanted, now or utc_now()), actor, why)
    return Erased(found)


def people(
    session: Session,
    ids: Sequence[UUID],
    *,
    actor: audit.Actor,
    why: str | None = None,
    now: datetime | None = None,
    ats: Mapping[UUID, datetime] | None = None,
) -> Erased:
    """Erase these people, ``MOST`` at most: their names, and every address that nobody else reads.

    Of an address that somebody else reads stay consent, places (as nobody's by name) and what was written from it; the
    names to greet by go. A replay (``ats``) decides nothing anew: which addresses went stands in the journal itself.
    """
    wanted = _few(ids)
    if not wanted:
        return Erased()
    at = now or utc_now()
    _locked(session, [contact for contact, _ in _readers(session, wanted)])
    # Who reads where is settled now: to join an address, somebody would have to share its lock.
    readers = _readers(session, wanted)
    alone = [contact for contact, others in readers if not others and ats is None]
    shared = [contact for contact, others in readers if others or ats is not None]
    there = session.execute(_THERE, {"people": wanted}).scalar_one()
    for start in range(0, len(alone), MOST):
        block = alone[start : start + MOST]
        _erase(session, block, dict.fromkeys(block, at), actor, why)
    times = ats or dict.fromkeys(wanted, at)
    session.execute(_JOURNAL_PEOPLE, {"ids": wanted, "ats": [times[one] for one in wanted]})
    for statement in _UNNAME:
        session.execute(statement, {"contacts": shared})
    session.execute(_UNPLACE, {"people": wanted})
    session.execute(_DELETE_PEOPLE, {"people": wanted})
    for one in wanted:
        _record(session, "person:erase", f"person:{one}", actor, why)
    return Erased(len(alone), there, len(shared))


def bound(session: Session, person_id: UUID) -> Bound:
    """What binds somebody to others: a stop, a consent and a place belong to the address, whoever reads there."""
    rows = _readers(session, [person_id])
    return Bound(tuple(c for c, others in rows if not others), tuple(c for c, others in rows if others))


def _few(ids: Sequence[Any]) -> list[Any]:
    wanted = sorted(set(ids))
    if len(wanted) > MOST:
        raise ValueError(f"at most {MOST} in one transaction")
    return wanted


def _readers(session: Session, ids: Sequence[UUID]) -> list[tuple[int, bool]]:
    """Each address of these people, and whether anybody else reads there."""
    return [(contact, others) for contact, others in session.execute(_READERS, {"people": ids})]


def _locked(session: Session, ids: Sequence[int]) -> Sequence[int]:
    session.execute(_LOCK_PREFERENCES, {"contacts": ids})
    return session.execute(_LOCK_ADDRESSES, {"contacts": ids}).scalars().all()


def _erase(
    session: Session, ids: Sequence[int], ats: Mapping[int, datetime], actor: audit.Actor, why: str | None
) -> None:
    session.execute(_JOURNAL_CONTACTS, {"ids": ids, "ats": [ats[one] for one in ids]})
    gone = set(ids)
    _take_back_codes(session, ids)
    values = {"contacts": ids, "pseudonyms": [_pseudonym(one) for one in ids]}
    for statement in _STATEMENTS.values():
        session.execute(statement, values)
    for thing in list(session.identity_map.values()):  # what was read of them before is no longer there
        if isinstance(thing, ContactPoint) and thing.id in gone:
            session.expunge(thing)
    for one in ids:
        _record(session, "contact:erase", f"contact:{one}", actor, why)


_FORGET = sa.text(
    "SELECT * FROM forget_addresses(CAST(:ids AS bigint[]), CAST(:pseudonyms AS bytea[]), :now)"
)


def unbound(
    session: Session, ids: Sequence[int], *, actor: audit.Actor, why: str, now: datetime | None = None
) -> int:
    """Erase those of these addresses that were given for the register alone, and have left it; how many.

    The database judges, and does it: a worker may erase nobody by itself.
    """
    wanted = _few(ids)
    values = {"ids": wanted, "pseudonyms": [_pseudonym(one) for one in wanted], "now": now or utc_now()}
    gone = session.execute(_FORGET, values).scalars().all() if wanted else []
    for thing in list(session.identity_map.values()):
        if isinstance(thing, ContactPoint) and thing.id in gone:
            session.expunge(thing)
    for one in gone:
        _record(session, "contact:erase", f"contact:{one}", actor, why)
    return len(gone)


_CODES = sa.text(
    """
    SELECT id, channel, address_enc FROM service_messages
    WHERE state = 'waiting' AND kind IN ('confirm', 'manage') AND contact_id IS NULL AND address_enc IS NOT NULL
    """
)
_DIGESTS = sa.text(f"SELECT channel, digest FROM contact_points WHERE id = ANY({_IDS})")
_TAKE_BACK = sa.text(
    "DELETE FROM service_messages WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'waiting'"
)


def _take_back_codes(session: Session, ids: Sequence[int]) -> None:
    """Delete codes that wait to be sent to these addresses: they bear no digest, and wait for seconds as a rule."""
    theirs = {(channel, bytes(digest)) for channel, digest in session.execute(_DIGESTS, {"contacts": ids})}
    if not theirs:
        return
    waiting = session.execute(_CODES).all()
    mine = [id for id, channel, blob in waiting if (channel, _digest(channel, bytes(blob))) in theirs]
    if mine:
        session.execute(_TAKE_BACK, {"ids": mine})


def _digest(channel: str, blob: bytes) -> bytes | None:
    """Of an address as it is kept with a message; None where it cannot be read: then nobody can be written to by it."""
    keyring = crypto.keyring()
    try:
        address = keyring.decrypt(blob, "service_messages.address")
        if channel == "sms":
            return keyring.digest("phone", address)
        return keyring.digest("email", email_address.parse(address, allow_special_use=True).form)
    except (crypto.CryptoError, email_address.EmailError):
        return None


def _pseudonym(contact_id: int) -> bytes:
    """The same for all consents of one contact point, and not to be had from its id without the key."""
    return sha256(b"wardlink.erased" + crypto.keyring().digest("erased", str(contact_id))).digest()


def _record(session: Session, event: str, subject: str, actor: audit.Actor, why: str | None) -> None:
    audit.record(session, event=event, subject=subject, actor=actor, s62=audit.S62.ERASURE, why=why)


_LATE_CONSENTS = sa.text(
    """
    SELECT DISTINCT e.contact_id FROM erasures e JOIN consents c ON c.contact_id = e.contact_id
    WHERE e.noted_at > :since ORDER BY 1 LIMIT :most
    """
)
_LATE_NAMES = sa.text(
    """
    SELECT DISTINCT e.contact_id FROM erasures e
    JOIN deliveries d ON d.contact_id = e.contact_id AND d.provider_ref IS NOT NULL
    WHERE e.noted_at > :since ORDER BY 1 LIMIT :most
    """
)


def again(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Remove what came in about somebody while they were being erased; how many addresses that was about.

    A worker that wrote down a provider's name for a message, a page that gave a consent: each began before the erasure
    had ended, and neither holds a key to the contact point. All else does, and cannot be written any more.
    """
    values = {"since": now - LATE, "most": most}
    agreed = session.execute(_LATE_CONSENTS, values).scalars().all()
    named = session.execute(_LATE_NAMES, values).scalars().all()
    if agreed:
        pseudonyms = [_pseudonym(one) for one in agreed]
        session.execute(_STATEMENTS["consents"], {"contacts": agreed, "pseudonyms": pseudonyms})
    if named:
        session.execute(_STATEMENTS["deliveries"], {"contacts": named})
    return len({*agreed, *named})
