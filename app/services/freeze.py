"""Freezing who gets a dispatch, and when: batches, and places in digests (decision 0026).

Most people asked for nothing. Who they are is a query by itself, which PostgreSQL shares among its processes as it
does no INSERT … SELECT; their ids come here, a batch to a row, and go back as they came. Those with preferences
follow in one more statement, after the rows of those with a weekly cap were locked: two dispatches cannot both take
the last place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import BINARY
from app.errors import Conflict
from app.models.ledger import BATCH_SIZE, BULK_LANE, Dispatch
from app.models.organisations import Sender
from app.services import audience, deferral
from app.services.audience import Audience

# Small enough that one sender's texts do not hold a lease for minutes.
SMS_BATCH = 500


@dataclass(frozen=True, slots=True)
class Counted:
    """What was frozen. ``recipients`` are those of the batches and those in digests together."""

    batches: int
    recipients: int
    digested: int


_POOL = """
    pool AS (
        SELECT id, channel, kind,
            row_number() OVER (PARTITION BY channel ORDER BY id) - 1 AS turn,
            count(*) OVER (PARTITION BY channel) AS senders
        FROM senders WHERE id = ANY(CAST(:senders AS int[]))
    )
"""
_BATCHES = """
    INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise,
        contact_ids, size, reserved_segments, not_before, expires_at, quiet_from, quiet_until, not_after)
    SELECT :dispatch, {n}, channel, :language, :controller,
        sender_id, :lane, :urgency, :exercise, ids, size,
        CASE channel WHEN 'sms' THEN size * CASE kind WHEN 'two-way' THEN :segments_two_way ELSE :segments_one_way END
            ELSE 0 END, {times}
    FROM grouped
