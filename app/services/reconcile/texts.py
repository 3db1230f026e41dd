"""Texts in doubt, by what Twilio's list shows: to this number, with these words, at that time.

The list knows no tag of ours. So a message that is somebody's by its id, in the ledger or among service messages, is
nobody else's; and each message settles one doubt at most. A message of that time which is nobody's, but says
something else, leaves the doubt as it is. Only where there is none, after the time in which Twilio might still send it,
was the text not taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import crypto
from app.models.ledger import DispatchContent
from app.models.people import ADDRESS_PURPOSE, SALUTATION_PURPOSE
from messaging import links
from messaging.links import Signer
from messaging.render import fill_sms
from messaging.types import DeliveryRef

log = structlog.get_logger(__name__)

# Their clock and ours, and the call itself.
SKEW = timedelta(minutes=2)
# Until then another worker may not have written down whose a message of that time is.
FIRST_ASK = SKEW + timedelta(minutes=1)
LONGEST_VALIDITY = timedelta(seconds=36_000)
MARGIN = timedelta(minutes=10)
OLDEST = timedelta(days=3)
_AGAIN = ((timedelta(minutes=15), timedelta(minutes=5)), (timedelta(hours=2), timedelta(minutes=30)))
_LATE = timedelta(hours=2)


@dataclass(slots=True)
class Doubt:
    """One text that may have been taken. ``until``: Twilio sends it no more after this."""

    ref: DeliveryRef
    contact_id: int
    provider: str
    number: str
    body: str
    earliest: datetime
    latest: datetime
    until: datetime

    @property
    def attempt(self) -> tuple[UUID, int, int]:
        return self.ref.dispatch, self.ref.batch, self.ref.attempt


class Sent(NamedTuple):
    """A message in the provider's list."""

    sid: str
    body: str
    made_at: datetime


@dataclass(slots=True)
class Judged:
    """``taken``: reference → sid. ``absent``: nothing of that time is there. The others stay in doubt."""

    taken: dict[DeliveryRef, str] = field(default_factory=dict)
    absent: list[Doubt] = field(default_factory=list)


_DUE = sa.text(
    """
    SELECT a.dispatch_id, a.batch_n, a.n, a.provider, a.opened_at, a.closed_at, b.expires_at, b.language, s.kind
    FROM attempts a
    JOIN batches b ON b.dispatch_id = a.dispatch_id AND b.n = a.batch_n AND b.channel = 'sms'
    JOIN senders s ON s.id = b.sender_id
    WHERE a.outcome = 'in_doubt' AND a.provider = ANY(CAST(:providers AS text[]))
      AND a.opened_at > :oldest AND a.closed_at < :ripe AND (a.ask_at IS NULL OR a.ask_at <= :now)
    ORDER BY a.opened_at LIMIT :most
    """
)
_PEOPLE = sa.text(
    """
    SELECT d.dispatch_id, d.batch_n, d.attempt_n, d.ordinal, d.contact_id, c.address_enc, c.salutation_enc
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:attempts AS int[]))
        AS r(dispatch_id, n, attempt_n)
    JOIN batches b USING (dispatch_id, n)
    CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id)
    JOIN deliveries d ON d.dispatch_id = b.dispatch_id AND d.contact_id = u.contact_id
        AND d.status = 10 AND d.attempt_n = r.attempt_n
    JOIN contact_points c ON c.id = d.contact_id
    ORDER BY d.dispatch_id, d.batch_n, d.ordinal
    """
)
Attempts = dict[tuple[UUID, int, int], list[Doubt]]


def due(
    session: Session,
    providers: Sequence[str],
    *,
    signer: Signer,
    public_url: str,
    now: datetime,
    most: int = 20,
) -> Attempts:
    """Attempts whose doubts may be asked about now, the oldest first, each of at most 100 texts.

    An attempt without doubts, or whose people were erased, has an empty list.
    """
    values = {
        "providers": list(providers),
        "oldest": now - OLDEST,
        "ripe": now - FIRST_ASK,
        "now": now,
        "most": most,
    }
    rows = session.execute(_DUE, values).all()
    found: Attempts = {(r.dispatch_id, r.batch_n, r.n): [] for r in rows}
    if not found:
        return found
    about = {(r.dispatch_id, r.batch_n, r.n): r for r in rows}
    dispatches, batches, attempts = zip(*found, strict=True)
    people = {"dispatches": list(dispatches), "batches": list(batches), "attempts": list(attempts)}
    keyring, words = crypto.keyring(), _Words(session, signer, public_url)
    for dispatch, batch, n, ordinal, contact_id, address_enc, salutation_enc in session.execute(
        _PEOPLE, people
    ):
        row = about[dispatch, batch, n]
        try:
            number = keyring.decrypt(bytes(address_enc), ADDRESS_PURPOSE)
            name = (
                None if salutation_enc is None else keyring.decrypt(bytes(salutation_enc), SALUTATION_PURPOSE)
            )
        except crypto.CryptoError as error:  # one damaged value must not keep all others in doubt
            log.error("value_does_not_open", purpose=ADDRESS_PURPOSE, code=str(error.code))
            continue
        validity = min(LONGEST_VALIDITY, max(row.expires_at - row.opened_at, timedelta(0)))
        found[dispatch, batch, n].append(
            Doubt(
                ref=DeliveryRef(dispatch, batch, n, ordinal),
                contact_id=contact_id,
                provider=row.provider,
                number=number,
                body=words.to(dispatch, row.language, row.kind, contact_id, name),
                earliest=row.opened_at - SKEW,
                latest=row.closed_at + SKEW,
                until=row.closed_at + validity + MARGIN,
            )
        )
    return found


