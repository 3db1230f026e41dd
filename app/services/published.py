"""What the public reads of alerts that were sent: one by its reference, lists of an area, and who sends.

A restricted alert and an exercise are in no list and have no page; that they are genuine can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import utc_now
from app.errors import Missing
from app.models.alerts import REPLIABLE, Alert
from app.models.organisations import Organisation
from app.services import alerts, team_entries
from app.services.areas import AreaName
from app.services.team_entries import TeamView
from messaging import markdown, placeholders, render

MOST_NAMED = 12  # areas that a page names; the rest is counted
MOST_SENDERS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of a list ends: what is older comes on the next."""

    sent_at: datetime
    alert_id: UUID

    def __str__(self) -> str:
        return f"{(self.sent_at - _EPOCH) // timedelta(microseconds=1)}-{self.alert_id.hex}"


def cursor(text: str) -> Cursor | None:
    """A cursor as it stands in an address; None when it is none."""
    match = _CURSOR.fullmatch(text)
    return match and Cursor(_EPOCH + timedelta(microseconds=int(match[1])), UUID(match[2]))


@dataclass(frozen=True, slots=True)
class Listed:
    """An alert in a list or a feed."""

    id: UUID
    reference: str
    kind: str
    urgency: str
    language: str
    headline: str
    sent_at: datetime
    organisation: str

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.sent_at, self.id)


@dataclass(frozen=True, slots=True)
class Published:
    """One alert as its page shows it; ``body``, ``what_to_do`` and ``how_to_tell`` are Markdown."""

    reference: str
    kind: str
    urgency: str
    language: str
    headline: str
    body: str
    what_to_do: str
    how_to_tell: str
    repliable: bool
    """Whether the messages carried a reply link."""
    sent_at: datetime
    organisation: str
    team: TeamView | None
    areas: tuple[tuple[AreaName, str | None], ...]  # each with its borough's name, if it is a ward
    more_areas: int


@dataclass(frozen=True, slots=True)
class Genuine:
    """That a message is ours. ``headline`` only when everybody may read it."""

    reference: str
    organisation_id: UUID
    organisation: str
    first_sent: datetime
    channels: tuple[str, ...]
    headline: str | None
    exercise: bool  # it was never sent but as an exercise


@dataclass(frozen=True, slots=True)
class Sends:
    """The addresses that an organisation's messages come from."""

    organisation_id: UUID
    organisation: str
    email: tuple[tuple[str, str], ...]  # (name shown, address)
    sms: tuple[str, ...]


_PUBLISH = sa.text(
    """
    INSERT INTO alert_areas (alert_id, area_id, sent_at)
    SELECT :alert, id, :at FROM areas WHERE code = ANY(CAST(:codes AS text[])) AND valid_to IS NULL
    ON CONFLICT DO NOTHING
    """
)


def publish(session: Session, alert: Alert, *, now: datetime) -> None:
    """The alert is sent for the first time, and not as an exercise: from ``now`` on the public may read it.

    Twice is once. A restricted alert gets its time and no place in any list.
    """
    if alert.sent_at is not None:
        return
    alert.sent_at = now
    session.flush()
    if not alert.restricted:
        session.execute(
            _PUBLISH, {"alert": alert.id, "at": now, "codes": list(alert.audience.get("areas", ()))}
        )


# One short walk of the index for each area, then the newest of all; an alert for several of them is listed once.
NEWEST = """
    SELECT a.id, a.reference, a.kind, a.urgency, a.language, a.headline,
        CAST(extract(epoch FROM a.sent_at) * 1000000 AS bigint) AS sent_at, o.name AS organisation
    FROM (
        SELECT DISTINCT x.sent_at, x.alert_id
        FROM {areas} AS wanted(id)
        CROSS JOIN LATERAL (
            SELECT aa.sent_at, aa.alert_id FROM alert_areas aa
            JOIN alerts a ON a.id = aa.alert_id
            WHERE aa.area_id = wanted.id AND (aa.sent_at, aa.alert_id) < (:at, :id)
                AND NOT coalesce(jsonb_exists_any(a.audience -> 'except_areas', {left_out}), false)
            ORDER BY aa.sent_at DESC, aa.alert_id DESC LIMIT :most
        ) x
        ORDER BY x.sent_at DESC, x.alert_id DESC LIMIT :most
    ) newest
    JOIN alerts a ON a.id = newest.alert_id
    JOIN organisations o ON o.id = a.controller_id
    ORDER BY newest.sent_at DESC, newest.alert_id DESC
"""
_LISTED = sa.text(NEWEST.format(areas="unnest(CAST(:areas AS int[]))", left_out="CAST(:left_out AS text[])"))


def listed(
    session: Session,
    area_ids: Sequence[int],
    *,
    before: Cursor | None,
    most: int,
    left_out: Sequence[str] = (),
    now: datetime | None = None,
) -> list[Listed]:
    """Up to ``most`` public alerts that were sent to any of these areas, the newest first.

    ``left_out``: codes; an alert whose audience leaves one of them out is not listed.
    """
    values = {"areas": list(area_ids), "left_out": list(left_out), "most": most}
    found = session.execute(_LISTED, values | newest(before, now=now))
    return [as_listed(row) for row in found.mappings()]


def newest(before: Cursor | None, *, now: datetime | None = None) -> dict[str, Any]:
    """The parameters of NEWEST that say where a list begins: after a page, or with what is public by now."""
    today = Cursor(now or utc_now(), UUID(int=2**128 - 1))
    # Whatever an address says: what is to be sent later is not public yet.
    start = min(before or today, today, key=lambda cursor: (cursor.sent_at, cursor.alert_id))
    return {"at": start.sent_at, "id": start.alert_id}


