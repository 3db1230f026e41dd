"""Who must be written to no more, by what a provider reported: bounces, complaints, unsubscribes, a STOP it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.services import inbound
from messaging.types import Receipt

# The provider holds a STOP of this number to the sender: what START undoes, there and here.
STOP = "stop"

# A bounce says that the address is dead, for everybody; a complaint or an unsubscribe is about
# the controller who wrote.
_SUPPRESS = sa.text(
    """
    INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason)
    SELECT DISTINCT c.channel, c.digest, c.digest_key,
        CASE CAST(:why AS text) WHEN 'bounce' THEN NULL ELSE d.controller_id END, CAST(:why AS text)
    FROM unnest(CAST(:contacts AS bigint[])) AS r(contact_id)
    JOIN dispatches d ON d.id = :dispatch
    JOIN contact_points c ON c.id = r.contact_id
    ORDER BY 1, 2
    -- A complaint outranks an unsubscribe: a fresh yes lifts the one and not the other.
    ON CONFLICT (digest, channel, controller_id, topic, sender_id) WHERE lifted_at IS NULL
        DO UPDATE SET reason = excluded.reason
        WHERE suppressions.reason IN ('left', 'unsubscribe') AND excluded.reason = 'complaint'
    """
)


def suppress(session: Session, known: Sequence[tuple[int, Receipt]]) -> int:
    """Put out of reach whoever's receipts say so; on the record by dispatch and reason."""
    groups: dict[tuple[UUID, str], list[int]] = defaultdict(list)
    stopped: set[tuple[UUID, int, int]] = set()
    for contact_id, receipt in known:
        if receipt.suppress == STOP:
            stopped.add((receipt.ref.dispatch, receipt.ref.batch, contact_id))
        elif receipt.suppress:
            groups[receipt.ref.dispatch, receipt.suppress].append(contact_id)
    total = _stop(session, sorted(stopped))
    # The same order everywhere: two mergers may meet the same address.
    for (dispatch, why), contacts in sorted(groups.items(), key=lambda g: (g[0][1], g[0][0])):
        added: int = session.execute(  # type: ignore[attr-defined]
            _SUPPRESS, {"dispatch": dispatch, "why": why, "contacts": contacts}
        ).rowcount
        if added:
            audit.record(
                session,
                event="suppression:add",
                subject=f"dispatch:{dispatch}",
                actor=audit.Actor(audit.ActorKind.PROVIDER, origin="worker:receipts"),
                s62=audit.S62.ALTERATION,
                detail={"reason": why, "added": added},
            )
        total += added
    return total


_STOPPED = sa.text(
    """
    -- The number that it came from: the batch's own, or the one that stood in for it.
    SELECT DISTINCT coalesce(a.sender_id, b.sender_id) AS sender_id, c.digest
    FROM unnest(CAST(:dispatches AS uuid[]), CAST(:batches AS int[]), CAST(:contacts AS bigint[]))
        AS r(dispatch_id, n, contact_id)
    JOIN batches b USING (dispatch_id, n)
    LEFT JOIN deliveries d ON d.dispatch_id = r.dispatch_id AND d.contact_id = r.contact_id
    LEFT JOIN attempts a ON a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n AND a.n = d.attempt_n
    JOIN contact_points c ON c.id = r.contact_id
    ORDER BY 2, 1
    """
)
_STOPPED_BY_MESSAGE = sa.text(
    """
    SELECT DISTINCT m.sender_id, c.digest
    FROM service_messages m JOIN contact_points c ON c.id = m.contact_id
    WHERE m.id = ANY(CAST(:ids AS uuid[])) AND m.sender_id IS NOT NULL AND m.channel = 'sms' ORDER BY 2, 1
    """
)


def _stop(session: Session, stopped: Sequence[tuple[UUID, int, int]]) -> int:
    if not stopped:
        return 0
    dispatches, batches, contacts = zip(*stopped, strict=True)
    values = {"dispatches": list(dispatches), "batches": list(batches), "contacts": list(contacts)}
    return _stop_each(session, session.execute(_STOPPED, values).all())


def stop_by_message(session: Session, messages: Sequence[UUID]) -> int:
    """The same for service messages; how many. Ids that are no message's lead nowhere."""
    if not messages:
        return 0
    return _stop_each(session, session.execute(_STOPPED_BY_MESSAGE, {"ids": list(messages)}).all())


def _stop_each(session: Session, found: Sequence[Any]) -> int:
    for sender_id, digest in found:
        inbound.stop(session, sender_id, bytes(digest))
    return len(found)
