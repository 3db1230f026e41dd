"""The ordinary end of a batch in one statement: the attempt closed, everybody of it accepted, the batch let go.

Whatever is not so plain is written down step by step, by ``results`` (decision 0020).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger.claims import Claim
from app.services.ledger.results import LEFT_OVER_SECONDS
from messaging.types import DeliveryStatus

# The ids are the frozen ones, and need not travel. It conflicts with nobody, so it does not pay for ON CONFLICT.
_ALL_TAKEN = sa.text(
    """
    WITH closed AS (
        UPDATE attempts SET closed_at = clock_timestamp(), outcome = 'taken', provider_ref = :ref, reason = :reason,
            failed_percent = :failed
        WHERE dispatch_id = :dispatch AND batch_n = :batch AND n = :attempt AND closed_at IS NULL
          AND lease_token = :token
        RETURNING n
    ), ins AS (
        INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status)
        SELECT :dispatch, r.contact_id, :batch, r.ordinal, closed.n, :status
        FROM closed CROSS JOIN batches b
        CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS r(contact_id, ordinal)
        WHERE b.dispatch_id = :dispatch AND b.n = :batch AND r.ordinal BETWEEN :first AND :last
          AND r.ordinal <> ALL(CAST(:out AS smallint[]))
        RETURNING 1
    )
    UPDATE batches SET lease_token = NULL, lease_until = NULL, tries = 0, accepted = accepted + written.many,
        state = CASE WHEN accepted + written.many + delivered + bounced + complained + refused + stopped + erased
            + expired + in_doubt >= size THEN 'done' ELSE 'waiting' END,
        not_before = greatest(not_before, clock_timestamp() + make_interval(secs => :delay))
    FROM (SELECT count(*) AS many FROM ins) AS written
    WHERE dispatch_id = :dispatch AND n = :batch AND lease_token = :token AND written.many = :many
    RETURNING (SELECT count(*) FROM (
        SELECT FROM batches o WHERE o.dispatch_id = :dispatch AND o.state <> 'done' LIMIT :few
    ) still) < :few
    """
)
# With fewer batches open than this whoever ends one asks whether it was the last; so many may end at one moment without
# seeing each other.
FEW = 16
# So many of a stretch may have ended before the call: beyond, the ids travel after all.
MOST_LEFT_OUT = 100


class NotOrdinaryError(Exception):
    """The end of this batch has to be written down step by step. The transaction must not be committed."""


def all_taken(
    session: Session,
    held: Claim,
    attempt: int,
    ordinals: Sequence[int],
    *,
    ref: str | None = None,
    reason: str = "",
    failed_percent: int | None = None,
) -> bool:
    """Write down that everybody of the last stretch of a batch was taken, and let the batch go; whether it may have
    been the last of its dispatch.

    ``ordinals``: those of the attempt, ascending. NotOrdinaryError, or sqlalchemy's IntegrityError, when it is
    not so plain (the lease was lost, the attempt closed, somebody has a row): nothing may be kept then, and
    ``results`` says step by step what happened.
    """
    first, last = ordinals[0], ordinals[-1]
    out: Collection[int] = ()
    if last - first + 1 != len(ordinals):
        out = set(range(first, last)) - set(ordinals)
        if len(out) > MOST_LEFT_OUT:
            raise NotOrdinaryError
    values = {
        "ref": ref,
        "reason": reason[:200],
        "failed": failed_percent,
        "dispatch": held.dispatch,
        "batch": held.batch,
        "attempt": attempt,
        "token": held.lease,
        "status": int(DeliveryStatus.ACCEPTED),
        "first": first,
        "last": last,
        "out": list(out),
        "many": len(ordinals),
        "delay": LEFT_OVER_SECONDS,
        "few": FEW,
    }
    found = session.execute(_ALL_TAKEN, values).scalar_one_or_none()
    if found is None:
        raise NotOrdinaryError
    return bool(found)