def as_listed(columns: Mapping[Any, Any]) -> Listed:
    """From a row of NEWEST, straight from the database or by way of JSON."""
    given = dict(columns)
    id, headline, sent_at = UUID(str(given.pop("id"))), filled(given.pop("headline")), given.pop("sent_at")
    return Listed(id, **given, headline=headline, sent_at=_EPOCH + timedelta(microseconds=sent_at))


def starts(session: Session, alert_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The first words of alerts, as plain text in one line."""
    rows = session.execute(sa.select(Alert.id, Alert.body).where(Alert.id.in_(alert_ids)))
    return {id: start(filled(body)) for id, body in rows}


def start(body: str) -> str:
    """The first words of Markdown."""
    lines = markdown.to_text(body).splitlines()
    words = " ".join(" ".join(line for line in lines if line.strip("- ")).split())
    return words if len(words) <= 300 else words[:299].rsplit(" ", 1)[0] + "…"


_AREAS = sa.text(
    """
    SELECT r.id, r.code, r.name, r.kind, CASE r.kind WHEN 'ward' THEN b.name END, count(*) OVER ()
    FROM alert_areas aa JOIN areas r ON r.id = aa.area_id LEFT JOIN areas b ON b.id = r.parent_id
    JOIN alerts a ON a.id = aa.alert_id
    -- As it was sent: areas that followed since find it in their lists, and it does not name them.
    WHERE aa.alert_id = :alert AND jsonb_exists(a.audience -> 'areas', r.code)
        -- Who says the borough need not say its wards.
        AND NOT EXISTS (SELECT 1 FROM alert_areas p WHERE p.alert_id = aa.alert_id AND p.area_id = r.parent_id)
    ORDER BY r.kind = 'ward', b.name, r.name, r.id LIMIT :most
    """
)


def alert(session: Session, reference: str, *, now: datetime | None = None) -> Published:
    """A public alert by its reference, however typed. Missing: none, a draft, restricted, or only an exercise."""
    found = alerts.by_reference(session, reference)
    if found.restricted or found.sent_at is None or found.sent_at > (now or utc_now()):
        raise Missing("There is no alert with this reference.")
    rows = session.execute(_AREAS, {"alert": found.id, "most": MOST_NAMED}).all()
    return Published(
        reference=found.reference,
        kind=found.kind,
        urgency=found.urgency,
        language=found.language,
        headline=filled(found.headline),
        body=filled(found.body),
        what_to_do=filled(found.what_to_do),
        how_to_tell=filled(found.how_to_tell),
        repliable=found.kind in REPLIABLE,
        sent_at=found.sent_at,
        organisation=session.get_one(Organisation, found.controller_id).name,
        team=team_entries.view(session, found.team_id) if found.team_id else None,
        areas=tuple((AreaName(*row[:4]), row[4]) for row in rows),
        more_areas=rows[0][5] - len(rows) if rows else 0,
    )


_FIRST = sa.text(
    """
    SELECT min(not_before), bool_and(exercise) FROM dispatches
    WHERE alert_id = :alert AND not_before <= :now
    """
)


def genuine(session: Session, typed: str, *, now: datetime | None = None) -> Genuine | None:
    """Whether we sent a message with this reference, however typed. What was not sent yet is not ours yet."""
    plain = "".join(c for c in typed[:200].upper() if c.isascii() and c.isalnum())
    try:
        # Messages say "Ref WL-…", and people copy that with dashes and dots of every kind.
        found = alerts.by_reference(session, plain.removeprefix("REFERENCE").removeprefix("REF"))
    except Missing:
        return None
    first, exercise = session.execute(_FIRST, {"alert": found.id, "now": now or utc_now()}).one()
    first = first or (found.sent_at if found.sent_at and found.sent_at <= (now or utc_now()) else None)
    if first is None:
        return None
    return Genuine(
        reference=found.reference,
        organisation_id=found.controller_id,
        organisation=session.get_one(Organisation, found.controller_id).name,
        first_sent=first,
        channels=tuple(found.channels),
        headline=None if found.restricted or found.sent_at is None else filled(found.headline),
        exercise=bool(exercise),
    )


_SENDERS = sa.text(
    """
    SELECT DISTINCT o.name, o.id, s.channel, s.address, CASE s.channel WHEN 'email' THEN s.display_name ELSE '' END
    FROM senders s JOIN sender_controllers c ON c.sender_id = s.id JOIN organisations o ON o.id = c.organisation_id
    WHERE s.active ORDER BY 1, 2, 3, 4, 5 LIMIT :most
    """
)


def senders(session: Session) -> list[Sends]:
    """Where genuine messages come from, by organisation."""
    found: dict[UUID, tuple[str, list[tuple[str, str]], list[str]]] = {}
    for name, id, channel, address, shown in session.execute(_SENDERS, {"most": MOST_SENDERS}):
        _, email, sms = found.setdefault(id, (name, [], []))
        if channel == "email":
            email.append((shown or name, address))
        else:
            sms.append(address)
    return [Sends(id, name, tuple(email), tuple(sms)) for id, (name, email, sms) in found.items()]


def filled(text: str) -> str:
    """Officers' words as everybody reads them: nobody's name stands in them."""
    if "((" not in text:
        return text
    try:
        return placeholders.parse(text).fill(lambda _: render.DEFAULT_NAME)
    except placeholders.PlaceholderError:  # of before the words were checked
        return text