"""


def _everybody(held: str, join: str) -> sa.TextClause:
    # The same person hears from the same number, so that STOP and replies make sense.
    return sa.text(
        audience.RECIPIENTS
        + f"""
        , everybody AS (
            SELECT CASE r.channel
                    WHEN 'sms' THEN (CAST(:sms_senders AS int[]))[1 + r.id % :sms_pool]
                    ELSE (CAST(:email_senders AS int[]))[1 + r.id % :email_pool]
                END AS sender_id,
                {held} AS held, array_agg(r.id ORDER BY r.id) AS ids
            FROM recipients r {join}
            GROUP BY 1, 2
        ), sized AS (
            SELECT sender_id, held, ids,
                CASE WHEN sender_id = ANY(CAST(:sms_senders AS int[])) THEN :sms_batch ELSE :batch END AS most
            FROM everybody
        )
        SELECT sender_id, chunk, CASE WHEN NOT held THEN ids[chunk * most + 1 : (chunk + 1) * most] END,
            CASE WHEN held THEN CAST(ids[chunk * most + 1 : (chunk + 1) * most] AS text) END
        FROM sized CROSS JOIN LATERAL generate_series(0, (cardinality(ids) - 1) / most) AS chunk
        """
    )


_AT_ONCE = _everybody("false", "")
_MOST = _everybody("(p.contact_id IS NOT NULL)", "LEFT JOIN contact_preferences p ON p.contact_id = r.id")
_FOR_THIS_ONE = sa.text("SET LOCAL plan_cache_mode = force_custom_plan")
# So many batches go back in one statement: its arrays are parameters of their own.
PART = 250


@cache
def _put(batches: int) -> sa.TextClause:
    given = ", ".join(
        f"(CAST(:n{i} AS int), CAST(:by{i} AS int), CAST(:ids{i} AS bigint[]))" for i in range(batches)
    )
    return sa.text(
        f"""
        WITH grouped AS (
            SELECT g.n, s.channel, g.sender_id, s.kind, g.ids, cardinality(g.ids) AS size
            FROM (VALUES {given}) AS g(n, sender_id, ids) JOIN senders s ON s.id = g.sender_id
        )
        {_BATCHES.format(n="n", times=":not_before, :expires_at, NULL, NULL, NULL")}
        """
    )


_LOCK = sa.text(
    """
    SELECT count(*) FROM (
        SELECT 1 FROM contact_preferences
        WHERE contact_id = ANY(CAST(:ids AS bigint[])) AND weekly_cap IS NOT NULL
        ORDER BY contact_id FOR NO KEY UPDATE
    ) locked
    """
)
# Who could only get it when it is over waits until then, and ends as expired like anybody else.
_PLACED = f"""
    {_POOL}, placed AS (
        SELECT r.id, r.channel, pool.id AS sender_id, pool.kind, r.quiet_from, r.quiet_until,
            least(r.at, :expires_at) AS at,
            row_number() OVER (
                PARTITION BY pool.id, least(r.at, :expires_at), r.quiet_from, r.quiet_until ORDER BY r.id) - 1 AS place
        FROM planned r JOIN pool ON pool.channel = r.channel AND pool.turn = r.id % pool.senders
        WHERE NOT r.digested
    ), grouped AS (
        SELECT channel, sender_id, kind, at, quiet_from, quiet_until,
            place / CASE channel WHEN 'sms' THEN :sms_batch ELSE :batch END AS chunk,
            array_agg(id ORDER BY id) AS ids, count(*) AS size
        FROM placed GROUP BY 1, 2, 3, 4, 5, 6, 7
    )
    {
    _BATCHES.format(
        n=(
            "(SELECT count(*) FROM batches WHERE dispatch_id = :dispatch) "
            "+ row_number() OVER (ORDER BY at, chunk, channel, sender_id, quiet_from, quiet_until) - 1"
        ),
        times="at, :expires_at, quiet_from, quiet_until, CASE WHEN at < :expires_at "
        "THEN quiet_start(at, quiet_from, quiet_until) END",
    )
}
"""
_REST = sa.text(f"WITH {deferral.HELD}, {deferral.PLAN}, {deferral.TAKEN}, {_PLACED}")
_DIGEST = sa.text(f"WITH {deferral.HELD}, {deferral.PLAN_DIGEST}, {_PLACED}")
_SUMS = sa.text(
    """
    WITH people AS (
        SELECT id FROM batches b, unnest(b.contact_ids) AS id WHERE b.dispatch_id = :dispatch
        UNION ALL SELECT contact_id FROM digest_items WHERE dispatch_id = :dispatch
    )
    SELECT (SELECT count(*) FROM batches WHERE dispatch_id = :dispatch),
        (SELECT coalesce(sum(size), 0) FROM batches WHERE dispatch_id = :dispatch),
        (SELECT count(*) FROM digest_items WHERE dispatch_id = :dispatch),
        (SELECT count(DISTINCT id) FROM people)
    """
)


def freeze(
    session: Session,
    dispatch: Dispatch,
    who: Audience,
    *,
    senders: Sequence[Sender],
    language: str,
    segments: Mapping[str, int],
) -> Counted:
    """Freeze the audience of a dispatch; ``segments``: of one text, by kind of sender.

    The urgent lane asks nobody when: no quiet hours, no caps, no digests. Conflict when the sums do not add up.
    """
    values = _values(dispatch, senders, language, segments)
    statement = _MOST if dispatch.lane == BULK_LANE else _AT_ONCE
    channel = {s.id: s.channel for s in senders}
    held: dict[str, list[str]] = {"email": [], "sms": []}
    batches = []
    asked = audience.parameters(session, who) | values
    # A plan for a ward, kept because it served five times, would be a poor one for all of London.
    session.execute(_FOR_THIS_ONE)
    for sender, chunk, ids, apart in session.execute(statement, asked, execution_options=BINARY):
        if sender is None:
            raise Conflict("There is no sender for one of the channels: nothing was sent.")
        if apart is not None:
            held[channel[sender]].append(apart[1:-1])
        else:
            batches.append((chunk, channel[sender], sender, ids))
    batches.sort(key=itemgetter(0, 1, 2))  # every sender has its turn
    for at in range(0, len(batches), PART):
        part = batches[at : at + PART]
        given: dict[str, Any] = {}
        for i, (_, _, sender, ids) in enumerate(part):
            given |= {f"n{i}": at + i, f"by{i}": sender, f"ids{i}": ids}
        session.execute(_put(len(part)), values | given)
    emails, phones = held["email"], held["sms"]
    if emails or phones:
        session.execute(_LOCK, {"ids": _array(emails + phones)})
        session.execute(_REST, values | {"emails": _array(emails), "phones": _array(phones)})
    return counted(session, dispatch.id)


def freeze_digest(
    session: Session, dispatch: Dispatch, contacts: Sequence[int], *, senders: Sequence[Sender], language: str
) -> Counted:
    """Freeze a digest to these e-mail addresses."""
    none = {"two-way": 0, "alphanumeric": 0}
    return freeze_these(session, dispatch, contacts, (), senders=senders, language=language, segments=none)


def freeze_these(
    session: Session,
    dispatch: Dispatch,
    emails: Sequence[int],
    phones: Sequence[int],
    *,
    senders: Sequence[Sender],
    language: str,
    segments: Mapping[str, int],
) -> Counted:
    """Freeze a dispatch to these contact points and no others: quiet hours hold, caps and digests do not."""
    values = _values(dispatch, senders, language, segments)
    apart = {"emails": _array(map(str, emails)), "phones": _array(map(str, phones))}
    session.execute(_DIGEST, values | apart)
    return counted(session, dispatch.id)


def _values(
    dispatch: Dispatch, senders: Sequence[Sender], language: str, segments: Mapping[str, int]
) -> dict[str, Any]:
    emails, numbers = (sorted(s.id for s in senders if s.channel == c) for c in ("email", "sms"))
    return {
        "dispatch": dispatch.id,
        "controller": dispatch.controller_id,
        "senders": [s.id for s in senders],
        "email_senders": emails,
        "email_pool": len(emails) or 1,
        "sms_senders": numbers,
        "sms_pool": len(numbers) or 1,
        "sms_batch": SMS_BATCH,
        "batch": BATCH_SIZE,
        "language": language,
        "lane": dispatch.lane,
        "urgency": dispatch.urgency,
        "exercise": dispatch.exercise,
        "segments_two_way": segments["two-way"],
        "segments_one_way": segments["alphanumeric"],
        "not_before": dispatch.not_before,
        "starts": dispatch.not_before,
        "expires_at": dispatch.expires_at,
    }


def _array(ids: Any) -> str:
    """An array as PostgreSQL reads it: a hundred thousand ids need not become Python's numbers in between."""
    return "{" + ",".join(ids) + "}"


def counted(session: Session, dispatch: UUID) -> Counted:
    """What is frozen of a dispatch. Conflict when somebody stands in it twice."""
    batches, placed, digested, distinct = session.execute(_SUMS, {"dispatch": dispatch}).one()
    if placed + digested != distinct:
        raise Conflict("The frozen batches hold somebody twice: nothing was sent.")
    return Counted(batches, placed + digested, digested)