class _Words:
    """What each person of a dispatch was told."""

    def __init__(self, session: Session, signer: Signer, public_url: str) -> None:
        self._session, self._signer, self._url = session, signer, public_url.rstrip("/")
        self._known: dict[tuple[UUID, str, str], Callable[[int, str | None], str]] = {}

    def to(self, dispatch: UUID, language: str, kind: str, contact_id: int, name: str | None) -> str:
        key = (dispatch, language, kind)
        if key not in self._known:
            self._known[key] = self._compiled(*key)
        return self._known[key](contact_id, name)

    def _compiled(self, dispatch: UUID, language: str, kind: str) -> Callable[[int, str | None], str]:
        text = self._session.get_one(DispatchContent, (dispatch, "sms", language, kind)).text
        stop = self._signer.batch(links.STOP, dispatch, base_url=self._url)
        until = links.expiry_of(dispatch)
        reply, camera = (
            self._signer.batch(purpose, dispatch, until, self._url) for purpose in (links.REPLY, links.CAMERA)
        )

        def say(contact_id: int, name: str | None) -> str:
            return fill_sms(
                text,
                stop_url=stop(contact_id),
                name=name,
                reply_url=reply(contact_id),
                camera_url=camera(contact_id) if "{camera}" in text else "",
            )

        return say


_NAMED = sa.text(
    """
    SELECT d.provider_ref FROM deliveries d
    WHERE d.contact_id = ANY(CAST(:contacts AS bigint[])) AND d.provider_ref = ANY(CAST(:sids AS text[]))
    UNION ALL
    SELECT m.provider_ref FROM service_messages m WHERE m.provider_ref = ANY(CAST(:sids AS text[]))
    """
)


def named(session: Session, contacts: Sequence[int], sids: Sequence[str]) -> set[str]:
    """Which of these messages are somebody's already: in the ledger of these contacts, or service messages."""
    if not sids:
        return set()
    return set(session.scalars(_NAMED, {"contacts": list(contacts), "sids": list(sids)}))


def judge(session: Session, doubts: Sequence[Doubt], lists: Mapping[str, Sequence[Sent]]) -> Judged:
    """Compare doubts with the provider's lists, by number. Numbers that are not in ``lists`` were not asked about."""
    asked = [d for d in doubts if d.number in lists]
    sids = sorted({sent.sid for messages in lists.values() for sent in messages})
    known = named(session, sorted({d.contact_id for d in asked}), sids)
    judged = Judged()
    by_number: dict[str, list[Doubt]] = defaultdict(list)
    for doubt in asked:
        by_number[doubt.number].append(doubt)
    for number, those in by_number.items():
        free = sorted((m for m in lists[number] if m.sid not in known), key=lambda m: m.made_at)
        # First all matches, then what is left: one doubt's message must not keep another in doubt.
        rest = []
        for doubt in sorted(those, key=lambda d: d.latest):
            match = next((m for m in free if _at_its_time(m, doubt) and _same(m.body, doubt.body)), None)
            if match is None:
                rest.append(doubt)
            else:
                free.remove(match)
                judged.taken[doubt.ref] = match.sid
        judged.absent += [d for d in rest if not any(_at_its_time(m, d) for m in free)]
    return judged


def _at_its_time(message: Sent, doubt: Doubt) -> bool:
    return doubt.earliest <= message.made_at <= doubt.latest


def _same(one: str, other: str) -> bool:
    return one.strip() == other.strip()


def ask_again(
    session: Session, attempt: tuple[UUID, int, int], doubts: Sequence[Doubt], *, now: datetime
) -> None:
    """When to ask about an attempt next: soon at first, at last when Twilio could send no more of it."""
    began = min((d.earliest for d in doubts), default=now)
    wait = next((wait for age, wait in _AGAIN if now - began < age), _LATE)
    last = max((d.until for d in doubts), default=now)
    when = min(now + wait, last) if last > now else now + wait
    dispatch, batch, n = attempt
    session.execute(_ASK, {"dispatch": dispatch, "batch": batch, "attempt": n, "at": when})


_ASK = sa.text(
    "UPDATE attempts SET ask_at = :at WHERE dispatch_id = :dispatch AND batch_n = :batch AND n = :attempt"
)
